/* jinja - templates in the Jinja language as model folders use them.
 *
 *      source ──lexer──► tokens ──parser──► tree (immutable, in the template's arena)
 *                                             │ jinja_render(): one `struct interp` a render
 *      JSON variables ──────────────────────► values (in the render's arena) ──► text in a buf
 *
 * Behaves as Python's jinja2 in an immutable sandbox with trim_blocks, lstrip_blocks, loop
 * controls, and the {% generation %} tag. Not done: include, import, extends, line statements,
 * autoescape, and integers beyond 64 bits (an error, never a wrong number).
 *
 * Hostile templates are fine: source size, nesting, steps, memory and output are bounded, nothing
 * does I/O. A compiled template may be rendered on any number of threads at once.
 */
#ifndef MSGL_ROUTER_JINJA_JINJA_H
#define MSGL_ROUTER_JINJA_JINJA_H

#include <jansson.h>

#include "common/buf.h"
#include "common/status.h"

#define JINJA_SOURCE_BYTES_MAX (1u << 20)

struct jinja_template;

/* INVALID names the line; TOO_LARGE when the source is longer than JINJA_SOURCE_BYTES_MAX or nested
 * too deeply. `source` is copied. */
enum status MUST_USE jinja_compile(struct str source, struct jinja_template **out, struct err *err);
void jinja_free(struct jinja_template *tmpl); /* NULL is fine */

/* True when some loop of the template runs over an attribute or item of this name, directly or
 * through a variable: {% for part in message['content'] %}. */
bool jinja_loops_over(const struct jinja_template *tmpl, const char *attribute);

/* True when this name occurs anywhere in the source. */
bool jinja_mentions(const struct jinja_template *tmpl, const char *text);

/* One variable of the context. A NULL value is None. Both are borrowed for the render. */
struct jinja_var {
    const char *name;
    const json_t *value;
};

struct jinja_limits {
    uint64_t steps_max;
    size_t arena_bytes_max;
    size_t output_bytes_max; /* text held at any time, output and captured blocks together */
    unsigned depth_max;      /* nested evaluation: expressions, statements, macros */
};
#define JINJA_LIMITS_DEFAULT                                                                       \
    {                                                                                              \
        .steps_max = 20000000, .arena_bytes_max = (size_t)256 << 20,                               \
        .output_bytes_max = (size_t)64 << 20, .depth_max = 1000                                    \
    }

/* Appends the text to *out; on error *out is as before. Of two variables with one name the later
 * one counts. INVALID carries the text of raise_exception() as it is, or a sentence that names the
 * line; TOO_LARGE says which limit was passed. limits NULL: the default. */
enum status MUST_USE jinja_render(const struct jinja_template *tmpl, const struct jinja_var *vars,
                                  size_t var_count, const struct jinja_limits *limits,
                                  struct buf *out, struct err *err);

#endif
