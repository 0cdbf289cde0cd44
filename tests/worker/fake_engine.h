/* fake_engine - engine.h without a model: the token at position p of a req with seed s is
 * (s + p) % FAKE_VOCAB. Defines the engine's symbols itself, so that the real one is not linked. */
#ifndef MSGL_TESTS_WORKER_FAKE_ENGINE_H
#define MSGL_TESTS_WORKER_FAKE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/hub.h"
#include "common/mem.h"
#include "worker/engine/engine.h"

#define FAKE_VOCAB   1000
#define FAKE_CONTEXT 512
#define FAKE_PAGES   64

/* What a test may change while the worker runs. */
struct fake_control {
    _Atomic uint32_t step_delay_ms;
    _Atomic bool broken;
    _Atomic uint32_t overlapped; /* steps submitted while another was in flight */
};
extern struct fake_control fake;
struct fake_control fake;

struct fake_step {
    uint64_t step;
    uint32_t tokens[4096];
    uint32_t count;
    enum status status;
};

struct engine {
    struct engine_info info;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closing;
    uint64_t submitted, done, waited;
    struct fake_step steps[3];
    int fd;
};

static void *fake_main(void *arg)
{
    struct engine *engine = arg;

    pthread_mutex_lock(&engine->lock);
    for (;;) {
        while (engine->done == engine->submitted && !engine->closing)
            pthread_cond_wait(&engine->changed, &engine->lock);
        if (engine->done == engine->submitted)
            break;
        pthread_mutex_unlock(&engine->lock);
        uint32_t delay_ms = fake.step_delay_ms;
        nanosleep(&(struct timespec){delay_ms / 1000, (delay_ms % 1000) * 1000000L}, NULL);
        pthread_mutex_lock(&engine->lock);
        engine->steps[(engine->done + 1) % 3].status = fake.broken ? STATUS_INTERNAL : STATUS_OK;
        engine->done++;
        pthread_cond_broadcast(&engine->changed);
        (void)!write(engine->fd, &(uint64_t){1}, 8);
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

enum status engine_open(const struct engine_opts *opts, struct engine **out, struct err *err)
{
    struct engine *engine = mem_zalloc(sizeof(*engine));
    engine->info = (struct engine_info){.vocab = FAKE_VOCAB,
                                        .context_max = FAKE_CONTEXT,
                                        .pages = FAKE_PAGES,
                                        .weights_hash = 77,
                                        .device = "none",
                                        .prefill_us_per_token = 10,
                                        .decode_us_per_row = 10};
    step_limits_init(&engine->info.limits, opts->slots, opts->step_tokens_max, FAKE_CONTEXT,
                     opts->page_size);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->changed, NULL);
    engine->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    CHECK(pthread_create(&engine->thread, NULL, fake_main, engine) == 0);
    *out = engine;
    return STATUS_OK;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    pthread_mutex_lock(&engine->lock);
    engine->closing = true;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    pthread_join(engine->thread, NULL);
    close(engine->fd);
    mem_free(engine);
}

const struct engine_info *engine_info(const struct engine *engine)
{
    return &engine->info;
}

enum status engine_submit(struct engine *engine, const struct step_packet *packet, uint64_t *ticket,
                          struct err *err)
{
    struct fake_step *step;

    pthread_mutex_lock(&engine->lock);
    CHECK(engine->submitted - engine->waited < ENGINE_IN_FLIGHT);
    fake.overlapped += engine->submitted != engine->done;
    *ticket = engine->submitted + 1;
    step = &engine->steps[*ticket % 3];
    CHECK(packet->sample_count <= 4096);
    step->step = packet->step;
    step->count = packet->sample_count;
    for (uint32_t i = 0; i < packet->sample_count; i++) {
        const struct step_sample *sample = &step_samples(packet)[i];
        step->tokens[i] = (uint32_t)((sample->sampling.seed + sample->position) % FAKE_VOCAB);
    }
    engine->submitted++;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    return STATUS_OK;
}

enum status engine_wait(struct engine *engine, uint64_t ticket, struct step_result *result,
                        struct err *err)
{
    struct fake_step *step = &engine->steps[ticket % 3];
    uint64_t events;
    enum status status;

    CHECK(ticket == engine->waited + 1);
    pthread_mutex_lock(&engine->lock);
    while (engine->done < ticket)
        pthread_cond_wait(&engine->changed, &engine->lock);
    engine->waited = ticket;
    status = step->status;
    pthread_mutex_unlock(&engine->lock);
    CHECK(read(engine->fd, &events, sizeof(events)) == 8);
    *result = (struct step_result){
        .step = step->step, .tokens = step->tokens, .sample_count = step->count, .device_ns = 1000};
    return status == STATUS_OK ? STATUS_OK : err_set(err, status, "the fake engine is broken");
}

uint64_t engine_page_sum(const struct engine *engine, uint32_t page)
{
    return (uint64_t)(uintptr_t)engine + page;
}

int engine_event_fd(const struct engine *engine)
{
    return engine->fd;
}

enum status engine_grammar_add(struct engine *engine, struct str automaton, uint32_t *id,
                               struct err *err)
{
    return err_set(err, STATUS_UNSUPPORTED, "the fake engine has no grammars");
}

void engine_grammar_drop(struct engine *engine, uint32_t id)
{
}

enum status hub_resolve(const char *model, enum hub_want want, const struct hub_opts *opts,
                        char **path, struct err *err)
{
    *path = mem_strdup(model);
    return STATUS_OK;
}

#endif
