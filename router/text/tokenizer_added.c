#include "router/text/tokenizer_added.h"

#include <string.h>

#include "common/mem.h"
#include "common/utf8.h"
#include "router/text/tokenizer_unicode.h"

void added_set_release(struct added_set *set)
{
    mem_free(set->tokens);
    mem_free(set->ends);
    map_release(&set->edges);
    memset(set, 0, sizeof(*set));
}

static uint32_t new_node(struct added_set *set)
{
    if (set->node_count == set->node_cap) {
        set->node_cap = set->node_cap ? set->node_cap * 2 : 64;
        set->ends = mem_realloc(set->ends, set->node_cap * sizeof(*set->ends));
    }
    set->ends[set->node_count] = ADDED_NONE;
    return set->node_count++;
}

void added_set_add(struct added_set *set, struct str text, struct added_token token)
{
    uint32_t node = 0;
    if (text.len == 0)
        return;
    if (set->node_count == 0)
        new_node(set);
    for (size_t i = 0; i < text.len; i++) {
        uint64_t key = (uint64_t)node << 8 | (unsigned char)text.data[i];
        uint64_t *next = map_get(&set->edges, key);
        if (next) {
            node = (uint32_t)*next;
        } else {
            node = new_node(set);
            map_put(&set->edges, key, node);
        }
    }
    if (set->ends[node] != ADDED_NONE)
        return;
    if (set->count == set->cap) {
        set->cap = set->cap ? set->cap * 2 : 16;
        set->tokens = mem_realloc(set->tokens, set->cap * sizeof(*set->tokens));
    }
    set->first[(unsigned char)text.data[0]] = true;
    set->ends[node] = set->count;
    set->tokens[set->count++] = token;
}

/* The longest token that starts at text[at]: its index and end. */
static uint32_t longest_at(const struct added_set *set, struct str text, size_t at, size_t *end)
{
    uint32_t node = 0, found = ADDED_NONE;
    for (size_t i = at; i < text.len; i++) {
        const uint64_t *next =
            map_get(&set->edges, (uint64_t)node << 8 | (unsigned char)text.data[i]);
        if (!next)
            break;
        node = (uint32_t)*next;
        if (set->ends[node] != ADDED_NONE) {
            found = set->ends[node];
            *end = i + 1;
        }
    }
    return found;
}

/* ---- what stands beside a token ---------------------------------------------------------------- */

static bool char_behind(struct str text, size_t at, uint32_t *cp, size_t *len)
{
    if (at >= text.len)
        return false;
    *len = (size_t)utf8_decode(text.data + at, text.len - at, cp);
    return true;
}

static bool char_before(struct str text, size_t at, uint32_t *cp, size_t *len)
{
    size_t start = at;
    if (at == 0)
        return false;
    do
        start--;
    while (start > 0 && ((unsigned char)text.data[start] & 0xc0) == 0x80);
    *len = (size_t)utf8_decode(text.data + start, at - start, cp);
    return true;
}

static bool alone(struct str text, size_t start, size_t end)
{
    uint32_t cp;
    size_t n;
    if (char_before(text, start, &cp, &n) && unicode_word_char(cp))
        return false;
    return !(char_behind(text, end, &cp, &n) && unicode_word_char(cp));
}

/* ---- the walk ---------------------------------------------------------------------------------- */

/* Finds the next token; false when there is none. Sets the cut's held token. */
static bool find(struct added_cut *cut)
{
    const struct added_set *set = cut->set;
    for (size_t i = cut->search; i < cut->text.len; i++) {
        const struct added_token *token;
        size_t end = 0, n;
        uint32_t found, cp;
        if (!set->first[(unsigned char)cut->text.data[i]])
            continue;
        found = longest_at(set, cut->text, i, &end);
        if (found == ADDED_NONE)
            continue;
        token = &set->tokens[found];
        cut->search = end;
        if (token->single_word && !alone(cut->text, i, end)) {
            i = end - 1;
            continue;
        }
        cut->token_start = i;
        cut->token_end = end;
        /* Spaces that an earlier token has taken stay with it. */
        while (token->lstrip && cut->token_start > cut->start &&
               char_before(cut->text, cut->token_start, &cp, &n) && unicode_space_char(cp))
            cut->token_start -= n;
        while (token->rstrip && char_behind(cut->text, cut->token_end, &cp, &n) &&
               unicode_space_char(cp))
            cut->token_end += n;
        if (token->lstrip && cut->token_start < cut->start) {
            /* The token before has taken this one's spaces, which were all of it. */
            if (cut->token_end <= cut->start)
                continue;
            cut->token_start = cut->start;
        }
        cut->id = token->id;
        return true;
    }
    cut->search = cut->text.len;
    return false;
}

bool added_next(struct added_cut *cut, struct str *piece, uint32_t *id)
{
    size_t from = cut->start, to;
    *id = ADDED_NONE;
    if (!cut->have && cut->set->count)
        cut->have = find(cut);
    if (!cut->have) {
        *piece =
            (struct str){cut->text.data + from, cut->text.len > from ? cut->text.len - from : 0};
        cut->start = cut->text.len;
        return piece->len > 0;
    }
    to = cut->token_start;
    if (from < to) {
        *piece = (struct str){cut->text.data + from, to - from};
        cut->start = to;
        return true;
    }
    *piece = (struct str){cut->text.data + to, cut->token_end - to};
    *id = cut->id;
    cut->start = cut->token_end;
    cut->have = false;
    return true;
}
