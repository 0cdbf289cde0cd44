/* The table of parameters for people (docs/API.md) and for programs (/openapi.json). */
#include <string.h>

#include "router/api/params_table.h"

static const struct {
    enum param_place place;
    const char *name;
} places[] = {{PLACE_CHAT, "chat"},         {PLACE_COMPLETIONS, "completions"},
              {PLACE_GENERATE, "generate"}, {PLACE_SAMPLING, "sampling_params"},
              {PLACE_TOKENIZE, "tokenize"}, {PLACE_DETOKENIZE, "detokenize"}};

static void put_places(const struct param *row, struct buf *out)
{
    const char *comma = "";
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (!(row->places & places[i].place))
            continue;
        buf_printf(out, "%s%s", comma, places[i].name);
        comma = ", ";
    }
}

/* The schema's own first type; lists of alternatives are said by the text. */
static void put_type(const struct param *row, struct buf *out)
{
    static const char start[] = "\"type\":\"";
    if (strncmp(row->schema, start, sizeof(start) - 1) == 0) {
        const char *type = row->schema + sizeof(start) - 1;
        buf_append(out, type, (size_t)(strchr(type, '"') - type));
    }
    if (row->max != 0)
        buf_printf(out, " %.10g..%.10g", row->min, row->max);
}

static void put_harmless(enum harmless harmless, struct buf *out)
{
    static const char *const only[] = {
        [HARMLESS_NONE] = "",
        [HARMLESS_FALSE] = "`false`",
        [HARMLESS_TRUE] = "`true`",
        [HARMLESS_ZERO] = "0",
        [HARMLESS_ONE] = "1",
        [HARMLESS_EMPTY] = "empty",
        [HARMLESS_TEXT] = "`{\"type\": \"text\"}`",
        [HARMLESS_MODES] = "`[\"text\"]`",
        [HARMLESS_MINUS] = "-1",
        [HARMLESS_CHOICE] = "`auto` and `none`",
        [HARMLESS_TIER] = "`auto` and `default`",
        [HARMLESS_MEDIUM] = "`medium`",
    };
    if (only[harmless][0])
        buf_printf(out, " but for %s", only[harmless]);
}

void params_markdown(struct buf *out)
{
    buf_str(out, "| name | in | what | type | default | |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < params_table_count; i++) {
        const struct param *row = &params_table[i];
        buf_printf(out, "| `%s` | ", row->name);
        put_places(row, out);
        buf_str(out, row->kind == PARAM_REFUSED ? " | refused"
                     : row->kind == PARAM_NOTED ? " | taken, no effect"
                                                : " | honoured");
        if (row->kind == PARAM_REFUSED)
            put_harmless(row->harmless, out);
        buf_str(out, " | ");
        put_type(row, out);
        buf_printf(out, " | %s | %s |\n", row->fallback, row->text);
    }
}

static bool is_required(const struct param *row)
{
    return row->kind == PARAM_ELSEWHERE && strcmp(row->fallback, "required") == 0;
}

static void put_property(const struct param *row, struct buf *out)
{
    buf_printf(out, "\"%s\":{", row->name);
    if (row->schema[0])
        buf_printf(out, "%s,", row->schema);
    if (row->max != 0)
        buf_printf(out, "\"minimum\":%.10g,\"maximum\":%.10g,", row->min, row->max);
    buf_str(out, "\"description\":");
    buf_json_string(out, row->text, strlen(row->text));
    buf_str(out, row->kind == PARAM_REFUSED || is_required(row) ? "}" : ",\"nullable\":true}");
}

void params_schema(enum param_place place, struct buf *out)
{
    const char *comma = "";
    buf_str(out, "{\"type\":\"object\",\"properties\":{");
    for (size_t i = 0; i < params_table_count; i++) {
        const struct param *row = &params_table[i];
        if (!(row->places & place) || row->kind == PARAM_REFUSED)
            continue;
        buf_str(out, comma);
        put_property(row, out);
        comma = ",";
    }
    buf_str(out, "},\"required\":[");
    comma = "";
    for (size_t i = 0; i < params_table_count; i++) {
        if (!(params_table[i].places & place) || !is_required(&params_table[i]))
            continue;
        buf_printf(out, "%s\"%s\"", comma, params_table[i].name);
        comma = ",";
    }
    buf_str(out, "],\"additionalProperties\":false}");
}
