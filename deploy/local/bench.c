/* bench - msgl bench: a closed loop of N streams against a server, and what it felt like. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/mem.h"
#include "deploy/local/client.h"
#include "deploy/local/commands.h"

struct bench_config {
    const char *url;
    const char *model;
    const char *api_key;
    const char *prompt;
    uint64_t streams;
    uint64_t requests;
    uint64_t tokens;
};

#define B struct bench_config
static const struct option bench_options[] = {
    OPTION_STRING(B, url, "url", "http://127.0.0.1:8000", "MSGL_URL", "the server"),
    OPTION_STRING(B, model, "model", NULL, NULL, "a served name (default: the server's first)"),
    OPTION_STRING(B, api_key, "api-key", NULL, "MSGL_API_KEY", "bearer key of the server"),
    OPTION_STRING(B, prompt, "prompt",
                  "Write a long story about a lighthouse keeper. It is story number", NULL,
                  "question; the request's number is put behind it"),
    OPTION_UINT(B, streams, "streams", "4", 1, 4096, "requests at the same time"),
    OPTION_UINT(B, requests, "requests", "16", 1, 1000000, "requests in all"),
    OPTION_UINT(B, tokens, "tokens", "64", 1, 1 << 20,
                "tokens of each answer (end tokens are ignored)"),
};
static const struct config_spec bench_spec = {"msgl bench",
                                              "load a server and print times and tokens/s",
                                              bench_options, ARRAY_LEN(bench_options)};

struct slot {
    struct chat_stream stream;
    CURL *easy;
    char *body;
};

struct bench {
    struct bench_config config;
    char *model;
    CURLM *multi;
    struct slot *slots;
    uint64_t sent, ended, failed;
    uint64_t tokens; /* of the answers that came whole */
    double *first_ms, *token_ms;
    size_t count; /* of both */
    struct err first_error;
};

static void send_next(struct bench *bench, struct slot *slot)
{
    struct buf question = {0};
    json_t *request;

    buf_printf(&question, "%s %llu", bench->config.prompt, (unsigned long long)bench->sent);
    request = json_pack("{s:s,s:[{s:s,s:s}],s:b,s:{s:b},s:I,s:b,s:i}", "model", bench->model,
                        "messages", "role", "user", "content", question.data, "stream", 1,
                        "stream_options", "include_usage", 1, "max_tokens",
                        (json_int_t)bench->config.tokens, "ignore_eos", 1, "temperature", 0);
    buf_release(&question);
    slot->body = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    slot->easy = curl_easy_init();
    chat_stream_init(&slot->stream, NULL, NULL);
    chat_stream_prepare(&slot->stream, slot->easy, bench->config.url, "/v1/chat/completions",
                        slot->body, bench->config.api_key);
    curl_multi_add_handle(bench->multi, slot->easy);
    bench->sent++;
}

static void finish(struct bench *bench, struct slot *slot, CURLcode code)
{
    const struct chat_stream *stream = &slot->stream;
    struct err err = {0};

    bench->ended++;
    if (chat_stream_result(stream, slot->easy, code, bench->config.url, &err) != STATUS_OK) {
        if (!bench->failed++)
            bench->first_error = err;
    } else if (stream->first_ns) {
        int64_t tokens =
            stream->completion_tokens >= 0 ? stream->completion_tokens : (int64_t)stream->pieces;
        bench->tokens += (uint64_t)tokens;
        bench->first_ms[bench->count] = (double)(stream->first_ns - stream->start_ns) / 1e6;
        bench->token_ms[bench->count++] =
            tokens > 1 ? (double)(stream->last_ns - stream->first_ns) / 1e6 / (double)(tokens - 1)
                       : 0;
    }
    curl_multi_remove_handle(bench->multi, slot->easy);
    curl_easy_cleanup(slot->easy);
    slot->easy = NULL;
    chat_stream_release(&slot->stream);
    free(slot->body);
}

static void loop(struct bench *bench)
{
    uint64_t at_once = MIN(bench->config.streams, bench->config.requests);

    for (uint64_t i = 0; i < at_once; i++)
        send_next(bench, &bench->slots[i]);
    while (bench->ended < bench->sent) {
        CURLMsg *message;
        int running, left;

        curl_multi_perform(bench->multi, &running);
        while ((message = curl_multi_info_read(bench->multi, &left))) {
            struct slot *slot = NULL;
            for (uint64_t i = 0; i < at_once; i++)
                if (bench->slots[i].easy == message->easy_handle)
                    slot = &bench->slots[i];
            if (!slot)
                continue;
            finish(bench, slot, message->data.result);
            if (bench->sent < bench->config.requests)
                send_next(bench, slot);
        }
        if (bench->ended < bench->sent)
            curl_multi_poll(bench->multi, NULL, 0, 100, NULL);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, size_t count, double share)
{
    return count ? sorted[(size_t)((double)(count - 1) * share + 0.5)] : 0;
}

static void report(struct bench *bench, double seconds)
{
    qsort(bench->first_ms, bench->count, sizeof(double), compare);
    qsort(bench->token_ms, bench->count, sizeof(double), compare);
    printf("%llu requests in %.2f s, %llu at once, %llu failed\n", (unsigned long long)bench->ended,
           seconds, (unsigned long long)bench->config.streams, (unsigned long long)bench->failed);
    printf("output          %10.1f tokens/s (%llu tokens)\n", (double)bench->tokens / seconds,
           (unsigned long long)bench->tokens);
    printf("time to first   %10.1f ms median, %.1f ms p95, %.1f ms worst\n",
           percentile(bench->first_ms, bench->count, 0.5),
           percentile(bench->first_ms, bench->count, 0.95),
           percentile(bench->first_ms, bench->count, 1));
    printf("time per token  %10.2f ms median, %.2f ms p95, %.2f ms worst\n",
           percentile(bench->token_ms, bench->count, 0.5),
           percentile(bench->token_ms, bench->count, 0.95),
           percentile(bench->token_ms, bench->count, 1));
    if (bench->failed)
        fprintf(stderr, "%s: the first failure: %s\n", bench_spec.program, bench->first_error.text);
}

static enum status run(struct bench *bench, struct err *err)
{
    uint64_t started_ns;

    if (bench->config.model)
        bench->model = mem_strdup(bench->config.model);
    else
        TRY(client_first_model(bench->config.url, bench->config.api_key, &bench->model, err));
    bench->slots = mem_array(bench->config.streams, sizeof(*bench->slots));
    bench->first_ms = mem_array(bench->config.requests, sizeof(double));
    bench->token_ms = mem_array(bench->config.requests, sizeof(double));
    bench->multi = curl_multi_init();
    curl_multi_setopt(bench->multi, CURLMOPT_MAXCONNECTS, (long)bench->config.streams);
    started_ns = clock_now_ns();
    loop(bench);
    report(bench, (double)(clock_now_ns() - started_ns) / 1e9);
    curl_multi_cleanup(bench->multi);
    return STATUS_OK;
}

int command_bench(int argc, char **argv)
{
    struct bench bench = {0};
    struct err err = {0};
    enum status status;
    int exit_status;

    if (!command_parse(&bench_spec, argc, argv, &bench.config, &exit_status))
        return exit_status;
    status = run(&bench, &err);
    if (status != STATUS_OK)
        command_complain(bench_spec.program, &err);
    mem_free(bench.model);
    mem_free(bench.slots);
    mem_free(bench.first_ms);
    mem_free(bench.token_ms);
    config_release(&bench_spec, &bench.config);
    return status == STATUS_OK && !bench.failed ? 0 : 1;
}
