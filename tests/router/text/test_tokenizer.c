/* The tokenizer against committed vectors (every supported part), and what it refuses. */
#include "router/text/tokenizer.h"

#include <check.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/rng.h"

#define VECTORS "tests/golden/tokenizer_vectors.json"

static json_t *vectors; /* of the whole program, read once, before the forks */
static char dir[] = "/tmp/msgl-test-tokenizer-XXXXXX";

static void write_file(const char *text, size_t len)
{
    char path[128];
    FILE *file;
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

static void write_json(const json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT);
    write_file(text, strlen(text));
    free(text);
}

/* The base with a case's parts put in, as tokenizer_vectors.py assembles it. */
static json_t *assembled(const json_t *test_case)
{
    json_t *root = json_deep_copy(json_object_get(vectors, "base"));
    json_object_update(root, json_object_get(test_case, "parts"));
    json_object_update(json_object_get(root, "model"), json_object_get(test_case, "model"));
    return root;
}

static struct tokenizer *load_json(const json_t *root)
{
    struct tokenizer *t = NULL;
    struct err err = {0};
    write_json(root);
    ck_assert_msg(tokenizer_load(dir, &t, &err) == STATUS_OK, "%s", err.text);
    return t;
}

static struct tokenizer *load_base(void)
{
    return load_json(json_object_get(vectors, "base"));
}

static size_t unhex(const char *hex, char *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (char)strtoul(pair, NULL, 16);
    }
    return n;
}

static void expect_ids(const char *name, const char *hex, const json_t *want,
                       const struct token_list *got)
{
    bool same = json_array_size(want) == got->count;
    for (size_t i = 0; same && i < got->count; i++)
        same = json_integer_value(json_array_get(want, i)) == got->ids[i];
    ck_assert_msg(same, "case \"%s\", text %s: other ids", name, hex);
}

static void check_vector(const struct tokenizer *t, struct tokenizer_scratch *s, const char *name,
                         const json_t *vector)
{
    char text[4096];
    struct token_list ids = {0};
    struct buf out = {0};
    const char *hex = json_string_value(json_array_get(vector, 0));
    struct str data = {text, unhex(hex, text)};
    for (int special = 0; special <= 1; special++) {
        ids.count = 0;
        ck_assert_int_eq(tokenizer_encode(t, s, data, special, &ids, NULL), STATUS_OK);
        expect_ids(name, hex, json_array_get(vector, 1 + (size_t)special), &ids);
    }
    for (size_t skip = 0; skip <= 1; skip++) {
        const json_t *want = json_array_get(vector, 4 - skip);
        buf_clear(&out);
        tokenizer_decode(t, ids.ids, ids.count, skip, &out);
        ck_assert_msg(out.len == json_string_length(want) &&
                          memcmp(out.data ? out.data : "", json_string_value(want), out.len) == 0,
                      "case \"%s\", text %s: decoded otherwise", name, hex);
    }
    token_list_release(&ids);
    buf_release(&out);
}

START_TEST(test_vectors)
{
    const json_t *cases = json_object_get(vectors, "cases");
    size_t checked = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *test_case = json_array_get(cases, i), *rows;
        json_t *root = assembled(test_case);
        struct tokenizer *t = load_json(root);
        struct tokenizer_scratch *s = tokenizer_scratch_new(t);
        rows = json_object_get(test_case, "vectors");
        for (size_t j = 0; j < json_array_size(rows); j++, checked++)
            check_vector(t, s, json_string_value(json_object_get(test_case, "name")),
                         json_array_get(rows, j));
        tokenizer_scratch_free(s);
        tokenizer_free(t);
        json_decref(root);
    }
    ck_assert_uint_gt(checked, 500);
}
END_TEST

START_TEST(test_lookups)
{
    struct tokenizer *t = load_base();
    uint32_t id = 0;
    ck_assert(tokenizer_find(t, STR("the"), &id));
    ck_assert_uint_lt(id, tokenizer_vocab_size(t));
    ck_assert(str_is(tokenizer_token_bytes(t, id, false), "the"));
    ck_assert(tokenizer_find(t, STR("\xc4\xa0the"), &id)); /* "Ġthe" is written, " the" is meant */
    ck_assert(str_is(tokenizer_token_bytes(t, id, false), " the"));
    ck_assert(!tokenizer_find(t, STR("no such token"), &id));
    ck_assert_uint_eq(tokenizer_token_bytes(t, UINT32_MAX, false).len, 0);
    ck_assert_uint_eq(tokenizer_token_bytes(t, tokenizer_vocab_size(t), false).len, 0);
    ck_assert_uint_ne(tokenizer_hash(t), 0);
    tokenizer_free(t);
}
END_TEST

/* ---- refusals ---------------------------------------------------------------------------------- */

/* One replaced member ("a.b" reaches into a) must be refused with these words. */
struct refusal {
    const char *member, *json, *words;
};
static const struct refusal refusals[] = {
    {"model.type", "\"Unigram\"", "Unigram"},
    {"model", "7", "model is an integer"},
    {"model.vocab", "[]", "model.vocab is an array"},
    {"model.vocab", "{\"a\": \"x\"}", "not an id"},
    {"model.vocab", "{\"a\": -1}", "not an id"},
    {"model.vocab", "{\"a\": 99999999999}", "not an id"},
    {"model.vocab", "{\"a\": 1, \"b\": 1}", "two tokens"},
    {"model.merges", "{}", "model.merges is an object"},
    {"model.merges", "[\"ab\"]", "not a pair"},
    {"model.merges", "[\"a b c\"]", "not a pair"},
    {"model.merges", "[[\"a\"]]", "not a pair"},
    {"model.merges", "[[\"a\", 1]]", "not a pair"},
    {"model.merges", "[7]", "not a pair"},
    {"model.merges", "[[\"never\", \"there\"]]", "not in the vocabulary"},
    {"model.dropout", "0.5", "dropout"},
    {"model.end_of_word_suffix", "\"</a very long word>\"", "end_of_word_suffix"},
    {"model.continuing_subword_prefix", "7", "continuing_subword_prefix"},
    {"normalizer", "{\"type\": \"Precompiled\"}", "Precompiled"},
    {"normalizer", "{\"type\": \"Prepend\"}", "Prepend has no"},
    {"normalizer", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"\"}",
     "Replace without a pattern"},
    {"normalizer", "{}", "no type"},
    {"normalizer", "[]", "an array"},
    {"pre_tokenizer", "{\"type\": \"UnicodeScripts\"}", "UnicodeScripts"},
    {"pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"ab\"}", "not one character"},
    {"pre_tokenizer",
     "{\"type\": \"Metaspace\", \"replacement\": \"a\", \"prepend_scheme\": \"often\"}", "often"},
    {"pre_tokenizer", "{\"type\": \"Sequence\"}", "no list"},
    {"pre_tokenizer",
     "{\"type\": \"Split\", \"behavior\": \"Odd\", \"pattern\": {\"String\": \"a\"}}", "Odd"},
    {"pre_tokenizer", "{\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": \"a\"}",
     "pattern"},
    {"post_processor", "{\"type\": \"BertProcessing\"}", "\"cls\" has no id"},
    {"post_processor", "{\"type\": \"Odd\"}", "\"Odd\" is not supported"},
    {"post_processor", "{\"type\": \"TemplateProcessing\", \"single\": []}", "0 texts"},
    {"post_processor",
     "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"x\"}}]}",
     "no ids"},
    {"decoder", "{\"type\": \"CTC\"}", "CTC"},
    {"decoder",
     "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, {\"type\": \"ByteFallback\"}]}",
     "ByteFallback behind Fuse"},
    {"decoder", "{\"type\": \"Strip\", \"content\": \" \", \"start\": 9999}", "start"},
    {"added_tokens", "{}", "added_tokens"},
    {"added_tokens", "[{\"id\": 9}]", "content"},
    {"added_tokens", "[{\"content\": \"<x>\"}]", "no id"},
    {"added_tokens", "[{\"content\": \"<x>\", \"id\": 7}]", "by its place"},
};

static void set_member(json_t *root, const char *member, const char *json)
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    const char *dot = strchr(member, '.');
    ck_assert_ptr_nonnull(value);
    json_object_set_new(dot ? json_object_get(root, "model") : root, dot ? dot + 1 : member, value);
}

static void expect_refused(const char *what, const char *words)
{
    struct tokenizer *t = NULL;
    struct err err = {0};
    ck_assert_msg(tokenizer_load(dir, &t, &err) != STATUS_OK, "%s was accepted", what);
    ck_assert_ptr_null(t);
    ck_assert_msg(strstr(err.text, words), "%s: \"%s\" lacks \"%s\"", what, err.text, words);
}

START_TEST(test_refusals)
{
    const struct refusal *r = &refusals[_i];
    json_t *root = json_deep_copy(json_object_get(vectors, "base"));
    set_member(root, r->member, r->json);
    write_json(root);
    expect_refused(r->member, r->words);
    json_decref(root);
}
END_TEST

/* What Oniguruma and PCRE2 read differently, and what neither reads. */
START_TEST(test_refused_regexes)
{
    static const char *const patterns[] = {
        "a(?i)b",     "a{2}+", "[]a]",  "\\Kx",  "(?<n>a)",       "(*UTF)a",   "[a",
        "(a",         "\\",    "\\p{L", "\\xe9", "\\p{Nonsense}", "[[:foo:]]", "(?",
        "\\p{Emoji}", "\\1",   "[a&&]", "[a[]]", "(?x:a)"};
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        json_t *root = json_deep_copy(json_object_get(vectors, "base"));
        json_object_set_new(root, "pre_tokenizer",
                            json_pack("{s:s, s:s, s:{s:s}}", "type", "Split", "behavior",
                                      "Isolated", "pattern", "Regex", patterns[i]));
        write_json(root);
        expect_refused(patterns[i], "regex");
        json_decref(root);
    }
}
END_TEST

START_TEST(test_broken_files)
{
    char *text = json_dumps(json_object_get(vectors, "base"), JSON_COMPACT);
    size_t len = strlen(text);
    struct tokenizer *t = NULL;
    struct err err = {0};
    uint64_t rng = 7;
    ck_assert_int_eq(tokenizer_load("/nonexistent", &t, &err), STATUS_NOT_FOUND);
    for (size_t cut = 0; cut < len; cut += len / 60 + 1) {
        write_file(text, cut);
        expect_refused("a truncated file", "tokenizer.json");
    }
    for (int round = 0; round < 300; round++) { /* a flipped byte: loads or says why */
        size_t at = (size_t)rng_below(&rng, len);
        char was = text[at];
        text[at] = (char)rng_below(&rng, 256);
        write_file(text, len);
        err.text[0] = 0;
        if (tokenizer_load(dir, &t, &err) != STATUS_OK)
            ck_assert_uint_gt(strlen(err.text), 0);
        tokenizer_free(t);
        text[at] = was;
    }
    free(text);
}
END_TEST

/* ---- long words, threads ----------------------------------------------------------------------- */

/* Words of a megabyte, marks of a megabyte: linear or n log n, not minutes. */
START_TEST(test_long_words)
{
    static const char *const units[] = {"a",
                                        " ",
                                        "th",
                                        "\n",
                                        "1",
                                        "=",
                                        "\xe4\xbd\xa0",
                                        "\xcc\x81\xcc\x96",
                                        "\xe1\x84\x92\xe1\x85\xa1"};
    json_t *root = json_deep_copy(json_object_get(vectors, "base"));
    struct tokenizer *t;
    struct tokenizer_scratch *s;
    struct token_list ids = {0};
    struct buf text = {0}, back = {0};
    set_member(root, "normalizer", "{\"type\": \"NFC\"}");
    t = load_json(root);
    s = tokenizer_scratch_new(t);
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t start = clock_now_ms();
        buf_clear(&text);
        while (text.len < 1000000)
            buf_str(&text, units[i]);
        ids.count = 0;
        ck_assert_int_eq(
            tokenizer_encode(t, s, (struct str){text.data, text.len}, true, &ids, NULL), STATUS_OK);
        ck_assert_msg(clock_now_ms() - start < 20000, "a megabyte of \"%s\" took %llu ms", units[i],
                      (unsigned long long)(clock_now_ms() - start));
        buf_clear(&back);
        tokenizer_decode(t, ids.ids, ids.count, false, &back);
        if (i < 7) /* the last two are changed by NFC */
            ck_assert(str_eq((struct str){text.data, text.len}, (struct str){back.data, back.len}));
    }
    token_list_release(&ids);
    buf_release(&text);
    buf_release(&back);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
    json_decref(root);
}
END_TEST

struct worker {
    pthread_t thread;
    const struct tokenizer *tokenizer;
    uint64_t sum;
};

static void *encode_many(void *arg)
{
    struct worker *w = arg;
    struct tokenizer_scratch *s = tokenizer_scratch_new(w->tokenizer);
    struct token_list ids = {0};
    uint64_t rng = 3;
    for (int i = 0; i < 2000; i++) {
        char text[40];
        size_t len = (size_t)rng_below(&rng, sizeof(text));
        for (size_t j = 0; j < len; j++)
            text[j] = (char)rng_below(&rng, 256);
        ids.count = 0;
        if (tokenizer_encode(w->tokenizer, s, (struct str){text, len}, true, &ids, NULL) !=
            STATUS_OK)
            return NULL;
        for (size_t j = 0; j < ids.count; j++)
            w->sum = w->sum * 31 + ids.ids[j];
    }
    token_list_release(&ids);
    tokenizer_scratch_free(s);
    return NULL;
}

START_TEST(test_threads)
{
    struct tokenizer *t = load_base();
    struct worker workers[3];
    for (size_t i = 0; i < ARRAY_LEN(workers); i++) {
        workers[i] = (struct worker){.tokenizer = t};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, encode_many, &workers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(workers); i++)
        pthread_join(workers[i].thread, NULL);
    ck_assert_uint_ne(workers[0].sum, 0);
    ck_assert_uint_eq(workers[0].sum, workers[1].sum);
    ck_assert_uint_eq(workers[0].sum, workers[2].sum);
    tokenizer_free(t);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tokenizer");
    TCase *c = tcase_create("tokenizer");
    tcase_set_timeout(c, 240);
    tcase_add_test(c, test_vectors);
    tcase_add_test(c, test_lookups);
    tcase_add_loop_test(c, test_refusals, 0, (int)ARRAY_LEN(refusals));
    tcase_add_test(c, test_refused_regexes);
    tcase_add_test(c, test_broken_files);
    tcase_add_test(c, test_long_words);
    tcase_add_test(c, test_threads);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    SRunner *runner;
    char path[128];
    int failed;
    json_error_t error;
    vectors = json_load_file(VECTORS, JSON_ALLOW_NUL, &error);
    if (!vectors || !mkdtemp(dir)) {
        fprintf(stderr, "%s cannot be read (%s), or no folder made in /tmp\n", VECTORS, error.text);
        return 1;
    }
    runner = srunner_create(suite());
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    json_decref(vectors);
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    unlink(path);
    rmdir(dir);
    return failed ? 1 : 0;
}
