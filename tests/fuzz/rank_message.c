/* What ranks say to each other: the message, and the step packet or the automaton in it, as a rank
 * checks them before its engine sees them. */
#include "proto/rank_message.h"
#include "common/automaton.h"
#include "tests/fuzz/input.h"
#include "worker/sched/batch.h"

#define SLOTS 8

/* Everything that a valid packet points at lies in it. */
static uint64_t read_packet(const struct step_packet *packet)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < packet->row_count; i++) {
        const struct step_row *row = &step_rows(packet)[i];
        CHECK(row->slot < SLOTS);
        for (uint32_t t = 0; t < row->token_count; t++)
            sum += step_tokens(packet)[row->token_first + t];
    }
    for (uint32_t i = 0; i < packet->delta_count; i++)
        sum += step_deltas(packet)[i].page;
    for (uint32_t i = 0; i < packet->sample_count; i++)
        sum += step_rows(packet)[step_samples(packet)[i].row].slot;
    for (uint32_t i = 0; i < packet->score_count; i++)
        sum += step_tokens(packet)[step_scores(packet)[i].token];
    for (uint32_t i = 0; i < packet->group_count; i++) {
        const struct prefix_group *group = &step_groups(packet)[i];
        sum += step_rows(packet)[group->row_first + group->row_count - 1].slot;
    }
    for (uint32_t i = 0; i < packet->setup_count; i++) {
        const struct step_setup *setup = &step_setups(packet)[i];
        CHECK(setup->slot < SLOTS);
        for (uint32_t w = 0; w < setup->history_count; w++)
            sum += step_words(packet)[setup->history_first + w];
        for (uint32_t w = 0; w < setup->stop_count; w++)
            sum += step_words(packet)[setup->stop_first + w];
        for (uint32_t w = 0; w < 2 * setup->bias_count; w++)
            sum += step_words(packet)[setup->bias_first + w];
        for (uint32_t w = 0; w < setup->text_count; w++)
            sum += step_words(packet)[setup->text_first + w];
    }
    return sum;
}

static void check_step(struct str body)
{
    struct step_limits limits;
    void *block = mem_aligned(ROUND_UP(body.len + 1, (size_t)64), 64); /* as follower.c does */
    step_limits_init(&limits, SLOTS, 64, 256, 16);
    if (body.len)
        memcpy(block, body.data, body.len);
    if (step_packet_valid(block, body.len, &limits, SLOTS)) {
        volatile uint64_t sum = read_packet(block);
        (void)sum;
    }
    mem_free(block);
}

static void check_grammar(struct str body)
{
    struct automaton automaton;
    struct err err;
    char *copy = mem_strndup(body.data, body.len);
    (void)!automaton_open(&automaton, (struct str){copy, body.len}, &err);
    mem_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct rank_message message, again;
    struct buf bytes = {0};
    struct err err = {.text = ""};

    if (rank_message_decode((struct str){(const char *)data, len}, &message, &err) != STATUS_OK) {
        CHECK(err.text[0]);
        return 0;
    }
    rank_message_encode(&message, &bytes);
    CHECK(rank_message_decode((struct str){bytes.data, bytes.len}, &again, &err) == STATUS_OK &&
          again.kind == message.kind && again.rank == message.rank &&
          again.group == message.group && again.value == message.value &&
          str_eq(again.body, message.body));
    buf_release(&bytes);
    if (message.kind == RANK_STEP)
        check_step(message.body);
    if (message.kind == RANK_GRAMMAR)
        check_grammar(message.body);
    return 0;
}
