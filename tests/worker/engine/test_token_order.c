/* A mask is what walking each token by itself from the same place gives: nested grammars, deep stacks,
 * tokens that share beginnings, repeat, are too long, or spell nothing. */
#include "worker/engine/token_order.h"

#include "common/mem.h"
#include "common/rng.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS  600
#define VOCAB   590
#define STATES  5
#define CLASSES 5

/* value = a+ | b+ a | "[" value* "]":  a, [, ] and b have classes, all else the last.
 *
 *   0 ─a─► 1 ─a─► 1     0 ─[─► 2 ─a,[─► call 0, back to 2     2 ─]─► 3     0 ─b─► 4 ─b─► 4 ─a─► 3 */
static char *make_automaton(size_t *len)
{
    enum { A, OPEN, CLOSE, B, OTHER };
    uint32_t header[] = {AUTOMATON_MAGIC, STATES, CLASSES, 1, 0}, call[] = {0, 2};
    uint16_t table[STATES][CLASSES];
    uint8_t ends[8] = {0, 1, 0, 1, 0}, class_of[256];
    memset(table, 0xff, sizeof(table));
    memset(class_of, OTHER, sizeof(class_of));
    class_of['a'] = A, class_of['['] = OPEN, class_of[']'] = CLOSE, class_of['b'] = B;
    table[0][A] = table[1][A] = 1;
    table[0][OPEN] = 2;
    table[2][A] = table[2][OPEN] = table[2][B] = AUTOMATON_CALL | 0;
    table[2][CLOSE] = table[4][A] = 3;
    table[0][B] = table[4][B] = 4;
    *len = sizeof(header) + 256 + sizeof(ends) + sizeof(call) + sizeof(table);
    char *data = mem_alloc(*len), *to = data;
    memcpy(to, header, sizeof(header)), to += sizeof(header);
    memcpy(to, class_of, 256), to += 256;
    memcpy(to, ends, STATES), to += STATES;
    while ((to - data) % 4 != 0)
        *to++ = 0;
    memcpy(to, call, sizeof(call)), to += sizeof(call);
    memcpy(to, table, sizeof(table)), to += sizeof(table);
    *len = (size_t)(to - data);
    return data;
}

static struct token_bytes make_tokens(uint64_t *rng)
{
    static const char alphabet[] = "aab[]x";
    struct token_bytes tokens = {.of = mem_array(TOKENS, sizeof(*tokens.of)), .count = TOKENS};
    char *text = tokens.text = mem_array((size_t)TOKENS * 300, 1);
    for (uint32_t id = 0; id < TOKENS; id++) {
        size_t len = id % 50 == 7 ? 250 + rng_below(rng, 20) : rng_below(rng, 8);
        for (size_t i = 0; i < len; i++)
            text[i] = id % 50 == 7 ? 'a' : alphabet[rng_below(rng, sizeof(alphabet) - 1)];
        tokens.of[id] = (struct str){text, len};
        text += len;
    }
    return tokens;
}

static bool may_come(const struct automaton *automaton, struct automaton_at at, struct str token)
{
    bool fits = token.len > 0 && token.len <= TOKEN_ORDER_BYTES_MAX;
    for (size_t i = 0; i < token.len && fits; i++)
        fits = automaton_step(automaton, &at, (uint8_t)token.data[i]);
    return fits;
}

START_TEST(masks_are_exact)
{
    uint64_t rng = (uint64_t)_i + 1;
    size_t len;
    char *data = make_automaton(&len);
    struct token_bytes tokens = make_tokens(&rng);
    struct automaton automaton;
    struct token_order order;
    struct err err = {0};
    ck_assert_msg(automaton_open(&automaton, (struct str){data, len}, &err) == STATUS_OK, "%s",
                  err.text);
    token_order_init(&order, &tokens, VOCAB);
    uint32_t let = 0, deepest = 0;
    for (uint32_t answer = 0; answer < 30; answer++) {
        struct automaton_at at;
        automaton_begin(&automaton, &at);
        for (uint32_t step = 0; step < 60; step++) {
            uint32_t mask[DIV_CEIL(VOCAB, 32)] = {0};
            token_order_mask(&order, &automaton, &at, mask);
            for (uint32_t id = 0; id < VOCAB; id++) {
                bool want = may_come(&automaton, at, tokens.of[id]);
                ck_assert_msg((mask[id / 32] >> id % 32 & 1) == want,
                              "answer %u, step %u, token %u: want %d", answer, step, id, want);
                let += want;
            }
            struct automaton_at next = at;
            static const char moves[] = "[[[[a]b";
            if (automaton_step(&automaton, &next,
                               (uint8_t)moves[rng_below(&rng, sizeof(moves) - 1)]))
                at = next;
            deepest = MAX(deepest, (uint32_t)at.depth);
        }
    }
    ck_assert_uint_gt(let, 1000);
    ck_assert_uint_ge(deepest, AUTOMATON_DEPTH_MAX - 2);
    token_order_release(&order);
    token_bytes_release(&tokens);
    mem_free(data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_order");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60); /* a loaded machine */
    tcase_add_loop_test(tcase, masks_are_exact, 0, 4);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
