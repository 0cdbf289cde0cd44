/* tokenizer_part - how the parts of a tokenizer.json say what they are; for those that read them. */
#ifndef MSGL_ROUTER_TEXT_TOKENIZER_PART_H
#define MSGL_ROUTER_TEXT_TOKENIZER_PART_H

#include "common/buf.h"
#include "common/json.h"
#include "common/status.h"

#define PART_NESTING_MAX 8

/* The "type" of a part, or why there is none. */
enum status MUST_USE part_type(const json_t *json, const char *part, const char **type,
                               struct err *err);

/* UNSUPPORTED, naming the part, its type and the known ones. */
enum status MUST_USE part_unsupported(const char *part, const char *type, const char *known,
                                      struct err *err);

/* The steps of a "Sequence" under `member`. INVALID when there are none or it is nested too deeply. */
enum status MUST_USE part_steps(const json_t *json, const char *part, const char *member, int depth,
                                const json_t **steps, struct err *err);

/* A member that is a string of one character. */
enum status MUST_USE part_char(const json_t *json, const char *part, const char *member,
                               uint32_t *cp, struct err *err);

/* A "pattern": {"String": …} or {"Regex": …}. Borrowed from json. */
enum status MUST_USE part_pattern(const json_t *json, const char *part, const char **pattern,
                                  bool *literal, struct err *err);

struct str part_str(const json_t *value); /* of a JSON string; else empty */

#endif
