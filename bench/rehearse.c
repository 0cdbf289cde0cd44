/* bench_rehearse - the scheduler before a timing table of the sim engine, in time that only the table
 * makes pass: what bench/online would measure, without router, wire and waiting, the same each time.
 *
 *   bench_rehearse --work WORK [--table NAME|FILE] [--step-ms MS] …
 *
 *   WORK: chat:SESSIONS:TURNS or open:RATE:SECONDS, in tokens what bench/works/load.h is in words
 *   REHEARSE,work,seed,step_ms,seconds,out_tok_per_s,ttft_p50,ttft_p99,itl_p50,itl_p99,steps,mixed,mixed_ms
 *
 *        arrivals ──► scheduler ──plan──► [ running | next ] ──end──► commit ──► tokens
 *                         ▲   when scheduler_late_ms() says so          │
 *                         └──────────── chat: the next turn ◄───────────┘
 */
#include "bench/works/quantile.h"
#include "common/config.h"
#include "common/mem.h"
#include "common/rng.h"
#include "worker/engine/sim_table.h"
#include "worker/sched/scheduler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SYSTEM_TOKENS 1505u
#define TURN_TOKENS   130u
#define REPLY_TOKENS  155u
#define OWN_TOKENS    509u
#define OUT_TOKENS    150u
#define PAGE_SIZE     16u
#define NEVER         INFINITY

struct rehearse_opts {
    const char *work, *table;
    uint64_t seed, running_max, step_tokens, chunk_tokens, host_us;
    double step_ms;
};

#define O struct rehearse_opts
static const struct option options[] = {
    OPTION_STRING(O, work, "work", "open:15:60", NULL, "chat:SESSIONS:TURNS or open:RATE:SECONDS"),
    OPTION_UINT(O, seed, "seed", "0", 0, 999999, "of the arrivals"),
    OPTION_STRING(O, table, "table", NULL, NULL,
                  SIM_PRESETS ", or a JSON file; default: the first"),
    OPTION_UINT(O, running_max, "max-running", "256", 1, 4096, "reqs in a step at most"),
    OPTION_UINT(O, step_tokens, "step-tokens", "8192", 1, 1 << 20, "tokens in a step at most"),
    OPTION_UINT(O, chunk_tokens, "chunk-tokens", "2048", 0, 1 << 20,
                "tokens of one prompt in a step at most; 0 = unchunked"),
    OPTION_FLOAT(O, step_ms, "step-ms", "25", 0, 60000, "as the worker's; 0 = no bound"),
    OPTION_UINT(O, host_us, "host-us", "300", 0, 1000000, "from a plan to the device's begin"),
};
static const struct config_spec config = {"bench_rehearse", "Online loads in a table's time.",
                                          options, ARRAY_LEN(options)};

struct call {
    uint32_t session, turn, tokens; /* prompt */
    double arrival_ms, last_ms;
};

struct flight {
    double begin_ms, end_ms;
    uint32_t samples;
};

struct rehearsal {
    const struct rehearse_opts *opts;
    struct sim_table table;
    struct scheduler *scheduler;
    double now_ms;
    struct call *calls;
    uint32_t sessions, turns, call_count, arrived, ended;
    struct flight flights[2];
    uint32_t in_flight;
    void *block;
    struct sched_event *events;
    uint32_t *zeros, *prompt;
    double *ttft, *gaps;
    size_t ttft_count, gap_count;
    uint64_t steps, mixed;
    double mixed_ms;
};

static void add(struct rehearsal *r, uint32_t index)
{
    struct call *call = &r->calls[index];
    for (uint32_t i = 0; i < call->tokens; i++)
        r->prompt[i] = i < SYSTEM_TOKENS ? i : 2000 + call->session * 10000 + i;
    struct req_spec spec = {.user = index,
                            .tokens = r->prompt,
                            .token_count = call->tokens,
                            .prompt_count = call->tokens,
                            .tokens_max = OUT_TOKENS,
                            .ignore_eos = true,
                            .sampling = sampling_default()};
    struct err err;
    uint64_t id;
    call->arrival_ms = r->now_ms;
    CHECK(scheduler_add(r->scheduler, &spec, (uint64_t)r->now_ms, &id, &err) == STATUS_OK);
}

static void take(struct rehearsal *r, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct sched_event *event = &r->events[i];
        struct call *call = &r->calls[event->user];
        if (event->index == 0)
            r->ttft[r->ttft_count++] = r->now_ms - call->arrival_ms;
        else
            r->gaps[r->gap_count++] = r->now_ms - call->last_ms;
        call->last_ms = r->now_ms;
        if (event->finish == SCHED_RUNNING)
            continue;
        r->ended++;
        if (r->sessions > 0 && call->turn + 1 < r->turns)
            add(r, (uint32_t)event->user + 1);
    }
}

/* True when there was something to compute. */
static bool plan(struct rehearsal *r)
{
    uint32_t count = scheduler_event_max(r->scheduler);
    const struct step_packet *packet =
        scheduler_plan(r->scheduler, (uint64_t)r->now_ms, r->block, r->events, &count);
    if (!packet)
        return false;
    double ms = sim_table_step_us(&r->table, packet, PAGE_SIZE) / 1000,
           ready = r->now_ms + (double)r->opts->host_us / 1000;
    double begin = r->in_flight ? MAX(r->flights[0].end_ms, ready) : ready;
    r->flights[r->in_flight++] = (struct flight){begin, begin + ms, packet->sample_count};
    r->steps++;
    if (packet->token_count > packet->row_count && step_rows(packet)[0].token_count == 1) {
        r->mixed++;
        r->mixed_ms += ms;
    }
    return true;
}

static void commit(struct rehearsal *r)
{
    struct flight done = r->flights[0];
    uint32_t count = scheduler_event_max(r->scheduler);
    r->flights[0] = r->flights[1];
    r->in_flight--;
    scheduler_commit(r->scheduler, r->zeros, done.samples, (uint64_t)r->now_ms,
                     (uint64_t)((done.end_ms - done.begin_ms) * 1e6), r->events, &count);
    take(r, count);
}

static void run(struct rehearsal *r)
{
    bool idle = false; /* nothing to plan until something happens */
    while (r->ended < r->call_count) {
        double arrival = r->sessions == 0 && r->arrived < r->call_count
                             ? r->calls[r->arrived].arrival_ms
                             : NEVER;
        double end = r->in_flight ? r->flights[0].end_ms : NEVER;
        double due = r->in_flight == 2 || idle ? NEVER : r->now_ms;
        if (r->in_flight == 1 && !idle)
            due = MAX(due, r->flights[0].begin_ms + scheduler_late_ms(r->scheduler));
        double next = MIN(MIN(arrival, end), due);
        r->now_ms = MAX(r->now_ms, next);
        if (next == arrival)
            add(r, r->arrived++);
        else if (next == end)
            commit(r);
        idle = next == due && next != arrival && next != end ? !plan(r) : false;
    }
}

static enum status make_calls(struct rehearsal *r, struct err *err)
{
    double rate = 0, seconds = 0, at = 0;
    uint64_t random = r->opts->seed;
    bool chat = sscanf(r->opts->work, "chat:%u:%u", &r->sessions, &r->turns) == 2;
    bool open = !chat && sscanf(r->opts->work, "open:%lf:%lf", &rate, &seconds) == 2;
    double count = chat ? (double)r->sessions * r->turns : open ? rate * seconds : 0;
    if (!(count >= 1 && count <= 100000))
        return err_set(
            err, STATUS_INVALID,
            "%s is neither chat:SESSIONS:TURNS nor open:RATE:SECONDS of 1 to 100,000 calls",
            r->opts->work);
    r->call_count = (uint32_t)count;
    r->calls = mem_array(r->call_count, sizeof(*r->calls));
    for (uint32_t i = 0; i < r->call_count; i++) {
        uint32_t turn = chat ? i % r->turns : 0;
        uint32_t own = chat ? (turn + 1) * TURN_TOKENS + turn * REPLY_TOKENS : OWN_TOKENS;
        at += chat ? 0 : -log(1 - rng_unit(&random)) / rate * 1000;
        r->calls[i] = (struct call){.session = chat ? i / r->turns : i,
                                    .turn = turn,
                                    .tokens = SYSTEM_TOKENS + own,
                                    .arrival_ms = at};
    }
    return STATUS_OK;
}

static enum status make_scheduler(struct rehearsal *r, struct err *err)
{
    uint32_t context = r->calls[r->call_count - 1].tokens + OUT_TOKENS + 1;
    uint64_t page_bytes = r->table.kv_token_bytes * PAGE_SIZE;
    struct sched_opts opts = {
        .pages = (uint32_t)MIN((r->table.pool_mib << 20) / page_bytes, (uint64_t)1 << 22),
        .page_size = PAGE_SIZE,
        .slots = (uint32_t)r->opts->running_max,
        .waiting_max = r->call_count,
        .context_max = context,
        .step_tokens = (uint32_t)r->opts->step_tokens,
        .chunk_tokens = (uint32_t)r->opts->chunk_tokens,
        .step_ms = r->opts->step_ms,
        .step_us = r->table.launch_us + r->table.weights_us,
        .prefill_us_per_token = r->table.token_us,
        .decode_us_per_row = r->table.token_us,
        .cache = true,
        .prefix_groups = true,
        .age_ms = 1000};
    struct step_limits limits;
    TRY(scheduler_new(&opts, &r->scheduler, err));
    scheduler_limits(r->scheduler, &limits);
    r->block = mem_aligned(step_packet_bytes_max(&limits), 64);
    r->events = mem_array(scheduler_event_max(r->scheduler), sizeof(*r->events));
    r->zeros = mem_array(opts.slots, sizeof(*r->zeros));
    r->prompt = mem_array(context, sizeof(*r->prompt));
    r->ttft = mem_array(r->call_count, sizeof(*r->ttft));
    r->gaps = mem_array((size_t)r->call_count * OUT_TOKENS, sizeof(*r->gaps));
    return STATUS_OK;
}

static void print(struct rehearsal *r)
{
    printf("REHEARSE,%s,%llu,%g,%.2f,%.0f,%.1f,%.1f,%.2f,%.2f,%llu,%llu,%.1f\n", r->opts->work,
           (unsigned long long)r->opts->seed, r->opts->step_ms, r->now_ms / 1000,
           r->call_count * (double)OUT_TOKENS / r->now_ms * 1000,
           quantile(r->ttft, r->ttft_count, 0.5), quantile(r->ttft, r->ttft_count, 0.99),
           quantile(r->gaps, r->gap_count, 0.5), quantile(r->gaps, r->gap_count, 0.99),
           (unsigned long long)r->steps, (unsigned long long)r->mixed,
           r->mixed ? r->mixed_ms / (double)r->mixed : 0);
}

static enum status rehearse(const struct rehearse_opts *opts, struct err *err)
{
    enum status status;
    struct rehearsal r = {.opts = opts};
    TRY_OUT(sim_table_load(opts->table, &r.table, err));
    TRY_OUT(make_calls(&r, err));
    TRY_OUT(make_scheduler(&r, err));
    for (uint32_t i = 0; i < r.sessions; i++)
        add(&r, i * r.turns);
    run(&r);
    print(&r);
out:
    scheduler_free(r.scheduler);
    mem_free(r.calls);
    mem_free(r.block);
    mem_free(r.events);
    mem_free(r.zeros);
    mem_free(r.prompt);
    mem_free(r.ttft);
    mem_free(r.gaps);
    return status;
}

int main(int argc, char **argv)
{
    struct rehearse_opts opts = {0};
    struct err err = {0};
    enum config_action action;
    enum status status = config_parse(&config, argc, argv, &opts, &action, &err);
    if (status == STATUS_OK && action == CONFIG_ACTION_RUN)
        status = rehearse(&opts, &err);
    config_release(&config, &opts);
    if (status != STATUS_OK)
        fprintf(stderr, "bench_rehearse: %s\n", err.text);
    return status == STATUS_OK ? 0 : 1;
}
