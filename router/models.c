#include "router/models.h"

#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/hub.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"

#define CONFIG_BYTES_MAX    (16u << 20)
#define TOKENIZER_BYTES_MAX (256u << 20)

static enum status read_named(const char *dir, const char *name, size_t bytes_max, struct buf *out,
                              struct err *err)
{
    char *path = path_join(dir, name);
    enum status status = file_read(path, bytes_max, out, err);
    mem_free(path);
    return status;
}

static void add_eos(struct model *model, const json_t *value)
{
    size_t i;
    json_t *item;
    if (json_is_array(value)) {
        json_array_foreach(value, i, item)
            add_eos(model, item);
        return;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > UINT32_MAX || model->eos_count == MODEL_EOS_MAX)
        return;
    uint32_t id = (uint32_t)json_integer_value(value);
    for (i = 0; i < model->eos_count; i++) {
        if (model->eos[i] == id)
            return;
    }
    model->eos[model->eos_count++] = id;
}

static enum status read_config(struct model *model, json_t *config, struct err *err)
{
    int64_t context = 0, vocab = tokenizer_vocab_size(model->tokenizer);
    if (!json_is_object(config))
        return err_set(err, STATUS_INVALID, "config.json is not a JSON object");
    TRY(json_get_int(config, "max_position_embeddings", 1, UINT32_MAX, &context, err));
    TRY(json_get_int(config, "vocab_size", 1, UINT32_MAX, &vocab, err));
    model->context = (uint32_t)context;
    model->vocab_size = (uint32_t)vocab;
    add_eos(model, json_object_get(config, "eos_token_id"));
    return STATUS_OK;
}

/* As vLLM and SGLang: generation_config.json holds the defaults of what a request leaves out. */
static enum status read_generation(struct model *model, json_t *config, struct err *err)
{
    double temperature = 1, top_p = 1, min_p = 0, repetition = 1;
    int64_t top_k = 0;
    if (!json_is_object(config))
        return err_set(err, STATUS_INVALID, "generation_config.json is not a JSON object");
    TRY(json_get_number(config, "temperature", 0, 1000, &temperature, err));
    TRY(json_get_number(config, "top_p", 0, 1, &top_p, err));
    TRY(json_get_number(config, "min_p", 0, 1, &min_p, err));
    TRY(json_get_number(config, "repetition_penalty", 0, 1000, &repetition, err));
    TRY(json_get_int(config, "top_k", -1, UINT32_MAX, &top_k, err));
    /* As params_rules.c takes them: what a float makes 0 or 1 of must not go out on the wire. */
    model->defaults.temperature = temperature < 1e-4 ? 0.0f : (float)temperature;
    model->defaults.top_p = (float)top_p > 0 ? (float)top_p : 1.0f;
    model->defaults.min_p = (float)min_p < 1 ? (float)min_p : 0.0f;
    model->defaults.repetition_penalty = (float)repetition > 0 ? (float)repetition : 1.0f;
    model->defaults.top_k = top_k > 0 ? (uint32_t)top_k : 0;
    add_eos(model, json_object_get(config, "eos_token_id"));
    return STATUS_OK;
}

static enum status load_files(struct model *model, struct err *err)
{
    struct buf config = {0}, tokenizer = {0}, generation = {0};
    json_t *json = NULL, *generation_json = NULL;
    enum status status;
    TRY_OUT(read_named(model->dir, "config.json", CONFIG_BYTES_MAX, &config, err));
    TRY_OUT(read_named(model->dir, "tokenizer.json", TOKENIZER_BYTES_MAX, &tokenizer, err));
    model->fingerprint = model_fingerprint(config.data, config.len, tokenizer.data, tokenizer.len);
    model->tokenizer_hash = hash_bytes(tokenizer.data, tokenizer.len);
    buf_release(&tokenizer); /* before the tokenizer reads it again: peak memory */
    TRY_OUT(tokenizer_load(model->dir, &model->tokenizer, err));
    status = chat_template_load(model->dir, &model->tmpl, err);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        goto out;
    TRY_OUT(json_parse(config.data, config.len, &json, err));
    TRY_OUT(read_config(model, json, err));
    status = read_named(model->dir, "generation_config.json", CONFIG_BYTES_MAX, &generation, err);
    if (status == STATUS_NOT_FOUND) {
        status = STATUS_OK;
        goto out;
    }
    TRY_OUT(status);
    TRY_OUT(json_parse(generation.data, generation.len, &generation_json, err));
    TRY_OUT(read_generation(model, generation_json, err));
out:
    json_decref(json);
    json_decref(generation_json);
    buf_release(&config);
    buf_release(&tokenizer);
    buf_release(&generation);
    return status;
}

static enum status load_one(struct model *model, const char *wanted, const char *name,
                            struct err *err)
{
    uint64_t began_ms = clock_now_ms();
    TRY(hub_resolve(wanted, HUB_WANT_NO_WEIGHTS, &(struct hub_opts){0}, &model->dir, err));
    model->name = name ? mem_strdup(name) : hub_served_name(wanted);
    model->defaults = sampling_default();
    model->created_s = clock_unix_s();
    pthread_mutex_init(&model->lock, NULL);
    enum status status = load_files(model, err);
    if (status != STATUS_OK)
        return err_prefix(err, status, "model %s", wanted);
    LOG_INFO("models", "loaded", "model=%s dir=%s context=%u template=%s ms=%llu", model->name,
             model->dir, model->context, model->tmpl ? "yes" : "no",
             (unsigned long long)(clock_now_ms() - began_ms));
    return STATUS_OK;
}

enum status models_load(const struct config_list *wanted, const struct config_list *names,
                        struct models *out, struct err *err)
{
    memset(out, 0, sizeof(*out));
    if (wanted->count == 0)
        return err_set(err, STATUS_INVALID, "no model: say --model FOLDER or --model ORG/NAME");
    if (names->count > wanted->count)
        return err_set(err, STATUS_INVALID, "%zu --served-model-name for %zu --model", names->count,
                       wanted->count);
    out->items = mem_array(wanted->count, sizeof(*out->items));
    for (size_t i = 0; i < wanted->count; i++) {
        struct model *model = &out->items[out->count++];
        TRY(load_one(model, wanted->items[i], i < names->count ? names->items[i] : NULL, err));
        if (models_find(out, str_from(model->name)) != model)
            return err_set(err, STATUS_INVALID,
                           "two models are called %s: name them apart with --served-model-name",
                           model->name);
    }
    return STATUS_OK;
}

void models_release(struct models *models)
{
    for (size_t i = 0; i < models->count; i++) {
        struct model *model = &models->items[i];
        for (uint32_t s = 0; s < model->scratch_count; s++)
            tokenizer_scratch_free(model->scratch[s]);
        if (model->tmpl)
            chat_template_free(model->tmpl);
        if (model->tokenizer)
            tokenizer_free(model->tokenizer);
        mem_free(model->name);
        mem_free(model->dir);
    }
    mem_free(models->items);
    memset(models, 0, sizeof(*models));
}

struct model *models_find(const struct models *models, struct str name)
{
    for (size_t i = 0; i < models->count; i++) {
        if (str_is(name, models->items[i].name))
            return &models->items[i];
    }
    return NULL;
}

enum status model_encode(struct model *model, struct str text, bool add_special,
                         struct token_list *out, struct err *err)
{
    struct tokenizer_scratch *scratch = NULL;
    pthread_mutex_lock(&model->lock);
    if (model->scratch_count > 0)
        scratch = model->scratch[--model->scratch_count];
    pthread_mutex_unlock(&model->lock);
    if (!scratch)
        scratch = tokenizer_scratch_new(model->tokenizer);
    enum status status = tokenizer_encode(model->tokenizer, scratch, text, add_special, out, err);
    pthread_mutex_lock(&model->lock);
    if (model->scratch_count < ARRAY_LEN(model->scratch)) {
        model->scratch[model->scratch_count++] = scratch;
        scratch = NULL;
    }
    pthread_mutex_unlock(&model->lock);
    if (scratch)
        tokenizer_scratch_free(scratch);
    return status;
}
