#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"
#include "tests/common/suite.h"

struct program_config {
    bool fast;
    uint64_t page_size;
    double ratio;
    const char *model;
    const char *name;
    uint32_t cache;
    struct config_list routers;
};

#define P struct program_config
static const struct option options[] = {
    OPTION_BOOL(P, fast, "fast", "true", "TEST_FAST", "be fast"),
    OPTION_UINT(P, page_size, "page-size", "16", 1, 256, "tokens a page"),
    OPTION_FLOAT(P, ratio, "ratio", "0.5", 0, 1, "share"),
    OPTION_STRING(P, model, "model", NULL, "TEST_MODEL", "folder"),
    OPTION_STRING(P, name, "name", "none", NULL, "name"),
    OPTION_CHOICE(P, cache, "cache", "radix", "radix|naive|off", "kind"),
    OPTION_LIST(P, routers, "router", "addresses"),
};
static const struct config_spec spec = {"prog", "tests options", options, ARRAY_LEN(options)};

static enum status parse_argv(P *config, enum config_action *action, struct err *err,
                              const char *const *words)
{
    char *argv[40] = {(char *)(uintptr_t) "prog"};
    int argc = 1;
    memset(config, 0, sizeof(*config));
    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    return config_parse(&spec, argc, argv, config, action, err);
}
#define PARSE(...)                                                                                 \
    parse_argv(&config, &action, &err, (const char *[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

START_TEST(test_defaults)
{
    P config;
    enum config_action action;
    struct err err;
    ck_assert_int_eq(PARSE(), STATUS_OK);
    ck_assert_int_eq(action, CONFIG_ACTION_RUN);
    ck_assert(config.fast);
    ck_assert_uint_eq(config.page_size, 16);
    ck_assert_double_eq(config.ratio, 0.5);
    ck_assert_ptr_null(config.model);
    ck_assert_str_eq(config.name, "none");
    ck_assert_uint_eq(config.cache, 0);
    ck_assert_uint_eq(config.routers.count, 0);
    config_release(&spec, &config);
}
END_TEST

START_TEST(test_command_line)
{
    P config;
    enum config_action action;
    struct err err;
    ck_assert_int_eq(PARSE("--no-fast", "--page-size", "32", "--ratio=0.25", "--model", "a=b",
                           "--name=", "--cache", "naive", "--router", "x", "--router=y",
                           "--page-size=64"),
                     STATUS_OK);
    ck_assert(!config.fast);
    ck_assert_uint_eq(config.page_size, 64);
    ck_assert_double_eq(config.ratio, 0.25);
    ck_assert_str_eq(config.model, "a=b");
    ck_assert_str_eq(config.name, "");
    ck_assert_uint_eq(config.cache, 1);
    ck_assert_uint_eq(config.routers.count, 2);
    ck_assert_str_eq(config.routers.items[1], "y");
    config_release(&spec, &config);
    ck_assert_int_eq(PARSE("--fast=false"), STATUS_OK);
    ck_assert(!config.fast);
    config_release(&spec, &config);
}
END_TEST

START_TEST(test_precedence)
{
    P config;
    enum config_action action;
    struct err err;
    char path[] = "/tmp/msgl-config-XXXXXX";
    int fd = mkstemp(path);
    const char *text =
        "# a comment\n\n fast = no\r\npage-size=8\nmodel = from file\nname = file name\n"
        "router = one\nrouter = two\nratio = 1";
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    setenv("TEST_MODEL", "from environment", 1);
    ck_assert_int_eq(PARSE("--page-size", "4", "--config", path), STATUS_OK);
    ck_assert(!config.fast);
    ck_assert_uint_eq(config.page_size, 4);
    ck_assert_str_eq(config.model, "from environment");
    ck_assert_str_eq(config.name, "file name");
    ck_assert_uint_eq(config.routers.count, 2);
    ck_assert_double_eq(config.ratio, 1);
    config_release(&spec, &config);
    char joined[64];
    snprintf(joined, sizeof(joined), "--config=%s", path);
    ck_assert_int_eq(PARSE(joined, "--router", "three", "--model", "m"), STATUS_OK);
    ck_assert_uint_eq(config.routers.count, 1);
    ck_assert_str_eq(config.routers.items[0], "three");
    ck_assert_str_eq(config.model, "m");
    config_release(&spec, &config);
    unlink(path);
}
END_TEST

START_TEST(test_refuses)
{
    static const struct {
        const char *words[2];
        const char *says;
    } cases[] = {
        {{"--page-size", "0"}, "--page-size must be between 1 and 256"},
        {{"--page-size", "257"}, "between 1 and 256"},
        {{"--page-size", "-1"}, "whole number"},
        {{"--page-size", " 5"}, "whole number"},
        {{"--page-size", "1.5"}, "whole number"},
        {{"--page-size", "99999999999999999999999"}, "whole number"},
        {{"--page-size", ""}, "whole number"},
        {{"--page-size", NULL}, "--page-size needs a value"},
        {{"--ratio", "nan"}, "number"},
        {{"--ratio", "1e999"}, "number"},
        {{"--ratio", "1.01"}, "between 0 and 1"},
        {{"--cache", "rad"}, "one of radix|naive|off"},
        {{"--fast=maybe", NULL}, "true or false"},
        {{"--no-page-size", NULL}, "unknown option --no-page-size"},
        {{"--no-fast=true", NULL}, "unknown option --no-fast"},
        {{"--nothing", "1"}, "unknown option --nothing"},
        {{"stray", NULL}, "unexpected argument 'stray'"},
        {{"--config", "/nonexistent/file"}, "cannot open"},
        {{"--config", NULL}, "unknown option --config"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        P config;
        enum config_action action;
        struct err err = {0};
        enum status status = PARSE(cases[i].words[0], cases[i].words[1]);
        ck_assert_msg(status != STATUS_OK, "case %zu was taken", i);
        ck_assert_msg(strstr(err.text, cases[i].says), "case %zu says: %s", i, err.text);
        config_release(&spec, &config);
    }
}
END_TEST

START_TEST(test_bad_file_and_environment_are_named)
{
    P config;
    enum config_action action;
    struct err err;
    char path[] = "/tmp/msgl-config-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, "name = x\nnope = 1\n", 18), 18);
    close(fd);
    ck_assert_int_eq(PARSE("--config", path), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "line 2"));
    ck_assert_ptr_nonnull(strstr(err.text, "nope"));
    config_release(&spec, &config);
    unlink(path);
    setenv("TEST_FAST", "perhaps", 1);
    ck_assert_int_eq(PARSE(), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "TEST_FAST"));
    config_release(&spec, &config);
}
END_TEST

START_TEST(test_too_many_list_items)
{
    P config = {0};
    enum config_action action;
    struct err err;
    char *argv[CONFIG_LIST_MAX + 2] = {(char *)(uintptr_t) "prog"};
    for (int i = 1; i < CONFIG_LIST_MAX + 2; i++)
        argv[i] = (char *)(uintptr_t) "--router=x";
    ck_assert_int_eq(config_parse(&spec, CONFIG_LIST_MAX + 2, argv, &config, &action, &err),
                     STATUS_INVALID);
    config_release(&spec, &config);
}
END_TEST

/* What --print-config prints is a file that gives the same configuration again. */
START_TEST(test_printed_config_reads_back)
{
    P config;
    enum config_action action;
    struct err err;
    struct buf first = {0}, second = {0};
    char path[] = "/tmp/msgl-config-XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_eq(
        PARSE("--no-fast", "--cache", "off", "--router", "a", "--router", "b", "--ratio", "0.125"),
        STATUS_OK);
    config_print(&spec, &config, &first);
    config_release(&spec, &config);
    ck_assert_ptr_nonnull(strstr(first.data, "cache = off\n"));
    ck_assert_int_eq(write(fd, first.data, first.len), (ssize_t)first.len);
    close(fd);
    ck_assert_int_eq(PARSE("--config", path), STATUS_OK);
    config_print(&spec, &config, &second);
    ck_assert_str_eq(first.data, second.data);
    config_release(&spec, &config);
    buf_release(&first);
    buf_release(&second);
    unlink(path);
}
END_TEST

START_TEST(test_help_and_markdown_name_every_option)
{
    struct buf help = {0}, markdown = {0};
    config_help(&spec, &help);
    config_markdown(&spec, &markdown);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        ck_assert_ptr_nonnull(strstr(help.data, options[i].name));
        ck_assert_ptr_nonnull(strstr(markdown.data, options[i].name));
        ck_assert_ptr_nonnull(strstr(markdown.data, options[i].help));
    }
    ck_assert_ptr_nonnull(strstr(markdown.data, "radix\\|naive")); /* a bar would end the cell */
    buf_release(&help);
    buf_release(&markdown);
}
END_TEST

SUITE_MAIN("config", test_defaults, test_command_line, test_precedence, test_refuses,
           test_bad_file_and_environment_are_named, test_too_many_list_items,
           test_printed_config_reads_back, test_help_and_markdown_name_every_option)
