/* emu - runs CUDA kernels on the host, one fiber a CUDA thread, so that tests need no GPU.
 *
 * The .cu files are compiled as C++ against the headers in include/, which define CUDA's words (and,
 * in include/kernels/cuda, our own wrappers of PTX) by the few functions below. A launch runs its
 * blocks one cluster at a time, in one OS thread at a time:
 *
 *     cluster ── block ── block …      a block has its threads (fibers), the ready ones in a bag,
 *                  │                    barriers, and its shared memory
 *                  └─ warp ── lane …    a warp knows who waits in which *_sync
 *
 * A fiber runs until it waits: in a barrier, a warp's *_sync, a cluster's barrier, an mbarrier. Who
 * goes on is drawn from the seed MSGL_EMU_SEED (default 1). So between two barriers the threads run
 * one after the other in another order each time, and a read that relies on a barrier that is not
 * there meets a value too old or too new; what nobody has written is NaN, as shared memory is filled
 * with 0xff when a block starts. Bulk copies land at a random moment before their barrier completes.
 * Found and reported, by abort: threads that wait for ever, barriers left by some, copies in flight
 * when a block ends, misaligned copies, a kernel that no thread of which calls pdl_wait().
 *
 * Shared memory is thread-local storage of the process: `__shared__` is `thread_local`, which in a
 * function means static as well. All blocks see the same variables, so when a cluster's blocks take
 * turns, that memory is copied out and in; cluster_map() gives an address in another block's copy.
 * A "shared address" (32 bits, as PTX has it) is an offset into it.
 *
 * Not emulated: anything of time and of caches, the memory model (a thread's writes are seen at once
 * and in order), order between streams (each call runs at once), what PDL overlaps. Products by
 * cuBLASLt are plain loops (gemm.cpp). Arithmetic is the host's: rsqrtf, expf and tensor cores round
 * otherwise in the last bits.
 */
#ifndef MSGL_TESTS_KERNELS_EMU_H
#define MSGL_TESTS_KERNELS_EMU_H

#include <stddef.h>
#include <stdint.h>

#include <functional>

struct emu_grid {
    unsigned grid[3], block[3], cluster; /* blocks of a cluster, along x */
    size_t shared_bytes;
    const char *name;
    bool pdl; /* launched with programmatic dependent launch: some thread must call pdl_wait */
};

/* Runs `thread` as each thread of the grid; returns when all have ended. */
void emu_run(const struct emu_grid *grid, const std::function<void()> &thread);

/* ---- what a thread may call ---- */

/* Waits until the lanes of `mask` that have not ended are here with the same mask. The last one runs
 * `all` on their arguments (args[lane]); then all go on. Every *_sync is one of these. */
void emu_warp_meet(uint32_t mask, void *arg, void (*all)(void **args, uint32_t lanes));
/* The same for the warpgroup (4 warps) of this thread; args[thread of the group]. */
void emu_group_meet(void *arg, void (*all)(void **args));
/* Barrier `id` of the block. 0: of all threads that have not ended; else of `threads` threads. */
void emu_block_meet(uint32_t id, uint32_t threads);
void emu_cluster_meet();
void emu_pdl_wait();

uint32_t emu_cluster_rank();
uint32_t emu_cluster_size();
void *emu_cluster_map(void *here, uint32_t rank);

uint32_t emu_shared_address(const void *ptr);
extern char *emu_shared_first; /* the thread-local segment */
static inline void *emu_shared_pointer(uint32_t address)
{
    return emu_shared_first + address;
}

/* mbarriers, 8 bytes of shared memory; as in PTX. */
void emu_mbarrier_init(uint32_t bar, uint32_t arrivals);
void emu_mbarrier_arrive(uint32_t bar, uint32_t expect_bytes);
void emu_mbarrier_wait(uint32_t bar, uint32_t parity);
/* Some time later: copy(), then `bytes` less to come at `bar`. */
void emu_copy_later(uint32_t bar, uint32_t bytes, const std::function<void()> &copy);

[[noreturn]] void emu_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
