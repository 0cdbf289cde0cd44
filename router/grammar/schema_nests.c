/* schema_nests - arrays and objects. */
#include "router/grammar/schema.h"

#include <string.h>

/* ---- arrays ---- */

/* Through a rule, so that the item is spelled out once for all its places. */
static enum status put_item(struct schema *s, const json_t *item, uint32_t *rule, uint32_t from,
                            uint32_t *to)
{
    if (*rule == NFA_NONE) {
        uint32_t end;
        *rule = nfa_rule(s->nfa);
        TRY(schema_put(s, item, s->nfa->rules[*rule].start, &end));
        nfa_empty(s->nfa, end, s->nfa->rules[*rule].end);
    }
    *to = nfa_call(s->nfa, from, *rule);
    return STATUS_OK;
}

enum status schema_put_array(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to)
{
    const json_t *items = json_object_get(schema, "items");
    const json_t *prefix = json_object_get(schema, "prefixItems");
    uint32_t min = 0, max = UINT32_MAX, fixed = (uint32_t)json_array_size(prefix);
    struct nfa *nfa = s->nfa;
    TRY(schema_count(s, schema, "minItems", true, &min));
    TRY(schema_count(s, schema, "maxItems", false, &max));
    if (json_is_array(items))
        return schema_refuse(s, "items", "as a list; prefixItems is");
    if (json_is_false(items) || (fixed > 0 && !items))
        max = MIN(max, fixed);
    if (max < min)
        return schema_refuse(s, "maxItems", "it is below minItems");
    uint32_t at = json_space(&s->rules, json_char(&s->rules, from, '[')), item_rule = NFA_NONE;
    uint32_t close = nfa_state(nfa), loop_from = MAX(min, fixed);
    if (min == 0)
        nfa_empty(nfa, at, close);
    for (uint32_t i = 0; i < max && !nfa->too_large; i++) {
        bool loops = max == UINT32_MAX && i >= loop_from;
        const json_t *item = i < fixed ? json_array_get(prefix, i) : items;
        uint32_t start = nfa_state(nfa), end;
        nfa_empty(nfa, i > 0 ? json_mark(&s->rules, at, ',') : at, start);
        if (s->rules.compact && i >= fixed)
            TRY(put_item(s, item, &item_rule, start, &end));
        else
            TRY(schema_put(s, item, start, &end));
        if (i + 1 >= min)
            nfa_empty(nfa, json_space(&s->rules, end), close);
        if (loops) {
            nfa_empty(nfa, json_mark(&s->rules, end, ','), start);
            break;
        }
        at = end;
    }
    *to = json_char(&s->rules, close, ']');
    return STATUS_OK;
}

/* ---- objects ---- */

bool schema_requires(const json_t *required, const char *name)
{
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *item = json_string_value(json_array_get(required, i));
        if (item && strcmp(item, name) == 0)
            return true;
    }
    return false;
}

/* Where the next member's key may begin: as the first one, or behind another. */
struct members {
    uint32_t first, more; /* NFA_NONE: not possible */
};

static enum status put_member(struct schema *s, const char *name, const json_t *schema, bool needed,
                              struct members *at)
{
    struct nfa *nfa = s->nfa;
    uint32_t key = nfa_state(nfa), end, more = nfa_state(nfa);
    if (at->first != NFA_NONE)
        nfa_empty(nfa, at->first, key);
    if (at->more != NFA_NONE)
        nfa_empty(nfa, json_mark(&s->rules, at->more, ','), key);
    json_t *text = json_string(name);
    uint32_t value = json_mark(&s->rules, json_literal(&s->rules, key, text), ':');
    json_decref(text);
    TRY(schema_put(s, schema, value, &end));
    nfa_empty(nfa, end, more);
    if (!needed && at->more != NFA_NONE)
        nfa_empty(nfa, at->more, more);
    at->more = more;
    if (needed)
        at->first = NFA_NONE;
    return STATUS_OK;
}

/* Any number of keys with values of one schema. */
static enum status put_map(struct schema *s, const json_t *values, uint32_t open, uint32_t *to)
{
    struct nfa *nfa = s->nfa;
    uint32_t key = nfa_state(nfa), close = nfa_state(nfa), end;
    nfa_empty(nfa, open, key);
    nfa_empty(nfa, open, close);
    uint32_t at = json_mark(&s->rules, json_string_of(&s->rules, key, 0, UINT32_MAX), ':');
    TRY(schema_put(s, values, at, &end));
    nfa_empty(nfa, json_mark(&s->rules, end, ','), key);
    nfa_empty(nfa, json_space(&s->rules, end), close);
    *to = json_char(&s->rules, close, '}');
    return STATUS_OK;
}

/* Properties come in the schema's order; others than the declared ones are not written. */
enum status schema_put_object(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to)
{
    const json_t *properties = json_object_get(schema, "properties"), *property;
    const json_t *required = json_object_get(schema, "required");
    const json_t *others = json_object_get(schema, "additionalProperties");
    const char *name;
    if (properties && !json_is_object(properties))
        return schema_invalid(s, "properties", "must be an object");
    uint32_t open = json_space(&s->rules, json_char(&s->rules, from, '{'));
    if (json_object_size(properties) == 0 && json_array_size(required) == 0 &&
        !json_is_false(others))
        return put_map(s, others, open, to);
    struct members at = {open, NFA_NONE};
    json_object_foreach((json_t *)(uintptr_t)properties, name, property)
        TRY(put_member(s, name, property, schema_requires(required, name), &at));
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *needed = json_string_value(json_array_get(required, i));
        if (!needed)
            return schema_invalid(s, "required", "must be a list of strings");
        if (json_object_get(properties, needed))
            continue;
        if (json_is_false(others))
            return schema_refuse(s, "required", "it names what additionalProperties forbids");
        TRY(put_member(s, needed, others, true, &at));
    }
    uint32_t close = nfa_state(s->nfa);
    if (at.first != NFA_NONE)
        nfa_empty(s->nfa, at.first, close);
    if (at.more != NFA_NONE)
        nfa_empty(s->nfa, json_space(&s->rules, at.more), close);
    *to = json_char(&s->rules, close, '}');
    return STATUS_OK;
}
