/* Which rows and columns of which tensor become which matrix of which rank. The device here is plain
 * memory, so a matrix can be read back. */
#include "worker/model/weights.h"

#include "common/mem.h"
#include "common/rng.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct device {
    size_t live, failing; /* allocations alive; the one that fails, counted down, 0 = none */
};

static enum status take(struct device *device, struct err *err)
{
    if (device->failing > 0 && --device->failing == 0)
        return err_set(err, STATUS_NO_SPACE, "the device is full");
    device->live++;
    return STATUS_OK;
}

static enum status plain_alloc(struct device *device, size_t bytes, void **out, struct err *err)
{
    TRY(take(device, err));
    *out = mem_zalloc(bytes);
    return STATUS_OK;
}

static void plain_free(struct device *device, void *ptr)
{
    device->live--;
    mem_free(ptr);
}

static void plain_upload(struct device *device, struct stream *stream, void *dst, const void *src,
                         size_t bytes)
{
    memcpy(dst, src, bytes);
}

/* One element by itself, as kernels/ops.h says it. */
static uint16_t formula_element(const struct formula_part *part, uint64_t row, uint64_t col)
{
    uint64_t at = (part->row_first + row) * part->stride + part->col_first + col;
    uint64_t state = part->seed + at * UINT64_C(0x9e3779b97f4a7c15);
    float value = ((float)(rng_next(&state) >> 40) * 0x1.0p-23f - 1.0f) * part->scale;
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static enum status plain_weight_load(struct device *device, const struct load_part *parts,
                                     uint32_t part_count, uint32_t k, bool borrow,
                                     struct weight *out, struct err *err)
{
    size_t item = dtype_bytes(parts[0].dtype);
    uint64_t rows = 0;
    TRY(take(device, err));
    for (uint32_t i = 0; i < part_count; i++)
        rows += parts[i].row_count + parts[i].zero_rows;
    char *at = mem_array(rows * k, item);
    *out = (struct weight){.data = at, .dtype = parts[0].dtype, .n = (uint32_t)rows, .k = k};
    for (uint32_t i = 0; i < part_count; at += parts[i++].zero_rows * k * item)
        for (uint64_t r = 0; r < parts[i].row_count; r++, at += k * item)
            memcpy(at, (const char *)parts[i].data + r * parts[i].stride * item, k * item);
    return STATUS_OK;
}

static enum status plain_weight_formula(struct device *device, const struct formula_part *parts,
                                        uint32_t part_count, uint32_t k, struct weight *out,
                                        struct err *err)
{
    uint64_t rows = 0;
    TRY(take(device, err));
    for (uint32_t i = 0; i < part_count; i++)
        rows += parts[i].row_count + parts[i].zero_rows;
    uint16_t *at = mem_array(rows * k, sizeof(*at));
    *out = (struct weight){.data = at, .dtype = DTYPE_BF16, .n = (uint32_t)rows, .k = k};
    for (uint32_t i = 0; i < part_count; i++) {
        for (uint64_t r = 0; r < parts[i].row_count; r++)
            for (uint64_t c = 0; c < k; c++)
                *at++ = formula_element(&parts[i], r, c);
        at += parts[i].zero_rows * k;
    }
    return STATUS_OK;
}

static void plain_weight_free(struct device *device, struct weight *weight)
{
    device->live--;
    mem_free(weight->data);
}

static const struct ops plain = {
    .name = "plain",
    .alloc = plain_alloc,
    .free = plain_free,
    .upload = plain_upload,
    .weight_load = plain_weight_load,
    .weight_formula = plain_weight_formula,
    .weight_free = plain_weight_free,
};

static const char config_text[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":24,\"head_dim\":8,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"intermediate_size\":20,"
    "\"num_hidden_layers\":2,\"vocab_size\":40,\"max_position_embeddings\":64,"
    "\"attention_bias\":true,\"mlp_bias\":true}";

static struct model_config config_of(const char *text)
{
    struct model_config config;
    struct err err = {0};
    json_t *root = json_loads(text, 0, NULL);
    ck_assert_msg(model_config_parse(root, &config, &err) == STATUS_OK, "%s", err.text);
    json_decref(root);
    return config;
}

static enum status load(struct device *device, const struct model_config *config, uint32_t rank,
                        uint32_t tp, struct weights *out, struct err *err)
{
    struct weights_opts opts = {.ops = &plain,
                                .device = device,
                                .dir = "/nonexistent",
                                .dummy = true,
                                .dummy_seed = 5,
                                .rank = rank,
                                .tp = tp};
    return weights_load(&opts, config, out, err);
}

/* A whole tensor of the formula. */
static uint16_t *whole(const char *name, uint64_t n, uint64_t k)
{
    struct source source = {.dummy_seed = 5};
    struct source_tensor tensor;
    uint16_t *data = mem_array(n * k, sizeof(*data));
    ck_assert_int_eq(source_matrix(&source, name, n, k, &tensor, NULL), STATUS_OK);
    source_read(&tensor, &(struct source_block){0, n, 0, k}, DTYPE_BF16, data);
    return data;
}

/* Rows [row, row + rows) of `got` are rows from `first` of the tensor, at columns from `col`. */
static void check_block(const struct weight *got, uint32_t row, uint32_t rows, const char *name,
                        uint64_t n, uint64_t k, uint64_t first, uint64_t col)
{
    uint16_t *want = whole(name, n, k);
    ck_assert_int_eq(got->dtype, DTYPE_BF16);
    ck_assert_uint_le(row + rows, got->n);
    for (uint32_t i = 0; i < rows; i++)
        ck_assert_mem_eq((uint16_t *)got->data + (size_t)(row + i) * got->k,
                         want + (first + i) * k + col, got->k * sizeof(*want));
    mem_free(want);
}

static void check_rank(const struct weights *w, const struct model_config *c)
{
    const struct shard *s = &w->shard;
    const struct layer_weights *layer = &w->layers[1];
    uint32_t d = c->head_dim, q = s->heads * d, kv = s->kv_heads * d, h = c->hidden;
    const char *p = "model.layers.1.self_attn.%s_proj.weight";
    char name[3][64];
    for (int i = 0; i < 3; i++)
        snprintf(name[i], sizeof(name[i]), p, i == 0 ? "q" : i == 1 ? "k" : "v");
    ck_assert_uint_eq(layer->qkv.n, q + 2 * kv);
    ck_assert_uint_eq(layer->qkv.k, h);
    check_block(&layer->qkv, 0, q, name[0], c->heads * d, h, s->head_first * d, 0);
    check_block(&layer->qkv, q, kv, name[1], c->kv_heads * d, h, s->kv_head_first * d, 0);
    check_block(&layer->qkv, q + kv, kv, name[2], c->kv_heads * d, h, s->kv_head_first * d, 0);
    ck_assert_uint_eq(layer->o.k, q);
    check_block(&layer->o, 0, h, "model.layers.1.self_attn.o_proj.weight", h, c->heads * d, 0,
                s->head_first * d);
    ck_assert_uint_eq(layer->gate_up.n, 2 * s->intermediate);
    check_block(&layer->gate_up, 0, s->intermediate, "model.layers.1.mlp.gate_proj.weight",
                c->intermediate, h, s->intermediate_first, 0);
    check_block(&layer->gate_up, s->intermediate, s->intermediate,
                "model.layers.1.mlp.up_proj.weight", c->intermediate, h, s->intermediate_first, 0);
    ck_assert_uint_eq(layer->down.k, s->intermediate);
    check_block(&layer->down, 0, h, "model.layers.1.mlp.down_proj.weight", h, c->intermediate, 0,
                s->intermediate_first);
    check_block(&w->embed, 0, s->vocab, "model.embed_tokens.weight", c->vocab, h, s->vocab_first,
                0);
    if (!c->tied)
        check_block(&w->head, 0, s->vocab, "lm_head.weight", c->vocab, h, s->vocab_first, 0);
    ck_assert_int_eq(layer->qkv_bias != NULL, c->qkv_bias);
    ck_assert_int_eq(layer->o_bias != NULL, c->o_bias && s->rank == 0);
    ck_assert_int_eq(layer->down_bias != NULL, c->mlp_bias && s->rank == 0);
}

/* The same blocks, of tensors that hold q, k, v and gate, up one below the other. */
static void check_fused_rank(const struct weights *w, const struct model_config *c)
{
    static const char qkv[] = "model.layers.1.self_attn.qkv_proj.weight";
    static const char gate_up[] = "model.layers.1.mlp.gate_up_proj.weight";
    const struct shard *s = &w->shard;
    const struct layer_weights *layer = &w->layers[1];
    uint32_t d = c->head_dim, q = s->heads * d, kv = s->kv_heads * d, h = c->hidden;
    uint64_t q_all = (uint64_t)c->heads * d, kv_all = (uint64_t)c->kv_heads * d;
    uint64_t kv_first = (uint64_t)s->kv_head_first * d;
    ck_assert_uint_eq(layer->qkv.n, q + 2 * kv);
    check_block(&layer->qkv, 0, q, qkv, q_all + 2 * kv_all, h, (uint64_t)s->head_first * d, 0);
    check_block(&layer->qkv, q, kv, qkv, q_all + 2 * kv_all, h, q_all + kv_first, 0);
    check_block(&layer->qkv, q + kv, kv, qkv, q_all + 2 * kv_all, h, q_all + kv_all + kv_first, 0);
    ck_assert_uint_eq(layer->gate_up.n, 2 * s->intermediate);
    check_block(&layer->gate_up, 0, s->intermediate, gate_up, 2 * c->intermediate, h,
                s->intermediate_first, 0);
    check_block(&layer->gate_up, s->intermediate, s->intermediate, gate_up, 2 * c->intermediate, h,
                c->intermediate + s->intermediate_first, 0);
    ck_assert(layer->qkv_bias == NULL && layer->gate_up_bias == NULL && layer->down_bias == NULL);
}

START_TEST(fused_tensors)
{
    struct model_config config =
        config_of("{\"architectures\":[\"Phi3ForCausalLM\"],\"hidden_size\":24,\"head_dim\":8,"
                  "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"intermediate_size\":20,"
                  "\"num_hidden_layers\":2,\"vocab_size\":40,\"max_position_embeddings\":64}");
    for (uint32_t tp = 1; tp <= 4; tp *= 2) {
        for (uint32_t rank = 0; rank < tp; rank++) {
            struct device device = {0};
            struct weights weights;
            struct err err = {0};
            ck_assert_msg(load(&device, &config, rank, tp, &weights, &err) == STATUS_OK, "%s",
                          err.text);
            check_fused_rank(&weights, &config);
            weights_release(&weights);
            ck_assert_uint_eq(device.live, 0);
        }
    }
}
END_TEST

/* Heads of 8, the first 4 rotated: 0 turns with 2, 1 with 3; on the device, as all do, with 4 further on. */
START_TEST(partly_rotated_heads)
{
    static const char qkv[] = "model.layers.1.self_attn.qkv_proj.weight";
    static const uint64_t at[8] = {0, 1, 4, 5, 2, 3, 6, 7};
    struct model_config c =
        config_of("{\"architectures\":[\"Phi3ForCausalLM\"],\"hidden_size\":24,\"head_dim\":8,"
                  "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"intermediate_size\":20,"
                  "\"num_hidden_layers\":2,\"vocab_size\":40,\"max_position_embeddings\":64,"
                  "\"partial_rotary_factor\":0.5}");
    for (uint32_t rank = 0; rank < 4; rank++) {
        struct device device = {0};
        struct weights weights;
        ck_assert_int_eq(load(&device, &c, rank, 4, &weights, NULL), STATUS_OK);
        const struct shard *s = &weights.shard;
        const struct weight *got = &weights.layers[1].qkv;
        ck_assert_uint_eq(got->n, (s->heads + 2 * s->kv_heads) * 8);
        for (uint32_t row = 0; row < got->n; row++) {
            uint32_t head = row / 8;
            bool q = head < s->heads, v = head >= s->heads + s->kv_heads;
            uint64_t from = q   ? s->head_first + head
                            : v ? 6 + s->kv_head_first + head - s->heads - s->kv_heads
                                : 4 + s->kv_head_first + head - s->heads;
            check_block(got, row, 1, qkv, 64, 24, from * 8 + (v ? row % 8 : at[row % 8]), 0);
        }
        weights_release(&weights);
        ck_assert_uint_eq(device.live, 0);
    }
}
END_TEST

/* Workers of which one holds to the short factors may not continue each other's streams. */
START_TEST(hash_tells_the_factors)
{
    struct model_config c = config_of(
        "{\"architectures\":[\"Phi3ForCausalLM\"],\"hidden_size\":24,\"head_dim\":4,"
        "\"num_attention_heads\":4,\"intermediate_size\":20,\"num_hidden_layers\":1,"
        "\"vocab_size\":40,\"max_position_embeddings\":64,\"original_max_position_embeddings\":16,"
        "\"rope_scaling\":{\"type\":\"su\",\"short_factor\":[1,1],\"long_factor\":[1,2]}}");
    uint64_t hashes[3];
    for (uint32_t i = 0; i < 3; i++) {
        struct device device = {0};
        struct weights weights;
        model_config_limit(&c, (uint32_t[]){0, 17, 16}[i]);
        ck_assert_int_eq(load(&device, &c, 0, 1, &weights, NULL), STATUS_OK);
        hashes[i] = weights.hash;
        weights_release(&weights);
    }
    ck_assert_uint_eq(hashes[0], hashes[1]);
    ck_assert_uint_ne(hashes[1], hashes[2]);
}
END_TEST

/* tp 4 with 2 KV heads: ranks 0 and 1 hold head 0, ranks 2 and 3 head 1. */
START_TEST(cuts)
{
    static const uint32_t tps[] = {1, 2, 4};
    uint32_t tp = tps[_i];
    struct model_config config = config_of(config_text);
    for (uint32_t rank = 0; rank < tp; rank++) {
        struct device device = {0};
        struct weights weights;
        struct err err = {0};
        ck_assert_msg(load(&device, &config, rank, tp, &weights, &err) == STATUS_OK, "%s",
                      err.text);
        ck_assert_uint_eq(weights.shard.heads, 4 / tp);
        ck_assert_uint_eq(weights.shard.kv_heads, tp == 1 ? 2 : 1);
        ck_assert_uint_eq(weights.shard.kv_head_first, tp == 1 ? 0 : rank * 2 / tp);
        check_rank(&weights, &config);
        weights_release(&weights);
        ck_assert_uint_eq(device.live, 0);
    }
}
END_TEST

/* Every head, column and vocabulary row lies on exactly one rank; KV heads on as many as need them. */
static void check_cover(const struct model_config *config, uint32_t tp)
{
    uint32_t heads = 0, columns = 0, vocab = 0, group = config->heads / config->kv_heads;
    for (uint32_t rank = 0; rank < tp; rank++) {
        struct shard s;
        struct err err = {0};
        ck_assert_msg(shard_init(config, rank, tp, &s, &err) == STATUS_OK, "%s", err.text);
        ck_assert_uint_eq(s.head_first, heads);
        ck_assert_uint_eq(s.intermediate_first, columns);
        ck_assert_uint_eq(s.vocab_first, vocab);
        ck_assert_uint_eq(s.heads % s.kv_heads, 0);
        for (uint32_t head = 0; head < s.heads; head++) /* local q head to local KV head */
            ck_assert_uint_eq((s.head_first + head) / group,
                              s.kv_head_first + head / (s.heads / s.kv_heads));
        heads += s.heads;
        columns += s.intermediate;
        vocab += s.vocab;
    }
    ck_assert_uint_eq(heads, config->heads);
    ck_assert_uint_eq(columns, config->intermediate);
    ck_assert_uint_ge(vocab, config->vocab);
    ck_assert_uint_lt(vocab, config->vocab + tp);
}

START_TEST(odd_cuts)
{
    static const struct {
        uint32_t heads, kv_heads, intermediate, vocab, tp;
    } cases[] = {
        {9, 3, 1536, 49152, 2},   {9, 3, 1536, 49152, 4},    {9, 3, 1536, 49152, 9},
        {14, 2, 4864, 151936, 3}, {28, 4, 18944, 152064, 8}, {40, 8, 17408, 151936, 16},
        {15, 5, 2560, 49153, 2},  {32, 32, 11008, 32000, 3}, {7, 1, 20, 43, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct model_config config = config_of(config_text);
        config.heads = cases[i].heads;
        config.kv_heads = cases[i].kv_heads;
        config.intermediate = cases[i].intermediate;
        config.vocab = cases[i].vocab;
        check_cover(&config, cases[i].tp);
    }
}
END_TEST

START_TEST(refuses_what_leaves_a_rank_empty)
{
    struct model_config config = config_of(config_text);
    struct shard shard;
    struct err err = {0};
    config.intermediate = config.vocab = 4096;
    ck_assert_int_eq(shard_init(&config, 4, 5, &shard, &err), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "num_attention_heads"));
    config.heads = 16;
    config.intermediate = 3;
    ck_assert_int_eq(shard_init(&config, 0, 4, &shard, &err), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "intermediate_size"));
    config.intermediate = 64;
    config.vocab = 5;
    ck_assert_int_eq(shard_init(&config, 0, 4, &shard, &err), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "vocab_size"));
}
END_TEST

/* 40 rows of vocabulary on 3 ranks: 14 each, the last two of rank 2 are zeroes. */
START_TEST(vocabulary_is_padded)
{
    static const uint16_t zeroes[2 * 24];
    struct model_config config = config_of(config_text);
    for (uint32_t rank = 0; rank < 3; rank++) {
        struct device device = {0};
        struct weights weights;
        struct err err = {0};
        ck_assert_msg(load(&device, &config, rank, 3, &weights, &err) == STATUS_OK, "%s", err.text);
        ck_assert_uint_eq(weights.embed.n, 14);
        ck_assert_uint_eq(weights.head.n, 14);
        uint32_t rows = rank == 2 ? 12 : 14;
        check_block(&weights.head, 0, rows, "lm_head.weight", 40, 24, rank * 14, 0);
        check_block(&weights.embed, 0, rows, "model.embed_tokens.weight", 40, 24, rank * 14, 0);
        if (rank == 2)
            ck_assert_mem_eq((uint16_t *)weights.head.data + 12 * 24, zeroes, sizeof(zeroes));
        weights_release(&weights);
        ck_assert_uint_eq(device.live, 0);
    }
}
END_TEST

/* A device that fills up at any point leaves nothing behind. */
START_TEST(full_device)
{
    struct model_config config = config_of(config_text);
    struct device device = {0};
    struct weights weights;
    ck_assert_int_eq(load(&device, &config, 0, 1, &weights, NULL), STATUS_OK);
    size_t total = device.live;
    weights_release(&weights);
    ck_assert_uint_gt(total, 20);
    for (size_t i = 1; i <= total; i++) {
        struct err err = {0};
        device = (struct device){.failing = i};
        ck_assert_int_eq(load(&device, &config, 0, 1, &weights, &err), STATUS_NO_SPACE);
        ck_assert_uint_eq(device.live, 0);
    }
}
END_TEST

START_TEST(missing_folder)
{
    struct model_config config = config_of(config_text);
    struct device device = {0};
    struct weights weights;
    struct err err = {0};
    struct weights_opts opts = {.ops = &plain, .device = &device, .dir = "/nonexistent", .tp = 1};
    ck_assert_int_eq(weights_load(&opts, &config, &weights, &err), STATUS_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent"));
    ck_assert_uint_eq(device.live, 0);
}
END_TEST

/* What a file may get wrong about a tensor that the model asks for. */
static const struct {
    const char *header;
    enum status status;
    const char *word;
} wrong[] = {
    {"{\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     STATUS_NOT_FOUND, "model.embed_tokens.weight is missing"},
    {"{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     STATUS_CORRUPT, "model.embed_tokens.weight"},
    {"{\"model.embed_tokens.weight\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}",
     STATUS_CORRUPT, "[40, 24]"},
    {"{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
     "\"x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]}}",
     STATUS_CORRUPT, "0 dimensions"},
};

START_TEST(refuses_wrong_tensors)
{
    char dir[] = "/tmp/msgl_test_XXXXXX", path[64];
    struct model_config config = config_of(config_text);
    struct device device = {0};
    struct weights weights;
    struct err err = {0};
    uint64_t len = strlen(wrong[_i].header), data = 0;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert(fwrite(&len, 8, 1, file) == 1 && fwrite(wrong[_i].header, len, 1, file) == 1 &&
              fwrite(&data, 8, 1, file) == 1);
    fclose(file);
    struct weights_opts opts = {.ops = &plain, .device = &device, .dir = dir, .tp = 1};
    ck_assert_int_eq(weights_load(&opts, &config, &weights, &err), wrong[_i].status);
    ck_assert_msg(strstr(err.text, wrong[_i].word) != NULL, "%s", err.text);
    ck_assert_uint_eq(device.live, 0);
    unlink(path);
    rmdir(dir);
}
END_TEST

/* The formula's values as make_golden.py's formula() computes them. */
START_TEST(formula_is_stable)
{
    struct source source = {.dummy_seed = 1};
    struct source_tensor tensor;
    float norm[4], bias[4], matrix[4];
    struct source_block block = {0, 1, 0, 4};
    ck_assert_int_eq(source_vector(&source, "model.norm.weight", 4, &tensor, NULL), STATUS_OK);
    source_read(&tensor, &block, DTYPE_F32, norm);
    ck_assert_int_eq(source_vector(&source, "x.bias", 4, &tensor, NULL), STATUS_OK);
    source_read(&tensor, &block, DTYPE_F32, bias);
    ck_assert_int_eq(source_matrix(&source, "lm_head.weight", 8, 4, &tensor, NULL), STATUS_OK);
    block.row_first = 3;
    source_read(&tensor, &block, DTYPE_F32, matrix);
    static const float want_norm[4] = {0.95703125f, 0.93359375f, 1.171875f, 1.125f};
    static const float want_bias[4] = {0.091796875f, 0.1240234375f, -0.1103515625f, 0.02490234375f};
    static const float want_matrix[4] = {0.86328125f, 0.52734375f, 0.62890625f, -0.39453125f};
    ck_assert_mem_eq(norm, want_norm, sizeof(norm));
    ck_assert_mem_eq(bias, want_bias, sizeof(bias));
    ck_assert_mem_eq(matrix, want_matrix, sizeof(matrix));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weights");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, cuts, 0, 3);
    tcase_add_test(tcase, fused_tensors);
    tcase_add_test(tcase, partly_rotated_heads);
    tcase_add_test(tcase, hash_tells_the_factors);
    tcase_add_test(tcase, odd_cuts);
    tcase_add_test(tcase, refuses_what_leaves_a_rank_empty);
    tcase_add_test(tcase, vocabulary_is_padded);
    tcase_add_test(tcase, full_device);
    tcase_add_test(tcase, missing_folder);
    tcase_add_loop_test(tcase, refuses_wrong_tensors, 0, (int)ARRAY_LEN(wrong));
    tcase_add_test(tcase, formula_is_stable);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
