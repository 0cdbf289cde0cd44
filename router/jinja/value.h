/* value - what a template computes with: Python's values, as far as templates can see them.
 *
 *   struct val  [ type | payload ]       16 bytes, passed by value
 *                        ├─ b, i, f
 *                        ├─ text ─► {data, len, chars}        immutable UTF-8
 *                        ├─ seq ──► {kind, items[count]}      list, tuple, view, iterator, range
 *                        ├─ dict ─► entries in order [key|value]…  + hash index when it is large
 *                        └─ func, loop, undef, object
 *
 * Everything lives in the arena of one render (or, for constants, of the template, where nothing
 * is ever written). JSON text is borrowed from jansson. One thread a render.
 */
#ifndef MSGL_ROUTER_JINJA_VALUE_H
#define MSGL_ROUTER_JINJA_VALUE_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/status.h"

struct interp;

enum val_type {
    VAL_ABSENT, /* an argument that was not given; never visible to a template */
    VAL_UNDEFINED,
    VAL_NONE,
    VAL_BOOL,
    VAL_INT,
    VAL_FLOAT,
    VAL_STRING,
    VAL_SEQ,
    VAL_DICT,
    VAL_NAMESPACE,
    VAL_FUNC,
    VAL_LOOP,
    VAL_OBJECT, /* cycler, joiner */
};

enum seq_kind {
    SEQ_LIST,
    SEQ_TUPLE,
    SEQ_RANGE,
    SEQ_KEYS,
    SEQ_VALUES,
    SEQ_ITEMS,
    SEQ_ITERATOR, /* generator: always true, no length, no index, walked once */
};

#define CHARS_UNKNOWN SIZE_MAX
struct text {
    const char *data;
    size_t len;
    size_t chars; /* code points; CHARS_UNKNOWN until asked (never so in a template's arena) */
};

struct undef {
    const char *message; /* a whole sentence, or NULL: then name and owner say it */
    struct str name;
    const char *owner; /* type name of the value that lacks `name`, or NULL for a variable */
    bool insecure;     /* the sandbox hides it: undefined, with another error text */
};

struct seq;
struct dict;
struct func;
struct loop;
struct object;

struct val {
    uint8_t type;
    bool markup; /* STRING: already escaped (`safe`) */
    union {
        bool b;
        int64_t i;
        double f;
        struct text *text;
        struct seq *seq;
        struct dict *dict; /* DICT and NAMESPACE */
        struct func *func;
        struct loop *loop;
        struct object *object;
        const struct undef *undef;
    };
};

struct seq {
    enum seq_kind kind;
    struct val *items;
    size_t count, cap;
    size_t pos;                /* ITERATOR: items before it are used up */
    const char *failure;       /* ITERATOR: making the next item fails with this text, or NULL */
    bool group;                /* TUPLE of groupby: also .grouper and .list */
    int64_t start, stop, step; /* RANGE */
};

struct dict_entry {
    struct val key, value;
    uint64_t hash;
};
struct dict {
    struct dict_entry *entries;
    size_t count, cap;
    uint32_t *index; /* entry + 1, 0 = free; NULL while count is small */
    size_t index_cap;
};

#define VAL_DEPTH_MAX 500 /* nesting of JSON in, of repr, tojson and comparison */

static inline struct val val_none(void)
{
    return (struct val){.type = VAL_NONE};
}
static inline struct val val_bool(bool b)
{
    return (struct val){.type = VAL_BOOL, .b = b};
}
static inline struct val val_int(int64_t i)
{
    return (struct val){.type = VAL_INT, .i = i};
}
static inline struct val val_float(double f)
{
    return (struct val){.type = VAL_FLOAT, .f = f};
}
static inline struct val val_seq(struct seq *seq)
{
    return (struct val){.type = VAL_SEQ, .seq = seq};
}
static inline struct val val_dict(struct dict *dict)
{
    return (struct val){.type = VAL_DICT, .dict = dict};
}
static inline struct val val_text(struct text *text)
{
    return (struct val){.type = VAL_STRING, .text = text};
}
static inline bool val_is_seq(struct val v, enum seq_kind kind)
{
    return v.type == VAL_SEQ && v.seq->kind == kind;
}
/* bool counts as int, as in Python. */
static inline bool val_is_int(struct val v)
{
    return v.type == VAL_INT || v.type == VAL_BOOL;
}
static inline bool val_is_number(struct val v)
{
    return val_is_int(v) || v.type == VAL_FLOAT;
}
static inline int64_t val_as_int(struct val v)
{
    return v.type == VAL_BOOL ? v.b : v.i;
}
static inline double val_as_double(struct val v)
{
    return v.type == VAL_FLOAT ? v.f : (double)val_as_int(v);
}
static inline struct str val_str_of(struct val v)
{
    return (struct str){v.text->data, v.text->len};
}

/* A string over bytes that outlive the value (not copied). */
struct val val_borrow(struct arena *arena, const char *data, size_t len);
struct val val_cstr(struct arena *arena, const char *text);
/* A copy; checks the render's memory limit. */
enum status MUST_USE val_copy(struct interp *in, const char *data, size_t len, struct val *out);
size_t val_chars(struct val string); /* length in code points */

/* Undefined named `name`; owner NULL for a variable. `name` must outlive the render. */
struct val val_undefined(struct interp *in, struct str name, const char *owner);
struct val val_undefined_because(struct interp *in, const char *message);

struct seq *seq_new(struct interp *in, enum seq_kind kind, size_t cap);
enum status MUST_USE seq_push(struct interp *in, struct seq *seq, struct val item);

struct dict *dict_new(struct interp *in, size_t cap);
/* INVALID for an unhashable key. */
enum status MUST_USE dict_put(struct interp *in, struct dict *dict, struct val key,
                              struct val value);
enum status MUST_USE dict_get(struct interp *in, const struct dict *dict, struct val key,
                              struct val *out, bool *found);
bool dict_get_str(const struct dict *dict, struct str key, struct val *out);

const char *val_type_name(struct val v); /* Python's: "str", "dict", ... */
bool val_truth(struct val v);
/* INVALID for values without a length. */
enum status MUST_USE val_length(struct interp *in, struct val v, size_t *out);
bool val_is_iterable(struct val v);
/* The items that a walk over v sees; uses up an iterator. */
enum status MUST_USE val_iterate(struct interp *in, struct val v, struct seq **out);

/* compare.c */
enum status MUST_USE val_hash(struct interp *in, struct val v, uint64_t *out);
enum status MUST_USE val_equal(struct interp *in, struct val a, struct val b, bool *out);
enum compare_op {
    COMPARE_EQ,
    COMPARE_NE,
    COMPARE_LT,
    COMPARE_LE,
    COMPARE_GT,
    COMPARE_GE,
    COMPARE_IN,
    COMPARE_NOT_IN
};
enum status MUST_USE val_compare(struct interp *in, enum compare_op op, struct val a, struct val b,
                                 bool *out);

/* repr.c: append to the render's output. str() of an undefined value is empty. */
enum status MUST_USE emit_str(struct interp *in, struct val v);
enum status MUST_USE emit_repr(struct interp *in, struct val v);
enum status MUST_USE val_to_str(struct interp *in, struct val v, struct val *out);
size_t format_double(double f, char out[40]); /* as Python's repr */

/* tojson.c */
struct json_style {
    struct str item_sep, key_sep;
    struct str indent; /* one level; used when `pretty` */
    bool pretty, ascii_only, sort_keys;
};
enum status MUST_USE emit_json(struct interp *in, struct val v, const struct json_style *style);

/* number.c */
enum binary_op {
    BINARY_ADD,
    BINARY_SUB,
    BINARY_MUL,
    BINARY_DIV,
    BINARY_FLOORDIV,
    BINARY_MOD,
    BINARY_POW
};
enum status MUST_USE val_binary(struct interp *in, enum binary_op op, struct val a, struct val b,
                                struct val *out);
enum status MUST_USE val_negate(struct interp *in, struct val v, struct val *out);
enum status MUST_USE double_to_int(struct interp *in, double f, struct val *out);

/* attr.c: undefined values, not errors, for what is missing. */
enum status MUST_USE val_attr(struct interp *in, struct val v, struct str name, struct val *out);
enum status MUST_USE val_item(struct interp *in, struct val v, struct val key, struct val *out);
struct slice {
    bool has_start, has_stop, has_step;
    int64_t start, stop, step;
};
enum status MUST_USE val_slice(struct interp *in, struct val v, const struct slice *slice,
                               struct val *out);

#endif
