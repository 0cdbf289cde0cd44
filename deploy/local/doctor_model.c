/* doctor_model - looks at a model folder's files as the programs will, without loading weights. */
#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "deploy/local/doctor.h"
#include "router/text/chat_template.h"
#include "router/text/tokenizer.h"

#define JSON_BYTES_MAX (64u << 20)

static json_t *read_json(struct doctor *doctor, const char *folder, const char *name, bool needed)
{
    char *path = path_join(folder, name);
    json_t *json = NULL;
    struct err err = {0};
    enum status status = json_parse_file(path, JSON_BYTES_MAX, &json, &err);

    if (status != STATUS_OK && (needed || status != STATUS_NOT_FOUND))
        doctor_bad(doctor, "%s.", err.text);
    mem_free(path);
    return json;
}

/* The highest data_offsets end of a safetensors header, or 0 when the header is broken. */
static uint64_t data_end(const char *header, size_t len)
{
    json_t *json = NULL, *tensor;
    const char *key;
    uint64_t end = 0;

    if (json_parse(header, len, &json, NULL) != STATUS_OK)
        return 0;
    json_object_foreach(json, key, tensor) {
        json_t *last = json_array_get(json_object_get(tensor, "data_offsets"), 1);
        if (strcmp(key, "__metadata__") != 0)
            end = MAX(end, (uint64_t)json_integer_value(last));
    }
    json_decref(json);
    return end;
}

/* Whole means: 8 bytes of header length, the header, and exactly as many bytes as it lays out. */
static uint64_t check_weights_file(struct doctor *doctor, const char *folder, const char *name)
{
    char *path = path_join(folder, name);
    FILE *file = fopen(path, "rb");
    struct buf header = {0};
    struct stat st;
    uint64_t len = 0, size = 0;

    if (!file || fstat(fileno(file), &st) != 0) {
        doctor_bad(doctor, "The weights %s are missing.", name);
    } else if (fread(&len, 1, 8, file) != 8 || (len = le64toh(len)) < 2 || len > JSON_BYTES_MAX ||
               len + 8 > (uint64_t)st.st_size) {
        doctor_bad(doctor, "%s is no safetensors file, or was cut.", name);
    } else {
        buf_reserve(&header, len);
        if (fread(header.data, 1, len, file) != len ||
            data_end(header.data, len) + len + 8 != (uint64_t)st.st_size)
            doctor_bad(doctor, "%s has %lld bytes; its header describes another size.", name,
                       (long long)st.st_size);
        else
            size = (uint64_t)st.st_size;
    }
    if (file)
        fclose(file);
    buf_release(&header);
    mem_free(path);
    return size;
}

static uint64_t check_weights(struct doctor *doctor, const char *folder)
{
    json_t *index = read_json(doctor, folder, "model.safetensors.index.json", false);
    json_t *map = json_object_get(index, "weight_map"), *file, *seen = json_object();
    const char *key;
    uint64_t bytes = 0;

    if (!index) {
        bytes = check_weights_file(doctor, folder, "model.safetensors");
    } else {
        json_object_foreach(map, key, file)
            if (json_is_string(file))
                json_object_set_new(seen, json_string_value(file), json_true());
        json_object_foreach(seen, key, file)
            bytes += check_weights_file(doctor, folder, key);
    }
    json_decref(seen);
    json_decref(index);
    return bytes;
}

static void check_text(struct doctor *doctor, const char *folder)
{
    struct tokenizer *tokenizer = NULL;
    struct chat_template *tmpl = NULL;
    struct err err = {0};
    enum status status = tokenizer_load(folder, &tokenizer, &err);

    if (status == STATUS_OK)
        doctor_good("The tokenizer has %u tokens.", tokenizer_vocab_size(tokenizer));
    else
        doctor_bad(doctor, "The tokenizer cannot be used: %s.", err.text);
    tokenizer_free(tokenizer);
    status = chat_template_load(folder, &tmpl, &err);
    if (status == STATUS_OK)
        doctor_good("The chat template compiles.");
    else if (status == STATUS_NOT_FOUND)
        doctor_note("There is no chat template: /v1/completions works, chat does not.");
    else
        doctor_bad(doctor, "The chat template cannot be used: %s.", err.text);
    chat_template_free(tmpl);
}

void doctor_model(struct doctor *doctor, const char *path)
{
    json_t *config = read_json(doctor, path, "config.json", true);
    const char *architecture =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    uint64_t bytes, memory = doctor_memory_free();
    unsigned before = doctor->problems;

    if (!config)
        return;
    doctor_good("The model in %s is a %s with %lld layers and a context of %lld tokens.", path,
                architecture ? architecture : "model of unnamed architecture",
                (long long)json_integer_value(json_object_get(config, "num_hidden_layers")),
                (long long)json_integer_value(json_object_get(config, "max_position_embeddings")));
    check_text(doctor, path);
    bytes = check_weights(doctor, path);
    if (doctor->problems == before) {
        if (bytes + bytes / 2 < memory)
            doctor_good("The weights are whole: %.2f GiB, memory suffices.",
                        (double)bytes / 0x1p30);
        else
            doctor_note(
                "The weights are whole: %.2f GiB. That is tight with %.2f GiB of free memory.",
                (double)bytes / 0x1p30, (double)memory / 0x1p30);
    }
    json_decref(config);
}
