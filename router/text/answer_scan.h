/* answer_scan - one call's JSON object, read before it is complete. */
#ifndef MSGL_ROUTER_TEXT_ANSWER_SCAN_H
#define MSGL_ROUTER_TEXT_ANSWER_SCAN_H

#include "common/buf.h"

enum scan_end { SCAN_MORE, SCAN_DONE, SCAN_BAD };

struct answer_scan {
    struct str name;      /* between its quotes, escapes as they are; empty: not known yet */
    struct str arguments; /* as much of the value of "arguments" or "parameters" as is there */
    size_t used;          /* DONE: bytes up to the object's end; BAD: up to where it went wrong */
};

/* Space, "[" and "," may come in front. BAD: this will never be an object. */
enum scan_end answer_scan(const char *text, size_t len, struct answer_scan *out);
/* The newer form of Mistral's: `name[ARGS]{…}`, `name[CALL_ID]id[ARGS]{…}`, `name{…}`. Its id is not kept. */
enum scan_end answer_scan_named(const char *text, size_t len, struct answer_scan *out);
/* It can be written in that form. */
bool answer_name_fits(struct str name);
/* A place inside a value that is not complete, so that a long one is read once and not again with each
 * token. Begin with at = value. */
struct answer_place {
    size_t value, at; /* offsets of the value and of what was not read yet */
    size_t depth;     /* brackets open */
    bool string;      /* inside quotes */
};
/* Reads on to the text's end; false when the value ends before it. */
bool answer_scan_on(const char *text, size_t len, struct answer_place *place);
/* Appends what a JSON string's inside says. */
void answer_unescape(struct str inside, struct buf *out);

#endif
