#include "router/grammar/grammar_regex.h"

#include <string.h>

#include "common/mem.h"
#include "common/utf8.h"

#define REPEAT_MAX 2000
#define DEPTH_MAX  200
#define POINT_MAX  0x10ffffu

enum node_kind { NODE_EMPTY, NODE_SET, NODE_CAT, NODE_ALT, NODE_REPEAT };

struct span {
    uint32_t lo, hi;
};

struct regex_node {
    enum node_kind kind;
    struct span *spans; /* SET */
    uint32_t span_count;
    const struct regex_node *a, *b;
    uint32_t min, max; /* REPEAT; max UINT32_MAX: no end */
};

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

static struct regex_node *node_new(struct parser *p, enum node_kind kind)
{
    struct regex_node *node = arena_zalloc(p->arena, sizeof(*node));
    node->kind = kind;
    return node;
}

static const struct regex_node *join(struct parser *p, enum node_kind kind,
                                     const struct regex_node *a, const struct regex_node *b)
{
    if (!a)
        return b;
    struct regex_node *node = node_new(p, kind);
    node->a = a;
    node->b = b;
    return node;
}

/* ---- sets of code points ---- */

static void set_add(struct parser *p, struct regex_node *set, uint32_t lo, uint32_t hi)
{
    if ((set->span_count & (set->span_count - 1)) == 0) { /* full at powers of two */
        struct span *grown =
            arena_array(p->arena, MAX(4u, 2 * set->span_count), sizeof(*set->spans));
        if (set->span_count > 0)
            memcpy(grown, set->spans, set->span_count * sizeof(*grown));
        set->spans = grown;
    }
    set->spans[set->span_count++] = (struct span){lo, hi};
}

/* Sorted, disjoint. */
static void set_normalize(struct regex_node *set)
{
    struct span *s = set->spans;
    uint32_t kept = 0;
    for (uint32_t i = 1; i < set->span_count; i++)
        for (uint32_t k = i; k > 0 && s[k - 1].lo > s[k].lo; k--) {
            struct span swap = s[k];
            s[k] = s[k - 1];
            s[k - 1] = swap;
        }
    for (uint32_t i = 0; i < set->span_count; i++) {
        if (kept > 0 && s[i].lo <= s[kept - 1].hi + 1)
            s[kept - 1].hi = MAX(s[kept - 1].hi, s[i].hi);
        else
            s[kept++] = s[i];
    }
    set->span_count = kept;
}

static struct regex_node *set_negate(struct parser *p, struct regex_node *set)
{
    struct regex_node *out = node_new(p, NODE_SET);
    uint32_t next = 0;
    set_normalize(set);
    for (uint32_t i = 0; i < set->span_count; i++) {
        if (set->spans[i].lo > next)
            set_add(p, out, next, set->spans[i].lo - 1);
        next = set->spans[i].hi + 1;
    }
    if (next <= POINT_MAX)
        set_add(p, out, next, POINT_MAX);
    return out;
}

/* What \d, \w, \s mean, ASCII only: narrower than Unicode's, so always right. */
static void set_add_class(struct parser *p, struct regex_node *set, char letter)
{
    static const struct span word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const struct span space[] = {{'\t', '\r'}, {' ', ' '}};
    const struct span *spans = letter == 's' ? space : word;
    size_t count = letter == 'd' ? 1 : letter == 's' ? ARRAY_LEN(space) : ARRAY_LEN(word);
    for (size_t i = 0; i < count; i++)
        set_add(p, set, spans[i].lo, spans[i].hi);
}

/* \D, \W, \S: printable ASCII outside the class, and Latin letters where no dialect counts them
 * in: again narrower than any of them. */
static void set_add_complement(struct parser *p, struct regex_node *set, char letter)
{
    struct regex_node *inner = node_new(p, NODE_SET);
    set_add_class(p, inner, letter);
    struct regex_node *outside = set_negate(p, inner);
    for (uint32_t i = 0; i < outside->span_count; i++) {
        uint32_t lo = MAX(outside->spans[i].lo, 0x20u), hi = MIN(outside->spans[i].hi, 0x7eu);
        if (lo <= hi)
            set_add(p, set, lo, hi);
    }
    if (letter != 'w')
        set_add(p, set, 0xc0, 0x24f);
}

/* ---- parsing ---- */

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
        set_add_class(p, set, (char)c);
        return STATUS_OK;
    case 'D':
    case 'W':
    case 'S':
        set_add_complement(p, set, (char)(c - 'A' + 'a'));
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
    struct regex_node *set = node_new(p, NODE_SET);
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
        set_add(p, set, lo, hi);
    }
    p->at++;
    set_normalize(set);
    *out = negated ? set_negate(p, set) : set;
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
    struct regex_node *set = node_new(p, NODE_SET);
    uint32_t point;
    if (take(p, '('))
        return parse_group(p, out);
    if (take(p, '['))
        return parse_class(p, out);
    *out = set;
    if (take(p, '.')) {
        set_add(p, set, 0, '\n' - 1); /* without any dialect's line ends */
        set_add(p, set, '\r' + 1, 0x84);
        set_add(p, set, 0x86, 0x2027);
        set_add(p, set, 0x202a, POINT_MAX);
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
        set_add(p, set, point, point);
    set_normalize(set);
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
        struct regex_node *node = node_new(p, NODE_REPEAT);
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
    *out = sequence ? sequence : node_new(p, NODE_EMPTY);
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

/* ---- into the automaton ---- */

/* A span inside a JSON string: what may stand raw, and the short escapes. */
static void put_json_span(struct nfa *nfa, uint32_t from, struct span span, uint32_t to)
{
    static const struct span raw[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, POINT_MAX}};
    static const char escapes[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                      {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
    for (size_t i = 0; i < ARRAY_LEN(raw); i++) {
        uint32_t lo = MAX(span.lo, raw[i].lo), hi = MIN(span.hi, raw[i].hi);
        if (lo <= hi)
            nfa_points(nfa, from, lo, hi, to);
    }
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        uint32_t point = (unsigned char)escapes[i][0];
        if (point < span.lo || point > span.hi)
            continue;
        uint32_t mid = nfa_state(nfa);
        nfa_range(nfa, from, '\\', '\\', mid);
        nfa_range(nfa, mid, (uint8_t)escapes[i][1], (uint8_t)escapes[i][1], to);
    }
}

static uint32_t put_set(struct nfa *nfa, uint32_t from, const struct regex_node *set, bool json)
{
    uint32_t to = nfa_state(nfa);
    for (uint32_t i = 0; i < set->span_count; i++) {
        if (json)
            put_json_span(nfa, from, set->spans[i], to);
        else
            nfa_points(nfa, from, set->spans[i].lo, set->spans[i].hi, to);
    }
    return to;
}

static uint32_t put_repeat(struct nfa *nfa, uint32_t from, const struct regex_node *node, bool json)
{
    for (uint32_t i = 0; i < node->min && !nfa->too_large; i++)
        from = regex_put(nfa, from, node->a, json);
    if (node->max == UINT32_MAX) {
        uint32_t loop = nfa_state(nfa);
        nfa_empty(nfa, from, loop);
        nfa_empty(nfa, regex_put(nfa, loop, node->a, json), loop);
        return loop;
    }
    uint32_t end = nfa_state(nfa);
    nfa_empty(nfa, from, end);
    for (uint32_t i = node->min; i < node->max && !nfa->too_large; i++) {
        from = regex_put(nfa, from, node->a, json);
        nfa_empty(nfa, from, end);
    }
    return end;
}

uint32_t regex_put(struct nfa *nfa, uint32_t from, const struct regex_node *node, bool json)
{
    switch (node->kind) {
    case NODE_EMPTY:
        return from;
    case NODE_SET:
        return put_set(nfa, from, node, json);
    case NODE_CAT:
        return regex_put(nfa, regex_put(nfa, from, node->a, json), node->b, json);
    case NODE_ALT: {
        uint32_t end = nfa_state(nfa);
        nfa_empty(nfa, regex_put(nfa, from, node->a, json), end);
        nfa_empty(nfa, regex_put(nfa, from, node->b, json), end);
        return end;
    }
    case NODE_REPEAT:
        return put_repeat(nfa, from, node, json);
    }
    return from;
}

/* ---- with the length counted ----
 *
 * Each place of the expression is there once a length so far: layer k is where k code points were
 * read. Where there is no end of lengths the last layer means "so many or more".
 *
 *   ^ab*$, 2 to 3:   [0] ─a─► [1] ─b─► [2]· ─b─► [3]·        · may end */
#define COUNTED_WORK_MAX 10000000u /* layers looked at: some 30 ms */

struct counted {
    struct nfa *nfa;
    uint32_t top;
    bool endless;
    uint64_t work;
};

static uint32_t *layers_new(struct counted *c)
{
    uint32_t *layers = mem_alloc((c->top + (size_t)1) * sizeof(*layers));
    for (uint32_t k = 0; k <= c->top; k++)
        layers[k] = NFA_NONE;
    c->work += c->top + 1;
    c->nfa->too_large |= c->work > COUNTED_WORK_MAX;
    return layers;
}

static void layer_join(struct counted *c, uint32_t *layers, uint32_t k, uint32_t state)
{
    if (layers[k] == NFA_NONE)
        layers[k] = nfa_state(c->nfa);
    nfa_empty(c->nfa, state, layers[k]);
}

static void layers_join(struct counted *c, uint32_t *into, const uint32_t *from)
{
    for (uint32_t k = 0; k <= c->top; k++)
        if (from[k] != NFA_NONE)
            layer_join(c, into, k, from[k]);
}

static void put_layers(struct counted *c, const struct regex_node *node, const uint32_t *in,
                       uint32_t *out);

/* Any number of times. From each layer on its own, lowest first: what it leads to is higher, or itself. */
static void put_loop(struct counted *c, const struct regex_node *node, uint32_t *loop)
{
    for (uint32_t k = 0; k <= c->top && !c->nfa->too_large; k++) {
        if (loop[k] == NFA_NONE)
            continue;
        uint32_t *one = layers_new(c), *led = layers_new(c);
        one[k] = loop[k];
        put_layers(c, node, one, led);
        layers_join(c, loop, led);
        mem_free(one);
        mem_free(led);
    }
}

static void put_layers_repeat(struct counted *c, const struct regex_node *node, const uint32_t *in,
                              uint32_t *out)
{
    uint32_t *at = layers_new(c), times = node->max == UINT32_MAX ? node->min : node->max;
    layers_join(c, at, in);
    if (node->min == 0)
        layers_join(c, out, at);
    for (uint32_t i = 0; i < times && !c->nfa->too_large; i++) {
        uint32_t *next = layers_new(c);
        put_layers(c, node->a, at, next);
        mem_free(at);
        at = next;
        if (i + 1 >= node->min)
            layers_join(c, out, at);
    }
    if (node->max == UINT32_MAX) {
        put_loop(c, node->a, at);
        layers_join(c, out, at);
    }
    mem_free(at);
}

/* Adds to out what the node leads to from in. */
static void put_layers(struct counted *c, const struct regex_node *node, const uint32_t *in,
                       uint32_t *out)
{
    if (c->nfa->too_large)
        return;
    switch (node->kind) {
    case NODE_EMPTY:
        layers_join(c, out, in);
        break;
    case NODE_SET:
        for (uint32_t k = 0; k <= c->top; k++)
            if (in[k] != NFA_NONE && (k < c->top || c->endless))
                layer_join(c, out, MIN(k + 1, c->top), put_set(c->nfa, in[k], node, true));
        break;
    case NODE_CAT: {
        uint32_t *mid = layers_new(c);
        put_layers(c, node->a, in, mid);
        put_layers(c, node->b, mid, out);
        mem_free(mid);
        break;
    }
    case NODE_ALT:
        put_layers(c, node->a, in, out);
        put_layers(c, node->b, in, out);
        break;
    case NODE_REPEAT:
        put_layers_repeat(c, node, in, out);
        break;
    }
}

/* \/ and \uHHHH, but for surrogates: d8 to df. */
static void put_escapes(struct nfa *nfa, uint32_t from, uint32_t to)
{
    uint32_t slash = nfa_state(nfa), u = nfa_state(nfa);
    uint32_t any = nfa_state(nfa), d = nfa_state(nfa), two = nfa_state(nfa), one = nfa_state(nfa);
    static const uint8_t hex[][2] = {{'0', '9'}, {'a', 'f'}, {'A', 'F'}};
    nfa_range(nfa, from, '\\', '\\', slash);
    nfa_range(nfa, slash, '/', '/', to);
    nfa_range(nfa, slash, 'u', 'u', u);
    static const uint8_t not_d[][2] = {{'0', '9'}, {'a', 'c'}, {'e', 'f'}, {'A', 'C'}, {'E', 'F'}};
    for (size_t i = 0; i < ARRAY_LEN(not_d); i++)
        nfa_range(nfa, u, not_d[i][0], not_d[i][1], any);
    nfa_range(nfa, u, 'd', 'd', d);
    nfa_range(nfa, u, 'D', 'D', d);
    nfa_range(nfa, d, '0', '7', two);
    for (size_t i = 0; i < ARRAY_LEN(hex); i++) {
        nfa_range(nfa, any, hex[i][0], hex[i][1], two);
        nfa_range(nfa, two, hex[i][0], hex[i][1], one);
        nfa_range(nfa, one, hex[i][0], hex[i][1], to);
    }
}

uint32_t regex_put_json_char(struct nfa *nfa, uint32_t from)
{
    uint32_t to = nfa_state(nfa);
    put_json_span(nfa, from, (struct span){0, POINT_MAX}, to);
    put_escapes(nfa, from, to);
    return to;
}

void regex_put_json_rare(struct nfa *nfa, uint32_t from, uint32_t to)
{
    static const struct span spans[] = {{0, 0x1f}, {'"', '"'}, {'\\', '\\'}, {0x80, POINT_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(spans); i++)
        put_json_span(nfa, from, spans[i], to);
    put_escapes(nfa, from, to);
}

/* Any characters, any number of them. */
static uint32_t put_any(struct nfa *nfa, uint32_t from)
{
    uint32_t loop = nfa_state(nfa);
    nfa_empty(nfa, from, loop);
    nfa_empty(nfa, regex_put_json_char(nfa, loop), loop);
    return loop;
}

static uint32_t put_counted(struct nfa *nfa, uint32_t from, const struct regex *regex, uint32_t min,
                            uint32_t max)
{
    static const struct span all = {0, POINT_MAX};
    const struct regex_node any = {.kind = NODE_SET, .spans = (struct span *)&all, .span_count = 1};
    const struct regex_node some = {.kind = NODE_REPEAT, .a = &any, .max = UINT32_MAX};
    const struct regex_node *parts[] = {regex->from_start ? NULL : &some, regex->root,
                                        regex->to_end ? NULL : &some};
    struct counted c = {
        .nfa = nfa, .top = max == UINT32_MAX ? min : max, .endless = max == UINT32_MAX};
    uint32_t *at = layers_new(&c), end = nfa_state(nfa), first = end;
    at[0] = from;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!parts[i])
            continue;
        uint32_t *next = layers_new(&c);
        put_layers(&c, parts[i], at, next);
        mem_free(at);
        at = next;
    }
    for (uint32_t k = min; k <= c.top; k++)
        if (at[k] != NFA_NONE)
            nfa_empty(nfa, at[k], end);
    mem_free(at);
    /* Of what was read by now it may be too late for a text of such a length. */
    return nfa->too_large || nfa_trim(nfa, from, first, end) ? end : NFA_NONE;
}

uint32_t regex_put_json_text(struct nfa *nfa, uint32_t from, const struct regex *regex,
                             uint32_t min, uint32_t max)
{
    if (min > 0 || max != UINT32_MAX)
        return put_counted(nfa, from, regex, min, max);
    if (!regex->from_start)
        from = put_any(nfa, from);
    from = regex_put(nfa, from, regex->root, true);
    return regex->to_end ? from : put_any(nfa, from);
}
