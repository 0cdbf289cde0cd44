/* Texts without certain words: all words at once in one automaton (Aho, Corasick 1975), from which the
 * states where a word ends are left out.
 *
 *   words "ab", "b":   root ─a─► a ─b─► (ends "ab")        a's fall is the root; a byte without an edge
 *                      root ─b─► (ends "b")                goes where it goes from the fall
 */
#include <string.h>

#include "common/automaton.h"
#include "common/mem.h"
#include "router/grammar/grammar.h"
#include "router/grammar/grammar_nfa.h"

#define WORDS_BYTES_MAX 4000
#define NODE_NONE       UINT16_MAX

struct node {
    uint16_t next[256]; /* NODE_NONE until filled */
    uint16_t fall;      /* the longest end of this node's text that begins a word */
    bool ends;          /* a word ends here, as all of the text or as its end */
};

struct trie {
    struct node *nodes;
    uint16_t *order; /* by depth */
    uint32_t count;
};

static uint16_t add_node(struct trie *trie)
{
    struct node *node = &trie->nodes[trie->count];
    memset(node->next, 0xff, sizeof(node->next));
    node->fall = 0;
    node->ends = false;
    return (uint16_t)trie->count++;
}

static void add_word(struct trie *trie, const unsigned char *word, size_t len)
{
    uint16_t at = 0;
    for (size_t i = 0; i < len; i++) {
        if (trie->nodes[at].next[word[i]] == NODE_NONE)
            trie->nodes[at].next[word[i]] = add_node(trie);
        at = trie->nodes[at].next[word[i]];
    }
    trie->nodes[at].ends = true;
}

/* Breadth first, so that a node's fall is complete before the node needs it. */
static void fill(struct trie *trie)
{
    uint32_t seen = 1;
    trie->order[0] = 0;
    for (uint32_t done = 0; done < seen; done++) {
        uint16_t at = trie->order[done];
        struct node *node = &trie->nodes[at];
        const struct node *fall = &trie->nodes[node->fall];
        node->ends |= fall->ends;
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint16_t past = at == 0 ? 0 : fall->next[byte];
            if (node->next[byte] == NODE_NONE) {
                node->next[byte] = past;
                continue;
            }
            trie->nodes[node->next[byte]].fall = past;
            trie->order[seen++] = node->next[byte];
        }
    }
}

/* One state a node, one edge for a run of bytes that lead to the same node; each may be the end. */
static void put(const struct trie *trie, struct nfa *nfa, uint32_t start, uint32_t end)
{
    uint32_t *states = mem_array(trie->count, sizeof(*states));
    for (uint32_t i = 0; i < trie->count; i++)
        states[i] = nfa_state(nfa);
    nfa_empty(nfa, start, states[0]);
    for (uint32_t i = 0; i < trie->count; i++) {
        const struct node *node = &trie->nodes[i];
        nfa_empty(nfa, states[i], end);
        for (uint32_t lo = 0, hi; lo < 256; lo = hi + 1) {
            for (hi = lo; hi < 255 && node->next[hi + 1] == node->next[lo];)
                hi++;
            if (!trie->nodes[node->next[lo]].ends)
                nfa_range(nfa, states[i], (uint8_t)lo, (uint8_t)hi, states[node->next[lo]]);
        }
    }
    mem_free(states);
}

enum status grammar_without(const json_t *words, struct buf *out, struct err *err)
{
    struct nfa nfa = {0};
    struct trie trie = {0};
    size_t bytes = 1;
    for (size_t i = 0; i < json_array_size(words); i++)
        bytes += json_string_length(json_array_get(words, i));
    if (bytes > WORDS_BYTES_MAX)
        return err_set(err, STATUS_UNSUPPORTED, "the words have more than %d bytes",
                       WORDS_BYTES_MAX - 1);
    trie.nodes = mem_array(bytes, sizeof(*trie.nodes));
    trie.order = mem_array(bytes, sizeof(*trie.order));
    add_node(&trie);
    for (size_t i = 0; i < json_array_size(words); i++) {
        const json_t *word = json_array_get(words, i);
        add_word(&trie, (const unsigned char *)json_string_value(word), json_string_length(word));
    }
    fill(&trie);
    uint32_t rule = nfa_rule(&nfa);
    put(&trie, &nfa, nfa.rules[rule].start, nfa.rules[rule].end);
    enum status status = nfa_compile(&nfa, out, err);
    mem_free(trie.nodes);
    mem_free(trie.order);
    nfa_release(&nfa);
    return status;
}

/* ---- tokens, whatever they spell ---- */

enum status grammar_from_ids(const json_t *ids, uint32_t vocab, struct buf *out, struct err *err)
{
    const uint32_t magic = AUTOMATON_TOKENS_MAGIC;
    buf_append(out, &magic, sizeof(magic));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *item = json_array_get(ids, i);
        json_int_t value = json_is_integer(item) ? json_integer_value(item) : -1;
        if (value < 0 || value >= (json_int_t)vocab)
            return err_set(err, STATUS_INVALID, "item %zu is no token id (0 to %u)", i, vocab - 1);
        uint32_t id = (uint32_t)value;
        buf_append(out, &id, sizeof(id));
    }
    return STATUS_OK;
}
