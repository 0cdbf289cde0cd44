/* sim - an engine that computes nothing and takes the time that a device would take.
 *
 *   submit ─► token hashes into the packet's pages ─► tokens;  due = start + cost(packet) / speed
 *   wait   ─► sleeps until due                         event fd: a timer, so an idle one costs nothing
 *
 * The KV pool holds, in place of keys and values, one word for each token:
 *
 *   kv(token, position) = mix(token << 32 | position)       as RoPE'd keys know where they stand
 *   next(position)      = first + range * mix(sum of kv of positions 0..position-1, as the
 *                         req's page table finds them in the pool) / 2^64
 *
 * with mix = splitmix64's output function. So a text is a function of its prompt's token ids alone,
 * whatever the page size, the chunks, the batch and the number of workers that had a part in it;
 * a page that was shared wrongly, reused too early, or not written changes every token behind it.
 * Sampling parameters are not looked at. Ids lie in [first, first + range): first = 256 or half of a
 * small vocabulary, range three quarters of the rest, 32768 at most; special ids lie outside.
 *
 * The time of a step comes from a table (sim_table.h). No thread: the caller's.
 */
#ifndef MSGL_WORKER_ENGINE_SIM_H
#define MSGL_WORKER_ENGINE_SIM_H

#include "worker/engine/engine.h"

enum status MUST_USE sim_open(const struct engine_opts *opts, struct engine **out, struct err *err);
void sim_close(struct engine *engine);
const struct engine_info *sim_info(const struct engine *engine);
enum status MUST_USE sim_submit(struct engine *engine, const struct step_packet *packet,
                                uint64_t *ticket, struct err *err);
enum status MUST_USE sim_wait(struct engine *engine, uint64_t ticket, struct step_result *result,
                              struct err *err);
int sim_event_fd(const struct engine *engine);
uint64_t sim_page_sum(const struct engine *engine, uint32_t page);

/* What the engine says after these tokens; for tests. */
uint32_t sim_next_token(const uint32_t *tokens, uint32_t count, uint32_t vocab);

#endif
