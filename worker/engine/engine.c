/* engine - two threads around the device, and a queue of two steps in front of them.
 *
 *   seats:  [0] [1] [2]    ticket t sits in seat t % 3, from submit to the wait that returns it
 *
 *   FREE ──submit──► QUEUED ──launcher──► RUNNING ──completer──► DONE ──wait──► HELD ──next wait──► FREE
 *
 * HELD: the result that wait returned points into the seat. It counts as free for submit only when
 * a later wait has returned, so there is one seat more than steps in flight.
 */
#include "worker/engine/engine.h"

#include "common/clock.h"
#include "common/mem.h"
#include "worker/engine/setup.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SEATS (ENGINE_IN_FLIGHT + 1)
static_assert(STEP_LANES == ENGINE_IN_FLIGHT, "each step in flight has a lane to itself");

struct seat {
    struct step_io io;
    uint64_t step;
    uint32_t sample_count;
    enum status launched; /* what step_launch said */
    struct err err;       /* when that is not OK */
    enum status status;
};

struct engine {
    struct engine_opts opts; /* its strings are the engine's own */
    struct engine_info info;
    struct engine_parts parts;
    pthread_t launcher, completer;
    bool launcher_started, completer_started;
    int event_fd;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    uint64_t submitted, launched, done, waited; /* tickets 1..n of each kind */
    bool opened, closing;
    enum status status; /* of open, later of the first step that failed */
    struct err err;

    struct seat seats[SEATS]; /* owned by the threads from submit to done, else by the caller */
    const float *logits;
};

static struct seat *seat_of(struct engine *engine, uint64_t ticket)
{
    return &engine->seats[ticket % SEATS];
}

/* Completes a ticket: the event comes after the state, so a reader of the fd finds it. */
static void finish(struct engine *engine, struct seat *seat, enum status status, struct err *err)
{
    pthread_mutex_lock(&engine->lock);
    seat->status = engine->status != STATUS_OK ? engine->status : status;
    if (status != STATUS_OK && engine->status == STATUS_OK) {
        engine->status = status;
        engine->err = *err;
    }
    engine->done++;
    pthread_cond_broadcast(&engine->changed);
    uint64_t one = 1;
    ssize_t written = write(engine->event_fd, &one, sizeof(one));
    CHECK(written == (ssize_t)sizeof(one)); /* fails only beyond 2^64 - 2 events */
    pthread_mutex_unlock(&engine->lock);
}

/* Waits until tickets up to *to pass *from; false when the engine closes and there are none. */
static bool next_ticket(struct engine *engine, const uint64_t *from, const uint64_t *to,
                        uint64_t *ticket, bool *broken)
{
    pthread_mutex_lock(&engine->lock);
    while (*from == *to && !(engine->closing && *from == engine->submitted))
        pthread_cond_wait(&engine->changed, &engine->lock);
    bool found = *from != *to;
    *ticket = *from + 1;
    *broken = engine->status != STATUS_OK;
    pthread_mutex_unlock(&engine->lock);
    return found;
}

static enum status launch(struct engine *engine, uint64_t ticket, struct seat *seat)
{
    if (ticket == engine->opts.fail_step)
        return err_set(&seat->err, STATUS_INTERNAL, "step %" PRIu64 " fails, as asked", ticket);
    return step_launch(&engine->parts.runner, ticket % STEP_LANES, &seat->io, &seat->err);
}

/* After a failure the device's state is unknown: steps are only drained. */
static void launch_steps(struct engine *engine)
{
    uint64_t ticket;
    bool broken;
    enum status status = STATUS_OK;
    while (next_ticket(engine, &engine->launched, &engine->submitted, &ticket, &broken)) {
        struct seat *seat = seat_of(engine, ticket);
        seat->err = (struct err){0};
        if (status == STATUS_OK && !broken)
            status = launch(engine, ticket, seat);
        seat->launched = broken ? STATUS_CANCELLED : status;
        pthread_mutex_lock(&engine->lock);
        engine->launched++;
        pthread_cond_broadcast(&engine->changed);
        pthread_mutex_unlock(&engine->lock);
    }
}

static void *completer_main(void *arg)
{
    struct engine *engine = arg;
    uint64_t ticket;
    bool broken;
    while (next_ticket(engine, &engine->done, &engine->launched, &ticket, &broken)) {
        struct seat *seat = seat_of(engine, ticket);
        struct err err = seat->err;
        enum status status = seat->launched;
        if (status == STATUS_OK && !broken)
            status = step_finish(&engine->parts.runner, ticket % STEP_LANES, &seat->io, &err);
        finish(engine, seat, status, &err);
    }
    return NULL;
}

static void *launcher_main(void *arg)
{
    struct engine *engine = arg;
    struct err err = {0};
    struct engine_info info;
    enum status status = engine_parts_init(&engine->opts, &engine->parts, &info, &err);
    pthread_mutex_lock(&engine->lock);
    engine->info = info;
    engine->status = status;
    engine->err = err;
    engine->opened = true;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    if (status == STATUS_OK)
        launch_steps(engine);
    return NULL;
}

static const char *text_copy(const char *text)
{
    return text != NULL ? mem_strdup(text) : NULL;
}

enum status engine_open(const struct engine_opts *opts, struct engine **out, struct err *err)
{
    enum status status = STATUS_OK;
    struct engine *engine = mem_zalloc(sizeof(*engine));
    engine->opts = *opts;
    engine->opts.model_dir = text_copy(opts->model_dir);
    engine->opts.backend = text_copy(opts->backend);
    engine->opts.comm = text_copy(opts->comm);
    engine->opts.attn = text_copy(opts->attn);
    engine->opts.plans = text_copy(opts->plans);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->changed, NULL);
    engine->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    if (engine->event_fd < 0) {
        status = err_set(err, STATUS_IO, "cannot make an eventfd");
        goto out;
    }
    engine->launcher_started = pthread_create(&engine->launcher, NULL, launcher_main, engine) == 0;
    if (!engine->launcher_started) {
        status = err_set(err, STATUS_IO, "cannot start the engine's launching thread");
        goto out;
    }
    pthread_mutex_lock(&engine->lock);
    while (!engine->opened)
        pthread_cond_wait(&engine->changed, &engine->lock);
    status = engine->status;
    if (status != STATUS_OK && err != NULL)
        *err = engine->err;
    pthread_mutex_unlock(&engine->lock);
    if (status != STATUS_OK)
        goto out;
    for (size_t i = 0; i < SEATS; i++)
        step_io_init(&engine->seats[i].io, &engine->info.limits);
    engine->completer_started =
        pthread_create(&engine->completer, NULL, completer_main, engine) == 0;
    if (!engine->completer_started)
        status = err_set(err, STATUS_IO, "cannot start the engine's completing thread");
out:
    if (status != STATUS_OK)
        engine_close(engine);
    else
        *out = engine;
    return status;
}

void engine_close(struct engine *engine)
{
    if (engine == NULL)
        return;
    pthread_mutex_lock(&engine->lock);
    engine->closing = true;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    if (engine->launcher_started)
        pthread_join(engine->launcher, NULL);
    if (engine->completer_started)
        pthread_join(engine->completer, NULL);
    engine_parts_release(&engine->parts); /* nothing is in flight any more */
    for (size_t i = 0; i < SEATS; i++)
        step_io_release(&engine->seats[i].io);
    if (engine->event_fd >= 0)
        close(engine->event_fd);
    pthread_cond_destroy(&engine->changed);
    pthread_mutex_destroy(&engine->lock);
    mem_free((void *)(uintptr_t)engine->opts.model_dir);
    mem_free((void *)(uintptr_t)engine->opts.backend);
    mem_free((void *)(uintptr_t)engine->opts.comm);
    mem_free((void *)(uintptr_t)engine->opts.attn);
    mem_free((void *)(uintptr_t)engine->opts.plans);
    mem_free(engine);
}

const struct engine_info *engine_info(const struct engine *engine)
{
    return &engine->info;
}

enum status engine_grammar_add(struct engine *engine, struct str automaton, uint32_t *id,
                               struct err *err)
{
    struct grammars *grammars = engine->parts.runner.extras.grammars;
    if (grammars == NULL)
        return err_set(err, STATUS_UNSUPPORTED, "this worker has no grammars");
    return grammars_add(grammars, automaton, id, err);
}

void engine_grammar_drop(struct engine *engine, uint32_t id)
{
    grammars_drop(engine->parts.runner.extras.grammars, id);
}

enum status engine_submit(struct engine *engine, const struct step_packet *packet, uint64_t *ticket,
                          struct err *err)
{
    CHECK(engine->submitted - engine->waited < ENGINE_IN_FLIGHT);
    TRY(step_check(&engine->parts.runner, packet, err));
    struct seat *seat = seat_of(engine, engine->submitted + 1);
    memcpy(seat->io.packet_block, packet, packet->bytes);
    seat->step = packet->step;
    seat->sample_count = packet->sample_count;
    pthread_mutex_lock(&engine->lock);
    *ticket = ++engine->submitted;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    return STATUS_OK;
}

enum status engine_wait(struct engine *engine, uint64_t ticket, struct step_result *result,
                        struct err *err)
{
    CHECK(ticket == engine->waited + 1 && ticket <= engine->submitted);
    struct seat *seat = seat_of(engine, ticket);
    pthread_mutex_lock(&engine->lock);
    while (engine->done < ticket)
        pthread_cond_wait(&engine->changed, &engine->lock);
    uint64_t events;
    ssize_t got = read(engine->event_fd, &events, sizeof(events)); /* one event a ticket */
    CHECK(got == (ssize_t)sizeof(events));
    enum status status = seat->status;
    if (status != STATUS_OK && err != NULL)
        *err = engine->err;
    pthread_mutex_unlock(&engine->lock);
    engine->waited = ticket;
    engine->logits = status == STATUS_OK ? seat->io.logits : NULL;
    *result = (struct step_result){.step = seat->step,
                                   .tokens = seat->io.tokens,
                                   .sample_count = seat->sample_count,
                                   .device_ns = seat->io.device_ns,
                                   .launch_ns = seat->io.launch_ns,
                                   .fill_ns = seat->io.fill_ns,
                                   .graph = seat->io.graph,
                                   .logprobs = seat->io.extras.logprobs,
                                   .ranks = seat->io.extras.ranks,
                                   .top_ids = seat->io.extras.top_ids,
                                   .top_logprobs = seat->io.extras.top_logprobs};
    return status;
}

uint64_t engine_page_sum(const struct engine *engine, uint32_t page)
{
    return kvcache_page_sum(&engine->parts.cache, page);
}

int engine_event_fd(const struct engine *engine)
{
    return engine->event_fd;
}

void engine_keep_logits(struct engine *engine, bool keep)
{
    CHECK(engine->submitted == 0);
    for (size_t i = 0; i < SEATS; i++) {
        struct step_io *io = &engine->seats[i].io;
        mem_free(io->logits);
        io->logits = keep ? mem_array((size_t)engine->info.limits.rows * engine->info.vocab,
                                      sizeof(*io->logits))
                          : NULL;
    }
}

const float *engine_logits(const struct engine *engine)
{
    return engine->logits;
}
