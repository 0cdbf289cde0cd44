#include "kernels/cpu/comm.h"

#include "common/clock.h"
#include "common/mem.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPIN_TURNS 2000
#define RANKS_MAX  64

struct comm_shared {
    _Atomic uint32_t attached;
    _Atomic uint32_t arrived; /* at the barrier of this round */
    _Atomic uint32_t round;
    _Atomic uint32_t sleepers;
    char pad[48];
    float slots[]; /* [tp][COMM_SLOT_FLOATS] */
};

struct comm {
    struct comm_shared *shared;
    size_t bytes;
    int rank, tp;
};

/* Waits until *word is not `value` any more. */
static bool word_wait(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers)
{
    for (int i = 0; i < SPIN_TURNS; i++)
        if (atomic_load_explicit(word, memory_order_acquire) != value)
            return true;
    uint64_t until = clock_now_ms() + COMM_TIMEOUT_MS;
    while (atomic_load(word) == value) {
        if (clock_now_ms() > until)
            return false;
        struct timespec nap = {.tv_nsec = 200000000};
        atomic_fetch_add(sleepers, 1);
        syscall(SYS_futex, word, FUTEX_WAIT, value, &nap, NULL, 0);
        atomic_fetch_sub(sleepers, 1);
    }
    return true;
}

static void word_wake(_Atomic uint32_t *word, _Atomic uint32_t *sleepers)
{
    if (atomic_load(sleepers))
        syscall(SYS_futex, word, FUTEX_WAKE, RANKS_MAX, NULL, NULL, 0);
}

static enum status comm_barrier(struct comm *comm, struct err *err)
{
    struct comm_shared *shared = comm->shared;
    uint32_t round = atomic_load(&shared->round);
    if (atomic_fetch_add(&shared->arrived, 1) + 1 == (uint32_t)comm->tp) {
        atomic_store(&shared->arrived, 0);
        atomic_fetch_add(&shared->round, 1);
        word_wake(&shared->round, &shared->sleepers);
        return STATUS_OK;
    }
    if (!word_wait(&shared->round, round, &shared->sleepers))
        return err_set(err, STATUS_TIMEOUT, "rank %d waited %u s for another rank", comm->rank,
                       COMM_TIMEOUT_MS / 1000);
    return STATUS_OK;
}

static enum status comm_path(const char *name, char path[64], struct err *err)
{
    size_t len = name ? strlen(name) : 0;
    bool good = len > 0 && len < 56;
    for (size_t i = 0; i < len; i++)
        good = good && (isalnum((unsigned char)name[i]) || name[i] == '-' || name[i] == '_');
    if (!good)
        return err_set(err, STATUS_INVALID,
                       "a rendezvous name has 1 to 55 letters, digits, - or _");
    snprintf(path, 64, "/msgl-%s", name);
    return STATUS_OK;
}

static enum status comm_map(struct comm *comm, const char *path, struct err *err)
{
    int fd = shm_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, STATUS_IO, "cannot open shared memory %s: %s", path, strerror(errno));
    enum status status = STATUS_OK;
    if (ftruncate(fd, (off_t)comm->bytes) != 0) {
        status = err_set(err, STATUS_NO_SPACE, "cannot size shared memory %s: %s", path,
                         strerror(errno));
    } else {
        void *map = mmap(NULL, comm->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            status = err_set(err, STATUS_NO_SPACE, "cannot map shared memory %s: %s", path,
                             strerror(errno));
        else
            comm->shared = map;
    }
    close(fd);
    return status;
}

/* Everybody is here when the count is tp; rank 0 then takes the name away, so nothing stays behind.
 */
static enum status comm_gather_ranks(struct comm *comm, const char *path, struct err *err)
{
    struct comm_shared *shared = comm->shared;
    uint32_t here = atomic_fetch_add(&shared->attached, 1) + 1;
    word_wake(&shared->attached, &shared->sleepers);
    while (here < (uint32_t)comm->tp) {
        if (!word_wait(&shared->attached, here, &shared->sleepers)) {
            shm_unlink(path);
            return err_set(err, STATUS_TIMEOUT, "only %u of %d ranks came to %s", here, comm->tp,
                           path);
        }
        here = atomic_load(&shared->attached);
    }
    if (here > (uint32_t)comm->tp)
        return err_set(err, STATUS_CONFLICT, "more than %d ranks came to %s", comm->tp, path);
    if (comm->rank == 0)
        shm_unlink(path);
    return STATUS_OK;
}

enum status comm_open(const char *name, int rank, int tp, struct comm **out, struct err *err)
{
    char path[64];
    if (tp < 2 || tp > RANKS_MAX || rank < 0 || rank >= tp)
        return err_set(err, STATUS_INVALID, "rank %d of %d is not possible", rank, tp);
    TRY(comm_path(name, path, err));
    struct comm *comm = mem_zalloc(sizeof(*comm));
    comm->rank = rank;
    comm->tp = tp;
    comm->bytes = sizeof(struct comm_shared) + (size_t)tp * COMM_SLOT_FLOATS * sizeof(float);
    enum status status = comm_map(comm, path, err);
    if (status == STATUS_OK)
        status = comm_gather_ranks(comm, path, err);
    if (status != STATUS_OK) {
        comm_close(comm);
        return status;
    }
    *out = comm;
    return STATUS_OK;
}

void comm_close(struct comm *comm)
{
    if (!comm)
        return;
    if (comm->shared)
        munmap(comm->shared, comm->bytes);
    mem_free(comm);
}

static float *comm_slot(const struct comm *comm, int rank)
{
    return comm->shared->slots + (size_t)rank * COMM_SLOT_FLOATS;
}

enum status comm_all_reduce(struct comm *comm, float *data, size_t count, struct err *err)
{
    for (size_t first = 0; first < count; first += COMM_SLOT_FLOATS) {
        size_t part = MIN(COMM_SLOT_FLOATS, count - first);
        memcpy(comm_slot(comm, comm->rank), data + first, part * sizeof(float));
        TRY(comm_barrier(comm, err));
        memcpy(data + first, comm_slot(comm, 0), part * sizeof(float));
        for (int rank = 1; rank < comm->tp; rank++) {
            const float *slot = comm_slot(comm, rank);
            for (size_t i = 0; i < part; i++)
                data[first + i] += slot[i];
        }
        TRY(comm_barrier(comm, err));
    }
    return STATUS_OK;
}

enum status comm_all_gather(struct comm *comm, float *out, const float *in, size_t rows,
                            size_t cols, struct err *err)
{
    size_t stride = cols * (size_t)comm->tp, col_part = MIN(cols, COMM_SLOT_FLOATS);
    size_t row_part = MAX((size_t)1, COMM_SLOT_FLOATS / MAX((size_t)1, col_part));
    for (size_t row = 0; row < rows; row += row_part) {
        size_t row_count = MIN(row_part, rows - row);
        for (size_t col = 0; col < cols; col += col_part) {
            size_t col_count = MIN(col_part, cols - col);
            for (size_t r = 0; r < row_count; r++)
                memcpy(comm_slot(comm, comm->rank) + r * col_count, in + (row + r) * cols + col,
                       col_count * sizeof(float));
            TRY(comm_barrier(comm, err));
            for (int rank = 0; rank < comm->tp; rank++)
                for (size_t r = 0; r < row_count; r++)
                    memcpy(out + (row + r) * stride + (size_t)rank * cols + col,
                           comm_slot(comm, rank) + r * col_count, col_count * sizeof(float));
            TRY(comm_barrier(comm, err));
        }
    }
    return STATUS_OK;
}
