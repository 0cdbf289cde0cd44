/* grammar_formats - the formats of strings that a schema may ask for, each as an expression. It may be
 * narrower than the standard (lower case, lengths), never wider. */
#ifndef MSGL_ROUTER_GRAMMAR_GRAMMAR_FORMATS_H
#define MSGL_ROUTER_GRAMMAR_GRAMMAR_FORMATS_H

/* NULL: the format is an annotation here. */
const char *grammar_format(const char *name);

#endif
