/* pretoken - cuts a piece of text into the words that are merged one by one.
 *
 * Stages of the file's pre_tokenizer run one inside the other: every slice that a stage makes is a
 * subject of its own for the next stage (its ends are the text's ends for look-ahead).
 *
 *   "in 2024"  ─Digits─►  "in "  "2" "0" "2" "4"  ─regex─►  "in" " "  "2" "0" "2" "4"  ─►  emit
 */
#ifndef MSGL_ROUTER_PRETOKEN_H
#define MSGL_ROUTER_PRETOKEN_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/status.h"

#define PRETOKEN_STAGES_MAX 8

enum pretoken_kind { PRETOKEN_REGEX, PRETOKEN_DIGITS };

/* What becomes of the matches, as the `tokenizers` package names it. */
enum pretoken_behavior {
    PRETOKEN_ISOLATED,
    PRETOKEN_REMOVED,
    PRETOKEN_MERGED_WITH_PREVIOUS,
    PRETOKEN_MERGED_WITH_NEXT,
    PRETOKEN_CONTIGUOUS,
};

struct pretoken_stage {
    enum pretoken_kind kind;
    enum pretoken_behavior behavior;
    bool invert;          /* what lies between matches counts as the match */
    bool prefix_space;    /* ByteLevel: a slice that does not start with a space gets one first */
    pcre2_code *regex;    /* REGEX; NULL: no splitting, only prefix_space */
    bool jit;
};

struct pretoken {
    struct pretoken_stage stages[PRETOKEN_STAGES_MAX];
    size_t stage_count;
};

struct pretoken_scratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    struct buf stand_in; /* see unicode_stand_in() */
    struct buf prefixed; /* a slice with its prefix space */
};

/* Reads the "pre_tokenizer" of a tokenizer.json. UNSUPPORTED names the type or the part of a regex
 * that is not known here. On failure pretoken_release() is still the caller's. */
enum status MUST_USE pretoken_load(const json_t *json, struct pretoken *pretoken, struct err *err);
void pretoken_release(struct pretoken *pretoken);

void pretoken_scratch_init(struct pretoken_scratch *scratch);
void pretoken_scratch_release(struct pretoken_scratch *scratch);

typedef void (*pretoken_emit)(void *ctx, const char *word, size_t len);

/* Calls emit for each word of text (valid UTF-8), in order; words are never empty. */
enum status MUST_USE pretoken_split(const struct pretoken *pretoken,
                                    struct pretoken_scratch *scratch, struct str text,
                                    pretoken_emit emit, void *ctx, struct err *err);

/* pretoken_regex.c: compiles a pattern that was written for Oniguruma, or refuses what PCRE2 would
 * read differently. `literal`: the pattern is plain text. */
enum status MUST_USE pretoken_regex(const char *pattern, bool literal, pcre2_code **out, bool *jit,
                                    struct err *err);

#endif
