/* codec - walks the rows of codec_fields.c in both directions. Encoding uses msgpack-c's packer,
 * decoding our bounded reader (codec_read.h says why).
 *
 * Canonical bytes: `t` first, then the rows in order, absent when equal to their fallback, smallest
 * integer width, bin for packed arrays. The decoder takes keys in any order. */
#include "proto/codec.h"

#include <math.h>
#include <msgpack.h>
#include <string.h>

#include "common/utf8.h"
#include "proto/codec_fields.h"
#include "proto/codec_read.h"

#define TYPE_KEY   "t"
#define FIELDS_MAX 64

/* FIELD_TOKENS, FIELD_HASHES and FIELD_ARRAY in memory. */
struct array_view {
    const unsigned char *data;
    uint32_t count;
};

static size_t unit_bytes(const struct field *field)
{
    return field->kind == FIELD_TOKENS ? sizeof(uint32_t) : sizeof(uint64_t);
}

const char *frame_name(enum frame_type type)
{
    switch (type) {
#define X(name, number)                                                                            \
    case FRAME_##name:                                                                             \
        return #name;
        FRAME_LIST(X)
#undef X
    }
    return "unknown";
}

/* ---- encode ---- */

static int append(void *data, const char *bytes, size_t len)
{
    buf_append(data, bytes, len);
    return 0;
}

/* Free text is cut to what the field may hold; a name must fit as it is. */
static struct str text_of(const struct field *field, struct str text)
{
    size_t len = 0;
    uint32_t cp;

    if (field->min == 0) {
        while (len < text.len) {
            int step = utf8_decode(text.data + len, text.len - len, &cp);
            if (step == 0 || len + (size_t)step > field->max)
                break;
            len += (size_t)step;
        }
        text.len = len;
    }
    return text;
}

/* The number in a scalar field as raw bits, for comparison with limits. */
static uint64_t scalar_of(const struct field *field, const void *at)
{
    switch (field->kind) {
    case FIELD_U32:
        return *(const uint32_t *)at;
    case FIELD_I32:
        return (uint64_t)(int64_t) * (const int32_t *)at;
    case FIELD_BOOL:
        return *(const bool *)at;
    default:
        return *(const uint64_t *)at;
    }
}

static bool is_fallback(const struct field *field, const void *at)
{
    switch (field->kind) {
    case FIELD_F32:
        return (double)*(const float *)at == field->fallback;
    case FIELD_STR:
        return text_of(field, *(const struct str *)at).len == 0;
    case FIELD_BIN:
        return ((const struct str *)at)->len == 0;
    case FIELD_TOKENS:
    case FIELD_HASHES:
    case FIELD_ARRAY:
        return ((const struct array_view *)at)->count == 0;
    default:
        return scalar_of(field, at) == 0;
    }
}

static void encode_map(msgpack_packer *packer, const struct field_table *table, const void *base,
                       const uint64_t *type);

static void encode_str(msgpack_packer *packer, const struct field *field, struct str text)
{
    text = text_of(field, text);
    CHECK(text.len >= field->min && text.len <= field->max);
    msgpack_pack_str(packer, text.len);
    msgpack_pack_str_body(packer, text.data, text.len);
}

static void encode_bin(msgpack_packer *packer, const void *data, size_t len)
{
    msgpack_pack_bin(packer, len);
    msgpack_pack_bin_body(packer, data, len);
}

static void encode_view(msgpack_packer *packer, const struct field *field,
                        const struct array_view *view)
{
    CHECK(view->count >= field->min && view->count <= field->max);
    if (field->kind != FIELD_ARRAY) {
        encode_bin(packer, view->data, view->count * unit_bytes(field));
        return;
    }
    msgpack_pack_array(packer, view->count);
    for (uint32_t i = 0; i < view->count; i++)
        encode_map(packer, field->item, view->data + (size_t)i * field->item->item_size, NULL);
}

static void encode_value(msgpack_packer *packer, const struct field *field, const void *at)
{
    const struct str *bytes = at;

    switch (field->kind) {
    case FIELD_U32:
    case FIELD_U64:
        CHECK(scalar_of(field, at) >= field->min && scalar_of(field, at) <= field->max);
        msgpack_pack_uint64(packer, scalar_of(field, at));
        break;
    case FIELD_I32:
        msgpack_pack_int32(packer, *(const int32_t *)at);
        break;
    case FIELD_F32:
        CHECK(*(const float *)at >= field->fmin && *(const float *)at <= field->fmax);
        msgpack_pack_float(packer, *(const float *)at);
        break;
    case FIELD_BOOL:
        *(const bool *)at ? msgpack_pack_true(packer) : msgpack_pack_false(packer);
        break;
    case FIELD_STR:
        encode_str(packer, field, *bytes);
        break;
    case FIELD_BIN:
        CHECK(bytes->len <= field->max && bytes->len % field->unit == 0);
        encode_bin(packer, bytes->data, bytes->len);
        break;
    case FIELD_TOKENS:
    case FIELD_HASHES:
    case FIELD_ARRAY:
        encode_view(packer, field, at);
        break;
    }
}

static void encode_map(msgpack_packer *packer, const struct field_table *table, const void *base,
                       const uint64_t *type)
{
    uint64_t present = 0;

    for (uint32_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (field->required || !is_fallback(field, (const char *)base + field->offset))
            present |= UINT64_C(1) << i;
    }
    msgpack_pack_map(packer, (size_t)__builtin_popcountll(present) + (type != NULL));
    if (type) {
        msgpack_pack_str(packer, 1);
        msgpack_pack_str_body(packer, TYPE_KEY, 1);
        msgpack_pack_uint64(packer, *type);
    }
    for (uint32_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (!(present >> i & 1))
            continue;
        msgpack_pack_str(packer, strlen(field->key));
        msgpack_pack_str_body(packer, field->key, strlen(field->key));
        encode_value(packer, field, (const char *)base + field->offset);
    }
}

void frame_encode(const struct frame *frame, struct buf *out)
{
    const struct field_table *table = field_table_of(frame->type);
    uint64_t type = frame->type;
    msgpack_packer packer;

    CHECK(table);
    if (frame->type == FRAME_GENERATE)
        CHECK(frame->generate.n_prompt <= frame->generate.tokens.count);
    if (frame->type == FRAME_TOKENS)
        for (uint32_t i = 0; i < frame->tokens.item_count; i++)
            CHECK(frame->tokens.items[i].key.epoch == frame->tokens.epoch);
    msgpack_packer_init(&packer, out, append);
    encode_map(&packer, table, frame, &type);
}

/* ---- decode ---- */

struct decoder {
    struct reader reader;
    struct arena *arena;
    struct err *err;
    const char *frame; /* its name, for errors */
};

static enum status corrupt(const struct decoder *decoder, const char *key, const char *what)
{
    return err_set(decoder->err, STATUS_CORRUPT, "%s frame: key \"%s\" %s", decoder->frame, key,
                   what);
}

static enum status decode_map(struct decoder *decoder, const struct field_table *table, void *base,
                              bool frame);

static enum status decode_array(struct decoder *decoder, const struct field *field,
                                struct array_view *out)
{
    const struct field_table *item = field->item;
    uint32_t count = read_array(&decoder->reader);
    unsigned char *items;

    if (count < field->min || count > field->max)
        return corrupt(decoder, field->key, "has too few or too many items");
    items = arena_array(decoder->arena, count, item->item_size);
    for (uint32_t i = 0; i < count; i++)
        TRY(decode_map(decoder, item, items + (size_t)i * item->item_size, false));
    *out = (struct array_view){items, count};
    return STATUS_OK;
}

static enum status decode_bytes(struct decoder *decoder, const struct field *field, void *at)
{
    struct str bytes = read_bytes(&decoder->reader);
    bool view = field->kind == FIELD_TOKENS || field->kind == FIELD_HASHES;
    size_t unit = view ? unit_bytes(field) : field->kind == FIELD_BIN ? field->unit : 1;
    size_t count = view ? bytes.len / unit : bytes.len;

    if (bytes.len % unit != 0)
        return corrupt(decoder, field->key, "has a length that is no whole number of items");
    if (count < field->min || count > field->max)
        return corrupt(decoder, field->key, "is too short or too long");
    if (field->kind == FIELD_STR && !utf8_valid(bytes.data, bytes.len))
        return corrupt(decoder, field->key, "is not valid UTF-8");
    if (view)
        *(struct array_view *)at =
            (struct array_view){(const unsigned char *)bytes.data, (uint32_t)count};
    else
        *(struct str *)at = bytes;
    return STATUS_OK;
}

static enum status decode_number(struct decoder *decoder, const struct field *field, void *at)
{
    struct reader *reader = &decoder->reader;
    uint64_t number = 0;
    int64_t integer = 0;
    double real = 0;
    bool fits;

    if (field->kind == FIELD_F32) {
        real = read_float(reader);
        fits = real >= (double)field->fmin && real <= (double)field->fmax; /* false for NaN */
        /* Narrowing may round an open end of the range onto the limit, never beyond it. */
        *(float *)at = (float)real;
    } else if (field->kind == FIELD_I32) {
        integer = read_int(reader);
        fits = integer >= INT32_MIN && integer <= INT32_MAX;
        *(int32_t *)at = (int32_t)integer;
    } else {
        number = read_uint(reader);
        fits = number >= field->min && number <= field->max;
        if (field->kind == FIELD_U32)
            *(uint32_t *)at = (uint32_t)number;
        else
            *(uint64_t *)at = number;
    }
    return fits || reader->bad ? STATUS_OK : corrupt(decoder, field->key, "is out of range");
}

static enum status decode_value(struct decoder *decoder, const struct field *field, void *at)
{
    switch (field->kind) {
    case FIELD_BOOL:
        *(bool *)at = read_bool(&decoder->reader);
        break;
    case FIELD_ARRAY:
        TRY(decode_array(decoder, field, at));
        break;
    case FIELD_STR:
    case FIELD_BIN:
    case FIELD_TOKENS:
    case FIELD_HASHES:
        TRY(decode_bytes(decoder, field, at));
        break;
    default:
        TRY(decode_number(decoder, field, at));
    }
    return decoder->reader.bad ? corrupt(decoder, field->key, "has another type or is cut off")
                               : STATUS_OK;
}

/* Index of the key's row; table->count when it is not ours. */
static uint32_t find_field(const struct field_table *table, struct str key)
{
    uint32_t i = 0;
    while (i < table->count && !str_is(key, table->fields[i].key))
        i++;
    return i;
}

static void set_fallbacks(const struct field_table *table, void *base)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        void *at = (char *)base + field->offset;
        if (field->kind == FIELD_F32)
            *(float *)at = (float)field->fallback;
        else if (field->kind == FIELD_STR || field->kind == FIELD_BIN)
            *(struct str *)at = (struct str){"", 0};
    }
}

static enum status check_required(const struct decoder *decoder, const struct field_table *table,
                                  uint64_t seen)
{
    for (uint32_t i = 0; i < table->count; i++)
        if (table->fields[i].required && !(seen >> i & 1))
            return corrupt(decoder, table->fields[i].key, "is missing");
    return STATUS_OK;
}

/* A peer of another version is told so; what else its greeting lacks is no matter then. */
static bool other_version(const struct field_table *table, const void *base, uint64_t seen)
{
    const struct field *first = &table->fields[0];
    return strcmp(first->key, "v") == 0 && (seen & 1) &&
           *(const uint32_t *)(const void *)((const char *)base + first->offset) != PROTO_VERSION;
}

static enum status decode_map(struct decoder *decoder, const struct field_table *table, void *base,
                              bool frame)
{
    struct reader *reader = &decoder->reader;
    uint32_t pairs = read_map(reader);
    uint64_t seen = 0;
    bool seen_type = false;

    set_fallbacks(table, base);
    for (uint32_t n = 0; n < pairs && !reader->bad; n++) {
        struct str key = read_bytes(reader);
        uint32_t i = find_field(table, key);
        if (frame && str_is(key, TYPE_KEY)) {
            if (seen_type)
                return corrupt(decoder, TYPE_KEY, "is there twice");
            seen_type = true;
            read_skip(reader);
        } else if (i == table->count) {
            read_skip(reader);
        } else if (seen >> i & 1) {
            return corrupt(decoder, table->fields[i].key, "is there twice");
        } else {
            seen |= UINT64_C(1) << i;
            TRY(decode_value(decoder, &table->fields[i], (char *)base + table->fields[i].offset));
        }
    }
    if (reader->bad)
        return err_set(decoder->err, STATUS_CORRUPT, "%s frame: it is no msgpack map or is cut off",
                       decoder->frame);
    return frame && other_version(table, base, seen) ? STATUS_OK
                                                     : check_required(decoder, table, seen);
}

static enum status find_type(struct reader reader, uint64_t *type, struct err *err)
{
    uint32_t pairs = read_map(&reader);

    for (uint32_t n = 0; n < pairs && !reader.bad; n++) {
        if (str_is(read_bytes(&reader), TYPE_KEY)) {
            *type = read_uint(&reader);
            if (!reader.bad)
                return STATUS_OK;
        } else {
            read_skip(&reader);
        }
    }
    return err_set(err, STATUS_CORRUPT, "it is no msgpack map with a frame type");
}

/* What no single row can say. */
static enum status check_whole(const struct decoder *decoder, struct frame *frame)
{
    const struct frame_cache *cache = &frame->cache;
    uint64_t pages = 0;

    switch (frame->type) {
    case FRAME_GENERATE:
        if (frame->generate.n_prompt > frame->generate.tokens.count)
            return corrupt(decoder, "np", "is more than the tokens");
        frame->generate.sampling.choice = frame->generate.key.choice;
        return STATUS_OK;
    case FRAME_TOKENS:
        for (uint32_t i = 0; i < frame->tokens.item_count; i++)
            frame->tokens.items[i].key.epoch = frame->tokens.epoch;
        return STATUS_OK;
    case FRAME_ERROR:
        /* A status that a later version added. */
        if (frame->error.status >= STATUS_COUNT)
            frame->error.status = STATUS_INTERNAL;
        return STATUS_OK;
    case FRAME_SNAPSHOT:
        cache = &frame->snapshot.cache;
        if (!frame->snapshot.request &&
            (cache->epoch == 0 || frame->snapshot.part >= frame->snapshot.part_count))
            return corrupt(decoder, "p", "is no part of a snapshot");
        break;
    case FRAME_CACHE:
        break;
    default:
        return STATUS_OK;
    }
    for (uint32_t i = 0; i < cache->run_count; i++)
        pages += cache->runs[i].count;
    return pages <= PROTO_PAGES_MAX ? STATUS_OK : corrupt(decoder, "n", "names too many pages");
}

enum status frame_decode(const void *data, size_t len, struct arena *arena, struct frame *frame,
                         struct err *err)
{
    const unsigned char *bytes = data;
    struct decoder decoder = {.arena = arena, .err = err};
    const struct field_table *table;
    uint64_t type = 0;

    if (len == 0 || len > PROTO_FRAME_BYTES_MAX)
        return err_set(err, STATUS_CORRUPT, "a frame of %zu bytes", len);
    decoder.reader = (struct reader){.at = bytes, .end = bytes + len};
    TRY(find_type(decoder.reader, &type, err));
    table = field_table_of(type);
    if (!table)
        return err_set(err, STATUS_UNSUPPORTED, "frame type %llu is not known",
                       (unsigned long long)type);
    memset(frame, 0, sizeof(*frame));
    frame->type = (enum frame_type)type;
    decoder.frame = frame_name(frame->type);
    TRY(decode_map(&decoder, table, frame, true));
    if (decoder.reader.at != decoder.reader.end)
        return err_set(err, STATUS_CORRUPT, "%s frame: %zu bytes too many", decoder.frame,
                       (size_t)(decoder.reader.end - decoder.reader.at));
    return check_whole(&decoder, frame);
}
