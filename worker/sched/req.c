/* req - copies of what a caller asked, and the page hashes of its tokens. */
#include "worker/sched/req.h"

#include "common/hash.h"
#include "common/mem.h"

#include <string.h>

void req_fill(struct req *req, const struct req_spec *spec, uint32_t end_count, uint32_t page_size,
              uint64_t root_hash)
{
    uint64_t id = req->id;
    *req = (struct req){
        .id = id,
        .user = spec->user,
        .state = REQ_WAITING,
        .token_count = spec->token_count,
        .prompt_count = spec->prompt_count,
        .end_count = end_count,
        .tokens_min = spec->tokens_min,
        .stop_id_count = spec->ignore_eos ? 0 : spec->stop_id_count,
        .sampling = spec->sampling,
        .namespace_hash = spec->namespace_hash,
        .root_hash = root_hash,
        .priority = spec->priority,
        .deadline_ms = spec->deadline_ms,
        .logprobs = spec->logprobs,
        .score_next = spec->score_from,
        .bias_count = spec->bias_count,
        .grammar = spec->grammar,
    };
    req->tokens = mem_alloc(end_count * sizeof(*req->tokens));
    memcpy(req->tokens, spec->tokens, spec->token_count * sizeof(*req->tokens));
    req->hashes = mem_alloc((end_count / page_size + 1) * sizeof(*req->hashes));
    if (req->stop_id_count)
        memcpy(req->stop_ids, spec->stop_ids, req->stop_id_count * sizeof(*req->stop_ids));
    if (req->bias_count) {
        req->bias = mem_array(req->bias_count, 2 * sizeof(*req->bias));
        memcpy(req->bias, spec->bias, req->bias_count * 2 * sizeof(*req->bias));
    }
    list_init(&req->by_rank);
    list_init(&req->by_age);
    list_init(&req->cancel);
}

void req_release(struct req *req)
{
    list_remove(&req->by_rank);
    list_remove(&req->by_age);
    list_remove(&req->cancel);
    mem_free(req->tokens);
    mem_free(req->hashes);
    mem_free(req->bias);
    req->tokens = NULL;
    req->bias = NULL;
    req->hashes = NULL;
    req->state = REQ_UNUSED;
    req->id += (uint64_t)1 << 32;
}

void req_hash(struct req *req, uint32_t page_count, uint32_t page_size)
{
    CHECK((uint64_t)page_count * page_size <= req->token_count);
    for (; req->hash_count < page_count; req->hash_count++) {
        uint32_t i = req->hash_count;
        req->hashes[i] = page_hash_next(i ? req->hashes[i - 1] : req->root_hash,
                                        req->tokens + (size_t)i * page_size, page_size);
    }
}

/* The device must know the stop tokens: to ban them, or to let them pass at a grammar's end. */
static bool needs_stops(const struct req *req)
{
    return req->stop_id_count > 0 &&
           (req->grammar || req->token_count - req->prompt_count < req->tokens_min);
}

uint32_t req_setup_words(const struct req *req)
{
    return (sampling_penalized(&req->sampling) ? req->token_count : 0) + 2 * req->bias_count +
           (needs_stops(req) ? req->stop_id_count : 0) +
           (req->grammar ? 1 + req->token_count - req->prompt_count : 0);
}

bool req_stops_at(const struct req *req, uint32_t token)
{
    for (uint32_t i = 0; i < req->stop_id_count; i++)
        if (req->stop_ids[i] == token)
            return true;
    return false;
}
