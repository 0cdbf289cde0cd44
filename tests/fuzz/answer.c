/* What a model writes, taken apart: however it is cut, what a client is told is the same as in one
 * piece, and nothing that was told is taken back. Input: format, options, cut, text. */
#include "router/text/answer.h"
#include "tests/fuzz/input.h"

struct told {
    struct buf content, reasoning, calls;
};

static void told_release(struct told *told)
{
    buf_release(&told->content);
    buf_release(&told->reasoning);
    buf_release(&told->calls);
}

/* Takes what is new, as a streaming response does. */
static void take_news(struct answer *answer, struct told *told)
{
    buf_append(&told->content, answer->content.data, answer->content.len);
    buf_append(&told->reasoning, answer->reasoning.data, answer->reasoning.len);
    for (uint32_t i = 0; i < answer->call_count; i++) {
        struct answer_call *call = &answer->calls[i];
        CHECK(call->named && call->sent <= call->arguments.len);
    }
    answer_told(answer);
}

static void take_calls(const struct answer *answer, struct told *told)
{
    for (uint32_t i = 0; i < answer->call_count; i++) {
        const struct answer_call *call = &answer->calls[i];
        buf_append(&told->calls, call->name.data, call->name.len);
        buf_char(&told->calls, 0);
        buf_append(&told->calls, call->arguments.data, call->arguments.len);
        buf_char(&told->calls, 1);
    }
}

static void read_in(const struct answer_opts *opts, struct str text, size_t piece,
                    struct told *told)
{
    struct answer answer;
    answer_init(&answer, opts);
    for (size_t at = 0; at < text.len; at += piece) {
        answer_push(&answer, text.data + at, MIN(piece, text.len - at));
        take_news(&answer, told);
    }
    answer_finish(&answer);
    take_news(&answer, told);
    take_calls(&answer, told);
    answer_release(&answer);
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    uint8_t format = input_byte(&in), flags = input_byte(&in), piece = input_byte(&in);
    struct answer_opts opts = {
        .format = (enum tool_format)(format % 5),
        .reasoning = flags & 1,
        .thinking = (flags & 3) == 3,
        .calling = (flags & 4) && tools_mistral((enum tool_format)(format % 5)),
        .one_call = flags & 8,
        .forced = flags & 16,
    };
    struct str text = input_rest(&in);
    struct told whole = {0}, cut = {0};

    read_in(&opts, text, MAX(text.len, (size_t)1), &whole);
    read_in(&opts, text, 1 + piece % 9, &cut);
    CHECK(same(&whole.content, &cut.content));
    CHECK(same(&whole.reasoning, &cut.reasoning));
    CHECK(same(&whole.calls, &cut.calls));
    CHECK(!opts.forced || whole.content.len == 0);
    told_release(&whole);
    told_release(&cut);
    return 0;
}
