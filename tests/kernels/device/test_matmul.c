/* Matrix products, plain and fused, against dot products in double.
 *
 * Bounds. A product in f32 of bf16 inputs, stored as bf16: 2^-8 of the value for each rounding, and
 * 2^-16 of the root of the sum of squares of its terms (tensor cores cut where f32 would round; over
 * a long k the cuts add up, to 2^-28 of the sum for each of its terms). Behind a norm, a normed input
 * may fall on the other side of a bf16 rounding: 2^-10 of that root, and 2^-7 of the largest term.
 */
#include "tests/kernels/device/rig.h"
#include "tests/kernels/ops_cases.h"

#define SAMPLES 1200

struct product {
    double sum, root, largest; /* of the terms */
    double cut;                /* what tensor cores may cut */
};

static struct product product(const float *x, const uint16_t *w, uint32_t k)
{
    struct product p = {0};
    double squares = 0;
    for (uint32_t i = 0; i < k; i++) {
        double term = (double)x[i] * (double)bf16_wide(w[i]);
        p.sum += term;
        squares += term * term;
        p.largest = fmax(p.largest, fabs(term));
    }
    p.root = sqrt(squares);
    p.cut = 0x1p-16 * p.root + k * 0x1p-28 * (fabs(p.sum) + p.root);
    return p;
}

static double slack(const struct product *p, bool normed)
{
    return normed ? 0x1p-10 * p->root + 0x1p-7 * p->largest : p->cut + 1e-9;
}

struct shape {
    struct rig *rig;
    struct weight w;
    const uint16_t *bits;
    float *bias_host, *bias;
    float *norm_host, *norm;
};

static void shape_init(struct rig *rig, uint32_t n, uint32_t k, bool bias, struct shape *s)
{
    uint16_t *bits;
    *s = (struct shape){.rig = rig, .w = rig_weight(rig, n, k, &bits)};
    s->bits = bits;
    s->norm_host = rig_values(rig, k, 0.3f);
    for (uint32_t i = 0; i < k; i++)
        s->norm_host[i] += 1.0f;
    s->norm = rig_up(rig, s->norm_host, k * sizeof(float));
    if (bias) {
        s->bias_host = rig_values(rig, n, 0.5f);
        s->bias = rig_up(rig, s->bias_host, n * sizeof(float));
    }
}

static void shape_drop(struct shape *s)
{
    rig_sync(s->rig);
    s->rig->ops->weight_free(s->rig->device, &s->w);
    rig_drop(s->rig);
}

/* The i-th of `picked` places in [m, n]: all of them, or some with the corners first. */
static size_t pick(struct rig *rig, uint32_t i, uint32_t m, uint32_t n, bool all)
{
    size_t count = (size_t)m * n, corners[] = {0, n - 1, count - n, count - 1};
    return all ? i : i < 4 ? corners[i] : rng_below(&rig->seed, count);
}

static float *norm_rows(struct rig *rig, const float *x, const float *w, uint32_t m, uint32_t k,
                        float eps)
{
    float *y = rig_host(rig, (size_t)m * k * sizeof(*y));
    for (size_t r = 0; r < m; r++) {
        double squares = 0, scale;
        for (uint32_t i = 0; i < k; i++)
            squares += (double)x[r * k + i] * (double)x[r * k + i];
        scale = 1 / sqrt(squares / k + (double)eps);
        for (uint32_t i = 0; i < k; i++) {
            double value = (double)x[r * k + i] * scale * (double)w[i];
            y[r * k + i] = rig->act == DTYPE_BF16 ? bf16_round(value) : (float)value;
        }
    }
    return y;
}

struct inputs {
    uint32_t m, picked;
    bool all;
    float *x, *normed;
    void *x_act, *scratch;
};

static double bias_of(const struct shape *s, size_t col)
{
    return s->bias_host ? (double)s->bias_host[col] : 0;
}

static void check_plain(const struct shape *s, const struct inputs *in)
{
    struct rig *rig = s->rig;
    uint32_t n = s->w.n, k = s->w.k;
    size_t count = (size_t)in->m * n;
    struct rig_out y[2], f[2], z[2];
    struct norm norm = {s->norm, 1e-6f};
    for (int run = 0; run < 2; run++) {
        y[run] = rig_out_act(rig, count);
        z[run] = rig_out_act(rig, count);
        f[run] = rig_out_bytes(rig, count * sizeof(float));
        rig->ops->matmul(rig->device, rig->stream, y[run].device, in->x_act, &s->w, s->bias, in->m);
        rig->ops->matmul_f32(rig->device, rig->stream, f[run].device, in->x_act, &s->w, in->m);
        rig->ops->norm_matmul(rig->device, rig->stream, z[run].device, in->x_act, &norm, &s->w,
                              s->bias, in->m, in->scratch);
    }
    float *got = rig_out_read(rig, &y[0], rig->act, "matmul");
    float *got_f32 = rig_out_read(rig, &f[0], DTYPE_F32, "matmul_f32");
    float *got_norm = rig_out_read(rig, &z[0], rig->act, "norm_matmul");
    rig_same(rig, &y[0], &y[1], "matmul");
    rig_same(rig, &f[0], &f[1], "matmul_f32");
    rig_same(rig, &z[0], &z[1], "norm_matmul");
    for (uint32_t i = 0; i < in->picked; i++) {
        size_t at = pick(rig, i, in->m, n, in->all), row = at / n, col = at % n;
        struct product p = product(in->x + row * k, s->bits + col * k, k);
        struct product q = product(in->normed + row * k, s->bits + col * k, k);
        double want = p.sum + bias_of(s, col), normed = q.sum + bias_of(s, col);
        rig_close(rig, got[at], want, 0x1p-8 * (fabs(want) + fabs(p.sum)) + slack(&p, false),
                  "matmul", at);
        rig_close(rig, got_f32[at], p.sum, 0x1p-18 * fabs(p.sum) + slack(&p, false), "matmul_f32",
                  at);
        rig_close(rig, got_norm[at], normed,
                  0x1p-8 * (fabs(normed) + fabs(q.sum)) + slack(&q, true), "norm_matmul", at);
    }
}

static void check_add(const struct shape *s, const struct inputs *in)
{
    struct rig *rig = s->rig;
    uint32_t n = s->w.n, k = s->w.k;
    size_t count = (size_t)in->m * n, item = dtype_bytes(rig->act);
    float *before = rig_values(rig, count, 2.0f);
    void *before_act = rig_act(rig, before, count);
    char *copy = rig_host(rig, count * item);
    struct rig_out out[2];
    rig_down(rig, copy, before_act, count * item);
    for (int run = 0; run < 2; run++) {
        out[run] = rig_out_act(rig, count);
        rig->ops->upload(rig->device, rig->stream, out[run].device, copy, count * item);
        rig->ops->matmul_add(rig->device, rig->stream, out[run].device, in->x_act, &s->w, s->bias,
                             in->m, in->scratch);
    }
    float *got = rig_out_read(rig, &out[0], rig->act, "matmul_add");
    rig_same(rig, &out[0], &out[1], "matmul_add");
    for (uint32_t i = 0; i < in->picked; i++) {
        size_t at = pick(rig, i, in->m, n, in->all);
        struct product p = product(in->x + at / n * k, s->bits + at % n * k, k);
        double added = p.sum + bias_of(s, at % n), want = (double)before[at] + added;
        /* the product, with the bias, and either of them with the residual */
        double rounded = 2 * fabs(want) + fabs(p.sum) + fabs(added) + fabs(added - p.sum);
        rig_close(rig, got[at], want, 0x1p-8 * rounded + slack(&p, false), "matmul_add", at);
    }
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static void check_gate_up(const struct shape *s, const struct inputs *in)
{
    struct rig *rig = s->rig;
    uint32_t dim = s->w.n / 2, k = s->w.k;
    size_t count = (size_t)in->m * dim;
    struct norm norm = {s->norm, 1e-6f};
    struct rig_out out[2];
    for (int run = 0; run < 2; run++) {
        out[run] = rig_out_act(rig, count);
        rig->ops->norm_gate_up_silu(rig->device, rig->stream, out[run].device, in->x_act, &norm,
                                    &s->w, s->bias, in->m, in->scratch);
    }
    float *got = rig_out_read(rig, &out[0], rig->act, "norm_gate_up_silu");
    rig_same(rig, &out[0], &out[1], "norm_gate_up_silu");
    for (uint32_t i = 0; i < MIN(in->picked, (uint32_t)count); i++) {
        size_t at = pick(rig, i, in->m, dim, in->all), row = at / dim, col = at % dim;
        struct product g = product(in->normed + row * k, s->bits + col * k, k);
        struct product u = product(in->normed + row * k, s->bits + (dim + col) * k, k);
        double gate = g.sum + bias_of(s, col), up = u.sum + bias_of(s, dim + col);
        /* stored before and after the bias is added */
        double want = silu(gate) * up,
               gate_off = 0x1p-8 * (fabs(gate) + fabs(g.sum)) + slack(&g, true),
               up_off = 0x1p-8 * (fabs(up) + fabs(u.sum)) + slack(&u, true);
        rig_close(rig, got[at], want,
                  1.1 * gate_off * fabs(up) + fabs(silu(gate)) * up_off + gate_off * up_off +
                      0x1p-8 * fabs(want) + 1e-9,
                  "norm_gate_up_silu", at);
    }
}

static void check_rows(const struct shape *s, uint32_t m)
{
    struct rig *rig = s->rig;
    uint32_t n = s->w.n, k = s->w.k;
    rig_where(rig, " [%u x %u, %u rows%s]", n, k, m, s->bias ? ", bias" : "");
    struct inputs in = {.m = m, .x = rig_values(rig, (size_t)m * k, 1.5f)};
    in.all =
        (size_t)m * n * k <= (rig->effort == EFFORT_FULL ? 4u << 20 : 1u << 20) && m * n < 20000;
    in.picked = in.all ? m * n : k > 4096 ? SAMPLES / 2 : SAMPLES;
    in.normed = norm_rows(rig, in.x, s->norm_host, m, k, 1e-6f);
    in.x_act = rig_act(rig, in.x, (size_t)m * k);
    in.scratch = rig_alloc(rig, (size_t)m * (k + n) * dtype_bytes(rig->act) + 256);
    check_plain(s, &in);
    check_add(s, &in);
    if (n % 2 == 0)
        check_gate_up(s, &in);
    rig->cases++;
}

static void run_small(struct rig *rig)
{
    for (size_t i = 0; i < ARRAY_LEN(matmul_cases); i++) {
        const struct matmul_case *c = &matmul_cases[i];
        struct shape s;
        shape_init(rig, c->n, c->k, c->bias, &s);
        check_rows(&s, c->m);
        shape_drop(&s);
    }
}

/* Every number of rows for which a kernel exists, on widths beside its blocks. */
static void run_ragged(struct rig *rig)
{
    static const uint32_t sizes[][2] = {
        /* n, k */
        {2, 8},      {3, 16},    {33, 24},   {130, 40},    {66, 248},  {257, 256}, {514, 264},
        {1000, 512}, {70, 1000}, {34, 1544}, {96, 2056},   {18, 4104}, {16, 8200}, {9, 9},
        {12, 4097},  {4, 17408}, {8, 25608}, {1056, 1032}, {2112, 72}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct shape s;
        if (rig->effort == EFFORT_TINY && i % 3 != 0)
            continue;
        for (uint32_t m = 1; m <= 9; m++) {
            shape_init(rig, sizes[i][0], sizes[i][1], (i + m) % 2 == 0, &s);
            check_rows(&s, m);
            shape_drop(&s);
            if (rig->effort == EFFORT_TINY)
                m += 2;
        }
    }
}

/* Rows between gemv and the prompts, on widths and depths beside gemm_rows' tiles. */
static void run_rows(struct rig *rig)
{
    static const uint32_t sizes[][2] = {/* n, k */
                                        {16, 2056},  {80, 2184}, {1024, 2048}, {72, 4104},
                                        {1040, 264}, {2192, 64}, {4096, 1024}, {16416, 136}};
    static const uint32_t rows[] = {9, 16, 33, 63, 64};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t j = 0; j < ARRAY_LEN(rows); j++) {
            struct shape s;
            if (rig->effort == EFFORT_TINY && ((i + j) % 5 != 0 || i % 4 == 2))
                continue;
            shape_init(rig, sizes[i][0], sizes[i][1], (i + j) % 2 == 0, &s);
            check_rows(&s, rows[j]);
            shape_drop(&s);
        }
}

static void run_models(struct rig *rig)
{
    static const struct {
        uint32_t n, k;
        enum effort effort;
        const char *name;
    } shapes[] = {
        {960, 576, EFFORT_QUICK, "SmolLM2 qkv"},      {576, 576, EFFORT_QUICK, "SmolLM2 o"},
        {3072, 576, EFFORT_QUICK, "SmolLM2 gate_up"}, {576, 1536, EFFORT_QUICK, "SmolLM2 down"},
        {4096, 1024, EFFORT_QUICK, "0.6B qkv"},       {1024, 2048, EFFORT_QUICK, "0.6B o"},
        {6144, 1024, EFFORT_QUICK, "0.6B gate_up"},   {1024, 3072, EFFORT_QUICK, "0.6B down"},
        {49152, 576, EFFORT_FULL, "SmolLM2 head"},    {151936, 1024, EFFORT_FULL, "0.6B head"},
        {7168, 5120, EFFORT_FULL, "14B qkv"},         {5120, 5120, EFFORT_FULL, "14B o"},
        {34816, 5120, EFFORT_FULL, "14B gate_up"},    {5120, 17408, EFFORT_FULL, "14B down"},
        {6144, 4096, EFFORT_FULL, "8B qkv"},          {4096, 12288, EFFORT_FULL, "8B down"},
    };
    static const uint32_t rows[] = {1, 2, 3, 4, 5, 8, 16, 64, 100, 256, 700};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        if (shapes[i].effort > rig->effort)
            continue;
        for (size_t j = 0; j < ARRAY_LEN(rows); j++) {
            struct shape s;
            if ((size_t)rows[j] * shapes[i].n > 8u << 20 ||
                (rig->effort == EFFORT_QUICK && rows[j] > 64))
                continue;
            bool large = (size_t)shapes[i].n * shapes[i].k > 20u << 20;
            if ((!rig->cuda && rows[j] > 16) || (large && rows[j] != 1 && rows[j] != 3 &&
                                                 rows[j] != 8 && rows[j] != 64 && rows[j] != 100))
                continue;
            shape_init(rig, shapes[i].n, shapes[i].k, j % 2 == 0, &s);
            check_rows(&s, rows[j]);
            shape_drop(&s);
        }
    }
}

const struct rig_test matmul_tests[] = {
    {"matmul_small", run_small},
    {"matmul_ragged", run_ragged},
    {"matmul_rows", run_rows},
    {"matmul_models", run_models},
    {NULL, NULL},
};
