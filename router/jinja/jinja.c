/* Compiling, rendering, and JSON values as template values. */
#include "router/jinja/jinja.h"

#include <string.h>

#include "common/hash.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "router/jinja/interp.h"
#include "router/jinja/parser.h"
#include "router/jinja/text.h"

static uint32_t sym_slot(const struct jinja_template *tmpl, struct str name)
{
    uint32_t slot = (uint32_t)hash_bytes(name.data, name.len) & (tmpl->sym_index_cap - 1);

    while (tmpl->sym_index[slot] && !str_eq(tmpl->syms[tmpl->sym_index[slot] - 1], name))
        slot = (slot + 1) & (tmpl->sym_index_cap - 1);
    return slot;
}

uint32_t sym_find(const struct jinja_template *tmpl, struct str name)
{
    uint32_t found = tmpl->sym_index_cap ? tmpl->sym_index[sym_slot(tmpl, name)] : 0;

    return found ? found - 1 : SYM_NONE;
}

static void sym_grow(struct jinja_template *tmpl)
{
    uint32_t cap = MAX(tmpl->sym_cap * 2, 32u);
    struct str *syms = arena_array(&tmpl->arena, cap, sizeof(*syms));

    if (tmpl->sym_count)
        memcpy(syms, tmpl->syms, tmpl->sym_count * sizeof(*syms));
    tmpl->syms = syms;
    tmpl->sym_cap = cap;
    tmpl->sym_index_cap = cap * 2;
    tmpl->sym_index = arena_array(&tmpl->arena, tmpl->sym_index_cap, sizeof(*tmpl->sym_index));
    for (uint32_t i = 0; i < tmpl->sym_count; i++)
        tmpl->sym_index[sym_slot(tmpl, syms[i])] = i + 1;
}

uint32_t sym_intern(struct jinja_template *tmpl, struct str name)
{
    uint32_t found = sym_find(tmpl, name);

    if (found != SYM_NONE)
        return found;
    if (tmpl->sym_count == tmpl->sym_cap)
        sym_grow(tmpl);
    tmpl->syms[tmpl->sym_count] = name;
    tmpl->sym_index[sym_slot(tmpl, name)] = tmpl->sym_count + 1;
    return tmpl->sym_count++;
}

enum status jinja_compile(struct str source, struct jinja_template **out, struct err *err)
{
    struct jinja_template *tmpl;
    enum status status;

    *out = NULL;
    if (source.len > JINJA_SOURCE_BYTES_MAX)
        return err_set(err, STATUS_TOO_LARGE, "the chat template has %zu bytes, more than %u",
                       source.len, JINJA_SOURCE_BYTES_MAX);
    if (!utf8_valid(source.data, source.len))
        return err_set(err, STATUS_INVALID, "the chat template is not valid UTF-8");
    tmpl = mem_zalloc(sizeof(*tmpl));
    arena_init(&tmpl->arena);
    tmpl->sym_loop = sym_intern(tmpl, STR("loop"));
    tmpl->sym_caller = sym_intern(tmpl, STR("caller"));
    tmpl->sym_varargs = sym_intern(tmpl, STR("varargs"));
    tmpl->sym_kwargs = sym_intern(tmpl, STR("kwargs"));
    status = parser_run(tmpl, source, err);
    if (status == STATUS_OK)
        *out = tmpl;
    else
        jinja_free(tmpl);
    return status;
}

void jinja_free(struct jinja_template *tmpl)
{
    if (tmpl) {
        arena_release(&tmpl->arena);
        mem_free(tmpl);
    }
}

bool jinja_loops_over(const struct jinja_template *tmpl, const char *attribute)
{
    for (size_t i = 0; i < tmpl->loop_attr_count; i++)
        if (str_is(tmpl->loop_attrs[i], attribute))
            return true;
    return false;
}

bool jinja_mentions(const struct jinja_template *tmpl, const char *text)
{
    return text_find(tmpl->source, str_from(text), 0) != SIZE_MAX;
}

static enum status from_json(struct interp *in, const json_t *json, unsigned depth,
                             struct val *out);

static enum status from_array(struct interp *in, const json_t *json, unsigned depth,
                              struct val *out)
{
    size_t count = json_array_size(json);
    struct seq *seq;

    TRY(interp_room(in, count * sizeof(struct val)));
    seq = seq_new(in, SEQ_LIST, count);
    for (size_t i = 0; i < count; i++)
        TRY(from_json(in, json_array_get(json, i), depth + 1, &seq->items[i]));
    seq->count = count;
    *out = val_seq(seq);
    return STATUS_OK;
}

static enum status from_object(struct interp *in, const json_t *json, unsigned depth,
                               struct val *out)
{
    struct dict *dict = dict_new(in, json_object_size(json));
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)json, key, value) {
        struct val v;
        TRY(from_json(in, value, depth + 1, &v));
        TRY(dict_put(in, dict, val_cstr(&in->arena, key), v));
    }
    *out = val_dict(dict);
    return STATUS_OK;
}

/* Strings are borrowed: the JSON outlives the render. */
static enum status from_json(struct interp *in, const json_t *json, unsigned depth, struct val *out)
{
    if (depth > VAL_DEPTH_MAX)
        return err_set(in->err, STATUS_TOO_LARGE, "the request's JSON is nested too deeply");
    TRY(interp_room(in, 256));
    switch (json ? json_typeof(json) : JSON_NULL) {
    case JSON_OBJECT:
        return from_object(in, json, depth, out);
    case JSON_ARRAY:
        return from_array(in, json, depth, out);
    case JSON_STRING:
        *out = val_borrow(&in->arena, json_string_value(json), json_string_length(json));
        return STATUS_OK;
    case JSON_INTEGER:
        *out = val_int(json_integer_value(json));
        return STATUS_OK;
    case JSON_REAL:
        *out = val_float(json_real_value(json));
        return STATUS_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = val_bool(json_is_true(json));
        return STATUS_OK;
    default:
        *out = val_none();
        return STATUS_OK;
    }
}

enum status jinja_render(const struct jinja_template *tmpl, const struct jinja_var *vars,
                         size_t var_count, const struct jinja_limits *limits, struct buf *out,
                         struct err *err)
{
    static const struct jinja_limits standard = JINJA_LIMITS_DEFAULT;
    struct err own; /* errors are read back inside, so there is always one */
    struct interp in = {
        .tmpl = tmpl,
        .limits = limits ? limits : &standard,
        .out = out,
        .out_start = out->len,
        .err = err ? err : &own,
        .stack_base = (uintptr_t)__builtin_frame_address(0),
        .line = 1,
    };
    enum status status = STATUS_OK;

    arena_init(&in.arena);
    scope_push(&in);
    for (size_t i = 0; i < var_count; i++) {
        uint32_t sym = sym_find(tmpl, str_from(vars[i].name));
        struct val v;
        if (sym == SYM_NONE) /* the template does not mention it */
            continue;
        TRY_OUT(from_json(&in, vars[i].value, 0, &v));
        scope_set(&in, in.scope, sym, v);
    }
    TRY_OUT(exec_body(&in, tmpl->body));
out:
    if (status != STATUS_OK && out->data) {
        out->len = in.out_start;
        out->data[out->len] = 0;
    }
    arena_release(&in.arena);
    return status;
}
