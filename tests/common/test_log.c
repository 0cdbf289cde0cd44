#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/status.h"
#include "tests/common/suite.h"

/* Standard error goes to a file from here on (each test is a process of its own). */
static FILE *capture(void)
{
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
    return file;
}

static char *captured(FILE *file)
{
    char *text = calloc(1, 1 << 20);
    rewind(file);
    ck_assert_uint_gt(fread(text, 1, (1 << 20) - 1, file), 0);
    fclose(file);
    return text;
}

START_TEST(test_lines_and_levels)
{
    FILE *file = capture();
    char *text, *newline;

    log_init("worker 2", LOG_LEVEL_INFO);
    LOG_DEBUG("fleet", "hidden", "x=%d", 1);
    LOG_INFO("fleet", "joined", "worker=%s pages=%u", "a\nb\x1b[31m", 7u);
    text = captured(file);
    ck_assert_ptr_null(strstr(text, "hidden"));
    ck_assert_ptr_nonnull(strstr(text, " I worker 2 fleet.joined worker=a b [31m pages=7\n"));
    newline = strchr(text, '\n');
    ck_assert_ptr_nonnull(newline);
    ck_assert_str_eq(newline, "\n");
    free(text);
}
END_TEST

START_TEST(test_a_long_line_is_cut)
{
    FILE *file = capture();
    struct buf big = {0};
    char *text;

    for (int i = 0; i < 1000; i++)
        buf_str(&big, "0123456789");
    log_init("p", LOG_LEVEL_DEBUG);
    LOG_ERROR("m", "e", "%s", big.data);
    text = captured(file);
    ck_assert_uint_lt(strlen(text), 1100);
    ck_assert_uint_gt(strlen(text), 900);
    ck_assert_int_eq(text[strlen(text) - 1], '\n');
    buf_release(&big);
    free(text);
}
END_TEST

static void *write_many(void *arg)
{
    for (int i = 0; i < 200; i++)
        LOG_INFO("m", "event", "thread=%s end", (const char *)arg);
    return NULL;
}

START_TEST(test_threads_do_not_mix_lines)
{
    FILE *file = capture();
    pthread_t threads[4];
    static const char *const names[] = {"aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"};
    char *text;
    int lines = 0;

    log_init("p", LOG_LEVEL_INFO);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_many, (void *)(uintptr_t)names[i]),
                         0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    text = captured(file);
    for (char *line = text, *next; *line; line = next + 1, lines++) {
        char name[16] = "";
        next = strchr(line, '\n');
        ck_assert_ptr_nonnull(next);
        *next = 0;
        ck_assert_int_eq(sscanf(line, "%*s I p m.event thread=%8s end", name), 1);
        ck_assert_msg(strspn(name, (char[]){name[0], 0}) == 8, "%s", line);
    }
    ck_assert_int_eq(lines, 800);
    free(text);
}
END_TEST

START_TEST(test_status_text)
{
    struct err err;
    ck_assert_int_eq(err_set(&err, STATUS_IO, "cannot open %s", "x"), STATUS_IO);
    ck_assert_int_eq(err_prefix(&err, STATUS_CORRUPT, "model %d", 1), STATUS_CORRUPT);
    ck_assert_str_eq(err.text, "model 1: cannot open x");
    ck_assert_int_eq(err.status, STATUS_CORRUPT);
    ck_assert_int_eq(err_set(NULL, STATUS_IO, "x"), STATUS_IO);
    for (int i = 0; i < 100; i++)
        err_prefix(&err, STATUS_IO, "a rather long context that goes on and on");
    ck_assert_uint_lt(strlen(err.text), sizeof(err.text));
    ck_assert_str_eq(status_name(STATUS_QUEUE_FULL), "queue_full");
    ck_assert_int_eq(status_http(STATUS_QUEUE_FULL), 429);
    ck_assert_str_eq(status_openai_type(STATUS_INVALID), "invalid_request_error");
}
END_TEST

SUITE_MAIN("log", test_lines_and_levels, test_a_long_line_is_cut, test_threads_do_not_mix_lines,
           test_status_text)
