#include "proto/codec_fields.h"

#include <float.h>

#define AT(member)         .offset = offsetof(struct frame, member)
#define ITEM(type, member) .offset = offsetof(struct type, member)
#define NEED               .required = true
#define ANY64              .max = UINT64_MAX
#define ANY32              .max = UINT32_MAX
#define TABLE(rows)                                                                                \
    {                                                                                              \
        rows, ARRAY_LEN(rows), 0                                                                   \
    }
#define SAMPLING(member) AT(generate.sampling.member)

/* FIELD_HASHES and FIELD_ARRAY use the layout "pointer, u32 count" of struct token_view. */
#define SAME_LAYOUT(type, pointer, length)                                                         \
    _Static_assert(offsetof(struct type, length) - offsetof(struct type, pointer) ==               \
                       offsetof(struct token_view, count),                                         \
                   "a count follows its pointer")
SAME_LAYOUT(page_run, hashes, count);
SAME_LAYOUT(frame_tokens, items, item_count);
SAME_LAYOUT(frame_cache, runs, run_count);

static const struct field hello_fields[] = {
    {"v", FIELD_U32, NEED, AT(hello.version), ANY32},
    {"w", FIELD_STR, NEED, AT(hello.worker), .min = 1, .max = PROTO_NAME_BYTES_MAX},
    {"e", FIELD_U64, NEED, AT(hello.epoch), .min = 1, ANY64},
    {"s", FIELD_U64, NEED, AT(hello.session), ANY64},
    {"m", FIELD_STR, NEED, AT(hello.model), .min = 1, .max = PROTO_NAME_BYTES_MAX},
    {"fp", FIELD_U64, NEED, AT(hello.fingerprint), ANY64},
    {"th", FIELD_U64, NEED, AT(hello.tokenizer_hash), ANY64},
    {"wh", FIELD_U64, NEED, AT(hello.weights_hash), ANY64},
    {"ps", FIELD_U32, NEED, AT(hello.page_size), .min = 1, .max = 65536},
    {"lm", FIELD_U32, NEED, AT(hello.length_max), .min = 1, .max = PROTO_PROMPT_TOKENS_MAX},
    {"pg", FIELD_U32, NEED, AT(hello.pages), .min = 1, ANY32},
    {"tp", FIELD_U32, NEED, AT(hello.tp), .min = 1, .max = 1024},
    {"cr", FIELD_U32, NEED, AT(hello.slots), .min = 1, .max = 1u << 20},
    {"ft", FIELD_U32, AT(hello.features), ANY32},
};

static const struct field welcome_fields[] = {
    {"v", FIELD_U32, NEED, AT(welcome.version), ANY32},
    {"r", FIELD_STR, NEED, AT(welcome.router), .min = 1, .max = PROTO_NAME_BYTES_MAX},
    {"e", FIELD_U64, NEED, AT(welcome.epoch), .min = 1, ANY64},
    {"s", FIELD_U64, NEED, AT(welcome.session), ANY64},
    {"q", FIELD_BOOL, AT(welcome.want_snapshot)},
    {"g", FIELD_U32, AT(welcome.gather_ms), .max = 1000},
};

static const struct field generate_fields[] = {
    {"e", FIELD_U64, NEED, AT(generate.key.epoch), .min = 1, ANY64},
    {"c", FIELD_U64, NEED, AT(generate.key.call), ANY64},
    {"i", FIELD_U32, AT(generate.key.choice), ANY32},
    {"a", FIELD_U32, NEED, AT(generate.key.attempt), ANY32},
    {"k", FIELD_TOKENS, NEED, AT(generate.tokens), .min = 1, .max = PROTO_PROMPT_TOKENS_MAX},
    {"np", FIELD_U32, NEED, AT(generate.n_prompt), .min = 1, .max = PROTO_PROMPT_TOKENS_MAX},
    {"mx", FIELD_U32, NEED, AT(generate.tokens_max), .min = 1, ANY32},
    {"mn", FIELD_U32, AT(generate.tokens_min), ANY32},
    {"st", FIELD_TOKENS, AT(generate.stop_ids), .max = PROTO_STOP_IDS_MAX},
    {"ie", FIELD_BOOL, AT(generate.ignore_eos)},
    {"te", FIELD_F32, NEED, SAMPLING(temperature), .fmin = 0, .fmax = 1000},
    {"tp", FIELD_F32, SAMPLING(top_p), .fmin = FLT_MIN, .fmax = 1, .fallback = 1},
    {"tk", FIELD_U32, SAMPLING(top_k), ANY32},
    {"mp", FIELD_F32, SAMPLING(min_p), .fmin = 0, .fmax = 1 - FLT_EPSILON / 2},
    {"sd", FIELD_U64, NEED, SAMPLING(seed), ANY64},
    {"pp", FIELD_F32, SAMPLING(presence_penalty), .fmin = -1000, .fmax = 1000},
    {"fq", FIELD_F32, SAMPLING(frequency_penalty), .fmin = -1000, .fmax = 1000},
    {"rp", FIELD_F32, SAMPLING(repetition_penalty), .fmin = FLT_MIN, .fmax = 1000, .fallback = 1},
    {"ns", FIELD_U64, AT(generate.namespace_hash), ANY64},
    {"pr", FIELD_I32, AT(generate.priority)},
    {"dl", FIELD_U64, AT(generate.deadline_ms), ANY64},
    {"lp", FIELD_U32, AT(generate.logprobs), .max = SAMPLING_TOP_MAX + 1},
    {"sf", FIELD_U32, AT(generate.score_from), .max = PROTO_PROMPT_TOKENS_MAX},
    {"lb", FIELD_BIN, AT(generate.bias), .max = PROTO_BIAS_BYTES_MAX, .unit = 8},
    {"am", FIELD_BIN, AT(generate.automaton), .max = PROTO_AUTOMATON_BYTES_MAX, .unit = 1},
    {"ri", FIELD_STR, AT(generate.request_id), .max = PROTO_REQUEST_ID_BYTES_MAX},
    {"tr", FIELD_STR, AT(generate.trace_parent), .max = PROTO_TRACE_BYTES_MAX},
};

static const struct field cancel_fields[] = {
    {"e", FIELD_U64, NEED, AT(cancel.key.epoch), .min = 1, ANY64},
    {"c", FIELD_U64, NEED, AT(cancel.key.call), ANY64},
    {"i", FIELD_U32, AT(cancel.key.choice), ANY32},
    {"a", FIELD_U32, NEED, AT(cancel.key.attempt), ANY32},
};

static const struct field tokens_item_fields[] = {
    {"c", FIELD_U64, NEED, ITEM(tokens_item, key.call), ANY64},
    {"i", FIELD_U32, ITEM(tokens_item, key.choice), ANY32},
    {"a", FIELD_U32, NEED, ITEM(tokens_item, key.attempt), ANY32},
    {"f", FIELD_U32, NEED, ITEM(tokens_item, first), ANY32},
    {"k", FIELD_TOKENS, ITEM(tokens_item, tokens), .max = PROTO_PROMPT_TOKENS_MAX},
    {"z", FIELD_U32, ITEM(tokens_item, finish), .max = FINISH_ERROR},
    {"h", FIELD_U32, ITEM(tokens_item, cached_tokens), ANY32},
    {"l", FIELD_BIN, ITEM(tokens_item, logprobs), .max = PROTO_SCORE_BYTES_MAX, .unit = 4},
    {"ti", FIELD_TOKENS, ITEM(tokens_item, top_ids), .max = PROTO_SCORE_BYTES_MAX / 4},
    {"tl", FIELD_BIN, ITEM(tokens_item, top_logprobs), .max = PROTO_SCORE_BYTES_MAX, .unit = 4},
    {"sf", FIELD_U32, ITEM(tokens_item, score_first), .max = PROTO_PROMPT_TOKENS_MAX},
    {"sl", FIELD_BIN, ITEM(tokens_item, scores), .max = PROTO_SCORE_BYTES_MAX, .unit = 4},
    {"sr", FIELD_TOKENS, ITEM(tokens_item, score_ranks), .max = PROTO_SCORE_BYTES_MAX / 4},
    {"si", FIELD_TOKENS, ITEM(tokens_item, score_top_ids), .max = PROTO_SCORE_BYTES_MAX / 4},
    {"st", FIELD_BIN, ITEM(tokens_item, score_top_logprobs), .max = PROTO_SCORE_BYTES_MAX,
     .unit = 4},
};
static const struct field_table tokens_item_table = {
    tokens_item_fields, ARRAY_LEN(tokens_item_fields), sizeof(struct tokens_item)};

static const struct field tokens_fields[] = {
    {"e", FIELD_U64, NEED, AT(tokens.epoch), ANY64},
    {"s", FIELD_U64, NEED, AT(tokens.step), ANY64},
    {"n", FIELD_ARRAY, NEED, AT(tokens.items), .max = PROTO_TOKEN_ITEMS_MAX,
     .item = &tokens_item_table},
};

static const struct field error_fields[] = {
    {"e", FIELD_U64, AT(error.key.epoch), ANY64},
    {"c", FIELD_U64, AT(error.key.call), ANY64},
    {"i", FIELD_U32, AT(error.key.choice), ANY32},
    {"a", FIELD_U32, AT(error.key.attempt), ANY32},
    {"z", FIELD_U32, NEED, AT(error.status), .min = 1, .max = 255},
    {"x", FIELD_STR, AT(error.text), .max = PROTO_TEXT_BYTES_MAX},
};

static const struct field run_fields[] = {
    {"p", FIELD_U64, ITEM(page_run, parent), ANY64},
    {"h", FIELD_HASHES, NEED, ITEM(page_run, hashes), .min = 1, .max = PROTO_PAGES_MAX},
    {"d", FIELD_BOOL, ITEM(page_run, removed)},
};
static const struct field_table run_table = {run_fields, ARRAY_LEN(run_fields),
                                             sizeof(struct page_run)};

static const struct field cache_fields[] = {
    {"e", FIELD_U64, NEED, AT(cache.epoch), .min = 1, ANY64},
    {"s", FIELD_U64, NEED, AT(cache.seq), ANY64},
    {"n", FIELD_ARRAY, NEED, AT(cache.runs), .max = PROTO_RUNS_MAX, .item = &run_table},
};

static const struct field snapshot_fields[] = {
    {"q", FIELD_BOOL, AT(snapshot.request)},
    {"p", FIELD_U32, AT(snapshot.part), ANY32},
    {"pc", FIELD_U32, AT(snapshot.part_count), ANY32},
    {"e", FIELD_U64, AT(snapshot.cache.epoch), ANY64},
    {"s", FIELD_U64, AT(snapshot.cache.seq), ANY64},
    {"n", FIELD_ARRAY, AT(snapshot.cache.runs), .max = PROTO_RUNS_MAX, .item = &run_table},
};

static const struct field load_fields[] = {
    {"e", FIELD_U64, NEED, AT(load.epoch), .min = 1, ANY64},
    {"s", FIELD_U64, NEED, AT(load.step), ANY64},
    {"g", FIELD_U64, NEED, AT(load.received), ANY64},
    {"r", FIELD_U32, NEED, AT(load.running), ANY32},
    {"w", FIELD_U32, NEED, AT(load.waiting), ANY32},
    {"pf", FIELD_U64, NEED, AT(load.pending_prefill_tokens), ANY64},
    {"dt", FIELD_U64, NEED, AT(load.decode_tokens), ANY64},
    {"fr", FIELD_U32, NEED, AT(load.pages_free), ANY32},
    {"cr", FIELD_U32, NEED, AT(load.slots_free), ANY32},
    {"sb", FIELD_U32, AT(load.step_ms_bound), ANY32},
    {"d", FIELD_BOOL, AT(load.draining)},
    {"rt", FIELD_U64, AT(load.retractions), ANY64},
};

static const struct field drain_fields[] = {
    {"d", FIELD_BOOL, NEED, AT(drain.draining)},
};

static const struct field bye_fields[] = {
    {"x", FIELD_STR, AT(bye.reason), .max = PROTO_TEXT_BYTES_MAX},
};

static const struct field_table tables[] = {
    [FRAME_HELLO] = TABLE(hello_fields),       [FRAME_WELCOME] = TABLE(welcome_fields),
    [FRAME_GENERATE] = TABLE(generate_fields), [FRAME_CANCEL] = TABLE(cancel_fields),
    [FRAME_TOKENS] = TABLE(tokens_fields),     [FRAME_ERROR] = TABLE(error_fields),
    [FRAME_CACHE] = TABLE(cache_fields),       [FRAME_SNAPSHOT] = TABLE(snapshot_fields),
    [FRAME_LOAD] = TABLE(load_fields),         [FRAME_DRAIN] = TABLE(drain_fields),
    [FRAME_BYE] = TABLE(bye_fields),
};

const struct field_table *field_table_of(uint64_t type)
{
    return type < ARRAY_LEN(tables) && tables[type].count ? &tables[type] : NULL;
}
