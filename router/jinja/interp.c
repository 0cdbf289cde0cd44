/* The state of a render: work and memory accounting, output, scopes, errors. */
#include "router/jinja/interp.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

#define STACK_BYTES_MAX ((uintptr_t)1 << 20) /* of the thread that renders */

/* err.text is cut at its end; never in the middle of a character. */
static enum status set_error(struct interp *in, enum status status, const char *text)
{
    if (in->err) {
        size_t len;
        err_set(in->err, status, "%s", text);
        len = strlen(in->err->text);
        in->err->text[len - utf8_incomplete_tail(in->err->text, len)] = 0;
    }
    return status;
}

enum status interp_fail(struct interp *in, const char *format, ...)
{
    char text[400], whole[440];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(whole, sizeof(whole), "template line %u: %s", in->line, text);
    return set_error(in, STATUS_INVALID, whole);
}

enum status interp_fail_undefined(struct interp *in, struct val v)
{
    const struct undef *undef = v.undef;
    int len = (int)MIN(undef->name.len, (size_t)80);

    if (undef->insecure)
        return interp_fail(in, "access to attribute '%.*s' of '%s' object is unsafe", len,
                           undef->name.data, undef->owner);
    if (undef->message)
        return interp_fail(in, "%s", undef->message);
    if (undef->owner)
        return interp_fail(in, "'%s object' has no attribute '%.*s'", undef->owner, len,
                           undef->name.data);
    return interp_fail(in, "'%.*s' is undefined", len, undef->name.data);
}

enum status interp_step(struct interp *in, uint64_t steps)
{
    in->steps += steps;
    if (in->steps > in->limits->steps_max || in->arena.used_bytes > in->limits->arena_bytes_max)
        return set_error(in, STATUS_TOO_LARGE,
                         in->steps > in->limits->steps_max
                             ? "the chat template takes more steps than are allowed"
                             : "the chat template uses more memory than is allowed");
    return STATUS_OK;
}

enum status interp_room(struct interp *in, size_t bytes)
{
    if (bytes > in->limits->arena_bytes_max ||
        in->arena.used_bytes > in->limits->arena_bytes_max - bytes)
        return set_error(in, STATUS_TOO_LARGE,
                         "the chat template uses more memory than is allowed");
    return STATUS_OK;
}

enum status interp_enter(struct interp *in)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t used = here > in->stack_base ? here - in->stack_base : in->stack_base - here;

    if (++in->depth > in->limits->depth_max || used > STACK_BYTES_MAX)
        return set_error(in, STATUS_TOO_LARGE,
                         "the chat template nests deeper than is allowed (recursion?)");
    return STATUS_OK;
}

void interp_leave(struct interp *in)
{
    in->depth--;
}

enum status interp_emit(struct interp *in, const char *data, size_t len)
{
    if (in->out->len - in->out_start >
            in->limits->output_bytes_max - MIN(len, in->limits->output_bytes_max) ||
        len > in->limits->output_bytes_max)
        return set_error(in, STATUS_TOO_LARGE,
                         "the chat template writes more text than is allowed");
    buf_append(in->out, data, len);
    return STATUS_OK;
}

enum status interp_emit_cstr(struct interp *in, const char *text)
{
    return interp_emit(in, text, strlen(text));
}

size_t interp_mark(const struct interp *in)
{
    return in->out->len;
}

enum status interp_take(struct interp *in, size_t mark, struct val *out)
{
    const char *data = in->out->data ? in->out->data + mark : "";

    TRY(val_copy(in, data, in->out->len - mark, out));
    if (in->out->data) {
        in->out->len = mark;
        in->out->data[mark] = 0;
    }
    return STATUS_OK;
}

struct scope *scope_push(struct interp *in)
{
    struct scope *scope = arena_zalloc(&in->arena, sizeof(*scope));

    scope->parent = in->scope;
    in->scope = scope;
    return scope;
}

void scope_set(struct interp *in, struct scope *scope, uint32_t sym, struct val value)
{
    for (uint32_t i = 0; i < scope->count; i++) {
        if (scope->items[i].sym == sym) {
            scope->items[i].value = value;
            return;
        }
    }
    if (scope->count == scope->cap) {
        uint32_t cap = MAX(scope->cap * 2, 4u);
        struct binding *items = arena_alloc(&in->arena, cap * sizeof(*items));
        if (scope->count)
            memcpy(items, scope->items, scope->count * sizeof(*items));
        scope->items = items;
        scope->cap = cap;
    }
    scope->items[scope->count++] = (struct binding){sym, value};
}

bool scope_get(const struct scope *scope, uint32_t sym, struct val *out)
{
    for (; scope; scope = scope->parent) {
        for (uint32_t i = 0; i < scope->count; i++) {
            if (scope->items[i].sym == sym) {
                *out = scope->items[i].value;
                return true;
            }
        }
    }
    return false;
}
