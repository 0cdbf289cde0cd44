#include "kernels/cpu/pool.h"

#include "common/clock.h"
#include "common/mem.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define SPIN_NS     30000u
#define THREADS_MAX 512u

struct worker {
    struct pool *pool;
    pthread_t thread;
    uint32_t index;
};

struct pool {
    uint32_t threads, started;
    struct worker *workers; /* [threads - 1] */

    /* The job. A worker reads the fields, then claims; a claim that succeeds proves that the
     * fields belonged to its job, because they change only after the last chunk is claimed. */
    _Atomic(pool_fn) fn;
    _Atomic(void *) arg;
    _Atomic uint32_t chunks;
    _Atomic uint64_t claim;
    _Atomic uint32_t done; /* chunks finished */

    _Atomic uint32_t sleepers; /* workers in wake */
    _Atomic bool caller_sleeps, stop;
    pthread_mutex_t lock;
    pthread_cond_t wake, finished;
};

static void spin_hint(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* Works until the job has no chunk left. */
static void pool_work(struct pool *pool, uint32_t thread)
{
    uint64_t claim = atomic_load_explicit(&pool->claim, memory_order_acquire);
    for (;;) {
        pool_fn fn = atomic_load_explicit(&pool->fn, memory_order_relaxed);
        void *arg = atomic_load_explicit(&pool->arg, memory_order_relaxed);
        uint32_t chunks = atomic_load_explicit(&pool->chunks, memory_order_relaxed);
        uint32_t chunk = (uint32_t)claim;
        if (chunk >= chunks)
            return;
        if (!atomic_compare_exchange_weak_explicit(&pool->claim, &claim, claim + 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        claim++;
        fn(arg, chunk, thread);
        uint32_t done = atomic_fetch_add(&pool->done, 1) + 1;
        if (done == chunks && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->finished);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static uint32_t pool_job(struct pool *pool)
{
    return (uint32_t)(atomic_load(&pool->claim) >> 32);
}

/* Waits for a job other than `seen`: first spinning, then asleep. */
static void worker_wait(struct pool *pool, uint32_t seen)
{
    uint64_t until = clock_now_ns() + SPIN_NS;
    while (pool_job(pool) == seen && !atomic_load(&pool->stop)) {
        for (int i = 0; i < 64 && pool_job(pool) == seen; i++)
            spin_hint();
        if (clock_now_ns() < until)
            continue;
        pthread_mutex_lock(&pool->lock);
        atomic_fetch_add(&pool->sleepers, 1);
        while (pool_job(pool) == seen && !atomic_load(&pool->stop))
            pthread_cond_wait(&pool->wake, &pool->lock);
        atomic_fetch_sub(&pool->sleepers, 1);
        pthread_mutex_unlock(&pool->lock);
    }
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct pool *pool = worker->pool;
    uint32_t seen = 0;
    for (;;) {
        worker_wait(pool, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        seen = pool_job(pool);
        pool_work(pool, worker->index);
    }
}

/* All chunks are claimed; some still run elsewhere. */
static void caller_wait(struct pool *pool, uint32_t chunks)
{
    uint64_t until = clock_now_ns() + SPIN_NS;
    while (atomic_load_explicit(&pool->done, memory_order_acquire) != chunks) {
        for (int i = 0; i < 64; i++)
            if (atomic_load_explicit(&pool->done, memory_order_acquire) == chunks)
                return;
            else
                spin_hint();
        if (clock_now_ns() < until)
            continue;
        pthread_mutex_lock(&pool->lock);
        atomic_store(&pool->caller_sleeps, true);
        while (atomic_load(&pool->done) != chunks)
            pthread_cond_wait(&pool->finished, &pool->lock);
        atomic_store(&pool->caller_sleeps, false);
        pthread_mutex_unlock(&pool->lock);
    }
}

void pool_run(struct pool *pool, pool_fn fn, void *arg, uint32_t chunks)
{
    if (pool->threads == 1 || chunks <= 1) {
        for (uint32_t chunk = 0; chunk < chunks; chunk++)
            fn(arg, chunk, 0);
        return;
    }
    /* The old job is closed to late workers while the fields change. */
    uint64_t job = pool_job(pool);
    atomic_store(&pool->claim, job << 32 | UINT32_MAX);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&pool->arg, arg, memory_order_relaxed);
    atomic_store_explicit(&pool->chunks, chunks, memory_order_relaxed);
    atomic_store(&pool->claim, (uint64_t)(uint32_t)(job + 1) << 32);
    if (atomic_load(&pool->sleepers)) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    pool_work(pool, 0);
    caller_wait(pool, chunks);
}

uint32_t pool_cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    return (uint32_t)MAX(1, CPU_COUNT(&set));
}

uint32_t pool_threads(const struct pool *pool)
{
    return pool->threads;
}

/* Workers take no signals: those are for the threads of the program. */
static enum status pool_start(struct pool *pool, struct err *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    enum status status = STATUS_OK;
    while (pool->started < pool->threads - 1) {
        struct worker *worker = &pool->workers[pool->started];
        *worker = (struct worker){.pool = pool, .index = pool->started + 1};
        int failed = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (failed) {
            status = err_set(err, STATUS_NO_SPACE, "cannot start thread %u of %u: %s",
                             worker->index + 1, pool->threads, strerror(failed));
            break;
        }
        pool->started++;
        char name[16];
        snprintf(name, sizeof(name), "cpu %u", worker->index);
        pthread_setname_np(worker->thread, name);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return status;
}

enum status pool_new(uint32_t threads, struct pool **out, struct err *err)
{
    if (threads == 0 || threads > THREADS_MAX)
        return err_set(err, STATUS_INVALID, "%u threads is not within 1 to %u", threads,
                       THREADS_MAX);
    struct pool *pool = mem_zalloc(sizeof(*pool));
    pool->threads = threads;
    pool->workers = mem_array(threads, sizeof(*pool->workers));
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->finished, NULL);
    enum status status = pool_start(pool, err);
    if (status != STATUS_OK) {
        pool_free(pool);
        return status;
    }
    *out = pool;
    return STATUS_OK;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    mem_free(pool->workers);
    mem_free(pool);
}
