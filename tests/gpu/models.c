/* models_device - whole models on a device, against what is known to be right.
 *
 *     models_device [NAME...]                     the golden vectors of tests/golden, all or these
 *     models_device --folder DIR [--dummy SEED]   a model folder: the cpu backend is the reference
 *     --backend NAME (cuda), --prompts N (16), --tokens N (24); of the golden vectors also --tp N:
 *     ranks on GPUs 0 to N - 1, each a process of its own that is fed the same; and --tune yes:
 *     with plans of matmuls that are measured at start, into a folder that lives as long as the engine
 *
 * The golden vectors are `transformers` in f32; each file says ("bf16") by how much transformers' own
 * bf16 run is off. Ours, the root of the mean square over all prompts' logits, may be off by a quarter
 * more: that much lies between two runs of ours that only round otherwise (an H200, the emulator).
 * The device is fed the reference's tokens, so that one near tie does not end the comparison: at each
 * of them it chooses the reference's next token, or one whose logit is higher by at most twice what
 * that run was off by at the two best tokens. (Where the scores of two experts tie, that is much: a
 * rounding takes the other expert, in that run too.) Then it runs freely, over its own tokens, and
 * must choose the same.
 *
 * With --folder the cpu backend walks beside the device; there each of the 2 layers + 1 roundings of
 * the residual stream to bf16 counts 2^-8 of the logits' root mean square, added as squares, and a
 * logit may be off by four times that.
 *
 * Seen from the repository's root. 77 without a device; no forks but for ranks, before all else: a CUDA
 * device would not survive.
 */
#include "tests/worker/engine/fixture.h"

#include "common/rng.h"

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define EXIT_SKIPPED 77
#define TOKENS_MAX   256
#define RANKS_MAX    8

struct args {
    const char *backend, *folder;
    const char *const *names;
    uint32_t name_count, prompts, tokens, tp, rank;
    char group[32]; /* of the ranks' rendezvous */
    uint32_t opened;
    uint64_t seed;
    bool dummy, tune;
};

struct errors {
    double squares, largest, reference; /* sums of squares; of the reference's own values */
    size_t count;
    uint32_t tokens, near_ties;
};

static int failures;
#define EXPECT(cond, ...) ((cond) ? (void)0 : (void)(failures++, printf("    " __VA_ARGS__)))

static void errors_add(struct errors *e, double got, double want)
{
    double off = fabs(got - want);
    e->squares += off * off;
    e->reference += want * want;
    e->largest = fmax(e->largest, off);
    e->count++;
}

static double rms(double squares, size_t count)
{
    return sqrt(squares / (double)MAX(count, (size_t)1));
}

/* One req on one engine, a step at a time. */
struct walk {
    struct fixture_req req;
    struct step_builder builder;
    struct step_result result;
    void *block;
    uint32_t pos;
};

static void walk_init(struct walk *walk, struct engine *engine, uint32_t chunk)
{
    const struct engine_info *info = engine_info(engine);
    *walk = (struct walk){.req = {.engine = engine, .page_size = 16, .chunk = chunk}};
    walk->block = mem_aligned(ROUND_UP(step_packet_bytes_max(&info->limits), 64u), 64);
    step_builder_init(&walk->builder, &info->limits);
}

static void walk_release(struct walk *walk)
{
    step_builder_release(&walk->builder);
    mem_free(walk->block);
}

/* The prompt, or one token behind it (NULL: the one the device chose); returns the next. */
static uint32_t walk_on(struct walk *walk, const uint32_t *tokens, uint32_t count)
{
    for (uint32_t done = 0; done < count;) {
        uint32_t n = MIN(walk->req.chunk, count - done);
        fixture_step(&walk->req, &walk->builder, walk->block, tokens ? tokens + done : NULL, n,
                     walk->pos, done + n == count, &walk->result);
        walk->pos += n;
        done += n;
    }
    return walk->result.tokens[0];
}

/* The device chose `got` where the reference has `want`. */
static void check_choice(const struct engine *engine, uint32_t got, uint32_t want, double bound,
                         struct errors *e, const char *what)
{
    const float *logits = engine_logits(engine);
    double ahead = (double)logits[got] - (double)logits[want];
    e->tokens++;
    e->near_ties += got != want;
    EXPECT(got == want || ahead <= 2 * bound,
           "%s: token %u is %u, should be %u, whose logit is %.3g lower\n", what, e->tokens - 1,
           got, want, ahead);
}

/* Runs freely: the same choices as when it was fed, up to the first that is not the reference's. */
static void check_free(struct engine *engine, const json_t *prompt, const uint32_t *fed,
                       const uint32_t *want, uint32_t count, const char *what)
{
    uint32_t ids[FIXTURE_TOKENS_MAX], got[TOKENS_MAX];
    struct fixture_req req = {.engine = engine, .page_size = 16, .chunk = 256, .prompt = ids};
    req.prompt_count = fixture_ids(json_object_get(prompt, "ids"), ids);
    fixture_generate(&req, got, count, NULL);
    for (uint32_t i = 0; i < count; i++) {
        EXPECT(got[i] == fed[i], "%s: token %u is %u alone and %u when fed\n", what, i, got[i],
               fed[i]);
        if (fed[i] != want[i])
            break;
    }
}

static void check_prompt(struct engine *engine, const json_t *prompt, uint32_t chunk, double bound,
                         struct errors *e, const char *what)
{
    uint32_t ids[FIXTURE_TOKENS_MAX], want[FIXTURE_TOKENS_MAX], fed[TOKENS_MAX];
    uint32_t id_count = fixture_ids(json_object_get(prompt, "ids"), ids);
    uint32_t count = MIN(fixture_ids(json_object_get(prompt, "tokens"), want), TOKENS_MAX);
    const json_t *logit_ids = json_object_get(prompt, "logit_ids");
    const json_t *values = json_object_get(prompt, "logits");
    struct walk walk;

    walk_init(&walk, engine, chunk);
    fed[0] = walk_on(&walk, ids, id_count);
    for (size_t i = 0; i < json_array_size(values); i++)
        errors_add(e,
                   (double)engine_logits(engine)[json_integer_value(json_array_get(logit_ids, i))],
                   json_number_value(json_array_get(values, i)));
    check_choice(engine, fed[0], want[0], bound, e, what);
    for (uint32_t i = 1; i < count; i++) {
        fed[i] = walk_on(&walk, &want[i - 1], 1);
        check_choice(engine, fed[i], want[i], bound, e, what);
    }
    walk_release(&walk);
    if (chunk == 256) /* the same shapes: the same bits */
        check_free(engine, prompt, fed, want, count, what);
}

/* The engine has just started: its plans are in their file already, whatever becomes of it. Takes the
 * file away: the folder stays empty, as nothing is measured any more. */
static void take_plans(const char *dir)
{
    struct dirent **entries;
    struct stat info = {0};
    char path[512];
    int count = scandir(dir, &entries, NULL, alphasort), files = 0;
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%.200s/%.255s", dir, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && stat(path, &info) == 0) {
            EXPECT(info.st_size > 100, "%s holds no plan\n", path);
            files += unlink(path) == 0;
        }
        free(entries[i]);
    }
    EXPECT(files == 1, "%d files of plans when the engine had started\n", files);
    if (count >= 0)
        free(entries);
}

/* NULL, and why, where this backend refuses the model. */
static struct engine *open_model(struct args *args, const char *backend, const char *dir,
                                 bool dummy, uint64_t seed, uint32_t context, const char *plans,
                                 struct err *err)
{
    struct engine_opts opts = fixture_opts(dir, dummy, seed);
    struct engine *engine = NULL;
    opts.backend = backend;
    opts.threads = 0;
    opts.kv_bytes = 256u << 20;
    opts.context_max = context;
    char comm[64];
    snprintf(comm, sizeof(comm), "%s-%u", args->group, args->opened++);
    opts.tp = (int)args->tp;
    opts.rank = (int)args->rank;
    opts.gpu = args->rank;
    opts.comm = args->tp > 1 ? comm : NULL;
    opts.plans = plans;
    opts.tune = plans != NULL;
    if (engine_open(&opts, &engine, err) != STATUS_OK)
        return NULL;
    if (plans)
        take_plans(plans);
    engine_keep_logits(engine, true);
    return engine;
}

static void report(const char *what, const struct errors *e, double bound)
{
    double off = rms(e->squares, e->count);
    EXPECT(off <= bound, "%s: logits are off by %.4f (root of the mean square), allowed %.4f\n",
           what, off, bound);
    printf("%-26s logits off by %.4f rms (allowed %.4f), %.3f at most; %u of %u tokens in near "
           "ties\n",
           what, off, bound, e->largest, e->near_ties, e->tokens);
    fflush(stdout);
}

/* A golden file; `dir` NULL: its config with the formula's weights. */
static void check_golden(struct args *args, const char *file, const char *dir)
{
    json_t *golden = fixture_golden(file);
    const json_t *config = json_object_get(golden, "config"), *prompts, *bf16;
    struct fixture_dir made = {""};
    struct errors e = {0};
    struct err err = {0};
    char plans[] = "/tmp/msgl-plans-XXXXXX";
    if (dir == NULL)
        made = fixture_dir_make(config);
    struct engine *engine =
        open_model(args, args->backend, dir ? dir : made.path, dir == NULL,
                   (uint64_t)json_integer_value(json_object_get(golden, "seed")),
                   (uint32_t)json_integer_value(json_object_get(golden, "context")),
                   args->tune ? mkdtemp(plans) : NULL, &err);
    if (engine == NULL) {
        EXPECT(err.status == STATUS_UNSUPPORTED && strstr(err.text, "head_dim"), "%s: %s\n", file,
               err.text);
        printf("%-26s refused: %s\n", file, err.text);
        goto out;
    }
    prompts = json_object_get(golden, "prompts");
    bf16 = json_object_get(golden, "bf16");
    for (size_t i = 0; i < json_array_size(prompts); i++)
        check_prompt(engine, json_array_get(prompts, i), dir == NULL && i == 2 ? 7 : 256,
                     json_number_value(json_object_get(bf16, "max")), &e, file);
    report(file, &e, 1.25 * json_number_value(json_object_get(bf16, "rms")));
    engine_close(engine);
out:
    EXPECT(!args->tune || rmdir(plans) == 0, "%s: plans were measured after the start\n", file);
    if (dir == NULL)
        fixture_dir_remove(&made);
    json_decref(golden);
}

static bool wanted(const struct args *args, const char *name)
{
    for (uint32_t i = 0; i < args->name_count; i++)
        if (strstr(name, args->names[i]))
            return true;
    return args->name_count == 0;
}

static void check_all_golden(struct args *args)
{
    struct dirent **entries;
    char file[512], dir[400];
    int count = scandir("tests/golden/tiny", &entries, NULL, alphasort);
    EXPECT(count > 2, "tests/golden/tiny is not here: start me in the repository's root\n");
    for (int i = 0; i < count; i++) {
        snprintf(file, sizeof(file), "tiny/%s", entries[i]->d_name);
        if (strstr(file, ".json") && wanted(args, file))
            check_golden(args, file, NULL);
        free(entries[i]);
    }
    free(entries);
    fixture_smollm2(dir, sizeof(dir));
    snprintf(file, sizeof(file), "%s/model.safetensors", dir);
    if (!wanted(args, "smollm2"))
        return;
    if (file_exists(file))
        check_golden(args, "smollm2.json", dir);
    else
        printf("SKIPPED: smollm2: %s is not there\n", file);
}

static double layers_of(const char *folder)
{
    struct err err = {0};
    json_t *config = NULL;
    char file[512];
    snprintf(file, sizeof(file), "%s/config.json", folder);
    ck_assert_msg(json_parse_file(file, 1u << 20, &config, &err) == STATUS_OK, "%s", err.text);
    double layers = json_number_value(json_object_get(config, "num_hidden_layers"));
    json_decref(config);
    return layers;
}

static double folder_bound(const struct errors *e, double layers)
{
    return 0x1p-8 * sqrt(2 * layers + 1) * rms(e->reference, e->count);
}

/* Random ids: the device beside the cpu backend, fed the latter's tokens. */
static void check_folder(struct args *args)
{
    struct err err = {0};
    struct errors e = {0};
    uint64_t seed = 7;
    struct engine *engines[2] = {
        open_model(args, "cpu", args->folder, args->dummy, args->seed, 1024, NULL, &err),
        open_model(args, args->backend, args->folder, args->dummy, args->seed, 1024, NULL, &err)};
    ck_assert_msg(engines[0] != NULL && engines[1] != NULL, "%s", err.text);
    uint32_t vocab = engine_info(engines[0])->vocab;
    double layers = layers_of(args->folder);
    for (uint32_t p = 0; p < args->prompts; p++) {
        uint32_t ids[256], count = 1 + (uint32_t)rng_below(&seed, ARRAY_LEN(ids)), next[2];
        struct walk walks[2];
        for (uint32_t i = 0; i < count; i++)
            ids[i] = (uint32_t)rng_below(&seed, vocab);
        for (int i = 0; i < 2; i++)
            walk_init(&walks[i], engines[i], 256);
        for (uint32_t t = 0; t < args->tokens; t++) {
            for (int i = 0; i < 2; i++)
                next[i] = walk_on(&walks[i], ids, count);
            const float *want = engine_logits(engines[0]), *got = engine_logits(engines[1]);
            for (uint32_t i = 0; i < vocab; i++)
                errors_add(&e, (double)got[i], (double)want[i]);
            check_choice(engines[1], next[1], next[0], 4 * folder_bound(&e, layers), &e,
                         args->folder);
            ids[0] = next[0];
            count = 1;
        }
        for (int i = 0; i < 2; i++)
            walk_release(&walks[i]);
    }
    report(args->folder, &e, folder_bound(&e, layers));
    for (int i = 0; i < 2; i++)
        engine_close(engines[i]);
}

static struct args args;

START_TEST(models)
{
    if (args.folder)
        check_folder(&args);
    else
        check_all_golden(&args);
    ck_assert_int_eq(failures, 0);
}
END_TEST

static int run(void)
{
    Suite *suite = suite_create("models");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, models);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed;
}

int main(int argc, char **argv)
{
    args = (struct args){.backend = "cuda", .prompts = 16, .tokens = 24, .tp = 1};
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0 && i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--backend") == 0)
            args.backend = value;
        else if (strcmp(argv[i], "--folder") == 0)
            args.folder = value;
        else if (strcmp(argv[i], "--dummy") == 0)
            args.dummy = true, args.seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--prompts") == 0)
            args.prompts = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--tokens") == 0)
            args.tokens = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--tune") == 0)
            args.tune = strcmp(value, "yes") == 0;
        else if (strcmp(argv[i], "--tp") == 0)
            args.tp = (uint32_t)strtoul(value, NULL, 10);
    }
    args.names = (const char *const *)argv + i;
    args.name_count = (uint32_t)(argc - i);
    args.tp = MIN(args.tp, (uint32_t)RANKS_MAX);
    pid_t others[RANKS_MAX];
    snprintf(args.group, sizeof(args.group), "models-%d", (int)getpid());
    for (uint32_t rank = 1; rank < args.tp; rank++) {
        others[rank] = fork();
        if (others[rank] != 0)
            continue;
        args.rank = rank;
        if (freopen("/dev/null", "w", stdout) == NULL)
            return 1;
        break;
    }
    bool skipped = strcmp(args.backend, "cuda") == 0 && !engine_on_gpu(NULL);
    int failed = skipped ? 0 : run();
    for (uint32_t rank = 1; rank < args.tp && args.rank == 0; rank++) {
        int status = 1;
        waitpid(others[rank], &status, 0);
        failed += status != 0;
    }
    if (skipped)
        printf("SKIPPED: models_device: no GPU, or built without CUDA; nothing was tested\n");
    return skipped ? EXIT_SKIPPED : failed ? 1 : 0;
}
