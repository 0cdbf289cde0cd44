/* test_kv_store - a worker's engine and scheduler over a file, killed at any moment; and files that are
 * not what they should be. Answers must be those of an engine without a file, always. */
#include "worker/kv_store.h"

#include "common/rng.h"
#include "tests/effort.h"
#include "tests/worker/engine/fixture.h"
#include "worker/engine/kinds.h"
#include "worker/sched/scheduler.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define SIZE    4u /* tokens a page */
#define PAGES   64u
#define PROMPTS 12u
#define ASKED   14u /* tokens an answer */
#define TABLE   "{\"launch_us\": 30, \"token_us\": 1, \"kv_token_bytes\": 64, \"pool_mib\": 1}"

struct world {
    const struct engine_kind *kind;
    struct kv_store store;
    struct engine *engine;
    struct scheduler *scheduler;
    struct sched_event *events;
    void *block;
    uint64_t tickets[ENGINE_IN_FLIGHT];
    uint32_t in_flight;
};

static struct fixture_dir model;
static char folder[64], file[96], table[128];

static void setup(void)
{
    json_t *config =
        json_pack("{s:[s], s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f}", "architectures",
                  "LlamaForCausalLM", "hidden_size", 64, "num_hidden_layers", 2,
                  "num_attention_heads", 4, "num_key_value_heads", 2, "intermediate_size", 128,
                  "vocab_size", 1000, "max_position_embeddings", 128, "rms_norm_eps", 1e-5);
    model = fixture_dir_make(config);
    json_decref(config);
    snprintf(folder, sizeof(folder), "/tmp/msgl_store_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/rank-0.kv", folder);
    snprintf(table, sizeof(table), "%s/part-0.safetensors", model.path); /* removed with it */
    FILE *out = fopen(table, "w");
    ck_assert(out && fputs(TABLE, out) >= 0 && fclose(out) == 0);
}

static void teardown(void)
{
    fixture_dir_remove(&model);
    unlink(file);
    rmdir(folder);
}

static uint64_t page_sum(void *ctx, uint32_t page)
{
    const struct world *w = ctx;
    return w->kind->page_sum(w->engine, page);
}

static enum status world_try(struct world *w, uint32_t kind, bool stored, uint64_t seed,
                             struct err *err)
{
    struct engine_opts opts = fixture_opts(model.path, true, seed);
    struct engine_pool pool = {kv_store_map, &w->store};
    uint64_t page_bytes = kind == 0 ? 2 * 2 * 2 * SIZE * 16 * sizeof(float) : SIZE * 64;

    *w = (struct world){.kind = engine_kind_of(kind)};
    opts.page_size = SIZE;
    opts.kv_bytes = PAGES * page_bytes;
    opts.threads = 1;
    opts.sim_table = table;
    if (stored) {
        TRY(kv_store_open(folder, &w->store, err));
        w->store.fingerprint = 5;
        w->store.page_size = SIZE;
        opts.pool = &pool;
    }
    TRY(w->kind->open(&opts, &w->engine, err));
    const struct engine_info *info = w->kind->info(w->engine);
    ck_assert_uint_eq(info->pages, PAGES);
    w->store.mirror.page_sum = page_sum;
    w->store.mirror.ctx = w;
    struct sched_opts sched = {.pages = PAGES,
                               .page_size = SIZE,
                               .slots = 4,
                               .waiting_max = PROMPTS,
                               .context_max = 100,
                               .step_tokens = 48,
                               .chunk_tokens = 16,
                               .prefill_us_per_token = 1,
                               .decode_us_per_row = 1,
                               .cache = true,
                               .age_ms = 1000,
                               .fingerprint = 5,
                               .mirror = stored ? &w->store.mirror : NULL};
    TRY(scheduler_new(&sched, &w->scheduler, err));
    w->events = mem_array(scheduler_event_max(w->scheduler), sizeof(*w->events));
    w->block = mem_aligned(ROUND_UP(step_packet_bytes_max(&info->limits), 64u), 64);
    return STATUS_OK;
}

static void world_close(struct world *w)
{
    struct err err = {.text = ""};
    if (w->engine)
        w->kind->close(w->engine);
    if (w->scheduler)
        ck_assert_msg(scheduler_check(w->scheduler, &err), "%s", err.text);
    scheduler_free(w->scheduler);
    kv_store_close(&w->store);
    mem_free(w->events);
    mem_free(w->block);
}

static void world_open(struct world *w, uint32_t kind, bool stored)
{
    struct err err = {.text = ""};
    ck_assert_msg(world_try(w, kind, stored, 1, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(scheduler_check(w->scheduler, &err), "%s", err.text);
}

struct answers {
    uint32_t tokens[PROMPTS][ASKED], count[PROMPTS], cached[PROMPTS];
};

static void take(struct world *w, struct answers *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct sched_event *event = &w->events[i];
        ck_assert(event->has_token && out->count[event->user] < ASKED);
        out->tokens[event->user][out->count[event->user]++] = event->token;
        out->cached[event->user] = event->cached_tokens;
    }
}

/* Prompt i: one of three beginnings, one of six middles, an end of its own. */
static void ask(struct world *w, uint32_t i)
{
    uint32_t tokens[34];
    uint64_t id;
    struct err err = {.text = ""};
    for (uint32_t at = 0; at < ARRAY_LEN(tokens); at++)
        tokens[at] = 10 + at + 60 * (at < 12 ? i % 3 : at < 24 ? i % 6 : i);
    struct req_spec spec = {.user = i,
                            .tokens = tokens,
                            .token_count = ARRAY_LEN(tokens),
                            .prompt_count = ARRAY_LEN(tokens),
                            .tokens_max = ASKED,
                            .ignore_eos = true,
                            .namespace_hash = i % 2,
                            .sampling = {.top_p = 1, .repetition_penalty = 1}};
    ck_assert_msg(scheduler_add(w->scheduler, &spec, 1, &id, &err) == STATUS_OK, "%s", err.text);
}

/* All prompts from `first` on, as the worker's loop would, two steps in flight. */
static void play(struct world *w, uint32_t first, struct answers *out)
{
    struct err err = {.text = ""};
    struct step_result result;
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < PROMPTS; i++)
        ask(w, (first + i * 5) % PROMPTS);
    for (;;) {
        uint32_t count = scheduler_event_max(w->scheduler);
        const struct step_packet *packet =
            scheduler_plan(w->scheduler, 1, w->block, w->events, &count);
        take(w, out, count);
        if (packet)
            ck_assert_int_eq(w->kind->submit(w->engine, packet, &w->tickets[w->in_flight++], &err),
                             STATUS_OK);
        if (!packet && w->in_flight == 0)
            return;
        if (packet && w->in_flight < ENGINE_IN_FLIGHT)
            continue;
        ck_assert_int_eq(w->kind->wait(w->engine, w->tickets[0], &result, &err), STATUS_OK);
        w->tickets[0] = w->tickets[1];
        w->in_flight--;
        count = scheduler_event_max(w->scheduler);
        scheduler_commit(w->scheduler, result.tokens, result.sample_count, 1, 0, w->events, &count);
        take(w, out, count);
    }
}

static void right(const struct answers *is, const struct answers *want)
{
    for (uint32_t i = 0; i < PROMPTS; i++) {
        ck_assert_uint_eq(is->count[i], ASKED);
        ck_assert_mem_eq(is->tokens[i], want->tokens[i], sizeof(is->tokens[i]));
    }
}

static void undisturbed(uint32_t kind, struct answers *want)
{
    struct world w;
    world_open(&w, kind, false);
    play(&w, 0, want);
    world_close(&w);
}

/* ---- killed ---- */

static void pause_us(uint64_t us)
{
    nanosleep(&(struct timespec){0, (long)us * 1000}, NULL);
}

/* A worker that works until it is killed; says when it begins. */
static pid_t start(uint32_t kind, const struct answers *want, int *said)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct world w;
        struct answers is;
        world_open(&w, kind, true);
        (void)!write(ends[1], "", 1);
        for (uint32_t first = 0;; first++) {
            play(&w, first, &is);
            right(&is, want);
        }
    }
    close(ends[1]);
    *said = ends[0];
    return pid;
}

static void kill_some_time(uint32_t kind, const struct answers *want, uint64_t *rng)
{
    int said, status;
    char byte;
    pid_t pid = start(kind, want, &said);
    if (rng_below(rng, 4) > 0)
        ck_assert_int_eq(read(said, &byte, 1), 1); /* else on its way to begin */
    pause_us(rng_below(rng, 20000));
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it ended by itself");
    close(said);
}

static void flip(uint64_t offset, uint8_t bits)
{
    uint8_t byte;
    int fd = open(file, O_RDWR);
    ck_assert_int_eq(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= bits;
    ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

static uint64_t file_bytes(void)
{
    struct stat st;
    ck_assert_int_eq(stat(file, &st), 0);
    return (uint64_t)st.st_size;
}

/* _i: the engine's kind. Every other time a byte of what was left is flipped. */
START_TEST(killed_at_any_moment)
{
    uint64_t rng = 7, restored = 0, dropped = 0;
    struct answers want, is;
    struct world w;
    undisturbed((uint32_t)_i, &want);
    for (uint64_t n = 0; n < effort(40); n++) {
        kill_some_time((uint32_t)_i, &want, &rng);
        bool flipped = n % 2 && file_bytes() > 0;
        if (flipped)
            flip(rng_below(&rng, file_bytes()), (uint8_t)(1 + rng_below(&rng, 255)));
        world_open(&w, (uint32_t)_i, true);
        ck_assert_msg(flipped || w.store.mirror.dropped == 0, "kill %u left %u pages torn",
                      (unsigned)n, w.store.mirror.dropped);
        restored += w.store.mirror.restored;
        dropped += w.store.mirror.dropped;
        play(&w, (uint32_t)n, &is);
        right(&is, &want);
        world_close(&w);
    }
    ck_assert_uint_gt(restored, 0);
    if (effort(40) >= 40)
        ck_assert_uint_gt(dropped, 0);
}
END_TEST

/* ---- what it is for ---- */

START_TEST(the_first_answers_after_a_restart_are_cached)
{
    struct answers want, is;
    struct world w;
    undisturbed((uint32_t)_i, &want);
    world_open(&w, (uint32_t)_i, true);
    ck_assert_str_eq(w.store.fresh, "new");
    play(&w, 0, &is);
    right(&is, &want);
    world_close(&w);
    world_open(&w, (uint32_t)_i, true);
    ck_assert_ptr_null(w.store.fresh);
    ck_assert_uint_gt(w.store.mirror.restored, PAGES / 2);
    play(&w, PROMPTS - 5, &is); /* the last first */
    right(&is, &want);
    ck_assert_uint_ge(is.cached[(PROMPTS - 5) % PROMPTS], 24);
    world_close(&w);
}
END_TEST

START_TEST(only_we_may_read_it)
{
    struct stat st;
    struct world w;
    umask(0);
    world_open(&w, 1, true);
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    world_close(&w);
}
END_TEST

/* ---- what it is not ---- */

START_TEST(two_workers_cannot_have_it)
{
    struct world one, two;
    struct err err = {.text = ""};
    world_open(&one, 1, true);
    ck_assert_int_eq(world_try(&two, 1, true, 1, &err), STATUS_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(err.text, "a --kv-store of its own"));
    world_close(&two);
    world_close(&one);
    world_open(&two, 1, true);
    world_close(&two);
}
END_TEST

static void filled(uint32_t kind)
{
    struct world w;
    struct answers is;
    world_open(&w, kind, true);
    play(&w, 0, &is);
    world_close(&w);
}

static void expect_fresh(uint32_t kind, uint64_t seed, const char *why)
{
    struct world w;
    struct err err = {.text = ""};
    ck_assert_msg(world_try(&w, kind, true, seed, &err) == STATUS_OK, "%s", err.text);
    ck_assert(w.store.fresh && strcmp(w.store.fresh, why) == 0);
    ck_assert_uint_eq(w.store.mirror.restored + w.store.mirror.dropped, 0);
    world_close(&w);
}

START_TEST(of_others_it_starts_empty)
{
    filled(0);
    expect_fresh(0, 2, "other weights");
    expect_fresh(1, 1, "other weights");
    filled(1);
    flip(8, 2);
    expect_fresh(1, 1, "damaged or no store");
    filled(1);
    ck_assert_int_eq(truncate(file, 100000 % file_bytes()), 0);
    expect_fresh(1, 1, "another size of the pool");
    ck_assert_int_eq(truncate(file, 7), 0);
    expect_fresh(1, 1, "damaged or no store");
}
END_TEST

/* The file system says no: a limit of the process stands for a full disk. */
START_TEST(no_room_is_an_error_at_start)
{
    struct world w;
    struct err err = {.text = ""};
    struct rlimit old, none;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    none = (struct rlimit){8192, old.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    enum status status = world_try(&w, 0, true, 1, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_ne(status, STATUS_OK);
    ck_assert_ptr_nonnull(strstr(err.text, "--kv-mib"));
    world_close(&w);
    expect_fresh(0, 1, "new");
}
END_TEST

START_TEST(a_path_that_is_no_folder_is_an_error)
{
    struct kv_store store;
    struct err err = {.text = ""};
    ck_assert_int_ne(kv_store_open(table, &store, &err), STATUS_OK);
    ck_assert_int_gt((int)strlen(err.text), 0);
    kv_store_close(&store);
    ck_assert_int_eq(symlink(table, file), 0); /* nor does it follow a link */
    ck_assert_int_eq(kv_store_open(folder, &store, &err), STATUS_IO);
    kv_store_close(&store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kv_store");
    TCase *tcase = tcase_create("kv_store");
    tcase_set_timeout(tcase, 240);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, killed_at_any_moment, 0, 2);
    tcase_add_loop_test(tcase, the_first_answers_after_a_restart_are_cached, 0, 2);
    tcase_add_test(tcase, only_we_may_read_it);
    tcase_add_test(tcase, two_workers_cannot_have_it);
    tcase_add_test(tcase, of_others_it_starts_empty);
    tcase_add_test(tcase, no_room_is_an_error_at_start);
    tcase_add_test(tcase, a_path_that_is_no_folder_is_an_error);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
