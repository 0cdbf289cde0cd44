/* The part of a call that may take long: JSON, template, tokens, grammar. Any thread; touches only the
 * call and what is immutable. */
#include <malloc.h>

#include "router/api/tools.h"
#include "router/call.h"
#include "router/grammar/grammar.h"

#define TRIM_BYTES (1u << 20) /* a body this large may parse into gigabytes: give them back */

static enum status parse_body(struct str body, json_t **out, struct api_error *error)
{
    json_error_t where;
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY;
    json_t *root = json_loadb(body.data ? body.data : "", body.len, flags, &where);
    /* An absurd integer is some field's fault: let that field's check say so. */
    if (!root && json_error_code(&where) == json_error_numeric_overflow)
        root = json_loadb(body.data, body.len, flags | JSON_DECODE_INT_AS_REAL, &where);
    if (!root)
        return api_fail(error, STATUS_INVALID, NULL,
                        "the request body is not valid JSON: %s (line %d, column %d)", where.text,
                        where.line, where.column);
    if (!json_is_object(root)) {
        api_fail(error, STATUS_INVALID, NULL, "the request body must be a JSON object, not %s",
                 json_type_name(root));
        json_decref(root);
        return error->err.status;
    }
    *out = root;
    return STATUS_OK;
}

static enum status find_model(struct call *call, const json_t *body)
{
    const char *name = NULL;
    struct models *models = &call->router->models;
    if (json_get_string(body, "model", &name, &call->error.err) != STATUS_OK) {
        call->error.param = "model";
        return call->error.err.status;
    }
    if (!name && models->count > 1)
        return api_fail(&call->error, STATUS_INVALID, "model",
                        "model is missing: this server has several");
    call->model = name ? models_find(models, str_from(name)) : &models->items[0];
    if (call->model)
        return STATUS_OK;
    call->error.code = "model_not_found";
    return api_fail(&call->error, STATUS_NOT_FOUND, "model", "the model %.100s does not exist here",
                    name);
}

static bool has(const json_t *body, const char *key)
{
    const json_t *value = json_object_get(body, key);
    return value && !json_is_null(value);
}

static enum status make_prompts(struct call *call, const json_t *body)
{
    const char *key = "prompt";
    if (call->kind == API_CHAT || (call->kind == API_TOKENIZE && has(body, "messages")))
        return prompts_chat(body, call->model, &call->params, &call->prompts, &call->error);
    if (call->kind == API_GENERATE && !call->params.plain_events)
        key = has(body, "input_ids") ? "input_ids" : "text";
    if (call->kind == API_DETOKENIZE)
        key = "tokens";
    return prompts_completions(body, key, call->model, &call->params, &call->arena, &call->prompts,
                               &call->error);
}

/* A schema may come as JSON or as a string of it. */
static enum status make_schema(struct call *call, const json_t *schema)
{
    struct err *err = &call->error.err;
    json_t *parsed = NULL;
    if (json_is_string(schema))
        TRY(json_parse(json_string_value(schema), json_string_length(schema), &parsed, err));
    enum status status = grammar_from_schema(parsed ? parsed : schema, &call->automaton, err);
    json_decref(parsed);
    return status;
}

static enum status make_grammar(struct call *call)
{
    const struct params *params = &call->params;
    struct err *err = &call->error.err;
    const json_t *of = params->grammar_of;
    enum status status = STATUS_OK;
    switch (params->grammar) {
    case GRAMMAR_NONE:
        break;
    case GRAMMAR_OBJECT:
        status = grammar_from_schema(NULL, &call->automaton, err);
        break;
    case GRAMMAR_SCHEMA:
        status = make_schema(call, of);
        break;
    case GRAMMAR_REGEX:
        if (!json_is_string(of))
            status = err_set(err, STATUS_INVALID, "the expression must be a string");
        else
            status = grammar_from_regex((struct str){json_string_value(of), json_string_length(of)},
                                        &call->automaton, err);
        break;
    case GRAMMAR_TOOLS:
        status = tools_grammar(params, call->model, &call->automaton, err);
        break;
    case GRAMMAR_WITHOUT:
        status = grammar_without(of, &call->automaton, err);
        break;
    case GRAMMAR_IDS:
        status = grammar_from_ids(of, call->model->vocab_size, &call->automaton, err);
        break;
    case GRAMMAR_CHOICE:
        status = grammar_from_choices(of, &call->automaton, err);
        break;
    }
    if (status == STATUS_OK)
        return STATUS_OK;
    struct err cause = *err;
    return api_fail(&call->error, status, params->grammar_param, "%s: %s", params->grammar_param,
                    cause.text);
}

static enum status prepare(struct call *call, json_t *body)
{
    TRY(find_model(call, body));
    uint64_t seed = call->params.sampling.seed;
    call->params.sampling = call->model->defaults;
    call->params.sampling.seed = seed;
    call->params.sampling.repetition_penalty = 0; /* which no client may ask for */
    call->params.ignore_unknown = call->router->config.unknown_fields == UNKNOWN_IGNORED;
    TRY(params_parse(body, call->kind, &call->arena, &call->params, &call->error));
    TRY(tools_allow(body, &call->params, &call->error));
    call->assumed_penalty = call->params.sampling.repetition_penalty == 0;
    if (call->assumed_penalty)
        call->params.sampling.repetition_penalty = call->model->defaults.repetition_penalty;
    for (uint32_t i = 0; i < call->params.bias_count; i++)
        if (call->params.bias[i].id >= call->model->vocab_size)
            return api_fail(&call->error, STATUS_INVALID, "logit_bias",
                            "logit_bias names %u, which is no token id of %s",
                            call->params.bias[i].id, call->model->name);
    return make_prompts(call, body); /* checks the tools */
}

static void drop_json(struct call *call)
{
    json_decref(call->json);
    call->json = NULL;
    if (call->body.len >= TRIM_BYTES)
        malloc_trim(0);
}

bool call_prepare(struct call *call)
{
    call->prepared = parse_body(call->body, &call->json, &call->error);
    if (call->prepared == STATUS_OK)
        call->prepared = prepare(call, call->json);
    if (call->prepared == STATUS_OK && call->params.grammar != GRAMMAR_NONE)
        return false;
    drop_json(call);
    return true;
}

void call_compile(struct call *call)
{
    call->prepared = make_grammar(call);
    drop_json(call);
}
