/* The small files of a model folder as the router loads them. Input: which file, its bytes. The other
 * ones are folder.h's. */
#include "router/api/tools.h"
#include "router/models.h"
#include "tests/fuzz/folder.h"

static const char *const files[] = {"generation_config.json", "config.json",
                                    "tokenizer_config.json", "chat_template.jinja"};

static void check(const struct model *model)
{
    const struct sampling *sampling = &model->defaults;
    CHECK(model->vocab_size > 0 && model->eos_count <= MODEL_EOS_MAX);
    CHECK(sampling->temperature >= 0 && sampling->temperature <= 1000);
    CHECK(sampling->top_p > 0 && sampling->top_p <= 1 && sampling->min_p >= 0 &&
          sampling->min_p < 1);
    for (uint32_t i = 0; i < model->eos_count; i++)
        for (uint32_t j = 0; j < i; j++)
            CHECK(model->eos[i] != model->eos[j]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    size_t which = input_byte(&in) % ARRAY_LEN(files);
    struct str bytes = input_rest(&in);
    struct config_list names = {0}, wanted = {.items = {scratch_folder()}, .count = 1};
    struct models models;
    struct err err = {.text = ""};
    static bool written;

    if (!written)
        folder_write();
    written = true;
    if (which == 2) /* its template counts when there is no file for it */
        scratch_remove("chat_template.jinja");
    scratch_write(files[which], bytes);
    if (models_load(&wanted, &names, &models, &err) == STATUS_OK) {
        tools_probe(&models.items[0], 0, true);
        check(&models.items[0]);
    } else {
        CHECK(err.text[0]);
    }
    models_release(&models);
    scratch_remove(files[which]);
    folder_write_small();
    return 0;
}
