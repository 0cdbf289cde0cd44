/* tokenizer_model - what a loaded tokenizer consists of; for the tokenizer's own files.
 *
 *   struct tokenizer ─┬─ vocab       ids ↔ bytes                     tokenizer_vocab
 *                     ├─ raw, normal added tokens, two tries         tokenizer_added
 *                     ├─ form        NFC and friends                 tokenizer_unicode
 *                     ├─ pretoken    stages of regexes               pretoken
 *                     ├─ bpe         pair ► (rank, id)               tokenizer_bpe
 *                     └─ before, behind   ids that the template puts around a text
 */
#ifndef MSGL_ROUTER_TOKENIZER_MODEL_H
#define MSGL_ROUTER_TOKENIZER_MODEL_H

#include "common/json.h"
#include "router/pretoken.h"
#include "router/tokenizer.h"
#include "router/tokenizer_added.h"
#include "router/tokenizer_bpe.h"
#include "router/tokenizer_unicode.h"
#include "router/tokenizer_vocab.h"

struct tokenizer {
    struct vocab vocab;
    struct added_set raw;    /* looked for before normalising */
    struct added_set normal; /* looked for behind it */
    enum unicode_form form;
    struct pretoken pretoken;
    struct bpe bpe;
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    struct token_list before, behind;
    bool templated; /* a template was read */
    uint64_t hash;
};

/* tokenizer_load.c: fills a zeroed tokenizer; on failure what it holds is still to be freed. */
enum status MUST_USE tokenizer_read(const json_t *root, struct tokenizer *tokenizer,
                                    struct err *err);

/* tokenizer_load_parts.c: the smaller members of the file. */
enum status MUST_USE tokenizer_read_normalizer(const json_t *json, enum unicode_form *form,
                                               struct err *err);
enum status MUST_USE tokenizer_read_added(const json_t *json, struct tokenizer *tokenizer,
                                          uint32_t model_count, struct err *err);
enum status MUST_USE tokenizer_read_post(const json_t *json, struct tokenizer *tokenizer,
                                         struct err *err);
enum status MUST_USE tokenizer_read_decoder(const json_t *json, struct err *err);

#endif
