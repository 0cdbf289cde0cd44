/* models - what the router knows of each model that it serves: text, limits, sampling defaults.
 * Loaded at start from the model folder's small files; immutable afterwards. */
#ifndef MSGL_ROUTER_MODELS_H
#define MSGL_ROUTER_MODELS_H

#include <pthread.h>

#include "common/config.h"
#include "common/sampling.h"
#include "proto/frames.h"
#include "router/text/answer.h"
#include "router/text/chat_template.h"
#include "router/text/tokenizer.h"

#define MODELS_MAX    CONFIG_LIST_MAX
#define MODEL_EOS_MAX 16

struct model {
    char *name; /* that clients use */
    char *dir;
    struct tokenizer *tokenizer;
    struct chat_template *tmpl; /* NULL: the folder has none */
    uint64_t fingerprint, tokenizer_hash;
    uint32_t context;    /* max_position_embeddings; 0 = not said */
    uint32_t vocab_size; /* ids below this are prompts that the model takes */
    uint32_t eos[MODEL_EOS_MAX];
    uint32_t eos_count;
    struct sampling defaults; /* of generation_config.json */
    enum tool_format tools;   /* how it writes calls of tools */
    bool takes_tools;         /* its template shows it the tools */
    bool thinks;              /* <think> … </think> is a mark of its answers */
    uint64_t created_s;
    pthread_mutex_t lock; /* of the two below: encode runs on several threads */
    struct tokenizer_scratch *scratch[64];
    uint32_t scratch_count;
};

struct models {
    struct model *items;
    size_t count;
};

/* Each of `wanted` is a folder or a hub name; `names` is empty or pairs with it. */
enum status MUST_USE models_load(const struct config_list *wanted, const struct config_list *names,
                                 struct models *out, struct err *err);
void models_release(struct models *models);
struct model *models_find(const struct models *models, struct str name); /* NULL when unknown */

/* Appends the ids of text. Any thread. */
enum status MUST_USE model_encode(struct model *model, struct str text, bool add_special,
                                  struct token_list *out, struct err *err);

#endif
