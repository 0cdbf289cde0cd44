/* Grammars of JSON: of a schema, of calls of tools. */
#include <string.h>

#include "router/grammar/grammar.h"
#include "router/grammar/schema.h"

static void schema_begin(struct schema *s, struct nfa *nfa, const json_t *root, bool compact,
                         struct err *err)
{
    *s = (struct schema){.nfa = nfa, .rules = JSON_RULES(nfa, compact), .root = root, .err = err};
    arena_init(&s->arena);
}

static enum status schema_compile(const void *arg, bool compact, struct buf *out, bool *large,
                                  struct err *err)
{
    const json_t *schema = arg;
    struct nfa nfa = {0};
    struct schema s;
    enum status status = STATUS_OK;
    schema_begin(&s, &nfa, schema, compact, err);
    uint32_t main_rule = nfa_rule(&nfa), end = 0;
    if (schema)
        TRY_OUT(schema_put(&s, schema, nfa.rules[main_rule].start, &end));
    else
        end = json_any_object(&s.rules, nfa.rules[main_rule].start);
    nfa_empty(&nfa, end, nfa.rules[main_rule].end);
    status = nfa_compile(&nfa, out, err);
    if (status != STATUS_OK)
        status = err_prefix(err, status, "the schema");
out:
    *large = nfa.too_large || nfa.too_many;
    arena_release(&s.arena);
    nfa_release(&nfa);
    return status;
}

/* What is spelled out in full has too many states for some: then once more, with calls. Should that be
 * refused too, the first refusal is told. */
static enum status compile(enum status (*make)(const void *arg, bool compact, struct buf *out,
                                               bool *large, struct err *err),
                           const void *arg, struct buf *out, struct err *err)
{
    bool large = false;
    struct err second;
    enum status status = make(arg, false, out, &large, err);
    if (status != STATUS_OK && large && make(arg, true, out, &large, &second) == STATUS_OK)
        return STATUS_OK;
    return status;
}

enum status grammar_from_schema(const json_t *schema, struct buf *out, struct err *err)
{
    return compile(schema_compile, schema, out, err);
}

static enum status put_arguments(struct schema *s, const json_t *function, uint32_t from,
                                 uint32_t *to)
{
    const json_t *parameters = json_object_get(function, "parameters");
    s->root = parameters;
    s->ref_count = 0;
    if (json_object_size(parameters) > 0)
        return schema_put(s, parameters, from, to);
    *to = json_any_object(&s->rules, from);
    return STATUS_OK;
}

/* f[ARGS]{…} */
static enum status put_bare_tool(struct schema *s, const struct grammar_tools *want,
                                 const json_t *function, uint32_t from, uint32_t *to)
{
    const json_t *name = json_object_get(function, "name");
    uint32_t at = nfa_text(s->nfa, from, json_string_value(name), json_string_length(name));
    at = nfa_text(s->nfa, at, want->behind_name.data, want->behind_name.len);
    return put_arguments(s, function, at, to);
}

/* {"name": "f", "arguments": …} with the tool's own schema. */
static enum status put_tool(struct schema *s, const struct grammar_tools *want,
                            const json_t *function, uint32_t from, uint32_t *to)
{
    json_t *name_key = json_string(want->name_key),
           *arguments_key = json_string(want->arguments_key);
    uint32_t at = json_space(&s->rules, json_char(&s->rules, from, '{'));
    at = json_mark(&s->rules, json_literal(&s->rules, at, name_key), ':');
    at = json_mark(&s->rules, json_literal(&s->rules, at, json_object_get(function, "name")), ',');
    at = json_mark(&s->rules, json_literal(&s->rules, at, arguments_key), ':');
    json_decref(name_key);
    json_decref(arguments_key);
    TRY(put_arguments(s, function, at, &at));
    *to = json_char(&s->rules, json_space(&s->rules, at), '}');
    return STATUS_OK;
}

static enum status tools_compile(const void *arg, bool compact, struct buf *out, bool *large,
                                 struct err *err)
{
    const struct grammar_tools *want = arg;
    struct nfa nfa = {0};
    struct schema s;
    enum status status = STATUS_OK;
    schema_begin(&s, &nfa, NULL, compact, err);
    uint32_t rule = nfa_rule(&nfa), call = nfa_state(&nfa), done = nfa_state(&nfa), count = 0;
    nfa_empty(&nfa, nfa_text(&nfa, nfa.rules[rule].start, want->begin.data, want->begin.len), call);
    for (size_t i = 0; i < json_array_size(want->tools); i++) {
        const json_t *function = json_object_get(json_array_get(want->tools, i), "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        uint32_t end;
        if (!name || (want->only && strcmp(name, want->only) != 0))
            continue;
        TRY_OUT(want->behind_name.len > 0 ? put_bare_tool(&s, want, function, call, &end)
                                          : put_tool(&s, want, function, call, &end));
        nfa_empty(&nfa, end, done);
        count++;
    }
    if (count == 0)
        TRY_OUT(err_set(err, STATUS_INVALID, "there is no tool to call"));
    if (want->parallel)
        nfa_empty(&nfa, nfa_text(&nfa, done, want->between.data, want->between.len), call);
    nfa_empty(&nfa, nfa_text(&nfa, done, want->end.data, want->end.len), nfa.rules[rule].end);
    status = nfa_compile(&nfa, out, err);
    if (status != STATUS_OK)
        status = err_prefix(err, status, "the tools");
out:
    *large = nfa.too_large || nfa.too_many;
    arena_release(&s.arena);
    nfa_release(&nfa);
    return status;
}

enum status grammar_from_tools(const struct grammar_tools *want, struct buf *out, struct err *err)
{
    return compile(tools_compile, want, out, err);
}
