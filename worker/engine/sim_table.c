#include "worker/engine/sim_table.h"

#include "common/json.h"

#include <math.h>
#include <string.h>

#define FILE_BYTES_MAX 65536u
#define US_MAX         1e9

/* The 14B's is fitted to what an H200 took for bench/online's loads and for single products of the model's
 * shapes (docs/PERFORMANCE.md, "The sim engine's tables"). The 0.6B's comes from such products alone:
 * weights_us is a layer's four at m = 1 times the layers, and the head; token_us the same at m = 2048, a
 * token; attention_us 4 * heads * head_dim * layers flop at 450 TFLOP/s; kv_us kv_token_bytes at 4.5 TB/s;
 * mixed_us as much a layer as the 14B's. Pools: nine tenths of the memory without the weights. */
static const struct {
    const char *name;
    struct sim_table table;
} presets[] = {
    {"h200-qwen3-14b",
     {.launch_us = 300,
      .weights_us = 8300,
      .token_us = 38,
      .attention_us = 0.0025,
      .kv_us = 0.045,
      .mixed_us = 2000,
      .kv_token_bytes = 163840,
      .pool_mib = 100000}},
    {"h200-qwen3-0.6b",
     {.launch_us = 200,
      .weights_us = 300,
      .token_us = 1.9,
      .attention_us = 0.0005,
      .kv_us = 0.025,
      .mixed_us = 1400,
      .kv_token_bytes = 114688,
      .pool_mib = 125000}},
};

static enum status load_file(const char *path, struct sim_table *out, struct err *err)
{
    enum status status;
    json_t *root = NULL;
    int64_t bytes = 1, mib = 1024;
    TRY(json_parse_file(path, FILE_BYTES_MAX, &root, err));
    TRY_OUT(json_get_number(root, "launch_us", 0, US_MAX, &out->launch_us, err));
    TRY_OUT(json_get_number(root, "weights_us", 0, US_MAX, &out->weights_us, err));
    TRY_OUT(json_get_number(root, "token_us", 0, US_MAX, &out->token_us, err));
    TRY_OUT(json_get_number(root, "attention_us", 0, US_MAX, &out->attention_us, err));
    TRY_OUT(json_get_number(root, "kv_us", 0, US_MAX, &out->kv_us, err));
    TRY_OUT(json_get_number(root, "mixed_us", 0, US_MAX, &out->mixed_us, err));
    TRY_OUT(json_get_int(root, "kv_token_bytes", 1, 1 << 30, &bytes, err));
    TRY_OUT(json_get_int(root, "pool_mib", 1, 1 << 24, &mib, err));
    out->kv_token_bytes = (uint64_t)bytes;
    out->pool_mib = (uint64_t)mib;
out:
    json_decref(root);
    return status == STATUS_OK ? status : err_prefix(err, status, "%s: ", path);
}

enum status sim_table_load(const char *name, struct sim_table *out, struct err *err)
{
    *out = (struct sim_table){0};
    for (size_t i = 0; i < ARRAY_LEN(presets); i++) {
        if (name == NULL || strcmp(name, presets[i].name) == 0) {
            *out = presets[i].table;
            return STATUS_OK;
        }
    }
    if (strchr(name, '/') == NULL && strchr(name, '.') == NULL)
        return err_set(
            err, STATUS_NOT_FOUND,
            "no timing table is named %s: there are " SIM_PRESETS ", or give a JSON file", name);
    return load_file(name, out, err);
}

double sim_table_step_us(const struct sim_table *table, const struct step_packet *packet,
                         uint32_t page_size)
{
    const struct step_row *rows = step_rows(packet);
    const struct prefix_group *groups = step_groups(packet);
    double positions = 0, context = 0;
    uint32_t chunks = 0;
    for (uint32_t i = 0; i < packet->row_count; i++) {
        if (rows[i].token_count == 1) {
            context += rows[i].pos_first;
        } else {
            positions += rows[i].token_count * (rows[i].pos_first + rows[i].token_count / 2.0);
            chunks++;
        }
    }
    for (uint32_t i = 0; i < packet->group_count; i++)
        context -= (double)(groups[i].row_count - 1) * groups[i].page_count * page_size;
    return table->launch_us + hypot(table->weights_us, table->token_us * packet->token_count) +
           table->attention_us * positions + table->kv_us * MAX(context, 0) +
           (chunks > 0 && chunks < packet->row_count ? table->mixed_us : 0);
}
