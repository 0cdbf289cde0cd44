/* fixture - what the engine's tests share: model folders, golden files, and two ways to drive an
 * engine: one req by hand, or many through the scheduler. Each test is one program, so all of it is
 * static here. */
#ifndef MSGL_TESTS_WORKER_ENGINE_FIXTURE_H
#define MSGL_TESTS_WORKER_ENGINE_FIXTURE_H

#include "common/config.h"
#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "worker/engine/engine.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURE_TOKENS_MAX 1024

struct fixture_dir {
    char path[64];
};

/* A folder that holds config.json alone: enough for dummy weights. */
static UNUSED struct fixture_dir fixture_dir_make(const json_t *config)
{
    struct fixture_dir dir = {"/tmp/msgl_test_XXXXXX"};
    char path[128];
    ck_assert_ptr_nonnull(mkdtemp(dir.path));
    snprintf(path, sizeof(path), "%s/config.json", dir.path);
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    return dir;
}

static UNUSED void fixture_dir_remove(const struct fixture_dir *dir)
{
    static const char *const names[] = {"config.json", "model.safetensors",
                                        "model.safetensors.index.json", "part-0.safetensors",
                                        "part-1.safetensors"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", dir->path, names[i]);
        unlink(path);
    }
    rmdir(dir->path);
}

/* Where deploy/local/model leaves the real model. */
static UNUSED void fixture_smollm2(char *dir, size_t size)
{
    char *home = config_home();
    snprintf(dir, size, "%s/models/SmolLM2-135M-Instruct", home);
    mem_free(home);
}

static UNUSED struct engine_opts fixture_opts(const char *dir, bool dummy, uint64_t seed)
{
    return (struct engine_opts){
        .model_dir = dir,
        .backend = "cpu",
        .dummy_weights = dummy,
        .dummy_seed = seed,
        .page_size = 16,
        .slots = 8,
        .step_tokens_max = 256,
        .kv_bytes = 64u << 20,
        .threads = 2,
        .tp = 1,
    };
}

static UNUSED struct engine *fixture_engine(const struct engine_opts *opts)
{
    struct engine *engine = NULL;
    struct err err = {0};
    ck_assert_msg(engine_open(opts, &engine, &err) == STATUS_OK, "%s", err.text);
    return engine;
}

/* One JSON file of tests/golden, seen from the repository's root. */
static UNUSED json_t *fixture_golden(const char *name)
{
    char path[256];
    json_t *root = NULL;
    struct err err = {0};
    snprintf(path, sizeof(path), "tests/golden/%s", name);
    ck_assert_msg(json_parse_file(path, 8u << 20, &root, &err) == STATUS_OK, "%s", err.text);
    return root;
}

static UNUSED uint32_t fixture_ids(const json_t *list, uint32_t *out)
{
    size_t count = json_array_size(list);
    ck_assert(count > 0 && count <= FIXTURE_TOKENS_MAX);
    for (size_t i = 0; i < count; i++)
        out[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    return (uint32_t)count;
}

/* One req in slot 0, driven without a scheduler: the prompt in chunks, then decode steps that take
 * the last token on the device. Its pages are first_page, first_page + 1, … */
struct fixture_req {
    struct engine *engine;
    uint32_t page_size, chunk, first_page, slot;
    const uint32_t *prompt;
    uint32_t prompt_count;
};

static UNUSED void fixture_step(const struct fixture_req *req, struct step_builder *builder,
                                void *block, const uint32_t *tokens, uint32_t count, uint32_t pos,
                                bool sampled, struct step_result *result)
{
    static const struct sampling greedy = {.top_p = 1.0f, .repetition_penalty = 1.0f};
    struct err err = {0};
    uint64_t ticket = 0;
    step_builder_reset(builder);
    for (uint32_t i = 0; i < count; i++) {
        if ((pos + i) % req->page_size == 0) {
            uint32_t idx = (pos + i) / req->page_size;
            builder->deltas[builder->delta_count++] =
                (struct page_delta){req->slot, idx, req->first_page + idx};
        }
        builder->tokens[builder->token_count++] = tokens ? tokens[i] : STEP_TOKEN_LAST;
    }
    builder->rows[builder->row_count++] = (struct step_row){req->slot, 0, count, pos};
    if (sampled)
        builder->samples[builder->sample_count++] =
            (struct step_sample){.row = 0, .position = pos + count, .sampling = greedy};
    const struct step_packet *packet = step_builder_finish(builder, pos + 1, block);
    ck_assert_msg(engine_submit(req->engine, packet, &ticket, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(engine_wait(req->engine, ticket, result, &err) == STATUS_OK, "%s", err.text);
}

/* Greedy: `count` tokens to out. first_logits (may be NULL) gets the logits at the prompt's end. */
static UNUSED void fixture_generate(const struct fixture_req *req, uint32_t *out, uint32_t count,
                                    float *first_logits)
{
    const struct engine_info *info = engine_info(req->engine);
    struct step_builder builder;
    struct step_result result;
    void *block = mem_aligned(ROUND_UP(step_packet_bytes_max(&info->limits), 64u), 64);
    step_builder_init(&builder, &info->limits);
    for (uint32_t pos = 0; pos < req->prompt_count; pos += req->chunk) {
        uint32_t n = MIN(req->chunk, req->prompt_count - pos);
        fixture_step(req, &builder, block, req->prompt + pos, n, pos, pos + n == req->prompt_count,
                     &result);
    }
    if (first_logits != NULL)
        memcpy(first_logits, engine_logits(req->engine), info->vocab * sizeof(*first_logits));
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_uint_eq(result.sample_count, 1);
        out[i] = result.tokens[0];
        if (i + 1 < count)
            fixture_step(req, &builder, block, NULL, 1, req->prompt_count + i, true, &result);
    }
    step_builder_release(&builder);
    mem_free(block);
}

#endif
