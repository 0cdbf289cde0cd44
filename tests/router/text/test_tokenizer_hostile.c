/* Tokenizer files with members removed, replaced and emptied at random: each one loads and can be
 * used, or is refused with a sentence. Run under the sanitizers this is the parser's fuzz test; a
 * failure names its seed (MSGL_SEED and MSGL_ROUNDS run others). */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/mem.h"
#include "common/rng.h"
#include "router/text/tokenizer_model.h"
#include "tests/effort.h"

#define VECTORS "tests/golden/tokenizer_vectors.json"
#define ROUNDS  600

static json_t *vectors;

static json_t *odd_value(uint64_t *rng)
{
    switch (rng_below(rng, 9)) {
    case 0:
        return json_null();
    case 1:
        return json_integer((json_int_t)rng_next(rng));
    case 2:
        return json_integer((json_int_t)rng_below(rng, 500));
    case 3:
        return json_string("a");
    case 4:
        return json_array();
    case 5:
        return json_object();
    case 6:
        return json_boolean(rng_below(rng, 2));
    case 7:
        return json_real(1e300);
    default:
        return json_string("\\p{L}+|(?<=a)|[^a]*?");
    }
}

static bool inner(const json_t *value)
{
    return json_is_object(value) || json_is_array(value);
}

/* Changes one place at or below `json`. */
static void mutate(json_t *json, uint64_t *rng)
{
    if (json_is_object(json) && json_object_size(json)) {
        size_t at = (size_t)rng_below(rng, json_object_size(json));
        void *it = json_object_iter(json);
        while (at--)
            it = json_object_iter_next(json, it);
        if (inner(json_object_iter_value(it)) && rng_below(rng, 5))
            mutate(json_object_iter_value(it), rng);
        else if (rng_below(rng, 4) == 0)
            json_object_del(json, json_object_iter_key(it));
        else
            json_object_iter_set_new(json, it, odd_value(rng));
    } else if (json_is_array(json) && json_array_size(json)) {
        size_t at = (size_t)rng_below(rng, json_array_size(json));
        json_t *item = json_array_get(json, at);
        if (inner(item) && rng_below(rng, 5))
            mutate(item, rng);
        else
            json_array_set_new(json, at, odd_value(rng));
    } else if (json_is_array(json)) {
        json_array_append_new(json, odd_value(rng));
    }
}

static json_t *mutant(uint64_t *rng)
{
    static const char *const members[] = {"pre_tokenizer", "post_processor", "added_tokens",
                                          "normalizer",    "decoder",        "model"};
    const json_t *cases = json_object_get(vectors, "cases");
    const json_t *chosen = json_array_get(cases, (size_t)rng_below(rng, json_array_size(cases)));
    json_t *root = json_object(), *source;
    source = json_deep_copy(json_object_get(vectors, "base"));
    json_object_update(root, source);
    json_decref(source);
    source = json_deep_copy(json_object_get(chosen, "parts"));
    json_object_update(root, source);
    json_decref(source);
    source = json_deep_copy(json_object_get(chosen, "model"));
    json_object_update(json_object_get(root, "model"), source);
    json_decref(source);
    for (uint64_t n = rng_below(rng, 3); n > 0; n--) {
        json_t *member = json_object_get(root, members[rng_below(rng, ARRAY_LEN(members))]);
        mutate(inner(member) ? member : root, rng);
    }
    return root;
}

/* Whatever loads must encode and decode without a fault, and stay within its vocabulary. */
static void use(const struct tokenizer *t)
{
    static const char text[] = "Hello w\xc3\xb6rld <one><two>  the cafe\xcc\x81 123 \xff\xf0\x9f x";
    struct tokenizer_scratch *scratch = tokenizer_scratch_new(t);
    struct token_list ids = {0};
    struct buf out = {0};
    struct err err = {0};
    if (tokenizer_encode(t, scratch, (struct str){text, sizeof(text) - 1}, true, &ids, &err) !=
        STATUS_OK)
        ck_assert_int_ne(err.text[0], 0);
    for (size_t i = 0; i < ids.count; i++)
        ck_assert_uint_lt(ids.ids[i], tokenizer_vocab_size(t));
    tokenizer_decode(t, ids.ids, ids.count, false, &out);
    buf_release(&out);
    token_list_release(&ids);
    tokenizer_scratch_free(scratch);
}

START_TEST(test_mutants)
{
    const char *seed_text = getenv("MSGL_SEED"), *rounds_text = getenv("MSGL_ROUNDS");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1, loaded = 0, refused = 0;
    uint64_t rounds = rounds_text ? strtoull(rounds_text, NULL, 10) : effort(ROUNDS);
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t rng = seed + i;
        json_t *root = mutant(&rng);
        struct tokenizer *t = mem_zalloc(sizeof(*t));
        struct err err = {0};
        if (tokenizer_read(root, t, &err) == STATUS_OK) {
            use(t);
            loaded++;
        } else {
            ck_assert_msg(err.text[0] != 0, "seed %llu: refused without a word",
                          (unsigned long long)(seed + i));
            refused++;
        }
        tokenizer_free(t);
        json_decref(root);
    }
    ck_assert_uint_gt(loaded, rounds / 10);
    ck_assert_uint_gt(refused, rounds / 10);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer_hostile");
    TCase *c = tcase_create("mutants");
    SRunner *runner;
    int failed;
    vectors = json_load_file(VECTORS, JSON_ALLOW_NUL, NULL);
    if (!vectors) {
        fprintf(stderr, "%s cannot be read\n", VECTORS);
        return 1;
    }
    tcase_set_timeout(c, 240);
    tcase_add_test(c, test_mutants);
    suite_add_tcase(s, c);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    json_decref(vectors);
    return failed ? 1 : 0;
}
