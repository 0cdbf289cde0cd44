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

static uint32_t put_words(struct step_builder *b, const uint32_t *words, uint32_t count)
{
    uint32_t first = b->word_count;
    if (count > 0)
        memcpy(b->words + first, words, count * sizeof(*words));
    b->word_count += count;
    return first;
}

/* What the device must know of the req in its slot: sched_take_room() has found the room. */
static void put_setup(struct step_builder *b, struct req *req)
{
    uint32_t history = sampling_penalized(&req->sampling) ? req->token_count : 0;
    uint32_t text = req->grammar ? req->token_count - req->prompt_count : 0;
    uint32_t stops =
        req_setup_words(req) - history - 2 * req->bias_count - (req->grammar ? 1 + text : 0);
    b->setups[b->setup_count++] = (struct step_setup){
        .slot = req->slot,
        .prompt_count = history ? req->prompt_count : 0,
        .history_first = put_words(b, req->tokens, history),
        .history_count = history,
        .stop_first = put_words(b, req->stop_ids, stops),
        .stop_count = stops,
        .bias_first = put_words(b, req->bias, 2 * req->bias_count),
        .bias_count = req->bias_count,
        .grammar = req->grammar,
        .text_first = put_words(b, req->tokens + req->prompt_count, text),
        .text_count = text,
    };
}

static void put_sample(struct step_builder *b, struct req *req, uint32_t row)
{
    uint32_t flags = 0, ban_until = req->prompt_count + req->tokens_min;
    if (sampling_penalized(&req->sampling))
        flags |= SAMPLE_PENALTIES | (req->setup_due ? 0 : SAMPLE_COUNT);
    if (req->bias_count > 0)
        flags |= SAMPLE_BIAS;
    if (req->stop_id_count > 0 && req->planned < ban_until)
        flags |= SAMPLE_BAN;
    if (req->grammar)
        flags |= SAMPLE_MASK;
    if (req->setup_due)
        put_setup(b, req);
    req->setup_due = false;
    b->samples[b->sample_count++] = (struct step_sample){
        .row = row,
        .position = req->planned,
        .logprobs = req->logprobs,
        .flags = flags,
        .ban_until = flags & SAMPLE_BAN ? ban_until : 0,
        .sampling = req->sampling,
    };
}

/* The scores that the row's tokens [planned, planned + count) give; returns how many. */
static uint32_t put_scores(struct step_builder *b, const struct req *req, uint32_t token_first,
                           uint32_t count)
{
    uint32_t before = b->score_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t target = req->planned + i + 1;
        if (target >= req->score_next && target < req->prompt_count)
            b->scores[b->score_count++] = (struct step_score){
                .token = token_first + i, .target = req->tokens[target], .logprobs = req->logprobs};
    }
    return b->score_count - before;
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
    record->rows[row].score_index = MAX(req->planned + 1, req->score_next);
    record->rows[row].score_count = req_scores(req) ? put_scores(b, req, b->token_count, count) : 0;
    b->token_count += count;
    put_deltas(b, req);
    bool sampled = count == left;
    req->planned += count;
    if (sampled) {
        put_sample(b, req, row);
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
    req->node =
        radix_insert(&s->radix, req->node, req->tokens + (size_t)have * size, req->hashes + have,
                     req->table + have, full - have, req->last_step, &shared);
    req->tree_pages = full;
    if (shared > 0) { /* the device must learn of the tree's pages */
        req->synced = MIN(req->synced, have);
        s->decode_set++;
    }
}

/* Where in the step's results a row's own lie. */
struct row_results {
    uint32_t sample, score_first, score_count, score_index;
};

static void emit(struct sched_out *out, const struct req *req, const uint32_t *token,
                 enum sched_finish finish, const struct row_results *results)
{
    sched_emit(out, req, token, finish);
    struct sched_event *event = &out->events[out->count - 1];
    event->sample = results->sample;
    event->score_first = results->score_first;
    event->score_count = results->score_count;
    event->score_index = results->score_index;
}

/* A run after a retraction may have planned scores again that come from the run before. */
static void take_scores(struct req *req, struct row_results *results)
{
    if (results->score_count == 0)
        return;
    CHECK(results->score_index <= req->score_next);
    uint32_t known = MIN(req->score_next - results->score_index, results->score_count);
    results->score_first += known;
    results->score_index += known;
    results->score_count -= known;
    req->score_next += results->score_count;
}

static void take_token(struct scheduler *s, struct req *req, uint32_t token, uint64_t now_ms,
                       const struct row_results *results, struct sched_out *out)
{
    CHECK(req->in_flight > 0 && req->token_count < req->end_count);
    req->in_flight--;
    req->tokens[req->token_count++] = token;
    enum sched_finish finish = SCHED_RUNNING;
    if (req->token_count - req->prompt_count > req->tokens_min && req_stops_at(req, token))
        finish = SCHED_STOP;
    else if (req->token_count == req->end_count)
        finish = SCHED_LENGTH;
    emit(out, req, &token, finish, results);
    if (finish == SCHED_RUNNING)
        return;
    s->usual_tokens += USUAL_RATE * (req->token_count - req->prompt_count - s->usual_tokens);
    run_end(s, req, now_ms);
}

uint32_t step_events(const struct scheduler *s)
{
    const struct step_record *record = &s->records[(s->committed + 1) & 1];
    uint32_t events = 0;
    for (uint32_t i = 0; i < record->row_count; i++)
        events += record->rows[i].sampled || record->rows[i].score_count > 0;
    return events;
}

void step_commit(struct scheduler *s, const uint32_t *tokens, uint32_t count, uint64_t now_ms,
                 uint64_t step_ns, struct sched_out *out)
{
    const struct step_record *record = &s->records[(s->committed + 1) & 1];
    CHECK(s->planned > s->committed && record->step == s->committed + 1);
    CHECK(count == record->sample_count && out->cap - out->count >= step_events(s));
    s->committed++;
    pages_commit(&s->pages, s->committed);
    pages_commit(&s->slots, s->committed);
    cost_learn(&s->cost, record->prefill_tokens, record->decode_rows, step_ns);
    uint32_t sample = 0, score = 0;
    for (uint32_t i = 0; i < record->row_count; i++) {
        struct row_results results = {sample, score, record->rows[i].score_count,
                                      record->rows[i].score_index};
        sample += record->rows[i].sampled;
        score += results.score_count;
        struct req *req = sched_req(s, record->rows[i].req);
        if (!req)
            continue; /* it ended meanwhile: the row was for nothing */
        bool current = req->state == REQ_RUNNING && req->run == record->rows[i].run;
        if (current)
            take_computed(s, req, record->rows[i].token_count);
        take_scores(req, &results);
        if (record->rows[i].sampled)
            take_token(s, req, tokens[results.sample], now_ms, &results, out);
        else if (results.score_count > 0)
            emit(out, req, NULL, SCHED_RUNNING, &results);
    }
    run_compact(s);
}
