/* tokenizer_model - what a loaded tokenizer consists of; for the tokenizer's own files.
 *
 *   struct tokenizer ─┬─ vocab       ids ↔ bytes                     tokenizer_vocab
 *                     ├─ raw, normal added tokens, two tries         tokenizer_added
 *                     ├─ normalizer  NFC, Replace, Strip, …          normalizer
 *                     ├─ pretoken    stages that cut                 pretoken
 *                     ├─ symbols     characters ► ids                tokenizer_symbols
 *                     ├─ bpe         pair ► (rank, id)               tokenizer_bpe
 *                     ├─ before, behind   ids that the template puts around a text
 *                     └─ decoder     tokens ► text                   token_decoder
 *
 * A byte-level file (`bytes`) works on bytes all the way: the pre-tokenizer's last step, which would
 * write them as characters, and the decoder, which would read them, are left out. Any other file
 * works on characters, as the package does.
 */
#ifndef MSGL_ROUTER_TEXT_TOKENIZER_MODEL_H
#define MSGL_ROUTER_TEXT_TOKENIZER_MODEL_H

#include "common/json.h"
#include "router/text/normalizer.h"
#include "router/text/pretoken.h"
#include "router/text/token_decoder.h"
#include "router/text/tokenizer.h"
#include "router/text/tokenizer_added.h"
#include "router/text/tokenizer_bpe.h"
#include "router/text/tokenizer_symbols.h"
#include "router/text/tokenizer_vocab.h"

struct tokenizer {
    struct vocab vocab;
    struct added_set raw;    /* looked for before normalising */
    struct added_set normal; /* looked for behind it */
    struct normalizer normalizer;
    struct pretoken pretoken;
    struct symbols symbols; /* unless `bytes` */
    struct bpe bpe;
    bool bytes;
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool cut_metaspace; /* no merge joins a "▁" to something before it: words end there */
    struct token_decoder decoder;
    struct buf piece_text; /* unless `bytes`: what each token says in the middle of a text … */
    uint32_t *piece_ends;  /* … id's piece ends here and starts where the one before ends */
    struct token_list before, behind;
    bool templated; /* a template was read */
    uint64_t hash;
};

/* tokenizer_load.c: fills a zeroed tokenizer; on failure what it holds is still to be freed. */
enum status MUST_USE tokenizer_read(const json_t *root, struct tokenizer *tokenizer,
                                    struct err *err);

/* tokenizer_load_parts.c: the smaller members of the file. */
enum status MUST_USE tokenizer_read_added(const json_t *json, struct tokenizer *tokenizer,
                                          uint32_t model_count, struct err *err);
enum status MUST_USE tokenizer_read_post(const json_t *json, struct tokenizer *tokenizer,
                                         struct err *err);

#endif
