/* Wrong arguments never reach a backend: the sentence, and the abort in front of the table. */
#include "tests/kernels/kit.h"

#include "kernels/ops_check.h"

#include <signal.h>

static float some[64];
static uint32_t ids[8];

static void refused(const char *wrong, const char *word)
{
    ck_assert_msg(wrong != NULL, "passed, though it should say \"%s\"", word);
    ck_assert_msg(strstr(wrong, word) != NULL, "says \"%s\", not \"%s\"", wrong, word);
}

static struct kv_view kv_good(void)
{
    return (struct kv_view){.pool = some,
                            .page_table = ids,
                            .pages = 4,
                            .pages_per_slot = 2,
                            .page_size = 16,
                            .kv_heads = 2,
                            .head_dim = 64};
}

START_TEST(open_and_weights)
{
    struct device_opts opts = {.tp = 1};
    ck_assert_ptr_null(ops_check_open(&opts));
    opts.rank = 1;
    refused(ops_check_open(&opts), "rank");
    opts = (struct device_opts){.tp = 2, .rank = 2, .comm = "x"};
    refused(ops_check_open(&opts), "below tp");
    opts = (struct device_opts){.tp = 2, .rank = 1};
    refused(ops_check_open(&opts), "rendezvous");
    ck_assert_ptr_null(ops_check_weight_load(&(struct load_part){some, DTYPE_F16, 1, 0, 1}, 1, 1));
    refused(ops_check_weight_load(&(struct load_part){NULL, DTYPE_F32, 1, 0, 1}, 1, 1), "NULL");
    refused(ops_check_weight_load(&(struct load_part){some, DTYPE_U32, 1, 0, 1}, 1, 1),
            "f32, bf16 or f16");
    refused(ops_check_weight_load(&(struct load_part){some, DTYPE_F32, 0, 0, 1}, 1, 1), "no rows");
    refused(ops_check_weight_load(&(struct load_part){some, DTYPE_F32, 1, 0, 1}, 1, 0),
            "no columns");
    refused(ops_check_weight_load(&(struct load_part){some, DTYPE_F32, 2, 0, 3}, 1, 4), "overlap");
    refused(ops_check_weight_load(NULL, 0, 1), "parts");
}
END_TEST

START_TEST(matrices_and_rows)
{
    struct weight w = {.data = some, .dtype = DTYPE_F32, .n = 2, .k = 2};
    ck_assert_ptr_null(ops_check_matmul(some + 8, some, &w, 1));
    ck_assert_ptr_null(ops_check_matmul(NULL, NULL, &w, 0));
    refused(ops_check_matmul(some, some, &w, 1), "over its input");
    refused(ops_check_matmul(NULL, some, &w, 1), "NULL");
    refused(ops_check_matmul(some, some + 8, NULL, 1), "not loaded");
    w.dtype = DTYPE_F16;
    refused(ops_check_matmul(some + 8, some, &w, 1), "neither");
    w = (struct weight){.data = some, .dtype = DTYPE_F32, .n = 2};
    refused(ops_check_embed(some, &w, ids, 1), "no columns");
    refused(ops_check_norm(some, some, NULL, 1, 8, 1e-5f), "weight");
    refused(ops_check_norm(some, some, some, 1, 0, 1e-5f), "no elements");
    refused(ops_check_norm(some, some, some, 1, 8, -1), "eps");
    refused(ops_check_norm(some, some, some, 1, 8, NAN), "eps");
    refused(ops_check_rows(some, NULL, 1, 4), "NULL");
    const struct page_set set = {.idx = 2};
    ck_assert_ptr_null(ops_check_page_table_set(ids, 3, &set, 1));
    refused(ops_check_page_table_set(ids, 0, &set, 1), "no pages");
    refused(ops_check_page_table_set(ids, 3, NULL, 1), "NULL");
    refused(ops_check_resolve_tokens(ids, ids, NULL, ids, 1), "NULL");
}
END_TEST

START_TEST(attention_arguments)
{
    struct attn_row row = {.token_count = 1, .pos_first = 31};
    struct kv_view kv = kv_good();
    struct attn_args args = {.out = some,
                             .qkv = some,
                             .qkv_stride = 512,
                             .rows = &row,
                             .rows_host = &row,
                             .row_count = 1,
                             .q_heads = 4,
                             .scale = 0.125f};
    ck_assert_ptr_null(ops_check_attention(&kv, &args));
    row.pos_first = 32;
    refused(ops_check_attention(&kv, &args), "beyond its page table");
    row = (struct attn_row){.token_count = 2, .pos_first = UINT32_MAX};
    refused(ops_check_attention(&kv, &args), "beyond its page table");
    row = (struct attn_row){.token_count = 0}; /* padding */
    ck_assert_ptr_null(ops_check_attention(&kv, &args));
    row.token_count = 1;
    args.qkv_stride = 255;
    refused(ops_check_attention(&kv, &args), "stride");
    args.qkv_stride = 512;
    args.q_heads = 3;
    refused(ops_check_attention(&kv, &args), "multiple of kv heads");
    args.q_heads = 34;
    args.qkv_stride = 4096;
    refused(ops_check_attention(&kv, &args), "more than 16");
    args.q_heads = 4;
    struct attn_group group = {.row_first = 1, .row_count = 1};
    args.groups_host = &group, args.group_count = 1;
    refused(ops_check_attention(&kv, &args), "group");
    kv.head_dim = 60;
    refused(ops_check_attention(&kv, &args), "multiple of 8");
    kv = kv_good(), kv.page_size = 0;
    refused(ops_check_attention(&kv, &args), "no pages");
    kv = kv_good();
    struct qkv_args qkv = {.qkv = some,
                           .positions = ids,
                           .token_slots = ids,
                           .cos_sin = some,
                           .tokens = 1,
                           .q_heads = 4};
    ck_assert_ptr_null(ops_check_qkv(&kv, &qkv));
    qkv.q_norm = some;
    refused(ops_check_qkv(&kv, &qkv), "only one");
    qkv.k_norm = some, qkv.cos_sin = NULL;
    refused(ops_check_qkv(&kv, &qkv), "NULL");
}
END_TEST

START_TEST(sampling_arguments)
{
    struct sample_row row = {.sampling = sampling_default()};
    ck_assert_ptr_null(ops_check_sample(ids, ids, some, 8, &row, 1));
    refused(ops_check_sample(ids, ids, some, 0, &row, 1), "vocabulary");
    refused(ops_check_sample(ids, NULL, some, 8, &row, 1), "NULL");
    struct sampling sampling = sampling_default();
    ck_assert_ptr_null(ops_check_sampling(&sampling));
    sampling.top_p = 0;
    refused(ops_check_sampling(&sampling), "top_p");
    sampling.top_p = NAN;
    refused(ops_check_sampling(&sampling), "top_p");
    sampling = sampling_default(), sampling.min_p = 1;
    refused(ops_check_sampling(&sampling), "min_p");
    sampling = sampling_default(), sampling.temperature = -1;
    refused(ops_check_sampling(&sampling), "temperature");
}
END_TEST

START_TEST(the_table_aborts)
{
    struct device *device = kit_open(1, NULL);
    struct weight w = {.data = some, .dtype = DTYPE_F32, .n = 2, .k = 2};
    ops_find("cpu")->matmul(device, NULL, some, some, &w, NULL, 1);
}
END_TEST

START_TEST(threads_out_of_range)
{
    struct device *device;
    struct err err;
    ck_assert_int_eq(
        ops_find("cpu")->open(&(struct device_opts){.threads = 100000, .tp = 1}, &device, &err),
        STATUS_INVALID);
    ck_assert_ptr_null(ops_find("tpu"));
    ck_assert_ptr_nonnull(ops_find(NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ops_check");
    TCase *tcase = tcase_create("check");
    tcase_add_test(tcase, open_and_weights);
    tcase_add_test(tcase, matrices_and_rows);
    tcase_add_test(tcase, attention_arguments);
    tcase_add_test(tcase, sampling_arguments);
    tcase_add_test_raise_signal(tcase, the_table_aborts, SIGABRT);
    tcase_add_test(tcase, threads_out_of_range);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
