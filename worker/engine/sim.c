/* sim - the step's tokens at submit, its time at wait.
 *
 * Steps run one after the other on the imagined device, so what submit computes at once is what the
 * device would have found at its turn: both see the packets in the same order.
 */
#include "worker/engine/sim.h"

#include "common/clock.h"
#include "common/hash.h"
#include "common/mem.h"
#include "worker/engine/sim_table.h"
#include "worker/model/arch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SEATS          (ENGINE_IN_FLIGHT + 1) /* the tokens that wait returned last stay readable */
#define TEXT_IDS_MAX   32768u
#define PAGES_MAX      (1u << 24)
#define TOKENS_SAME_AS "msgl sim 1" /* workers with another token function are other weights */

struct sim_seat {
    uint64_t step, due_ns, device_ns;
    uint32_t *tokens; /* [limits.rows] */
    uint32_t count;
};

/* Behind the opaque struct engine of engine.h. */
struct sim {
    struct engine_info info;
    struct sim_table table;
    double speed;
    uint32_t page_size, slots, pages_per_slot;
    uint64_t *kv;          /* [pages, page_size] */
    uint64_t *own_kv;      /* the same, unless it is the caller's */
    uint64_t *page_sums;   /* [pages] of its kv */
    uint32_t *page_table;  /* [slots, pages_per_slot] */
    uint32_t *last_tokens; /* [slots] */
    struct sim_seat seats[SEATS];
    uint64_t submitted, waited, due_ns; /* due_ns: of the last one submitted */
    int timer_fd;
};

static struct sim *sim_of(const struct engine *engine)
{
    return (struct sim *)(uintptr_t)engine;
}

/* ---- tokens ---- */

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t kv_of(uint32_t token, uint32_t position)
{
    return mix((uint64_t)token << 32 | position);
}

static uint32_t token_of(uint64_t sum, uint32_t vocab)
{
    uint32_t first = MIN(256u, vocab / 2);
    uint32_t range = MAX(1u, MIN((vocab - first) / 4 * 3, TEXT_IDS_MAX));
    return first + (uint32_t)(((unsigned __int128)mix(sum) * range) >> 64);
}

uint32_t sim_next_token(const uint32_t *tokens, uint32_t count, uint32_t vocab)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += kv_of(tokens[i], i);
    return token_of(sum, vocab);
}

static void write_row(struct sim *sim, const struct step_row *row, const uint32_t *tokens)
{
    const uint32_t *table = sim->page_table + (size_t)row->slot * sim->pages_per_slot;
    for (uint32_t i = 0; i < row->token_count; i++) {
        uint32_t position = row->pos_first + i;
        uint32_t token = tokens[i] == STEP_TOKEN_LAST ? sim->last_tokens[row->slot] : tokens[i];
        uint32_t page = table[position / sim->page_size];
        uint64_t *kv = &sim->kv[(size_t)page * sim->page_size + position % sim->page_size];
        uint64_t value = kv_of(token, position);
        sim->page_sums[page] += value - *kv;
        *kv = value;
    }
}

/* What attention would find in the pool for the positions below `count`. */
static uint64_t read_context(const struct sim *sim, uint32_t slot, uint32_t count)
{
    const uint32_t *table = sim->page_table + (size_t)slot * sim->pages_per_slot;
    uint32_t full = count / sim->page_size;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < full; i++)
        sum += sim->page_sums[table[i]];
    for (uint32_t i = 0; i < count % sim->page_size; i++)
        sum += sim->kv[(size_t)table[full] * sim->page_size + i];
    return sum;
}

static void run_packet(struct sim *sim, const struct step_packet *packet, struct sim_seat *seat)
{
    const struct page_delta *deltas = step_deltas(packet);
    const struct step_row *rows = step_rows(packet);
    const struct step_sample *samples = step_samples(packet);
    for (uint32_t i = 0; i < packet->delta_count; i++)
        sim->page_table[(size_t)deltas[i].slot * sim->pages_per_slot + deltas[i].idx] =
            deltas[i].page;
    for (uint32_t i = 0; i < packet->row_count; i++)
        write_row(sim, &rows[i], step_tokens(packet) + rows[i].token_first);
    for (uint32_t i = 0; i < packet->sample_count; i++) {
        uint32_t slot = rows[samples[i].row].slot;
        uint64_t sum = read_context(sim, slot, samples[i].position);
        seat->tokens[i] = sim->last_tokens[slot] = token_of(sum, sim->info.vocab);
    }
    seat->step = packet->step;
    seat->count = packet->sample_count;
}

static enum status check_packet(const struct sim *sim, const struct step_packet *packet,
                                struct err *err)
{
    bool good = step_packet_valid(packet, packet->bytes, &sim->info.limits, sim->slots);
    for (uint32_t i = 0; good && i < packet->token_count; i++)
        good =
            step_tokens(packet)[i] < sim->info.vocab || step_tokens(packet)[i] == STEP_TOKEN_LAST;
    for (uint32_t i = 0; good && i < packet->row_count; i++) {
        const struct step_row *row = &step_rows(packet)[i];
        good = (uint64_t)row->pos_first + row->token_count <= sim->info.context_max;
    }
    for (uint32_t i = 0; good && i < packet->delta_count; i++) {
        const struct page_delta *delta = &step_deltas(packet)[i];
        good = delta->slot < sim->slots && delta->idx < sim->pages_per_slot &&
               delta->page < sim->info.pages;
    }
    if (!good)
        return err_set(err, STATUS_INVALID, "step packet %" PRIu64 " breaks the engine's limits",
                       packet->step);
    return STATUS_OK;
}

/* ---- time ---- */

static void timer_set(struct sim *sim, uint64_t due_ns)
{
    struct itimerspec at = {
        .it_value = {(time_t)(due_ns / 1000000000u), (long)(due_ns % 1000000000u)}};
    int set = timerfd_settime(sim->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    CHECK(set == 0);
}

static void sleep_until(uint64_t due_ns)
{
    struct timespec at = {(time_t)(due_ns / 1000000000u), (long)(due_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        continue;
}

enum status sim_submit(struct engine *engine, const struct step_packet *packet, uint64_t *ticket,
                       struct err *err)
{
    struct sim *sim = sim_of(engine);
    CHECK(sim->submitted - sim->waited < ENGINE_IN_FLIGHT);
    TRY(check_packet(sim, packet, err));
    *ticket = ++sim->submitted;
    struct sim_seat *seat = &sim->seats[*ticket % SEATS];
    run_packet(sim, packet, seat);
    double us = sim_table_step_us(&sim->table, packet, sim->page_size) / sim->speed;
    seat->device_ns = MAX((uint64_t)1, (uint64_t)(us * 1000));
    sim->due_ns = MAX(sim->due_ns, clock_now_ns()) + seat->device_ns;
    seat->due_ns = sim->due_ns;
    if (sim->submitted == sim->waited + 1)
        timer_set(sim, seat->due_ns);
    return STATUS_OK;
}

enum status sim_wait(struct engine *engine, uint64_t ticket, struct step_result *result,
                     struct err *err)
{
    struct sim *sim = sim_of(engine);
    CHECK(ticket == sim->waited + 1 && ticket <= sim->submitted);
    struct sim_seat *seat = &sim->seats[ticket % SEATS];
    uint64_t expired;
    sleep_until(seat->due_ns);
    ssize_t got = read(sim->timer_fd, &expired, sizeof(expired));
    CHECK(got == (ssize_t)sizeof(expired) || errno == EAGAIN);
    sim->waited = ticket;
    if (sim->submitted > ticket)
        timer_set(sim, sim->seats[(ticket + 1) % SEATS].due_ns);
    else
        timer_set(sim, 0); /* both zero: disarmed, whatever came between the two lines above */
    *result = (struct step_result){.step = seat->step,
                                   .tokens = seat->tokens,
                                   .sample_count = seat->count,
                                   .device_ns = seat->device_ns};
    return STATUS_OK;
}

/* ---- open and close ---- */

static enum status size_pool(struct sim *sim, const struct engine_opts *opts, uint32_t context,
                             struct err *err)
{
    uint64_t page_bytes = sim->table.kv_token_bytes * opts->page_size;
    uint64_t bytes = opts->kv_bytes ? opts->kv_bytes : sim->table.pool_mib << 20;
    uint64_t pages = MIN(bytes / page_bytes, (uint64_t)PAGES_MAX);
    if (pages == 0)
        return err_set(err, STATUS_NO_SPACE,
                       "a KV pool of %" PRIu64 " bytes holds no page of %" PRIu64, bytes,
                       page_bytes);
    sim->info.pages = (uint32_t)pages;
    sim->info.kv_bytes = pages * page_bytes;
    sim->info.context_max = (uint32_t)MIN((uint64_t)context, pages * opts->page_size);
    return STATUS_OK;
}

static void fill_info(struct sim *sim, const struct engine_opts *opts, uint32_t vocab)
{
    struct engine_info *info = &sim->info;
    info->vocab = vocab;
    info->weights_hash = hash_bytes(TOKENS_SAME_AS, strlen(TOKENS_SAME_AS));
    info->step_us = (sim->table.launch_us + sim->table.weights_us) / sim->speed;
    info->prefill_us_per_token = info->decode_us_per_row = sim->table.token_us / sim->speed;
    step_limits_init(&info->limits, opts->slots, opts->step_tokens_max, info->context_max,
                     opts->page_size);
    snprintf(info->device, sizeof(info->device), "simulated: %s, speed %g",
             opts->sim_table ? opts->sim_table : "default", sim->speed);
}

static enum status make_pool(struct sim *sim, const struct engine_opts *opts, struct err *err)
{
    size_t words = (size_t)sim->info.pages * opts->page_size;
    void *memory = NULL;
    if (opts->pool) {
        struct engine_pool_need need = {.kind = "sim",
                                        .pages = sim->info.pages,
                                        .page_bytes = opts->page_size * sizeof(*sim->kv),
                                        .weights = sim->info.weights_hash};
        TRY(opts->pool->map(opts->pool->ctx, &need, &memory, err));
    } else {
        memory = sim->own_kv = mem_array(words, sizeof(*sim->kv));
    }
    sim->kv = memory;
    sim->page_sums = mem_array(sim->info.pages, sizeof(*sim->page_sums));
    for (size_t i = 0; opts->pool && i < words; i++)
        sim->page_sums[i / opts->page_size] += sim->kv[i];
    return STATUS_OK;
}

enum status sim_open(const struct engine_opts *opts, struct engine **out, struct err *err)
{
    enum status status;
    struct model_config config;
    struct sim *sim = mem_zalloc(sizeof(*sim));
    sim->timer_fd = -1;
    sim->speed = opts->sim_speed > 0 ? opts->sim_speed : 1;
    sim->page_size = opts->page_size;
    sim->slots = opts->slots;
    TRY_OUT(sim_table_load(opts->sim_table, &sim->table, err));
    TRY_OUT(model_config_load(opts->model_dir, &config, err));
    uint32_t context = MIN(config.context, opts->context_max ? opts->context_max : UINT32_MAX);
    TRY_OUT(size_pool(sim, opts, context, err));
    fill_info(sim, opts, config.vocab);
    sim->pages_per_slot = DIV_CEIL(sim->info.context_max, opts->page_size);
    TRY_OUT(make_pool(sim, opts, err));
    sim->page_table =
        mem_array((size_t)opts->slots * sim->pages_per_slot, sizeof(*sim->page_table));
    sim->last_tokens = mem_array(opts->slots, sizeof(*sim->last_tokens));
    for (size_t i = 0; i < SEATS; i++)
        sim->seats[i].tokens = mem_array(sim->info.limits.rows, sizeof(*sim->seats[i].tokens));
    sim->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (sim->timer_fd < 0)
        status = err_set(err, STATUS_IO, "cannot make a timer: %s", strerror(errno));
out:
    if (status != STATUS_OK)
        sim_close((struct engine *)(void *)sim);
    else
        *out = (struct engine *)(void *)sim;
    return status;
}

void sim_close(struct engine *engine)
{
    struct sim *sim = sim_of(engine);
    if (sim == NULL)
        return;
    if (sim->timer_fd >= 0)
        close(sim->timer_fd);
    for (size_t i = 0; i < SEATS; i++)
        mem_free(sim->seats[i].tokens);
    mem_free(sim->own_kv);
    mem_free(sim->page_sums);
    mem_free(sim->page_table);
    mem_free(sim->last_tokens);
    mem_free(sim);
}

const struct engine_info *sim_info(const struct engine *engine)
{
    return &sim_of(engine)->info;
}

uint64_t sim_page_sum(const struct engine *engine, uint32_t page)
{
    const struct sim *sim = sim_of(engine);
    size_t words = sim->page_size;
    return hash_bytes(sim->kv + page * words, words * sizeof(*sim->kv));
}

int sim_event_fd(const struct engine *engine)
{
    return sim_of(engine)->timer_fd;
}
