/* step_check - what a packet may not ask of this engine. */
#include "kernels/ops_check.h"
#include "worker/engine/step.h"

#include <inttypes.h>

enum status step_check(const struct step_runner *runner, const struct step_packet *packet,
                       struct err *err)
{
    const struct kv_view *kv = &runner->cache->view;
    if (!step_packet_valid(packet, packet->bytes, &runner->limits, runner->slots))
        return err_set(err, STATUS_INVALID, "step packet %" PRIu64 " breaks the engine's limits",
                       packet->step);
    const uint32_t *tokens = step_tokens(packet);
    for (uint32_t i = 0; i < packet->token_count; i++)
        if (tokens[i] != STEP_TOKEN_LAST && tokens[i] >= runner->vocab)
            return err_set(err, STATUS_INVALID, "token id %u is not below the vocabulary's %u",
                           tokens[i], runner->vocab);
    const struct step_row *rows = step_rows(packet);
    for (uint32_t i = 0; i < packet->row_count; i++)
        if ((uint64_t)rows[i].pos_first + rows[i].token_count > runner->context_max)
            return err_set(err, STATUS_INVALID,
                           "row %u ends at position %" PRIu64 ", the context has %u", i,
                           (uint64_t)rows[i].pos_first + rows[i].token_count, runner->context_max);
    const struct page_delta *deltas = step_deltas(packet);
    for (uint32_t i = 0; i < packet->delta_count; i++)
        if (deltas[i].slot >= runner->slots || deltas[i].idx >= kv->pages_per_slot ||
            deltas[i].page >= kv->pages)
            return err_set(err, STATUS_INVALID, "slot %u, entry %u, page %u is outside the pool",
                           deltas[i].slot, deltas[i].idx, deltas[i].page);
    const struct step_sample *samples = step_samples(packet);
    for (uint32_t i = 0; i < packet->sample_count; i++) {
        const char *wrong = ops_check_sampling(&samples[i].sampling);
        if (wrong != NULL)
            return err_set(err, STATUS_INVALID, "sample %u: %s", i, wrong);
    }
    return extras_check(&runner->extras, packet, err);
}
