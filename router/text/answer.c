#include "router/text/answer.h"

#include <string.h>

#include "common/mem.h"

/* Space that goes untold around thinking and in front of a call: more of it is text. */
#define SPACES_MAX 256
/* Each is read again as text, to its end: a text of nothing else must not cost its square. */
#define NO_CALLS_MAX 16

static const struct str think = {"<think>", 7}, think_end = {"</think>", 8};
static const struct str hermes = {"<tool_call>", 11}, hermes_end = {"</tool_call>", 12};
static const struct str llama = {"<|python_tag|>", 14}, mistral = {"[TOOL_CALLS]", 12};

void answer_init(struct answer *answer, const struct answer_opts *opts)
{
    *answer = (struct answer){.opts = *opts};
    answer->state = opts->thinking ? ANSWER_REASONING : opts->calling ? ANSWER_CALL : ANSWER_START;
}

void answer_release(struct answer *answer)
{
    for (uint32_t i = 0; i < answer->call_count; i++) {
        buf_release(&answer->calls[i].name);
        buf_release(&answer->calls[i].arguments);
    }
    mem_free(answer->calls);
    buf_release(&answer->held);
    buf_release(&answer->content);
    buf_release(&answer->reasoning);
    buf_release(&answer->raw);
    buf_release(&answer->mark);
    *answer = (struct answer){.call_count = 0};
}

bool answer_has_news(const struct answer *answer)
{
    const struct answer_call *last =
        answer->call_count > 0 ? &answer->calls[answer->call_count - 1] : NULL;
    return answer->content.len > 0 || answer->reasoning.len > 0 ||
           (last && last->named && (!last->told || last->sent < last->arguments.len));
}

void answer_told(struct answer *answer)
{
    buf_clear(&answer->content);
    buf_clear(&answer->reasoning);
    for (uint32_t i = 0; i < answer->call_count; i++) {
        answer->calls[i].told = answer->calls[i].named;
        answer->calls[i].sent = answer->calls[i].arguments.len;
    }
}

/* ---- marks in text ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Where the mark begins; held.len when it is not there. */
static size_t find(const struct buf *held, struct str mark)
{
    const char *at = held->len ? memmem(held->data, held->len, mark.data, mark.len) : NULL;
    return at ? (size_t)(at - held->data) : held->len;
}

/* How much of the end of held may be the beginning of the mark. */
static size_t maybe(const struct buf *held, struct str mark)
{
    for (size_t len = MIN(mark.len - 1, held->len); len > 0; len--)
        if (memcmp(held->data + held->len - len, mark.data, len) == 0)
            return len;
    return 0;
}

static bool begins(const char *text, size_t len, struct str mark)
{
    return len >= mark.len && memcmp(text, mark.data, mark.len) == 0;
}

/* The text is a part of the mark, from its start. */
static bool may_begin(const char *text, size_t len, struct str mark)
{
    return len < mark.len && memcmp(text, mark.data, len) == 0;
}

/* Both count to SPACES_MAX. */
static size_t spaces_at(const struct buf *held, size_t at)
{
    size_t count = 0;
    while (count < SPACES_MAX && at + count < held->len && is_space(held->data[at + count]))
        count++;
    return count;
}

static void drop_spaces(struct buf *held)
{
    for (size_t count; (count = spaces_at(held, 0)) > 0;)
        buf_consume(held, count);
}

static size_t spaces_before(const struct buf *held, size_t end)
{
    size_t count = 0;
    while (count < SPACES_MAX && count < end && is_space(held->data[end - 1 - count]))
        count++;
    return count;
}

static struct str opener(const struct answer *answer)
{
    return answer->opts.format == TOOLS_HERMES  ? hermes
           : answer->opts.format == TOOLS_LLAMA ? llama
                                                : mistral;
}

/* Moves the first bytes of held to `to` and drops `more` behind them. */
static void move(struct answer *answer, size_t count, struct buf *to, size_t more)
{
    if (count > 0)
        buf_append(to, answer->held.data, count);
    if (count + more > 0)
        buf_consume(&answer->held, count + more);
}

/* ---- the states: true = something was decided, look again ---- */

static bool step_start(struct answer *answer, bool end)
{
    size_t skip = spaces_at(&answer->held, 0);
    const char *text = answer->held.data + skip;
    size_t len = answer->held.len - skip;
    if (answer->held.len == 0 ||
        (!end && skip < SPACES_MAX &&
         (len == 0 || (answer->opts.reasoning && may_begin(text, len, think)))))
        return false;
    if (answer->opts.reasoning && skip < SPACES_MAX && begins(text, len, think)) {
        buf_consume(&answer->held, skip + think.len);
        answer->state = ANSWER_REASONING;
    } else {
        answer->state = ANSWER_CONTENT;
    }
    return true;
}

/* Space around the thinking is not told. */
static bool step_reasoning(struct answer *answer, bool end)
{
    struct buf *held = &answer->held;
    if (answer->reasoning.len == 0 && !answer->spoke)
        drop_spaces(held);
    size_t at = find(held, think_end);
    if (at < held->len) {
        size_t space = spaces_before(held, at), behind = spaces_at(held, at + think_end.len);
        bool more_space = at + think_end.len + behind == held->len && behind < SPACES_MAX;
        if (more_space && !end)
            return false; /* the space behind it may go on */
        move(answer, at - space, &answer->reasoning, space + think_end.len + behind);
        answer->state = ANSWER_CONTENT;
        answer->spoke = false;
        return true;
    }
    size_t keep = end ? 0 : maybe(held, think_end);
    keep += spaces_before(held, held->len - keep);
    answer->spoke |= held->len > keep;
    move(answer, held->len - keep, &answer->reasoning, end ? keep : 0);
    return false;
}

/* What is consumed of held stands in front of the call: should it be none, that is text. */
static void begin_call(struct answer *answer, size_t from, size_t end)
{
    buf_clear(&answer->mark);
    buf_clear(&answer->raw);
    if (end > from)
        buf_append(&answer->mark, answer->held.data + from, end - from);
    answer->bare_name = false;
    answer->state = ANSWER_CALL;
}

static bool step_content(struct answer *answer, bool end)
{
    struct buf *held = &answer->held;
    if (answer->opts.format == TOOLS_NONE) {
        answer->spoke |= held->len > 0;
        move(answer, held->len, &answer->content, 0);
        return false;
    }
    size_t skip = spaces_at(held, 0);
    if (answer->opts.format == TOOLS_LLAMA && !answer->spoke &&
        skip < MIN(held->len, (size_t)SPACES_MAX) && held->data[skip] == '{') {
        begin_call(answer, 0, skip);
        buf_consume(held, skip);
        return true;
    }
    struct str mark = opener(answer);
    size_t at = find(held, mark);
    if (at < held->len) {
        size_t space = spaces_before(held, at);
        answer->spoke |= at > space;
        begin_call(answer, at - space, at + mark.len);
        move(answer, at - space, &answer->content, space + mark.len);
        return true;
    }
    size_t keep = end ? 0 : maybe(held, mark);
    if (!end) /* space in front of a call is not told */
        keep += spaces_before(held, held->len - keep);
    answer->spoke |= held->len > keep;
    move(answer, held->len - keep, &answer->content, 0);
    return false;
}

/* It looked like a call and is none: its beginning is text, a call may still come behind that. */
static bool no_call(struct answer *answer)
{
    if (answer->mark.len > 0)
        buf_append(&answer->content, answer->mark.data, answer->mark.len);
    if (answer->raw.len > 0)
        buf_append(&answer->held, answer->raw.data, answer->raw.len);
    buf_clear(&answer->mark);
    buf_clear(&answer->raw);
    answer->spoke = true;
    answer->state = ANSWER_CONTENT;
    if (++answer->no_calls >= NO_CALLS_MAX)
        answer->opts.format = TOOLS_NONE;
    return true;
}

static struct answer_call *call_of(struct answer *answer)
{
    if (answer->call_count > 0 && !answer->calls[answer->call_count - 1].named)
        return &answer->calls[answer->call_count - 1];
    answer->calls = mem_realloc(answer->calls, (answer->call_count + 1) * sizeof(*answer->calls));
    answer->calls[answer->call_count] = (struct answer_call){.named = false};
    return &answer->calls[answer->call_count++];
}

/* What the raw text says by now of the call that is being read. */
static void take_call(struct answer *answer, const struct answer_scan *scan, bool first)
{
    struct answer_call *call = first ? call_of(answer) : &answer->calls[answer->call_count - 1];
    if (first) {
        answer_unescape(scan->name, &call->name);
        call->named = true;
    }
    size_t have = call->arguments.len;
    if (scan->arguments.len > have)
        buf_append(&call->arguments, scan->arguments.data + have, scan->arguments.len - have);
}

/* The arguments go on to the end of what is there: nothing else can have changed. */
static bool arguments_go_on(struct answer *answer)
{
    struct answer_place *place = &answer->place;
    if (place->value == 0 || !answer_scan_on(answer->raw.data, answer->raw.len, place)) {
        place->value = 0;
        return false;
    }
    struct buf *told = &answer->calls[answer->call_count - 1].arguments;
    size_t have = place->value + told->len;
    buf_append(told, answer->raw.data + have, answer->raw.len - have);
    return true;
}

/* Of Mistral's two forms the first byte tells. */
static enum scan_end scan_call(struct answer *answer, struct answer_scan *scan)
{
    const char *text = answer->raw.data ? answer->raw.data : "";
    size_t at = 0, len = answer->raw.len;
    while (at < len && is_space(text[at]))
        at++;
    answer->bare_name =
        tools_mistral(answer->opts.format) && at < len && text[at] != '[' && text[at] != '{';
    return answer->bare_name ? answer_scan_named(text, len, scan) : answer_scan(text, len, scan);
}

static bool step_call(struct answer *answer, bool end)
{
    struct answer_scan scan;
    move(answer, answer->held.len, &answer->raw, 0);
    if (arguments_go_on(answer))
        return false;
    enum scan_end state = scan_call(answer, &scan);
    bool known = answer->raw_named, bad = state == SCAN_BAD;
    if (scan.name.len > 0 && (scan.arguments.data || state == SCAN_DONE)) {
        take_call(answer, &scan, !known);
        answer->raw_named = true;
    }
    if (state == SCAN_MORE) {
        if (end && !answer->raw_named)
            return answer->raw.len + answer->mark.len > 0 && no_call(answer);
        if (answer->raw_named) {
            size_t value = (size_t)(scan.arguments.data - answer->raw.data);
            answer->place = (struct answer_place){.value = value, .at = value};
            arguments_go_on(answer);
        }
        return false;
    }
    if (!answer->raw_named) /* no object, or one without a name */
        return no_call(answer);
    struct answer_call *call = &answer->calls[answer->call_count - 1];
    if (call->arguments.len == 0)
        buf_str(&call->arguments, "{}");
    buf_append(&answer->held, answer->raw.data + scan.used, answer->raw.len - scan.used);
    buf_clear(&answer->raw);
    answer->raw_named = false;
    answer->over = answer->opts.one_call;
    answer->state = ANSWER_AFTER;
    if (bad && !answer->over) { /* what was told stays told; what is behind is text */
        answer->state = ANSWER_CONTENT;
        answer->spoke = true;
        answer->opts.format = TOOLS_NONE;
    }
    return true;
}

/* Behind a call: its closing mark, then another call, or text. */
static bool step_after(struct answer *answer, bool end)
{
    struct buf *held = &answer->held;
    bool list = answer->opts.format != TOOLS_HERMES && !answer->bare_name;
    if (answer->over) {
        buf_clear(held);
        return false;
    }
    drop_spaces(held);
    if (held->len == 0)
        return false;
    char c = held->data[0];
    if (list && (c == ',' || c == ';' || c == ']')) {
        buf_consume(held, 1);
        return true;
    }
    if (begins(held->data, held->len, hermes_end)) {
        buf_consume(held, hermes_end.len);
        return true;
    }
    struct str mark = opener(answer);
    if (!end &&
        (may_begin(held->data, held->len, hermes_end) || may_begin(held->data, held->len, mark)))
        return false;
    if (list && c == '{') {
        begin_call(answer, 0, 0);
    } else if (begins(held->data, held->len, mark)) {
        begin_call(answer, 0, mark.len);
        buf_consume(held, mark.len);
    } else {
        answer->state = ANSWER_CONTENT;
        answer->spoke = true;
    }
    return true;
}

static void run(struct answer *answer, bool end)
{
    static bool (*const steps[])(struct answer *, bool) = {
        [ANSWER_START] = step_start,     [ANSWER_REASONING] = step_reasoning,
        [ANSWER_CONTENT] = step_content, [ANSWER_CALL] = step_call,
        [ANSWER_AFTER] = step_after,
    };
    while (steps[answer->state](answer, end))
        ;
    if (answer->opts.forced)
        buf_clear(&answer->content);
}

void answer_push(struct answer *answer, const char *text, size_t len)
{
    if (len > 0)
        buf_append(&answer->held, text, len);
    run(answer, false);
}

void answer_finish(struct answer *answer)
{
    run(answer, true);
}
