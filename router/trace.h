/* trace - what ties a call's traces together: its names, and the one line that the log keeps of it.
 *
 *   X-Request-Id ──► id    (ours when there is none; answered in X-Request-Id either way)
 *   traceparent  ──► trace (W3C) ─────────────► both go to the worker with GENERATE, and into its log
 *
 *     I router call.done id=… trace=… key=alice kind=chat model=… status=200 choices=1 prompt=512
 *       cached=496 tokens=64 queue_ms=0 ttft_ms=31 itl_ms=11.2 total_ms=740 worker=w-3 attempts=1
 *
 * Ids come from clients: what is logged or sent on has only letters, digits and -_.:/@+ in it.
 * Loop thread.
 */
#ifndef MSGL_ROUTER_TRACE_H
#define MSGL_ROUTER_TRACE_H

#include "common/buf.h"
#include "proto/frames.h"

struct call;

#define TRACE_PARENT_BYTES 55 /* 00-<32 hex>-<16 hex>-<2 hex> */

struct trace {
    char id[PROTO_REQUEST_ID_BYTES_MAX + 1];
    char parent[TRACE_PARENT_BYTES + 1]; /* empty: none, or not valid */
    uint64_t dispatched_ns;              /* first; 0: never */
    char worker[64];                     /* the last one, cut */
    uint32_t attempts;                   /* of all choices */
};

/* From the exchange's headers; answers with the id. `fallback`: our own name of the call. */
struct http_exchange;
void trace_init(struct trace *trace, struct http_exchange *exchange, const char *fallback);
void trace_dispatched(struct trace *trace, const char *worker, uint64_t now_ns);
/* The line. `http_status` 499: the client left. */
void trace_log(const struct call *call, int http_status, uint64_t now_ns);

bool trace_parent_valid(struct str text);

#endif
