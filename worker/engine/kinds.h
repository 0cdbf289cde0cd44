/* kinds - what can stand behind engine.h, as a table.
 *
 *   worker ─► struct engine_kind ─┬─ "model"   engine.c: weights on a device
 *                                 └─ "sim"     sim.c: a timing model, no weights
 *
 * A kind keeps engine.h's contract word for word; an engine is given only to the functions of the
 * kind that opened it.
 */
#ifndef MSGL_WORKER_ENGINE_KINDS_H
#define MSGL_WORKER_ENGINE_KINDS_H

#include "worker/engine/engine.h"

struct engine_kind {
    const char *name;
    bool weights; /* reads the model folder's weights */
    enum status (*open)(const struct engine_opts *opts, struct engine **out, struct err *err);
    void (*close)(struct engine *engine);
    const struct engine_info *(*info)(const struct engine *engine);
    enum status (*submit)(struct engine *engine, const struct step_packet *packet, uint64_t *ticket,
                          struct err *err);
    enum status (*wait)(struct engine *engine, uint64_t ticket, struct step_result *result,
                        struct err *err);
    int (*event_fd)(const struct engine *engine);
    uint64_t (*page_sum)(const struct engine *engine, uint32_t page);
    /* NULL: the kind has no grammars */
    enum status (*grammar_add)(struct engine *engine, struct str automaton, uint32_t *id,
                               struct err *err);
    void (*grammar_drop)(struct engine *engine, uint32_t id);
};

#define ENGINE_KINDS "model|sim" /* the table's order */
const struct engine_kind *engine_kind_of(uint32_t number);

#endif
