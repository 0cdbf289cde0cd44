/* stream_usage - what the streams of a call are counted as; no stream is changed here. */
#include "router/stream.h"

#include "router/call.h"

uint64_t streams_cached_tokens(const struct call *call)
{
    uint64_t cached = 0;
    for (uint32_t i = 0; i < call->stream_count; i += call->params.n) {
        uint32_t least = UINT32_MAX;
        for (uint32_t k = i; k < i + call->params.n; k++)
            if (call->streams[k].tokens.count > 0)
                least = MIN(least, call->streams[k].cached_tokens);
        cached += least == UINT32_MAX ? 0 : least;
    }
    return cached;
}
