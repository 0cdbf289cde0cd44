/* step - writes what was decided into a packet, and takes the tokens of a computed one. */
#include "worker/sched/sched.h"

#include <string.h>

#define USUAL_RATE (1.0 / 16) /* weight of the newest end in the usual length */

static void put_deltas(struct step_builder *b, struct req *req)
{
    for (; req->synced < req->page_count; req->synced++)
        b->deltas[b->delta_count++] =
            (struct page_delta){req->slot, req->synced, req->table[req->synced]};
}

/* The req's row; the token that a step in flight samples is left to the device. */
static void put_row(struct scheduler *s, struct req *req, struct step_record *record)
{
    struct step_builder *b = &s->builder;
    uint32_t left = req_left(req), count = req->chunk, row = b->row_count++;
    b->rows[row] = (struct step_row){req->slot, b->token_count, count, req->planned};
    uint32_t known = MIN(count, req->token_count - MIN(req->token_count, req->planned));
    memcpy(b->tokens + b->token_count, req->tokens + req->planned, known * sizeof(*b->tokens));
    CHECK(count - known <= 1 && (known == count || count == 1));
    if (known < count)
        b->tokens[b->token_count] = STEP_TOKEN_LAST;
    b->token_count += count;
    put_deltas(b, req);
    bool sampled = count == left;
    req->planned += count;
    if (sampled) {
        b->samples[b->sample_count++] = (struct step_sample){
            .row = row, .position = req->planned, .sampling = req->sampling};
        req->in_flight++;
        record->sample_count++;
    }
    if (left > 1 && req_left(req) <= 1)
        s->decode_set++; /* its prefill is done: it joins the decode rows */
    req->chunk = 0;
    req->last_step = record->step;
    record->rows[row].req = req->id;
    record->rows[row].run = req->run;
    record->rows[row].token_count = count;
    record->rows[row].sampled = sampled;
}

/* Decode rows in group order. A group shrinks by the members that have no row in this step. */
static void put_decodes(struct scheduler *s, struct step_record *record)
{
    struct step_builder *b = &s->builder;
    for (uint32_t g = 0; g < s->group_count; g++)
        s->groups_left[g] = (struct prefix_group){UINT32_MAX, 0, s->groups[g].page_count};
    for (uint32_t i = 0; i < s->order_count; i++) {
        struct req *req = s->order[i];
        if (req->chunk == 0)
            continue;
        uint32_t group = s->group_of[i];
        if (group != UINT32_MAX) {
            struct prefix_group *left = &s->groups_left[group];
            left->row_first = MIN(left->row_first, b->row_count);
            left->row_count++;
        }
        put_row(s, req, record);
    }
    for (uint32_t g = 0; g < s->group_count; g++)
        if (s->groups_left[g].row_count > 1)
            b->groups[b->group_count++] = s->groups_left[g];
}

bool step_build(struct scheduler *s)
{
    struct step_record *record = &s->records[(s->planned + 1) & 1];
    step_builder_reset(&s->builder);
    record->step = s->planned + 1;
    record->row_count = record->sample_count = 0;
    groups_order(s);
    put_decodes(s, record);
    record->decode_rows = s->builder.row_count;
    for (uint32_t i = 0; i < s->running_count; i++)
        if (s->running[i]->chunk > 0)
            put_row(s, s->running[i], record);
    record->row_count = s->builder.row_count;
    record->prefill_tokens = s->builder.token_count - record->decode_rows;
    return record->row_count > 0;
}

/* What the step computed belongs to the req now; its full pages go to the tree. */
static void take_computed(struct scheduler *s, struct req *req, uint32_t token_count)
{
    req->computed += token_count;
    uint32_t size = s->opts.page_size, full = req->computed / size, have = req->tree_pages;
    if (!s->opts.cache || full == have)
        return;
    uint32_t shared;
    req_hash(req, full, size);
    req->node = radix_insert(&s->radix, req->node, req->tokens + (size_t)have * size,
                             req->hashes + have, req->table + have, full - have, req->last_step,
                             &shared);
    req->tree_pages = full;
    if (shared > 0) { /* the device must learn of the tree's pages */
        req->synced = MIN(req->synced, have);
        s->decode_set++;
    }
}

static void take_token(struct scheduler *s, struct req *req, uint32_t token, uint64_t now_ms,
                       struct sched_out *out)
{
    CHECK(req->in_flight > 0 && req->token_count < req->end_count);
    req->in_flight--;
    req->tokens[req->token_count++] = token;
    enum sched_finish finish = SCHED_RUNNING;
    if (req->token_count - req->prompt_count > req->tokens_min && req_stops_at(req, token))
        finish = SCHED_STOP;
    else if (req->token_count == req->end_count)
        finish = SCHED_LENGTH;
    sched_emit(out, req, &token, finish);
    if (finish == SCHED_RUNNING)
        return;
    s->usual_tokens += USUAL_RATE * (req->token_count - req->prompt_count - s->usual_tokens);
    run_end(s, req, now_ms);
}

void step_commit(struct scheduler *s, const uint32_t *tokens, uint32_t count, uint64_t now_ms,
                 uint64_t step_ns, struct sched_out *out)
{
    const struct step_record *record = &s->records[(s->committed + 1) & 1];
    CHECK(s->planned > s->committed && record->step == s->committed + 1);
    CHECK(count == record->sample_count && out->cap - out->count >= count);
    s->committed++;
    pages_commit(&s->pages, s->committed);
    pages_commit(&s->slots, s->committed);
    cost_learn(&s->cost, record->prefill_tokens, record->decode_rows, step_ns);
    uint32_t sample = 0;
    for (uint32_t i = 0; i < record->row_count; i++) {
        uint32_t token = record->rows[i].sampled ? tokens[sample++] : 0;
        struct req *req = sched_req(s, record->rows[i].req);
        if (!req)
            continue; /* it ended meanwhile: the row was for nothing */
        if (req->state == REQ_RUNNING && req->run == record->rows[i].run)
            take_computed(s, req, record->rows[i].token_count);
        if (record->rows[i].sampled)
            take_token(s, req, token, now_ms, out);
    }
    run_compact(s);
}
