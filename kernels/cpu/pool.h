/* pool - the threads of a cpu device.
 *
 * pool_run() splits one op into chunks; the caller and the workers take them one by one, so a core
 * that is busy with something else (a router beside us) takes fewer. Chunks write disjoint outputs,
 * hence who takes which changes no bit. Between ops of a step the workers spin for some 30 us, then
 * sleep: an idle process uses no CPU.
 *
 *     claim: [ job number : 32 | next chunk : 32 ]   taken by compare-and-swap, which fails when
 *                                                    the job is over, so a late worker does no harm
 */
#ifndef MSGL_KERNELS_CPU_POOL_H
#define MSGL_KERNELS_CPU_POOL_H

#include "common/status.h"

struct pool;

/* `thread` is 0 for the caller, 1.. for workers: an index for scratch memory. */
typedef void (*pool_fn)(void *arg, uint32_t chunk, uint32_t thread);

/* threads >= 1, the caller counted. */
enum status pool_new(uint32_t threads, struct pool **out, struct err *err);
void pool_free(struct pool *pool);
uint32_t pool_threads(const struct pool *pool);

/* fn(arg, 0..chunks-1), in any order, on any thread; returns when all are done. One caller at a
 * time. */
void pool_run(struct pool *pool, pool_fn fn, void *arg, uint32_t chunks);

/* Cores that this process may use. */
uint32_t pool_cores(void);

#endif
