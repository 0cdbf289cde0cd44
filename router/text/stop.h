/* stop - finds `stop` strings in a choice's text as it grows, across token borders.
 *
 *   text so far:  ......emitted......|..held..|      held = the longest end of the text that may
 *                                                    still become a stop string
 *
 * The match that completes first wins; of those that end together, the longest. So the result does
 * not depend on how the text was cut into pieces. Linear: one automaton (Knuth, Morris, Pratt 1977)
 * for each string. Loop thread.
 */
#ifndef MSGL_ROUTER_TEXT_STOP_H
#define MSGL_ROUTER_TEXT_STOP_H

#include "common/buf.h"

#define STOP_STRINGS_MAX 16
#define STOP_BYTES_MAX   4096 /* of one string */

struct stop_string;
struct stop { /* stop_init; release */
    struct stop_string *strings;
    size_t count;
    bool include; /* the stop string itself belongs to the text */
    bool hit;
    struct buf held;
};

/* Strings are copied; each has 1..STOP_BYTES_MAX bytes. */
void stop_init(struct stop *stop, const struct str *strings, size_t count, bool include);

/* Appends the text that has become certain. Returns true once a stop string is complete: everything
 * after it is dropped, now and later. */
bool stop_push(struct stop *stop, const char *text, size_t len, struct buf *out);

/* The end: what is held was no stop string after all. */
void stop_finish(struct stop *stop, struct buf *out);
void stop_release(struct stop *stop);

#endif
