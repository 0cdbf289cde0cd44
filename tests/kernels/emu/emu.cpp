/* emu - fibers, the draw of who runs, and the meetings; emu.h explains. */
#include "emu.h"

#include <cuda_runtime.h>

#include <link.h>
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <vector>

extern "C" {
#include "common/rng.h"
}

char *emu_shared_first;
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
thread_local __attribute__((aligned(1024))) char dynamic_shared[EMU_SHARED_BYTES];

/* Stacks lie 64 KB and some lines apart, or all would compete for the same lines of the cache. */
#define STACK_BYTES  ((size_t)(64 << 10) + 320)
#define THREADS_MAX  (8u * 1024)
#define BARRIERS     16u
#define CANARY       0x5afe57acull
#define BLOCK_CHANGE 64u /* one switch in so many leaves a block that could go on */
#define COPY_CHANGE  8u  /* one switch in so many lands a copy first */

enum wait { WAIT_NOTHING, WAIT_WARP, WAIT_GROUP, WAIT_BARRIER, WAIT_CLUSTER, WAIT_MBARRIER, ENDED };

struct thread {
    void *stack_pointer;
    uint32_t idx, block; /* in the block; of the cluster */
    enum wait wait;
    uint32_t what; /* mask, barrier, or address that it waits for */
    void *arg;     /* what it brought to the meeting, and what ends it: */
    void (*all)(void **args, uint32_t lanes);
};

struct warp {                /* its lanes, by bits */
    uint32_t alive, waiting; /* waiting: in a *_sync */
};

struct block {
    struct thread *threads;
    struct warp warps[32];
    std::vector<uint32_t> ready;
    uint32_t count, alive, arrived[BARRIERS], expected[BARRIERS], at_group[8];
    uint3 idx;
    bool waited;              /* pdl_wait was called */
    std::vector<char> shared; /* while another block runs */
};

struct copy {
    uint32_t block, bar, bytes;
    std::function<void()> run;
};

static struct {
    const struct emu_grid *grid;
    const std::function<void()> *body;
    struct block blocks[16];
    uint32_t block_count, alive, at_cluster; /* threads of the cluster */
    std::vector<struct copy> copies;
    std::vector<struct thread> threads;
    struct thread *self;
    void *main_stack_pointer;
    uint32_t running; /* block whose shared memory is in place */
    char *stacks;
    size_t shared_bytes; /* of the thread-local segment */
    uint64_t seed;
    pthread_t os_thread; /* whose thread-local segment it is: an engine launches on its own */
} emu;

/* ---- fibers: callee-saved registers on the stack, then another stack ---- */
extern "C" void emu_switch(void **save, void *load);
__asm__(".text\n.globl emu_switch\n.type emu_switch, @function\nemu_switch:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".size emu_switch, .-emu_switch\n");

void emu_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "emulator: %s: ", emu.grid ? emu.grid->name : "no kernel");
    vfprintf(stderr, format, args);
    if (emu.self)
        fprintf(stderr, " (block %u of the cluster at %u %u %u, thread %u)", emu.self->block,
                emu.blocks[emu.self->block].idx.x, emu.blocks[emu.self->block].idx.y,
                emu.blocks[emu.self->block].idx.z, emu.self->idx);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

static void die_stuck()
{
    static const char *const names[] = {
        "nothing",     "a warp's lanes", "its warpgroup",        "a barrier",
        "the cluster", "an mbarrier",    "nothing, it has ended"};
    for (uint32_t b = 0; b < emu.block_count; b++)
        for (uint32_t t = 0; t < emu.blocks[b].count; t++) {
            const struct thread *thread = &emu.blocks[b].threads[t];
            if (t == 0 || thread->wait != thread[-1].wait || thread->what != thread[-1].what)
                fprintf(stderr, "block %u, from thread %u on: waits for %s %#x\n", b, t,
                        names[thread->wait], thread->what);
        }
    emu.self = NULL;
    emu_die("all threads wait");
}

/* The thread-local segment of this program: every `__shared__` variable lies in it. */
static int find_shared(struct dl_phdr_info *info, size_t, void *)
{
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_tls_data) {
            emu_shared_first = (char *)info->dlpi_tls_data;
            emu.shared_bytes = info->dlpi_phdr[i].p_memsz;
        }
    return 1; /* the program itself comes first */
}

static void start()
{
    const char *seed = getenv("MSGL_EMU_SEED");
    if (emu.stacks && pthread_equal(emu.os_thread, pthread_self()))
        return;
    emu.os_thread = pthread_self();
    dl_iterate_phdr(find_shared, NULL);
    if (emu.stacks)
        return;
    emu.seed = seed ? strtoull(seed, NULL, 0) : 1;
    emu.stacks = (char *)mmap(NULL, THREADS_MAX * STACK_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (emu.stacks == MAP_FAILED || !emu_shared_first)
        emu_die("no memory for stacks");
    emu.threads.resize(THREADS_MAX);
}

/* ---- who runs ---- */

static void wake(struct thread *thread)
{
    struct block *block = &emu.blocks[thread->block];
    block->warps[thread->idx / 32].waiting &= ~(1u << thread->idx % 32);
    thread->wait = WAIT_NOTHING;
    block->ready.push_back(thread->idx);
}

static void block_in(uint32_t to)
{
    size_t dynamic = emu.grid->shared_bytes;
    char *first = emu_shared_first, *rest = dynamic_shared + sizeof(dynamic_shared);
    size_t before = (size_t)(dynamic_shared - first) + dynamic;
    size_t after = (size_t)(first + emu.shared_bytes - rest);
    if (to == emu.running)
        return;
    char *out = emu.blocks[emu.running].shared.data(), *in = emu.blocks[to].shared.data();
    memcpy(out, first, before); /* all but what is unused of the dynamic part */
    memcpy(out + (rest - first), rest, after);
    memcpy(first, in, before);
    memcpy(rest, in + (rest - first), after);
    emu.running = to;
}

struct mbarrier { /* in 8 bytes of shared memory */
    uint64_t phase : 1, count : 10, pending : 10;
    int64_t bytes : 43;
};

static_assert(sizeof(struct mbarrier) == 8, "as large as on the device");

static struct mbarrier *mbarrier_at(uint32_t bar)
{
    if (bar % 8 != 0 || bar + 8 > emu.shared_bytes)
        emu_die("an mbarrier at shared address %#x", bar);
    return (struct mbarrier *)emu_shared_pointer(bar);
}

static void mbarrier_progress(uint32_t bar)
{
    struct mbarrier *b = mbarrier_at(bar);
    struct block *block = &emu.blocks[emu.running];
    if (b->pending > 0 || b->bytes != 0)
        return;
    b->phase ^= 1;
    b->pending = b->count;
    for (uint32_t t = 0; t < block->count; t++)
        if (block->threads[t].wait == WAIT_MBARRIER && block->threads[t].what == bar)
            wake(&block->threads[t]);
}

static void land_copy(size_t at)
{
    struct copy copy = emu.copies[at];
    emu.copies[at] = emu.copies.back();
    emu.copies.pop_back();
    block_in(copy.block);
    copy.run();
    mbarrier_at(copy.bar)->bytes -= copy.bytes;
    mbarrier_progress(copy.bar);
}

/* A block with ready threads, at random; the running one mostly. UINT32_MAX: none. */
static uint32_t pick_block()
{
    uint32_t ready = 0, pick;
    if (emu.block_count == 1 || rng_below(&emu.seed, BLOCK_CHANGE) != 0)
        if (!emu.blocks[emu.running].ready.empty())
            return emu.running;
    for (uint32_t b = 0; b < emu.block_count; b++)
        ready += !emu.blocks[b].ready.empty();
    if (ready == 0)
        return UINT32_MAX;
    pick = (uint32_t)rng_below(&emu.seed, ready);
    for (uint32_t b = 0;; b++)
        if (!emu.blocks[b].ready.empty() && pick-- == 0)
            return b;
}

/* Leaves the fiber (or, once, the main stack) for the next one, or for the main stack at the end. */
static void next(void **save)
{
    while (!emu.copies.empty() && rng_below(&emu.seed, COPY_CHANGE) == 0)
        land_copy(rng_below(&emu.seed, emu.copies.size()));
    uint32_t at = pick_block();
    while (at == UINT32_MAX && !emu.copies.empty()) {
        land_copy(rng_below(&emu.seed, emu.copies.size()));
        at = pick_block();
    }
    if (at == UINT32_MAX) {
        if (emu.alive > 0)
            die_stuck();
        emu_switch(save, emu.main_stack_pointer);
        return;
    }
    struct block *block = &emu.blocks[at];
    size_t pick = rng_below(&emu.seed, block->ready.size());
    struct thread *thread = &block->threads[block->ready[pick]];
    block->ready[pick] = block->ready.back();
    block->ready.pop_back();
    block_in(at);
    emu.self = thread;
    blockIdx = block->idx;
    threadIdx.x = thread->idx % blockDim.x;
    threadIdx.y = thread->idx / blockDim.x % blockDim.y;
    threadIdx.z = thread->idx / blockDim.x / blockDim.y;
    if (save != &thread->stack_pointer)
        emu_switch(save, thread->stack_pointer);
}

static void wait_for(enum wait wait, uint32_t what, void *arg)
{
    struct thread *self = emu.self;
    self->wait = wait;
    self->what = what;
    self->arg = arg;
    next(&self->stack_pointer);
}

/* ---- meetings ---- */

static struct block *my_block()
{
    return &emu.blocks[emu.self->block];
}

/* Ends the meeting of `mask` in a warp when all are there; `self` (or NULL) need not be woken. */
static bool warp_complete(struct block *block, uint32_t warp, uint32_t mask, struct thread *self,
                          void (*all)(void **, uint32_t))
{
    struct thread *first = &block->threads[warp * 32];
    uint32_t lanes = mask & block->warps[warp].alive;
    uint32_t others = self ? lanes & ~(1u << self->idx % 32) : lanes;
    void *args[32] = {};
    if ((block->warps[warp].waiting & others) != others)
        return false;
    for (uint32_t left = lanes; left; left &= left - 1) {
        struct thread *thread = &first[__builtin_ctz(left)];
        if (thread != self && thread->what != mask)
            return false;
        args[__builtin_ctz(left)] = thread->arg;
    }
    if (all)
        all(args, lanes);
    for (uint32_t left = others; left; left &= left - 1)
        wake(&first[__builtin_ctz(left)]);
    return true;
}

void emu_warp_meet(uint32_t mask, void *arg, void (*all)(void **, uint32_t))
{
    struct thread *self = emu.self;
    struct block *block = my_block();
    if (!(mask >> self->idx % 32 & 1))
        emu_die("lane %u is not in its own mask %#x", self->idx % 32, mask);
    self->arg = arg;
    self->all = all;
    if (warp_complete(block, self->idx / 32, mask, self, all))
        return;
    block->warps[self->idx / 32].waiting |= 1u << self->idx % 32;
    wait_for(WAIT_WARP, mask, arg);
}

void emu_group_meet(void *arg, void (*all)(void **))
{
    struct block *block = my_block();
    struct thread *self = emu.self, *group = &block->threads[self->idx / 128 * 128];
    void *args[128];
    self->arg = arg;
    if (++block->at_group[self->idx / 128] < 128) {
        wait_for(WAIT_GROUP, 0, arg);
        return;
    }
    block->at_group[self->idx / 128] = 0;
    for (uint32_t i = 0; i < 128; i++)
        args[i] = group[i].arg;
    all(args);
    for (uint32_t i = 0; i < 128; i++)
        if (&group[i] != self)
            wake(&group[i]);
}

static void barrier_release(struct block *block, uint32_t id)
{
    block->arrived[id] = 0;
    for (uint32_t t = 0; t < block->count; t++)
        if (block->threads[t].wait == WAIT_BARRIER && block->threads[t].what == id)
            wake(&block->threads[t]);
}

void emu_block_meet(uint32_t id, uint32_t threads)
{
    struct block *block = my_block();
    uint32_t wanted = id == 0 ? block->alive : threads;
    if (id >= BARRIERS || (block->arrived[id] > 0 && id > 0 && block->expected[id] != threads))
        emu_die("barrier %u of %u threads", id, threads);
    block->expected[id] = threads;
    if (++block->arrived[id] < wanted)
        wait_for(WAIT_BARRIER, id, NULL);
    else
        barrier_release(block, id);
}

static void cluster_release()
{
    emu.at_cluster = 0;
    for (uint32_t b = 0; b < emu.block_count; b++)
        for (uint32_t t = 0; t < emu.blocks[b].count; t++)
            if (emu.blocks[b].threads[t].wait == WAIT_CLUSTER)
                wake(&emu.blocks[b].threads[t]);
}

void emu_cluster_meet()
{
    if (++emu.at_cluster < emu.alive)
        wait_for(WAIT_CLUSTER, 0, NULL);
    else
        cluster_release();
}

/* Those who wait for threads that have ended wait for the others alone. */
static void thread_end(struct thread *self)
{
    struct block *block = &emu.blocks[self->block];
    struct warp *warp = &block->warps[self->idx / 32];
    if (*(uint64_t *)(emu.stacks + (size_t)(self - emu.threads.data()) * STACK_BYTES) != CANARY)
        emu_die("the stack is full");
    self->wait = ENDED;
    warp->alive &= ~(1u << self->idx % 32);
    block->alive--;
    emu.alive--;
    for (uint32_t lane = 0; lane < 32; lane++)
        if (warp->waiting >> lane & 1) {
            struct thread *other = &block->threads[self->idx / 32 * 32 + lane];
            warp_complete(block, self->idx / 32, other->what, NULL, other->all);
        }
    if (block->arrived[0] > 0 && block->arrived[0] == block->alive)
        barrier_release(block, 0);
    if (emu.at_cluster > 0 && emu.at_cluster == emu.alive)
        cluster_release();
}

static void thread_main()
{
    (*emu.body)();
    thread_end(emu.self);
    next(&emu.self->stack_pointer);
    abort(); /* nobody comes back */
}

/* ---- clusters, shared memory, mbarriers ---- */

void emu_pdl_wait()
{
    my_block()->waited = true;
}

uint32_t emu_cluster_rank()
{
    return emu.self->block;
}

uint32_t emu_cluster_size()
{
    return emu.block_count;
}

void *emu_cluster_map(void *here, uint32_t rank)
{
    if (rank >= emu.block_count)
        emu_die("block %u of a cluster of %u", rank, emu.block_count);
    if (rank == emu.self->block)
        return here;
    return emu.blocks[rank].shared.data() + emu_shared_address(here);
}

uint32_t emu_shared_address(const void *ptr)
{
    size_t at = (size_t)((const char *)ptr - emu_shared_first);
    if (at >= emu.shared_bytes)
        emu_die("%p is not in shared memory", ptr);
    return (uint32_t)at;
}

void emu_mbarrier_init(uint32_t bar, uint32_t arrivals)
{
    struct mbarrier *b = mbarrier_at(bar);
    b->phase = 0;
    b->count = b->pending = arrivals;
    b->bytes = 0;
}

void emu_mbarrier_arrive(uint32_t bar, uint32_t expect_bytes)
{
    struct mbarrier *b = mbarrier_at(bar);
    if (b->pending == 0 || b->count == 0)
        emu_die("too many arrive at mbarrier %#x of %u", bar, (unsigned)b->count);
    b->bytes += expect_bytes;
    b->pending--;
    mbarrier_progress(bar);
}

void emu_mbarrier_wait(uint32_t bar, uint32_t parity)
{
    while (mbarrier_at(bar)->phase == parity)
        wait_for(WAIT_MBARRIER, bar, NULL);
}

void emu_copy_later(uint32_t bar, uint32_t bytes, const std::function<void()> &copy)
{
    emu.copies.push_back({emu.self->block, bar, bytes, copy});
}

/* ---- a launch ---- */

static void thread_start(struct thread *thread, uint32_t idx, uint32_t block)
{
    char *stack = emu.stacks + (size_t)(thread - emu.threads.data()) * STACK_BYTES;
    void **top = (void **)(stack + STACK_BYTES);
    thread->idx = idx;
    thread->block = block;
    ASAN_UNPOISON_MEMORY_REGION(stack,
                                STACK_BYTES); /* the frames that the last thread left for good */
    *(uint64_t *)stack = CANARY;
    *--top = NULL; /* thread_main starts as if called: 8 bytes off a multiple of 16 */
    *--top = (void *)thread_main;
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    thread->stack_pointer = top;
    wake(thread);
}

static void shared_poison()
{
    char *rest = dynamic_shared + sizeof(dynamic_shared);
    memset(emu_shared_first, 0xff, (size_t)(dynamic_shared - emu_shared_first));
    memset(dynamic_shared, 0xff, emu.grid->shared_bytes);
    memset(rest, 0xff, (size_t)(emu_shared_first + emu.shared_bytes - rest));
}

static void cluster_run(uint32_t x, uint32_t y, uint32_t z)
{
    uint32_t count = blockDim.x * blockDim.y * blockDim.z;
    emu.alive = count * emu.block_count;
    emu.at_cluster = emu.running = 0;
    shared_poison();
    for (uint32_t b = 0; b < emu.block_count; b++) {
        struct block *block = &emu.blocks[b];
        block->threads = &emu.threads[b * count];
        block->count = block->alive = count;
        block->idx = {x + b, y, z};
        block->waited = false;
        memset(block->arrived, 0, sizeof(block->arrived));
        memset(block->at_group, 0, sizeof(block->at_group));
        for (uint32_t w = 0; w * 32 < count; w++)
            block->warps[w] = {count - w * 32 < 32 ? (1u << (count - w * 32)) - 1 : ~0u, 0};
        block->ready.clear();
        if (emu.block_count > 1)
            block->shared.assign(emu.shared_bytes, (char)0xff);
        for (uint32_t t = 0; t < count; t++)
            thread_start(&block->threads[t], t, b);
    }
    next(&emu.main_stack_pointer);
    emu.self = NULL;
    if (!emu.copies.empty())
        emu_die("%zu copies were in flight when their block ended", emu.copies.size());
    for (uint32_t b = 0; b < emu.block_count; b++)
        if (emu.grid->pdl && !emu.blocks[b].waited)
            emu_die("no thread of block %u called pdl_wait", x + b);
}

void emu_run(const struct emu_grid *grid, const std::function<void()> &thread)
{
    uint32_t clusters, first, total;
    bool backwards;
    start();
    emu.grid = grid;
    emu.body = &thread;
    emu.block_count = grid->cluster;
    gridDim = dim3(grid->grid[0], grid->grid[1], grid->grid[2]);
    blockDim = dim3(grid->block[0], grid->block[1], grid->block[2]);
    if (gridDim.x % grid->cluster != 0 || grid->cluster > 16 ||
        blockDim.x * blockDim.y * blockDim.z * grid->cluster > THREADS_MAX ||
        grid->shared_bytes > EMU_SHARED_BYTES)
        emu_die("a launch that no GPU takes");
    clusters = gridDim.x / grid->cluster;
    total = clusters * gridDim.y * gridDim.z;
    first = (uint32_t)rng_below(&emu.seed, total);
    backwards = rng_below(&emu.seed, 2) != 0;
    for (uint32_t i = 0; i < total; i++) {
        uint32_t at = (first + (backwards ? total - i : i)) % total;
        cluster_run(at % clusters * grid->cluster, at / clusters % gridDim.y,
                    at / clusters / gridDim.y);
    }
    emu.grid = NULL;
}
