#include "router/jinja/value.h"

#include <string.h>

#include "router/jinja/interp.h"
#include "router/jinja/text.h"

#define DICT_LINEAR_MAX 8 /* entries that are searched without an index */

struct val val_borrow(struct arena *arena, const char *data, size_t len)
{
    struct text *text = arena_alloc(arena, sizeof(*text));

    text->data = data;
    text->len = len;
    text->chars = CHARS_UNKNOWN;
    return val_text(text);
}

struct val val_cstr(struct arena *arena, const char *text)
{
    return val_borrow(arena, text, strlen(text));
}

enum status val_copy(struct interp *in, const char *data, size_t len, struct val *out)
{
    char *copy;

    TRY(interp_room(in, len + sizeof(struct text)));
    copy = arena_alloc(&in->arena, len + 1);
    if (len)
        memcpy(copy, data, len);
    copy[len] = 0;
    *out = val_borrow(&in->arena, copy, len);
    return STATUS_OK;
}

size_t val_chars(struct val string)
{
    struct text *text = string.text;

    if (text->chars == CHARS_UNKNOWN)
        text->chars = text_count(text->data, text->len);
    return text->chars;
}

struct val val_undefined(struct interp *in, struct str name, const char *owner)
{
    struct undef *undef = arena_zalloc(&in->arena, sizeof(*undef));

    undef->name = name;
    undef->owner = owner;
    return (struct val){.type = VAL_UNDEFINED, .undef = undef};
}

struct val val_undefined_because(struct interp *in, const char *message)
{
    struct undef *undef = arena_zalloc(&in->arena, sizeof(*undef));

    undef->message = message;
    return (struct val){.type = VAL_UNDEFINED, .undef = undef};
}

struct seq *seq_new(struct interp *in, enum seq_kind kind, size_t cap)
{
    struct seq *seq = arena_zalloc(&in->arena, sizeof(*seq));

    seq->kind = kind;
    seq->cap = cap;
    if (cap)
        seq->items = arena_alloc(&in->arena, cap * sizeof(*seq->items));
    return seq;
}

enum status seq_push(struct interp *in, struct seq *seq, struct val item)
{
    if (seq->count == seq->cap) {
        size_t cap = MAX(seq->cap * 2, (size_t)8);
        struct val *items;
        TRY(interp_room(in, cap * sizeof(*items)));
        items = arena_alloc(&in->arena, cap * sizeof(*items));
        if (seq->count)
            memcpy(items, seq->items, seq->count * sizeof(*items));
        seq->items = items;
        seq->cap = cap;
    }
    seq->items[seq->count++] = item;
    return STATUS_OK;
}

struct dict *dict_new(struct interp *in, size_t cap)
{
    struct dict *dict = arena_zalloc(&in->arena, sizeof(*dict));

    dict->cap = cap;
    if (cap)
        dict->entries = arena_alloc(&in->arena, cap * sizeof(*dict->entries));
    return dict;
}

static void index_add(struct dict *dict, size_t entry)
{
    size_t slot = dict->entries[entry].hash & (dict->index_cap - 1);

    while (dict->index[slot])
        slot = (slot + 1) & (dict->index_cap - 1);
    dict->index[slot] = (uint32_t)entry + 1;
}

static enum status dict_grow(struct interp *in, struct dict *dict)
{
    size_t cap = MAX(dict->cap * 2, (size_t)4);
    struct dict_entry *entries;

    TRY(interp_room(in, cap * (sizeof(*entries) + 2 * sizeof(uint32_t))));
    entries = arena_alloc(&in->arena, cap * sizeof(*entries));
    if (dict->count)
        memcpy(entries, dict->entries, dict->count * sizeof(*entries));
    dict->entries = entries;
    dict->cap = cap;
    return STATUS_OK;
}

static enum status dict_reindex(struct interp *in, struct dict *dict)
{
    if (dict->count < DICT_LINEAR_MAX || dict->count * 2 < dict->index_cap)
        return STATUS_OK;
    dict->index_cap = DICT_LINEAR_MAX * 4;
    while (dict->index_cap < dict->count * 4)
        dict->index_cap *= 2;
    TRY(interp_room(in, dict->index_cap * sizeof(*dict->index)));
    dict->index = arena_array(&in->arena, dict->index_cap, sizeof(*dict->index));
    for (size_t i = 0; i < dict->count; i++)
        index_add(dict, i);
    return STATUS_OK;
}

static enum status dict_find(struct interp *in, const struct dict *dict, struct val key,
                             uint64_t hash, struct dict_entry **out)
{
    size_t slot = dict->index ? hash & (dict->index_cap - 1) : 0;

    *out = NULL;
    for (size_t i = 0; dict->index ? dict->index[slot] != 0 : i < dict->count; i++) {
        struct dict_entry *entry = &dict->entries[dict->index ? dict->index[slot] - 1 : i];
        bool same = false;
        slot = dict->index ? (slot + 1) & (dict->index_cap - 1) : 0;
        if (entry->hash != hash)
            continue;
        TRY(val_equal(in, entry->key, key, &same));
        if (same) {
            *out = entry;
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

enum status dict_put(struct interp *in, struct dict *dict, struct val key, struct val value)
{
    struct dict_entry *entry;
    uint64_t hash;

    TRY(val_hash(in, key, &hash));
    TRY(dict_find(in, dict, key, hash, &entry));
    if (entry) {
        entry->value = value;
        return STATUS_OK;
    }
    if (dict->count == dict->cap)
        TRY(dict_grow(in, dict));
    dict->entries[dict->count++] = (struct dict_entry){key, value, hash};
    if (dict->index)
        index_add(dict, dict->count - 1);
    return dict_reindex(in, dict);
}

enum status dict_get(struct interp *in, const struct dict *dict, struct val key, struct val *out,
                     bool *found)
{
    struct dict_entry *entry;
    uint64_t hash;

    TRY(val_hash(in, key, &hash));
    TRY(dict_find(in, dict, key, hash, &entry));
    *found = entry != NULL;
    if (entry)
        *out = entry->value;
    return STATUS_OK;
}

bool dict_get_str(const struct dict *dict, struct str key, struct val *out)
{
    struct text text = {key.data, key.len, CHARS_UNKNOWN};
    struct dict_entry *entry;
    uint64_t hash;

    /* neither hashing nor comparing strings can fail */
    if (val_hash(NULL, val_text(&text), &hash) != STATUS_OK ||
        dict_find(NULL, dict, val_text(&text), hash, &entry) != STATUS_OK || !entry)
        return false;
    *out = entry->value;
    return true;
}

static const char *seq_type_name(const struct seq *seq)
{
    static const char *const names[] = {
        [SEQ_LIST] = "list",          [SEQ_TUPLE] = "tuple",        [SEQ_RANGE] = "range",
        [SEQ_KEYS] = "dict_keys",     [SEQ_VALUES] = "dict_values", [SEQ_ITEMS] = "dict_items",
        [SEQ_ITERATOR] = "generator",
    };
    return names[seq->kind];
}

const char *val_type_name(struct val v)
{
    static const char *const names[] = {
        [VAL_ABSENT] = "nothing",
        [VAL_UNDEFINED] = "Undefined",
        [VAL_NONE] = "NoneType",
        [VAL_BOOL] = "bool",
        [VAL_INT] = "int",
        [VAL_FLOAT] = "float",
        [VAL_STRING] = "str",
        [VAL_DICT] = "dict",
        [VAL_NAMESPACE] = "Namespace",
        [VAL_FUNC] = "function",
        [VAL_LOOP] = "LoopContext",
        [VAL_OBJECT] = "object",
    };

    if (v.type == VAL_SEQ)
        return seq_type_name(v.seq);
    if (v.type == VAL_STRING && v.markup)
        return "Markup";
    return names[v.type];
}

bool val_truth(struct val v)
{
    switch ((enum val_type)v.type) {
    case VAL_ABSENT:
    case VAL_UNDEFINED:
    case VAL_NONE:
        return false;
    case VAL_BOOL:
        return v.b;
    case VAL_INT:
        return v.i != 0;
    case VAL_FLOAT:
        return v.f != 0;
    case VAL_STRING:
        return v.text->len > 0;
    case VAL_SEQ:
        return v.seq->kind == SEQ_ITERATOR || v.seq->count > 0;
    case VAL_DICT:
        return v.dict->count > 0;
    case VAL_LOOP:
        return v.loop->items->count > 0;
    default:
        return true;
    }
}

enum status val_length(struct interp *in, struct val v, size_t *out)
{
    *out = 0;
    switch ((enum val_type)v.type) {
    case VAL_UNDEFINED:
        return STATUS_OK;
    case VAL_STRING:
        *out = val_chars(v);
        return STATUS_OK;
    case VAL_SEQ:
        if (v.seq->kind == SEQ_ITERATOR)
            break;
        *out = v.seq->count;
        return STATUS_OK;
    case VAL_DICT:
        *out = v.dict->count;
        return STATUS_OK;
    case VAL_LOOP:
        TRY(loop_fill(in, v.loop, SIZE_MAX));
        *out = v.loop->items->count;
        return STATUS_OK;
    default:
        break;
    }
    return interp_fail(in, "object of type '%s' has no len()", val_type_name(v));
}

bool val_is_iterable(struct val v)
{
    return v.type == VAL_UNDEFINED || v.type == VAL_STRING || v.type == VAL_SEQ ||
           v.type == VAL_DICT || v.type == VAL_LOOP;
}

static enum status iterate_text(struct interp *in, struct val v, struct seq *seq)
{
    struct str s = val_str_of(v);

    TRY(interp_step(in, s.len));
    TRY(interp_room(in, val_chars(v) * (sizeof(struct text) + sizeof(struct val) + 16)));
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        int n = text_next(s.data + i, s.len - i, &cp);
        struct val c = val_borrow(&in->arena, s.data + i, (size_t)n);
        TRY(seq_push(in, seq, c));
        i += (size_t)n;
    }
    return STATUS_OK;
}

static enum status iterate_seq(struct interp *in, struct seq *from, struct seq **out)
{
    struct seq *seq;

    if (from->kind != SEQ_ITERATOR) {
        *out = from;
        return STATUS_OK;
    }
    if (from->failure)
        return err_set(in->err, STATUS_INVALID, "%s", from->failure);
    seq = seq_new(in, SEQ_ITERATOR, 0);
    seq->items = from->items + from->pos;
    seq->count = seq->cap = from->count - from->pos;
    from->pos = from->count;
    *out = seq;
    return STATUS_OK;
}

enum status val_iterate(struct interp *in, struct val v, struct seq **out)
{
    *out = NULL;
    if (v.type == VAL_SEQ)
        return iterate_seq(in, v.seq, out);
    if (!val_is_iterable(v))
        return interp_fail(in, "'%s' object is not iterable", val_type_name(v));
    if (v.type == VAL_LOOP)
        return interp_fail(in, "iterating over 'loop' is not supported");
    *out = seq_new(in, SEQ_LIST, v.type == VAL_DICT ? v.dict->count : 0);
    if (v.type == VAL_STRING)
        return iterate_text(in, v, *out);
    for (size_t i = 0; v.type == VAL_DICT && i < v.dict->count; i++)
        TRY(seq_push(in, *out, v.dict->entries[i].key));
    return STATUS_OK;
}
