/* The event stream of a chat answer, cut at every place a network may cut it. */
#include <stdio.h>
#include <string.h>

#include "deploy/local/client.h"
#include "tests/common/suite.h"

static const char answer[] =
    ": a comment\n"
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Par\"}}]}\r\n\r\n"
    "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"is "
    "\\ud83d\\ude42\"},\"unknown\":[1]}]}\n\n"
    "event: ignored\n"
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":37,\"completion_tokens\":8}}\n\n"
    "data: [DONE]\n\n";

START_TEST(test_any_cut_gives_the_same_text)
{
    size_t len = strlen(answer);
    for (size_t step = 1; step <= len; step++) {
        struct chat_stream stream;
        chat_stream_init(&stream, NULL, NULL);
        for (size_t at = 0; at < len; at += step)
            chat_stream_feed(&stream, answer + at, MIN(step, len - at));
        ck_assert_str_eq(stream.answer.data, "Paris \xf0\x9f\x99\x82");
        ck_assert_uint_eq(stream.pieces, 2);
        ck_assert_int_eq(stream.prompt_tokens, 37);
        ck_assert_int_eq(stream.completion_tokens, 8);
        ck_assert(stream.done);
        ck_assert_str_eq(stream.err.text, "");
        chat_stream_release(&stream);
    }
}
END_TEST

static void note(void *ctx, const char *text, size_t len)
{
    buf_append(ctx, text, len);
    buf_char(ctx, '|');
}

START_TEST(test_completions_and_pieces)
{
    struct chat_stream stream;
    struct buf pieces = {0};
    const char *text =
        "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"bc\"}]}\n\n";

    chat_stream_init(&stream, note, &pieces);
    chat_stream_feed(&stream, text, strlen(text));
    ck_assert_str_eq(pieces.data, "a|bc|");
    ck_assert(stream.first_ns > 0 && stream.last_ns >= stream.first_ns);
    ck_assert(!stream.done);
    ck_assert_int_eq(stream.completion_tokens, -1);
    buf_release(&pieces);
    chat_stream_release(&stream);
}
END_TEST

START_TEST(test_errors_in_the_stream)
{
    static const char *const cases[][2] = {
        {"data: {\"error\":{\"message\":\"the worker left\",\"type\":\"server_error\"}}\n",
         "the worker left"},
        {"data: {\"error\":{}}\n", "the server reports an error"},
        {"data: {broken\n", "not valid JSON"},
        {"data: \n", "not valid JSON"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct chat_stream stream;
        chat_stream_init(&stream, NULL, NULL);
        chat_stream_feed(&stream, cases[i][0], strlen(cases[i][0]));
        ck_assert_msg(strstr(stream.err.text, cases[i][1]), "case %zu says: %s", i,
                      stream.err.text);
        chat_stream_release(&stream);
    }
}
END_TEST

/* Wrong types everywhere: nothing is taken, nothing crashes. */
START_TEST(test_odd_events)
{
    static const char *const cases[] = {
        "data: 5\n",
        "data: []\n",
        "data: {\"choices\":5}\n",
        "data: {\"choices\":[5]}\n",
        "data: {\"choices\":[{\"delta\":5}]}\n",
        "data: {\"choices\":[{\"delta\":{\"content\":5}}]}\n",
        "data: {\"usage\":null}\n",
        "data: {\"error\":null,\"choices\":[{\"text\":null}]}\n",
        "data\n",
        ":\n",
        "\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct chat_stream stream;
        chat_stream_init(&stream, NULL, NULL);
        chat_stream_feed(&stream, cases[i], strlen(cases[i]));
        ck_assert_uint_eq(stream.pieces, 0);
        ck_assert_msg(!stream.err.text[0], "case %zu says: %s", i, stream.err.text);
        chat_stream_release(&stream);
    }
}
END_TEST

START_TEST(test_nobody_listens)
{
    struct err err = {0};
    long http = -1;
    char *model = NULL;

    ck_assert_int_eq(client_get("http://127.0.0.1:1", "/ready", NULL, 1000, &http, NULL, &err),
                     STATUS_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(err.text, "http://127.0.0.1:1"));
    ck_assert_int_eq(http, 0);
    ck_assert_int_eq(client_first_model("http://127.0.0.1:1/v1/", NULL, &model, &err),
                     STATUS_UNAVAILABLE);
    ck_assert_ptr_null(model);
}
END_TEST

SUITE_MAIN("client", test_any_cut_gives_the_same_text, test_completions_and_pieces,
           test_errors_in_the_stream, test_odd_events, test_nobody_listens)
