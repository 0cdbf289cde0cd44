/* grammar_regex - the text of an expression to a tree. */
#include "router/grammar/grammar_regex.h"

#include <string.h>

#include "common/utf8.h"
#include "router/grammar/regex_nodes.h"

#define REPEAT_MAX 2000
#define DEPTH_MAX  200

struct parser {
    struct arena *arena;
    const char *at, *end;
    struct regex *out;
    uint32_t depth;
    bool split; /* a | outside all groups */
    struct err *err;
};

static enum status bad(struct parser *p, const char *what)
{
    return err_set(p->err, STATUS_INVALID, "the expression %s", what);
}

static enum status lacks(struct parser *p, const char *what)
{
    return err_set(p->err, STATUS_UNSUPPORTED, "%s is not supported in an expression", what);
}

static const struct regex_node *join(struct parser *p, enum node_kind kind,
                                     const struct regex_node *a, const struct regex_node *b)
{
    if (!a)
        return b;
    struct regex_node *node = regex_node_new(p->arena, kind);
    node->a = a;
    node->b = b;
    return node;
}

static bool next_is(const struct parser *p, char c)
{
    return p->at < p->end && *p->at == c;
}

static bool take(struct parser *p, char c)
{
    if (!next_is(p, c))
        return false;
    p->at++;
    return true;
}

static enum status take_point(struct parser *p, uint32_t *out)
{
    int used = p->at < p->end ? utf8_decode(p->at, (size_t)(p->end - p->at), out) : 0;
    if (used == 0)
        return bad(p, "ends too early");
    p->at += used;
    return STATUS_OK;
}

static enum status take_hex(struct parser *p, int digits, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++) {
        char c = p->at < p->end ? *p->at++ : 0;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return bad(p, "has an escape without its hexadecimal digits");
        *out = *out * 16 + digit;
    }
    return STATUS_OK;
}

/* Behind a backslash: one code point, or a class that is added to `set` (then *point is NONE). */
static enum status take_escape(struct parser *p, struct regex_node *set, uint32_t *point)
{
    uint32_t c;
    TRY(take_point(p, &c));
    *point = NFA_NONE;
    switch (c) {
    case 'd':
    case 'w':
    case 's':
        regex_set_add_class(p->arena, set, (char)c);
        return STATUS_OK;
    case 'D':
    case 'W':
    case 'S':
        regex_set_add_complement(p->arena, set, (char)(c - 'A' + 'a'));
        return STATUS_OK;
    case 'n':
        *point = '\n';
        return STATUS_OK;
    case 't':
        *point = '\t';
        return STATUS_OK;
    case 'r':
        *point = '\r';
        return STATUS_OK;
    case 'f':
        *point = '\f';
        return STATUS_OK;
    case 'v':
        *point = '\v';
        return STATUS_OK;
    case '0':
        *point = 0;
        return STATUS_OK;
    case 'x':
        return take_hex(p, 2, point);
    case 'u':
        return take_hex(p, 4, point);
    default:
        if ((c >= '1' && c <= '9') || c == 'k')
            return lacks(p, "a back reference");
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
            return lacks(p, (char[]){'\\', (char)c, 0});
        *point = c;
        return STATUS_OK;
    }
}

/* One member of a class, or the escape of one; *point NONE: it was a class of its own. */
static enum status take_member(struct parser *p, struct regex_node *set, uint32_t *point)
{
    if (!take(p, '\\'))
        return take_point(p, point);
    if (take(p, 'b')) {
        *point = '\b';
        return STATUS_OK;
    }
    return take_escape(p, set, point);
}

static enum status parse_class(struct parser *p, const struct regex_node **out)
{
    struct regex_node *set = regex_node_new(p->arena, NODE_SET);
    bool negated = take(p, '^'), first = true;
    for (; first || !next_is(p, ']'); first = false) {
        uint32_t lo, hi;
        if (p->at == p->end)
            return bad(p, "has a class without an end");
        TRY(take_member(p, set, &lo));
        if (lo == NFA_NONE)
            continue;
        hi = lo;
        if (next_is(p, '-') && p->end - p->at > 1 && p->at[1] != ']') {
            p->at++;
            TRY(take_member(p, set, &hi));
            if (hi == NFA_NONE || hi < lo)
                return bad(p, "has a range that runs backwards");
        }
        regex_set_add(p->arena, set, lo, hi);
    }
    p->at++;
    regex_set_normalize(set);
    *out = negated ? regex_set_negate(p->arena, set) : set;
    return STATUS_OK;
}

static enum status parse_alternatives(struct parser *p, const struct regex_node **out);

static enum status parse_group(struct parser *p, const struct regex_node **out)
{
    if (take(p, '?')) {
        bool named = next_is(p, 'P') ||
                     (next_is(p, '<') && p->end - p->at > 1 && p->at[1] != '=' && p->at[1] != '!');
        if (named) {
            while (p->at < p->end && *p->at != '>')
                p->at++;
            p->at += p->at < p->end;
        } else if (!take(p, ':')) {
            return lacks(p, "look-around or a flag");
        }
    }
    if (++p->depth > DEPTH_MAX)
        return lacks(p, "such deep nesting");
    TRY(parse_alternatives(p, out));
    p->depth--;
    return take(p, ')') ? STATUS_OK : bad(p, "has a group without an end");
}

static enum status parse_atom(struct parser *p, const struct regex_node **out)
{
    struct regex_node *set = regex_node_new(p->arena, NODE_SET);
    uint32_t point;
    if (take(p, '('))
        return parse_group(p, out);
    if (take(p, '['))
        return parse_class(p, out);
    *out = set;
    if (take(p, '.')) {
        regex_set_add(p->arena, set, 0, '\n' - 1); /* without any dialect's line ends */
        regex_set_add(p->arena, set, '\r' + 1, 0x84);
        regex_set_add(p->arena, set, 0x86, 0x2027);
        regex_set_add(p->arena, set, 0x202a, REGEX_POINT_MAX);
        return STATUS_OK;
    }
    if (next_is(p, '*') || next_is(p, '+') || next_is(p, '?') || next_is(p, '{'))
        return bad(p, "has a quantifier behind nothing");
    if (next_is(p, '^') || next_is(p, '$'))
        return lacks(p, "an anchor inside");
    if (take(p, '\\')) {
        if (next_is(p, 'b') || next_is(p, 'B'))
            return lacks(p, "a word border");
        TRY(take_escape(p, set, &point));
    } else {
        TRY(take_point(p, &point));
    }
    if (point != NFA_NONE)
        regex_set_add(p->arena, set, point, point);
    regex_set_normalize(set);
    return STATUS_OK;
}

static bool take_number(struct parser *p, uint32_t *out)
{
    const char *start = p->at;
    for (*out = 0; p->at < p->end && *p->at >= '0' && *p->at <= '9' && *out < 1u << 24; p->at++)
        *out = *out * 10 + (uint32_t)(*p->at - '0');
    return p->at > start;
}

static enum status parse_bounds(struct parser *p, uint32_t *min, uint32_t *max)
{
    if (!take_number(p, min))
        return bad(p, "has a { that begins no quantifier");
    *max = *min;
    if (take(p, ',') && !take_number(p, max))
        *max = UINT32_MAX;
    if (!take(p, '}') || *max < *min)
        return bad(p, "has a quantifier that makes no sense");
    if (*min > REPEAT_MAX || (*max != UINT32_MAX && *max > REPEAT_MAX))
        return lacks(p, "so many repetitions");
    return STATUS_OK;
}

static enum status parse_repeat(struct parser *p, const struct regex_node **out)
{
    TRY(parse_atom(p, out));
    for (;;) {
        uint32_t min = 0, max = UINT32_MAX;
        if (take(p, '+'))
            min = 1;
        else if (take(p, '?'))
            max = 1;
        else if (take(p, '{'))
            TRY(parse_bounds(p, &min, &max));
        else if (!take(p, '*'))
            return STATUS_OK;
        if (next_is(p, '+'))
            return lacks(p, "a possessive quantifier");
        (void)take(p, '?'); /* lazy */
        struct regex_node *node = regex_node_new(p->arena, NODE_REPEAT);
        node->a = *out;
        node->min = min;
        node->max = max;
        *out = node;
    }
}

static enum status parse_sequence(struct parser *p, const struct regex_node **out)
{
    const struct regex_node *sequence = NULL, *part;
    while (p->at < p->end && *p->at != '|' && *p->at != ')') {
        if (p->depth == 0 && p->end - p->at == 1 && *p->at == '$') {
            p->out->to_end = true;
            p->at++;
            break;
        }
        TRY(parse_repeat(p, &part));
        sequence = join(p, NODE_CAT, sequence, part);
    }
    *out = sequence ? sequence : regex_node_new(p->arena, NODE_EMPTY);
    return STATUS_OK;
}

static enum status parse_alternatives(struct parser *p, const struct regex_node **out)
{
    const struct regex_node *part;
    *out = NULL;
    do {
        TRY(parse_sequence(p, &part));
        p->split |= *out != NULL && p->depth == 0;
        *out = join(p, NODE_ALT, *out, part);
    } while (take(p, '|'));
    return STATUS_OK;
}

enum status regex_parse(struct str text, struct arena *arena, struct regex *out, struct err *err)
{
    struct parser p = {
        .arena = arena, .at = text.data, .end = text.data + text.len, .out = out, .err = err};
    *out = (struct regex){.from_start = false};
    if (text.len == 0)
        return bad(&p, "is empty");
    out->from_start = take(&p, '^');
    TRY(parse_alternatives(&p, &out->root));
    if (p.at < p.end)
        return bad(&p, "has a ) too many");
    if ((out->from_start || out->to_end) && p.split)
        return lacks(&p, "an anchor beside |");
    return STATUS_OK;
}
