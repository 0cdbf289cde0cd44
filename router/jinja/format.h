/* format - numbers and texts by a specification: width, fill, sign, precision. */
#ifndef MSGL_ROUTER_JINJA_FORMAT_H
#define MSGL_ROUTER_JINJA_FORMAT_H

#include "router/jinja/filters.h"

#define FORMAT_WIDTH_MAX 100000

/* One conversion of either language. */
struct spec {
    bool left, plus, space, zero, alternate, comma, underscore;
    char align; /* '<' '>' '^' '=', or 0 */
    char type;  /* 0 when not given */
    uint32_t fill;
    int64_t width;
    int precision; /* -1 when not given */
};

/* All append to the render's output. */
enum status MUST_USE format_int(struct interp *in, const struct spec *spec, int64_t value);
enum status MUST_USE format_float(struct interp *in, const struct spec *spec, double value);
enum status MUST_USE format_text(struct interp *in, const struct spec *spec, struct val v);
/* repr() as a string. */
enum status MUST_USE format_repr(struct interp *in, struct val v, struct val *out);

#endif
