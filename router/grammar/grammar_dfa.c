/* From sets of states to states (the subset construction), rule by rule in one table.
 *
 * A set holds states of one rule only, for a rule's text is entered by a call and not by an empty
 * edge. On a byte a set goes on by its byte edges, or by calls of rules that may begin with it; never
 * by both, nor by calls of two rules: the reader has one stack. */
#include <stdlib.h>
#include <string.h>

#include "common/automaton.h"
#include "common/hash.h"
#include "common/map.h"
#include "common/mem.h"
#include "router/grammar/grammar_nfa.h"

/* Some ten letters can ask for thousands of sets of thousands of states: a call with such a grammar
 * must not hold the others up. About half a second; an object of 300 optional properties just fits. */
#define WORK_MAX 40000000u

struct set {
    uint32_t *items; /* sorted */
    uint32_t count;
};

struct dfa {
    const struct nfa *nfa;
    struct set *sets;
    uint32_t count, cap;
    struct map by_hash, by_call;         /* sets; enter << 16 | back of calls */
    uint16_t *table;                     /* [cap][classes] */
    uint8_t class_of[256], byte_of[256]; /* a class's first byte */
    uint32_t classes;
    struct automaton_call *calls;
    uint32_t call_count;
    bool (*first)[256]; /* [rules]: bytes that it may begin with */
    uint8_t *first_known;
    /* scratch */
    uint32_t *stack, *found;
    uint32_t *mark, marks; /* [states] */
    uint8_t *ends;         /* [states] a rule's end */
    uint64_t work;         /* states and edges looked at so far */
    struct err *err;
};

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Everything that empty edges reach from found[0..count); sorted. */
static uint32_t close_set(struct dfa *dfa, uint32_t count)
{
    const struct nfa *nfa = dfa->nfa;
    uint32_t depth = 0, total = 0;
    dfa->marks++;
    for (uint32_t i = 0; i < count; i++)
        dfa->stack[depth++] = dfa->found[i];
    while (depth > 0) {
        uint32_t state = dfa->stack[--depth];
        if (dfa->mark[state] == dfa->marks)
            continue;
        dfa->mark[state] = dfa->marks;
        dfa->found[total++] = state;
        dfa->work++;
        for (uint32_t e = nfa->edges_of[state]; e != NFA_NONE; e = nfa->edges[e].next)
            if (nfa->edges[e].kind == NFA_EMPTY && dfa->mark[nfa->edges[e].to] != dfa->marks)
                dfa->stack[depth++] = nfa->edges[e].to;
    }
    qsort(dfa->found, total, sizeof(*dfa->found), compare_u32);
    return total;
}

/* The number of the set found[0..count), new or known; AUTOMATON_NONE when there are too many. */
static uint16_t set_number(struct dfa *dfa, uint32_t count)
{
    size_t bytes = count * sizeof(*dfa->found);
    uint64_t hash = hash_bytes(dfa->found, bytes), *known;
    for (; (known = map_get(&dfa->by_hash, hash)) != NULL; hash++) {
        const struct set *set = &dfa->sets[*known];
        if (set->count == count && memcmp(set->items, dfa->found, bytes) == 0)
            return (uint16_t)*known;
    }
    if (dfa->count == AUTOMATON_STATES_MAX)
        return AUTOMATON_NONE;
    if (dfa->count == dfa->cap) {
        dfa->cap = MAX(64u, 2 * dfa->cap);
        dfa->sets = mem_realloc(dfa->sets, dfa->cap * sizeof(*dfa->sets));
        dfa->table = mem_realloc(dfa->table, (size_t)dfa->cap * dfa->classes * sizeof(*dfa->table));
    }
    struct set *set = &dfa->sets[dfa->count];
    *set = (struct set){mem_alloc(MAX(bytes, (size_t)4)), count};
    memcpy(set->items, dfa->found, bytes);
    map_put(&dfa->by_hash, hash, dfa->count);
    return (uint16_t)dfa->count++;
}

/* Bytes that cannot be told apart anywhere share a class. */
static void find_classes(struct dfa *dfa)
{
    bool border[257] = {true};
    for (uint32_t e = 0; e < dfa->nfa->edge_count; e++) {
        const struct nfa_edge *edge = &dfa->nfa->edges[e];
        if (edge->kind == NFA_BYTES)
            border[edge->lo] = border[edge->hi + 1] = true;
    }
    for (uint32_t b = 0; b < 256; b++) {
        if (border[b])
            dfa->byte_of[dfa->classes++] = (uint8_t)b;
        dfa->class_of[b] = (uint8_t)(dfa->classes - 1);
    }
}

/* Sets first[rule]; false when a rule may begin with itself. */
static bool find_first(struct dfa *dfa, uint32_t rule)
{
    const struct nfa *nfa = dfa->nfa;
    if (dfa->first_known[rule] == 2)
        return true;
    if (dfa->first_known[rule] == 1)
        return false;
    dfa->first_known[rule] = 1;
    dfa->found[0] = nfa->rules[rule].start;
    uint32_t count = close_set(dfa, 1);
    uint32_t *states = mem_alloc(count * sizeof(*states));
    memcpy(states, dfa->found, count * sizeof(*states));
    bool fine = true;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t e = nfa->edges_of[states[i]]; e != NFA_NONE; e = nfa->edges[e].next) {
            const struct nfa_edge *edge = &nfa->edges[e];
            if (edge->kind == NFA_BYTES)
                memset(&dfa->first[rule][edge->lo], true, (size_t)(edge->hi - edge->lo) + 1);
            if (edge->kind != NFA_RULE)
                continue;
            fine &= find_first(dfa, edge->rule);
            for (uint32_t b = 0; b < 256 && fine; b++)
                dfa->first[rule][b] |= dfa->first[edge->rule][b];
        }
    }
    mem_free(states);
    dfa->first_known[rule] = 2;
    return fine;
}

static enum status add_call(struct dfa *dfa, uint32_t rule, uint32_t targets, uint16_t *entry)
{
    uint16_t back = set_number(dfa, close_set(dfa, targets));
    dfa->found[0] = dfa->nfa->rules[rule].start;
    uint16_t enter = set_number(dfa, close_set(dfa, 1));
    if (back == AUTOMATON_NONE || enter == AUTOMATON_NONE)
        return err_set(dfa->err, STATUS_UNSUPPORTED, "it needs too many states");
    uint64_t key = (uint64_t)enter << 16 | back, *known = map_get(&dfa->by_call, key);
    if (known) {
        *entry = (uint16_t)(AUTOMATON_CALL | *known);
        return STATUS_OK;
    }
    if (dfa->call_count == AUTOMATON_STATES_MAX)
        return err_set(dfa->err, STATUS_UNSUPPORTED, "it needs too many states");
    if ((dfa->call_count & (dfa->call_count - 1)) == 0)
        dfa->calls = mem_realloc(dfa->calls, MAX(1u, 2 * dfa->call_count) * sizeof(*dfa->calls));
    dfa->calls[dfa->call_count] = (struct automaton_call){enter, back};
    map_put(&dfa->by_call, key, dfa->call_count);
    *entry = (uint16_t)(AUTOMATON_CALL | dfa->call_count++);
    return STATUS_OK;
}

static enum status transition(struct dfa *dfa, uint32_t number, uint8_t byte, uint16_t *entry)
{
    const struct nfa *nfa = dfa->nfa;
    const struct set *set = &dfa->sets[number];
    uint32_t rule = NFA_NONE, count = 0;
    bool bytes = false, mixed = false;
    dfa->work += set->count;
    if (dfa->work > WORK_MAX)
        return err_set(dfa->err, STATUS_UNSUPPORTED, "it takes too long to compile");
    for (uint32_t i = 0; i < set->count; i++) {
        for (uint32_t e = nfa->edges_of[set->items[i]]; e != NFA_NONE; e = nfa->edges[e].next) {
            const struct nfa_edge *edge = &nfa->edges[e];
            bool reads = edge->kind == NFA_BYTES && edge->lo <= byte && byte <= edge->hi;
            bool calls = edge->kind == NFA_RULE && dfa->first[edge->rule][byte];
            if (!reads && !calls)
                continue;
            mixed |= (calls && bytes) || (reads && rule != NFA_NONE) ||
                     (calls && rule != NFA_NONE && rule != edge->rule);
            bytes |= reads;
            rule = calls ? edge->rule : rule;
            dfa->found[count++] = edge->to;
        }
    }
    *entry = AUTOMATON_NONE;
    if (count == 0)
        return STATUS_OK;
    if (mixed)
        return err_set(dfa->err, STATUS_UNSUPPORTED,
                       "two alternatives begin with the same character and nest differently");
    if (!bytes)
        return add_call(dfa, rule, count, entry);
    *entry = set_number(dfa, close_set(dfa, count));
    return *entry == AUTOMATON_NONE
               ? err_set(dfa->err, STATUS_UNSUPPORTED, "it needs too many states")
               : STATUS_OK;
}

static bool has_end(const struct dfa *dfa, const struct set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (dfa->ends[set->items[i]])
            return true;
    return false;
}

static void write_out(const struct dfa *dfa, struct buf *out)
{
    const uint32_t header[] = {AUTOMATON_MAGIC, dfa->count, dfa->classes, dfa->call_count, 0};
    static const char zeros[4] = {0};
    size_t begin = out->len;
    buf_append(out, header, sizeof(header));
    buf_append(out, dfa->class_of, sizeof(dfa->class_of));
    for (uint32_t i = 0; i < dfa->count; i++)
        buf_char(out, (char)has_end(dfa, &dfa->sets[i]));
    buf_append(out, zeros, ROUND_UP(out->len - begin, 4u) - (out->len - begin));
    if (dfa->call_count > 0)
        buf_append(out, dfa->calls, dfa->call_count * sizeof(*dfa->calls));
    buf_append(out, dfa->table, (size_t)dfa->count * dfa->classes * sizeof(*dfa->table));
}

enum status nfa_compile(struct nfa *nfa, struct buf *out, struct err *err)
{
    enum status status = STATUS_OK;
    if (nfa->too_large)
        return err_set(err, STATUS_UNSUPPORTED, "it is too large");
    size_t rules = nfa->rule_count, states = nfa->states, edges = nfa->edge_count + states;
    struct dfa dfa = {.nfa = nfa, .err = err};
    map_init(&dfa.by_hash);
    map_init(&dfa.by_call);
    dfa.first = mem_array(rules, sizeof(*dfa.first));
    dfa.first_known = mem_array(rules, sizeof(*dfa.first_known));
    dfa.stack = mem_array(edges + 1, sizeof(*dfa.stack));
    dfa.found = mem_array(edges + 1, sizeof(*dfa.found));
    dfa.mark = mem_array(states, sizeof(*dfa.mark));
    dfa.ends = mem_array(states, sizeof(*dfa.ends));
    for (uint32_t r = 0; r < nfa->rule_count; r++)
        dfa.ends[nfa->rules[r].end] = true;
    find_classes(&dfa);
    for (uint32_t r = 0; r < nfa->rule_count; r++)
        if (!find_first(&dfa, r))
            TRY_OUT(err_set(err, STATUS_UNSUPPORTED, "it refers to itself before any character"));
    dfa.found[0] = nfa->rules[0].start;
    (void)set_number(&dfa, close_set(&dfa, 1));
    for (uint32_t i = 0; i < dfa.count; i++) {
        for (uint32_t c = 0; c < dfa.classes; c++) {
            uint16_t entry;
            TRY_OUT(transition(&dfa, i, dfa.byte_of[c], &entry));
            dfa.table[(size_t)i * dfa.classes + c] = entry; /* the table may have moved */
        }
    }
    write_out(&dfa, out);
out:
    nfa->too_many = dfa.count == AUTOMATON_STATES_MAX || dfa.work > WORK_MAX;
    for (uint32_t i = 0; i < dfa.count; i++)
        mem_free(dfa.sets[i].items);
    void *arrays[] = {dfa.sets,  dfa.table, dfa.calls, dfa.first, dfa.first_known,
                      dfa.stack, dfa.found, dfa.mark,  dfa.ends};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        mem_free(arrays[i]);
    map_release(&dfa.by_hash);
    map_release(&dfa.by_call);
    return status;
}
