/* serve - msgl serve: one router and some workers on this machine, until Ctrl-C. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/hub.h"
#include "common/mem.h"
#include "deploy/local/client.h"
#include "deploy/local/commands.h"
#include "deploy/local/supervise.h"

#define EARLY_ENDS_MAX                                                                             \
    3 /* before the first ready: then something is wrong that waiting won't mend */

struct serve_config {
    const char *model;
    const char *served_model_name;
    const char *host;
    uint64_t port, admin_port;
    uint64_t workers;
    uint64_t threads;
    uint64_t kv_mib;
    bool dummy_weights;
    struct config_list router_args, worker_args;
    uint64_t drain_timeout_s;
    uint32_t log_level;
    bool quiet;
    uint64_t with_parent;
};

#define S struct serve_config
static const struct option serve_options[] = {
    OPTION_STRING(S, model, "model", NULL, NULL, "model folder, or ORG/NAME of a hub"),
    OPTION_STRING(S, served_model_name, "served-model-name", NULL, NULL,
                  "name that clients use (default: the folder's name, or ORG/NAME)"),
    OPTION_STRING(S, host, "host", "127.0.0.1", NULL, "IPv4 address of the API"),
    OPTION_UINT(S, port, "port", "8000", 0, 65535, "port of the API; 0 = any free one"),
    OPTION_UINT(S, admin_port, "admin-port", "0", 0, 65535, "port of metrics; 0 = any free one"),
    OPTION_UINT(S, workers, "workers", "1", 1, CHILDREN_MAX - 1, "worker processes"),
    OPTION_UINT(S, threads, "threads", "0", 0, 1024,
                "CPU threads of each worker; 0 = the cores shared out"),
    OPTION_UINT(S, kv_mib, "kv-mib", "0", 0, 1 << 24,
                "KV pool of each worker in MiB; 0 = its default"),
    OPTION_BOOL(S, dummy_weights, "dummy-weights", "false", NULL, "random weights"),
    OPTION_LIST(S, router_args, "router-arg",
                "one more word for msgl-router, as --router-arg=--policy=least"),
    OPTION_LIST(S, worker_args, "worker-arg", "one more word for each msgl-worker"),
    OPTION_UINT(S, drain_timeout_s, "drain-timeout", "5", 0, 3600,
                "seconds that running answers get at Ctrl-C"),
    OPTION_CHOICE(S, log_level, "log-level", "info", "debug|info|warn|error",
                  "of router and workers"),
    OPTION_BOOL(S, quiet, "quiet", "false", NULL, "leave out the lines of router and workers"),
    OPTION_UINT(S, with_parent, "with-parent", "0", 0, 1 << 30,
                "process id of the parent: stop when it ends; 0 = do not care"),
};
static const struct config_spec serve_spec = {"msgl serve",
                                              "a router and workers on this machine, supervised",
                                              serve_options, ARRAY_LEN(serve_options)};

struct serve {
    struct serve_config config;
    struct supervisor supervisor;
    char *model_path;
    char *name; /* what clients call the model */
    uint64_t api_port, admin_port, wire_port;
    char url[128];
};

/* Binds and lets go. Another process may take the port meanwhile: the router then says so. */
static enum status free_port(const char *host, uint64_t wanted, uint64_t *port, int *fd,
                             struct err *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)wanted)};
    socklen_t len = sizeof(address);
    int yes = 1;

    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        return err_set(err, STATUS_INVALID, "--host must be an IPv4 address, not '%s'", host);
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return err_set(err, STATUS_IO, "socket: %s", strerror(errno));
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(*fd, (struct sockaddr *)&address, len) != 0 || listen(*fd, 1) != 0)
        return err_set(err, STATUS_CONFLICT,
                       "port %llu of %s cannot be used (%s); --port 0 takes any free one",
                       (unsigned long long)wanted, host, strerror(errno));
    getsockname(*fd, (struct sockaddr *)&address, &len);
    *port = ntohs(address.sin_port);
    return STATUS_OK;
}

static enum status pick_ports(struct serve *serve, struct err *err)
{
    int fds[3] = {-1, -1, -1};
    enum status status;

    TRY_OUT(free_port(serve->config.host, serve->config.port, &serve->api_port, &fds[0], err));
    TRY_OUT(free_port("127.0.0.1", serve->config.admin_port, &serve->admin_port, &fds[1], err));
    TRY_OUT(free_port("127.0.0.1", 0, &serve->wire_port, &fds[2], err));
    snprintf(serve->url, sizeof(serve->url), "http://%s:%llu",
             strcmp(serve->config.host, "0.0.0.0") == 0 ? "127.0.0.1" : serve->config.host,
             (unsigned long long)serve->api_port);
out:
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return status;
}

static char *beside_us(const char *program)
{
    char self[4096];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    self[len > 0 ? len : 0] = 0;
    slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    return path_join(slash ? self : ".", program);
}

static uint64_t cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint64_t)CPU_COUNT(&set) : 1;
}

static void add_router(struct serve *serve)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    char *program = beside_us("msgl-router");
    struct child *child = supervisor_add(&serve->supervisor, "router", program);

    child_word(child, "--model=%s", serve->model_path);
    child_word(child, "--served-model-name=%s", serve->name);
    child_word(child, "--host=%s", serve->config.host);
    child_word(child, "--port=%llu", (unsigned long long)serve->api_port);
    child_word(child, "--admin-port=%llu", (unsigned long long)serve->admin_port);
    child_word(child, "--worker-endpoint=tcp://127.0.0.1:%llu",
               (unsigned long long)serve->wire_port);
    child_word(child, "--drain-timeout=%llu", (unsigned long long)serve->config.drain_timeout_s);
    child_word(child, "--log-level=%s", levels[serve->config.log_level]);
    for (size_t i = 0; i < serve->config.router_args.count; i++)
        child_word(child, "%s", serve->config.router_args.items[i]);
    mem_free(program);
}

static void add_worker(struct serve *serve, uint64_t index)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    const struct serve_config *config = &serve->config;
    char *program = beside_us("msgl-worker"), name[32];
    uint64_t threads = config->threads ? config->threads : MAX(cores() / config->workers, 1);
    struct child *child;

    snprintf(name, sizeof(name), "worker-%llu", (unsigned long long)index);
    child = supervisor_add(&serve->supervisor, name, program);
    child_word(child, "--model=%s", serve->model_path);
    child_word(child, "--served-model-name=%s", serve->name);
    child_word(child, "--router=tcp://127.0.0.1:%llu", (unsigned long long)serve->wire_port);
    child_word(child, "--id=%s", name);
    child_word(child, "--threads=%llu", (unsigned long long)threads);
    child_word(child, "--drain-timeout=%llu", (unsigned long long)config->drain_timeout_s);
    child_word(child, "--log-level=%s", levels[config->log_level]);
    if (config->kv_mib)
        child_word(child, "--kv-mib=%llu", (unsigned long long)config->kv_mib);
    else if (config->workers > 1 && !file_exists("/dev/nvidiactl")) /* one memory for all of them */
        child_word(child, "--memory-ratio=%.3f", 0.25 / (double)config->workers);
    if (config->workers > 1 && file_exists("/dev/nvidiactl")) /* each has a GPU for itself */
        child_word(child, "--gpu=%llu", (unsigned long long)index);
    if (config->dummy_weights)
        child_word(child, "--dummy-weights");
    for (size_t i = 0; i < config->worker_args.count; i++)
        child_word(child, "%s", config->worker_args.items[i]);
    mem_free(program);
}

static bool is_ready(const struct serve *serve)
{
    long http = 0;
    return client_get(serve->url, "/ready", NULL, 500, &http, NULL, NULL) == STATUS_OK &&
           http == 200;
}

/* OK, or why it makes no sense to go on waiting. The child's words have been passed on, unless nobody
 * wants to see them. */
static enum status check_child(const struct supervisor *supervisor, const struct child *child,
                               struct err *err)
{
    if (!child->refused && child->ended_early < EARLY_ENDS_MAX)
        return STATUS_OK;
    const char *what = child->refused ? "cannot start" : "cannot stay up";
    if (supervisor->quiet)
        return err_set(err, STATUS_UNAVAILABLE, "%s %s: %.*s", child->name, what,
                       (int)child->last.len, child->last.len ? child->last.data : "");
    return err_set(err, STATUS_UNAVAILABLE, "%s %s: its own words are above", child->name, what);
}

/* Until /ready says 200, somebody stops us, or a child cannot stay up. */
static enum status wait_ready(struct serve *serve, struct err *err)
{
    struct supervisor *supervisor = &serve->supervisor;

    while (!supervisor->stops) {
        supervisor_step(supervisor, 50);
        for (size_t i = 0; i < supervisor->count; i++)
            TRY(check_child(supervisor, &supervisor->children[i], err));
        if (is_ready(serve))
            return STATUS_OK;
    }
    return err_set(err, STATUS_CANCELLED, "stopped before it was ready");
}

static void say_ready(const struct serve *serve, uint64_t started_ns)
{
    printf("%s is ready at %s after %.1f s (%llu worker%s)\n"
           "metrics: http://127.0.0.1:%llu/metrics\n"
           "chat:    msgl chat --url %s\n"
           "curl:    curl %s/v1/chat/completions -H 'Content-Type: application/json' -d "
           "'{\"model\": \"%s\", \"stream\": true, \"messages\": [{\"role\": \"user\", "
           "\"content\": \"Hello!\"}]}'\n"
           "Ctrl-C stops it.\n",
           serve->name, serve->url, (double)(clock_now_ns() - started_ns) / 1e9,
           (unsigned long long)serve->config.workers, serve->config.workers > 1 ? "s" : "",
           (unsigned long long)serve->admin_port, serve->url, serve->url, serve->name);
    fflush(stdout);
}

static enum status run(struct serve *serve, struct err *err)
{
    uint64_t started_ns = clock_now_ns();

    if (!serve->config.model)
        return err_set(err, STATUS_INVALID, "--model is needed: a model folder, or ORG/NAME");
    TRY(command_model_path(serve->config.model, !serve->config.dummy_weights, &serve->model_path,
                           err));
    serve->name = serve->config.served_model_name ? mem_strdup(serve->config.served_model_name)
                                                  : hub_served_name(serve->config.model);
    TRY(pick_ports(serve, err));
    TRY(supervisor_init(&serve->supervisor, err));
    add_router(serve);
    for (uint64_t i = 0; i < serve->config.workers; i++)
        add_worker(serve, i);
    serve->supervisor.quiet = serve->config.quiet;
    serve->supervisor.starting = true;
    TRY(supervisor_start(&serve->supervisor, err));
    TRY(wait_ready(serve, err));
    serve->supervisor.starting = false;
    say_ready(serve, started_ns);
    while (!serve->supervisor.stops)
        supervisor_step(&serve->supervisor, 1000);
    return STATUS_OK;
}

int command_serve(int argc, char **argv)
{
    struct serve *serve = mem_zalloc(sizeof(*serve));
    struct err err = {0};
    enum status status;
    int exit_status;

    if (!command_parse(&serve_spec, argc, argv, &serve->config, &exit_status)) {
        mem_free(serve);
        return exit_status;
    }
    serve->supervisor.signal_fd = -1;
    if (serve->config.with_parent)
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (serve->config.with_parent && (uint64_t)getppid() != serve->config.with_parent)
        status = err_set(&err, STATUS_CANCELLED, "the parent has ended already");
    else
        status = run(serve, &err);
    if (status != STATUS_OK && status != STATUS_CANCELLED)
        command_complain(serve_spec.program, &err);
    supervisor_stop(&serve->supervisor, (unsigned)serve->config.drain_timeout_s + 2);
    supervisor_release(&serve->supervisor);
    mem_free(serve->model_path);
    mem_free(serve->name);
    config_release(&serve_spec, &serve->config);
    mem_free(serve);
    return status == STATUS_OK || status == STATUS_CANCELLED ? 0 : 1;
}
