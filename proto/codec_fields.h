/* codec_fields - what is in each frame, as data: one row a key. codec.c walks these rows in both
 * directions, so encoder, decoder and PROTOCOL.md (a test compares) cannot drift apart.
 *
 *     frame_tables[TOKENS] ─► rows: e s n ─┬► FIELD_ARRAY ─► item rows: c i a f k z h
 *                                          └► offset of the array and its count in struct frame
 */
#ifndef MSGL_PROTO_CODEC_FIELDS_H
#define MSGL_PROTO_CODEC_FIELDS_H

#include "proto/frames.h"

enum field_kind {
    FIELD_U32, /* integers: any width on the wire */
    FIELD_U64,
    FIELD_I32,
    FIELD_F32, /* float32 out; float64 and integers accepted; never NaN or infinite */
    FIELD_BOOL,
    FIELD_STR,    /* struct str, valid UTF-8; str out, bin accepted */
    FIELD_BIN,    /* struct str, any bytes */
    FIELD_TOKENS, /* struct token_view: bin of u32 */
    FIELD_HASHES, /* as token_view: bin of u64 */
    FIELD_ARRAY,  /* pointer and u32 count of structs, each a map of `item` rows */
};

struct field_table;

struct field {
    char key[4];
    enum field_kind kind;
    bool required;     /* else: absent means `fallback`, and the encoder leaves it out */
    uint16_t offset;   /* in struct frame, or in the item */
    uint64_t min, max; /* integers; STR and BIN bytes; TOKENS, HASHES and ARRAY counts */
    float fmin, fmax;  /* F32 */
    double fallback;
    uint16_t unit; /* BIN: its length is a multiple of this */
    const struct field_table *item;
};

struct field_table {
    const struct field *fields;
    uint32_t count;     /* <= 64 */
    uint32_t item_size; /* 0 for frames */
};

/* NULL when the number is no frame type. */
const struct field_table *field_table_of(uint64_t type);

#endif
