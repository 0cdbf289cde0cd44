/* What the compiler of grammars refuses; what it compiles is tests/golden/test_grammar.py's. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/grammar/grammar.h"

static void refuse(const char *regex, const char *why)
{
    struct buf out = {0};
    struct err err = {.text = ""};
    ck_assert_int_eq(grammar_from_regex(str_from(regex), &out, &err), STATUS_UNSUPPORTED);
    ck_assert_msg(strstr(err.text, why) != NULL, "%s: %s", regex, err.text);
    buf_release(&out);
}

/* Each set of states is long and there are thousands: a quarter of a minute without a bound. */
START_TEST(test_few_letters_much_work)
{
    refuse("((.*a){100}){20}", "too long");
    refuse("((.*a){100}){40}", "too long");
    refuse("(a|b)*a(a|b){14}", "too many states");
}
END_TEST

START_TEST(test_objects_of_many_properties_fit)
{
    json_t *schema =
        json_pack("{s:s,s:{},s:b}", "type", "object", "properties", "additionalProperties", 0);
    json_t *properties = json_object_get(schema, "properties");
    struct buf out = {0};
    struct err err = {.text = ""};
    for (int i = 0; i < 250; i++) {
        char name[16];
        snprintf(name, sizeof(name), "name%d", i);
        json_object_set_new(properties, name, json_pack("{s:s}", "type", "string"));
    }
    ck_assert_msg(grammar_from_schema(schema, &out, &err) == STATUS_OK, "%s", err.text);
    buf_release(&out);
    json_decref(schema);
}
END_TEST

START_TEST(test_without_a_tool_there_is_no_call)
{
    json_t *tools = json_pack("[{s:s,s:{s:s}}]", "type", "function", "function", "name", "f");
    struct grammar_tools want = {.tools = tools,
                                 .only = "g",
                                 .begin = STR("["),
                                 .end = STR("]"),
                                 .between = STR(", "),
                                 .name_key = "name",
                                 .arguments_key = "arguments"};
    struct buf out = {0};
    ck_assert_int_eq(grammar_from_tools(&want, &out, NULL), STATUS_INVALID);
    want.only = "f";
    ck_assert_int_eq(grammar_from_tools(&want, &out, NULL), STATUS_OK);
    buf_release(&out);
    json_decref(tools);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grammar");
    TCase *tc = tcase_create("grammar");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, test_few_letters_much_work);
    tcase_add_test(tc, test_objects_of_many_properties_fit);
    tcase_add_test(tc, test_without_a_tool_there_is_no_call);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
