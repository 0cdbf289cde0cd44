/* pretoken - cuts a piece of text into the words that are merged one by one.
 *
 * Stages of the file's pre_tokenizer run one inside the other: every slice that a stage makes is a
 * subject of its own for the next stage (its ends are the text's ends for look-ahead). Some stages
 * write the slice anew first: Metaspace (" " to "▁"), ByteLevel (bytes to its alphabet).
 *
 *   "in 2024"  ─Digits─►  "in "  "2" "0" "2" "4"  ─regex─►  "in" " "  "2" "0" "2" "4"  ─►  emit
 */
#ifndef MSGL_ROUTER_TEXT_PRETOKEN_H
#define MSGL_ROUTER_TEXT_PRETOKEN_H

#include "common/json.h"
#include "router/text/regex.h"

#define PRETOKEN_STAGES_MAX 12

enum pretoken_kind {
    PRETOKEN_REGEX,
    PRETOKEN_CHARS, /* matches are the characters that a test takes */
    PRETOKEN_WORDS, /* runs of \w, runs of what is neither \w nor \s */
    PRETOKEN_FIXED, /* so many characters at a time */
    PRETOKEN_METASPACE,
    PRETOKEN_BYTES, /* ByteLevel */
};

/* What becomes of the matches, as the `tokenizers` package names it. */
enum pretoken_behavior {
    PRETOKEN_ISOLATED,
    PRETOKEN_REMOVED,
    PRETOKEN_MERGED_WITH_PREVIOUS,
    PRETOKEN_MERGED_WITH_NEXT,
    PRETOKEN_CONTIGUOUS,
};

enum pretoken_prepend { PRETOKEN_NEVER, PRETOKEN_FIRST, PRETOKEN_ALWAYS };

struct pretoken_stage {
    enum pretoken_kind kind;
    enum pretoken_behavior behavior;
    bool invert;   /* what lies between matches counts as the match */
    bool split;    /* METASPACE: cut in front of each replacement; BYTES: by regex */
    bool alphabet; /* BYTES: write bytes as characters; else the caller takes bytes */
    enum pretoken_prepend prepend; /* METASPACE; BYTES: a slice without a space in front gets one */
    uint32_t cp;                   /* CHARS without test, METASPACE: the character */
    size_t length;                 /* FIXED */
    bool (*test)(uint32_t cp);     /* CHARS; NULL: is it `cp`? */
    struct regex regex;            /* REGEX, BYTES with split */
};

struct pretoken {
    struct pretoken_stage stages[PRETOKEN_STAGES_MAX];
    size_t stage_count;
};

struct pretoken_scratch {
    struct regex_scratch regex;
    struct buf stand_in;                     /* see unicode_stand_in() */
    struct buf written[PRETOKEN_STAGES_MAX]; /* slices that a stage wrote anew */
};

/* Reads the "pre_tokenizer" of a tokenizer.json. UNSUPPORTED names the type or the part of a regex
 * that is not known here. On failure pretoken_release() is still the caller's. */
enum status MUST_USE pretoken_load(const json_t *json, struct pretoken *pretoken, struct err *err);
void pretoken_release(struct pretoken *pretoken);

/* Metaspace's prepend_scheme, which its decoder has too. */
enum status MUST_USE pretoken_load_prepend(const json_t *json, enum pretoken_prepend *prepend,
                                           struct err *err);

void pretoken_scratch_init(struct pretoken_scratch *scratch);
void pretoken_scratch_release(struct pretoken_scratch *scratch);

typedef void (*pretoken_emit)(void *ctx, const char *word, size_t len);

/* Calls emit for each word of text (valid UTF-8), in order; words are never empty. The first
 * `origin` bytes of text stem from the very start of what was to be encoded (0: it starts later). */
enum status MUST_USE pretoken_split(const struct pretoken *pretoken,
                                    struct pretoken_scratch *scratch, struct str text,
                                    size_t origin, pretoken_emit emit, void *ctx, struct err *err);

#endif
