/* codec - struct frame to and from bytes: a msgpack map with short keys (see PROTOCOL.md).
 *
 * Whatever comes off the wire is hostile until frame_decode() has said STATUS_OK: counts are
 * checked against the bytes that are left before anything is allocated, lengths are exact, numbers
 * are in range, unknown keys are skipped, duplicate or missing required keys are CORRUPT.
 */
#ifndef MSGL_PROTO_CODEC_H
#define MSGL_PROTO_CODEC_H

#include "common/arena.h"
#include "proto/frames.h"

/* Appends the encoded frame to *out. The caller filled every field within the limits (CHECKed). */
void frame_encode(const struct frame *frame, struct buf *out);

/* Decodes one whole message. Views go into `data`, small arrays into `arena`. */
enum status MUST_USE frame_decode(const void *data, size_t len, struct arena *arena,
                                  struct frame *frame, struct err *err);

const char *frame_name(enum frame_type type); /* "HELLO", or "unknown" */

#endif
