#include "bench/works/drive.h"

#include "common/clock.h"
#include "common/hash.h"
#include "common/mem.h"

#include <string.h>

struct in_flight {
    uint64_t ticket;
    enum step_kind kind;
};

struct drive {
    const struct drive_opts *opts;
    const struct work *work;
    struct drive_result *result;
    struct scheduler *scheduler;
    struct sched_event *events;
    void *block;
    uint32_t **answers;
    uint32_t *answer_counts;
    uint32_t ended, count;
    struct in_flight steps[ENGINE_IN_FLIGHT];
};

static enum status drive_init(struct drive *drive, struct err *err)
{
    const struct work *work = drive->work;
    TRY(scheduler_new(&drive->opts->sched, &drive->scheduler, err));
    drive->events = mem_array(scheduler_event_max(drive->scheduler), sizeof(*drive->events));
    drive->block = mem_aligned(
        ROUND_UP(step_packet_bytes_max(&engine_info(drive->opts->engine)->limits), 64u), 64);
    drive->answers = mem_array(work->req_count, sizeof(*drive->answers));
    drive->answer_counts = mem_array(work->req_count, sizeof(*drive->answer_counts));
    for (uint32_t i = 0; i < work->req_count; i++)
        drive->answers[i] = mem_array(work->reqs[i].out_count, sizeof(**drive->answers));
    return STATUS_OK;
}

static void drive_release(struct drive *drive)
{
    if (drive->scheduler != NULL)
        scheduler_free(drive->scheduler);
    for (uint32_t i = 0; drive->answers != NULL && i < drive->work->req_count; i++)
        mem_free(drive->answers[i]);
    mem_free(drive->answers);
    mem_free(drive->answer_counts);
    mem_free(drive->events);
    mem_free(drive->block);
}

static enum status add_all(struct drive *drive, struct err *err)
{
    uint64_t id;
    for (uint32_t i = 0; i < drive->work->req_count; i++) {
        const struct work_req *req = &drive->work->reqs[i];
        struct req_spec spec = {.user = i,
                                .tokens = req->tokens,
                                .token_count = req->token_count,
                                .prompt_count = req->token_count,
                                .tokens_max = req->out_count,
                                .ignore_eos = true,
                                .sampling = drive->opts->sampling};
        spec.sampling.seed = i;
        TRY(scheduler_add(drive->scheduler, &spec, clock_now_ms(), &id, err));
    }
    return STATUS_OK;
}

static void take_events(struct drive *drive, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct sched_event *event = &drive->events[i];
        if (event->has_token)
            drive->answers[event->user][drive->answer_counts[event->user]++] = event->token;
        drive->ended += event->finish != SCHED_RUNNING;
    }
}

static enum step_kind kind_of(const struct step_packet *packet, uint32_t *rows)
{
    const struct step_row *row = step_rows(packet);
    *rows = 0;
    while (*rows < packet->row_count && row[*rows].token_count == 1)
        (*rows)++;
    if (*rows == packet->row_count)
        return STEP_DECODE;
    return *rows > 0 ? STEP_MIXED : STEP_PREFILL;
}

static enum status submit(struct drive *drive, bool *submitted, struct err *err)
{
    uint64_t start = clock_now_ns();
    uint32_t count = scheduler_event_max(drive->scheduler), rows;
    const struct step_packet *packet =
        scheduler_plan(drive->scheduler, start / 1000000, drive->block, drive->events, &count);
    take_events(drive, count);
    *submitted = packet != NULL;
    if (packet == NULL)
        return STATUS_OK;
    struct in_flight *step = &drive->steps[drive->count];
    step->kind = kind_of(packet, &rows);
    TRY(engine_submit(drive->opts->engine, packet, &step->ticket, err));
    drive->count++;
    struct drive_kind *kind = &drive->result->kinds[step->kind];
    kind->steps++;
    kind->tokens += packet->token_count;
    kind->rows += packet->row_count;
    kind->plan_ns += clock_now_ns() - start;
    return STATUS_OK;
}

static enum status commit(struct drive *drive, struct err *err)
{
    struct step_result result;
    struct drive_kind *kind = &drive->result->kinds[drive->steps[0].kind];
    uint64_t start = clock_now_ns();
    TRY(engine_wait(drive->opts->engine, drive->steps[0].ticket, &result, err));
    uint64_t waited = clock_now_ns();
    drive->steps[0] = drive->steps[1];
    drive->count--;
    uint32_t count = scheduler_event_max(drive->scheduler);
    scheduler_commit(drive->scheduler, result.tokens, result.sample_count, waited / 1000000,
                     result.device_ns, drive->events, &count);
    take_events(drive, count);
    drive->result->wait_ns += waited - start;
    kind->commit_ns += clock_now_ns() - waited;
    kind->device_ns += result.device_ns;
    kind->launch_ns += result.launch_ns;
    kind->fill_ns += result.fill_ns;
    kind->graphs += result.graph;
    return STATUS_OK;
}

static void sum_up(struct drive *drive)
{
    struct drive_result *result = drive->result;
    struct sched_load load;
    scheduler_load(drive->scheduler, &load);
    result->cached_tokens = load.cached_tokens;
    result->retractions = load.retractions;
    for (uint32_t i = 0; i < drive->work->req_count; i++) {
        result->tokens_out += drive->answer_counts[i];
        result->hash = hash_bytes_seeded(
            drive->answers[i], drive->answer_counts[i] * sizeof(**drive->answers), result->hash);
    }
}

enum status drive_run(const struct drive_opts *opts, const struct work *work,
                      struct drive_result *result, struct err *err)
{
    enum status status = STATUS_OK;
    struct drive drive = {.opts = opts, .work = work, .result = result};
    uint32_t depth = opts->overlap ? ENGINE_IN_FLIGHT : 1;
    bool submitted = true;
    *result = (struct drive_result){0};
    TRY_OUT(drive_init(&drive, err));
    uint64_t start = clock_now_ns();
    TRY_OUT(add_all(&drive, err));
    while (drive.ended < work->req_count || drive.count > 0) {
        for (submitted = true; submitted && drive.count < depth;)
            TRY_OUT(submit(&drive, &submitted, err));
        if (drive.count == 0) {
            status = err_set(err, STATUS_INTERNAL, "the scheduler stands still");
            goto out;
        }
        TRY_OUT(commit(&drive, err));
    }
    result->ns = clock_now_ns() - start;
    sum_up(&drive);
out:
    /* The engine takes no new run before what is in flight has been waited for. */
    while (drive.count > 0 && commit(&drive, NULL) == STATUS_OK)
        ;
    drive_release(&drive);
    return status;
}
