/* sse - server-sent events: `data: {json}` and an empty line, `data: [DONE]` at the end. */
#ifndef MSGL_ROUTER_API_SSE_H
#define MSGL_ROUTER_API_SSE_H

#include "common/buf.h"

#define SSE_TYPE "text/event-stream; charset=utf-8"

/* Write the event's JSON (no line breaks in it) between the two. */
void sse_begin(struct buf *out);
void sse_end(struct buf *out);
void sse_done(struct buf *out);

#endif
