/* Grammars of texts that are no JSON: an expression, one of some choices. */
#include "router/grammar/grammar.h"
#include "router/grammar/grammar_regex.h"

enum status grammar_from_regex(struct str text, struct buf *out, struct err *err)
{
    struct nfa nfa = {0};
    struct arena arena;
    struct regex regex;
    arena_init(&arena);
    enum status status = regex_parse(text, &arena, &regex, err);
    if (status == STATUS_OK) {
        uint32_t rule = nfa_rule(&nfa);
        uint32_t end = regex_put(&nfa, nfa.rules[rule].start, regex.root, false);
        nfa_empty(&nfa, end, nfa.rules[rule].end);
        status = nfa_compile(&nfa, out, err);
        if (status != STATUS_OK)
            status = err_prefix(err, status, "the expression");
    }
    nfa_release(&nfa);
    arena_release(&arena);
    return status;
}

enum status grammar_from_choices(const json_t *choices, struct buf *out, struct err *err)
{
    struct nfa nfa = {0};
    uint32_t rule = nfa_rule(&nfa);
    enum status status = STATUS_OK;
    if (!json_is_array(choices) || json_array_size(choices) == 0)
        TRY_OUT(err_set(err, STATUS_INVALID, "the choices must be a list of strings"));
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *choice = json_array_get(choices, i);
        if (!json_is_string(choice) || json_string_length(choice) == 0)
            TRY_OUT(err_set(err, STATUS_INVALID, "a choice must be a string that is not empty"));
        uint32_t end = nfa_text(&nfa, nfa.rules[rule].start, json_string_value(choice),
                                json_string_length(choice));
        nfa_empty(&nfa, end, nfa.rules[rule].end);
    }
    status = nfa_compile(&nfa, out, err);
out:
    nfa_release(&nfa);
    return status;
}
