/* test_token_bytes - common/token_bytes.c, which the worker's grammars trust, says of every token what
 * the router's tokenizer says. MSGL_TOKENIZERS adds folders (separated by ":"). */
#include "common/token_bytes.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "router/text/tokenizer.h"

static uint32_t compare(const char *dir)
{
    struct tokenizer *tokenizer = NULL;
    struct token_bytes tokens;
    struct err err = {.text = ""};
    uint32_t spelled = 0;
    ck_assert_msg(tokenizer_load(dir, &tokenizer, &err) == STATUS_OK, "%s: %s", dir, err.text);
    ck_assert_msg(token_bytes_load(dir, &tokens, &err) == STATUS_OK, "%s: %s", dir, err.text);
    ck_assert_uint_eq(tokens.count, tokenizer_vocab_size(tokenizer));
    for (uint32_t id = 0; id < tokens.count; id++) {
        struct str want = tokenizer_token_bytes(tokenizer, id, true), got = tokens.of[id];
        ck_assert_msg(str_eq(want, got), "%s: token %u is %.*s, not %.*s", dir, id, (int)got.len,
                      got.data, (int)want.len, want.data);
        spelled += got.len > 0;
    }
    token_bytes_release(&tokens);
    tokenizer_free(tokenizer);
    return spelled;
}

/* A folder with this tokenizer.json. */
static void with_file(const char *text, uint32_t spelled)
{
    char dir[] = "/tmp/msgl-tokens-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    ck_assert_uint_eq(compare(dir), spelled);
    unlink(path);
    rmdir(dir);
}

START_TEST(test_byte_level)
{
    with_file(
        "{\"added_tokens\":[{\"id\":7,\"content\":\"<end>\",\"special\":true,\"single_word\":false,"
        "\"lstrip\":false,\"rstrip\":false,\"normalized\":false},{\"id\":8,\"content\":\"<tool_"
        "call>\","
        "\"special\":false,\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":"
        "false}],"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
        "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
        "\"\xc4\xa0\":1,\"\xc4\xa0"
        "a\":2,\"\xc3\xa9\":3,\"\xc4\x8a\":4,\"{\\\"\":5,\"\xc4\x80\":6},"
        "\"merges\":[\"\xc4\xa0 a\"]}}",
        8);
}
END_TEST

START_TEST(test_pieces)
{
    with_file(
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true,\"single_word\":false,"
        "\"lstrip\":false,\"rstrip\":false,\"normalized\":false}],"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
        "\"\xe2\x96\x81\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]},"
        "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
        "\"String\":\"\xe2\x96\x81\"},"
        "\"content\":\" "
        "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \","
        "\"start\":1,\"stop\":0}]},\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"fuse_unk\":"
        "true,"
        "\"unk_token\":\"<s>\",\"vocab\":{\"<s>\":0,\"<0x0A>\":1,\"<0xFF>\":2,\"a\":3,"
        "\"\xe2\x96\x81\":4,"
        "\"\xe2\x96\x81"
        "a\":5,\"\xc3\xa9\":6},\"merges\":[\"\xe2\x96\x81 a\"]}}",
        6);
}
END_TEST

START_TEST(test_folders)
{
    const char *list = getenv("MSGL_TOKENIZERS");
    char *copy = mem_strdup(list ? list : ""), *save = NULL;
    for (char *dir = strtok_r(copy, ":", &save); dir; dir = strtok_r(NULL, ":", &save))
        printf("%s: %u tokens spelled alike\n", dir, compare(dir));
    mem_free(copy);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_bytes");
    TCase *tc = tcase_create("token_bytes");
    tcase_add_test(tc, test_byte_level);
    tcase_add_test(tc, test_pieces);
    tcase_add_test(tc, test_folders);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
