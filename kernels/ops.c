#include "kernels/ops.h"

#include "kernels/ops_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct ops cpu_ops;
#ifdef MSGL_HAVE_CUDA
extern const struct ops cuda_ops;
#endif

size_t dtype_bytes(enum dtype dtype)
{
    return dtype == DTYPE_BF16 || dtype == DTYPE_F16 ? 2 : 4;
}

/* A wrong argument is the caller's bug, whatever a client sent. */
static void ops_need(const char *op, const char *wrong)
{
    if (!wrong)
        return;
    fprintf(stderr, "ops %s: %s\n", op, wrong);
    abort();
}

#define BACKEND     "cpu"
#define CHECKED(op) cpu_checked_##op
#define IMPL        cpu_ops
#define GRAPH_OPS   /* none */
#include "kernels/ops_checked.h"
#undef GRAPH_OPS
#undef BACKEND
#undef CHECKED
#undef IMPL

#ifdef MSGL_HAVE_CUDA
static enum status graph_begin(struct device *device, struct stream *stream, struct err *err)
{
    return cuda_ops.graph_begin(device, stream, err);
}

static enum status graph_end(struct device *device, struct stream *stream, struct graph **out,
                             struct err *err)
{
    return cuda_ops.graph_end(device, stream, out, err);
}

static void graph_launch(struct device *device, struct stream *stream, struct graph *graph)
{
    cuda_ops.graph_launch(device, stream, graph);
}

static void graph_free(struct device *device, struct graph *graph)
{
    cuda_ops.graph_free(device, graph);
}

#define BACKEND     "cuda"
#define CHECKED(op) cuda_checked_##op
#define IMPL        cuda_ops
#define GRAPH_OPS                                                                                  \
    .graph_begin = graph_begin, .graph_end = graph_end, .graph_launch = graph_launch,              \
    .graph_free = graph_free,
#include "kernels/ops_checked.h"

/* A driver and a card, good or not: what is wrong with them is open's to say. */
bool cuda_present(void);
#endif

const struct ops *ops_find(const char *name)
{
#ifdef MSGL_HAVE_CUDA
    if (name ? strcmp(name, "cuda") == 0 : cuda_present())
        return &cuda_checked_table;
#endif
    if (!name || strcmp(name, "cpu") == 0)
        return &cpu_checked_table;
    return NULL;
}
