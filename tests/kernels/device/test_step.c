/* Layers of ops one behind the other, as a decoder calls them: with a sync after each op, without,
 * and as a graph. The same bits each time, or an op does not wait for what its neighbours write. Rows of
 * one token, or three of them beside a prompt's next tokens behind many keys; those steps are no graphs.
 */
#include "tests/kernels/device/rig.h"

enum { HIDDEN = 1024, HEADS = 16, KV_HEADS = 8, DIM = 128, INTER = 3072, VOCAB = 5000 };
enum { QKV = (HEADS + 2 * KV_HEADS) * DIM, PAGE = 16, PER_SLOT = 8, LAYERS_MAX = 4, STEPS = 4 };
enum { CHUNK_ROW = 3, CHUNK_POS = 530, CHUNK_PER_SLOT = 40 };

enum mode { MODE_SYNC, MODE_EAGER, MODE_GRAPH };

struct layer {
    struct weight qkv, o, gate_up, down;
    void *pool;
};

struct chain {
    struct rig *rig;
    uint32_t rows, layers; /* rows: tokens */
    uint32_t attn_count, per_slot;
    struct layer layer[LAYERS_MAX];
    struct weight embed;
    float *norm, *head_norm, *cos_sin, *logits;
    uint32_t *table, *positions, *slots, *tokens, *ids, *last, *out, *idx;
    struct attn_row *attn_rows, attn_rows_host[300];
    struct sample_row *sample_rows;
    void *x, *scratch, *qkv, *attn, *act, *rows_x, *plan, *plan_host;
};

static void weights_init(struct chain *c)
{
    uint16_t *bits;
    struct rig *rig = c->rig;
    size_t pool = (size_t)c->attn_count * c->per_slot * 2 * KV_HEADS * PAGE * DIM;
    float *pool_values = rig_values(rig, pool, 1);
    for (uint32_t i = 0; i < c->layers; i++) {
        c->layer[i].qkv = rig_weight(rig, QKV, HIDDEN, &bits);
        c->layer[i].o = rig_weight(rig, HIDDEN, HEADS * DIM, &bits);
        c->layer[i].gate_up = rig_weight(rig, 2 * INTER, HIDDEN, &bits);
        c->layer[i].down = rig_weight(rig, HIDDEN, INTER, &bits);
        c->layer[i].pool = rig_act(rig, pool_values, pool);
    }
    c->embed = rig_weight(rig, VOCAB, HIDDEN, &bits);
    float *ones = rig_host(rig, HIDDEN * sizeof(*ones));
    float *cs = rig_host(rig, CHUNK_PER_SLOT * PAGE * DIM * sizeof(*cs));
    for (int i = 0; i < HIDDEN; i++)
        ones[i] = 1 + 0.01f * (float)(i % 7);
    for (int i = 0; i < CHUNK_PER_SLOT * PAGE * DIM; i++)
        cs[i] = (float)((i % DIM < DIM / 2 ? cos : sin)(i / DIM * pow(1e4, -(i % 64) / 64.0)));
    c->norm = rig_up(rig, ones, HIDDEN * sizeof(*ones));
    c->head_norm = rig_up(rig, ones, DIM * sizeof(*ones));
    c->cos_sin = rig_up(rig, cs, CHUNK_PER_SLOT * PAGE * DIM * sizeof(*cs));
}

static void chain_init(struct rig *rig, uint32_t rows, bool chunk, struct chain *c)
{
    *c = (struct chain){.rig = rig, .rows = rows, .layers = rig->effort == EFFORT_FULL ? 4 : 2};
    c->attn_count = chunk ? CHUNK_ROW + 1 : rows;
    c->per_slot = chunk ? CHUNK_PER_SLOT : PER_SLOT;
    weights_init(c);
    size_t item = dtype_bytes(rig->act);
    uint32_t table[300 * PER_SLOT], positions[300], slots[300], tokens[300], idx[300];
    struct sample_row samples[300];
    for (uint32_t r = 0; r < c->attn_count; r++)
        for (uint32_t i = 0; i < c->per_slot; i++)
            table[r * c->per_slot + i] = i * c->attn_count + r;
    for (uint32_t r = 0; r < rows; r++) {
        bool padding = rig->cuda && !chunk && rows > 2 && r == rows - 1;
        bool in_chunk = chunk && r >= CHUNK_ROW;
        uint32_t pos = in_chunk ? CHUNK_POS + r - CHUNK_ROW : r * 37 % (PER_SLOT * PAGE);
        positions[r] = padding ? 0 : pos;
        slots[r] = padding ? SLOT_NONE : in_chunk ? CHUNK_ROW : r;
        tokens[r] = padding ? 0 : UINT32_MAX;
        idx[r] = rows - 1 - r;
        if (!in_chunk || r == CHUNK_ROW)
            c->attn_rows_host[r] = (struct attn_row){r, r,
                                                     padding    ? 0
                                                     : in_chunk ? rows - CHUNK_ROW
                                                                : 1,
                                                     pos};
        samples[r] = (struct sample_row){.position = pos, .sampling = sampling_default()};
        samples[r].slot = padding ? SLOT_NONE : r;
        samples[r].sampling.temperature = r % 2 ? 0.6f : 0;
    }
    c->table = rig_up(rig, table, c->attn_count * c->per_slot * 4);
    c->positions = rig_up(rig, positions, rows * 4);
    c->slots = rig_up(rig, slots, rows * 4);
    c->tokens = rig_up(rig, tokens, rows * 4);
    c->idx = rig_up(rig, idx, rows * 4);
    c->attn_rows = rig_up(rig, c->attn_rows_host, c->attn_count * sizeof(struct attn_row));
    c->sample_rows = rig_up(rig, samples, rows * sizeof(*samples));
    c->ids = rig_alloc(rig, rows * 4), c->out = rig_alloc(rig, rows * 4);
    c->last = rig_alloc(rig, rows * 4);
    c->x = rig_alloc(rig, rows * HIDDEN * item);
    c->rows_x = rig_alloc(rig, rows * HIDDEN * item);
    c->scratch = rig_alloc(rig, rows * (HIDDEN + 2 * INTER) * item);
    c->qkv = rig_alloc(rig, rows * QKV * item);
    c->attn = rig_alloc(rig, rows * HEADS * DIM * item);
    c->act = rig_alloc(rig, rows * INTER * item);
    c->logits = rig_alloc(rig, rows * VOCAB * sizeof(float));
    struct attn_shape shape = {HEADS, KV_HEADS, DIM, PAGE, 0};
    c->plan_host = rig_host(rig, rig->ops->attn_plan_bytes(rig->device, &shape, c->attn_count, rows,
                                                           c->per_slot * PAGE));
    size_t bytes = rig->ops->attn_plan(rig->device, &shape, c->attn_rows_host, c->attn_count, NULL,
                                       0, c->plan_host);
    c->plan = bytes ? rig_up(rig, c->plan_host, bytes) : NULL;
    c->plan_host = bytes ? c->plan_host : NULL;
}

static void between(const struct chain *c, enum mode mode)
{
    if (mode == MODE_SYNC)
        rig_sync(c->rig);
}

static void chain_layer(struct chain *c, const struct layer *layer, enum mode mode)
{
    struct rig *rig = c->rig;
    const struct ops *ops = rig->ops;
    struct norm norm = {c->norm, 1e-6f};
    struct kv_view kv = {layer->pool, c->table, c->attn_count * c->per_slot, c->per_slot, PAGE,
                         KV_HEADS,    DIM};
    struct qkv_args qkv = {c->qkv, c->positions, c->slots, c->head_norm, c->head_norm,
                           1e-6f,  c->cos_sin,   c->rows,  HEADS};
    struct attn_args attn = {.out = c->attn,
                             .qkv = c->qkv,
                             .qkv_stride = QKV,
                             .rows = c->attn_rows,
                             .rows_host = c->attn_rows_host,
                             .row_count = c->attn_count,
                             .plan = c->plan,
                             .plan_host = c->plan_host,
                             .q_heads = HEADS,
                             .scale = 0.0883883f};
    ops->norm_matmul(rig->device, rig->stream, c->qkv, c->x, &norm, &layer->qkv, NULL, c->rows,
                     c->scratch);
    between(c, mode);
    ops->qk_rope_store(rig->device, rig->stream, &kv, &qkv);
    between(c, mode);
    ops->attention(rig->device, rig->stream, &kv, &attn);
    between(c, mode);
    ops->matmul_add(rig->device, rig->stream, c->x, c->attn, &layer->o, NULL, c->rows, c->scratch);
    between(c, mode);
    ops->norm_gate_up_silu(rig->device, rig->stream, c->act, c->x, &norm, &layer->gate_up, NULL,
                           c->rows, c->scratch);
    between(c, mode);
    ops->matmul_add(rig->device, rig->stream, c->x, c->act, &layer->down, NULL, c->rows,
                    c->scratch);
    between(c, mode);
}

static void chain_step(struct chain *c, enum mode mode)
{
    struct rig *rig = c->rig;
    const struct ops *ops = rig->ops;
    ops->resolve_tokens(rig->device, rig->stream, c->ids, c->tokens, c->slots, c->last, c->rows);
    between(c, mode);
    ops->embed(rig->device, rig->stream, c->x, &c->embed, c->ids, 0, c->rows);
    between(c, mode);
    for (uint32_t i = 0; i < c->layers; i++)
        chain_layer(c, &c->layer[i], mode);
    ops->gather_rows(rig->device, rig->stream, c->rows_x, c->x, c->idx, c->rows, HIDDEN);
    between(c, mode);
    ops->rmsnorm(rig->device, rig->stream, c->scratch, c->rows_x, c->norm, c->rows, HIDDEN, 1e-6f);
    between(c, mode);
    ops->matmul_f32(rig->device, rig->stream, c->logits, c->scratch, &c->embed, c->rows);
    between(c, mode);
    ops->sample(rig->device, rig->stream, c->out, c->last, c->logits, VOCAB, c->sample_rows,
                c->rows);
    between(c, mode);
}

/* STEPS steps from last tokens 0, 1, 2…; the logits and tokens of the last one. */
static float *chain_run(struct chain *c, enum mode mode, uint32_t *tokens)
{
    struct rig *rig = c->rig;
    struct graph *graph = NULL;
    struct err err = {0};
    uint32_t first[300];
    float *logits = rig_host(rig, (size_t)c->rows * VOCAB * sizeof(*logits));
    for (uint32_t r = 0; r < c->rows; r++)
        first[r] = r;
    if (mode == MODE_GRAPH) {
        bool ok = rig->ops->graph_begin(rig->device, rig->stream, &err) == STATUS_OK;
        if (ok)
            chain_step(c, mode);
        ok = ok && rig->ops->graph_end(rig->device, rig->stream, &graph, &err) == STATUS_OK;
        EXPECT(rig, ok, "no graph: %s", err.text);
        if (!ok)
            return logits;
    }
    rig->ops->upload(rig->device, rig->stream, c->last, first, c->rows * 4);
    for (int step = 0; step < STEPS; step++)
        if (graph)
            rig->ops->graph_launch(rig->device, rig->stream, graph);
        else
            chain_step(c, mode);
    rig_down(rig, logits, c->logits, (size_t)c->rows * VOCAB * sizeof(*logits));
    rig_down(rig, tokens, c->last, c->rows * 4);
    if (graph)
        rig->ops->graph_free(rig->device, graph);
    return logits;
}

static void step_case(struct rig *rig, uint32_t rows, bool chunk)
{
    struct chain *c = rig_host(rig, sizeof(*c));
    uint32_t synced[300], tokens[300], real;
    chain_init(rig, rows, chunk, c);
    real = rig->cuda && !chunk && rows > 2 ? rows - 1 : rows;
    chain_run(c, MODE_SYNC, synced); /* twice: the first fills the cache */
    float *want = chain_run(c, MODE_SYNC, synced);
    for (enum mode mode = MODE_EAGER; mode <= (chunk ? MODE_EAGER : MODE_GRAPH); mode++)
        for (int turn = 0; turn < (rig->effort == EFFORT_TINY ? 1 : 3); turn++) {
            if (mode == MODE_GRAPH && !rig->ops->graph_begin)
                break;
            float *got = chain_run(c, mode, tokens);
            size_t wrong = 0;
            for (size_t at = 0; at < (size_t)rows * VOCAB; at++)
                wrong += !(got[at] == want[at]) && got[at] == got[at];
            EXPECT(rig, wrong == 0, "%u rows%s, %s: %zu logits differ from a run with syncs", rows,
                   chunk ? ", chunk" : "", mode == MODE_GRAPH ? "graph" : "eager", wrong);
            EXPECT(rig, memcmp(tokens, synced, real * 4) == 0, "%u rows: other tokens", rows);
        }
    for (uint32_t l = 0; l < c->layers; l++) {
        struct weight *w[] = {&c->layer[l].qkv, &c->layer[l].o, &c->layer[l].gate_up,
                              &c->layer[l].down};
        for (int k = 0; k < 4; k++)
            rig->ops->weight_free(rig->device, w[k]);
    }
    rig->ops->weight_free(rig->device, &c->embed);
    rig->cases++;
    rig_drop(rig);
}

static void run_step(struct rig *rig)
{
    static const uint32_t rows[] = {1, 2, 3, 4, 7, 8, 9, 16, 64, 200};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rig->effort < EFFORT_FULL && rows[i] != 1 && rows[i] != 4 && rows[i] != 9)
            continue;
        if (rig->effort == EFFORT_TINY && rows[i] != 4)
            continue;
        step_case(rig, rows[i], false);
    }
    step_case(rig, CHUNK_ROW + 5, true);
    if (rig->effort == EFFORT_FULL) {
        step_case(rig, CHUNK_ROW + 50, true);
        step_case(rig, CHUNK_ROW + 90, true);
    }
}

const struct rig_test step_tests[] = {{"step", run_step}, {NULL, NULL}};
