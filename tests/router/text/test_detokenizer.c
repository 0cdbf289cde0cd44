/* The streaming detokenizer: the pieces add up to the whole decode, and each is valid UTF-8. */
#include "router/text/detokenizer.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/rng.h"
#include "common/utf8.h"
#include "tests/effort.h"

static char dir[] = "/tmp/msgl-test-detokenizer-XXXXXX";
static struct tokenizer *tokenizer; /* one token a byte, id = byte, and a special one, 256 */

/* The byte alphabet's character for a byte. */
static uint32_t letter(unsigned byte)
{
    unsigned n = 256;
    for (unsigned b = 0; b < 256; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte)
            return printable ? b : n;
        n += !printable;
    }
    return 0;
}

static void write_tokenizer(void)
{
    struct buf text = {0};
    char path[128];
    FILE *file;
    buf_str(&text, "{\"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {");
    for (unsigned byte = 0; byte < 256; byte++) {
        char key[4];
        size_t len = (size_t)utf8_encode(letter(byte), key);
        buf_json_string(&text, key, len);
        buf_printf(&text, ": %u%s", byte, byte < 255 ? ", " : "");
    }
    buf_str(&text, "}}, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}, "
                   "\"decoder\": {\"type\": \"ByteLevel\"}, \"added_tokens\": "
                   "[{\"id\": 256, \"content\": \"<end>\", \"special\": true}]}");
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fwrite(text.data, 1, text.len, file);
    fclose(file);
    buf_release(&text);
}

static void setup(void)
{
    struct err err = {0};
    write_tokenizer();
    ck_assert_msg(tokenizer_load(dir, &tokenizer, &err) == STATUS_OK, "%s", err.text);
}

static void teardown(void)
{
    tokenizer_free(tokenizer);
}

static void push_text(struct detokenizer *d, const char *bytes, struct buf *out)
{
    for (; *bytes; bytes++) {
        uint32_t id = (unsigned char)*bytes;
        detokenizer_push(d, &id, 1, out);
    }
}

START_TEST(test_holds_half_characters)
{
    struct detokenizer d;
    struct buf out = {0};
    detokenizer_init(&d, tokenizer, false);
    push_text(&d, "a\xf0\x9f\x98", &out);
    ck_assert(str_is((struct str){out.data, out.len}, "a"));
    push_text(&d, "\x80", &out);
    ck_assert(str_is((struct str){out.data, out.len}, "a\xf0\x9f\x98\x80"));
    push_text(&d, "\xe4\xbd", &out); /* the rest never comes: a letter follows */
    push_text(&d, "b", &out);
    ck_assert(str_is((struct str){out.data, out.len}, "a\xf0\x9f\x98\x80\xef\xbf\xbd"
                                                      "b"));
    push_text(&d, "\xe4", &out);
    detokenizer_finish(&d, &out);
    ck_assert(str_is((struct str){out.data, out.len}, "a\xf0\x9f\x98\x80\xef\xbf\xbd"
                                                      "b\xef\xbf\xbd"));
    detokenizer_release(&d);
    buf_release(&out);
}
END_TEST

START_TEST(test_special_inside_a_character)
{
    static const uint32_t ids[] = {0xe4, 256, 0xbd, 0xa0, 999};
    for (int skip = 0; skip <= 1; skip++) {
        struct detokenizer d;
        struct buf out = {0};
        detokenizer_init(&d, tokenizer, skip);
        detokenizer_push(&d, ids, ARRAY_LEN(ids), &out);
        detokenizer_finish(&d, &out);
        ck_assert(str_is((struct str){out.data, out.len},
                         skip ? "\xe4\xbd\xa0" : "\xef\xbf\xbd<end>\xef\xbf\xbd\xef\xbf\xbd"));
        detokenizer_release(&d);
        buf_release(&out);
    }
}
END_TEST

START_TEST(test_a_kept_token_is_not_skipped)
{
    static const uint32_t ids[] = {'a', 256, 'b', 257, 256};
    struct detokenizer d;
    struct buf out = {0};
    detokenizer_init(&d, tokenizer, true);
    detokenizer_keep(&d, 256);
    detokenizer_push(&d, ids, ARRAY_LEN(ids), &out);
    detokenizer_finish(&d, &out);
    ck_assert(str_is((struct str){out.data, out.len}, "a<end>b<end>"));
    detokenizer_release(&d);
    buf_release(&out);
}
END_TEST

/* Random ids with many lead and continuation bytes, in random steps. */
START_TEST(test_stream_equals_whole)
{
    static const unsigned char rich[] = {0xf0, 0x9f, 0x98, 0x80, 0xe4, 0xbd, 0xa0,
                                         0xed, 0xa0, 0xc3, 0xa9, 0xf4, 0x90, 0xe0,
                                         0x80, 0xff, 'a',  0xc0, 0xf1, 0x8f};
    uint64_t rng = 11;
    for (uint64_t round = 0, rounds = effort(20000); round < rounds; round++) {
        uint32_t ids[24];
        size_t count = (size_t)rng_below(&rng, 24);
        bool skip = rng_below(&rng, 2);
        struct buf whole = {0}, stream = {0};
        struct detokenizer d;
        for (size_t i = 0; i < count; i++)
            ids[i] = rng_below(&rng, 4) ? rich[rng_below(&rng, sizeof(rich))]
                                        : (uint32_t)rng_below(&rng, 258);
        tokenizer_decode(tokenizer, ids, count, skip, &whole);
        detokenizer_init(&d, tokenizer, skip);
        for (size_t i = 0; i < count;) {
            size_t left = count - i, step = 1 + (size_t)rng_below(&rng, left);
            size_t before = stream.len;
            detokenizer_push(&d, ids + i, step, &stream);
            ck_assert(utf8_valid(stream.data + before, stream.len - before));
            ck_assert_uint_le(d.held.len, 3);
            i += step;
        }
        detokenizer_finish(&d, &stream);
        ck_assert(
            str_eq((struct str){whole.data, whole.len}, (struct str){stream.data, stream.len}));
        detokenizer_release(&d);
        buf_release(&whole);
        buf_release(&stream);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("detokenizer");
    TCase *c = tcase_create("detokenizer");
    SRunner *runner;
    char path[128];
    int failed;
    if (!mkdtemp(dir)) {
        fprintf(stderr, "no folder could be made in /tmp\n");
        return 1;
    }
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_holds_half_characters);
    tcase_add_test(c, test_special_inside_a_character);
    tcase_add_test(c, test_a_kept_token_is_not_skipped);
    tcase_add_test(c, test_stream_equals_whole);
    suite_add_tcase(s, c);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    unlink(path);
    rmdir(dir);
    return failed ? 1 : 0;
}
