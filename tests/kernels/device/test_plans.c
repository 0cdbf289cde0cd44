/* Measured plans of matmuls: kept in a file at close, read at open; a file that is cut or foreign, or
 * a folder that cannot be written, costs nothing but the plans. */
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

static void check_product(struct rig *rig, const uint16_t *y)
{
    for (uint32_t m = 0; m < M; m++)
        for (uint32_t n = 0; n < N; n++) {
            float want = 0;
            for (uint32_t k = 0; k < K; k++)
                want += x_at(m, k) * w_at(n, k);
            float got = bf16_wide(y[m * N + n]);
            EXPECT(rig, got == want, "[%u, %u] is %g, not %g", m, n, (double)got, (double)want);
        }
}

/* One product on a device of its own. */
static void product(struct rig *rig, const char *dir, bool tune)
{
    const struct ops *ops = rig->ops;
    struct device_opts opts = {.plans = dir, .tune = tune, .tp = 1};
    uint16_t x[M * K], w[N * K], y[M * N];
    struct load_part part = {.data = w, .dtype = DTYPE_BF16, .row_count = N, .stride = K};
    struct device *device = NULL;
    struct stream *stream = NULL;
    struct weight weight = {0};
    void *dx = NULL, *dy = NULL;
    struct err err = {0};

    for (uint32_t i = 0; i < M * K; i++)
        x[i] = bf16_bits(x_at(i / K, i % K));
    for (uint32_t i = 0; i < N * K; i++)
        w[i] = bf16_bits(w_at(i / K, i % K));
    bool ready = ops->open(&opts, &device, &err) == STATUS_OK &&
                 ops->stream_new(device, &stream, &err) == STATUS_OK &&
                 ops->alloc(device, sizeof(x), &dx, &err) == STATUS_OK &&
                 ops->alloc(device, sizeof(y), &dy, &err) == STATUS_OK &&
                 ops->weight_load(device, &part, 1, K, false, &weight, &err) == STATUS_OK;
    EXPECT(rig, ready, "%s", err.text);
    if (!ready)
        return;
    ops->upload(device, stream, dx, x, sizeof(x));
    ops->matmul(device, stream, dy, dx, &weight, NULL, M);
    ops->download(device, stream, y, dy, sizeof(y));
    EXPECT(rig, ops->stream_sync(device, stream, &err) == STATUS_OK, "%s", err.text);
    check_product(rig, y);
    ops->weight_free(device, &weight);
    ops->free(device, dx);
    ops->free(device, dy);
    ops->stream_free(device, stream);
    ops->close(device);
    rig->cases++;
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

static void run_plans(struct rig *rig)
{
    char dir[] = "/tmp/msgl-plans-XXXXXX", path[512] = "", kept[4096], now[4096];
    if (!rig->cuda || !mkdtemp(dir))
        return;
    product(rig, dir, false);
    EXPECT(rig, !read_plans(dir, path, now, sizeof(now)), "plans that nobody measured were kept");
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
