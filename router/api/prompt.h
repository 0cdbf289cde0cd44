/* prompt - from a request body to the token ids of its prompts. Pure but for the model's text tables;
 * any thread. api_chat.c renders messages, api_completions.c takes text or ids. */
#ifndef MSGL_ROUTER_API_PROMPT_H
#define MSGL_ROUTER_API_PROMPT_H

#include "router/api/params.h"
#include "router/models.h"

#define PROMPTS_MAX 256

struct prompt {
    struct token_list tokens; /* never empty */
    struct str text;          /* for echo; in the arena; empty when not asked for */
    uint64_t *hashes;         /* of whole pages; made when the prompt is first routed */
    uint32_t page_size, page_count;
    bool parses; /* the answer is taken apart so: */
    struct answer_opts answer;
};

struct prompts { /* zero-initialise; release */
    struct prompt *items;
    uint32_t count;
};

enum status MUST_USE prompts_chat(const json_t *body, struct model *model,
                                  const struct params *params, struct prompts *out,
                                  struct api_error *error);
/* body[key]: text, ids, or a list of either. */
enum status MUST_USE prompts_completions(const json_t *body, const char *key, struct model *model,
                                         const struct params *params, struct arena *arena,
                                         struct prompts *out, struct api_error *error);
void prompts_release(struct prompts *prompts);

/* Drops tokens as truncate_prompt_tokens and truncation_side say. */
void prompt_truncate(struct prompt *prompt, const struct model *model, const struct params *params);
/* Hashes the prompt's whole pages, once: what prefix_index expects must stay the same. */
void prompt_hash(struct prompt *prompt, uint64_t root, uint32_t page_size);

#endif
