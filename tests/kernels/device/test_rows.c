/* Norms, silu, rotation and KV store, embedding, gather, tables. */
#include "tests/kernels/device/rig.h"
#include "tests/kernels/ops_cases.h"

/* The most that one rounding moves a value, relative: half an ulp at a power of two. */
static double act_ulp(const struct rig *rig)
{
    return rig->act == DTYPE_BF16 ? 0x1p-8 : 0x1p-20;
}

static void norm_case(struct rig *rig, uint32_t rows, uint32_t dim)
{
    size_t count = (size_t)rows * dim;
    float *x = rig_values(rig, count, 3), *residual = rig_values(rig, count, 1);
    float *w = rig_values(rig, dim, 1);
    void *x_act = rig_act(rig, x, count);
    float *w_device = rig_up(rig, w, dim * sizeof(*w));
    double ulp = act_ulp(rig);
    for (int added = 0; added < 3; added++) { /* plain, residual alone, residual + x */
        struct rig_out y[2];
        void *sum = NULL;
        for (int run = 0; run < 2; run++) {
            y[run] = rig_out_act(rig, count);
            sum = rig_act(rig, residual, count);
            if (added == 0)
                rig->ops->rmsnorm(rig->device, rig->stream, y[run].device, x_act, w_device, rows,
                                  dim, 1e-5f);
            else
                rig->ops->add_rmsnorm(rig->device, rig->stream, y[run].device, sum,
                                      added == 2 ? x_act : NULL, w_device, rows, dim, 1e-5f);
        }
        float *got = rig_out_read(rig, &y[0], rig->act, "norm"), *after = rig_read(rig, sum, count);
        rig_same(rig, &y[0], &y[1], "norm");
        for (uint32_t r = 0; r < rows; r++) {
            double squares = 0;
            for (uint32_t i = 0; i < dim; i++) {
                size_t at = (size_t)r * dim + i;
                double in = added == 0 ? (double)x[at]
                                       : (double)residual[at] + (added == 2 ? (double)x[at] : 0);
                if (added)
                    rig_close(rig, after[at], in, ulp * fabs(in), "residual", at);
                if (added)
                    in = (double)after[at];
                squares += in * in;
            }
            double scale = 1 / sqrt(squares / dim + 1e-5);
            for (uint32_t i = 0; i < dim; i++) {
                size_t at = (size_t)r * dim + i;
                double in = added == 0 ? (double)x[at] : (double)after[at];
                double want = in * scale * (double)w[i];
                rig_close(rig, got[at], want, ulp * fabs(want) + 1e-9, "norm", at);
            }
        }
    }
    rig->cases++;
    rig_drop(rig);
}

static void run_norm(struct rig *rig)
{
    static const uint32_t real[][2] = {{1, 1024},  {256, 1024}, {7, 2048},   {3, 4096},
                                       {1, 5120},  {300, 5120}, {2, 8192},   {5, 16384},
                                       {1, 17408}, {4, 12296},  {4000, 1024}};
    for (size_t i = 0; i < ARRAY_LEN(row_cases); i++)
        norm_case(rig, row_cases[i].rows, row_cases[i].dim);
    for (size_t i = 0; i < ARRAY_LEN(real) && rig->effort > EFFORT_TINY; i++)
        norm_case(rig, real[i][0], real[i][1]);
}

static void silu_case(struct rig *rig, uint32_t rows, uint32_t dim)
{
    size_t count = (size_t)rows * dim;
    float *in = rig_values(rig, 2 * count, 3), *base = rig_values(rig, count, 2);
    void *in_act = rig_act(rig, in, 2 * count), *base_act = rig_act(rig, base, count);
    struct rig_out y[2];
    double ulp = act_ulp(rig);
    for (int run = 0; run < 2; run++) {
        y[run] = rig_out_act(rig, count);
        rig->ops->silu_mul(rig->device, rig->stream, y[run].device, in_act, rows, dim);
    }
    float *got = rig_out_read(rig, &y[0], rig->act, "silu_mul");
    rig_same(rig, &y[0], &y[1], "silu_mul");
    rig->ops->add(rig->device, rig->stream, base_act, in_act, count);
    float *sum = rig_read(rig, base_act, count);
    rig->ops->scale(rig->device, rig->stream, base_act, 54.5f, count);
    float *scaled = rig_read(rig, base_act, count);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < dim; i++) {
            size_t at = (size_t)r * dim + i;
            double gate = (double)in[2 * (size_t)r * dim + i];
            double want = gate / (1 + exp(-gate)) * (double)in[(2 * (size_t)r + 1) * dim + i];
            double added = (double)base[at] + (double)in[at];
            rig_close(rig, got[at], want, ulp * fabs(want) + 1e-9, "silu_mul", at);
            rig_close(rig, sum[at], added, ulp * fabs(added), "add", at);
            double more = 54.5 * (double)sum[at];
            rig_close(rig, scaled[at], more, ulp * fabs(more), "scale", at);
        }
    rig->cases++;
    rig_drop(rig);
}

static void run_silu(struct rig *rig)
{
    static const uint32_t real[][2] = {{1, 3072},   {256, 3072}, {3, 17408},
                                       {64, 17408}, {2, 25600},  {513, 1536}};
    for (size_t i = 0; i < ARRAY_LEN(row_cases); i++)
        silu_case(rig, row_cases[i].rows, row_cases[i].dim);
    for (size_t i = 0; i < ARRAY_LEN(real) && rig->effort > EFFORT_TINY; i++)
        silu_case(rig, real[i][0], real[i][1]);
}

struct rope_run {
    const struct rope_case *c;
    uint32_t pages_per_slot;
    uint32_t *table, *positions, *slots;
    float *before, *q_norm, *k_norm, *cos_sin;
};

static const float *page_row(const struct rope_run *r, const float *pool, uint32_t slot,
                             uint32_t pos, uint32_t head, bool v)
{
    const struct rope_case *c = r->c;
    size_t page = r->table[slot * r->pages_per_slot + pos / c->page_size];
    size_t row = (page * 2 + v) * c->kv_heads + head;
    return pool + (row * c->page_size + pos % c->page_size) * c->head_dim;
}

/* One head against the maths: norm (rounded as the backend stores it or not), then rotation. */
static void rope_head(struct rig *rig, const struct rope_run *r, const float *got, const float *in,
                      const float *norm, uint32_t pos, const char *what)
{
    uint32_t dim = r->c->head_dim;
    const float *cs = r->cos_sin + (size_t)pos * dim;
    double x[256], squares = 0, ulp = (norm ? 2 : 1) * act_ulp(rig); /* a normed head is rounded */
    for (uint32_t i = 0; i < dim; i++)
        squares += (double)in[i] * (double)in[i];
    for (uint32_t i = 0; i < dim; i++)
        x[i] = norm ? (double)in[i] / sqrt(squares / dim + 1e-6) * (double)norm[i] : (double)in[i];
    for (uint32_t i = 0; i < dim / 2; i++) {
        double a = x[i], b = x[dim / 2 + i], c = (double)cs[i], s = (double)cs[dim / 2 + i];
        double bound = ulp * (fabs(a * c) + fabs(b * s)), other = ulp * (fabs(b * c) + fabs(a * s));
        rig_close(rig, got[i], a * c - b * s, bound + 1e-7, what, i);
        rig_close(rig, got[dim / 2 + i], b * c + a * s, other + 1e-7, what, dim / 2 + i);
    }
}

static void rope_check(struct rig *rig, const struct rope_run *r, const float *after,
                       const float *pool, const float *pool_before, size_t pool_count)
{
    const struct rope_case *c = r->c;
    uint32_t dim = c->head_dim, heads = c->q_heads + 2 * c->kv_heads, stored = 0;
    for (uint32_t t = 0; t < c->tokens; t++)
        for (uint32_t h = 0; h < heads; h++) {
            size_t at = ((size_t)t * heads + h) * dim;
            uint32_t slot = r->slots[t], pos = r->positions[t], kvh = h - c->q_heads;
            if (h < c->q_heads) {
                rope_head(rig, r, after + at, r->before + at, c->norm ? r->q_norm : NULL, pos, "q");
            } else if (slot != SLOT_NONE && kvh < c->kv_heads) {
                rope_head(rig, r, page_row(r, pool, slot, pos, kvh, false), r->before + at,
                          c->norm ? r->k_norm : NULL, pos, "k");
                stored += 2;
            } else if (slot != SLOT_NONE) {
                const float *v = page_row(r, pool, slot, pos, kvh - c->kv_heads, true);
                EXPECT(rig, memcmp(v, r->before + at, dim * sizeof(float)) == 0, "v of token %u",
                       t);
            }
        }
    size_t changed = 0;
    for (size_t i = 0; i < pool_count; i++)
        changed += pool[i] != pool_before[i];
    EXPECT(rig, changed <= (size_t)stored * dim, "%zu elements of the pool changed, %u were to",
           changed, stored * dim);
}

static void rope_case_run(struct rig *rig, const struct rope_case *c, uint32_t padding)
{
    uint32_t dim = c->head_dim, heads = c->q_heads + 2 * c->kv_heads, context = c->tokens + 9;
    struct rope_run r = {.c = c, .pages_per_slot = DIV_CEIL(context, c->page_size)};
    uint32_t pages = 2 * r.pages_per_slot;
    size_t count = (size_t)c->tokens * heads * dim;
    size_t pool_count = (size_t)pages * 2 * c->kv_heads * c->page_size * dim;
    float *pool_before = rig_values(rig, pool_count, 1);
    r.before = rig_values(rig, count, 2);
    r.q_norm = rig_values(rig, dim, 1), r.k_norm = rig_values(rig, dim, 1);
    r.cos_sin = rig_host(rig, (size_t)context * dim * sizeof(float));
    r.table = rig_host(rig, pages * sizeof(*r.table));
    r.positions = rig_host(rig, c->tokens * 4), r.slots = rig_host(rig, c->tokens * 4);
    for (uint32_t pos = 0; pos < context; pos++)
        for (uint32_t i = 0; i < dim / 2; i++) {
            double angle = pos * pow(10000, -2.0 * i / dim);
            r.cos_sin[(size_t)pos * dim + i] = (float)cos(angle);
            r.cos_sin[(size_t)pos * dim + dim / 2 + i] = (float)sin(angle);
        }
    for (uint32_t i = 0; i < pages; i++)
        r.table[i] = (i * 7 + 3) % pages == i ? i : pages - 1 - i;
    for (uint32_t i = 0; i < c->tokens; i++) {
        r.positions[i] = c->tokens + 8 - i;
        r.slots[i] = i + padding >= c->tokens ? SLOT_NONE : i % 2;
    }
    void *pool = rig_act(rig, pool_before, pool_count), *qkv = rig_act(rig, r.before, count);
    struct kv_view kv = {.pool = pool,
                         .page_table = rig_up(rig, r.table, pages * sizeof(*r.table)),
                         .pages = pages,
                         .pages_per_slot = r.pages_per_slot,
                         .page_size = c->page_size,
                         .kv_heads = c->kv_heads,
                         .head_dim = dim};
    struct qkv_args args = {
        .qkv = qkv,
        .positions = rig_up(rig, r.positions, c->tokens * 4),
        .token_slots = rig_up(rig, r.slots, c->tokens * 4),
        .q_norm = c->norm ? rig_up(rig, r.q_norm, dim * sizeof(float)) : NULL,
        .k_norm = c->norm ? rig_up(rig, r.k_norm, dim * sizeof(float)) : NULL,
        .norm_eps = 1e-6f,
        .cos_sin = rig_up(rig, r.cos_sin, (size_t)context * dim * sizeof(float)),
        .tokens = c->tokens,
        .q_heads = c->q_heads,
    };
    rig->ops->qk_rope_store(rig->device, rig->stream, &kv, &args);
    rope_check(rig, &r, rig_read(rig, qkv, count), rig_read(rig, pool, pool_count), pool_before,
               pool_count);
    rig->cases++;
    rig_drop(rig);
}

static void run_rope(struct rig *rig)
{
    static const struct rope_case real[] = {
        {1, 16, 8, 128, 16, true, 0},   {70, 16, 8, 128, 16, true, 0},
        {3, 40, 8, 128, 16, true, 0},   {300, 9, 3, 64, 16, false, 0},
        {5, 32, 8, 128, 16, false, 0},  {33, 64, 8, 128, 32, true, 0},
        {9, 2, 1, 256, 16, true, 0},    {4, 12, 12, 80, 16, true, 0},
        {600, 16, 8, 128, 16, true, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rope_cases); i++)
        rope_case_run(rig, &rope_cases[i], 0);
    for (size_t i = 0; i < ARRAY_LEN(real); i++) {
        if (rig->effort == EFFORT_TINY && i > 2)
            break;
        rope_case_run(rig, &real[i], 0);
        if (rig->cuda) /* only graphs have padding tokens */
            rope_case_run(rig, &real[i], real[i].tokens / 2);
    }
}

static void embed_case(struct rig *rig, uint32_t vocab, uint32_t dim, uint32_t count)
{
    const uint32_t vocab_first = 4;
    uint16_t *bits;
    struct weight table = rig_weight(rig, vocab, dim, &bits);
    uint32_t *ids = rig_host(rig, count * 4), *idx = rig_host(rig, count * 4);
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (uint32_t)rng_below(&rig->seed, vocab + 8);
        idx[i] = (uint32_t)rng_below(&rig->seed, count);
    }
    ids[count - 1] = UINT32_MAX;
    struct rig_out x = rig_out_act(rig, (size_t)count * dim);
    struct rig_out y = rig_out_act(rig, (size_t)count * dim);
    rig->ops->embed(rig->device, rig->stream, x.device, &table, rig_up(rig, ids, count * 4),
                    vocab_first, count);
    rig->ops->gather_rows(rig->device, rig->stream, y.device, x.device, rig_up(rig, idx, count * 4),
                          count, dim);
    float *got = rig_out_read(rig, &x, rig->act, "embed");
    float *moved = rig_out_read(rig, &y, rig->act, "gather_rows");
    for (uint32_t r = 0; r < count; r++) {
        uint32_t id = ids[r] - vocab_first;
        bool same = true;
        for (uint32_t i = 0; i < dim && same; i++)
            same = got[(size_t)r * dim + i] ==
                   (id < vocab ? bf16_wide(bits[(size_t)id * dim + i]) : 0.0f);
        EXPECT(rig, same, "embed: row %u (id %u) of dim %u", r, ids[r], dim);
        EXPECT(rig, memcmp(moved + (size_t)r * dim, got + (size_t)idx[r] * dim, dim * 4) == 0,
               "gather_rows: row %u of dim %u", r, dim);
    }
    rig_sync(rig);
    rig->ops->weight_free(rig->device, &table);
    rig->cases++;
    rig_drop(rig);
}

static void run_embed(struct rig *rig)
{
    static const uint32_t cases[][3] = {{7, 19, 7},    {50, 8, 1},       {90, 1, 5},
                                        {64, 576, 33}, {1000, 1024, 70}, {300, 5120, 9},
                                        {40, 2050, 3}, {500, 1024, 3000}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        embed_case(rig, cases[i][0], cases[i][1], cases[i][2]);
}

/* A weight of parts: another type each, columns cut out, zero rows between; read back by embed. */
static void weight_case(struct rig *rig, uint32_t k, uint32_t rows, uint32_t cut)
{
    const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    uint32_t stride = k + cut, n = 0, first = 0;
    size_t count = (size_t)rows * stride;
    struct load_part parts[WEIGHT_PARTS_MAX];
    float *values[WEIGHT_PARTS_MAX];
    for (uint32_t p = 0; p < WEIGHT_PARTS_MAX; p++) {
        /* a quarter of an integer up to 2^6: the same in all three types */
        char *data = (char *)rig_host(rig, count * sizeof(float) + 2) + 2 * (p % 2);
        values[p] = rig_host(rig, count * sizeof(float));
        for (size_t i = 0; i < count; i++) {
            uint32_t draw = (uint32_t)rng_next(&rig->seed) % 255;
            float value = values[p][i] = ((float)draw - 127) / 4, magnitude = fabsf(value);
            int exponent = 0;
            if (magnitude > 0)
                frexpf(magnitude, &exponent);
            uint32_t bits;
            memcpy(&bits, &value, sizeof(bits));
            uint16_t half = (uint16_t)(bits >> 16); /* bf16 has 8 bits of the fraction, enough */
            if (dtypes[p] == DTYPE_F16)
                half =
                    (uint16_t)((bits >> 16 & 0x8000) | (magnitude > 0 ? (exponent + 14) << 10 : 0) |
                               (bits >> 13 & 0x3ff));
            if (dtypes[p] == DTYPE_F32)
                memcpy(data + i * 4, &value, 4);
            else
                memcpy(data + i * 2, &half, 2);
        }
        parts[p] =
            (struct load_part){data + cut * dtype_bytes(dtypes[p]), dtypes[p], rows, p % 3, stride};
        n += rows + p % 3;
    }
    struct weight w;
    struct err err = {0};
    EXPECT(rig,
           rig->ops->weight_load(rig->device, parts, WEIGHT_PARTS_MAX, k, true, &w, &err) ==
               STATUS_OK,
           "%s", err.text);
    EXPECT(rig, w.n == n && w.k == k && !w.borrowed, "weight_load: [%u, %u]", w.n, w.k);
    uint32_t *ids = rig_host(rig, n * 4);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = i;
    struct rig_out x = rig_out_act(rig, (size_t)n * k);
    rig->ops->embed(rig->device, rig->stream, x.device, &w, rig_up(rig, ids, n * 4), 0, n);
    float *got = rig_out_read(rig, &x, rig->act, "weight_load");
    for (uint32_t p = 0; p < WEIGHT_PARTS_MAX; p++) {
        for (uint32_t r = 0; r < rows + p % 3; r++)
            for (uint32_t i = 0; i < k; i++) {
                float want = r < rows ? values[p][(size_t)r * stride + cut + i] : 0;
                if (got[(size_t)(first + r) * k + i] != want) {
                    EXPECT(rig, false, "weight_load: part %u, row %u, column %u", p, r, i);
                    r = rows + p % 3, i = k;
                }
            }
        first += rows + p % 3;
    }
    rig->ops->weight_free(rig->device, &w);
    rig->cases++;
    rig_drop(rig);
}

static void run_weights(struct rig *rig)
{
    weight_case(rig, 1, 1, 0);
    weight_case(rig, 24, 7, 5);
    weight_case(rig, 1000, 300, 24);
    if (rig->effort == EFFORT_FULL)
        weight_case(rig, 4096, 5000, 8); /* several chunks a part */
}

/* What is uploaded without a stream is there when the call returns, for kernels of any stream: norms'
 * weights, which are read before all else. Ones have a norm of 1, so that y is the weights. */
static void run_upload(struct rig *rig)
{
    static const uint32_t dims[] = {8, 576, 5120, 16384}; /* below and above 64 KB */
    for (size_t d = 0; d < ARRAY_LEN(dims); d++) {
        uint32_t dim = dims[d];
        float *ones = rig_host(rig, dim * sizeof(*ones)), *w = rig_host(rig, dim * sizeof(*w));
        for (uint32_t i = 0; i < dim; i++)
            ones[i] = 1;
        void *x = rig_act(rig, ones, dim);
        float *device = rig_alloc(rig, dim * sizeof(*w));
        struct rig_out y = rig_out_act(rig, dim);
        for (uint32_t turn = 0; turn < 20; turn++) {
            for (uint32_t i = 0; i < dim; i++)
                w[i] = (float)(1 + (turn + i) % 100);
            rig->ops->upload(rig->device, NULL, device, w, dim * sizeof(*w));
            rig->ops->rmsnorm(rig->device, rig->stream, y.device, x, device, 1, dim, 0);
            float *got = rig_out_read(rig, &y, rig->act, "rmsnorm");
            for (uint32_t i = 0; i < dim; i++)
                EXPECT(rig, fabsf(got[i] - w[i]) <= 0x1p-7f * w[i], "%u of %u, turn %u: %g, not %g",
                       i, dim, turn, (double)got[i], (double)w[i]);
        }
        rig->cases++;
    }
}

static void run_tables(struct rig *rig)
{
    enum { SLOTS = 40, PER_SLOT = 37, DELTAS = 700, TOKENS = 1000 };
    uint32_t table[SLOTS * PER_SLOT] = {0}, want[SLOTS * PER_SLOT] = {0};
    struct page_set *sets = rig_host(rig, DELTAS * sizeof(*sets));
    for (uint32_t i = 0; i < DELTAS; i++) { /* each place once: 41 and 37 * 40 share no factor */
        uint32_t at = i * 41 % (SLOTS * PER_SLOT);
        sets[i] = (struct page_set){at / PER_SLOT, at % PER_SLOT, i + 1};
        want[at] = i + 1;
    }
    uint32_t *device = rig_up(rig, table, sizeof(table));
    rig->ops->page_table_set(rig->device, rig->stream, device, PER_SLOT,
                             rig_up(rig, sets, DELTAS * sizeof(*sets)), DELTAS);
    rig_down(rig, table, device, sizeof(table));
    EXPECT(rig, memcmp(table, want, sizeof(want)) == 0, "page_table_set");

    uint32_t tokens[TOKENS], slots[TOKENS], last[SLOTS], ids[TOKENS];
    for (uint32_t i = 0; i < SLOTS; i++)
        last[i] = 5000 + i;
    for (uint32_t i = 0; i < TOKENS; i++) {
        tokens[i] = i % 3 == 0 ? UINT32_MAX : i;
        slots[i] = i * 7 % SLOTS;
    }
    struct rig_out out = rig_out_bytes(rig, sizeof(ids));
    rig->ops->resolve_tokens(rig->device, rig->stream, out.device,
                             rig_up(rig, tokens, sizeof(tokens)), rig_up(rig, slots, sizeof(slots)),
                             rig_up(rig, last, sizeof(last)), TOKENS);
    rig_down(rig, ids, out.device, sizeof(ids));
    for (uint32_t i = 0; i < TOKENS; i++)
        EXPECT(rig, ids[i] == (i % 3 == 0 ? 5000 + slots[i] : i), "resolve_tokens: %u", i);
    rig->cases += 2;
}

const struct rig_test row_tests[] = {
    {"norm", run_norm},           {"silu_and_add", run_silu},
    {"qk_rope_store", run_rope},  {"embed_and_gather", run_embed},
    {"tables", run_tables},       {"upload_at_start", run_upload},
    {"weight_load", run_weights}, {NULL, NULL},
};
