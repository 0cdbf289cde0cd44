#include "router/api/sse.h"

void sse_begin(struct buf *out)
{
    buf_append(out, "data: ", 6);
}

void sse_end(struct buf *out)
{
    buf_append(out, "\n\n", 2);
}

void sse_done(struct buf *out)
{
    buf_append(out, "data: [DONE]\n\n", 14);
}
