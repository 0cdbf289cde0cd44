/* methods - tables of the methods of Python's types. */
#ifndef MSGL_ROUTER_JINJA_METHODS_H
#define MSGL_ROUTER_JINJA_METHODS_H

#include "router/jinja/interp.h"

extern const struct builtin methods_text[], methods_split[], methods_query[];
extern const size_t methods_text_count, methods_split_count, methods_query_count;

#endif
