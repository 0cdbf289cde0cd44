/* Ranks over shared memory, as threads and as processes. */
#include "tests/kernels/kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct rank {
    char name[40];
    int rank, tp;
    const char *wrong; /* NULL when all was right */
};

static float rank_value(int rank, size_t i)
{
    return (float)(rank + 1) * 0.1f + (float)(i % 97) * 1e-3f;
}

/* More than one round of slots, then a gather whose rows do not fill one, through the ops table. */
static const char *rank_work(const struct rank *rank)
{
    enum { COUNT = 64 * 1024 * 2 + 5, ROWS = 3, COLS = 64 * 1024 + 7 };
    const struct ops *ops = ops_find("cpu");
    struct device *device;
    struct device_opts opts = {
        .threads = 1, .rank = rank->rank, .tp = rank->tp, .comm = rank->name};
    if (ops->open(&opts, &device, NULL) != STATUS_OK)
        return "open";
    const char *wrong = NULL;
    float *data = mem_array(COUNT, sizeof(float));
    for (int turn = 0; turn < 3 && !wrong; turn++) {
        for (size_t i = 0; i < COUNT; i++)
            data[i] = rank_value(rank->rank, i);
        ops->all_reduce(device, NULL, data, COUNT);
        for (size_t i = 0; i < COUNT && !wrong; i++) {
            float sum = rank_value(0, i);
            for (int r = 1; r < rank->tp; r++)
                sum += rank_value(r, i);
            wrong = data[i] == sum ? NULL : "all_reduce";
        }
    }
    float *in = mem_array((size_t)ROWS * COLS, 4),
          *out = mem_array((size_t)ROWS * COLS * (size_t)rank->tp, 4);
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++)
        in[i] = (float)(rank->rank * 1000000) + (float)i;
    ops->all_gather(device, NULL, out, in, ROWS, COLS);
    for (size_t row = 0; row < ROWS && !wrong; row++)
        for (size_t col = 0; col < (size_t)COLS * (size_t)rank->tp && !wrong; col++) {
            float want = (float)(col / COLS * 1000000) + (float)(row * COLS + col % COLS);
            wrong = out[row * COLS * (size_t)rank->tp + col] == want ? NULL : "all_gather";
        }
    if (ops->stream_sync(device, NULL, NULL) != STATUS_OK)
        wrong = "sync";
    ops->close(device);
    mem_free(data), mem_free(in), mem_free(out);
    return wrong;
}

static void *rank_thread(void *arg)
{
    struct rank *rank = arg;
    rank->wrong = rank_work(rank);
    return NULL;
}

static void ranks_name(struct rank *ranks, int tp, const char *what)
{
    for (int r = 0; r < tp; r++) {
        ranks[r] = (struct rank){.rank = r, .tp = tp};
        snprintf(ranks[r].name, sizeof(ranks[r].name), "test-%s-%d", what, (int)getpid());
    }
}

START_TEST(threads_as_ranks)
{
    struct rank ranks[4];
    pthread_t threads[4];
    int tp = _i;
    ranks_name(ranks, tp, "threads");
    for (int r = 0; r < tp; r++)
        ck_assert_int_eq(pthread_create(&threads[r], NULL, rank_thread, &ranks[r]), 0);
    for (int r = 0; r < tp; r++) {
        pthread_join(threads[r], NULL);
        ck_assert_msg(!ranks[r].wrong, "rank %d: %s", r, ranks[r].wrong);
    }
    /* Nothing stays behind. */
    char path[64];
    snprintf(path, sizeof(path), "/msgl-%s", ranks[0].name);
    ck_assert_int_lt(shm_open(path, O_RDWR, 0), 0);
}
END_TEST

START_TEST(processes_as_ranks)
{
    struct rank ranks[2];
    ranks_name(ranks, 2, "processes");
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        _exit(rank_work(&ranks[1]) ? 1 : 0);
    const char *wrong = rank_work(&ranks[0]);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(!wrong, "rank 0: %s", wrong);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

START_TEST(names_are_checked)
{
    static const char *const names[] = {
        "", "../x", "a b", "a/b", "much-too-long-a-name-for-a-piece-of-shared-memory-to-have-here"};
    const struct ops *ops = ops_find("cpu");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct device *device;
        struct err err;
        struct device_opts opts = {.threads = 1, .tp = 2, .comm = names[i]};
        ck_assert_int_eq(ops->open(&opts, &device, &err), STATUS_INVALID);
    }
}
END_TEST

START_TEST(alone_is_a_copy)
{
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(1, NULL);
    float in[6] = {1, 2, 3, 4, 5, 6}, out[6];
    ops->all_reduce(device, NULL, in, 6);
    ops->all_gather(device, NULL, out, in, 2, 3);
    for (int i = 0; i < 6; i++)
        ck_assert(in[i] == (float)i + 1 && out[i] == in[i]);
    ops->close(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("comm");
    TCase *tcase = tcase_create("cpu");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, threads_as_ranks, 2, 5);
    tcase_add_test(tcase, processes_as_ranks);
    tcase_add_test(tcase, names_are_checked);
    tcase_add_test(tcase, alone_is_a_copy);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
