/* batch - the step packet: one contiguous block that says all that a step does.
 *
 *   ┌ struct step_packet ┬ rows ┬ tokens ┬ deltas ┬ samples ┬ scores ┬ groups ┬ setups ┬ words ┐
 *   └────────────────────┴──────┴────────┴────────┴─────────┴────────┴────────┴────────┴───────┘
 *                 each part 16-byte aligned, at its *_off from the start
 *
 * Rank 0's scheduler builds it; the engine copies it to the device in one transfer and sends the
 * same bytes to the other ranks. It names reqs only by slot: a slot is a row of the device's page
 * table and of its last-token table, 0..slots-1, held from admission to the end (or retraction).
 *
 * Overlap: when step N+1 is built before N's tokens are known, a decoding row's input token is
 * STEP_TOKEN_LAST: the device takes what it sampled last for that slot.
 */
#ifndef MSGL_WORKER_SCHED_BATCH_H
#define MSGL_WORKER_SCHED_BATCH_H

#include "common/base.h"
#include "common/sampling.h"

#define STEP_TOKEN_LAST UINT32_MAX

struct step_packet {
    uint64_t step;
    uint32_t bytes; /* of the whole block */
    uint32_t row_count;
    uint32_t token_count; /* sum of the rows' token_count */
    uint32_t delta_count;
    uint32_t sample_count;
    uint32_t group_count;
    uint32_t score_count, setup_count, word_count;
    uint32_t rows_off, tokens_off, deltas_off, samples_off, scores_off, groups_off, setups_off,
        words_off;
    uint32_t pad;
};

/* One req's part of the step. Decode rows (one token, sampled) come first, then prefill chunks. */
struct step_row {
    uint32_t slot;
    uint32_t token_first; /* index in tokens[] */
    uint32_t token_count; /* >= 1; 1 = a decode step (or the last token of a prompt) */
    uint32_t pos_first;   /* position of its first token = KV entries of the req before the step */
};

/* page_table[slot][idx] = page, applied before the step's rows. */
struct page_delta {
    uint32_t slot, idx, page;
};

/* The row's last token gets logits and a next token, at position `position`. */
struct step_sample {
    uint32_t row;
    uint32_t position;  /* of the token that is drawn = pos_first + token_count of the row */
    uint32_t logprobs;  /* 0 = none, else 1 + alternatives wanted */
    uint32_t flags;     /* enum sample_flags */
    uint32_t ban_until; /* SAMPLE_BAN: the slot's stop tokens are banned at positions below */
    uint32_t pad;
    struct sampling sampling;
};

/* The logits behind tokens[token] give the log probability of `target`, which is known already: a
 * prompt's next token. Behind the samples, in order of tokens. */
struct step_score {
    uint32_t token, target, logprobs;
};

/* What the device remembers of a slot's new req; as struct slot_setup of kernels/ops.h. Offsets
 * count words. In the packet of the req's first sample, and only where a feature needs it. */
struct step_setup {
    uint32_t slot, prompt_count;
    uint32_t history_first, history_count; /* its tokens so far, the prompt's first */
    uint32_t stop_first, stop_count;
    uint32_t bias_first, bias_count; /* pairs: id, bits of an f32 */
    uint32_t grammar;                /* the engine's number for it; 0 = none */
    uint32_t text_first, text_count; /* with a grammar: the tokens generated so far */
};

/* Rows row_first .. row_first + row_count - 1, whose first `page_count` pages are the same physical
 * pages. Groups are disjoint runs of decode rows, longest shared part first. */
struct prefix_group {
    uint32_t row_first, row_count, page_count;
};

#define STEP_PART(type, packet, off) ((type *)(void *)((char *)(uintptr_t)(packet) + (packet)->off))
#define step_rows(packet)            STEP_PART(const struct step_row, packet, rows_off)
#define step_tokens(packet)          STEP_PART(const uint32_t, packet, tokens_off)
#define step_deltas(packet)          STEP_PART(const struct page_delta, packet, deltas_off)
#define step_samples(packet)         STEP_PART(const struct step_sample, packet, samples_off)
#define step_scores(packet)          STEP_PART(const struct step_score, packet, scores_off)
#define step_setups(packet)          STEP_PART(const struct step_setup, packet, setups_off)
#define step_words(packet)           STEP_PART(const uint32_t, packet, words_off)
#define step_groups(packet)          STEP_PART(const struct prefix_group, packet, groups_off)

/* Upper bounds that size every packet buffer at start-up. */
struct step_limits {
    uint32_t rows, tokens, deltas, groups; /* samples + scores <= rows */
    uint32_t words;                        /* setups <= rows */
};

/* The bounds that a scheduler keeps and an engine takes, from the options that both know. A page
 * table row has DIV_CEIL(context_max, page_size) entries; every delta's idx is below that. */
void step_limits_init(struct step_limits *limits, uint32_t slots, uint32_t step_tokens,
                      uint32_t context_max, uint32_t page_size);

/* Builder: fixed memory of step_packet_bytes_max(limits), refilled every step. */
struct step_builder {
    struct step_limits limits;
    uint32_t row_count, token_count, delta_count, sample_count, group_count;
    uint32_t score_count, setup_count, word_count;
    struct step_row *rows;
    uint32_t *tokens;
    struct page_delta *deltas;
    struct step_sample *samples;
    struct prefix_group *groups;
    struct step_score *scores;
    struct step_setup *setups;
    uint32_t *words;
};

size_t step_packet_bytes_max(const struct step_limits *limits);
void step_builder_init(struct step_builder *builder, const struct step_limits *limits);
void step_builder_release(struct step_builder *builder);
void step_builder_reset(struct step_builder *builder);

/* Lays the parts out in `block` (>= step_packet_bytes_max, 64-byte aligned); returns the packet. */
const struct step_packet *step_builder_finish(const struct step_builder *builder, uint64_t step,
                                              void *block);

/* True when the block of `bytes` bytes (8-byte aligned) is a packet within limits: every offset,
 * count, slot, row and position is in range. What the limits do not know stays for the engine:
 * token ids below the vocabulary, a delta's idx and page below its table and pool. Ranks > 0 check
 * what they receive. */
bool step_packet_valid(const void *block, size_t bytes, const struct step_limits *limits,
                       uint32_t slots);

#endif
