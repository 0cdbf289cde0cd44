/* sim_table - how long a step takes on a device that is not here.
 *
 *   us = launch + hypot(weights, token * tokens) + attention * (sum over prompt tokens of their position)
 *               + kv * (context read by decode rows; a prefix group's common pages count once)
 *               + mixed, once, in a step that has prompt chunks and decode rows
 *
 * weights is what reading them takes, token what a token's matrix products take: a step is bound by one
 * or the other, and where both take as long by more than either (root of the sum of squares: within
 * 10 % of cuBLASLt's times for the 14B from 1 to 2,048 rows). mixed is what a prompt's few tokens behind a
 * long context take beside decode, however few: their attention keeps few parts of the device busy, and
 * decode's waits. A table is a preset's name or a JSON file with the fields below.
 */
#ifndef MSGL_WORKER_ENGINE_SIM_TABLE_H
#define MSGL_WORKER_ENGINE_SIM_TABLE_H

#include "common/status.h"
#include "worker/sched/batch.h"

#define SIM_PRESETS "h200-qwen3-14b, h200-qwen3-0.6b" /* the first is the default */

struct sim_table {
    double launch_us, weights_us, token_us, attention_us, kv_us, mixed_us;
    uint64_t kv_token_bytes; /* of all layers */
    uint64_t pool_mib;       /* KV pool, when --kv-mib does not say */
};

/* NULL: the first preset. A field that a file leaves out is 0, except the last two. */
enum status MUST_USE sim_table_load(const char *name, struct sim_table *out, struct err *err);

double sim_table_step_us(const struct sim_table *table, const struct step_packet *packet,
                         uint32_t page_size);

#endif
