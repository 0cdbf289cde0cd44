#include "worker/engine/kinds.h"

#include "worker/engine/sim.h"

static const struct engine_kind kinds[] = {
    {"model", true, engine_open, engine_close, engine_info, engine_submit, engine_wait,
     engine_event_fd, engine_page_sum, engine_grammar_add, engine_grammar_drop},
    {"sim", false, sim_open, sim_close, sim_info, sim_submit, sim_wait, sim_event_fd, sim_page_sum,
     NULL, NULL},
};

const struct engine_kind *engine_kind_of(uint32_t number)
{
    CHECK(number < ARRAY_LEN(kinds));
    return &kinds[number];
}
