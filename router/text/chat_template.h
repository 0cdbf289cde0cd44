/* chat_template - a chat request's messages to the prompt text, by the model folder's own Jinja
 * template. The interpreter is router/jinja/; this file knows where templates lie and which
 * variables they see (messages, tools, add_generation_prompt, bos_token, eos_token, ... and the
 * request's chat_template_kwargs).
 *
 * Sandboxed: no I/O, bounded steps, depth, and output. A compiled template is immutable and may be
 * rendered on any thread.
 */
#ifndef MSGL_ROUTER_TEXT_CHAT_TEMPLATE_H
#define MSGL_ROUTER_TEXT_CHAT_TEMPLATE_H

#include <jansson.h>

#include "common/buf.h"
#include "common/status.h"

struct chat_template;

/* Reads DIR/chat_template.jinja, or chat_template in DIR/tokenizer_config.json (string, or the list
 * of named ones: "default"). NOT_FOUND when the folder has none. */
enum status MUST_USE chat_template_load(const char *dir, struct chat_template **out,
                                        struct err *err);
/* From template text, for tests. */
enum status MUST_USE chat_template_compile(struct str source, struct chat_template **out,
                                           struct err *err);
void chat_template_free(struct chat_template *tmpl);

/* True when the name occurs in the template. */
bool chat_template_mentions(const struct chat_template *tmpl, const char *name);

struct chat_render_opts {
    bool add_generation_prompt;
    bool continue_final_message;
    const json_t *tools;  /* array or NULL */
    const json_t *kwargs; /* chat_template_kwargs: object or NULL */
};

/* Appends the prompt. INVALID carries raise_exception()'s text. `messages` is an array of objects. */
enum status MUST_USE chat_template_render(const struct chat_template *tmpl, const json_t *messages,
                                          const struct chat_render_opts *opts, struct buf *out,
                                          struct err *err);

#endif
