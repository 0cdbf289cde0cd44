/* graphs - the list of padded sizes. */
#include "worker/engine/graphs.h"

static uint32_t next_size(uint32_t rows)
{
    if (rows < 8)
        return rows * 2;
    if (rows < 32)
        return rows + 8;
    if (rows < 64)
        return rows + 16;
    return rows < 256 ? rows + 32 : rows + 64;
}

void graphs_init(struct step_runner *runner, uint32_t rows)
{
    runner->size_count = 0;
    for (uint32_t size = 1; size < rows && runner->size_count < STEP_SIZES_MAX - 1;
         size = next_size(size))
        runner->sizes[runner->size_count++] = (struct step_size){.rows = size};
    runner->sizes[runner->size_count++] = (struct step_size){.rows = rows};
}

void graphs_release(struct step_runner *runner)
{
    for (uint32_t i = 0; i < runner->size_count; i++)
        for (uint32_t j = 0; j < 4 * STEP_LANES; j++) {
            struct graph *graph = runner->sizes[i].graphs[j / 4][j / 2 % 2][j % 2];
            if (graph != NULL)
                runner->ops->graph_free(runner->device, graph);
        }
    runner->size_count = 0;
}

struct step_size *graphs_size(struct step_runner *runner, uint32_t rows)
{
    for (uint32_t i = 0; i < runner->size_count; i++)
        if (runner->sizes[i].rows >= rows)
            return &runner->sizes[i];
    return NULL;
}
