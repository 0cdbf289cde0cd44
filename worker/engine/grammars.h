/* grammars - which tokens may come next in answers that a grammar binds.
 *
 *   add ─► grammar: automaton + cache of masks ◄── by hash of where a reading stands
 *                      ▲
 *   slots: │ grammar, where it stands, stop tokens │ …      setup ─► mask ─► advance ─► mask …
 *
 * A mask is made by walking the vocabulary (token_order.h); then it is kept, for most answers stand in
 * few places again and again. Equal grammars are one; some that nobody uses stay, for the next call
 * with the same schema.
 *
 * add and drop: the loop's thread. All else: the thread that launches.
 */
#ifndef MSGL_WORKER_ENGINE_GRAMMARS_H
#define MSGL_WORKER_ENGINE_GRAMMARS_H

#include "common/buf.h"
#include "common/status.h"

struct grammars;

/* Begins to read the model folder's tokenizer.json, on a thread of its own. */
struct grammars *grammars_new(const char *model_dir, uint32_t slots, uint32_t vocab);
void grammars_free(struct grammars *grammars); /* NULL is fine */

/* The automaton's (or list of tokens') bytes are copied. CORRUPT: it is none; UNSUPPORTED: this model's tokens are not known. */
enum status MUST_USE grammars_add(struct grammars *grammars, struct str automaton, uint32_t *id,
                                  struct err *err);
void grammars_drop(struct grammars *grammars, uint32_t id);

/* The slot's answer follows the grammar, and `text` [count] is what it has so far. An id that was
 * dropped meanwhile binds nothing: its req has ended. */
void grammars_setup(struct grammars *grammars, uint32_t slot, uint32_t id, const uint32_t *text,
                    uint32_t count, const uint32_t *stops, uint32_t stop_count);
void grammars_advance(struct grammars *grammars, uint32_t slot, uint32_t token);
/* mask [DIV_CEIL(vocab, 32)]: bit 1 = may come. Never empty. */
void grammars_mask(struct grammars *grammars, uint32_t slot, uint32_t *mask);

#endif
