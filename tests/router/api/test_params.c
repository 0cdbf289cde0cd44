#include "router/api/params_table.h"

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
    ck_assert_msg(parse(text, API_CHAT) == status, "%s gave %s", text,
                  status_name(error.err.status));
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
    ck_assert_int_eq(
        parse("{\"temperature\":null,\"stop\":null,\"seed\":null,\"n\":null,\"top_p\":null,"
              "\"logprobs\":null,\"logit_bias\":null,\"max_tokens\":null,\"stream\":null,"
              "\"stop_token_ids\":null,\"response_format\":null,\"cache_salt\":null}",
              API_CHAT),
        STATUS_OK);
    ck_assert(memcmp(&plain, &params, sizeof(params)) == 0);
    ck_assert_int_eq(parse("{\"user\":\"u\",\"metadata\":{}}", API_CHAT), STATUS_OK);
}
END_TEST

START_TEST(test_values)
{
    ck_assert_int_eq(
        parse("{\"temperature\":0.5,\"top_p\":0.25,\"top_k\":-1,\"min_p\":0.5,\"seed\":-1,\"n\":3,"
              "\"max_tokens\":7,\"max_completion_tokens\":9,\"min_tokens\":2,"
              "\"stop\":[\"a\",\"b\\u0000c\"],\"stop_token_ids\":[1,2],\"ignore_eos\":true,"
              "\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
              API_CHAT),
        STATUS_OK);
    ck_assert_float_eq(params.sampling.temperature, 0.5f);
    ck_assert_float_eq(params.sampling.top_p, 0.25f);
    ck_assert_uint_eq(params.sampling.top_k, 0);
    ck_assert_uint_eq(params.sampling.seed, UINT64_MAX);
    ck_assert_uint_eq(params.tokens_max, 9);
    ck_assert_uint_eq(params.stop_count, 2);
    ck_assert_uint_eq(params.stops[1].len, 3);
    ck_assert_uint_eq(params.stop_id_count, 2);
    ck_assert(params.stream && params.include_usage && params.ignore_eos);
    ck_assert_int_eq(parse("{\"max_tokens\":7,\"max_completion_tokens\":9}", API_COMPLETIONS),
                     STATUS_OK);
    ck_assert_uint_eq(params.tokens_max, 9);
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
    refuses(
        "{\"stop\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
        "\"a\",\"a\",\"a\",\"a\"]}",
        STATUS_INVALID, "stop");
}
END_TEST

START_TEST(test_sampling_extras)
{
    ck_assert_int_eq(
        parse("{\"logprobs\":true,\"top_logprobs\":3,\"logit_bias\":{\"7\":-100,\"8\":1.5},"
              "\"presence_penalty\":-2,\"frequency_penalty\":0.5,"
              "\"repetition_penalty\":1.1,\"return_token_ids\":true}",
              API_CHAT),
        STATUS_OK);
    ck_assert_uint_eq(params.logprobs, 4);
    ck_assert_uint_eq(params.bias_count, 2);
    ck_assert_uint_eq(params.bias[0].id, 7);
    ck_assert_float_eq(params.bias[1].value, 1.5f);
    ck_assert_float_eq(params.sampling.presence_penalty, -2);
    ck_assert_float_eq(params.sampling.repetition_penalty, 1.1f);
    ck_assert_str_eq(params_needs(&params, FEATURE_ADJUST), "presence_penalty");
    ck_assert_str_eq(params_needs(&params, FEATURE_LOGPROBS), "logprobs");
    ck_assert_int_eq(parse("{\"logprobs\":0}", API_COMPLETIONS), STATUS_OK);
    ck_assert_uint_eq(params.logprobs, 1);
    ck_assert_int_eq(parse("{\"max_tokens\":0,\"echo\":true}", API_COMPLETIONS), STATUS_OK);
    ck_assert_str_eq(params.tokens_none, "max_tokens");
    ck_assert_int_eq(parse("{}", API_CHAT), STATUS_OK);
    ck_assert_ptr_null(params_needs(&params, FEATURE_ADJUST));
    refuses("{\"top_logprobs\":3}", STATUS_INVALID, "top_logprobs");
    refuses("{\"logprobs\":true,\"top_logprobs\":21}", STATUS_INVALID, "top_logprobs");
    refuses("{\"logprobs\":1}", STATUS_INVALID, "logprobs");
    refuses("{\"logit_bias\":{\"x\":5}}", STATUS_INVALID, "logit_bias");
    refuses("{\"logit_bias\":{\"1\":101}}", STATUS_INVALID, "logit_bias");
    refuses("{\"logit_bias\":[1]}", STATUS_INVALID, "logit_bias");
    refuses("{\"presence_penalty\":2.5}", STATUS_INVALID, "presence_penalty");
    refuses("{\"repetition_penalty\":0}", STATUS_INVALID, "repetition_penalty");
    ck_assert_int_eq(parse("{\"prompt_logprobs\":2,\"echo\":true}", API_COMPLETIONS), STATUS_OK);
    ck_assert(params_scores(&params) == 3 && params_score_prompt(&params) && params.logprobs == 0);
    ck_assert_str_eq(params_needs(&params, FEATURE_LOGPROBS), "prompt_logprobs");
    ck_assert_int_eq(parse("{\"text\":\"x\",\"logprob_start_len\":2}", API_GENERATE), STATUS_OK);
    ck_assert(params_scores(&params) == 0 && !params_score_prompt(&params));
    refuses("{\"prompt_logprobs\":1,\"stream\":true}", STATUS_INVALID, "prompt_logprobs");
    refuses("{\"bad_words\":[\"\"]}", STATUS_INVALID, "bad_words");
    refuses("{\"bad_words\":[\"a\"],\"guided_regex\":\"a\"}", STATUS_INVALID, "guided_regex");
    refuses("{\"truncate_prompt_tokens\":0}", STATUS_INVALID, "truncate_prompt_tokens");
    refuses("{\"truncation_side\":\"up\"}", STATUS_INVALID, "truncation_side");
}
END_TEST

START_TEST(test_unsupported_is_named)
{
    refuses("{\"response_format\":{\"type\":\"xml\"}}", STATUS_UNSUPPORTED, "response_format");
    refuses("{\"response_format\":5}", STATUS_INVALID, "response_format");
    refuses("{\"guided_regex\":\"a\",\"guided_choice\":[\"b\"]}", STATUS_INVALID, "guided_choice");
    refuses("{\"guided_regex\":\"a\",\"ignore_eos\":true}", STATUS_UNSUPPORTED, "ignore_eos");
    refuses("{\"tool_choice\":{\"type\":\"function\"}}", STATUS_INVALID, "tool_choice");
    refuses("{\"tool_choice\":{\"type\":\"custom\"}}", STATUS_UNSUPPORTED, "tool_choice");
    refuses("{\"tool_choice\":\"required\",\"guided_regex\":\"a\"}", STATUS_INVALID, "tool_choice");
    refuses("{\"store\":true}", STATUS_UNSUPPORTED, "store");
    refuses("{\"user\":\"u\",\"whatever\":null}", STATUS_UNSUPPORTED, "whatever");
    refuses("{\"stream\":true,\"stream_options\":{\"x\":1}}", STATUS_UNSUPPORTED, "stream_options");
    ck_assert_int_eq(parse("{\"text\":\"x\",\"sampling_params\":{\"max_tokens\":1}}", API_GENERATE),
                     STATUS_UNSUPPORTED);
    ck_assert_str_eq(error.param, "max_tokens");
    ck_assert_int_eq(parse("{\"suffix\":\"x\"}", API_COMPLETIONS), STATUS_UNSUPPORTED);
    ck_assert_int_eq(parse("{\"echo\":true}", API_COMPLETIONS), STATUS_OK);
    ck_assert_int_eq(
        parse("{\"logprobs\":false,\"logit_bias\":{},\"presence_penalty\":0,\"top_logprobs\":0,"
              "\"repetition_penalty\":1.0,\"response_format\":{\"type\":\"text\"},"
              "\"tool_choice\":\"auto\",\"modalities\":[\"text\"],\"best_of\":1}",
              API_CHAT),
        STATUS_OK);
}
END_TEST

/* No row without a word about it, none twice in a place; the schema of each place is JSON. */
START_TEST(test_table)
{
    static const enum param_place places[] = {PLACE_CHAT, PLACE_COMPLETIONS, PLACE_GENERATE,
                                              PLACE_SAMPLING};
    for (size_t i = 0; i < params_table_count; i++) {
        const struct param *row = &params_table[i];
        ck_assert_msg(row->kind == PARAM_REFUSED || row->text[0], "%s has no text", row->name);
        ck_assert_msg(row->kind != PARAM_CUSTOM || row->parse, "%s has no rule", row->name);
        for (size_t k = 0; k < i; k++)
            ck_assert_msg(!(row->places & params_table[k].places) ||
                              strcmp(row->name, params_table[k].name) != 0,
                          "%s is twice", row->name);
    }
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct buf text = {0};
        params_schema(places[i], &text);
        json_t *schema = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
        ck_assert_msg(schema != NULL, "place %d: %.*s", places[i], (int)text.len, text.data);
        json_decref(schema);
        buf_release(&text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("params");
    TCase *tc = tcase_create("params");
    tcase_add_test(tc, test_defaults_and_nulls);
    tcase_add_test(tc, test_values);
    tcase_add_test(tc, test_wrong_values_are_named);
    tcase_add_test(tc, test_sampling_extras);
    tcase_add_test(tc, test_unsupported_is_named);
    tcase_add_test(tc, test_table);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
