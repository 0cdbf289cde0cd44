/* The engine's contract: options, packets, tickets, the event, no allocation in a steady step, and
 * that a checkpoint on disk gives the tokens of the formula it was written from. */
#include "tests/worker/engine/fixture.h"

#include "worker/model/source.h"

#include <poll.h>

static const char config_text[] =
    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"hidden_size\":96,\"num_attention_heads\":6,"
    "\"num_key_value_heads\":2,\"head_dim\":64,\"intermediate_size\":112,\"num_hidden_layers\":2,"
    "\"vocab_size\":320,\"max_position_embeddings\":256}";

static struct fixture_dir make_dir(void)
{
    json_t *config = json_loads(config_text, 0, NULL);
    struct fixture_dir dir = fixture_dir_make(config);
    json_decref(config);
    return dir;
}

/* An open engine with a builder and a block beside it. */
struct rig {
    struct fixture_dir dir;
    struct engine *engine;
    struct step_builder builder;
    void *block;
};

static struct rig rig_make(void)
{
    struct rig rig = {.dir = make_dir()};
    struct engine_opts opts = fixture_opts(rig.dir.path, true, 3);
    rig.engine = fixture_engine(&opts);
    const struct step_limits *limits = &engine_info(rig.engine)->limits;
    step_builder_init(&rig.builder, limits);
    rig.block = mem_aligned(ROUND_UP(step_packet_bytes_max(limits), 64u), 64);
    return rig;
}

static void rig_release(struct rig *rig)
{
    engine_close(rig->engine);
    step_builder_release(&rig->builder);
    mem_free(rig->block);
    fixture_dir_remove(&rig->dir);
}

/* One row of slot 0 at `pos`, sampled. `token` may be STEP_TOKEN_LAST. */
static const struct step_packet *rig_packet(struct rig *rig, uint32_t token, uint32_t pos)
{
    step_builder_reset(&rig->builder);
    rig->builder.tokens[rig->builder.token_count++] = token;
    rig->builder.rows[rig->builder.row_count++] = (struct step_row){0, 0, 1, pos};
    rig->builder.deltas[rig->builder.delta_count++] =
        (struct page_delta){0, pos / 16, 1 + pos / 16};
    rig->builder.samples[rig->builder.sample_count++] =
        (struct step_sample){.row = 0, .position = pos + 1, .sampling = {.top_p = 1.0f}};
    return step_builder_finish(&rig->builder, pos + 1, rig->block);
}

START_TEST(info_is_filled)
{
    struct rig rig = rig_make();
    const struct engine_info *info = engine_info(rig.engine);
    ck_assert_uint_eq(info->vocab, 320);
    ck_assert_uint_eq(info->context_max, 256);
    ck_assert_uint_eq(info->limits.rows, 8);
    ck_assert_uint_eq(info->limits.tokens, 256);
    ck_assert_uint_eq(info->kv_bytes, (uint64_t)info->pages * 2 * 2 * 2 * 16 * 64 * sizeof(float));
    ck_assert_uint_le(info->kv_bytes, 64u << 20);
    ck_assert_uint_gt(info->kv_bytes, 63u << 20);
    ck_assert_uint_gt(info->weight_bytes, 0);
    ck_assert_uint_ne(info->weights_hash, 0);
    ck_assert(strlen(info->device) > 0);
    ck_assert(info->prefill_us_per_token > 0 && info->decode_us_per_row > 0);
    rig_release(&rig);
}
END_TEST

static bool readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

/* N+1 is submitted before N is waited for and takes its token on the device. */
START_TEST(two_in_flight)
{
    struct rig rig = rig_make();
    struct step_result result;
    struct err err = {0};
    uint32_t serial[20], overlapped[20];
    uint64_t tickets[2], ticket;
    for (uint32_t i = 0; i < 20; i++) {
        const struct step_packet *packet = rig_packet(&rig, i == 0 ? 5 : serial[i - 1], i);
        ck_assert_int_eq(engine_submit(rig.engine, packet, &ticket, &err), STATUS_OK);
        ck_assert_int_eq(engine_wait(rig.engine, ticket, &result, &err), STATUS_OK);
        ck_assert_uint_eq(result.step, i + 1);
        ck_assert_uint_gt(result.device_ns, 0);
        serial[i] = result.tokens[0];
    }
    for (uint32_t i = 0; i <= 20; i++) {
        if (i < 20)
            ck_assert_int_eq(engine_submit(rig.engine, rig_packet(&rig, i ? STEP_TOKEN_LAST : 5, i),
                                           &tickets[i % 2], &err),
                             STATUS_OK);
        if (i > 0) {
            ck_assert_int_eq(engine_wait(rig.engine, tickets[(i - 1) % 2], &result, &err),
                             STATUS_OK);
            overlapped[i - 1] = result.tokens[0];
        }
    }
    ck_assert_mem_eq(serial, overlapped, sizeof(serial));
    rig_release(&rig);
}
END_TEST

START_TEST(event_fd)
{
    struct rig rig = rig_make();
    struct step_result result;
    uint64_t tickets[2];
    int fd = engine_event_fd(rig.engine);
    ck_assert(!readable(fd));
    for (uint32_t i = 0; i < 2; i++)
        ck_assert_int_eq(engine_submit(rig.engine, rig_packet(&rig, 7, i), &tickets[i], NULL),
                         STATUS_OK);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(poll(&poll_fd, 1, 20000), 1);
    ck_assert_int_eq(engine_wait(rig.engine, tickets[0], &result, NULL), STATUS_OK);
    ck_assert_int_eq(poll(&poll_fd, 1, 20000), 1);
    ck_assert_int_eq(engine_wait(rig.engine, tickets[1], &result, NULL), STATUS_OK);
    ck_assert(!readable(fd));
    rig_release(&rig);
}
END_TEST

START_TEST(closes_with_steps_in_flight)
{
    struct rig rig = rig_make();
    uint64_t ticket;
    for (uint32_t i = 0; i < 2; i++)
        ck_assert_int_eq(engine_submit(rig.engine, rig_packet(&rig, 7, i), &ticket, NULL),
                         STATUS_OK);
    rig_release(&rig);
}
END_TEST

/* Steps before the failing one are good; it and all later ones are bad, with its words. */
START_TEST(failure_is_sticky)
{
    struct rig rig = {.dir = make_dir()};
    struct engine_opts opts = fixture_opts(rig.dir.path, true, 3);
    struct step_result result;
    uint64_t ticket;
    opts.fail_step = 3;
    rig.engine = fixture_engine(&opts);
    const struct step_limits *limits = &engine_info(rig.engine)->limits;
    step_builder_init(&rig.builder, limits);
    rig.block = mem_aligned(ROUND_UP(step_packet_bytes_max(limits), 64u), 64);
    for (uint32_t i = 0; i < 6; i++) {
        struct err err = {0};
        ck_assert_int_eq(engine_submit(rig.engine, rig_packet(&rig, 9, i), &ticket, &err),
                         STATUS_OK);
        enum status status = engine_wait(rig.engine, ticket, &result, &err);
        ck_assert_int_eq(status, i < 2 ? STATUS_OK : STATUS_INTERNAL);
        ck_assert(i < 2 || strstr(err.text, "step 3") != NULL);
    }
    rig_release(&rig);
}
END_TEST

START_TEST(steady_step_allocates_nothing)
{
    struct rig rig = rig_make();
    struct step_result result;
    uint64_t ticket, before = 0;
    for (uint32_t i = 0; i < 40; i++) {
        if (i == 4)
            before = mem_alloc_count();
        ck_assert_int_eq(engine_submit(rig.engine, rig_packet(&rig, 9, i), &ticket, NULL),
                         STATUS_OK);
        ck_assert_int_eq(engine_wait(rig.engine, ticket, &result, NULL), STATUS_OK);
    }
    ck_assert_uint_eq(mem_alloc_count(), before);
    rig_release(&rig);
}
END_TEST

/* A packet that is wrong in one place is refused, and the engine goes on. */
static void break_packet(struct step_packet *packet, int how)
{
    switch (how) {
    case 0:
        STEP_PART(uint32_t, packet, tokens_off)[0] = 320;
        break;
    case 1:
        STEP_PART(uint32_t, packet, tokens_off)[0] = UINT32_MAX - 1;
        break;
    case 2:
        STEP_PART(struct page_delta, packet, deltas_off)->page = 1u << 30;
        break;
    case 3:
        STEP_PART(struct page_delta, packet, deltas_off)->idx = 16;
        break;
    case 4:
        STEP_PART(struct page_delta, packet, deltas_off)->slot = 8;
        break;
    case 5:
        STEP_PART(struct step_row, packet, rows_off)->pos_first = 256;
        break;
    case 6:
        STEP_PART(struct step_row, packet, rows_off)->slot = 8;
        break;
    case 7:
        STEP_PART(struct step_row, packet, rows_off)->token_count = 2;
        break;
    case 8:
        STEP_PART(struct step_sample, packet, samples_off)->row = 1;
        break;
    case 9:
        packet->rows_off = 1u << 20;
        break;
    case 10:
        packet->token_count = 1u << 20;
        break;
    default:
        packet->bytes = 8;
        break;
    }
}

START_TEST(refuses_broken_packets)
{
    struct rig rig = rig_make();
    struct step_result result;
    struct err err = {0};
    uint64_t ticket;
    for (int how = 0; how < 12; how++) {
        struct step_packet *packet = (struct step_packet *)(uintptr_t)rig_packet(&rig, 7, 0);
        break_packet(packet, how);
        ck_assert_msg(engine_submit(rig.engine, packet, &ticket, &err) == STATUS_INVALID, "case %d",
                      how);
        ck_assert(strlen(err.text) > 0);
    }
    ck_assert_int_eq(engine_submit(rig.engine, rig_packet(&rig, 7, 0), &ticket, &err), STATUS_OK);
    ck_assert_int_eq(engine_wait(rig.engine, ticket, &result, &err), STATUS_OK);
    rig_release(&rig);
}
END_TEST

static void break_opts(struct engine_opts *opts, int how)
{
    switch (how) {
    case 0:
        opts->page_size = 0;
        break;
    case 1:
        opts->page_size = 24;
        break;
    case 2:
        opts->page_size = 512;
        break;
    case 3:
        opts->slots = 0;
        break;
    case 4:
        opts->step_tokens_max = 7;
        break;
    case 5:
        opts->kv_bytes = 0;
        opts->memory_ratio = -0.5;
        break;
    case 6:
        opts->kv_bytes = 0;
        opts->memory_ratio = 1.5;
        break;
    case 7:
        opts->rank = 1;
        break;
    case 8:
        opts->tp = 2;
        break;
    case 9:
        opts->kv_bytes = 1;
        break;
    case 10:
        opts->backend = "abacus";
        break;
    case 11:
        opts->model_dir = "/nonexistent";
        break;
    default:
        opts->dummy_weights = false;
        break;
    }
}

START_TEST(refuses_broken_options)
{
    struct fixture_dir dir = make_dir();
    struct engine *engine = NULL;
    for (int how = 0; how < 13; how++) {
        struct engine_opts opts = fixture_opts(dir.path, true, 3);
        struct err err = {0};
        break_opts(&opts, how);
        ck_assert_msg(engine_open(&opts, &engine, &err) != STATUS_OK, "case %d", how);
        ck_assert_msg(strlen(err.text) > 0, "case %d has no words", how);
        ck_assert_ptr_null(engine);
    }
    fixture_dir_remove(&dir);
}
END_TEST

/* The pool bounds the context: HELLO's max length is what one req can really have. */
START_TEST(small_pool_bounds_context)
{
    struct fixture_dir dir = make_dir();
    struct engine_opts opts = fixture_opts(dir.path, true, 3);
    opts.kv_bytes = 3 * 2 * 2 * 2 * 16 * 64 * sizeof(float) + 100;
    struct engine *engine = fixture_engine(&opts);
    ck_assert_uint_eq(engine_info(engine)->pages, 3);
    ck_assert_uint_eq(engine_info(engine)->context_max, 48);
    engine_close(engine);
    opts.kv_bytes = 0;
    opts.memory_ratio = 0.5;
    opts.context_max = 100;
    engine = fixture_engine(&opts);
    ck_assert_uint_eq(engine_info(engine)->context_max, 100);
    ck_assert_uint_le(engine_info(engine)->kv_bytes, 2ull << 30);
    engine_close(engine);
    fixture_dir_remove(&dir);
}
END_TEST

/* A checkpoint of the formula as files: F32, BF16 as it is, in one file or two. */
struct writer {
    struct buf header, data;
    enum dtype dtype;
};

static void writer_add(struct writer *writer, const char *name, uint64_t n, uint64_t k)
{
    struct source source = {.dummy_seed = 3};
    struct source_tensor tensor;
    if (n > 0)
        ck_assert_int_eq(source_matrix(&source, name, n, k, &tensor, NULL), STATUS_OK);
    else
        ck_assert_int_eq(source_vector(&source, name, k, &tensor, NULL), STATUS_OK);
    uint64_t rows = MAX(n, 1u), bytes = rows * k * dtype_bytes(writer->dtype);
    void *data = mem_alloc(bytes);
    source_read(&tensor, &(struct source_block){0, rows, 0, k}, writer->dtype, data);
    buf_printf(&writer->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
               writer->header.len ? "," : "{", name, writer->dtype == DTYPE_F32 ? "F32" : "BF16");
    if (n > 0)
        buf_printf(&writer->header, "%llu,", (unsigned long long)n);
    buf_printf(&writer->header, "%llu],\"data_offsets\":[%zu,%zu]}", (unsigned long long)k,
               writer->data.len, writer->data.len + (size_t)bytes);
    buf_append(&writer->data, data, bytes);
    mem_free(data);
}

static void writer_end(struct writer *writer, const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    buf_char(&writer->header, '}');
    uint64_t len = writer->header.len;
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert(fwrite(&len, 8, 1, file) == 1 && fwrite(writer->header.data, len, 1, file) == 1 &&
              fwrite(writer->data.data, writer->data.len, 1, file) == 1);
    fclose(file);
    buf_release(&writer->header);
    buf_release(&writer->data);
}

static void write_layer(struct writer *writer, int layer)
{
    static const struct {
        const char *name;
        uint64_t n, k;
    } tensors[] = {
        {"input_layernorm.weight", 0, 96},       {"post_attention_layernorm.weight", 0, 96},
        {"self_attn.q_proj.weight", 6 * 64, 96}, {"self_attn.k_proj.weight", 2 * 64, 96},
        {"self_attn.v_proj.weight", 2 * 64, 96}, {"self_attn.o_proj.weight", 96, 6 * 64},
        {"self_attn.q_proj.bias", 0, 6 * 64},    {"self_attn.k_proj.bias", 0, 2 * 64},
        {"self_attn.v_proj.bias", 0, 2 * 64},    {"mlp.gate_proj.weight", 112, 96},
        {"mlp.up_proj.weight", 112, 96},         {"mlp.down_proj.weight", 96, 112},
    };
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++) {
        char name[128];
        snprintf(name, sizeof(name), "model.layers.%d.%s", layer, tensors[i].name);
        writer_add(writer, name, tensors[i].n, tensors[i].k);
    }
}

static void write_index(const char *dir)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/model.safetensors.index.json", dir);
    FILE *file = fopen(path, "w");
    fputs("{\"metadata\":{},\"weight_map\":{\"lm_head.weight\":\"part-0.safetensors\","
          "\"model.layers.1.input_layernorm.weight\":\"part-1.safetensors\"}}",
          file);
    fclose(file);
}

static void tokens_of(const char *dir, bool dummy, uint32_t *out, uint64_t *hash)
{
    static const uint32_t prompt[] = {5, 17, 300, 2, 9, 9, 41};
    struct engine_opts opts = fixture_opts(dir, dummy, 3);
    struct engine *engine = fixture_engine(&opts);
    struct fixture_req req = {.engine = engine,
                              .page_size = 16,
                              .chunk = 64,
                              .prompt = prompt,
                              .prompt_count = ARRAY_LEN(prompt)};
    fixture_generate(&req, out, 32, NULL);
    *hash = engine_info(engine)->weights_hash;
    engine_close(engine);
}

START_TEST(files_give_the_same_tokens)
{
    uint32_t want[32], got[32];
    uint64_t dummy_hash, hash;
    bool sharded = _i & 1;
    struct fixture_dir dir = make_dir();
    tokens_of(dir.path, true, want, &dummy_hash);
    struct writer writer = {.dtype = _i & 2 ? DTYPE_F32 : DTYPE_BF16};
    writer_add(&writer, "lm_head.weight", 320, 96);
    writer_add(&writer, "model.embed_tokens.weight", 320, 96);
    writer_add(&writer, "model.norm.weight", 0, 96);
    write_layer(&writer, 0);
    if (sharded) {
        writer_end(&writer, dir.path, "part-0.safetensors");
        write_index(dir.path);
        writer = (struct writer){.dtype = DTYPE_BF16};
    }
    write_layer(&writer, 1);
    writer_end(&writer, dir.path, sharded ? "part-1.safetensors" : "model.safetensors");
    tokens_of(dir.path, false, got, &hash);
    ck_assert_mem_eq(want, got, sizeof(want));
    ck_assert(hash != dummy_hash);
    fixture_dir_remove(&dir);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, info_is_filled);
    tcase_add_test(tcase, two_in_flight);
    tcase_add_test(tcase, event_fd);
    tcase_add_test(tcase, closes_with_steps_in_flight);
    tcase_add_test(tcase, failure_is_sticky);
    tcase_add_test(tcase, steady_step_allocates_nothing);
    tcase_add_test(tcase, refuses_broken_packets);
    tcase_add_test(tcase, refuses_broken_options);
    tcase_add_test(tcase, small_pool_bounds_context);
    tcase_add_loop_test(tcase, files_give_the_same_tokens, 0, 4);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
