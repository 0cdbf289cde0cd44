#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "worker/config.h"

static enum status parse(struct worker_config *config, struct err *err, const char *const *args)
{
    const char *argv[32] = {"msgl-worker"};
    enum config_action action;
    int argc = 1;

    memset(config, 0, sizeof(*config));
    memset(err, 0, sizeof(*err));
    while (*args)
        argv[argc++] = *args++;
    return worker_config_parse(argc, (char **)(uintptr_t)argv, config, &action, err);
}
#define PARSE(config, err, ...) parse(config, err, (const char *const[]){__VA_ARGS__, NULL})
#define GOOD                    "--model", "/models/Some-Model/", "--router", "tcp://127.0.0.1:5600"

START_TEST(defaults)
{
    struct worker_config config;
    struct err err;
    ck_assert_msg(PARSE(&config, &err, GOOD) == STATUS_OK, "%s", err.text);
    ck_assert_str_eq(config.served_model_name, "Some-Model");
    ck_assert_uint_gt(strlen(config.id), 0);
    ck_assert_uint_eq(config.page_size, 16);
    ck_assert(!config.no_overlap && config.prefix_groups);
    ck_assert_int_eq(config.cache, WORKER_CACHE_RADIX);
    config_release(&worker_spec, &config);
}
END_TEST

START_TEST(names_of_models)
{
    struct worker_config config;
    struct err err;
    ck_assert_int_eq(PARSE(&config, &err, "--model", "Org/Name", "--router", "tcp://a:1"),
                     STATUS_OK);
    ck_assert_str_eq(config.served_model_name, "Org/Name");
    config_release(&worker_spec, &config);
    ck_assert_int_eq(PARSE(&config, &err, GOOD, "--served-model-name", "x/y"), STATUS_OK);
    ck_assert_str_eq(config.served_model_name, "x/y");
    config_release(&worker_spec, &config);
    ck_assert_int_eq(PARSE(&config, &err, "--model", "plain", "--router", "tcp://a:1"), STATUS_OK);
    ck_assert_str_eq(config.served_model_name, "plain");
    config_release(&worker_spec, &config);
}
END_TEST

START_TEST(overlap_by_option_and_by_either_variable)
{
    struct worker_config config;
    struct err err;
    ck_assert_int_eq(PARSE(&config, &err, GOOD, "--no-overlap"), STATUS_OK);
    ck_assert(config.no_overlap);
    config_release(&worker_spec, &config);
    setenv("MSGL_DISABLE_OVERLAP_SCHEDULING", "1", 1);
    ck_assert_int_eq(PARSE(&config, &err, GOOD), STATUS_OK);
    ck_assert(config.no_overlap);
    config_release(&worker_spec, &config);
    unsetenv("MSGL_DISABLE_OVERLAP_SCHEDULING");
    setenv("MINISGL_DISABLE_OVERLAP_SCHEDULING", "1", 1);
    ck_assert_int_eq(PARSE(&config, &err, GOOD, "--no-prefix-groups", "--cache", "naive"),
                     STATUS_OK);
    ck_assert(config.no_overlap);
    ck_assert(!config.prefix_groups);
    ck_assert_int_eq(config.cache, WORKER_CACHE_NAIVE);
    config_release(&worker_spec, &config);
    unsetenv("MINISGL_DISABLE_OVERLAP_SCHEDULING");
}
END_TEST

START_TEST(a_step_has_room_for_every_running_req)
{
    struct worker_config config;
    struct err err;
    ck_assert_int_eq(PARSE(&config, &err, GOOD, "--max-running", "300", "--step-tokens", "10"),
                     STATUS_OK);
    ck_assert_uint_eq(config.step_tokens, 300);
    config_release(&worker_spec, &config);
}
END_TEST

START_TEST(ranks_of_two_nodes)
{
    struct worker_config config;
    struct err err;
    ck_assert_int_eq(PARSE(&config, &err, "--model", "m", "--tp=4", "--nnodes=2", "--node-rank=1",
                           "--master=node-0:9000"),
                     STATUS_OK);
    ck_assert_uint_eq(config.rank, 2);
    ck_assert(!config.rank_is_child);
    config_release(&worker_spec, &config);
    ck_assert_int_eq(PARSE(&config, &err, GOOD, "--tp=4", "--rank=3", "--master=127.0.0.1:9000"),
                     STATUS_OK);
    ck_assert_uint_eq(config.rank, 3);
    ck_assert(config.rank_is_child);
    ck_assert_uint_ge(config.threads, 1);
    config_release(&worker_spec, &config);
}
END_TEST

START_TEST(what_is_wrong_is_said)
{
    static const struct {
        const char *args[7];
        const char *says;
    } bad[] = {
        {{"--router", "tcp://a:1"}, "give a model"},
        {{"--model", "m"}, "give a router"},
        {{"--model", "m", "--router", "tcp://a:1", "--page-size=24"}, "power of two"},
        {{"--model", "m", "--router", "tcp://a:1", "--tp=65"}, "--tp"},
        {{"--model", "m", "--router", "tcp://a:1", "--tp=3", "--nnodes=2"}, "spread evenly"},
        {{"--model", "m", "--tp=4", "--nnodes=2", "--node-rank=2"}, "below --nnodes"},
        {{"--model", "m", "--tp=4", "--nnodes=2", "--node-rank=1"}, "--master"},
        {{"--model", "m", "--tp=2", "--rank=2", "--master=a:1"}, "below --tp"},
        {{"--model", "m", "--tp=2", "--rank=1", "--master=a"}, "HOST:PORT"},
        {{"--model", "m", "--router", "tcp://a:1", "--cache=lru"}, "--cache"},
        {{"--model", "m", "--router", "tcp://a:1", "--id=\xff"}, "UTF-8"},
        {{"--model", "m", "--router", "tcp://a:1", "--max-running=5000"}, "--max-running"},
        {{"--model", "m", "--router", "tcp://a:1", "--kv-store=d", "--tp=2"}, "--tp 1"},
        {{"--model", "m", "--router", "tcp://a:1", "--kv-store=d", "--backend=cpu"}, "--kv-mib"},
        {{"--model", "m", "--router", "tcp://a:1", "--kv-store=d", "--cache=naive"}, "radix"},
        {{"--nonsense"}, "--nonsense"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct worker_config config;
        struct err err;
        ck_assert_int_ne(parse(&config, &err, bad[i].args), STATUS_OK);
        ck_assert_msg(strstr(err.text, bad[i].says) != NULL, "\"%s\" lacks \"%s\"", err.text,
                      bad[i].says);
        config_release(&worker_spec, &config);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tc = tcase_create("config");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tc, defaults);
    tcase_add_test(tc, names_of_models);
    tcase_add_test(tc, overlap_by_option_and_by_either_variable);
    tcase_add_test(tc, a_step_has_room_for_every_running_req);
    tcase_add_test(tc, ranks_of_two_nodes);
    tcase_add_test(tc, what_is_wrong_is_said);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
