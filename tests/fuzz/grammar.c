/* What a client may ask of an answer's form: it compiles or is refused with a sentence. An automaton
 * that was made opens, is within the wire's limit, no walk through it gets stuck, and what a walk
 * through a schema's wrote is JSON. Input: kind, seed of the walks, schema, expression, choices or tools. */
#include "router/grammar/grammar.h"
#include "common/automaton.h"
#include "common/json.h"
#include "common/rng.h"
#include "proto/frames.h"
#include "tests/fuzz/input.h"

#define WALKS    4
#define WALK_MAX 600

enum kind { KIND_SCHEMA, KIND_REGEX, KIND_CHOICES, KIND_TOOLS, KIND_LIST, KIND_BARE, KIND_END };

/* One of the bytes that may come, or -1. */
static int choose(const struct automaton *a, const struct automaton_at *at, uint64_t *rng)
{
    uint8_t bytes[256];
    uint32_t count = 0;
    for (uint32_t b = 0; b < 256; b++) {
        struct automaton_at next = *at;
        if (automaton_step(a, &next, (uint8_t)b))
            bytes[count++] = (uint8_t)b;
    }
    return count ? bytes[rng_below(rng, count)] : -1;
}

/* True when it came to an end. */
static bool walk(const struct automaton *a, uint64_t *rng, struct buf *text)
{
    struct automaton_at at;
    automaton_begin(a, &at);
    while (text->len < WALK_MAX) {
        int byte = choose(a, &at, rng);
        bool end = automaton_may_end(a, &at);
        CHECK(byte >= 0 || end); /* else it is stuck */
        if (end && (byte < 0 || rng_below(rng, 3) == 0))
            return true;
        CHECK(automaton_step(a, &at, (uint8_t)byte));
        buf_char(text, (char)byte);
    }
    return false;
}

static void check(struct str block, bool json, uint64_t rng)
{
    struct automaton a;
    struct err err;
    CHECK(block.len <= PROTO_AUTOMATON_BYTES_MAX);
    CHECK(automaton_open(&a, block, &err) == STATUS_OK);
    for (int i = 0; i < WALKS; i++) {
        struct buf text = {0};
        if (walk(&a, &rng, &text) && json) {
            json_t *value = json_loadb(text.data ? text.data : "", text.len,
                                       JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            CHECK(value);
            json_decref(value);
        }
        buf_release(&text);
    }
}

static enum status compile(enum kind kind, struct str text, struct buf *out, struct err *err)
{
    enum status status;
    json_t *root = NULL;
    if (kind == KIND_REGEX)
        return grammar_from_regex(text, out, err);
    TRY(json_parse(text.data, text.len, &root, err));
    struct grammar_tools tools = {.tools = root,
                                  .name_key = "name",
                                  .arguments_key = "arguments",
                                  .begin = STR("<tool_call>\n"),
                                  .end = STR("\n</tool_call>"),
                                  .between = STR("\n</tool_call>\n<tool_call>\n"),
                                  .parallel = true};
    if (kind == KIND_LIST) {
        tools.begin = STR("[");
        tools.end = STR("]");
        tools.between = STR(", ");
    }
    if (kind == KIND_BARE) {
        tools.behind_name = STR("[ARGS]");
        tools.begin = tools.end = STR("");
        tools.between = STR("[TOOL_CALLS]");
    }
    status = kind == KIND_SCHEMA    ? grammar_from_schema(root, out, err)
             : kind == KIND_CHOICES ? grammar_from_choices(root, out, err)
                                    : grammar_from_tools(&tools, out, err);
    json_decref(root);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    enum kind kind = (enum kind)(input_byte(&in) % KIND_END);
    uint64_t seed = input_byte(&in);
    struct buf out = {0};
    struct err err = {.text = ""};

    if (compile(kind, input_rest(&in), &out, &err) == STATUS_OK)
        check((struct str){out.data, out.len}, kind == KIND_SCHEMA || kind == KIND_LIST, seed);
    else
        CHECK(err.text[0]);
    buf_release(&out);
    return 0;
}
