#include "router/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"
#include "proto/keys.h"
#include "router/admin.h"
#include "router/api/api_openai.h"
#include "router/api/tools.h"
#include "router/frames_in.h"
#include "router/queue.h"
#include "router/telemetry.h"

#define TICK_MS               50
#define CLOSE_MS              500
#define ADMIN_CONNECTIONS_MAX 4096

/* A call past its time ends with 504; once a second is precise enough. */
static void expire_calls(struct router *router)
{
    uint64_t now_ns = clock_now_ns();
    LIST_EACH_SAFE(node, next, &router->call_list) {
        struct call *call = LIST_ITEM(node, struct call, node);
        if (call->working || now_ns - call->began_ns <= call->limit_ms * 1000000u)
            continue;
        struct api_error error = {0};
        api_fail(&error, STATUS_TIMEOUT, NULL, "the call took longer than %llu ms",
                 (unsigned long long)call->limit_ms);
        call_fail(call, &error);
    }
}

static void end_drain(struct router *router)
{
    LIST_EACH_SAFE(node, next, &router->call_list) {
        struct call *call = LIST_ITEM(node, struct call, node);
        struct api_error error = {0};
        if (call->working)
            continue;
        api_fail(&error, STATUS_UNAVAILABLE, NULL, "this server is shutting down");
        call_fail(call, &error);
    }
    fleet_leave(&router->fleet, false);
    router->stopped = true;
    uv_stop(&router->loop);
}

/* First only /ready fails, so that whoever sends calls stops; then the port closes and what runs
 * ends. Calls that come over open connections meanwhile are answered, with Connection: close. */
static void go_on_draining(struct router *router, uint64_t now_ms)
{
    if (!router->settled && now_ms >= router->settle_until_ms) {
        router->settled = true;
        http_server_stop(router->api);
        fleet_leave(&router->fleet, true);
    }
    if (router->settled && (router->call_count == 0 || now_ms >= router->drain_until_ms))
        end_drain(router);
}

static void on_tick(uv_timer_t *timer)
{
    struct router *router = timer->data;
    uint64_t now_ms = clock_now_ms();
    router->ticks++;
    http_server_sweep(router->api);
    fleet_tick(&router->fleet, now_ms);
    queue_pump(router);
    queue_expire(router);
    watch_tick(router, now_ms);
    if (router->ticks % (1000 / TICK_MS) == 0) {
        expire_calls(router);
        /* open pages; chats among them wait a second more than on the API port */
        if (router->admin)
            http_server_sweep(router->admin);
        http_server_refresh(router->api);
    }
    api_keys_refresh(&router->keys, now_ms);
    if (router->draining && !router->stopped)
        go_on_draining(router, now_ms);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct router *router = signal->data;
    const struct router_config *config = &router->config;
    if (router->draining) { /* the second time: at once */
        router->settle_until_ms = router->drain_until_ms = 0;
        return;
    }
    LOG_INFO("router", "draining", "signal=%d calls=%llu settle_s=%llu limit_s=%llu", number,
             (unsigned long long)router->call_count, (unsigned long long)config->drain_settle_s,
             (unsigned long long)config->drain_timeout_s);
    router->draining = true;
    router->settle_until_ms = clock_now_ms() + config->drain_settle_s * 1000;
    router->drain_until_ms = router->settle_until_ms + config->drain_timeout_s * 1000;
    uv_timer_start(&router->tick, on_tick, 0, TICK_MS);
}

static void on_handle_close(uv_handle_t *handle)
{
    struct router *router = handle->data;
    router->handles_open--;
}

static void start_handles(struct router *router)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    CHECK(uv_timer_init(&router->loop, &router->tick) == 0);
    router->tick.data = router;
    router->handles_open = 1;
    uv_timer_start(&router->tick, on_tick, TICK_MS, TICK_MS);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        CHECK(uv_signal_init(&router->loop, &router->signals[i]) == 0);
        router->signals[i].data = router;
        router->handles_open++;
        uv_signal_start(&router->signals[i], on_signal, numbers[i]);
    }
}

static enum status start_wire(struct router *router, struct err *err)
{
    const struct router_config *config = &router->config;
    struct transport_security security = {.allow_plain = config->wire_plain,
                                          .allow_file = config->wire_allow_file};
    struct key_pair keys = {0};
    enum status status = STATUS_OK;

    if (!config->wire_key_file != !config->wire_allow_file)
        return err_set(err, STATUS_INVALID, "--wire-key-file and --wire-allow-file go together");
    if (config->wire_key_file) {
        TRY_OUT(key_pair_read(config->wire_key_file, &keys, err));
        security.public_key = keys.public_key;
        security.secret_key = keys.secret_key;
    }
    router->wire = transport_context_new();
    TRY_OUT(
        transport_bind(router->wire, config->worker_endpoint, &security, &router->transport, err));
    TRY_OUT(
        link_start(&router->link, &router->loop, router->transport, &frames_in_ops, router, err));
out:
    key_pair_wipe(&keys);
    return status;
}

static enum status start_http(struct router *router, struct err *err)
{
    const struct router_config *config = &router->config;
    struct http_opts opts = {
        .host = config->host,
        .port = (uint16_t)config->port,
        .body_max = config->body_max_mib << 20,
        .buffer_max = config->stream_buffer_kib << 10,
        .connections_max = config->connections_max,
        .idle_timeout_ms = config->idle_timeout_s * 1000,
        .tls_cert_file = config->tls_cert_file,
        .tls_key_file = config->tls_key_file,
        .ctx = router,
        .request = api_request,
    };
    if (!config->tls_cert_file != !config->tls_key_file)
        return err_set(err, STATUS_INVALID, "--tls-cert-file and --tls-key-file go together");
    TRY(http_server_start(&router->loop, &opts, &router->api, err));
    if (config->admin_port == 0)
        return STATUS_OK;
    opts.tls_cert_file = opts.tls_key_file = NULL;
    opts.host = config->admin_host;
    opts.port = (uint16_t)config->admin_port;
    if (config->no_ui)
        opts.body_max = 4096;
    /* All of a large cluster in one event; who does not read it is cut off by its own bound. */
    opts.buffer_max = MAX(opts.buffer_max, (size_t)4 << 20);
    opts.connections_max = MIN(opts.connections_max, (size_t)ADMIN_CONNECTIONS_MAX);
    opts.request = admin_request;
    return http_server_start(&router->loop, &opts, &router->admin, err);
}

enum status router_init(struct router *router, const struct router_config *config, struct err *err)
{
    char threads[8], host[64] = "router";
    router->config = *config;
    router->policy = route_policy_of((enum route_kind)config->policy);
    /* libuv reads the size of its pool from here, once. */
    snprintf(threads, sizeof(threads), "%llu", (unsigned long long)config->text_threads);
    setenv("UV_THREADPOOL_SIZE", threads, 1);
    CHECK(uv_loop_init(&router->loop) == 0);
    router->random = rng_os();
    router->epoch = rng_os() | 1;
    gethostname(host, sizeof(host) - 1);
    snprintf(router->name, sizeof(router->name), "%s-%d", host, (int)getpid());
    map_init(&router->calls);
    list_init(&router->call_list);
    queue_init(&router->queue);
    router->metrics = telemetry_new();
    fleet_init(&router->fleet, &router->models, router->name, router->epoch, &frames_in_fleet_ops,
               router);
    router->fleet.dead_ms = config->worker_dead_ms;
    router->fleet.gather_ms = (uint32_t)config->stream_gather_ms;
    watch_init(&router->watch);
    page_tree_init(&router->tree);
    if (config->admin_port != 0 && !config->no_ui)
        router->fleet.tree = &router->tree;
    TRY(api_keys_init(&router->keys, config->api_key, config->api_key_file, err));
    TRY(api_keys_init(&router->admin_keys, config->admin_key, NULL, err));
    /* Ports before models: who starts a second router hears at once that they are taken. */
    TRY(start_wire(router, err));
    TRY(start_http(router, err));
    TRY(models_load(&config->models, &config->served_names, &router->models, err));
    for (size_t i = 0; i < router->models.count; i++)
        tools_probe(&router->models.items[i], config->tool_format, config->reasoning == 0);
    start_handles(router);
    router->started_ms = clock_now_ms();
    LOG_INFO("router", "listening", "api=http://%s:%u admin_port=%u workers=%s policy=%s",
             config->host, http_server_port(router->api),
             router->admin ? http_server_port(router->admin) : 0,
             transport_endpoint(router->transport), router->policy->name);
    return STATUS_OK;
}

void router_run(struct router *router)
{
    uv_run(&router->loop, UV_RUN_DEFAULT);
}

/* Lets connections and handles close; a client that holds on does not hold us up. */
static void close_all(struct router *router)
{
    uint64_t until_ms = clock_now_ms() + CLOSE_MS;
    if (router->api)
        http_server_stop(router->api);
    /* Answers that were just given still go out. */
    for (int i = 0; i < 10; i++)
        uv_run(&router->loop, UV_RUN_NOWAIT);
    if (router->api)
        http_server_close(router->api);
    if (router->admin)
        http_server_close(router->admin);
    link_close(&router->link);
    if (router->handles_open > 0) {
        uv_close((uv_handle_t *)&router->tick, on_handle_close);
        uv_close((uv_handle_t *)&router->signals[0], on_handle_close);
        uv_close((uv_handle_t *)&router->signals[1], on_handle_close);
    }
    while (clock_now_ms() < until_ms || router->preparing > 0) {
        bool busy =
            router->preparing > 0 || router->handles_open > 0 || !link_closed(&router->link);
        busy |= router->api && !http_server_closed(router->api);
        busy |= router->admin && !http_server_closed(router->admin);
        if (!busy)
            break;
        uv_run(&router->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

void router_release(struct router *router)
{
    if (!router->metrics)
        return; /* never got far */
    fleet_release(&router->fleet);
    close_all(router);
    http_server_free(router->api);
    http_server_free(router->admin);
    if (router->transport)
        transport_free(router->transport);
    if (router->wire)
        transport_context_free(router->wire);
    models_release(&router->models);
    metrics_free(router->metrics);
    map_release(&router->calls);
    watch_release(&router->watch);
    page_tree_release(&router->tree);
    api_keys_release(&router->keys);
    api_keys_release(&router->admin_keys);
    for (int i = 0; i < 100 && uv_loop_close(&router->loop) == UV_EBUSY; i++)
        uv_run(&router->loop, UV_RUN_NOWAIT);
}
