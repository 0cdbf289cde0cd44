/* config_print - the option table as help, as a document, and as a config file. */
#include <string.h>

#include "common/config.h"

static const char *value_word(const struct option *option)
{
    switch (option->type) {
    case OPTION_TYPE_UINT:
        return "N";
    case OPTION_TYPE_FLOAT:
        return "X";
    case OPTION_TYPE_CHOICE:
        return option->choices;
    default:
        return "TEXT";
    }
}

static const char *default_of(const struct option *option)
{
    if (option->default_text)
        return option->default_text;
    return option->type == OPTION_TYPE_BOOL ? "false" : "";
}

void config_help(const struct config_spec *spec, struct buf *out)
{
    buf_printf(out, "%s - %s\n\n", spec->program, spec->purpose);
    for (size_t i = 0; i < spec->option_count; i++) {
        const struct option *option = &spec->options[i];
        if (option->type == OPTION_TYPE_BOOL)
            buf_printf(out, "  --[no-]%s\n", option->name);
        else
            buf_printf(out, "  --%s %s\n", option->name, value_word(option));
        buf_printf(out, "        %s", option->help);
        if (*default_of(option))
            buf_printf(out, " (default %s)", default_of(option));
        if (option->env)
            buf_printf(out, " [%s]", option->env);
        buf_char(out, '\n');
    }
    buf_str(out, "  --config FILE\n        read options from FILE, lines of `name = value`\n"
                 "  --print-config | --print-markdown | --version | --help\n");
}

void config_markdown(const struct config_spec *spec, struct buf *out)
{
    buf_printf(out, "## %s\n%s.\n\n| option | default | what |\n|---|---|---|\n", spec->program,
               spec->purpose);
    for (size_t i = 0; i < spec->option_count; i++) {
        const struct option *option = &spec->options[i];
        buf_printf(out, "| `--%s", option->name);
        if (option->type != OPTION_TYPE_BOOL) {
            buf_char(out, ' ');
            for (const char *c = value_word(option); *c; c++)
                buf_printf(out, *c == '|' ? "\\%c" : "%c", *c);
        }
        buf_printf(out, "` | %s | %s", default_of(option), option->help);
        if (option->type == OPTION_TYPE_LIST)
            buf_str(out, "; repeatable");
        if (option->max > 0)
            buf_printf(out, "; %.10g to %.10g", option->min, option->max);
        if (option->env)
            buf_printf(out, "; `%s`", option->env);
        buf_str(out, " |\n");
    }
}

static void print_value(const struct option *option, const void *field, struct buf *out)
{
    switch (option->type) {
    case OPTION_TYPE_BOOL:
        buf_str(out, *(const bool *)field ? "true" : "false");
        break;
    case OPTION_TYPE_UINT:
        buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case OPTION_TYPE_FLOAT:
        buf_printf(out, "%.10g", *(const double *)field);
        break;
    case OPTION_TYPE_CHOICE: {
        const char *at = option->choices;
        for (uint32_t skip = *(const uint32_t *)field; skip; skip--)
            at += strcspn(at, "|") + 1;
        buf_append(out, at, strcspn(at, "|"));
        break;
    }
    default:
        buf_str(out, *(char *const *)field);
    }
}

void config_print(const struct config_spec *spec, const void *config, struct buf *out)
{
    for (size_t i = 0; i < spec->option_count; i++) {
        const struct option *option = &spec->options[i];
        const void *field = (const char *)config + option->offset;
        if (option->type == OPTION_TYPE_LIST) {
            const struct config_list *list = field;
            for (size_t k = 0; k < list->count; k++)
                buf_printf(out, "%s = %s\n", option->name, list->items[k]);
            continue;
        }
        if (option->type == OPTION_TYPE_STRING && !*(char *const *)field)
            continue;
        buf_printf(out, "%s = ", option->name);
        print_value(option, field, out);
        buf_char(out, '\n');
    }
}
