/* comm - the ranks of one tensor-parallel worker on one machine, over POSIX shared memory.
 *
 *     ┌ header: attached, barrier ┬ slot of rank 0 ┬ slot of rank 1 ┬ … ┐   COMM_SLOT_FLOATS each
 *
 * A collective goes in rounds of one slot: everybody writes its slot, barrier, everybody reads all
 * slots in rank order, barrier. So every rank gets the same bits, and the same ones every time.
 * When a rank stays away for COMM_TIMEOUT_MS, the call fails.
 */
#ifndef MSGL_KERNELS_CPU_COMM_H
#define MSGL_KERNELS_CPU_COMM_H

#include "common/status.h"

#define COMM_SLOT_FLOATS ((size_t)64 << 10)
#define COMM_TIMEOUT_MS  60000u

struct comm;

/* Blocks until all `tp` ranks have come with the same name, which must be new: letters, digits, -,
 * _. */
enum status comm_open(const char *name, int rank, int tp, struct comm **out, struct err *err);
void comm_close(struct comm *comm);

/* data[i] = sum over ranks, added in rank order. */
enum status comm_all_reduce(struct comm *comm, float *data, size_t count, struct err *err);
/* out [rows][tp * cols] from every rank's in [rows][cols]. */
enum status comm_all_gather(struct comm *comm, float *out, const float *in, size_t rows,
                            size_t cols, struct err *err);

#endif
