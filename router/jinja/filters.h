/* filters - the tables of builtins, one for each file that defines some. */
#ifndef MSGL_ROUTER_JINJA_FILTERS_H
#define MSGL_ROUTER_JINJA_FILTERS_H

#include "router/jinja/interp.h"

extern const struct builtin filters_text[], filters_seq[], filters_num[], filters_pick[];
extern const size_t filters_text_count, filters_seq_count, filters_num_count, filters_pick_count;

/* Was the argument given, and not as None? */
static inline bool given(struct val v)
{
    return v.type != VAL_ABSENT && v.type != VAL_NONE;
}

/* Turns strings to lower case, leaves the rest: how sort, unique, min, max fold case. */
enum status MUST_USE fold_case(struct interp *in, struct val v, struct val *out);
/* Stable merge sort of `values` by `keys`, both of them moved. */
enum status MUST_USE sort_by(struct interp *in, struct seq *values, struct seq *keys, bool reverse);

/* Text operations that filters and methods share; all append nothing, all make new values. */
enum text_case {
    TEXT_UPPER,
    TEXT_LOWER,
    TEXT_CAPITALIZE,
    TEXT_TITLE,
    TEXT_SWAP,
    TEXT_FIRST_UPPER, /* s[0].upper() + s[1:].lower() */
};
enum status MUST_USE text_change_case(struct interp *in, struct val v, enum text_case how,
                                      struct val *out);
enum status MUST_USE text_replace(struct interp *in, struct val v, struct str old, struct str with,
                                  int64_t count, struct val *out);
/* `chars` ABSENT or None: white space. */
enum status MUST_USE text_trim(struct interp *in, struct val v, struct val chars, bool left,
                               bool right, struct val *out);
enum status MUST_USE text_split_lines(struct interp *in, struct val v, bool keep_ends,
                                      struct seq **out);
enum status MUST_USE text_join(struct interp *in, struct str sep, struct val items, bool strict,
                               struct val *out);
enum status MUST_USE text_pad(struct interp *in, struct val v, int64_t width, uint32_t fill,
                              char align, struct val *out);

#endif
