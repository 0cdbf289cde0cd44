/* test_answer - thinking, text and calls come out the same however the text is cut. */
#include "router/text/answer.h"
#include "router/text/answer_scan.h"

#include "common/rng.h"
#include "tests/effort.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* content|reasoning|name(arguments)… of a text pushed in pieces of `size` bytes. */
static void read_in(const struct answer_opts *opts, const char *text, size_t size, struct buf *out)
{
    struct answer answer;
    answer_init(&answer, opts);
    for (size_t at = 0; at < strlen(text); at += size)
        answer_push(&answer, text + at, MIN(size, strlen(text) - at));
    answer_finish(&answer);
    buf_append(out, answer.content.data, answer.content.len);
    buf_char(out, '|');
    buf_append(out, answer.reasoning.data, answer.reasoning.len);
    buf_char(out, '|');
    for (uint32_t i = 0; i < answer.call_count; i++) {
        ck_assert(answer.calls[i].named);
        buf_append(out, answer.calls[i].name.data, answer.calls[i].name.len);
        buf_char(out, '(');
        buf_append(out, answer.calls[i].arguments.data, answer.calls[i].arguments.len);
        buf_char(out, ')');
    }
    buf_char(out, '\0');
    answer_release(&answer);
}

static const struct {
    struct answer_opts opts;
    const char *text, *want;
} cases[] = {
    {{.format = TOOLS_NONE}, "plain <tool_call> text", "plain <tool_call> text||"},
    {{.format = TOOLS_NONE, .reasoning = true},
     "<think>\nhm, hm\n</think>\n\nYes.",
     "Yes.|hm, hm|"},
    {{.format = TOOLS_NONE, .reasoning = true}, "No <think> here", "No <think> here||"},
    {{.format = TOOLS_NONE, .reasoning = true}, "<think>never ends ", "|never ends|"},
    {{.format = TOOLS_NONE, .reasoning = true}, "<think></think>x", "x||"},
    {{.format = TOOLS_NONE, .reasoning = true}, "<think>a </thin b</think> c", "c|a </thin b|"},
    {{.format = TOOLS_NONE, .reasoning = true, .thinking = true}, "a\nb</think>c", "c|a\nb|"},
    {{.format = TOOLS_HERMES},
     "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>",
     "||f({\"x\": 1})"},
    {{.format = TOOLS_HERMES},
     "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": "
     "\"}<tool_call>\\\"\"}}\n</tool_call>",
     "Let me see.||f({\"a\": \"}<tool_call>\\\"\"})"},
    {{.format = TOOLS_HERMES},
     "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>{\"arguments\": {\"y\": "
     "[1, {}]}, \"name\": \"g\"}</tool_call>",
     "||f({})g({\"y\": [1, {}]})"},
    {{.format = TOOLS_HERMES, .one_call = true},
     "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call><tool_call>{\"name\":\"g\"}</"
     "tool_call>",
     "||f({})"},
    {{.format = TOOLS_HERMES},
     "<tool_call>not json</tool_call>",
     "<tool_call>not json</tool_call>||"},
    {{.format = TOOLS_HERMES},
     "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"cut",
     "||f({\"x\": \"cut)"},
    {{.format = TOOLS_HERMES}, "<tool_call>{\"na", "<tool_call>{\"na||"},
    {{.format = TOOLS_HERMES}, "a <tool b <tool_c", "a <tool b <tool_c||"},
    /* what only a call can have been is no text where it was cut off */
    {{.format = TOOLS_HERMES, .forced = true}, "<tool_c", "||"},
    {{.format = TOOLS_HERMES, .forced = true}, "<tool_call>\n{\"na", "||"},
    {{.format = TOOLS_HERMES, .forced = true},
     "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_ca",
     "||f({})"},
    {{.format = TOOLS_LLAMA, .forced = true}, "{\"na", "||"},
    {{.format = TOOLS_MISTRAL_ARGS, .calling = true, .forced = true},
     "f[ARGS]{}[TOOL_CA",
     "||f({})"},
    {{.format = TOOLS_HERMES, .reasoning = true},
     "<think>t</think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
     "|t|f({})"},
    {{.format = TOOLS_HERMES}, "<tool_call>{\"name\": \"f\"}</tool_call> bye", "bye||f({})"},
    {{.format = TOOLS_LLAMA},
     "{\"name\": \"f\", \"parameters\": {\"x\": \"y\"}}",
     "||f({\"x\": \"y\"})"},
    {{.format = TOOLS_LLAMA},
     "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": "
     "{\"a\": 1}}",
     "||f({})g({\"a\": 1})"},
    {{.format = TOOLS_LLAMA}, "{\"answer\": 42}", "{\"answer\": 42}||"},
    {{.format = TOOLS_LLAMA}, "It is {\"name\": \"f\"}", "It is {\"name\": \"f\"}||"},
    {{.format = TOOLS_MISTRAL},
     "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\", \"arguments\": "
     "{}}]",
     "||f({\"x\": 1})g({})"},
    {{.format = TOOLS_MISTRAL, .calling = true},
     "[{\"name\": \"f\", \"arguments\": {\"x\": 1}}]",
     "||f({\"x\": 1})"},
    /* what is no call of several keeps its own bytes: no mark is made up */
    {{.format = TOOLS_MISTRAL},
     "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}, {\"x\": 1}]",
     "{\"x\": 1}]||f({})"},
    {{.format = TOOLS_HERMES},
     "Write  <tool_call> and then {}.",
     "Write  <tool_call> and then {}.||"},
    {{.format = TOOLS_LLAMA}, "  {\"answer\": 42}", "  {\"answer\": 42}||"},
    /* and a call may come behind it */
    {{.format = TOOLS_HERMES},
     "I use <tool_call> so: <tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
     "I use <tool_call> so:||f({})"},
    {{.format = TOOLS_MISTRAL_ARGS},
     "[TOOL_CALLS] are made: [TOOL_CALLS]f[ARGS]{}",
     "[TOOL_CALLS] are made:||f({})"},
    {{.format = TOOLS_LLAMA},
     "{\"x\": 1} <|python_tag|>{\"name\": \"f\", \"parameters\": {}}",
     "{\"x\": 1}||f({})"},
    {{.format = TOOLS_HERMES}, "Write <tool_call>", "Write <tool_call>||"},
    {{.format = TOOLS_HERMES}, "<tool_call>\n", "<tool_call>\n||"},
    {{.format = TOOLS_MISTRAL_ARGS}, "See [TOOL_CALLS] as text", "See [TOOL_CALLS] as text||"},
    {{.format = TOOLS_LLAMA}, "<|python_tag|>print(1)", "<|python_tag|>print(1)||"},
    /* the newer form of Mistral's, whatever form the template writes */
    {{.format = TOOLS_MISTRAL_ARGS}, "[TOOL_CALLS]f[ARGS]{\"x\": 1}", "||f({\"x\": 1})"},
    {{.format = TOOLS_MISTRAL}, "[TOOL_CALLS]f[ARGS]{\"x\": 1}", "||f({\"x\": 1})"},
    {{.format = TOOLS_MISTRAL_ARGS},
     "Let me see. [TOOL_CALLS]get_a[ARGS]{\"s\": "
     "\"}[TOOL_CALLS]\\\"[ARGS]{\"}[TOOL_CALLS]ns.b-2[ARGS] "
     "{\"y\": [1, {}]}",
     "Let me see.||get_a({\"s\": \"}[TOOL_CALLS]\\\"[ARGS]{\"})ns.b-2({\"y\": [1, {}]})"},
    {{.format = TOOLS_MISTRAL_ARGS},
     "[TOOL_CALLS]f[CALL_ID]abc123XYZ[ARGS]{}\n[TOOL_CALLS]g[CALL_ID]000000001[ARGS]{\"a\": 2}",
     "||f({})g({\"a\": 2})"},
    {{.format = TOOLS_MISTRAL_ARGS},
     "[TOOL_CALLS]f{\"x\": 1}[TOOL_CALLS]g{}",
     "||f({\"x\": 1})g({})"},
    {{.format = TOOLS_MISTRAL_ARGS},
     "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {}}]",
     "||f({})g({})"},
    {{.format = TOOLS_MISTRAL_ARGS, .calling = true},
     "f[ARGS]{\"x\": 1}[TOOL_CALLS]g[ARGS]{}",
     "||f({\"x\": 1})g({})"},
    {{.format = TOOLS_MISTRAL_ARGS, .one_call = true},
     "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[ARGS]{}",
     "||f({})"},
    {{.format = TOOLS_MISTRAL_ARGS, .reasoning = true},
     "<think>t</think>[TOOL_CALLS]f[ARGS]{}",
     "|t|f({})"},
    {{.format = TOOLS_MISTRAL_ARGS}, "[TOOL_CALLS]f[ARGS]{\"x\": \"cut", "||f({\"x\": \"cut)"},
    {{.format = TOOLS_MISTRAL_ARGS},
     "[TOOL_CALLS]f[ARGS]{}, and so on; [x]",
     ", and so on; [x]||f({})"},
    {{.format = TOOLS_MISTRAL_ARGS},
     "[TOOL_CALLS]f[ARGS]{} [TOOL_CALLS]is no call",
     "[TOOL_CALLS]is no call||f({})"},
    {{.format = TOOLS_MISTRAL_ARGS}, "[TOOL_CALLS]f[ARGS]", "[TOOL_CALLS]f[ARGS]||"},
    {{.format = TOOLS_MISTRAL_ARGS}, "[TOOL_CALLS]f[AR", "[TOOL_CALLS]f[AR||"},
    {{.format = TOOLS_MISTRAL_ARGS}, "[TOOL_CALLS]f[ARGS][1]", "[TOOL_CALLS]f[ARGS][1]||"},
    {{.format = TOOLS_MISTRAL_ARGS}, "[TOOL_CALLS]f[CALL_ID]a{}", "[TOOL_CALLS]f[CALL_ID]a{}||"},
    {{.format = TOOLS_MISTRAL_ARGS}, "[TOOL_CALLS][ARGS]{}", "[TOOL_CALLS][ARGS]{}||"},
    {{.format = TOOLS_MISTRAL_ARGS}, "[TOOL_CALLS]\"f\"[ARGS]{}", "[TOOL_CALLS]\"f\"[ARGS]{}||"},
    {{.format = TOOLS_MISTRAL_ARGS}, "[TOOL_CALLS", "[TOOL_CALLS||"},
    /* it goes wrong when the call was told of already: what is behind is text */
    {{.format = TOOLS_HERMES},
     "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1} oops</tool_call>",
     "oops</tool_call>||f({\"x\": 1})"},
    {{.format = TOOLS_HERMES, .one_call = true},
     "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1} oops</tool_call>",
     "||f({\"x\": 1})"},
    {{.format = TOOLS_LLAMA},
     "{\"name\": \"f\", \"parameters\": }}",
     "{\"name\": \"f\", \"parameters\": }}||"},
    /* of two names or two lists of arguments the first counts */
    {{.format = TOOLS_HERMES},
     "<tool_call>{\"name\":\"f\",\"arguments\":{},\"name\":\"g\",\"parameters\":{\"long\": "
     "1}}</tool_call>",
     "||f({})"},
    {{.format = TOOLS_HERMES},
     "<tool_call>{\"name\": \"gr\\u00f6\\\"\", \"arguments\": {}}</tool_call>",
     "||gr\xc3\xb6\"({})"},
};

START_TEST(test_any_cut)
{
    size_t len = strlen(cases[_i].text);
    for (size_t size = 1; size <= len; size++) {
        struct buf got = {0};
        read_in(&cases[_i].opts, cases[_i].text, size, &got);
        ck_assert_msg(strcmp(got.data, cases[_i].want) == 0, "%s\nin pieces of %zu: %s\nwant: %s",
                      cases[_i].text, size, got.data, cases[_i].want);
        buf_release(&got);
    }
}
END_TEST

/* Whatever a model writes: parts of marks and of calls in any order are read alike at once and in
 * pieces, and no byte of an answer without calls is lost or made up. */
START_TEST(test_any_text)
{
    static const char *const parts[] = {"<tool_call>",
                                        "</tool_call>",
                                        "<tool_",
                                        "call>",
                                        "<think>",
                                        "</think>",
                                        "</thi",
                                        "[TOOL_CALLS]",
                                        "[TOOL",
                                        "[ARGS]",
                                        "[CALL_ID]",
                                        "[CALL_ID]id[AR",
                                        "f[ARGS]{",
                                        "<|python_tag|>",
                                        "{\"name\": \"f\", ",
                                        "\"arguments\": ",
                                        "\"parameters\": {",
                                        "{\"a\": [1, \"}\\\"\"]}",
                                        "}",
                                        "]",
                                        "[",
                                        "{",
                                        "\"",
                                        "\\",
                                        "\\u12",
                                        ",",
                                        ";",
                                        " ",
                                        "\n",
                                        "text",
                                        "\xc3\xbc",
                                        "null",
                                        "1e9"};
    uint64_t rng = 11;
    for (uint32_t round = 0; round < effort(3000); round++) {
        struct answer_opts opts = {.format = (enum tool_format)rng_below(&rng, 5),
                                   .reasoning = rng_below(&rng, 2),
                                   .one_call = rng_below(&rng, 4) == 0};
        struct buf text = {0}, whole = {0}, pieces = {0};
        uint32_t count = 1 + (uint32_t)rng_below(&rng, 14);
        for (uint32_t i = 0; i < count; i++)
            buf_str(&text, parts[rng_below(&rng, ARRAY_LEN(parts))]);
        buf_char(&text, '\0');
        read_in(&opts, text.data, text.len, &whole);
        read_in(&opts, text.data, 1 + rng_below(&rng, 5), &pieces);
        ck_assert_msg(strcmp(whole.data, pieces.data) == 0,
                      "format %d: %s\nat once: %s\nin pieces: %s", opts.format, text.data,
                      whole.data, pieces.data);
        if (opts.format == TOOLS_NONE && !opts.reasoning)
            ck_assert(strncmp(whole.data, text.data, text.len - 1) == 0 &&
                      whole.len == text.len + 2);
        buf_release(&text);
        buf_release(&whole);
        buf_release(&pieces);
    }
}
END_TEST

/* Arguments can be told as they come, and never change what was told. */
START_TEST(test_arguments_grow)
{
    static const struct {
        enum tool_format format;
        const char *text;
    } texts[] = {
        {TOOLS_HERMES,
         "<tool_call>{\"name\": \"f\", \"arguments\": {\"text\": \"one two three four\"}}"},
        {TOOLS_MISTRAL_ARGS, "[TOOL_CALLS]f[ARGS]{\"text\": \"one two three four\"}"},
    };
    const char *text = texts[_i].text;
    struct answer answer;
    struct buf said = {0};
    uint32_t pieces = 0;
    answer_init(&answer, &(struct answer_opts){.format = texts[_i].format});
    for (size_t at = 0; at < strlen(text); at++) {
        answer_push(&answer, text + at, 1);
        if (answer.call_count == 0 || !answer_has_news(&answer))
            continue;
        struct answer_call *call = &answer.calls[0];
        buf_append(&said, call->arguments.data + call->sent, call->arguments.len - call->sent);
        call->told = true;
        pieces += call->arguments.len > call->sent;
        call->sent = call->arguments.len;
    }
    buf_char(&said, '\0');
    ck_assert_str_eq(said.data, "{\"text\": \"one two three four\"}");
    ck_assert_uint_gt(pieces, 20);
    buf_release(&said);
    answer_release(&answer);
}
END_TEST

/* What is long is not read again with each token. */
START_TEST(test_long_arguments_cost_little)
{
    static const struct {
        const char *begin, *token;
    } texts[] = {
        {"<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"", "wo\\\""},
        {"<tool_call>{\"name\": \"f\", \"arguments\": [", "[1],"},
        {"hello", "    "},
        {"[TOOL_CALLS]f[ARGS]{\"x\": \"", "wo\\\""},
        {"<think>x", " \n  "},
    };
    struct answer answer;
    bool bare = texts[_i].begin[0] == '[';
    answer_init(&answer, &(struct answer_opts){.format = bare ? TOOLS_MISTRAL_ARGS : TOOLS_HERMES,
                                               .reasoning = true});
    answer_push(&answer, texts[_i].begin, strlen(texts[_i].begin));
    clock_t began = clock();
    for (int n = 0; n < 100000; n++) {
        answer_push(&answer, texts[_i].token, 4);
        answer_told(&answer);
    }
    /* 0.2 s of this thread under sanitizers; when it was quadratic, more than 20 s without. */
    ck_assert_int_lt((clock() - began) / CLOCKS_PER_SEC, 10);
    answer_release(&answer);
}
END_TEST

/* A text of nothing but beginnings of calls, which only its end shows to be none. */
START_TEST(test_many_beginnings_cost_little)
{
    struct answer answer;
    answer_init(&answer, &(struct answer_opts){.format = TOOLS_HERMES});
    struct buf text = {0};
    for (int i = 0; i < 20000; i++)
        buf_str(&text, "<tool_call>{\"a\":[");
    clock_t began = clock();
    answer_push(&answer, text.data, text.len);
    answer_finish(&answer);
    ck_assert_int_lt((clock() - began) / CLOCKS_PER_SEC, 10); /* 10 ms; without a limit, minutes */
    ck_assert_uint_eq(answer.content.len, text.len);
    ck_assert_int_eq(memcmp(answer.content.data, text.data, text.len), 0);
    answer_release(&answer);
    buf_release(&text);
}
END_TEST

START_TEST(test_a_zero_byte_is_no_space)
{
    struct answer_scan scan;
    ck_assert_int_eq(answer_scan("\0{", 2, &scan), SCAN_BAD);
    ck_assert_int_eq(answer_scan("{\0\"name\": \"f\"}", 14, &scan), SCAN_BAD);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("answer");
    TCase *tc = tcase_create("answer");
    tcase_add_loop_test(tc, test_any_cut, 0, ARRAY_LEN(cases));
    tcase_add_test(tc, test_any_text);
    tcase_add_loop_test(tc, test_arguments_grow, 0, 2);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, test_long_arguments_cost_little, 0, 5);
    tcase_add_test(tc, test_a_zero_byte_is_no_space);
    tcase_add_test(tc, test_many_beginnings_cost_little);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
