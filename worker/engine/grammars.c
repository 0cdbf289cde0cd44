#include "worker/engine/grammars.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/map.h"
#include "common/mem.h"
#include "worker/engine/token_order.h"

#define MASKS_MAX 1024 /* of one grammar */
#define IDLE_MAX  32   /* grammars that nobody uses */
#define STOPS_MAX 64

struct grammar {
    uint32_t id; /* 0: a free place */
    uint64_t hash;
    char *bytes;
    size_t len;
    struct automaton automaton;
    const uint32_t *ids; /* not NULL: a list of tokens in place of it */
    uint32_t id_count;
    uint32_t users;   /* adds without a drop, and slots */
    uint64_t used_at; /* rises with each use */
    struct map masks; /* hash of a place to its mask */
};

struct grammar_slot {
    struct grammar *grammar; /* NULL: binds nothing */
    struct automaton_at at;
    bool over; /* a stop token came, or what the grammar does not know */
    uint32_t stops[STOPS_MAX], stop_count;
};

struct grammars {
    pthread_mutex_t lock; /* of list, and of users in it */
    struct grammar **list;
    uint32_t count, ids;
    uint64_t uses;
    struct grammar_slot *slots;
    uint32_t slot_count, vocab, words;
    /* the vocabulary */
    char *model_dir;
    pthread_t reader;
    bool reading;
    enum status read_status;
    struct err read_err;
    struct token_bytes tokens;
    struct token_order order;
};

/* ---- the vocabulary ---- */

static void *reader_main(void *arg)
{
    struct grammars *g = arg;
    g->read_status = token_bytes_load(g->model_dir, &g->tokens, &g->read_err);
    if (g->read_status == STATUS_OK)
        token_order_init(&g->order, &g->tokens, g->vocab);
    return NULL;
}

static enum status await_tokens(struct grammars *g, struct err *err)
{
    if (g->reading) {
        pthread_join(g->reader, NULL);
        g->reading = false;
    }
    if (g->read_status == STATUS_OK)
        return STATUS_OK;
    return err_set(err, STATUS_UNSUPPORTED, "this worker has no grammars: %s", g->read_err.text);
}

struct grammars *grammars_new(const char *model_dir, uint32_t slots, uint32_t vocab)
{
    struct grammars *g = mem_zalloc(sizeof(*g));
    pthread_mutex_init(&g->lock, NULL);
    g->slots = mem_array(slots, sizeof(*g->slots));
    g->slot_count = slots;
    g->vocab = vocab;
    g->words = DIV_CEIL(vocab, 32);
    g->model_dir = mem_strdup(model_dir);
    g->reading = pthread_create(&g->reader, NULL, reader_main, g) == 0;
    if (!g->reading)
        g->read_status = err_set(&g->read_err, STATUS_IO, "no thread could be started");
    return g;
}

/* ---- grammars ---- */

static void grammar_free(struct grammar *grammar)
{
    size_t cursor = 0;
    uint64_t key, value;
    while (map_next(&grammar->masks, &cursor, &key, &value))
        mem_free((void *)(uintptr_t)value);
    map_release(&grammar->masks);
    mem_free(grammar->bytes);
    mem_free(grammar);
}

void grammars_free(struct grammars *g)
{
    if (!g)
        return;
    if (g->reading)
        pthread_join(g->reader, NULL);
    for (uint32_t i = 0; i < g->count; i++)
        grammar_free(g->list[i]);
    mem_free(g->list);
    mem_free(g->slots);
    token_order_release(&g->order);
    mem_free(g->model_dir);
    token_bytes_release(&g->tokens);
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

/* Frees the one that was idle for longest, when there are too many. The lock is held. */
static void sweep(struct grammars *g)
{
    uint32_t idle = 0, oldest = UINT32_MAX;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->list[i]->users > 0)
            continue;
        idle++;
        if (oldest == UINT32_MAX || g->list[i]->used_at < g->list[oldest]->used_at)
            oldest = i;
    }
    if (idle <= IDLE_MAX)
        return;
    grammar_free(g->list[oldest]);
    g->list[oldest] = g->list[--g->count];
}

static struct grammar *find(struct grammars *g, uint32_t id)
{
    for (uint32_t i = 0; i < g->count; i++)
        if (g->list[i]->id == id)
            return g->list[i];
    return NULL;
}

static struct grammar *find_equal(struct grammars *g, struct str bytes, uint64_t hash)
{
    for (uint32_t i = 0; i < g->count; i++)
        if (g->list[i]->hash == hash && g->list[i]->len == bytes.len &&
            memcmp(g->list[i]->bytes, bytes.data, bytes.len) == 0)
            return g->list[i];
    return NULL;
}

static void use(struct grammars *g, struct grammar *grammar)
{
    grammar->users++;
    grammar->used_at = ++g->uses;
}

enum status grammars_add(struct grammars *g, struct str bytes, uint32_t *id, struct err *err)
{
    uint64_t hash = hash_bytes(bytes.data, bytes.len);
    TRY(await_tokens(g, err));
    pthread_mutex_lock(&g->lock);
    struct grammar *grammar = find_equal(g, bytes, hash);
    if (grammar)
        use(g, grammar);
    pthread_mutex_unlock(&g->lock);
    if (grammar) {
        *id = grammar->id;
        return STATUS_OK;
    }
    grammar = mem_zalloc(sizeof(*grammar));
    grammar->hash = hash;
    grammar->len = bytes.len;
    grammar->bytes = mem_alloc(bytes.len);
    memcpy(grammar->bytes, bytes.data, bytes.len);
    map_init(&grammar->masks);
    struct str copy = {grammar->bytes, bytes.len};
    grammar->ids = automaton_tokens(copy, &grammar->id_count);
    enum status status = grammar->ids ? STATUS_OK : automaton_open(&grammar->automaton, copy, err);
    if (status != STATUS_OK) {
        grammar_free(grammar);
        return status;
    }
    pthread_mutex_lock(&g->lock);
    *id = grammar->id = ++g->ids;
    use(g, grammar);
    g->list = mem_realloc(g->list, (g->count + 1) * sizeof(struct grammar *));
    g->list[g->count++] = grammar;
    sweep(g);
    pthread_mutex_unlock(&g->lock);
    return STATUS_OK;
}

void grammars_drop(struct grammars *g, uint32_t id)
{
    pthread_mutex_lock(&g->lock);
    struct grammar *grammar = find(g, id);
    CHECK(grammar && grammar->users > 0);
    grammar->users--;
    sweep(g);
    pthread_mutex_unlock(&g->lock);
}

/* ---- slots ---- */

void grammars_advance(struct grammars *g, uint32_t slot, uint32_t token)
{
    struct grammar_slot *at = &g->slots[slot];
    if (!at->grammar || at->over || at->grammar->ids)
        return;
    struct str bytes = token < g->tokens.count ? g->tokens.of[token] : STR("");
    at->over = bytes.len == 0;
    for (size_t i = 0; i < bytes.len && !at->over; i++)
        at->over = !automaton_step(&at->grammar->automaton, &at->at, (uint8_t)bytes.data[i]);
}

void grammars_setup(struct grammars *g, uint32_t slot, uint32_t id, const uint32_t *text,
                    uint32_t count, const uint32_t *stops, uint32_t stop_count)
{
    struct grammar_slot *at = &g->slots[slot];
    pthread_mutex_lock(&g->lock);
    if (at->grammar)
        at->grammar->users--;
    at->grammar = find(g, id);
    if (at->grammar)
        use(g, at->grammar);
    pthread_mutex_unlock(&g->lock);
    at->over = false;
    at->stop_count = MIN(stop_count, (uint32_t)STOPS_MAX);
    memcpy(at->stops, stops, at->stop_count * sizeof(*stops));
    if (at->grammar && !at->grammar->ids)
        automaton_begin(&at->grammar->automaton, &at->at);
    for (uint32_t i = 0; i < count; i++)
        grammars_advance(g, slot, text[i]);
}

static uint64_t hash_of(const struct automaton_at *at)
{
    return hash_bytes(at, offsetof(struct automaton_at, back) + at->depth * sizeof(*at->back));
}

static const uint32_t *cached_mask(struct grammars *g, struct grammar *grammar,
                                   const struct automaton_at *at)
{
    uint64_t key = hash_of(at), value, old;
    const uint64_t *known = map_get(&grammar->masks, key);
    if (known)
        return (const uint32_t *)(uintptr_t)*known;
    if (grammar->masks.count >= MASKS_MAX) {
        size_t cursor = 0;
        while (map_next(&grammar->masks, &cursor, &old, &value))
            mem_free((void *)(uintptr_t)value);
        map_clear(&grammar->masks);
    }
    uint32_t *mask = mem_array(g->words, sizeof(*mask));
    token_order_mask(&g->order, &grammar->automaton, at, mask);
    map_put(&grammar->masks, key, (uint64_t)(uintptr_t)mask);
    return mask;
}

static bool mask_of_ids(const struct grammars *g, const struct grammar *grammar, uint32_t *mask)
{
    bool any = false;
    memset(mask, 0, g->words * sizeof(*mask));
    for (uint32_t i = 0; i < grammar->id_count; i++) {
        if (grammar->ids[i] >= g->vocab)
            continue;
        mask[grammar->ids[i] / 32] |= 1u << grammar->ids[i] % 32;
        any = true;
    }
    return any;
}

void grammars_mask(struct grammars *g, uint32_t slot, uint32_t *mask)
{
    struct grammar_slot *at = &g->slots[slot];
    bool any = false, end = at->over || !at->grammar;
    if (at->grammar && at->grammar->ids) {
        any = mask_of_ids(g, at->grammar, mask);
    } else if (at->grammar && !at->over) {
        memcpy(mask, cached_mask(g, at->grammar, &at->at), g->words * sizeof(*mask));
        end = automaton_may_end(&at->grammar->automaton, &at->at);
        for (uint32_t i = 0; i < g->words && !any; i++)
            any = mask[i] != 0;
    } else {
        memset(mask, 0, g->words * sizeof(*mask));
    }
    /* Where no token fits any more, the answer can only end. */
    for (uint32_t i = 0; i < at->stop_count && (end || !any); i++) {
        if (at->stops[i] < g->vocab)
            mask[at->stops[i] / 32] |= 1u << at->stops[i] % 32;
        any = true;
    }
    if (!any)
        memset(mask, 0xff, g->words * sizeof(*mask));
}
