#include "router/api/scores.h"

#include <string.h>

#include "common/mem.h"

bool scores_append(struct scores *scores, uint32_t count, struct str logprobs,
                   struct token_view ranks, struct token_view top_ids, struct str top_logprobs)
{
    size_t tops = (size_t)count * scores->width, at = (size_t)scores->count * scores->width;
    if (logprobs.len != count * sizeof(float) || (ranks.count != 0 && ranks.count != count) ||
        top_ids.count != tops || top_logprobs.len != tops * sizeof(float))
        return false;
    if (count == 0)
        return true;
    if (scores->count + count > scores->cap) {
        scores->cap = MAX(scores->count + count, 2 * scores->cap);
        size_t cap_tops = (size_t)scores->cap * MAX(scores->width, 1u);
        scores->logprobs = mem_realloc(scores->logprobs, scores->cap * sizeof(float));
        scores->ranks = mem_realloc(scores->ranks, scores->cap * sizeof(uint32_t));
        scores->top_ids = mem_realloc(scores->top_ids, cap_tops * sizeof(uint32_t));
        scores->top_logprobs = mem_realloc(scores->top_logprobs, cap_tops * sizeof(float));
    }
    memcpy(scores->logprobs + scores->count, logprobs.data, logprobs.len);
    if (ranks.count > 0)
        token_view_copy(ranks, scores->ranks + scores->count);
    else
        memset(scores->ranks + scores->count, 0, count * sizeof(uint32_t));
    token_view_copy(top_ids, scores->top_ids + at);
    if (tops > 0)
        memcpy(scores->top_logprobs + at, top_logprobs.data, top_logprobs.len);
    scores->count += count;
    return true;
}

void scores_release(struct scores *scores)
{
    mem_free(scores->logprobs);
    mem_free(scores->ranks);
    mem_free(scores->top_ids);
    mem_free(scores->top_logprobs);
    memset(scores, 0, sizeof(*scores));
}
