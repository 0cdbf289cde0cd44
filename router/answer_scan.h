/* answer_scan - one call's JSON object, read before it is complete. */
#ifndef MSGL_ROUTER_ANSWER_SCAN_H
#define MSGL_ROUTER_ANSWER_SCAN_H

#include "common/buf.h"

enum scan_end { SCAN_MORE, SCAN_DONE, SCAN_BAD };

struct answer_scan {
    struct str name;      /* between its quotes, escapes as they are; empty: not known yet */
    struct str arguments; /* as much of the value of "arguments" or "parameters" as is there */
    size_t used;          /* DONE: bytes up to the object's end; BAD: up to where it went wrong */
};

/* Space, "[" and "," may come in front. BAD: this will never be an object. */
enum scan_end answer_scan(const char *text, size_t len, struct answer_scan *out);
/* Appends what a JSON string's inside says. */
void answer_unescape(struct str inside, struct buf *out);

#endif
