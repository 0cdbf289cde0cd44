/* grammar - what constrained decoding costs: compiling a schema, reading a vocabulary, a mask that is
 * made and one that is kept. Walks one answer of random valid tokens through the worker's grammars.
 *
 *   bench_grammar TOKENIZER_FOLDER [SCHEMA_FILE]
 *
 * One line of CSV for each figure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/rng.h"
#include "common/token_bytes.h"
#include "router/grammar.h"
#include "worker/engine/grammars.h"

#define VOCAB_MAX 262144u
#define ROUNDS    200
#define STEPS     64

static const char schema_text[] =
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\",\"minimum\":0,"
    "\"maximum\":150},\"email\":{\"type\":\"string\",\"format\":\"email\"},\"tags\":{\"type\":\"array\",\"items\":"
    "{\"type\":\"string\"}},\"address\":{\"type\":\"object\",\"properties\":{\"street\":{\"type\":\"string\"},\"city\":"
    "{\"type\":\"string\"},\"zip\":{\"type\":\"string\",\"pattern\":\"^[0-9]{5}$\"}},\"required\":[\"street\",\"city\"]},"
    "\"extra\":{\"type\":\"object\"}},\"required\":[\"name\",\"age\",\"tags\"]}";

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *what, double *us, uint32_t count)
{
    qsort(us, count, sizeof(*us), compare);
    if (count > 0)
        printf("%s_us_median,%.1f\n%s_us_max,%.1f\n", what, us[count / 2], what, us[count - 1]);
}

static double since_us(uint64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) / 1e3;
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

/* Masks along one answer, twice: the first time they are made, the second time they are there. */
static void walk(struct grammars *grammars, uint32_t id, uint32_t words, uint32_t stop)
{
    static double made[ROUNDS * STEPS], kept[ROUNDS * STEPS];
    uint32_t *mask = mem_array(words, sizeof(*mask)), count = 0;
    uint64_t rng = 5;
    for (uint32_t r = 0; r < ROUNDS && count + STEPS <= ARRAY_LEN(made); r++) {
        grammars_setup(grammars, 0, id, NULL, 0, &stop, 1);
        for (uint32_t i = 0; i < STEPS; i++) {
            uint64_t start = clock_now_ns();
            grammars_mask(grammars, 0, mask);
            made[count] = since_us(start);
            start = clock_now_ns();
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
    uint64_t start = clock_now_ns();
    TRY_OUT(grammar_from_schema(schema, &automaton, err));
    printf("compile_us,%.1f\nautomaton_bytes,%zu\n", since_us(start), automaton.len);
    start = clock_now_ns();
    TRY_OUT(token_bytes_load(dir, &tokens, err));
    printf("vocabulary,%u\nread_tokenizer_ms,%.1f\n", tokens.count, since_us(start) / 1e3);
    uint32_t vocab = MIN(tokens.count, VOCAB_MAX);
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
