/* json - jansson behind the few calls that we need, with bounds and sentences.
 *
 * Getters never coerce: a wrong type is INVALID and the text names the field and both types.
 * A missing key or a JSON null leaves *out as it was (the default) and returns STATUS_OK.
 */
#ifndef MSGL_COMMON_JSON_H
#define MSGL_COMMON_JSON_H

#include <jansson.h>

#include "common/status.h"

/* Parses one whole JSON text: UTF-8 only, no duplicate keys, depth bounded by jansson (2048).
 * On success the caller owns *out (json_decref). */
enum status MUST_USE json_parse(const char *text, size_t len, json_t **out, struct err *err);

/* Reads and parses a file of at most max_bytes. */
enum status MUST_USE json_parse_file(const char *path, size_t max_bytes, json_t **out,
                                     struct err *err);

enum status MUST_USE json_get_bool(const json_t *object, const char *key, bool *out,
                                   struct err *err);
/* An integral real (3.0) counts as an integer. */
enum status MUST_USE json_get_int(const json_t *object, const char *key, int64_t min, int64_t max,
                                  int64_t *out, struct err *err);
enum status MUST_USE json_get_number(const json_t *object, const char *key, double min, double max,
                                     double *out, struct err *err);
/* *out is borrowed from the object. */
enum status MUST_USE json_get_string(const json_t *object, const char *key, const char **out,
                                     struct err *err);
const char *json_type_name(const json_t *value); /* "a string", "null", ... */

#endif
