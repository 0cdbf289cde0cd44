#include "router/api/prompt.h"

#include <string.h>

#include "common/hash.h"
#include "common/mem.h"

void prompts_release(struct prompts *prompts)
{
    for (uint32_t i = 0; i < prompts->count; i++) {
        token_list_release(&prompts->items[i].tokens);
        mem_free(prompts->items[i].hashes);
    }
    mem_free(prompts->items);
    memset(prompts, 0, sizeof(*prompts));
}

void prompt_truncate(struct prompt *prompt, const struct model *model, const struct params *params)
{
    struct token_list *tokens = &prompt->tokens;
    size_t keep = params->truncate, answer = MAX(params->tokens_max, 1u);
    if (params->truncate == UINT32_MAX)
        keep = model->context > answer ? model->context - answer : 0;
    if (keep == 0 || tokens->count <= keep)
        return;
    if (!params->truncate_right)
        memmove(tokens->ids, tokens->ids + (tokens->count - keep), keep * sizeof(*tokens->ids));
    tokens->count = keep;
}

void prompt_hash(struct prompt *prompt, uint64_t root, uint32_t page_size)
{
    if (prompt->hashes)
        return;
    prompt->page_size = page_size;
    prompt->page_count = (uint32_t)(prompt->tokens.count / page_size);
    prompt->hashes = mem_array(prompt->page_count, sizeof(*prompt->hashes));
    uint64_t hash = root;
    for (uint32_t i = 0; i < prompt->page_count; i++) {
        hash = page_hash_next(hash, prompt->tokens.ids + (size_t)i * page_size, page_size);
        prompt->hashes[i] = hash;
    }
}
