/* schema_choices - references, and one of several. */
#include "router/grammar/schema.h"

#include <stdlib.h>
#include <string.h>

/* ---- references ---- */

/* "#", "#/$defs/Name"; NULL when there is nothing. */
static const json_t *resolve(const struct schema *s, const char *pointer)
{
    const json_t *at = s->root;
    if (pointer[0] != '#')
        return NULL;
    for (pointer++; *pointer == '/' && at;) {
        char name[256];
        size_t len = 0;
        for (pointer++; *pointer && *pointer != '/' && len + 1 < sizeof(name); pointer++) {
            char c = *pointer;
            if (c == '~' && (pointer[1] == '0' || pointer[1] == '1'))
                c = *++pointer == '0' ? '~' : '/';
            name[len++] = c;
        }
        name[len] = '\0';
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(name, NULL, 10))
                               : json_object_get(at, name);
    }
    return *pointer ? NULL : at;
}

/* Whether `target` is reached again from within; `budget` bounds the walk. */
static bool reaches(const struct schema *s, const json_t *from, const json_t *target,
                    uint32_t *budget)
{
    const char *key;
    json_t *value;
    if (*budget == 0)
        return true;
    --*budget;
    if (json_is_array(from)) {
        for (size_t i = 0; i < json_array_size(from); i++)
            if (reaches(s, json_array_get(from, i), target, budget))
                return true;
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)from, key, value) {
        if (strcmp(key, "$defs") == 0 || strcmp(key, "definitions") == 0)
            continue;
        const json_t *next = value;
        if (strcmp(key, "$ref") == 0 && json_is_string(value))
            next = resolve(s, json_string_value(value));
        if (next == target || reaches(s, next, target, budget))
            return true;
    }
    return false;
}

enum status schema_put_reference(struct schema *s, const char *pointer, uint32_t from, uint32_t *to)
{
    const json_t *target = resolve(s, pointer);
    uint32_t i = 0, budget = 20000;
    if (!target)
        return schema_refuse(s, "$ref",
                             pointer[0] == '#' ? "there is nothing there" : "outside the schema");
    while (i < s->ref_count && s->refs[i].target != target)
        i++;
    if (i == s->ref_count) {
        if (s->ref_count == SCHEMA_REFS_MAX)
            return schema_refuse(s, "$ref", "more than 64 of them");
        bool nests = reaches(s, target, target, &budget);
        s->refs[s->ref_count++] =
            (struct schema_reference){target, nests ? nfa_rule(s->nfa) : NFA_NONE, false};
    }
    struct schema_reference *ref = &s->refs[i];
    if (ref->rule == NFA_NONE)
        return schema_put(s, target, from, to);
    if (!ref->done) {
        uint32_t end;
        ref->done = true; /* before its body, which names it */
        TRY(schema_put(s, target, s->nfa->rules[ref->rule].start, &end));
        nfa_empty(s->nfa, end, s->nfa->rules[ref->rule].end);
    }
    *to = nfa_call(s->nfa, from, ref->rule);
    return STATUS_OK;
}

/* ---- alternatives ---- */

enum status schema_put_each(struct schema *s, const json_t *list, const char *keyword,
                            uint32_t from, uint32_t *to)
{
    if (!json_is_array(list) || json_array_size(list) == 0)
        return schema_invalid(s, keyword, "must be a list that is not empty");
    *to = nfa_state(s->nfa);
    for (size_t i = 0; i < json_array_size(list); i++) {
        uint32_t end;
        TRY(schema_put(s, json_array_get(list, i), from, &end));
        nfa_empty(s->nfa, end, *to);
    }
    return STATUS_OK;
}

static const json_t *followed(const struct schema *s, const json_t *schema)
{
    const char *pointer = json_string_value(json_object_get(schema, "$ref"));
    return pointer ? resolve(s, pointer) : schema;
}

/* No text is valid for both: other types, or another constant in a property that both need. */
static bool disjoint(const struct schema *s, const json_t *a, const json_t *b)
{
    a = followed(s, a), b = followed(s, b);
    const char *type_a = json_string_value(json_object_get(a, "type"));
    const char *type_b = json_string_value(json_object_get(b, "type")), *name;
    json_t *property;
    const json_t *const_a = json_object_get(a, "const"), *const_b = json_object_get(b, "const");
    if (const_a && const_b)
        return !json_equal(const_a, const_b);
    if (!type_a || !type_b)
        return false;
    if (strcmp(type_a, type_b) != 0) {
        bool numbers = (strcmp(type_a, "integer") == 0 && strcmp(type_b, "number") == 0) ||
                       (strcmp(type_b, "integer") == 0 && strcmp(type_a, "number") == 0);
        return !numbers;
    }
    json_object_foreach(json_object_get(a, "properties"), name, property) {
        const json_t *other = json_object_get(json_object_get(b, "properties"), name);
        const json_t *mine = json_object_get(property, "const"),
                     *theirs = json_object_get(other, "const");
        if (mine && theirs && !json_equal(mine, theirs) &&
            schema_requires(json_object_get(a, "required"), name) &&
            schema_requires(json_object_get(b, "required"), name))
            return true;
    }
    return false;
}

enum status schema_put_one_of(struct schema *s, const json_t *list, uint32_t from, uint32_t *to)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        for (size_t k = 0; k < i; k++)
            if (!disjoint(s, json_array_get(list, i), json_array_get(list, k)))
                return schema_refuse(s, "oneOf", "its alternatives overlap; anyOf is");
    return schema_put_each(s, list, "oneOf", from, to);
}

enum status schema_put_values(struct schema *s, const json_t *list, uint32_t from, uint32_t *to)
{
    if (!json_is_array(list) || json_array_size(list) == 0)
        return schema_invalid(s, "enum", "must be a list that is not empty");
    *to = nfa_state(s->nfa);
    for (size_t i = 0; i < json_array_size(list); i++)
        nfa_empty(s->nfa, json_literal(&s->rules, from, json_array_get(list, i)), *to);
    return STATUS_OK;
}
