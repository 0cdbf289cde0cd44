/* Attention through attn_plan, against softmax in double at sampled (token, head) pairs.
 *
 * Bound: 2^-8 of the value (it is stored as bf16) and 2^-7 of the root of the sum of the squares of
 * its terms p v: a tensor core takes p as bf16, off by up to 2^-9 each.
 */
#include "tests/kernels/device/rig.h"
#include "tests/kernels/ops_cases.h"

#define ROWS_MAX 300

struct scene {
    uint32_t q_heads, kv_heads, head_dim, page_size, window;
    uint32_t row_count, group_count, slots, pages_per_slot, tokens, context;
    struct attn_row rows[ROWS_MAX];
    struct attn_group groups[8];
    uint32_t samples; /* (token, head) pairs to check; 0: all */
};

static void scene_row(struct scene *s, uint32_t token_count, uint32_t pos_first)
{
    s->rows[s->row_count] = (struct attn_row){.slot = s->row_count,
                                              .token_first = s->tokens,
                                              .token_count = token_count,
                                              .pos_first = pos_first};
    s->row_count++;
    s->tokens += token_count;
    s->context = MAX(s->context, token_count + pos_first);
}

struct scene_data {
    uint32_t *table;
    float *qkv, *pool;
    struct kv_view kv;
};

/* Tables in a shuffled order of pages; a group's rows share their first pages. */
static void scene_fill(struct rig *rig, const struct scene *s, struct scene_data *d)
{
    uint32_t per_slot = DIV_CEIL(s->context, s->page_size) + 1, slots = s->row_count;
    uint32_t pages = per_slot * slots, used = 0, real;
    d->table = rig_host(rig, pages * sizeof(*d->table));
    for (uint32_t slot = 0; slot < slots; slot++) { /* only the pages that a row needs */
        const struct attn_row *row = &s->rows[slot];
        uint32_t need = DIV_CEIL(row->pos_first + row->token_count, s->page_size);
        for (uint32_t i = 0; i < per_slot; i++)
            d->table[slot * per_slot + i] = i < need ? used++ : UINT32_MAX;
    }
    for (uint32_t i = 0; i < s->group_count; i++)
        for (uint32_t r = 1; r < s->groups[i].row_count; r++)
            memcpy(d->table + (s->groups[i].row_first + r) * per_slot,
                   d->table + s->groups[i].row_first * per_slot, s->groups[i].page_count * 4);
    real = MAX(used, 1u);
    if (real % 7919 == 0) /* a prime that does not divide them permutes the pages */
        real++;
    for (uint32_t i = 0; i < pages; i++)
        if (d->table[i] != UINT32_MAX)
            d->table[i] = (uint32_t)(((uint64_t)d->table[i] * 7919 + 13) % real);
    size_t pool_count = (size_t)real * 2 * s->kv_heads * s->page_size * s->head_dim;
    d->pool = rig_host(rig, pool_count * sizeof(float));
    size_t block = MIN(pool_count, (size_t)2000003);
    for (size_t i = 0; i < block; i++)
        d->pool[i] = bf16_round(rig_normal(rig));
    for (size_t i = block; i < pool_count; i++)
        d->pool[i] = d->pool[i - block];
    uint32_t heads = s->q_heads + 2 * s->kv_heads;
    d->qkv = rig_values(rig, (size_t)s->tokens * heads * s->head_dim, 1);
    for (size_t t = 0; t < s->tokens; t++) /* some heads look at few keys, some at all */
        for (uint32_t h = 0; h < s->q_heads; h++)
            for (uint32_t i = 0; i < s->head_dim; i++)
                d->qkv[(t * heads + h) * s->head_dim + i] *= (float)(1 << (h + t) % 3);
    d->kv = (struct kv_view){.pool = rig_act(rig, d->pool, pool_count),
                             .page_table = rig_up(rig, d->table, pages * sizeof(*d->table)),
                             .pages = real,
                             .pages_per_slot = per_slot,
                             .page_size = s->page_size,
                             .kv_heads = s->kv_heads,
                             .head_dim = s->head_dim};
}

static const float *key_at(const struct scene *s, const struct scene_data *d, uint32_t slot,
                           uint32_t pos, uint32_t head, bool v)
{
    size_t page = d->table[(size_t)slot * d->kv.pages_per_slot + pos / s->page_size];
    size_t row = (page * 2 + v) * s->kv_heads + head;
    return d->pool + (row * s->page_size + pos % s->page_size) * s->head_dim;
}

static void check_one(struct rig *rig, const struct scene *s, const struct scene_data *d,
                      const float *got, const struct attn_row *row, uint32_t t, uint32_t head)
{
    uint32_t dim = s->head_dim, pos = row->pos_first + t, group = s->q_heads / s->kv_heads;
    uint32_t low = s->window && pos + 1 > s->window ? pos + 1 - s->window : 0;
    size_t token = row->token_first + t, heads = s->q_heads + 2 * s->kv_heads;
    const float *q = d->qkv + (token * heads + head) * dim;
    double scale = 1 / sqrt(dim), top = -INFINITY, sum = 0, out[256] = {0}, squares[256] = {0};
    double *p = malloc((pos + 1) * sizeof(*p));
    for (uint32_t j = low; j <= pos; j++) {
        const float *k = key_at(s, d, row->slot, j, head / group, false);
        p[j] = 0;
        for (uint32_t i = 0; i < dim; i++)
            p[j] += (double)q[i] * (double)k[i];
        p[j] *= scale;
        top = fmax(top, p[j]);
    }
    for (uint32_t j = low; j <= pos; j++)
        sum += p[j] = exp(p[j] - top);
    for (uint32_t j = low; j <= pos; j++) {
        const float *v = key_at(s, d, row->slot, j, head / group, true);
        for (uint32_t i = 0; i < dim; i++) {
            double term = p[j] / sum * (double)v[i];
            out[i] += term;
            squares[i] += term * term;
        }
    }
    free(p);
    for (uint32_t i = 0; i < dim; i++)
        rig_close(rig, got[(token * s->q_heads + head) * dim + i], out[i],
                  0x1p-8 * fabs(out[i]) + 0x1p-7 * sqrt(squares[i]) + 1e-6, "attention",
                  (token * s->q_heads + head) * dim + i);
}

static void check_scene(struct rig *rig, const struct scene *s, const struct scene_data *d,
                        const float *got)
{
    uint32_t done = 0;
    if (!s->samples) {
        for (uint32_t r = 0; r < s->row_count; r++)
            for (uint32_t t = 0; t < s->rows[r].token_count; t++)
                for (uint32_t h = 0; h < s->q_heads; h++)
                    check_one(rig, s, d, got, &s->rows[r], t, h);
        return;
    }
    for (uint32_t i = 0; done < s->samples && i < 4 * s->samples; i++) {
        uint32_t r = i < s->row_count ? i : (uint32_t)rng_below(&rig->seed, s->row_count);
        const struct attn_row *row = &s->rows[r];
        if (row->token_count == 0)
            continue;
        uint32_t t =
            i % 4 == 0 ? row->token_count - 1 : (uint32_t)rng_below(&rig->seed, row->token_count);
        check_one(rig, s, d, got, row, t, (uint32_t)rng_below(&rig->seed, s->q_heads));
        done++;
    }
}

static void scene_run(struct rig *rig, const struct scene *s, const char *name)
{
    struct scene_data d;
    struct attn_shape shape = {s->q_heads, s->kv_heads, s->head_dim, s->page_size, s->window};
    size_t count = (size_t)s->tokens * s->q_heads * s->head_dim;
    struct rig_out out[2];
    uint32_t before = rig->failures;

    if (rig->cuda && s->head_dim != 64 && s->head_dim != 128)
        return; /* the cpu's alone */
    scene_fill(rig, s, &d);
    size_t bytes =
        rig->ops->attn_plan_bytes(rig->device, &shape, s->row_count, s->tokens, s->context);
    void *plan_host = rig_host(rig, bytes), *plan = NULL;
    size_t planned = rig->ops->attn_plan(rig->device, &shape, s->rows, s->row_count, s->groups,
                                         s->group_count, plan_host);
    EXPECT(rig, planned <= bytes, "%s: a plan of %zu bytes, at most %zu", name, planned, bytes);
    if (planned)
        plan = rig_up(rig, plan_host, planned);
    struct attn_args args = {
        .qkv =
            rig_act(rig, d.qkv, (size_t)s->tokens * (s->q_heads + 2 * s->kv_heads) * s->head_dim),
        .qkv_stride = (s->q_heads + 2 * s->kv_heads) * s->head_dim,
        .rows = rig_up(rig, s->rows, s->row_count * sizeof(*s->rows)),
        .rows_host = s->rows,
        .row_count = s->row_count,
        .groups_host = s->groups,
        .group_count = s->group_count,
        .plan = plan,
        .plan_host = planned ? plan_host : NULL,
        .q_heads = s->q_heads,
        .scale = 1.0f / sqrtf((float)s->head_dim),
        .window = s->window,
    };
    for (int run = 0; run < 2; run++) {
        out[run] = rig_out_act(rig, count);
        args.out = out[run].device;
        rig->ops->attention(rig->device, rig->stream, &d.kv, &args);
    }
    float *got = rig_out_read(rig, &out[0], rig->act, "attention");
    rig_same(rig, &out[0], &out[1], "attention");
    check_scene(rig, s, &d, got);
    if (rig->failures > before)
        printf("    in %s: heads %u/%u of %u, pages of %u, window %u, %u rows, %u tokens, context "
               "%u\n",
               name, s->q_heads, s->kv_heads, s->head_dim, s->page_size, s->window, s->row_count,
               s->tokens, s->context);
    rig->cases++;
    rig_drop(rig);
}

static void run_small(struct rig *rig)
{
    for (size_t i = 0; i < ARRAY_LEN(attn_cases); i++) {
        const struct attn_case *c = &attn_cases[i];
        struct scene s = {.q_heads = c->q_heads,
                          .kv_heads = c->kv_heads,
                          .head_dim = c->head_dim,
                          .page_size = c->page_size,
                          .window = c->window};
        for (int r = 0; r < 4 && c->rows[r][0]; r++)
            scene_row(&s, c->rows[r][0], c->rows[r][1]);
        scene_run(rig, &s, "small");
    }
}

static struct scene model_scene(uint32_t q_heads, uint32_t kv_heads, uint32_t head_dim)
{
    return (struct scene){.q_heads = q_heads,
                          .kv_heads = kv_heads,
                          .head_dim = head_dim,
                          .page_size = 16,
                          .samples = 60};
}

/* Every group size with both head sizes: decode, a chunk, and both in one call. */
static void run_groups(struct rig *rig)
{
    for (uint32_t group = 1; group <= 16; group += rig->effort == EFFORT_TINY ? 5 : 1)
        for (uint32_t dim = 64; dim <= 128; dim += 64) {
            struct scene s = model_scene(group * 2, 2, dim);
            for (uint32_t r = 0; r < 5; r++)
                scene_row(&s, 1, r * 97 + group);
            scene_run(rig, &s, "groups, decode");
            scene_row(&s, 37 + group, 11 * group);
            scene_row(&s, 150, 0);
            s.rows[2].token_count = 1;
            scene_run(rig, &s, "groups, mixed");
            s.window = 50;
            scene_run(rig, &s, "groups, mixed, window");
        }
}

static void run_pages(struct rig *rig)
{
    static const uint32_t sizes[] = {1, 3, 8, 16, 32, 48, 64, 100, 128, 256};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct scene s = model_scene(16, 8, 128);
        if (rig->effort == EFFORT_TINY && i % 3 != 0)
            continue;
        s.page_size = sizes[i];
        scene_row(&s, 1, 0);
        scene_row(&s, 1, sizes[i] - 1);
        scene_row(&s, 1, sizes[i]);
        scene_row(&s, 1, 4 * sizes[i] + 255);
        scene_row(&s, sizes[i] + 1, 2 * sizes[i]);
        scene_run(rig, &s, "pages");
    }
}

static const uint32_t model_heads[][3] = {{16, 8, 128}, {40, 8, 128}, {9, 3, 64}, {64, 8, 128}};

static void run_decode(struct rig *rig)
{
    for (size_t i = 0; i < ARRAY_LEN(model_heads); i++) {
        if (i > 0 && rig->effort < EFFORT_FULL)
            break;
        struct scene one = model_scene(model_heads[i][0], model_heads[i][1], model_heads[i][2]);
        scene_row(&one, 1, 3000);
        scene_run(rig, &one, "decode, one row");
        struct scene s = model_scene(model_heads[i][0], model_heads[i][1], model_heads[i][2]);
        for (uint32_t r = 0; r < (rig->effort == EFFORT_FULL ? 256 : 20); r++)
            scene_row(&s, r % 17 == 16 ? 0 : 1, (r * 137) % 1500);
        s.samples = 400;
        scene_run(rig, &s, "decode, ragged, with padding rows");
    }
}

static void run_long(struct rig *rig)
{
    if (rig->effort < EFFORT_FULL)
        return;
    struct scene s = model_scene(16, 8, 128);
    scene_row(&s, 1, 32767);
    scene_row(&s, 1, 5);
    scene_row(&s, 1, 16000);
    scene_run(rig, &s, "decode at 32k");
    s = model_scene(40, 8, 128);
    scene_row(&s, 300, 32000);
    s.samples = 40;
    scene_run(rig, &s, "a chunk at 32k");
    s = model_scene(16, 8, 128);
    scene_row(&s, 1, 32767);
    s.window = 4096;
    scene_run(rig, &s, "decode at 32k, window");
}

static void run_prefill(struct rig *rig)
{
    uint32_t unit = rig->effort == EFFORT_FULL ? 1000 : rig->effort == EFFORT_QUICK ? 100 : 60;
    for (size_t i = 0; i < ARRAY_LEN(model_heads); i++) {
        if (i > 0 && rig->effort < EFFORT_FULL)
            break;
        struct scene s = model_scene(model_heads[i][0], model_heads[i][1], model_heads[i][2]);
        scene_row(&s, 2 * unit, 0);
        s.samples = 150;
        scene_run(rig, &s, "prefill, one prompt");
        scene_row(&s, unit, unit / 2);
        scene_row(&s, 17, 3 * unit + 5);
        scene_row(&s, 128, 0);
        scene_row(&s, 129, 127);
        scene_run(rig, &s, "prefill, chunks");
        for (uint32_t r = 0; r < (rig->effort == EFFORT_TINY ? 20 : 60); r++)
            scene_row(&s, 1, r * 31);
        scene_run(rig, &s, "prefill and decode");
        s.window = 333;
        scene_run(rig, &s, "prefill and decode, window");
    }
}

/* Rows that share their first pages, in groups and beside them. */
static void run_prefix_groups(struct rig *rig)
{
    static const uint32_t sizes[][2] = {/* rows, shared pages */
                                        {2, 1}, {3, 4}, {16, 9}, {17, 40}, {64, 65}, {120, 125}};
    for (size_t i = 0; i < ARRAY_LEN(model_heads); i++)
        for (size_t j = 0; j < ARRAY_LEN(sizes); j++) {
            if (rig->effort < EFFORT_FULL && (i > 0 || sizes[j][0] > 20))
                continue;
            struct scene s = model_scene(model_heads[i][0], model_heads[i][1], model_heads[i][2]);
            uint32_t rows = sizes[j][0], shared = sizes[j][1];
            scene_row(&s, 1, 40);
            s.groups[s.group_count++] = (struct attn_group){s.row_count, rows, shared};
            for (uint32_t r = 0; r < rows; r++) /* some end right behind the shared part */
                scene_row(&s, 1, shared * 16 + (r % 5 == 0 ? r % 3 : r * 13 % 200));
            scene_row(&s, 1, 700);
            s.groups[s.group_count++] = (struct attn_group){s.row_count, 4, 3};
            for (uint32_t r = 0; r < 4; r++)
                scene_row(&s, 1, 48 + r * 16);
            scene_row(&s, 30, 5);
            s.samples = 200;
            scene_run(rig, &s, "prefix groups");
            s.window = 40;
            scene_run(rig, &s, "prefix groups, window");
        }
}

/* A prompt's next tokens behind many keys, beside rows of one token that may share a prefix: `order`
 * says where they stand among them, and whether there are two such chunks. */
static void mixed_scene(struct rig *rig, struct scene s, uint32_t tokens, uint32_t before,
                        uint32_t order)
{
    bool tiny = rig->effort == EFFORT_TINY;
    if (order % 3 == 1)
        scene_row(&s, tokens, before);
    scene_row(&s, 1, 700);
    s.groups[s.group_count++] = (struct attn_group){s.row_count, tiny ? 5 : 30, tiny ? 9 : 60};
    for (uint32_t r = 0; r < s.groups[0].row_count; r++)
        scene_row(&s, 1, s.groups[0].page_count * 16 + r * 37 % 200);
    scene_row(&s, 1, 3);
    if (order % 3 != 1)
        scene_row(&s, tokens, before);
    if (order % 3 == 2)
        scene_row(&s, 1 + tokens / 2, before + 21);
    scene_run(rig, &s, "mixed");
    if (order % 4 == 0) {
        s.window = 300;
        scene_run(rig, &s, "mixed, window");
    }
}

/* 2 to 140 tokens behind 0 to 4,000 keys, each number of tokens with some of the numbers of keys. */
static void run_mixed(struct rig *rig)
{
    static const uint32_t groups[] = {5, 2, 8, 1, 16, 4, 3, 6, 7};
    static const uint32_t tokens[] = {16, 2, 29, 128, 64, 3, 8, 13, 25, 26, 48, 63, 65, 100, 140};
    static const uint32_t befores[] = {1000, 512, 2000, 0, 1504, 5, 100, 511, 4000};
    bool tiny = rig->effort == EFFORT_TINY;
    uint32_t n = 0;
    for (uint32_t g = 0; g < (tiny ? 5 : ARRAY_LEN(groups)); g++)
        for (uint32_t dim = 64; dim <= 128; dim += 64)
            for (uint32_t t = 0; t < (tiny ? 2 : ARRAY_LEN(tokens)); t++, n++) {
                uint32_t heads = tiny || groups[g] == 16 ? 2 : 8;
                struct scene s = model_scene(groups[g] * heads, heads, dim);
                uint32_t before = befores[(n * 2 + g) % ARRAY_LEN(befores)];
                if (!tiny && n % (rig->effort == EFFORT_QUICK ? 23 : 2) != 0)
                    continue;
                mixed_scene(rig, s, tokens[(n + t) % ARRAY_LEN(tokens)],
                            tiny ? MIN(before, 1504u) : before, n);
            }
    if (tiny)
        return;
    struct scene alone = model_scene(40, 8, 128);
    scene_row(&alone, 16, 2000);
    scene_run(rig, &alone, "a chunk alone");
    scene_row(&alone, 480, 1504);
    alone.samples = 400;
    scene_run(rig, &alone, "chunks alone");
}

const struct rig_test attention_tests[] = {
    {"attention_small", run_small},
    {"attention_groups", run_groups},
    {"attention_pages", run_pages},
    {"attention_decode", run_decode},
    {"attention_prefill", run_prefill},
    {"attention_prefix_groups", run_prefix_groups},
    {"attention_mixed", run_mixed},
    {"attention_long", run_long},
    {NULL, NULL},
};
