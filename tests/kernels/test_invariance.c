/* The same bits whatever is around: batch mates, chunk size, page size, threads. */
#include "tests/kernels/kit.h"

static const struct isa *isas[2];
static int isa_count;

/* Row i of a product of m rows against the product of row i alone, for every m up to 37 and some
 * beyond a chunk's rows. */
START_TEST(matmul_rows_do_not_see_each_other)
{
    static const uint32_t shapes[][2] = {{50, 36}, {13, 145}, {72, 64}, {25, 15}};
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 13, 37, 131};
    const struct ops *ops = ops_find("cpu");
    const uint32_t *shape = shapes[_i], n = shape[0], k = shape[1], rows = 131;
    for (int isa = 0; isa < isa_count; isa++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            struct device *device = kit_open(2, isas[isa]);
            uint64_t seed = 9 + (uint64_t)_i;
            float *wide, *x = kit_floats(&seed, (size_t)rows * k, 1),
                         *bias = kit_floats(&seed, n, 1);
            struct weight w = kit_weight(device, &seed, bf16 ? DTYPE_BF16 : DTYPE_F32, n, k, &wide);
            float *alone = mem_array((size_t)rows * n, 4),
                  *together = mem_array((size_t)rows * n, 4);
            for (uint32_t i = 0; i < rows; i++)
                ops->matmul(device, NULL, alone + (size_t)i * n, x + (size_t)i * k, &w, bias, 1);
            for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
                ops->matmul(device, NULL, together, x, &w, bias, counts[c]);
                kit_same_bits(together, alone, (size_t)counts[c] * n, "matmul");
            }
            ops->weight_free(device, &w);
            ops->close(device);
            mem_free(wide), mem_free(x), mem_free(bias), mem_free(alone), mem_free(together);
        }
}
END_TEST

struct setting {
    uint32_t chunk, page_size, threads;
};

#define TOKENS   150u
#define DIM      64u
#define Q_HEADS  9u
#define KV_HEADS 3u
#define STRIDE   ((Q_HEADS + 2 * KV_HEADS) * DIM)

/* Stores and attends a sequence in chunks, with a mate of another length in every call. */
static void sequence_run(const struct setting *setting, const struct isa *isa, uint32_t window,
                         float *out)
{
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(setting->threads, isa);
    uint64_t seed = 77;
    float *tokens = kit_floats(&seed, (size_t)TOKENS * STRIDE, 1),
          *cos_sin = kit_floats(&seed, 256 * DIM, 1);
    uint32_t per_slot = DIV_CEIL(256, setting->page_size), pages = 2 * per_slot;
    uint32_t *table = mem_array(pages, 4);
    for (uint32_t i = 0; i < pages; i++)
        table[i] = pages - 1 - i;
    struct kv_view kv = {.page_table = table,
                         .pages = pages,
                         .pages_per_slot = per_slot,
                         .page_size = setting->page_size,
                         .kv_heads = KV_HEADS,
                         .head_dim = DIM};
    kv.pool = mem_array((size_t)pages * 2 * KV_HEADS * setting->page_size * DIM, sizeof(float));
    uint32_t most = setting->chunk + 1;
    float *qkv = mem_array((size_t)most * STRIDE, 4),
          *answer = mem_array((size_t)most * Q_HEADS * DIM, 4);
    uint32_t *positions = mem_array(most, 4), *slots = mem_array(most, 4);
    for (uint32_t first = 0; first < TOKENS; first += setting->chunk) {
        uint32_t count = MIN(setting->chunk, TOKENS - first), mate = first / setting->chunk;
        memcpy(qkv, tokens, STRIDE * 4);
        memcpy(qkv + STRIDE, tokens + (size_t)first * STRIDE, (size_t)count * STRIDE * 4);
        positions[0] = mate, slots[0] = 1;
        for (uint32_t i = 0; i < count; i++)
            positions[i + 1] = first + i, slots[i + 1] = 0;
        struct qkv_args args = {.qkv = qkv,
                                .positions = positions,
                                .token_slots = slots,
                                .cos_sin = cos_sin,
                                .tokens = count + 1,
                                .q_heads = Q_HEADS};
        ops->qk_rope_store(device, NULL, &kv, &args);
        struct attn_row rows[] = {{1, 0, 1, mate}, {0, 1, count, first}};
        struct attn_args attn = {.out = answer,
                                 .qkv = qkv,
                                 .qkv_stride = STRIDE,
                                 .rows = rows,
                                 .rows_host = rows,
                                 .row_count = 2,
                                 .q_heads = Q_HEADS,
                                 .scale = 0.125f,
                                 .window = window};
        ops->attention(device, NULL, &kv, &attn);
        memcpy(out + (size_t)first * Q_HEADS * DIM, answer + Q_HEADS * DIM,
               (size_t)count * Q_HEADS * DIM * 4);
    }
    ops->close(device);
    mem_free(tokens), mem_free(cos_sin), mem_free(table), mem_free(kv.pool), mem_free(qkv);
    mem_free(answer), mem_free(positions), mem_free(slots);
}

START_TEST(attention_does_not_see_chunks_or_pages)
{
    static const struct setting settings[] = {{1, 16, 1}, {64, 16, 2}, {TOKENS, 16, 2},
                                              {7, 1, 3},  {33, 64, 2}, {50, 7, 1}};
    static const uint32_t windows[] = {0, 20, 100};
    size_t count = (size_t)TOKENS * Q_HEADS * DIM;
    float *want = mem_array(count, 4), *got = mem_array(count, 4);
    for (int isa = 0; isa < isa_count; isa++) {
        sequence_run(&settings[0], isas[isa], windows[_i], want);
        for (size_t s = 1; s < ARRAY_LEN(settings); s++) {
            sequence_run(&settings[s], isas[isa], windows[_i], got);
            kit_same_bits(got, want, count, "attention");
        }
    }
    mem_free(want), mem_free(got);
}
END_TEST

START_TEST(threads_change_nothing)
{
    const struct ops *ops = ops_find("cpu");
    uint64_t seed = 3;
    float *x = kit_floats(&seed, 200 * 96, 1), *first = NULL;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct device *device = kit_open(threads, NULL);
        float *wide, *y = mem_array(200 * 300, 4), *z = mem_array(200 * 150, 4);
        uint64_t weight_seed = 5;
        struct weight w = kit_weight(device, &weight_seed, DTYPE_BF16, 300, 96, &wide);
        for (int turn = 0; turn < 50; turn++) { /* many small jobs: the pool's hand-over */
            ops->matmul(device, NULL, y, x, &w, NULL, 1 + (uint32_t)turn % 5);
            ops->silu_mul(device, NULL, z, y, 1 + (uint32_t)turn % 5, 150);
        }
        ops->matmul(device, NULL, y, x, &w, NULL, 200);
        ops->silu_mul(device, NULL, z, y, 200, 150);
        if (!first)
            first = z;
        else
            kit_same_bits(z, first, 200 * 150, "threads");
        ops->weight_free(device, &w);
        ops->close(device);
        mem_free(wide), mem_free(y);
        if (z != first)
            mem_free(z);
    }
    mem_free(x), mem_free(first);
}
END_TEST

int main(void)
{
    isa_count = kit_isas(isas);
    Suite *suite = suite_create("invariance");
    TCase *tcase = tcase_create("cpu");
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, matmul_rows_do_not_see_each_other, 0, 4);
    tcase_add_loop_test(tcase, attention_does_not_see_chunks_or_pages, 0, 3);
    tcase_add_test(tcase, threads_change_nothing);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
