#include "router/params.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct params params;
static struct api_error error;

static enum status parse(const char *text, enum api_kind kind)
{
    json_t *body = json_loads(text, JSON_ALLOW_NUL, NULL);
    ck_assert_msg(body != NULL, "bad test: %s", text);
    arena_release(&arena);
    arena_init(&arena);
    memset(&params, 0, sizeof(params));
    memset(&error, 0, sizeof(error));
    params.sampling = sampling_default();
    params.sampling.seed = 99;
    enum status status = params_parse(body, kind, &arena, &params, &error);
    json_decref(body);
    return status;
}

static void refuses(const char *text, enum status status, const char *param)
{
    ck_assert_msg(parse(text, API_CHAT) == status, "%s gave %s", text, status_name(error.err.status));
    ck_assert_msg(error.param && strcmp(error.param, param) == 0, "%s named %s", text, error.param);
    ck_assert_msg(strstr(error.err.text, param) != NULL, "%s said: %s", text, error.err.text);
}

START_TEST(test_defaults_and_nulls)
{
    ck_assert_int_eq(parse("{}", API_CHAT), STATUS_OK);
    struct params plain = params;
    ck_assert_uint_eq(params.n, 1);
    ck_assert_uint_eq(params.tokens_max, 0);
    ck_assert(params.skip_special && !params.stream);
    ck_assert_uint_eq(params.sampling.seed, 99);
    ck_assert_int_eq(parse("{\"temperature\":null,\"stop\":null,\"seed\":null,\"n\":null,\"top_p\":null,"
                           "\"logprobs\":null,\"logit_bias\":null,\"max_tokens\":null,\"stream\":null,"
                           "\"stop_token_ids\":null,\"response_format\":null,\"cache_salt\":null}",
                           API_CHAT), STATUS_OK);
    ck_assert(memcmp(&plain, &params, sizeof(params)) == 0);
    ck_assert_int_eq(parse("{\"whatever\":[1],\"user\":\"u\",\"metadata\":{}}", API_CHAT), STATUS_OK);
}
END_TEST

START_TEST(test_values)
{
    ck_assert_int_eq(parse("{\"temperature\":0.5,\"top_p\":0.25,\"top_k\":-1,\"min_p\":0.5,\"seed\":-1,\"n\":3,"
                           "\"max_tokens\":7,\"max_completion_tokens\":9,\"min_tokens\":2,"
                           "\"stop\":[\"a\",\"b\\u0000c\"],\"stop_token_ids\":[1,2],\"ignore_eos\":true,"
                           "\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
                           API_CHAT), STATUS_OK);
    ck_assert_float_eq(params.sampling.temperature, 0.5f);
    ck_assert_float_eq(params.sampling.top_p, 0.25f);
    ck_assert_uint_eq(params.sampling.top_k, 0);
    ck_assert_uint_eq(params.sampling.seed, UINT64_MAX);
    ck_assert_uint_eq(params.tokens_max, 9);
    ck_assert_uint_eq(params.stop_count, 2);
    ck_assert_uint_eq(params.stops[1].len, 3);
    ck_assert_uint_eq(params.stop_id_count, 2);
    ck_assert(params.stream && params.include_usage && params.ignore_eos);
    ck_assert_int_eq(parse("{\"max_tokens\":7,\"max_completion_tokens\":9}", API_COMPLETIONS), STATUS_OK);
    ck_assert_uint_eq(params.tokens_max, 7);
    ck_assert_int_eq(parse("{\"temperature\":1e-9}", API_CHAT), STATUS_OK);
    ck_assert_float_eq(params.sampling.temperature, 0.0f);
}
END_TEST

START_TEST(test_wrong_values_are_named)
{
    refuses("{\"temperature\":-1}", STATUS_INVALID, "temperature");
    refuses("{\"temperature\":\"hot\"}", STATUS_INVALID, "temperature");
    refuses("{\"temperature\":1e9}", STATUS_INVALID, "temperature");
    refuses("{\"top_p\":0}", STATUS_INVALID, "top_p");
    refuses("{\"top_p\":1e-60}", STATUS_INVALID, "top_p");
    refuses("{\"min_p\":1}", STATUS_INVALID, "min_p");
    refuses("{\"top_k\":-2}", STATUS_INVALID, "top_k");
    refuses("{\"max_tokens\":0}", STATUS_INVALID, "max_tokens");
    refuses("{\"max_tokens\":2.5}", STATUS_INVALID, "max_tokens");
    refuses("{\"max_tokens\":true}", STATUS_INVALID, "max_tokens");
    refuses("{\"n\":0}", STATUS_INVALID, "n");
    refuses("{\"stop\":5}", STATUS_INVALID, "stop");
    refuses("{\"stop\":[\"\"]}", STATUS_INVALID, "stop");
    refuses("{\"stop\":[\"a\",1]}", STATUS_INVALID, "stop");
    refuses("{\"stop_token_ids\":[-1]}", STATUS_INVALID, "stop_token_ids");
    refuses("{\"stream\":\"yes\"}", STATUS_INVALID, "stream");
    refuses("{\"stream_options\":{\"include_usage\":true}}", STATUS_INVALID, "stream_options");
    refuses("{\"min_tokens\":5,\"max_tokens\":4}", STATUS_INVALID, "min_tokens");
    refuses("{\"cache_salt\":\"\"}", STATUS_INVALID, "cache_salt");
    refuses("{\"stop\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
            "\"a\",\"a\",\"a\",\"a\"]}", STATUS_INVALID, "stop");
}
END_TEST

START_TEST(test_unsupported_is_named)
{
    refuses("{\"logprobs\":true}", STATUS_UNSUPPORTED, "logprobs");
    refuses("{\"top_logprobs\":3}", STATUS_UNSUPPORTED, "top_logprobs");
    refuses("{\"logit_bias\":{\"1\":5}}", STATUS_UNSUPPORTED, "logit_bias");
    refuses("{\"presence_penalty\":0.5}", STATUS_UNSUPPORTED, "presence_penalty");
    refuses("{\"repetition_penalty\":1.1}", STATUS_UNSUPPORTED, "repetition_penalty");
    refuses("{\"response_format\":{\"type\":\"json_object\"}}", STATUS_UNSUPPORTED, "response_format");
    refuses("{\"tool_choice\":{\"type\":\"function\"}}", STATUS_UNSUPPORTED, "tool_choice");
    refuses("{\"echo\":true}", STATUS_UNSUPPORTED, "echo");
    ck_assert_int_eq(parse("{\"logprobs\":1}", API_COMPLETIONS), STATUS_UNSUPPORTED);
    ck_assert_int_eq(parse("{\"suffix\":\"x\"}", API_COMPLETIONS), STATUS_UNSUPPORTED);
    ck_assert_int_eq(parse("{\"echo\":true}", API_COMPLETIONS), STATUS_OK);
    ck_assert_int_eq(parse("{\"logprobs\":false,\"logit_bias\":{},\"presence_penalty\":0,\"top_logprobs\":0,"
                           "\"repetition_penalty\":1.0,\"response_format\":{\"type\":\"text\"},"
                           "\"tool_choice\":\"auto\",\"modalities\":[\"text\"],\"best_of\":1}",
                           API_CHAT), STATUS_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("params");
    TCase *tc = tcase_create("params");
    tcase_add_test(tc, test_defaults_and_nulls);
    tcase_add_test(tc, test_values);
    tcase_add_test(tc, test_wrong_values_are_named);
    tcase_add_test(tc, test_unsupported_is_named);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
