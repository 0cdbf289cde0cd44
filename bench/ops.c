/* bench ops - time, bytes, FLOP and share of the ceiling of each op over real models' shapes, as CSV.
 *
 *     bench_ops [--backend cuda|cpu] [--quick] [--threads N] [--model PART] [--op PART]
 *
 *     op,model,tp,shape,rows,us,gb_per_s,tflop_per_s,share
 *
 * share: the time that the bytes (at 4.53 TB/s) or the FLOP (at 790 TFLOP/s, whichever is longer)
 * would take on an H200 by docs/PERFORMANCE.md, over the time measured; empty on cpu. Calls are
 * timed with events over graph replays (on cpu: one behind the other), the best of some turns, with
 * weights and caches at ever new places of a pool larger than the L2 cache, random and not zero.
 * "layer" is the six ops of a layer one behind the other, "step" a whole decode step of a model at
 * position 1,023, sampling included: its layers are timed together and scaled to the model's. A
 * mixture's bytes are those of the experts that the rows, drawn evenly, fall on.
 */
#include "bench/ops/ops.h"
#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct mixture mixtures[] = {{"Qwen3-30B-A3B", 2048, 128, 8, 768}};

static const struct model models[] = {
    {"SmolLM2-135M", 576, 9, 3, 64, 1536, 49152, 30, false},
    {"Qwen3-0.6B", 1024, 16, 8, 128, 3072, 151936, 28, true},
    {"Qwen3-8B", 4096, 32, 8, 128, 12288, 151936, 36, true},
    {"Qwen3-14B", 5120, 40, 8, 128, 17408, 151936, 40, true},
    {"Qwen3-32B", 5120, 64, 8, 128, 25600, 151936, 64, true},
};

int main(int argc, char **argv)
{
    struct bench *b = mem_zalloc(sizeof(*b));
    const char *backend = NULL;
    struct err err;
    struct device_opts opts = {.threads = 2, .tp = 1};
    b->model_filter = b->op_filter = "";
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--quick") == 0)
            b->quick = true;
        else if (strcmp(argv[i], "--backend") == 0)
            backend = value, i++;
        else if (strcmp(argv[i], "--threads") == 0)
            opts.threads = (uint32_t)strtoul(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--model") == 0)
            b->model_filter = value, i++;
        else if (strcmp(argv[i], "--op") == 0)
            b->op_filter = value, i++;
        else
            bench_die(
                "usage: bench_ops [--backend cuda|cpu] [--quick] [--threads N] [--model PART] "
                "[--op PART]");
    }
    b->ops = ops_find(backend);
    if (!b->ops)
        bench_die("there is no such backend");
    b->cuda = strcmp(b->ops->name, "cuda") == 0;
    if (b->ops->open(&opts, &b->device, &err) != STATUS_OK ||
        b->ops->stream_new(b->device, &b->stream, &err) != STATUS_OK ||
        b->ops->event_new(b->device, &b->from, &err) != STATUS_OK ||
        b->ops->event_new(b->device, &b->to, &err) != STATUS_OK)
        bench_die(err.text);
    bench_init(b);
    printf("op,model,tp,shape,rows,us,gb_per_s,tflop_per_s,share\n");
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        for (uint32_t tp = 1; tp <= 4; tp *= 2) {
            const struct model *m = &models[i];
            bool small = strstr(m->name, "SmolLM2") != NULL, half = strstr(m->name, "0.6B") != NULL;
            if (!strstr(m->name, b->model_filter) || (!b->cuda && !small) ||
                (tp > 1 && (small || half || !b->cuda || b->quick)) ||
                (b->quick && b->cuda && !half && !strstr(m->name, "14B")))
                continue;
            bench_model(b, m, tp);
        }
    for (size_t i = 0; i < ARRAY_LEN(mixtures); i++)
        if (strstr(mixtures[i].name, b->model_filter) && b->cuda && b->ops->route)
            bench_mixture(b, &mixtures[i]);
    return 0; /* the process's end frees what it measured with */
}
