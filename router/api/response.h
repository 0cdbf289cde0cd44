/* response - the JSON that clients read: answers, chunks, usage, errors. Appends to a buf; pure. */
#ifndef MSGL_ROUTER_API_RESPONSE_H
#define MSGL_ROUTER_API_RESPONSE_H

#include "router/stream.h"

void response_error(const struct api_error *error, struct buf *out);
/* Makes what all chunks of a streaming call begin with. */
void response_begin(struct call *call);
void response_whole(const struct call *call, struct buf *out);
/* One choice's next text; with stream->finish set, its last. */
void response_chunk(const struct call *call, const struct stream *stream, struct str text,
                    struct buf *out);
/* The value of "logprobs" for tokens [first, end) of stream_told(); "null" when not asked for. */
void response_logprobs(const struct stream *stream, uint32_t first, uint32_t end, struct buf *out);
/* vLLM's list: null, then {"id": {logprob, rank, decoded_token}, …} for each token of the prompt; the
 * rank is null where the token is none of the likeliest. */
void response_prompt_logprobs(const struct stream *stream, struct buf *out);
void response_usage_chunk(const struct call *call, struct buf *out); /* choices: [] */
/* /generate: the whole answer; one event of a stream, framed. */
void response_generate_whole(const struct call *call, struct buf *out);
void response_generate_event(const struct stream *stream, struct buf *out);
/* /tokenize and /detokenize of a prepared call. */
void response_tokens(const struct call *call, struct buf *out);
void response_text(const struct call *call, struct buf *out);
void response_models(const struct router *router, struct buf *out);
void response_model(const struct model *model, struct buf *out);

#endif
