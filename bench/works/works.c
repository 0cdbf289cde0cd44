#include "bench/works/works.h"

#include "bench/works/pyrandom.h"
#include "common/mem.h"

#include <string.h>

#define TOKEN_MAX 10000u

static uint32_t cut(uint32_t count, uint32_t divide)
{
    return MAX(count / divide, 1u);
}

static void draw_tokens(struct pyrandom *random, uint32_t *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = pyrandom_int(random, 0, TOKEN_MAX);
}

/* The order of the draws is part of the workload: a prompt's length, its tokens, the next prompt …,
 * and at last the lengths of the answers. */
static void make_reference(struct work *work, struct pyrandom *random, uint32_t divide)
{
    for (uint32_t i = 0; i < work->req_count; i++) {
        struct work_req *req = &work->reqs[i];
        req->token_count = pyrandom_int(random, cut(100, divide), cut(1024, divide));
        req->tokens = mem_array(req->token_count, sizeof(*req->tokens));
        draw_tokens(random, req->tokens, req->token_count);
    }
    for (uint32_t i = 0; i < work->req_count; i++)
        work->reqs[i].out_count = pyrandom_int(random, cut(100, divide), cut(1024, divide));
}

static void make_equal(struct work *work, struct pyrandom *random, uint32_t shared, uint32_t own,
                       uint32_t out_count)
{
    uint32_t *prefix = mem_array(shared, sizeof(*prefix));
    draw_tokens(random, prefix, shared);
    for (uint32_t i = 0; i < work->req_count; i++) {
        struct work_req *req = &work->reqs[i];
        req->token_count = shared + own;
        req->out_count = out_count;
        req->tokens = mem_array(req->token_count, sizeof(*req->tokens));
        memcpy(req->tokens, prefix, shared * sizeof(*prefix));
        draw_tokens(random, req->tokens + shared, own);
    }
    mem_free(prefix);
}

void work_init(struct work *work, enum work_kind kind, uint64_t seed, uint32_t divide)
{
    static const uint32_t counts[WORK_COUNT] = {256, 1, 32, 256};
    struct pyrandom random;
    pyrandom_seed(&random, 1000 * (uint64_t)kind + seed);
    *work = (struct work){.req_count = cut(counts[kind], divide)};
    work->reqs = mem_array(work->req_count, sizeof(*work->reqs));
    switch (kind) {
    case WORK_REFERENCE:
        make_reference(work, &random, divide);
        break;
    case WORK_SINGLE:
        make_equal(work, &random, 0, cut(128, divide), cut(1024, divide));
        break;
    case WORK_PREFILL:
        make_equal(work, &random, 0, cut(4000, divide), 1);
        break;
    default:
        make_equal(work, &random, cut(2000, divide), cut(100, divide), cut(100, divide));
    }
    for (uint32_t i = 0; i < work->req_count; i++) {
        work->tokens_in += work->reqs[i].token_count;
        work->tokens_out += work->reqs[i].out_count;
    }
}

void work_release(struct work *work)
{
    for (uint32_t i = 0; i < work->req_count; i++)
        mem_free(work->reqs[i].tokens);
    mem_free(work->reqs);
    *work = (struct work){0};
}

const char *work_name(enum work_kind kind)
{
    static const char *const names[] = {"reference", "single", "prefill", "shared"};
    return names[kind];
}
