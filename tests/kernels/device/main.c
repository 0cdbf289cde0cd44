/* The ops of one backend on small, ragged and real models' shapes; see rig.h. */
#include "tests/kernels/device/rig.h"

#include "common/clock.h"

#define EXIT_SKIPPED 77 /* ctest counts it as skipped */

static const struct rig_test *const suites[] = {matmul_tests,  row_tests,    attention_tests,
                                                sample_tests,  logits_tests, step_tests,
                                                formula_tests, moe_tests,    plans_tests};

static void run_test(struct rig *rig, const struct rig_test *test)
{
    uint64_t from = clock_now_ns();
    uint32_t checks = rig->checks;
    rig->test = test->name;
    rig->failures_here = rig->cases = 0;
    rig->seed = 1000;
    rig->where[0] = 0;
    test->run(rig);
    rig_drop(rig);
    printf("%s %-28s %4u cases %8u checks %7.2f s", rig->failures_here ? "FAIL" : "ok  ",
           test->name, rig->cases, rig->checks - checks, (double)(clock_now_ns() - from) / 1e9);
    if (rig->failures_here)
        printf("  %u failures", rig->failures_here);
    printf("\n");
    fflush(stdout);
}

static int skipped(const char *why)
{
    printf("SKIPPED: kernels_device: %s; nothing was tested\n", why);
    return EXIT_SKIPPED;
}

int main(int argc, char **argv)
{
    struct rig rig = {.effort = EFFORT_FULL};
    const char *backend = "cuda", *filter = "";
    struct device_info info;
    struct err err = {0};
    uint32_t failed = 0, ran = 0;
    bool list = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc)
            backend = argv[++i];
        else if (strcmp(argv[i], "--quick") == 0)
            rig.effort = EFFORT_QUICK;
        else if (strcmp(argv[i], "--tiny") == 0)
            rig.effort = EFFORT_TINY;
        else if (strcmp(argv[i], "--list") == 0)
            list = true;
        else
            filter = argv[i];
    }
    rig.cuda = strcmp(backend, "cuda") == 0;
    rig.ops = ops_find(backend);
    if (!rig.ops)
        return skipped("built without this backend");
    if (!list) {
        if (rig.ops->open(&(struct device_opts){.tp = 1}, &rig.device, &err) != STATUS_OK)
            return skipped(err.text);
        rig.ops->info(rig.device, &info);
        rig.act = info.act;
        if (rig.ops->stream_new(rig.device, &rig.stream, &err) != STATUS_OK) {
            printf("FAIL: %s\n", err.text);
            return 1;
        }
        printf("%s: %s\n", backend, info.name);
    }
    for (size_t s = 0; s < ARRAY_LEN(suites); s++)
        for (const struct rig_test *test = suites[s]; test->name; test++) {
            if (!strstr(test->name, filter))
                continue;
            if (list) {
                printf("%s\n", test->name);
                continue;
            }
            run_test(&rig, test);
            failed += rig.failures_here > 0;
            ran++;
        }
    if (list)
        return 0;
    rig.ops->stream_free(rig.device, rig.stream);
    rig.ops->close(rig.device);
    printf("%u passed, %u failed, %u checks\n", ran - failed, failed, rig.checks);
    return failed > 0 || ran == 0;
}
