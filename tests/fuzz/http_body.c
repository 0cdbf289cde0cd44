/* A request's body as call_prepare() reads it: JSON, parameters, prompt, tools, form of the answer.
 * Input: kind of call, flags of the model, the body. */
#include "common/automaton.h"
#include "router/api/tools.h"
#include "router/call.h"
#include "tests/fuzz/folder.h"

#define KINDS 5

/* One model of every tool format, loaded once. */
static struct router *router(void)
{
    static struct router made;
    struct config_list names = {0}, wanted = {.items = {scratch_folder()}, .count = 1};
    struct err err = {.text = ""};
    if (made.models.count > 0)
        return &made;
    folder_write();
    CHECK(models_load(&wanted, &names, &made.models, &err) == STATUS_OK);
    tools_probe(&made.models.items[0], 0, true);
    CHECK(made.models.items[0].takes_tools && made.models.items[0].tools == TOOLS_HERMES);
    CHECK(made.models.items[0].thinks);
    return &made;
}

static void check_params(const struct params *params)
{
    const struct sampling *s = &params->sampling;
    CHECK(s->temperature >= 0 && s->top_p > 0 && s->top_p <= 1 && s->min_p >= 0 && s->min_p <= 1);
    CHECK(params->n >= 1 && params->stop_count <= STOP_STRINGS_MAX);
    CHECK(params->stop_id_count <= PROTO_STOP_IDS_MAX && params->bias_count <= SAMPLING_BIAS_MAX);
    for (uint32_t i = 0; i < params->stop_count; i++)
        CHECK(params->stops[i].len >= 1 && params->stops[i].len <= STOP_BYTES_MAX);
}

static void check(const struct call *call)
{
    struct automaton automaton;
    struct err err;
    CHECK(call->model && call->prompts.count >= 1 && call->prompts.count <= PROMPTS_MAX);
    check_params(&call->params);
    for (uint32_t i = 0; i < call->prompts.count; i++) {
        const struct token_list *tokens = &call->prompts.items[i].tokens;
        CHECK(tokens->count > 0 || call->kind >= API_TOKENIZE);
        for (size_t t = 0; t < tokens->count; t++)
            CHECK(tokens->ids[t] < call->model->vocab_size);
    }
    if (call->automaton.len > 0)
        CHECK(automaton_open(&automaton, (struct str){call->automaton.data, call->automaton.len},
                             &err) == STATUS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    static struct call call;
    memset(&call, 0, sizeof(call));
    call.router = router();
    call.kind = (enum api_kind)(input_byte(&in) % KINDS);
    uint8_t flags = input_byte(&in);
    struct model *model = &call.router->models.items[0];
    model->tools = (enum tool_format)(flags % 4);
    model->takes_tools = !(flags & 4);
    call.params.sampling.seed = 1;
    arena_init(&call.arena);
    call.body = input_rest(&in);
    if (!call_prepare(&call))
        call_compile(&call);
    if (call.prepared == STATUS_OK)
        check(&call);
    else
        CHECK(call.error.err.status == call.prepared && call.error.err.text[0]);
    prompts_release(&call.prompts);
    buf_release(&call.automaton);
    arena_release(&call.arena);
    return 0;
}
