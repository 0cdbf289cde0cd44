/* test_sim - runs simulated worlds one seed after another; a failing one is shrunk and printed.
 *
 *     SIM_SEED=123 SIM_STEPS=1 build/tests/sim_test_sim      one world, the seed that failed
 *     SIM_STEPS=10000000 build/tests/sim_test_sim            a night's work
 *
 * Each world runs in a child process, so that an abort is a failure like any other.
 */
#include "tests/effort.h"
#include "tests/sim/sim_world.c"

#include <check.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS_DEFAULT     800000
#define WORLD_SECONDS_MAX 60

struct verdict {
    struct sim_stats stats;
    char text[400];
};

/* True when the world runs to its end without a fault. `verdict` is shared memory. */
static bool run_child(const struct sim_plan *plan, struct verdict *verdict, bool quiet)
{
    struct sim_stats before = verdict->stats;
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct err err = {.text = ""};
        if (quiet && !freopen("/dev/null", "w", stderr))
            _exit(2);
        alarm(WORLD_SECONDS_MAX);
        bool good = sim_run(plan, &verdict->stats, &err);
        snprintf(verdict->text, sizeof(verdict->text), "%s", err.text);
        _exit(good ? 0 : 1);
    }
    int state = 0;
    CHECK(waitpid(pid, &state, 0) == pid);
    if (WIFSIGNALED(state))
        snprintf(verdict->text, sizeof(verdict->text), "ended by signal %d", WTERMSIG(state));
    bool good = WIFEXITED(state) && WEXITSTATUS(state) == 0;
    if (!good)
        verdict->stats = before;
    return good;
}

/* Switches off ever smaller runs of arrivals as long as the world still fails. */
static void shrink(struct sim_plan *plan, struct verdict *verdict)
{
    for (uint32_t size = DIV_CEIL(plan->arrival_count, 2); size > 0; size /= 2) {
        for (uint32_t from = 0; from < plan->arrival_count; from += size) {
            struct sim_arrival *saved = mem_array(size, sizeof(*saved));
            uint32_t count = MIN(size, plan->arrival_count - from);
            memcpy(saved, plan->arrivals + from, count * sizeof(*saved));
            uint32_t on = 0;
            for (uint32_t i = 0; i < count; i++) {
                on += !saved[i].off;
                plan->arrivals[from + i].off = true;
            }
            if (on > 0 && run_child(plan, verdict, true))
                memcpy(plan->arrivals + from, saved, count * sizeof(*saved));
            mem_free(saved);
        }
    }
}

static uint64_t env_number(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : fallback;
}

static void report(struct sim_plan *plan, struct verdict *verdict)
{
    printf("FAILED: %s\n", verdict->text);
    sim_plan_print(plan);
    printf("shrinking ...\n");
    shrink(plan, verdict);
    run_child(plan, verdict, false);
    printf("smallest: %s\n", verdict->text);
    sim_plan_print(plan);
    printf("again: SIM_SEED=%" PRIu64 " SIM_STEPS=1\n", plan->seed);
}

START_TEST(worlds_hold)
{
    struct verdict *verdict =
        mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(verdict, MAP_FAILED);
    uint64_t seed = env_number("SIM_SEED", 1), first = seed;
    uint64_t steps_max = env_number("SIM_STEPS", effort(STEPS_DEFAULT));
    do {
        struct sim_plan plan;
        sim_plan_make(&plan, seed);
        bool good = run_child(&plan, verdict, false);
        if (!good)
            report(&plan, verdict);
        sim_plan_release(&plan);
        ck_assert_msg(good, "seed %" PRIu64 ": %s", seed, verdict->text);
        seed++;
    } while (verdict->stats.steps < steps_max);
    const struct sim_stats *t = &verdict->stats;
    printf("sim: %" PRIu64 " worlds, %" PRIu64 " steps, %" PRIu64 " reqs, %" PRIu64 " tokens, "
           "%" PRIu64 " retractions, %" PRIu64 " cached tokens, %" PRIu64 " mixed steps\n",
           seed - first, t->steps, t->reqs, t->tokens, t->retractions, t->cached_tokens,
           t->mixed_steps);
    printf("sim: ends: %" PRIu64 " stop, %" PRIu64 " length, %" PRIu64 " cancelled, %" PRIu64
           " deadline; %" PRIu64 " refused; %" PRIu64 " groups of %" PRIu64 " rows\n",
           t->stops, t->lengths, t->cancelled, t->deadlines, t->refused, t->groups,
           t->grouped_rows);
    if (steps_max >= effort(STEPS_DEFAULT)) { /* the worlds reach what they are there for */
        ck_assert_uint_gt(t->retractions, 100);
        ck_assert_uint_gt(t->cached_tokens, 1000);
        ck_assert_uint_gt(t->mixed_steps, 1000);
        ck_assert_uint_gt(t->groups, 1000);
        ck_assert_uint_gt(t->stops, 100);
        ck_assert_uint_gt(t->lengths, 100);
        ck_assert_uint_gt(t->cancelled, 100);
        ck_assert_uint_gt(t->deadlines, 20);
        ck_assert_uint_gt(t->refused, 20);
    }
    munmap(verdict, sizeof(*verdict));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim");
    TCase *tcase = tcase_create("worlds");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, worlds_hold);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* every world forks by itself */
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
