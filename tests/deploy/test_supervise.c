/* Children that end, linger, fork off and talk, under the supervisor of msgl serve. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "deploy/local/supervise.h"
#include "tests/common/suite.h"

static struct child *add_shell(struct supervisor *supervisor, const char *name, const char *script)
{
    struct child *child = supervisor_add(supervisor, name, "/bin/sh");
    child_word(child, "-c");
    child_word(child, "%s", script);
    return child;
}

static void step_for(struct supervisor *supervisor, uint64_t ms)
{
    uint64_t end = clock_now_ms() + ms;
    while (clock_now_ms() < end)
        supervisor_step(supervisor, 20);
}

static bool gone(pid_t pid)
{
    for (int i = 0; i < 200; i++) {
        struct timespec pause = {0, 10000000L};
        char path[64], state = 0;
        FILE *file;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        file = fopen(path, "r");
        if (!file)
            return true;
        if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
            state = 0;
        fclose(file);
        if (state == 'Z')
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

/* A supervisor whose standard error, with its children's lines, goes into `file`. */
static struct supervisor *recorded(FILE **file)
{
    struct supervisor *supervisor = mem_zalloc(sizeof(*supervisor));
    *file = tmpfile();
    ck_assert_int_ge(dup2(fileno(*file), STDERR_FILENO), 0);
    ck_assert_int_eq(supervisor_init(supervisor, NULL), STATUS_OK);
    return supervisor;
}

/* Ends it; what was recorded, to be freed. */
static char *recording(struct supervisor *supervisor, FILE *file)
{
    char *text = calloc(1, 65536);
    supervisor_release(supervisor);
    mem_free(supervisor);
    rewind(file);
    ck_assert_uint_lt(fread(text, 1, 65535, file), 65535);
    fclose(file);
    return text;
}

START_TEST(test_a_dead_child_is_started_again)
{
    struct supervisor *supervisor = mem_zalloc(sizeof(*supervisor));
    struct child *child;
    pid_t first;

    ck_assert_int_eq(supervisor_init(supervisor, NULL), STATUS_OK);
    child = add_shell(supervisor, "sleeper", "exec sleep 100");
    ck_assert_int_eq(supervisor_start(supervisor, NULL), STATUS_OK);
    first = child->pid;
    ck_assert_int_gt(first, 0);
    kill(first, SIGKILL);
    step_for(supervisor, 300);
    ck_assert_uint_eq(supervisor_alive(supervisor), 0); /* not at once */
    step_for(supervisor, 900);
    ck_assert_uint_eq(supervisor_alive(supervisor), 1);
    ck_assert_int_ne(child->pid, first);
    first = child->pid;
    supervisor_release(supervisor);
    ck_assert(gone(first));
    mem_free(supervisor);
}
END_TEST

START_TEST(test_back_off_doubles)
{
    struct supervisor *supervisor = mem_zalloc(sizeof(*supervisor));
    struct child *child;

    ck_assert_int_eq(supervisor_init(supervisor, NULL), STATUS_OK);
    supervisor->quiet = true;
    child = add_shell(supervisor, "failing", "exit 3");
    ck_assert_int_eq(supervisor_start(supervisor, NULL), STATUS_OK);
    step_for(supervisor, 2600); /* starts at 0, 0.5 and 1.5 s; the next one would be at 3.5 s */
    ck_assert_uint_eq(child->ended_early, 3);
    ck_assert_uint_eq(supervisor_alive(supervisor), 0);
    supervisor_release(supervisor);
    mem_free(supervisor);
}
END_TEST

/* Standard error of a child that refuses, until it has ended `times`; it ends no more often. */
static char *refuse(bool starting, unsigned times)
{
    FILE *file;
    struct supervisor *supervisor = recorded(&file);
    struct child *child;

    supervisor->starting = starting;
    child = add_shell(supervisor, "refuses", "echo first; echo I will not; exit 2");
    ck_assert_int_eq(supervisor_start(supervisor, NULL), STATUS_OK);
    while (child->ended_early < times)
        supervisor_step(supervisor, 20);
    if (starting)
        step_for(supervisor, 900); /* else it would be back after 0.5 s */
    ck_assert_uint_eq(child->ended_early, times);
    ck_assert(child->refused == starting);
    ck_assert_uint_eq(child->last.len, strlen("I will not"));
    ck_assert_int_eq(memcmp(child->last.data, "I will not", child->last.len), 0);
    return recording(supervisor, file);
}

START_TEST(test_a_refusal_is_final_while_starting)
{
    char *text = refuse(true, 1);
    ck_assert_str_eq(text, "refuses  | first\nrefuses  | I will not\n");
    free(text);
}
END_TEST

START_TEST(test_what_several_refuse_is_said_once)
{
    FILE *file;
    struct supervisor *supervisor = recorded(&file);

    supervisor->starting = true;
    add_shell(supervisor, "one", "echo I will not; exit 2");
    add_shell(supervisor, "two", "echo I will not; exit 2");
    add_shell(supervisor, "three", "echo nor I; exit 2");
    ck_assert_int_eq(supervisor_start(supervisor, NULL), STATUS_OK);
    for (size_t i = 0; i < supervisor->count; i++)
        while (!supervisor->children[i].refused)
            supervisor_step(supervisor, 20);
    char *text = recording(supervisor, file), *first = strstr(text, "I will not");
    ck_assert(first && !strstr(first + 1, "I will not") && strstr(text, "three    | nor I\n"));
    free(text);
}
END_TEST

START_TEST(test_a_refusal_is_an_end_like_others_later)
{
    char *text = refuse(false, 2);
    ck_assert_ptr_nonnull(strstr(text, "refuses ended with status 2; again in 1.0 s\n"));
    free(text);
}
END_TEST

START_TEST(test_lines_are_passed_on_whole)
{
    FILE *file;
    struct supervisor *supervisor = recorded(&file);

    add_shell(supervisor, "one", "printf 'a '; sleep 0.2; echo 'b'; echo c >&2; exec sleep 100");
    add_shell(supervisor, "two", "echo last words; exit 5");
    ck_assert_int_eq(supervisor_start(supervisor, NULL), STATUS_OK);
    step_for(supervisor, 450);
    char *text = recording(supervisor, file);
    ck_assert_ptr_nonnull(strstr(text, "one      | a b\n"));
    ck_assert_ptr_nonnull(strstr(text, "one      | c\n"));
    ck_assert_ptr_nonnull(
        strstr(text, "two      | last words\ntwo ended with status 5; again in 0.5 s\n"));
    free(text);
}
END_TEST

START_TEST(test_one_that_ignores_sigterm_is_killed)
{
    struct supervisor *supervisor = mem_zalloc(sizeof(*supervisor));
    uint64_t started;
    pid_t pid;

    ck_assert_int_eq(supervisor_init(supervisor, NULL), STATUS_OK);
    pid_t polite, *pids[] = {&pid, &polite};
    struct child *children[] = {
        add_shell(supervisor, "deaf", "trap '' TERM; while :; do sleep 0.1; done"),
        add_shell(supervisor, "polite", "trap 'exit 0' TERM; while :; do sleep 0.1; done")};
    ck_assert_int_eq(supervisor_start(supervisor, NULL), STATUS_OK);
    step_for(supervisor, 300);
    for (int i = 0; i < 2; i++)
        *pids[i] = children[i]->pid;
    started = clock_now_ms();
    supervisor_stop(supervisor, 1);
    ck_assert_uint_ge(clock_now_ms() - started, 900);
    ck_assert_uint_eq(supervisor_alive(supervisor), 0);
    ck_assert(gone(pid) && gone(polite));
    supervisor_release(supervisor);
    mem_free(supervisor);
}
END_TEST

START_TEST(test_signals_are_counted_not_fatal)
{
    struct supervisor *supervisor = mem_zalloc(sizeof(*supervisor));

    signal(SIGINT, SIG_IGN); /* as a shell leaves it for a background job */
    ck_assert_int_eq(supervisor_init(supervisor, NULL), STATUS_OK);
    raise(SIGINT);
    supervisor_step(supervisor, 100);
    ck_assert_uint_eq(supervisor->stops, 1);
    raise(SIGTERM);
    supervisor_step(supervisor, 100);
    ck_assert_uint_eq(supervisor->stops, 2);
    supervisor_release(supervisor);
    mem_free(supervisor);
}
END_TEST

/* The supervisor is killed outright: nothing of its children may live on. */
START_TEST(test_children_die_with_the_supervisor)
{
    int fds[2];
    pid_t supervised = 0, pid;

    ck_assert_int_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        struct supervisor *supervisor = mem_zalloc(sizeof(*supervisor));
        if (supervisor_init(supervisor, NULL) != STATUS_OK)
            _exit(1);
        struct child *child =
            add_shell(supervisor, "x", "trap '' TERM INT HUP; while :; do sleep 0.1; done");
        if (supervisor_start(supervisor, NULL) != STATUS_OK ||
            write(fds[1], &child->pid, sizeof(child->pid)) != sizeof(child->pid))
            _exit(1);
        for (;;)
            supervisor_step(supervisor, 1000);
    }
    ck_assert_int_eq(read(fds[0], &supervised, sizeof(supervised)), sizeof(supervised));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert_int_gt(supervised, 0);
    ck_assert(gone(supervised));
}
END_TEST

START_TEST(test_a_program_that_is_not_there)
{
    FILE *file;
    struct supervisor *supervisor = recorded(&file);

    supervisor_add(supervisor, "none", "/nowhere/msgl-router");
    ck_assert_int_eq(supervisor_start(supervisor, NULL), STATUS_OK);
    step_for(supervisor, 200);
    char *text = recording(supervisor, file);
    ck_assert_ptr_nonnull(strstr(text, "cannot run /nowhere/msgl-router: No such file"));
    free(text);
}
END_TEST

SUITE_MAIN("supervise", test_a_dead_child_is_started_again, test_back_off_doubles,
           test_a_refusal_is_final_while_starting, test_what_several_refuse_is_said_once,
           test_a_refusal_is_an_end_like_others_later, test_lines_are_passed_on_whole,
           test_one_that_ignores_sigterm_is_killed, test_signals_are_counted_not_fatal,
           test_children_die_with_the_supervisor, test_a_program_that_is_not_there)
