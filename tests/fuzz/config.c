/* A config.json as the worker reads it: what passes has sizes that no product overflows, and a table
 * of rotations that is finite. */
#include <math.h>

#include "tests/fuzz/input.h"
#include "worker/model/arch.h"

#define POSITIONS 3

static void check(const struct model_config *c)
{
    uint64_t product;
    CHECK(c->arch && c->layers >= 1 && c->layers <= MODEL_LAYERS_MAX &&
          c->heads % c->kv_heads == 0);
    CHECK(c->head_dim >= 2 && c->head_dim <= MODEL_HEAD_DIM_MAX && c->head_dim % 2 == 0);
    CHECK(c->experts <= MODEL_EXPERTS_MAX && c->experts_top <= c->experts);
    CHECK(!__builtin_mul_overflow((uint64_t)c->hidden * c->intermediate, 2u * MAX(c->experts, 1u),
                                  &product));
    CHECK(!__builtin_mul_overflow((uint64_t)c->vocab * c->hidden, (uint64_t)4, &product));
    CHECK(!__builtin_mul_overflow((uint64_t)c->context * c->layers,
                                  (uint64_t)c->kv_heads * c->head_dim, &product));
    CHECK(c->norm_eps > 0 && c->norm_eps < 1);
    CHECK(c->rope.rotated >= 2 && c->rope.rotated <= c->head_dim && c->rope.rotated % 2 == 0);
    CHECK(isnormal(c->embed_scale) && isnormal(c->attention_scale) && isnormal(c->logit_scale));
    float *table = mem_array((size_t)POSITIONS * c->head_dim, sizeof(*table));
    rope_table_fill(c, POSITIONS, table);
    for (size_t i = 0; i < (size_t)POSITIONS * c->head_dim; i++)
        CHECK(isfinite(table[i]));
    mem_free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct model_config config;
    struct err err = {.text = ""};
    json_t *root = NULL;

    if (json_parse((const char *)data, len, &root, &err) != STATUS_OK)
        return 0;
    if (model_config_parse(root, &config, &err) == STATUS_OK)
        check(&config);
    else
        CHECK(err.text[0]);
    json_decref(root);
    return 0;
}
