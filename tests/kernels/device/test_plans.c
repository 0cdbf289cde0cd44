/* Measured plans of matmuls: kept in a file by tune_end or at close, read at open; a file that is cut or
 * foreign, or a folder that cannot be written, costs nothing but the plans. */
#include "tests/kernels/device/rig.h"

#include <dirent.h>
#include <unistd.h>

#define M 16u /* above 8 rows and a size that plans are kept for */
#define N 64u
#define K 128u

/* Small integers: every sum is exact, in any order. */
static float x_at(uint32_t row, uint32_t col)
{
    return (float)((row * 7 + col * 3) % 5) - 2;
}

static float w_at(uint32_t row, uint32_t col)
{
    return (float)((row * 5 + col) % 3) - 1;
}

/* y is `times` the product. */
static void check_product(struct rig *rig, const uint16_t *y, float times)
{
    for (uint32_t m = 0; m < M; m++)
        for (uint32_t n = 0; n < N; n++) {
            float want = 0;
            for (uint32_t k = 0; k < K; k++)
                want += times * x_at(m, k) * w_at(n, k);
            float got = bf16_wide(y[m * N + n]);
            EXPECT(rig, got == want, "[%u, %u] is %g, not %g", m, n, (double)got, (double)want);
        }
}

/* A device of its own, with the matrices on it. */
struct bed {
    struct device *device;
    struct stream *stream;
    struct weight weight;
    void *x, *y;
};

static bool bed_init(struct rig *rig, struct bed *bed, const char *dir, bool tune)
{
    const struct ops *ops = rig->ops;
    struct device_opts opts = {.plans = dir, .tune = tune, .tp = 1};
    uint16_t x[M * K], w[N * K];
    struct load_part part = {.data = w, .dtype = DTYPE_BF16, .row_count = N, .stride = K};
    struct err err = {0};

    *bed = (struct bed){0};
    for (uint32_t i = 0; i < M * K; i++)
        x[i] = bf16_bits(x_at(i / K, i % K));
    for (uint32_t i = 0; i < N * K; i++)
        w[i] = bf16_bits(w_at(i / K, i % K));
    bool ready = ops->open(&opts, &bed->device, &err) == STATUS_OK &&
                 ops->stream_new(bed->device, &bed->stream, &err) == STATUS_OK &&
                 ops->alloc(bed->device, sizeof(x), &bed->x, &err) == STATUS_OK &&
                 ops->alloc(bed->device, M * N * sizeof(uint16_t), &bed->y, &err) == STATUS_OK &&
                 ops->weight_load(bed->device, &part, 1, K, false, &bed->weight, &err) == STATUS_OK;
    EXPECT(rig, ready, "%s", err.text);
    if (!ready)
        return false;
    ops->upload(bed->device, bed->stream, bed->x, x, sizeof(x));
    EXPECT(rig, ops->stream_sync(bed->device, bed->stream, &err) == STATUS_OK, "%s", err.text);
    return true;
}

static void bed_release(struct rig *rig, struct bed *bed)
{
    const struct ops *ops = rig->ops;
    ops->weight_free(bed->device, &bed->weight);
    ops->free(bed->device, bed->x);
    ops->free(bed->device, bed->y);
    ops->stream_free(bed->device, bed->stream);
    ops->close(bed->device);
    rig->cases++;
}

static void bed_check(struct rig *rig, struct bed *bed, float times)
{
    uint16_t y[M * N];
    struct err err = {0};
    rig->ops->download(bed->device, bed->stream, y, bed->y, sizeof(y));
    EXPECT(rig, rig->ops->stream_sync(bed->device, bed->stream, &err) == STATUS_OK, "%s", err.text);
    check_product(rig, y, times);
}

/* One product on a device of its own. */
static void product(struct rig *rig, const char *dir, bool tune)
{
    struct bed bed;
    if (!bed_init(rig, &bed, dir, tune))
        return;
    rig->ops->matmul(bed.device, bed.stream, bed.y, bed.x, &bed.weight, NULL, M);
    bed_check(rig, &bed, 1);
    bed_release(rig, &bed);
}

/* The one file in `dir`, its text in `out`; false when there is none. */
static bool read_plans(const char *dir, char *path, char *out, size_t size)
{
    struct dirent *entry;
    DIR *folder = opendir(dir);
    bool found = false;
    while (folder && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.') {
            snprintf(path, 512, "%.200s/%.255s", dir, entry->d_name);
            found = true;
        }
    if (folder)
        closedir(folder);
    FILE *file = found ? fopen(path, "r") : NULL;
    size_t len = file ? fread(out, 1, size - 1, file) : 0;
    out[len] = '\0';
    if (file)
        fclose(file);
    return found;
}

static void write_text(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "w");
    if (file) {
        fwrite(text, 1, len, file);
        fclose(file);
    }
}

/* tune_end keeps the plans of a device that lives on, and products that add are right from then on. */
static void check_tune_end(struct rig *rig, const char *dir)
{
    char path[512] = "", kept[4096], now[4096];
    struct bed bed;
    if (!bed_init(rig, &bed, dir, true))
        return;
    rig->ops->matmul(bed.device, bed.stream, bed.y, bed.x, &bed.weight, NULL, M);
    bed_check(rig, &bed, 1);
    EXPECT(rig, !read_plans(dir, path, kept, sizeof(kept)), "plans before tune_end: %s", kept);
    rig->ops->tune_end(bed.device);
    EXPECT(rig, read_plans(dir, path, kept, sizeof(kept)), "tune_end kept no plans");
    EXPECT(rig, strstr(kept, "\n64 128 16 0 ") != NULL, "no plan of this product: %s", kept);
    rig->ops->matmul_add(bed.device, bed.stream, bed.y, bed.x, &bed.weight, NULL, M, NULL);
    bed_check(rig, &bed, 2);
    bed_release(rig, &bed);
    read_plans(dir, path, now, sizeof(now));
    EXPECT(rig, strcmp(kept, now) == 0, "measured after tune_end: %s", now);
    unlink(path);
}

static void run_plans(struct rig *rig)
{
    char dir[] = "/tmp/msgl-plans-XXXXXX", path[512] = "", kept[4096], now[4096];
    if (!rig->cuda || !mkdtemp(dir))
        return;
    product(rig, dir, false);
    EXPECT(rig, !read_plans(dir, path, now, sizeof(now)), "plans that nobody measured were kept");
    check_tune_end(rig, dir);
    product(rig, dir, true);
    EXPECT(rig, read_plans(dir, path, kept, sizeof(kept)), "no plans were kept");
    EXPECT(rig, strstr(kept, "\n64 128 16 0 ") != NULL, "no plan of this product: %s", kept);
    product(rig, dir, false);
    read_plans(dir, path, now, sizeof(now));
    EXPECT(rig, strcmp(kept, now) == 0, "the plans changed");

    write_text(path, kept, strlen(kept) - 9);
    product(rig, dir, false);
    write_text(path, "# other plans 7\n", 16);
    product(rig, dir, true);
    read_plans(dir, path, now, sizeof(now));
    EXPECT(rig, strstr(now, "\n64 128 16 0 ") != NULL, "a foreign file was not replaced: %s", now);
    product(rig, path, true); /* a file in place of the folder */
    unlink(path);
    rmdir(dir);
}

const struct rig_test plans_tests[] = {{"plans", run_plans}, {NULL, NULL}};
