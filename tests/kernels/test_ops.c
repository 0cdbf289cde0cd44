/* Every op of the cpu table against a plain double-precision reference, on every instruction set.
 */
#include "tests/kernels/kit.h"
#include "tests/kernels/ops_cases.h"

static const struct isa *isas[2];
static int isa_count;

static void ref_matmul(double *y, const float *x, const float *w, const float *bias,
                       const struct matmul_case *c)
{
    for (uint32_t i = 0; i < c->m; i++)
        for (uint32_t j = 0; j < c->n; j++) {
            double sum = bias ? bias[j] : 0;
            for (uint32_t l = 0; l < c->k; l++)
                sum += (double)x[(size_t)i * c->k + l] * w[(size_t)j * c->k + l];
            y[(size_t)i * c->n + j] = sum;
        }
}

START_TEST(matmul)
{
    const struct matmul_case *c = &matmul_cases[_i];
    const struct ops *ops = ops_find("cpu");
    for (int isa = 0; isa < isa_count; isa++) {
        struct device *device = kit_open(2, isas[isa]);
        uint64_t seed = 100 + (uint64_t)_i;
        float *wide, *x = kit_floats(&seed, (size_t)c->m * c->k, 1),
                     *bias = kit_floats(&seed, c->n, 1);
        struct weight w = kit_weight(device, &seed, c->dtype, c->n, c->k, &wide);
        size_t count = (size_t)c->m * c->n;
        float *y = mem_array(count, sizeof(float));
        double *want = mem_array(count, sizeof(double));
        ref_matmul(want, x, wide, c->bias ? bias : NULL, c);
        ops->matmul(device, NULL, y, x, &w, c->bias ? bias : NULL, c->m);
        kit_close(y, want, count, c->tolerance, "matmul");
        ref_matmul(want, x, wide, NULL, c);
        ops->matmul_f32(device, NULL, y, x, &w, c->m);
        kit_close(y, want, count, c->tolerance, "matmul_f32");
        ops->weight_free(device, &w);
        ops->close(device);
        mem_free(wide), mem_free(x), mem_free(bias), mem_free(y), mem_free(want);
    }
}
END_TEST

/* A pool whose pages lie in a shuffled order, `slots` tables of `per_slot` pages. */
static struct kv_view kv_make(uint64_t *seed, uint32_t slots, uint32_t per_slot, uint32_t kv_heads,
                              uint32_t page_size, uint32_t dim)
{
    struct kv_view kv = {.pages = slots * per_slot,
                         .pages_per_slot = per_slot,
                         .page_size = page_size,
                         .kv_heads = kv_heads,
                         .head_dim = dim};
    uint32_t *table = mem_array(kv.pages, sizeof(*table));
    for (uint32_t i = 0; i < kv.pages; i++)
        table[i] = i;
    for (uint32_t i = kv.pages; i-- > 1;) {
        uint32_t j = (uint32_t)rng_below(seed, i + 1), swap = table[i];
        table[i] = table[j], table[j] = swap;
    }
    kv.page_table = table;
    kv.pool = kit_floats(seed, (size_t)kv.pages * 2 * kv_heads * page_size * dim, 1);
    return kv;
}

static const float *kv_at(const struct kv_view *kv, uint32_t slot, uint32_t pos, uint32_t head,
                          bool v)
{
    size_t page = kv->page_table[(size_t)slot * kv->pages_per_slot + pos / kv->page_size];
    size_t row = (page * 2 + v) * kv->kv_heads + head;
    return (const float *)kv->pool + (row * kv->page_size + pos % kv->page_size) * kv->head_dim;
}

static void kv_drop(struct kv_view *kv)
{
    mem_free((void *)(uintptr_t)kv->page_table);
    mem_free(kv->pool);
}

static void ref_attend(double *out, const float *q, const struct kv_view *kv, uint32_t slot,
                       uint32_t pos, uint32_t head, uint32_t window, double scale)
{
    uint32_t low = window && pos + 1 > window ? pos + 1 - window : 0, dim = kv->head_dim;
    double top = -INFINITY, sum = 0;
    double *s = mem_array(pos + 1, sizeof(*s));
    for (uint32_t j = low; j <= pos; j++) {
        for (uint32_t d = 0; d < dim; d++)
            s[j] += (double)q[d] * kv_at(kv, slot, j, head, false)[d] * scale;
        top = fmax(top, s[j]);
    }
    memset(out, 0, dim * sizeof(*out));
    for (uint32_t j = low; j <= pos; j++) {
        double p = exp(s[j] - top);
        sum += p;
        for (uint32_t d = 0; d < dim; d++)
            out[d] += p * kv_at(kv, slot, j, head, true)[d];
    }
    for (uint32_t d = 0; d < dim; d++)
        out[d] /= sum;
    mem_free(s);
}

START_TEST(attention)
{
    const struct attn_case *c = &attn_cases[_i];
    const struct ops *ops = ops_find("cpu");
    struct attn_row rows[4];
    uint32_t row_count = 0, tokens = 0, context = 0, dim = c->head_dim;
    for (; row_count < 4 && c->rows[row_count][0]; row_count++) {
        const uint32_t *row = c->rows[row_count];
        rows[row_count] = (struct attn_row){.slot = 3 - row_count,
                                            .token_first = tokens,
                                            .token_count = row[0],
                                            .pos_first = row[1]};
        tokens += row[0];
        context = MAX(context, row[0] + row[1]);
    }
    uint64_t seed = 200 + (uint64_t)_i;
    struct kv_view kv =
        kv_make(&seed, 4, DIV_CEIL(context, c->page_size), c->kv_heads, c->page_size, dim);
    uint32_t stride = (c->q_heads + 2 * c->kv_heads) * dim, group = c->q_heads / c->kv_heads;
    float *qkv = kit_floats(&seed, (size_t)tokens * stride, 1);
    size_t count = (size_t)tokens * c->q_heads * dim;
    float *out = mem_array(count, sizeof(*out));
    double *want = mem_array(count, sizeof(*want));
    struct attn_args args = {.out = out,
                             .qkv = qkv,
                             .qkv_stride = stride,
                             .rows = rows,
                             .rows_host = rows,
                             .row_count = row_count,
                             .q_heads = c->q_heads,
                             .scale = 1.0f / sqrtf((float)dim),
                             .window = c->window};
    for (uint32_t r = 0; r < row_count; r++)
        for (uint32_t t = 0; t < rows[r].token_count; t++)
            for (uint32_t h = 0; h < c->q_heads; h++) {
                size_t token = rows[r].token_first + t;
                ref_attend(want + (token * c->q_heads + h) * dim, qkv + token * stride + h * dim,
                           &kv, rows[r].slot, rows[r].pos_first + t, h / group, c->window,
                           args.scale);
            }
    for (int isa = 0; isa < isa_count; isa++) {
        struct device *device = kit_open(2, isas[isa]);
        memset(out, 0, count * sizeof(*out));
        ops->attention(device, NULL, &kv, &args);
        kit_close(out, want, count, c->tolerance, "attention");
        ops->close(device);
    }
    kv_drop(&kv);
    mem_free(qkv), mem_free(out), mem_free(want);
}
END_TEST

static void ref_norm(double *y, const double *x, const float *w, uint32_t dim, double eps)
{
    double squares = 0;
    for (uint32_t i = 0; i < dim; i++)
        squares += x[i] * x[i];
    for (uint32_t i = 0; i < dim; i++)
        y[i] = x[i] / sqrt(squares / dim + eps) * w[i];
}

START_TEST(norm_and_silu)
{
    const struct row_case *c = &row_cases[_i];
    const struct ops *ops = ops_find("cpu");
    size_t count = (size_t)c->rows * c->dim;
    for (int isa = 0; isa < isa_count; isa++) {
        struct device *device = kit_open(2, isas[isa]);
        uint64_t seed = 300 + (uint64_t)_i;
        float *x = kit_floats(&seed, 2 * count, 3), *residual = kit_floats(&seed, count, 1);
        float *w = kit_floats(&seed, c->dim, 1), *y = mem_array(count, sizeof(float));
        double *in = mem_array(count, sizeof(double)), *want = mem_array(count, sizeof(double));
        for (int added = 0; added < 3; added++) { /* plain, residual alone, residual + x */
            for (size_t i = 0; i < count; i++)
                in[i] = added == 0 ? (double)x[i]
                                   : (double)residual[i] + (added == 2 ? (double)x[i] : 0);
            for (uint32_t r = 0; r < c->rows; r++)
                ref_norm(want + (size_t)r * c->dim, in + (size_t)r * c->dim, w, c->dim, 1e-5);
            if (added == 0)
                ops->rmsnorm(device, NULL, y, x, w, c->rows, c->dim, 1e-5f);
            else
                ops->add_rmsnorm(device, NULL, y, residual, added == 2 ? x : NULL, w, c->rows,
                                 c->dim, 1e-5f);
            kit_close(y, want, count, c->tolerance, "norm");
        }
        kit_close(residual, in, count, 1e-6, "residual");
        for (uint32_t r = 0; r < c->rows; r++)
            for (uint32_t i = 0; i < c->dim; i++) {
                double gate = x[2 * (size_t)r * c->dim + i],
                       up = x[(2 * (size_t)r + 1) * c->dim + i];
                want[(size_t)r * c->dim + i] = gate / (1 + exp(-gate)) * up;
            }
        ops->silu_mul(device, NULL, y, x, c->rows, c->dim);
        kit_close(y, want, count, c->tolerance, "silu");
        ops->close(device);
        mem_free(x), mem_free(residual), mem_free(w), mem_free(y), mem_free(in), mem_free(want);
    }
}
END_TEST

static const struct expert_args moe_cases[] = {
    {.rows = 1, .top = 1, .experts = 1},
    {.rows = 5, .top = 2, .experts = 7, .renormalize = true},
    {.rows = 33, .top = 3, .experts = 8},
    {.rows = 2, .top = 4, .experts = 4, .renormalize = true},
};

/* y = a w^T for one row and one expert's block. */
static void ref_block(double *y, const double *a, const float *w, uint32_t n, uint32_t k)
{
    for (uint32_t i = 0; i < n; i++) {
        y[i] = 0;
        for (uint32_t l = 0; l < k; l++)
            y[i] += a[l] * w[(size_t)i * k + l];
    }
}

static void ref_expert(double *sum, const float *x, const float *gate_up, const float *down,
                       double weight, uint32_t dim, uint32_t hidden)
{
    double in[64] = {0}, both[128] = {0}, act[64] = {0}, out[64] = {0};
    for (uint32_t i = 0; i < hidden; i++)
        in[i] = x[i];
    ref_block(both, in, gate_up, 2 * dim, hidden);
    for (uint32_t i = 0; i < dim; i++)
        act[i] = both[i] / (1 + exp(-both[i])) * both[dim + i];
    ref_block(out, act, down, hidden, dim);
    for (uint32_t i = 0; i < hidden; i++)
        sum[i] += weight * out[i];
}

/* Ids are the largest logits in order (ties: the lower id), weights their softmax. */
static void check_route(const float *logits, const uint32_t *ids, const float *weights,
                        const struct expert_args *args)
{
    double all = 0, chosen = 0;
    for (uint32_t e = 0; e < args->experts; e++)
        all += exp((double)logits[e]);
    for (uint32_t j = 0; j < args->top; j++) {
        ck_assert_uint_lt(ids[j], args->experts);
        chosen += exp((double)logits[ids[j]]);
        for (uint32_t e = 0; e < args->experts; e++) {
            bool before = false;
            for (uint32_t i = 0; i <= j; i++)
                before |= ids[i] == e;
            ck_assert(before || logits[e] < logits[ids[j]] ||
                      (logits[e] == logits[ids[j]] && e > ids[j]));
        }
    }
    for (uint32_t j = 0; j < args->top; j++)
        ck_assert_double_eq_tol(
            weights[j], exp((double)logits[ids[j]]) / (args->renormalize ? chosen : all), 1e-6);
}

START_TEST(mixture_of_experts)
{
    enum { HIDDEN = 40, DIM = 24 };
    struct expert_args args = moe_cases[_i];
    const struct ops *ops = ops_find("cpu");
    uint32_t slots = args.rows * args.top;
    for (int isa = 0; isa < isa_count; isa++) {
        struct device *device = kit_open(2, isas[isa]);
        uint64_t seed = 700 + (uint64_t)_i;
        float *wide_gu, *wide_down, *x = kit_floats(&seed, (size_t)args.rows * HIDDEN, 1);
        float *logits = kit_floats(&seed, (size_t)args.rows * args.experts, 2);
        struct weight gu =
            kit_weight(device, &seed, DTYPE_BF16, args.experts * 2 * DIM, HIDDEN, &wide_gu);
        struct weight down =
            kit_weight(device, &seed, DTYPE_BF16, args.experts * HIDDEN, DIM, &wide_down);
        uint32_t *ids = mem_array(slots, sizeof(*ids));
        float *weights = mem_array(slots, sizeof(float)), *gate = kit_floats(&seed, args.rows, 2);
        float *act = mem_array((size_t)slots * DIM, sizeof(float));
        float *y = mem_array((size_t)args.rows * HIDDEN, sizeof(float));
        double *want = mem_array((size_t)args.rows * HIDDEN, sizeof(double));
        if (args.experts > 3)
            logits[2] = logits[3] = 9; /* a tie */
        ops->route(device, NULL, ids, weights, logits, &args);
        args.ids = ids;
        args.weights = weights;
        ops->experts_gate_up(device, NULL, act, x, &gu, &args);
        ops->experts_down(device, NULL, y, act, &down, &args);
        for (uint32_t r = 0; r < args.rows; r++) {
            check_route(logits + (size_t)r * args.experts, ids + r * args.top,
                        weights + r * args.top, &args);
            for (uint32_t j = r * args.top; j < (r + 1) * args.top; j++)
                ref_expert(want + (size_t)r * HIDDEN, x + (size_t)r * HIDDEN,
                           wide_gu + (size_t)ids[j] * 2 * DIM * HIDDEN,
                           wide_down + (size_t)ids[j] * HIDDEN * DIM, weights[j], DIM, HIDDEN);
        }
        kit_close(y, want, (size_t)args.rows * HIDDEN, 2e-5, "experts");
        ops->add_gated(device, NULL, y, x, gate, args.rows, HIDDEN);
        for (size_t i = 0; i < (size_t)args.rows * HIDDEN; i++)
            want[i] += (double)x[i] / (1 + exp(-(double)gate[i / HIDDEN]));
        kit_close(y, want, (size_t)args.rows * HIDDEN, 2e-5, "add_gated");
        ops->weight_free(device, &gu), ops->weight_free(device, &down);
        ops->close(device);
        mem_free(wide_gu), mem_free(wide_down), mem_free(x), mem_free(logits), mem_free(ids);
        mem_free(weights), mem_free(gate), mem_free(act), mem_free(y), mem_free(want);
    }
}
END_TEST

START_TEST(norm_of_a_part)
{
    enum { ROWS = 3, STRIDE = 50, AT = 7, DIM = 33 };
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(2, isa_pick());
    uint64_t seed = 800;
    float *x = kit_floats(&seed, ROWS * STRIDE, 1), *w = kit_floats(&seed, DIM, 1);
    double want[ROWS * STRIDE], in[DIM];
    for (size_t i = 0; i < ROWS * STRIDE; i++)
        want[i] = x[i];
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t i = 0; i < DIM; i++)
            in[i] = x[r * STRIDE + AT + i];
        ref_norm(want + r * STRIDE + AT, in, w, DIM, 1e-5);
    }
    ops->norm_part(device, NULL, x + AT, w, ROWS, STRIDE, DIM, 1e-5f);
    kit_close(x, want, ROWS * STRIDE, 2e-6, "norm_part");
    ops->close(device);
    mem_free(x), mem_free(w);
}
END_TEST

/* Three ranks' parts of a row, the last one's k a copy that does not count: as if the row were whole. */
START_TEST(norm_over_ranks)
{
    enum {
        ROWS = 3,
        RANKS = 3,
        Q = 12,
        K = 5,
        V = 5,
        STRIDE = Q + K + V,
        QW = Q * RANKS,
        KW = K * 2
    };
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(2, isa_pick());
    uint64_t seed = 801;
    float *q_norm = kit_floats(&seed, QW, 1), *k_norm = kit_floats(&seed, KW, 1);
    float *parts[RANKS], mine[2 * ROWS], sums[2 * RANKS * ROWS];
    struct wide_norm_args args[RANKS];
    double q[ROWS][QW], k[ROWS][KW], want[QW];
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        parts[rank] = kit_floats(&seed, ROWS * STRIDE, 1);
        uint32_t k_at = rank < 2 ? rank : 1;
        for (uint32_t r = 0; r < ROWS; r++) {
            float *row = parts[rank] + (size_t)r * STRIDE;
            if (rank == 2)
                memcpy(row + Q, parts[1] + (size_t)r * STRIDE + Q, K * sizeof(*row));
            for (uint32_t i = 0; i < Q; i++)
                q[r][rank * Q + i] = row[i];
            for (uint32_t i = 0; i < K; i++)
                k[r][k_at * K + i] = row[Q + i];
        }
        args[rank] = (struct wide_norm_args){.qkv = parts[rank],
                                             .q_norm = q_norm + rank * Q,
                                             .k_norm = k_norm + k_at * K,
                                             .eps = 1e-5f,
                                             .rows = ROWS,
                                             .stride = STRIDE,
                                             .q_dim = Q,
                                             .k_dim = K,
                                             .q_width = QW,
                                             .k_width = KW,
                                             .k_counts = rank < 2};
        ops->qk_sums(device, NULL, mine, &args[rank]);
        for (uint32_t r = 0; r < ROWS; r++)
            memcpy(sums + 2 * (r * RANKS + rank), mine + 2 * r, 2 * sizeof(*mine));
    }
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        float v = parts[rank][Q + K];
        ops->qk_norm_by_sums(device, NULL, sums, RANKS, &args[rank]);
        ck_assert_float_eq(parts[rank][Q + K], v);
        for (uint32_t r = 0; r < ROWS; r++) {
            ref_norm(want, q[r], q_norm, QW, 1e-5);
            kit_close(parts[rank] + (size_t)r * STRIDE, want + rank * Q, Q, 2e-6, "q over ranks");
            ref_norm(want, k[r], k_norm, KW, 1e-5);
            kit_close(parts[rank] + (size_t)r * STRIDE + Q, want + (rank < 2 ? rank : 1) * K, K,
                      2e-6, "k over ranks");
        }
    }
    for (uint32_t rank = 0; rank < RANKS; rank++)
        mem_free(parts[rank]);
    ops->close(device);
    mem_free(q_norm), mem_free(k_norm);
}
END_TEST

/* One head: optional norm, then the rotation by position * 10000^(-2i/dim). */
static void ref_rope(double *out, const float *head, const float *norm, const float *cos_sin,
                     uint32_t dim)
{
    double in[256], ones_free[256];
    for (uint32_t i = 0; i < dim; i++)
        in[i] = head[i];
    if (norm) {
        ref_norm(ones_free, in, norm, dim, 1e-6);
        memcpy(in, ones_free, dim * sizeof(*in));
    }
    for (uint32_t i = 0; i < dim / 2; i++) {
        double a = in[i], b = in[dim / 2 + i], c = cos_sin[i], s = cos_sin[dim / 2 + i];
        out[i] = a * c - b * s;
        out[dim / 2 + i] = b * c + a * s;
    }
}

static float *cos_sin_make(uint32_t context, uint32_t dim)
{
    float *table = mem_array((size_t)context * dim, sizeof(float));
    for (uint32_t pos = 0; pos < context; pos++)
        for (uint32_t i = 0; i < dim / 2; i++) {
            double angle = pos * pow(10000, -2.0 * i / dim);
            table[(size_t)pos * dim + i] = (float)cos(angle);
            table[(size_t)pos * dim + dim / 2 + i] = (float)sin(angle);
        }
    return table;
}

static void rope_check(const struct rope_case *c, const struct kv_view *kv,
                       const struct qkv_args *args, const float *before, const float *after)
{
    uint32_t dim = c->head_dim, heads = c->q_heads + 2 * c->kv_heads;
    double want[256];
    for (uint32_t t = 0; t < c->tokens; t++)
        for (uint32_t h = 0; h < heads; h++) {
            size_t at = ((size_t)t * heads + h) * dim;
            const float *cs = args->cos_sin + (size_t)args->positions[t] * dim;
            uint32_t slot = args->token_slots[t], pos = args->positions[t], kvh = h - c->q_heads;
            if (h < c->q_heads) {
                ref_rope(want, before + at, args->q_norm, cs, dim);
                kit_close(after + at, want, dim, c->tolerance, "q");
            } else if (kvh < c->kv_heads) {
                ref_rope(want, before + at, args->k_norm, cs, dim);
                kit_close(kv_at(kv, slot, pos, kvh, false), want, dim, c->tolerance, "k");
            } else {
                kit_same_bits(kv_at(kv, slot, pos, kvh - c->kv_heads, true), before + at, dim, "v");
            }
        }
}

START_TEST(qk_rope_store)
{
    const struct rope_case *c = &rope_cases[_i];
    const struct ops *ops = ops_find("cpu");
    uint32_t context = c->tokens + 9, dim = c->head_dim;
    size_t count = (size_t)c->tokens * (c->q_heads + 2 * c->kv_heads) * dim;
    for (int isa = 0; isa < isa_count; isa++) {
        struct device *device = kit_open(2, isas[isa]);
        uint64_t seed = 400 + (uint64_t)_i;
        struct kv_view kv =
            kv_make(&seed, 2, DIV_CEIL(context, c->page_size), c->kv_heads, c->page_size, dim);
        float *qkv = kit_floats(&seed, count, 1), *before = mem_array(count, sizeof(float));
        memcpy(before, qkv, count * sizeof(float));
        float *q_norm = kit_floats(&seed, dim, 1), *k_norm = kit_floats(&seed, dim, 1);
        float *cos_sin = cos_sin_make(context, dim);
        uint32_t *positions = mem_array(c->tokens, 4), *slots = mem_array(c->tokens, 4);
        for (uint32_t i = 0; i < c->tokens; i++)
            positions[i] = c->tokens + 8 - i, slots[i] = i % 2;
        struct qkv_args args = {.qkv = qkv,
                                .positions = positions,
                                .token_slots = slots,
                                .q_norm = c->norm ? q_norm : NULL,
                                .k_norm = c->norm ? k_norm : NULL,
                                .norm_eps = 1e-6f,
                                .cos_sin = cos_sin,
                                .tokens = c->tokens,
                                .q_heads = c->q_heads};
        ops->qk_rope_store(device, NULL, &kv, &args);
        rope_check(c, &kv, &args, before, qkv);
        kv_drop(&kv);
        ops->close(device);
        mem_free(qkv), mem_free(before), mem_free(q_norm), mem_free(k_norm), mem_free(cos_sin);
        mem_free(positions), mem_free(slots);
    }
}
END_TEST

START_TEST(embed_and_gather)
{
    const struct ops *ops = ops_find("cpu");
    const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F32};
    const uint32_t ids[] = {12, 3, 4, 0, 10, 11, UINT32_MAX}, idx[] = {2, 2, 0, 6};
    for (int isa = 0; isa < isa_count; isa++)
        for (int t = 0; t < 2; t++) {
            struct device *device = kit_open(2, isas[isa]);
            uint64_t seed = 500;
            float *wide, x[7 * 19], y[4 * 19];
            struct weight table = kit_weight(device, &seed, dtypes[t], 7, 19, &wide);
            ops->embed(device, NULL, x, &table, ids, 4, 7);
            float zeros[19] = {0};
            for (uint32_t i = 0; i < 7; i++) {
                bool here = ids[i] >= 4 && ids[i] < 11;
                kit_same_bits(x + i * 19, here ? wide + (ids[i] - 4) * 19 : zeros, 19, "embed");
            }
            ops->gather_rows(device, NULL, y, x, idx, 4, 19);
            for (uint32_t i = 0; i < 4; i++)
                kit_same_bits(y + i * 19, x + idx[i] * 19, 19, "gather");
            ops->weight_free(device, &table);
            ops->close(device);
            mem_free(wide);
        }
}
END_TEST

START_TEST(tables)
{
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(1, NULL);
    uint32_t table[3 * 4] = {0}, ids[4];
    const struct page_set sets[] = {{0, 3, 7}, {2, 0, 9}, {1, 2, 5}, {1, 2, 6}};
    ops->page_table_set(device, NULL, table, 4, sets, 4);
    const uint32_t want[3 * 4] = {0, 0, 0, 7, 0, 0, 6, 0, 9, 0, 0, 0};
    ck_assert_mem_eq(table, want, sizeof(want));
    const uint32_t tokens[] = {5, UINT32_MAX, UINT32_MAX, 0}, slots[] = {0, 2, 0, 1},
                   last[] = {40, 41, 42};
    const uint32_t resolved[] = {5, 42, 40, 0};
    ops->resolve_tokens(device, NULL, ids, tokens, slots, last, 4);
    ck_assert_mem_eq(ids, resolved, sizeof(resolved));
    ops->close(device);
}
END_TEST

/* Values that f16 has special encodings for. */
START_TEST(weight_f16_widens)
{
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(1, NULL);
    const uint16_t half[] = {0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff,
                             0x0001, 0x03ff, 0x0400, 0x7c00, 0x3555};
    const float want[] = {0.0f,     -0.0f,           1,        -2,       65504,
                          0x1p-24f, 1023 * 0x1p-24f, 0x1p-14f, INFINITY, 0x1.554p-2f};
    struct weight w;
    const struct load_part part = {half, DTYPE_F16, 2, 0, 5};
    ck_assert_int_eq(ops->weight_load(device, &part, 1, 5, true, &w, NULL), STATUS_OK);
    ck_assert_int_eq(w.dtype, DTYPE_F32);
    ck_assert(!w.borrowed);
    kit_same_bits(w.data, want, 10, "f16");
    ops->weight_free(device, &w);
    ops->close(device);
}
END_TEST

START_TEST(weight_borrows)
{
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(1, NULL);
    /* A checkpoint's tensors may begin at any even address. */
    char bytes[2 + 3 * 20 * 2];
    uint16_t *values = (void *)(bytes + 2);
    for (int i = 0; i < 60; i++) {
        uint16_t one = kit_bf16((float)i);
        memcpy(values + i, &one, 2);
    }
    struct weight w;
    const struct load_part part = {values, DTYPE_BF16, 3, 0, 20};
    ck_assert_int_eq(ops->weight_load(device, &part, 1, 20, true, &w, NULL), STATUS_OK);
    ck_assert_ptr_eq(w.data, values);
    float x[20], y[3];
    for (int i = 0; i < 20; i++)
        x[i] = 1;
    ops->matmul(device, NULL, y, x, &w, NULL, 1);
    ck_assert(y[0] == 190 && y[1] == 590 && y[2] == 990);
    ops->weight_free(device, &w);
    ops->close(device);
}
END_TEST

START_TEST(a_steady_step_allocates_nothing)
{
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(2, NULL);
    uint64_t seed = 1, before = 0;
    float *wide, *x = kit_floats(&seed, 40 * 64, 1), *y = mem_array(40 * 100, sizeof(float));
    struct weight w = kit_weight(device, &seed, DTYPE_BF16, 100, 64, &wide);
    for (int step = 0; step < 20; step++) {
        if (step == 1)
            before = mem_alloc_count();
        ops->matmul(device, NULL, y, x, &w, NULL, 40 - (uint32_t)step);
        ops->silu_mul(device, NULL, y, x, 10, 100);
    }
    ck_assert_uint_eq(mem_alloc_count(), before);
    ops->weight_free(device, &w);
    ops->close(device);
    mem_free(wide), mem_free(x), mem_free(y);
}
END_TEST

int main(void)
{
    isa_count = kit_isas(isas);
    Suite *suite = suite_create("ops");
    TCase *tcase = tcase_create("cpu");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, matmul, 0, ARRAY_LEN(matmul_cases));
    tcase_add_loop_test(tcase, attention, 0, ARRAY_LEN(attn_cases));
    tcase_add_loop_test(tcase, norm_and_silu, 0, ARRAY_LEN(row_cases));
    tcase_add_loop_test(tcase, qk_rope_store, 0, ARRAY_LEN(rope_cases));
    tcase_add_loop_test(tcase, mixture_of_experts, 0, ARRAY_LEN(moe_cases));
    tcase_add_test(tcase, norm_of_a_part);
    tcase_add_test(tcase, norm_over_ranks);
    tcase_add_test(tcase, embed_and_gather);
    tcase_add_test(tcase, tables);
    tcase_add_test(tcase, weight_f16_widens);
    tcase_add_test(tcase, weight_borrows);
    tcase_add_test(tcase, a_steady_step_allocates_nothing);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
