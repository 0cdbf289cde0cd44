/* grammar - what constrained decoding costs: compiling a schema, reading a vocabulary, a mask that is
 * made, one that is kept, and 32 of them applied. Walks answers of random valid tokens through the
 * worker's grammars. Times are of this thread's CPU clock: a busy machine does not blur them.
 *
 *   bench_grammar TOKENIZER_FOLDER [SCHEMA_FILE]
 *
 * One line of CSV for each figure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/works/quantile.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/rng.h"
#include "common/token_bytes.h"
#include "kernels/ops.h"
#include "router/grammar/grammar.h"
#include "worker/engine/grammars.h"
#include "worker/engine/token_order.h"

#define VOCAB_MAX 262144u
#define ROUNDS    200
#define STEPS     64
#define PLACES    400
#define STREAMS   32

static const char schema_text[] =
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":"
    "\"integer\",\"minimum\":0,"
    "\"maximum\":150},\"email\":{\"type\":\"string\",\"format\":\"email\"},\"tags\":{\"type\":"
    "\"array\",\"items\":"
    "{\"type\":\"string\"}},\"address\":{\"type\":\"object\",\"properties\":{\"street\":{\"type\":"
    "\"string\"},\"city\":"
    "{\"type\":\"string\"},\"zip\":{\"type\":\"string\",\"pattern\":\"^[0-9]{5}$\"}},\"required\":["
    "\"street\",\"city\"]},"
    "\"extra\":{\"type\":\"object\"}},\"required\":[\"name\",\"age\",\"tags\"]}";

static void print_times(const char *what, double *us, uint32_t count)
{
    if (count > 0)
        printf("%s_us_median,%.2f\n%s_us_max,%.2f\n", what, quantile(us, count, 0.5), what,
               quantile(us, count, 1));
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double since_us(uint64_t start_ns)
{
    return (double)(cpu_ns() - start_ns) / 1e3;
}

/* One of the tokens that the mask lets pass. */
static uint32_t draw(const uint32_t *mask, uint32_t words, uint64_t *rng)
{
    uint32_t start = (uint32_t)rng_below(rng, words * 32);
    for (uint32_t i = 0; i < words * 32; i++) {
        uint32_t id = (start + i) % (words * 32);
        if (mask[id / 32] >> id % 32 & 1)
            return id;
    }
    return 0;
}

static bool seen_before(const struct automaton_at *places, uint32_t count,
                        const struct automaton_at *at)
{
    for (uint32_t i = 0; i < count; i++)
        if (places[i].state == at->state && places[i].depth == at->depth &&
            memcmp(places[i].back, at->back, at->depth * sizeof(*at->back)) == 0)
            return true;
    return false;
}

/* Masks of different places along answers, each made once. */
static void make(const struct token_bytes *tokens, struct str bytes, uint32_t vocab)
{
    static double made[PLACES];
    static struct automaton_at places[PLACES];
    struct automaton automaton;
    struct token_order order;
    struct err err;
    struct automaton_at at;
    uint32_t words = DIV_CEIL(vocab, 32), *mask = mem_array(words, sizeof(*mask)), count = 0;
    uint64_t rng = 9;
    CHECK(automaton_open(&automaton, bytes, &err) == STATUS_OK);
    token_order_init(&order, tokens, vocab);
    for (uint32_t i = 0; i < 100 * PLACES && count < PLACES; i++) {
        if (i % STEPS == 0)
            automaton_begin(&automaton, &at);
        if (seen_before(places, count, &at) == false) {
            places[count] = at;
            memset(mask, 0, words * sizeof(*mask));
            uint64_t start = cpu_ns();
            token_order_mask(&order, &automaton, &at, mask);
            made[count++] = since_us(start);
        }
        memset(mask, 0, words * sizeof(*mask));
        token_order_mask(&order, &automaton, &at, mask);
        struct str token = tokens->of[draw(mask, words, &rng)];
        for (size_t j = 0; j < token.len; j++)
            automaton_step(&automaton, &at, (uint8_t)token.data[j]);
    }
    printf("places,%u\n", count);
    print_times("mask_made", made, count);
    token_order_release(&order);
    mem_free(mask);
}

/* One step's masks over its rows of logits. */
static void apply(uint32_t vocab)
{
    static double times[ROUNDS];
    static struct sample_row rows[STREAMS];
    struct device_opts opts = {.tp = 1, .threads = 1};
    const struct ops *ops = ops_find("cpu");
    struct device *device = NULL;
    struct err err;
    uint64_t rng = 3;
    CHECK(ops->open(&opts, &device, &err) == STATUS_OK);
    struct sample_state state = {.slots = STREAMS, .vocab = vocab};
    state.seen = mem_array((size_t)STREAMS * vocab, sizeof(*state.seen));
    state.lists = mem_array((size_t)STREAMS * SAMPLE_SLOT_WORDS, sizeof(*state.lists));
    static uint32_t last_tokens[STREAMS];
    state.last_tokens = last_tokens;
    size_t words = DIV_CEIL(vocab, 32);
    uint32_t *masks = mem_array(STREAMS * words, sizeof(*masks));
    float *logits = mem_array((size_t)STREAMS * vocab, sizeof(*logits));
    for (size_t i = 0; i < STREAMS * words; i++) /* a string's: 15 of 16 tokens may come */
        masks[i] = (uint32_t)(rng_next(&rng) | rng_next(&rng)) |
                   (uint32_t)(rng_next(&rng) | rng_next(&rng));
    for (uint32_t i = 0; i < STREAMS; i++)
        rows[i] = (struct sample_row){.slot = i, .flags = SAMPLE_MASK, .mask = i};
    for (uint32_t r = 0; r < ROUNDS; r++) {
        uint64_t start = cpu_ns();
        ops->logits_adjust(device, NULL, logits, vocab, &state, masks, rows, STREAMS);
        times[r] = since_us(start) / STREAMS;
    }
    print_times("mask_applied", times, ROUNDS);
    ops->close(device);
    mem_free(state.seen), mem_free(state.lists);
    mem_free(masks), mem_free(logits);
}

/* Masks along one answer, twice: the first time they are made, the second time they are there. */
static void walk(struct grammars *grammars, uint32_t id, uint32_t words, uint32_t stop)
{
    static double made[ROUNDS * STEPS], kept[ROUNDS * STEPS];
    uint32_t *mask = mem_array(words, sizeof(*mask)), count = 0;
    uint64_t rng = 5;
    for (uint32_t r = 0; r < ROUNDS && count + STEPS <= ARRAY_LEN(made); r++) {
        grammars_setup(grammars, 0, id, NULL, 0, &stop, 1);
        for (uint32_t i = 0; i < STEPS; i++) {
            uint64_t start = cpu_ns();
            grammars_mask(grammars, 0, mask);
            made[count] = since_us(start);
            start = cpu_ns();
            grammars_mask(grammars, 0, mask);
            kept[count++] = since_us(start);
            grammars_advance(grammars, 0, draw(mask, words, &rng));
        }
    }
    print_times("mask_first", made, count);
    print_times("mask_cached", kept, count);
    mem_free(mask);
}

static enum status run(const char *dir, const char *schema_path, struct err *err)
{
    struct token_bytes tokens = {0};
    struct buf automaton = {0};
    json_t *schema = NULL;
    uint32_t id = 0;
    enum status status;
    if (schema_path)
        TRY(json_parse_file(schema_path, 1 << 20, &schema, err));
    else
        TRY(json_parse(schema_text, sizeof(schema_text) - 1, &schema, err));
    uint64_t start = cpu_ns();
    TRY_OUT(grammar_from_schema(schema, &automaton, err));
    printf("compile_us,%.1f\nautomaton_bytes,%zu\n", since_us(start), automaton.len);
    start = cpu_ns();
    TRY_OUT(token_bytes_load(dir, &tokens, err));
    printf("vocabulary,%u\nread_tokenizer_ms,%.1f\n", tokens.count, since_us(start) / 1e3);
    uint32_t vocab = MIN(tokens.count, VOCAB_MAX);
    make(&tokens, (struct str){automaton.data, automaton.len}, vocab);
    apply(vocab);
    struct grammars *grammars = grammars_new(dir, 1, vocab);
    status = grammars_add(grammars, (struct str){automaton.data, automaton.len}, &id, err);
    if (status == STATUS_OK)
        walk(grammars, id, DIV_CEIL(vocab, 32), vocab - 1);
    grammars_free(grammars);
out:
    token_bytes_release(&tokens);
    buf_release(&automaton);
    json_decref(schema);
    return status;
}

int main(int argc, char **argv)
{
    struct err err = {.text = ""};
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: bench_grammar TOKENIZER_FOLDER [SCHEMA_FILE]\n");
        return 2;
    }
    if (run(argv[1], argc > 2 ? argv[2] : NULL, &err) == STATUS_OK)
        return 0;
    fprintf(stderr, "bench_grammar: %s\n", err.text);
    return 1;
}
