/* Mixture of experts and the norm of a part of a row, against double precision.
 *
 * Bounds: one rounding of the result, 2^-16 of the root of the sum of the squares of a product's terms
 * (tensor cores cut where f32 would round), and for silu the same of its factors.
 */
#include "tests/kernels/device/rig.h"

static double act_ulp(const struct rig *rig)
{
    return rig->act == DTYPE_BF16 ? 0x1p-8 : 0x1p-20;
}

static void norm_part_case(struct rig *rig, uint32_t rows, uint32_t stride, uint32_t dim)
{
    size_t count = (size_t)rows * stride;
    float *x = rig_values(rig, count, 2), *w = rig_values(rig, dim, 1);
    void *act = rig_act(rig, x, count);
    rig->ops->norm_part(rig->device, rig->stream, act, rig_up(rig, w, dim * sizeof(*w)), rows,
                        stride, dim, 1e-5f);
    float *got = rig_read(rig, act, count);
    for (size_t r = 0; r < rows; r++) {
        const float *in = x + r * stride, *out = got + r * stride;
        double squares = 0;
        for (uint32_t i = 0; i < dim; i++)
            squares += (double)in[i] * (double)in[i];
        for (uint32_t i = 0; i < dim; i++) {
            double want = (double)in[i] / sqrt(squares / dim + 1e-5) * (double)w[i];
            rig_close(rig, out[i], want, act_ulp(rig) * fabs(want) + 1e-9, "norm_part",
                      r * stride + i);
        }
        EXPECT(rig, memcmp(out + dim, in + dim, (stride - dim) * sizeof(*in)) == 0,
               "norm_part: the rest of row %zu changed", r);
    }
    rig->cases++;
    rig_drop(rig);
}

static void run_norm_part(struct rig *rig)
{
    static const uint32_t cases[][3] = {/* rows, stride, dim */
                                        {1, 8, 8},
                                        {3, 50, 33},
                                        {5, 3072, 1024},
                                        {2, 6144, 2048}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        norm_part_case(rig, cases[i][0], cases[i][1], cases[i][2]);
}

/* One norm over all ranks' q heads, one over their k heads; the last two ranks hold the same k. */
enum { OVER_ROWS = 3, OVER_RANKS = 3 };

static void over_ranks_case(struct rig *rig, uint32_t q, uint32_t k)
{
    uint32_t stride = q + 2 * k, qw = q * OVER_RANKS, kw = k * (OVER_RANKS - 1);
    float *w = rig_values(rig, qw + kw, 1), *x[OVER_RANKS];
    float *w_device = rig_up(rig, w, (qw + kw) * sizeof(*w));
    double squares[OVER_ROWS][2] = {{0}};
    struct rig_out all = rig_out_bytes(rig, OVER_ROWS * OVER_RANKS * 2 * sizeof(float));
    struct wide_norm_args args[OVER_RANKS];
    for (uint32_t rank = 0; rank < OVER_RANKS; rank++) {
        bool counts = rank + 1 < OVER_RANKS;
        float sums[OVER_ROWS][2];
        x[rank] = rig_values(rig, OVER_ROWS * stride, 2);
        for (uint32_t r = 0; r < OVER_ROWS; r++) {
            float *row = x[rank] + r * stride;
            if (!counts)
                memcpy(row + q, x[rank - 1] + r * stride + q, k * sizeof(*row));
            for (uint32_t i = 0; i < (counts ? q + k : q); i++)
                squares[r][i >= q] += (double)row[i] * (double)row[i];
        }
        args[rank] = (struct wide_norm_args){.qkv = rig_act(rig, x[rank], OVER_ROWS * stride),
                                             .q_norm = w_device + rank * q,
                                             .k_norm = w_device + qw +
                                                       MIN(rank, (uint32_t)OVER_RANKS - 2) * k,
                                             .eps = 1e-5f,
                                             .rows = OVER_ROWS,
                                             .stride = stride,
                                             .q_dim = q,
                                             .k_dim = k,
                                             .q_width = qw,
                                             .k_width = kw,
                                             .k_counts = counts};
        struct rig_out mine = rig_out_bytes(rig, sizeof(sums));
        rig->ops->qk_sums(rig->device, rig->stream, mine.device, &args[rank]);
        memcpy(sums, rig_out_read(rig, &mine, DTYPE_F32, "qk_sums"), sizeof(sums));
        for (uint32_t r = 0; r < OVER_ROWS; r++)
            rig->ops->upload(rig->device, NULL,
                             (float *)all.device + ((size_t)r * OVER_RANKS + rank) * 2, sums[r],
                             sizeof(sums[r]));
    }
    for (uint32_t rank = 0; rank < OVER_RANKS; rank++) {
        rig->ops->qk_norm_by_sums(rig->device, rig->stream, all.device, OVER_RANKS, &args[rank]);
        float *got = rig_read(rig, args[rank].qkv, OVER_ROWS * stride);
        for (uint32_t r = 0; r < OVER_ROWS; r++) {
            const float *in = x[rank] + r * stride, *out = got + r * stride;
            for (uint32_t i = 0; i < q + k; i++) {
                const float *norm = i < q
                                        ? w + rank * q + i
                                        : w + qw + MIN(rank, (uint32_t)OVER_RANKS - 2) * k + i - q;
                double sum = squares[r][i >= q] / (i < q ? qw : kw);
                double want = (double)in[i] / sqrt(sum + 1e-5) * (double)*norm;
                rig_close(rig, out[i], want, (act_ulp(rig) + 0x1p-19) * fabs(want) + 1e-9,
                          "qk_norm_by_sums", r * stride + i);
            }
            EXPECT(rig, memcmp(out + q + k, in + q + k, k * sizeof(*in)) == 0,
                   "qk_norm_by_sums: v of row %u changed", r);
        }
    }
    rig->cases++;
    rig_drop(rig);
}

static void run_over_ranks(struct rig *rig)
{
    over_ranks_case(rig, 8, 8);
    over_ranks_case(rig, 33, 17);
    over_ranks_case(rig, 1024, 512);
}

/* Collectives of one rank, which change nothing, through the library that several would use. */
static void run_one_rank(struct rig *rig)
{
    enum { ROWS = 5, COLS = 1003 };
    struct device_opts opts = {.tp = 1, .comm = "alone"};
    struct rig alone = *rig;
    struct err err = {0};
    if (!rig->cuda ||
        rig->effort == EFFORT_TINY) /* cpu: test_comm.c; sanitizers: not our kernels */
        return;
    if (rig->ops->open(&opts, &alone.device, &err) != STATUS_OK) {
        printf("    SKIPPED: %s\n", err.text);
        return;
    }
    alone.device_memory = alone.host_memory = NULL;
    alone.device_count = alone.host_count = 0;
    EXPECT(&alone, alone.ops->stream_new(alone.device, &alone.stream, &err) == STATUS_OK, "stream");
    float *x = rig_values(&alone, ROWS * COLS, 1);
    void *act = rig_act(&alone, x, ROWS * COLS);
    float *in = rig_up(&alone, x, ROWS * COLS * sizeof(*x));
    struct rig_out out = rig_out_bytes(&alone, ROWS * COLS * sizeof(*x));
    struct graph *graph = NULL;
    EXPECT(&alone, alone.ops->graph_begin(alone.device, alone.stream, &err) == STATUS_OK, "begin");
    alone.ops->all_reduce(alone.device, alone.stream, act, ROWS * COLS);
    alone.ops->all_gather(alone.device, alone.stream, out.device, in, ROWS, COLS);
    EXPECT(&alone, alone.ops->graph_end(alone.device, alone.stream, &graph, &err) == STATUS_OK,
           "%s", err.text);
    for (int turn = 0; turn < 2 && graph; turn++)
        alone.ops->graph_launch(alone.device, alone.stream, graph);
    float *reduced = rig_read(&alone, act, ROWS * COLS);
    float *gathered = rig_out_read(&alone, &out, DTYPE_F32, "all_gather");
    EXPECT(&alone, memcmp(reduced, x, ROWS * COLS * sizeof(*x)) == 0, "all_reduce of one rank");
    EXPECT(&alone, memcmp(gathered, x, ROWS * COLS * sizeof(*x)) == 0, "all_gather of one rank");
    if (graph)
        alone.ops->graph_free(alone.device, graph);
    rig_drop(&alone);
    alone.ops->stream_free(alone.device, alone.stream);
    alone.ops->close(alone.device);
    rig->checks = alone.checks, rig->failures = alone.failures;
    rig->failures_here = alone.failures_here, rig->seed = alone.seed;
    rig->cases++;
}

struct mixture {
    uint32_t rows, experts, top, hidden, inter;
    bool renormalize, ties;
};

struct routed {
    uint32_t *ids;
    float *weights;
};

static struct routed check_route(struct rig *rig, const struct mixture *m, struct expert_args *args)
{
    size_t count = (size_t)m->rows * m->experts, slots = (size_t)m->rows * m->top;
    float *logits = rig_values(rig, count, 2);
    struct rig_out ids = rig_out_bytes(rig, slots * 4), weights = rig_out_bytes(rig, slots * 4);
    struct routed got = {rig_host(rig, slots * 4), NULL};
    for (size_t i = 0; i < count && m->ties; i++)
        logits[i] = roundf(logits[i]);
    rig->ops->route(rig->device, rig->stream, ids.device, weights.device,
                    rig_up(rig, logits, count * sizeof(*logits)), args);
    rig_down(rig, got.ids, ids.device, slots * 4);
    got.weights = rig_out_read(rig, &weights, DTYPE_F32, "route");
    for (uint32_t r = 0; r < m->rows; r++) {
        const float *row = logits + (size_t)r * m->experts;
        double sum = 0, chosen = 0;
        bool *taken = rig_host(rig, m->experts * sizeof(*taken));
        uint32_t want[64];
        for (uint32_t e = 0; e < m->experts; e++)
            sum += exp((double)row[e]);
        for (uint32_t j = 0; j < m->top; j++) {
            uint32_t best = UINT32_MAX;
            for (uint32_t e = 0; e < m->experts; e++)
                if (!taken[e] && (best == UINT32_MAX || row[e] > row[best]))
                    best = e;
            taken[want[j] = best] = true;
            chosen += exp((double)row[best]) / sum;
        }
        for (uint32_t j = 0; j < m->top; j++) {
            size_t at = (size_t)r * m->top + j;
            double p = exp((double)row[want[j]]) / sum / (m->renormalize ? chosen : 1);
            EXPECT(rig, got.ids[at] == want[j], "route: row %u, choice %u is %u, not %u", r, j,
                   got.ids[at], want[j]);
            rig_close(rig, got.weights[at], p, 1e-5 * p, "route", at);
        }
    }
    args->ids = ids.device;
    args->weights = weights.device;
    return got;
}

static double dot(const float *x, const uint16_t *w, uint32_t k, double *slack)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < k; i++) {
        double term = (double)x[i] * (double)bf16_wide(w[i]);
        sum += term;
        squares += term * term;
    }
    *slack = 0x1p-16 * sqrt(squares) + 1e-9;
    return sum;
}

static void check_gate_up(struct rig *rig, const struct mixture *m, const struct expert_args *args,
                          const struct routed *routed)
{
    uint32_t k = m->hidden, dim = m->inter, slots = m->rows * m->top;
    float *x = rig_values(rig, (size_t)m->rows * k, 1);
    uint16_t *bits;
    struct weight w = rig_weight(rig, m->experts * 2 * dim, k, &bits);
    struct rig_out y[2];
    for (int run = 0; run < 2; run++) {
        y[run] = rig_out_act(rig, (size_t)slots * dim);
        rig->ops->experts_gate_up(rig->device, rig->stream, y[run].device,
                                  rig_act(rig, x, (size_t)m->rows * k), &w, args);
    }
    float *got = rig_out_read(rig, &y[0], rig->act, "experts_gate_up");
    rig_same(rig, &y[0], &y[1], "experts_gate_up");
    for (uint32_t s = 0; s < slots; s++)
        for (uint32_t i = s % 3; i < dim; i += 3) {
            const uint16_t *first = bits + (size_t)routed->ids[s] * 2 * dim * k;
            const float *in = x + (size_t)(s / m->top) * k;
            double gate_off, up_off, gate = dot(in, first + (size_t)i * k, k, &gate_off);
            double up = dot(in, first + (size_t)(dim + i) * k, k, &up_off);
            double silu = gate / (1 + exp(-gate)), want = silu * up;
            rig_close(rig, got[(size_t)s * dim + i], want,
                      act_ulp(rig) * fabs(want) + 1.1 * gate_off * fabs(up) + fabs(silu) * up_off +
                          1e-6,
                      "experts_gate_up", (size_t)s * dim + i);
        }
    rig->ops->weight_free(rig->device, &w);
}

static void check_down(struct rig *rig, const struct mixture *m, const struct expert_args *args,
                       const struct routed *routed)
{
    uint32_t k = m->inter, n = m->hidden;
    float *a = rig_values(rig, (size_t)m->rows * m->top * k, 1);
    uint16_t *bits;
    struct weight w = rig_weight(rig, m->experts * n, k, &bits);
    struct rig_out y[2];
    for (int run = 0; run < 2; run++) {
        y[run] = rig_out_act(rig, (size_t)m->rows * n);
        rig->ops->experts_down(rig->device, rig->stream, y[run].device,
                               rig_act(rig, a, (size_t)m->rows * m->top * k), &w, args);
    }
    float *got = rig_out_read(rig, &y[0], rig->act, "experts_down");
    rig_same(rig, &y[0], &y[1], "experts_down");
    for (uint32_t r = 0; r < m->rows; r++)
        for (uint32_t i = r % 3; i < n; i += 3) {
            double want = 0, bound = 1e-6;
            for (uint32_t j = 0; j < m->top; j++) {
                size_t s = (size_t)r * m->top + j;
                double off,
                    part = dot(a + s * k, bits + ((size_t)routed->ids[s] * n + i) * k, k, &off);
                want += (double)routed->weights[s] * part;
                bound += (double)routed->weights[s] * (off + 0x1p-20 * fabs(part));
            }
            rig_close(rig, got[(size_t)r * n + i], want, bound + act_ulp(rig) * fabs(want),
                      "experts_down", (size_t)r * n + i);
        }
    rig->ops->weight_free(rig->device, &w);
}

static void check_gated(struct rig *rig, uint32_t rows, uint32_t dim)
{
    size_t count = (size_t)rows * dim;
    float *x = rig_values(rig, count, 1), *y = rig_values(rig, count, 1);
    float *gate = rig_values(rig, rows, 2);
    void *act = rig_act(rig, x, count);
    rig->ops->add_gated(rig->device, rig->stream, act, rig_act(rig, y, count),
                        rig_up(rig, gate, rows * sizeof(*gate)), rows, dim);
    float *got = rig_read(rig, act, count);
    for (size_t i = 0; i < count; i++) {
        double want = (double)x[i] + (double)y[i] / (1 + exp(-(double)gate[i / dim]));
        rig_close(rig, got[i], want, act_ulp(rig) * fabs(want) + 1e-6, "add_gated", i);
    }
}

static void run_experts(struct rig *rig)
{
    static const struct mixture cases[] = {
        {1, 8, 2, 64, 32, true, false},       {5, 4, 4, 33, 17, false, false},
        {70, 8, 2, 96, 72, true, true},       {3, 60, 4, 128, 88, false, false},
        {40, 128, 8, 64, 48, true, false},    {130, 3, 1, 72, 66, false, true},
        {33, 128, 8, 2048, 768, true, false}, {600, 8, 2, 4096, 64, true, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct mixture *m = &cases[i];
        struct expert_args args = {
            .rows = m->rows, .top = m->top, .experts = m->experts, .renormalize = m->renormalize};
        if (m->hidden > 1000 && (!rig->cuda || rig->effort < EFFORT_FULL))
            continue;
        struct routed routed = check_route(rig, m, &args);
        check_gate_up(rig, m, &args, &routed);
        check_down(rig, m, &args, &routed);
        check_gated(rig, m->rows, m->hidden);
        rig->cases++;
        rig_drop(rig);
    }
}

const struct rig_test moe_tests[] = {
    {"norm_part", run_norm_part},
    {"norm_over_ranks", run_over_ranks},
    {"one_rank", run_one_rank},
    {"experts", run_experts},
    {NULL, NULL},
};
