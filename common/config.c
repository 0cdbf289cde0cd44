#include "common/config.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/mem.h"

#define CONFIG_FILE_BYTES_MAX (1u << 20)

static void *field_of(const struct option *option, void *config)
{
    return (char *)config + option->offset;
}

static const struct option *find(const struct config_spec *spec, const char *name, size_t len)
{
    for (size_t i = 0; i < spec->option_count; i++)
        if (strlen(spec->options[i].name) == len && memcmp(spec->options[i].name, name, len) == 0)
            return &spec->options[i];
    return NULL;
}

static enum status set_choice(const struct option *option, void *field, const char *text,
                              struct err *err)
{
    const char *at = option->choices;
    for (uint32_t index = 0;; index++) {
        size_t len = strcspn(at, "|");
        if (strlen(text) == len && memcmp(at, text, len) == 0) {
            *(uint32_t *)field = index;
            return STATUS_OK;
        }
        if (at[len] == 0)
            break;
        at += len + 1;
    }
    return err_set(err, STATUS_INVALID, "--%s must be one of %s, not '%s'", option->name,
                   option->choices, text);
}

static enum status set_number(const struct option *option, void *field, const char *text,
                              struct err *err)
{
    bool integer = option->type == OPTION_TYPE_UINT;
    char *end = NULL;
    double value;

    errno = 0;
    value = integer ? (double)strtoull(text, &end, 10) : strtod(text, &end);
    const char *starts = integer ? "0123456789" : option->min < 0 ? "-0123456789." : "0123456789.";
    if (!strchr(starts, text[0]) || !*text || *end || errno || !isfinite(value))
        return err_set(err, STATUS_INVALID, "--%s must be a %snumber, not '%s'", option->name,
                       integer ? "whole " : "", text);
    if ((option->min != 0 || option->max != 0) && (value < option->min || value > option->max))
        return err_set(err, STATUS_INVALID, "--%s must be between %g and %g, not %s", option->name,
                       option->min, option->max, text);
    if (integer)
        *(uint64_t *)field = strtoull(text, NULL, 10);
    else
        *(double *)field = value;
    return STATUS_OK;
}

static enum status set_bool(const struct option *option, void *field, const char *text,
                            struct err *err)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"0", "1"}, {"no", "yes"}, {"off", "on"}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        for (int value = 0; value < 2; value++) {
            if (strcmp(text, words[i][value]) == 0) {
                *(bool *)field = value;
                return STATUS_OK;
            }
        }
    }
    return err_set(err, STATUS_INVALID, "--%s must be true or false, not '%s'", option->name, text);
}

static void list_clear(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        mem_free((void *)(uintptr_t)list->items[i]);
    list->count = 0;
}

/* Later calls overwrite earlier ones: default, file, environment, command line come in that order. */
static enum status set(const struct option *option, void *config, const char *text, struct err *err)
{
    void *field = field_of(option, config);
    switch (option->type) {
    case OPTION_TYPE_BOOL:
        return set_bool(option, field, text, err);
    case OPTION_TYPE_UINT:
    case OPTION_TYPE_FLOAT:
        return set_number(option, field, text, err);
    case OPTION_TYPE_CHOICE:
        return set_choice(option, field, text, err);
    case OPTION_TYPE_STRING:
        mem_free(*(char **)field);
        *(char **)field = mem_strdup(text);
        return STATUS_OK;
    case OPTION_TYPE_LIST: {
        struct config_list *list = field;
        if (list->count == CONFIG_LIST_MAX)
            return err_set(err, STATUS_INVALID, "--%s may be given at most %d times", option->name,
                           CONFIG_LIST_MAX);
        list->items[list->count++] = mem_strdup(text);
        return STATUS_OK;
    }
    }
    return STATUS_INTERNAL;
}

static enum status set_defaults(const struct config_spec *spec, void *config, struct err *err)
{
    for (size_t i = 0; i < spec->option_count; i++)
        if (spec->options[i].default_text)
            TRY(set(&spec->options[i], config, spec->options[i].default_text, err));
    return STATUS_OK;
}

static enum status set_environment(const struct config_spec *spec, void *config, struct err *err)
{
    for (size_t i = 0; i < spec->option_count; i++) {
        const char *text = spec->options[i].env ? getenv(spec->options[i].env) : NULL;
        if (text && *text && set(&spec->options[i], config, text, err) != STATUS_OK)
            return err_prefix(err, STATUS_INVALID, "environment variable %s", spec->options[i].env);
    }
    return STATUS_OK;
}

static char *trim(char *text)
{
    size_t len;
    while (*text == ' ' || *text == '\t')
        text++;
    len = strlen(text);
    while (len && strchr(" \t\r", text[len - 1]))
        text[--len] = 0;
    return text;
}

static enum status set_line(const struct config_spec *spec, void *config, char *line,
                            struct err *err)
{
    const struct option *option;
    char *equals, *name;

    line = trim(line);
    if (*line == 0 || *line == '#')
        return STATUS_OK;
    equals = strchr(line, '=');
    if (!equals)
        return err_set(err, STATUS_INVALID, "'%s' is not of the form name = value", line);
    *equals = 0;
    name = trim(line);
    option = find(spec, name, strlen(name));
    if (!option)
        return err_set(err, STATUS_INVALID, "there is no option '%s'", name);
    return set(option, config, trim(equals + 1), err);
}

static enum status set_file(const struct config_spec *spec, void *config, const char *path,
                            struct err *err)
{
    struct buf text = {0};
    enum status status;
    unsigned number = 0;

    TRY_OUT(file_read(path, CONFIG_FILE_BYTES_MAX, &text, err));
    for (char *line = text.data, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        number++;
        status = set_line(spec, config, line, err);
        if (status != STATUS_OK) {
            err_prefix(err, status, "%s line %u", path, number);
            goto out;
        }
    }
out:
    buf_release(&text);
    return status;
}

static enum status set_argument(const struct config_spec *spec, void *config, int argc, char **argv,
                                int *at, struct err *err)
{
    const char *name = argv[*at] + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct option *option = find(spec, name, len);
    bool negated = !option && len > 3 && memcmp(name, "no-", 3) == 0;

    if (negated) {
        option = find(spec, name + 3, len - 3);
        if (option && (option->type != OPTION_TYPE_BOOL || equals))
            option = NULL;
    }
    if (!option)
        return err_set(err, STATUS_INVALID, "unknown option --%.*s (see --help)", (int)len, name);
    if (equals)
        return set(option, config, equals + 1, err);
    if (option->type == OPTION_TYPE_BOOL)
        return set(option, config, negated ? "false" : "true", err);
    if (*at + 1 >= argc)
        return err_set(err, STATUS_INVALID, "--%s needs a value", option->name);
    return set(option, config, argv[++*at], err);
}

/* --help and its like; false when argv[i] is none of them. */
static bool print_and_exit(const struct config_spec *spec, const char *arg)
{
    struct buf out = {0};

    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
        config_help(spec, &out);
    else if (strcmp(arg, "--version") == 0)
        buf_printf(&out, "%s %s\n", spec->program, MSGL_VERSION);
    else if (strcmp(arg, "--print-markdown") == 0)
        config_markdown(spec, &out);
    else
        return false;
    fwrite(out.data, 1, out.len, stdout);
    buf_release(&out);
    return true;
}

/* The value of `--config FILE` or `--config=FILE` at argv[*at], else NULL; *at moves to its last word. */
static const char *config_file(int argc, char **argv, int *at)
{
    if (strncmp(argv[*at], "--config=", 9) == 0)
        return argv[*at] + 9;
    if (strcmp(argv[*at], "--config") == 0 && *at + 1 < argc)
        return argv[++*at];
    return NULL;
}

/* A list that the command line gives replaces the one of the file; it does not add to it. */
static void clear_given_lists(const struct config_spec *spec, int argc, char **argv, void *config)
{
    for (int i = 1; i < argc; i++) {
        const struct option *option = NULL;
        if (strncmp(argv[i], "--", 2) == 0)
            option = find(spec, argv[i] + 2, strcspn(argv[i] + 2, "="));
        if (option && option->type == OPTION_TYPE_LIST)
            list_clear(field_of(option, config));
    }
}

static enum status parse_arguments(const struct config_spec *spec, int argc, char **argv,
                                   void *config, bool *print, struct err *err)
{
    clear_given_lists(spec, argc, argv, config);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--print-config") == 0) {
            *print = true;
        } else if (config_file(argc, argv, &i)) {
            continue; /* read before the environment */
        } else if (strncmp(argv[i], "--", 2) != 0) {
            return err_set(err, STATUS_INVALID, "unexpected argument '%s' (see --help)", argv[i]);
        } else {
            TRY(set_argument(spec, config, argc, argv, &i, err));
        }
    }
    return STATUS_OK;
}

enum status config_parse(const struct config_spec *spec, int argc, char **argv, void *config,
                         enum config_action *action, struct err *err)
{
    bool print = false;

    *action = CONFIG_ACTION_EXIT;
    for (int i = 1; i < argc; i++)
        if (print_and_exit(spec, argv[i]))
            return STATUS_OK;
    TRY(set_defaults(spec, config, err));
    for (int i = 1; i < argc; i++) {
        const char *path = config_file(argc, argv, &i);
        if (path)
            TRY(set_file(spec, config, path, err));
    }
    TRY(set_environment(spec, config, err));
    TRY(parse_arguments(spec, argc, argv, config, &print, err));
    if (print) {
        struct buf out = {0};
        config_print(spec, config, &out);
        fwrite(out.data, 1, out.len, stdout);
        buf_release(&out);
        return STATUS_OK;
    }
    *action = CONFIG_ACTION_RUN;
    return STATUS_OK;
}

void config_release(const struct config_spec *spec, void *config)
{
    for (size_t i = 0; i < spec->option_count; i++) {
        void *field = field_of(&spec->options[i], config);
        if (spec->options[i].type == OPTION_TYPE_STRING) {
            mem_free(*(char **)field);
            *(char **)field = NULL;
        } else if (spec->options[i].type == OPTION_TYPE_LIST) {
            list_clear(field);
        }
    }
}

char *config_home(void)
{
    const char *home = getenv("MSGL_HOME"), *user = getenv("HOME");
    if (home && *home)
        return mem_strdup(home);
    return path_join(user && *user ? user : "/tmp", ".cache/msgl");
}
