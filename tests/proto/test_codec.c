/* The codec under random frames, cuts, flips and hostile counts. MSGL_SEED repeats a run,
 * MSGL_FUZZ_FRAMES sets how many frames the long tests take. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/rng.h"
#include "proto/codec.h"
#include "proto/codec_fields.h"
#include "tests/effort.h"

static uint64_t seed;
static uint64_t frames_many;

static const char *const texts[] = {"w", "worker-0", "schön", "名前", "a\tb\"c", "🙂 ok"};

static uint64_t any_number(uint64_t *rng, uint64_t lo, uint64_t hi)
{
    uint64_t value = rng_next(rng) >> rng_below(rng, 64);
    if (value >= lo && value <= hi)
        return value;
    switch (rng_below(rng, 3)) {
    case 0:
        return lo;
    case 1:
        return hi;
    default:
        return hi == UINT64_MAX && lo == 0 ? value : lo + value % (hi - lo + 1);
    }
}

static void *random_bytes(uint64_t *rng, struct arena *arena, size_t len)
{
    unsigned char *bytes = arena_alloc(arena, len + 1);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)rng_next(rng);
    return bytes;
}

static void fill(uint64_t *rng, struct arena *arena, const struct field_table *table, void *base);

static void fill_view(uint64_t *rng, struct arena *arena, const struct field *field, void *at)
{
    struct token_view *view = at; /* pointer and count */
    size_t unit = field->kind == FIELD_TOKENS   ? 4
                  : field->kind == FIELD_HASHES ? 8
                                                : field->item->item_size;
    view->count = (uint32_t)MIN(field->max, field->min + rng_below(rng, 20));
    if (field->kind != FIELD_ARRAY) {
        view->data = random_bytes(rng, arena, view->count * unit);
        return;
    }
    unsigned char *items = arena_array(arena, view->count, unit);
    for (uint32_t i = 0; i < view->count; i++)
        fill(rng, arena, field->item, items + i * unit);
    view->data = items;
}

/* A random value within the row's limits; half of the optional ones keep their default. */
static void fill_field(uint64_t *rng, struct arena *arena, const struct field *field, void *at)
{
    struct str *text = at;
    bool absent = !field->required && rng_below(rng, 2);

    switch (field->kind) {
    case FIELD_U32:
        *(uint32_t *)at = absent ? 0 : (uint32_t)any_number(rng, field->min, field->max);
        break;
    case FIELD_U64:
        *(uint64_t *)at = absent ? 0 : any_number(rng, field->min, field->max);
        break;
    case FIELD_I32:
        *(int32_t *)at = absent ? 0 : (int32_t)rng_next(rng);
        break;
    case FIELD_F32:
        *(float *)at = absent ? (float)field->fallback
                              : MAX(field->fmin, field->fmin + (float)rng_unit(rng) *
                                                                   (field->fmax - field->fmin));
        break;
    case FIELD_BOOL:
        *(bool *)at = !absent && rng_below(rng, 2);
        break;
    case FIELD_STR:
        *text = absent ? STR("") : str_from(texts[rng_below(rng, ARRAY_LEN(texts))]);
        break;
    case FIELD_BIN:
        text->len = absent ? 0 : field->unit * rng_below(rng, 40);
        text->data = random_bytes(rng, arena, text->len);
        break;
    default:
        if (!absent)
            fill_view(rng, arena, field, at);
    }
}

static void fill(uint64_t *rng, struct arena *arena, const struct field_table *table, void *base)
{
    for (uint32_t i = 0; i < table->count; i++)
        fill_field(rng, arena, &table->fields[i], (char *)base + table->fields[i].offset);
}

static void random_frame(uint64_t *rng, struct arena *arena, struct frame *frame)
{
    memset(frame, 0, sizeof(*frame));
    frame->type = (enum frame_type)(1 + rng_below(rng, FRAME_BYE));
    fill(rng, arena, field_table_of(frame->type), frame);
    if (frame->type == FRAME_GENERATE) {
        frame->generate.n_prompt = 1 + (uint32_t)rng_below(rng, frame->generate.tokens.count);
        frame->generate.sampling.choice = frame->generate.key.choice;
    } else if (frame->type == FRAME_TOKENS) {
        for (uint32_t i = 0; i < frame->tokens.item_count; i++)
            frame->tokens.items[i].key.epoch = frame->tokens.epoch;
    } else if (frame->type == FRAME_ERROR) {
        frame->error.status = 1 + (uint32_t)rng_below(rng, STATUS_COUNT - 1);
    } else if (frame->type == FRAME_SNAPSHOT && !frame->snapshot.request) {
        frame->snapshot.cache.epoch |= 1;
        frame->snapshot.part_count = 1 + frame->snapshot.part % 1000;
        frame->snapshot.part = frame->snapshot.part_count - 1;
    } else if (frame->type == FRAME_HELLO) {
        frame->hello.version = PROTO_VERSION;
    } else if (frame->type == FRAME_WELCOME) {
        frame->welcome.version = PROTO_VERSION;
    }
}

static bool same(const struct field_table *table, const void *a, const void *b);

static bool same_field(const struct field *field, const void *a, const void *b)
{
    const struct token_view *x = a, *y = b;
    switch (field->kind) {
    case FIELD_U32:
    case FIELD_I32:
    case FIELD_F32:
        return memcmp(a, b, 4) == 0;
    case FIELD_U64:
        return memcmp(a, b, 8) == 0;
    case FIELD_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case FIELD_STR:
    case FIELD_BIN:
        return str_eq(*(const struct str *)a, *(const struct str *)b);
    case FIELD_TOKENS:
    case FIELD_HASHES:
        return x->count == y->count &&
               (x->count == 0 ||
                memcmp(x->data, y->data, x->count * (field->kind == FIELD_TOKENS ? 4u : 8u)) == 0);
    case FIELD_ARRAY:
        if (x->count != y->count)
            return false;
        for (uint32_t i = 0; i < x->count; i++)
            if (!same(field->item, x->data + i * field->item->item_size,
                      y->data + i * field->item->item_size))
                return false;
    }
    return true;
}

static bool same(const struct field_table *table, const void *a, const void *b)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (!same_field(field, (const char *)a + field->offset, (const char *)b + field->offset))
            return false;
    }
    return true;
}

/* Bytes that decoded well encode to something that decodes to the same values. */
static void check_stable(const struct frame *frame, struct arena *arena)
{
    struct buf bytes = {0};
    struct frame again;
    struct err err;

    frame_encode(frame, &bytes);
    ck_assert_msg(frame_decode(bytes.data, bytes.len, arena, &again, &err) == STATUS_OK, "%s",
                  err.text);
    ck_assert_int_eq(again.type, frame->type);
    ck_assert_msg(same(field_table_of(frame->type), frame, &again), "a %s changed",
                  frame_name(frame->type));
    buf_release(&bytes);
}

/* Decodes a copy of exactly len bytes, so that ASan sees the first byte read beyond. */
static enum status decode_copy(const void *data, size_t len, struct arena *arena,
                               struct frame *frame, char **copy)
{
    struct err err = {.text = ""};
    enum status status;

    *copy = mem_alloc(len);
    memcpy(*copy, data, len);
    status = frame_decode(*copy, len, arena, frame, &err);
    ck_assert(status == STATUS_OK || err.text[0] != 0);
    return status;
}

START_TEST(every_frame_comes_back)
{
    uint64_t rng = seed;
    struct buf bytes = {0};
    struct arena arena;

    arena_init(&arena);
    for (uint64_t n = 0; n < frames_many; n++) {
        struct frame frame, back;
        struct err err;
        arena_reset(&arena);
        buf_clear(&bytes);
        random_frame(&rng, &arena, &frame);
        frame_encode(&frame, &bytes);
        ck_assert_msg(frame_decode(bytes.data, bytes.len, &arena, &back, &err) == STATUS_OK, "%s",
                      err.text);
        ck_assert_int_eq(back.type, frame.type);
        ck_assert_msg(same(field_table_of(frame.type), &frame, &back), "a %s changed",
                      frame_name(frame.type));
        if (frame.type == FRAME_GENERATE)
            ck_assert_uint_eq(back.generate.sampling.choice, frame.generate.key.choice);
    }
    arena_release(&arena);
    buf_release(&bytes);
}
END_TEST

START_TEST(a_cut_frame_is_corrupt_at_every_byte)
{
    uint64_t rng = seed + 1;
    struct arena arena;

    arena_init(&arena);
    for (int n = 0; n < 400; n++) {
        struct frame frame, back;
        struct buf bytes = {0};
        char *copy;
        arena_reset(&arena);
        random_frame(&rng, &arena, &frame);
        frame_encode(&frame, &bytes);
        for (size_t len = 0; len < bytes.len; len++) {
            enum status status = decode_copy(bytes.data, len, &arena, &back, &copy);
            ck_assert_int_eq(status, STATUS_CORRUPT);
            mem_free(copy);
        }
        buf_char(&bytes, 0); /* and one byte too many */
        ck_assert_int_eq(decode_copy(bytes.data, bytes.len, &arena, &back, &copy), STATUS_CORRUPT);
        mem_free(copy);
        buf_release(&bytes);
    }
    arena_release(&arena);
}
END_TEST

/* Flips, inserts, deletes or overwrites a few bytes. */
static void damage(uint64_t *rng, struct buf *bytes)
{
    for (uint64_t hits = 1 + rng_below(rng, 4); hits > 0 && bytes->len > 1; hits--) {
        size_t at = rng_below(rng, bytes->len);
        switch (rng_below(rng, 4)) {
        case 0:
            bytes->data[at] = (char)(bytes->data[at] ^ (1 << rng_below(rng, 8)));
            break;
        case 1:
            bytes->data[at] = (char)rng_next(rng);
            break;
        case 2:
            bytes->data[at] = (char)(0xc0 + rng_below(rng, 0x20)); /* a tag byte */
            break;
        default:
            memmove(bytes->data + at, bytes->data + at + 1, bytes->len - at - 1);
            bytes->len--;
        }
    }
}

START_TEST(damaged_frames_never_hurt)
{
    uint64_t rng = seed + 2, good = 0;
    struct buf bytes = {0};
    struct arena arena;

    arena_init(&arena);
    for (uint64_t n = 0; n < frames_many; n++) {
        struct frame frame, back;
        char *copy;
        arena_reset(&arena);
        buf_clear(&bytes);
        random_frame(&rng, &arena, &frame);
        frame_encode(&frame, &bytes);
        damage(&rng, &bytes);
        if (decode_copy(bytes.data, bytes.len, &arena, &back, &copy) == STATUS_OK) {
            bool greeting = back.type == FRAME_HELLO || back.type == FRAME_WELCOME;
            good++;
            if (!greeting || back.hello.version == PROTO_VERSION)
                check_stable(&back, &arena);
        }
        mem_free(copy);
    }
    ck_assert_uint_gt(good, 0);
    ck_assert_uint_lt(good, frames_many);
    arena_release(&arena);
    buf_release(&bytes);
}
END_TEST

START_TEST(random_bytes_never_hurt)
{
    uint64_t rng = seed + 3;
    struct arena arena;
    arena_init(&arena);
    for (uint64_t n = 0; n < frames_many; n++) {
        unsigned char bytes[64];
        size_t len = rng_below(&rng, sizeof(bytes));
        struct frame frame;
        char *copy;
        for (size_t i = 0; i < len; i++)
            bytes[i] = (unsigned char)rng_next(&rng);
        if (len > 3 && rng_below(&rng, 2)) { /* let it look like a frame at first */
            bytes[0] = (unsigned char)(0x80 + rng_below(&rng, 16));
            bytes[1] = 0xa1;
            bytes[2] = 't';
            bytes[3] = (unsigned char)rng_below(&rng, 14);
        }
        (void)!decode_copy(bytes, len, &arena, &frame, &copy);
        arena_reset(&arena);
        mem_free(copy);
    }
    arena_release(&arena);
}
END_TEST

/* Announced counts far beyond the bytes: refused before anything is allocated for them. */
START_TEST(hostile_counts_allocate_nothing)
{
    static const struct {
        const char *bytes;
        size_t len;
    } frames[] = {
#define BYTES(text) {text, sizeof(text) - 1}
        BYTES("\xdd\x08\x00\x00\x00"),
        BYTES("\xdd\xff\xff\xff\xff"),
        BYTES("\xdf\xff\xff\xff\xff"),
        BYTES("\xdf\x7f\xff\xff\xff\xa1t\x05"),
        BYTES("\x84\xa1t\x05\xa1"
              "e\x01\xa1s\x01\xa1n\xdd\xff\xff\xff\xff"),
        BYTES("\x84\xa1t\x05\xa1"
              "e\x01\xa1s\x01\xa1n\xdc\xff\xff"),
        BYTES("\x84\xa1t\x07\xa1"
              "e\x01\xa1s\x01\xa1n\xdd\x04\x00\x00\x00"),
        BYTES("\x82\xa1t\x0b\xa1x\xdb\xff\xff\xff\xff"),
        BYTES("\x82\xa1t\x0b\xa1x\xc6\xff\xff\xff\xff"),
        BYTES("\x82\xa1t\x0b\xa1y\xdf\xff\xff\xff\xff"),
        BYTES("\x82\xa1t\x0b\xa1y\xc9\xff\xff\xff\xff\x01"),
#undef BYTES
    };
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        struct arena arena;
        struct frame frame;
        char *copy;
        arena_init(&arena);
        ck_assert_int_eq(decode_copy(frames[i].bytes, frames[i].len, &arena, &frame, &copy),
                         STATUS_CORRUPT);
        ck_assert_uint_lt(arena.used_bytes, 4096);
        arena_release(&arena);
        mem_free(copy);
    }
}
END_TEST

static enum status decode_text(const char *bytes, size_t len, struct frame *frame, struct err *err)
{
    struct arena arena;
    enum status status;
    arena_init(&arena);
    status = frame_decode(bytes, len, &arena, frame, err);
    arena_release(&arena);
    return status;
}
#define DECODE(text, frame, err) decode_text(text, sizeof(text) - 1, frame, err)

START_TEST(rules_of_the_map)
{
    struct frame frame;
    struct err err;

    /* keys in any order, unknown keys of any type skipped, wide integers, bin for str */
    ck_assert_int_eq(
        DECODE("\x84\xa2zz\x93\x01\x81\xa1k\xc0\xd4\x01\x02\xa1x\xc4\x02hi\xc4\x01t"
               "\xcf\x00\x00\x00\x00\x00\x00\x00\x0b\xa1q\xcb\x00\x00\x00\x00\x00\x00\x00\x00",
               &frame, &err),
        STATUS_OK);
    ck_assert(str_is(frame.bye.reason, "hi"));
    /* twice, missing, nil, another type, not a map, an unknown frame */
    ck_assert_int_eq(DECODE("\x83\xa1t\x0b\xa1x\xa1"
                            "a\xa1x\xa1"
                            "b",
                            &frame, &err),
                     STATUS_CORRUPT);
    ck_assert_str_eq(err.text, "BYE frame: key \"x\" is there twice");
    ck_assert_int_eq(DECODE("\x82\xa1t\x0b\xa1t\x0b", &frame, &err), STATUS_CORRUPT);
    ck_assert_int_eq(DECODE("\x81\xa1t\x0a", &frame, &err), STATUS_CORRUPT);
    ck_assert_str_eq(err.text, "DRAIN frame: key \"d\" is missing");
    ck_assert_int_eq(DECODE("\x82\xa1t\x0a\xa1\x64\xc0", &frame, &err), STATUS_CORRUPT);
    ck_assert_int_eq(DECODE("\x82\xa1t\x0a\xa1\x64\x01", &frame, &err), STATUS_CORRUPT);
    ck_assert_int_eq(DECODE("\x92\xa1t\x0a", &frame, &err), STATUS_CORRUPT);
    ck_assert_int_eq(DECODE("\x81\xa1t\x0c", &frame, &err), STATUS_UNSUPPORTED);
    ck_assert_int_eq(DECODE("\x81\xa1t\xff", &frame, &err), STATUS_CORRUPT);
    ck_assert_int_eq(DECODE("\x82\xa1t\x0b\xa1x\xa1\xff", &frame, &err), STATUS_CORRUPT);
    /* skipped values may nest 8 deep (here 8 arrays), not 9 */
    ck_assert_int_eq(DECODE("\x82\xa1t\x0b\xa1y\x91\x91\x91\x91\x91\x91\x91\x91\x01", &frame, &err),
                     STATUS_OK);
    ck_assert_int_eq(
        DECODE("\x82\xa1t\x0b\xa1y\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01", &frame, &err),
        STATUS_CORRUPT);
}
END_TEST

START_TEST(a_foreign_version_is_readable)
{
    struct frame frame;
    struct err err;
    ck_assert_int_eq(DECODE("\x82\xa1t\x01\xa1v\x02", &frame, &err), STATUS_OK);
    ck_assert_uint_eq(frame.hello.version, 2);
    ck_assert_uint_eq(frame.hello.worker.len, 0);
    ck_assert_int_eq(DECODE("\x82\xa1t\x01\xa1v\x01", &frame, &err), STATUS_CORRUPT);
    ck_assert_int_eq(DECODE("\x82\xa1t\x02\xa1v\x07", &frame, &err), STATUS_OK);
    ck_assert_uint_eq(frame.welcome.version, 7);
}
END_TEST

START_TEST(numbers_keep_their_range)
{
    static const float bad[] = {NAN, INFINITY, -1.0f, 1001.0f};
    uint32_t token = 1;
    struct buf bytes = {0};
    struct err err;
    struct frame frame = {.type = FRAME_GENERATE,
                          .generate = {.key = {1, 1, 0, 1},
                                       .tokens = token_view_of(&token, 1),
                                       .n_prompt = 1,
                                       .tokens_max = 1,
                                       .sampling = sampling_default()}};
    frame.generate.sampling.temperature = 0.5f;
    frame_encode(&frame, &bytes);
    char *at = memmem(bytes.data, bytes.len, "\xa2te\xca", 4);
    ck_assert_ptr_nonnull(at);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint32_t bits;
        memcpy(&bits, &bad[i], 4);
        bits = __builtin_bswap32(bits);
        memcpy(at + 4, &bits, 4);
        ck_assert_int_eq(decode_text(bytes.data, bytes.len, &frame, &err), STATUS_CORRUPT);
        ck_assert_str_eq(err.text, "GENERATE frame: key \"te\" is out of range");
    }
    buf_release(&bytes);
    /* 2^32 in a u32, and a negative count */
    ck_assert_int_eq(DECODE("\x82\xa1t\x06\xa1z\xcf\x00\x00\x00\x01\x00\x00\x00\x01", &frame, &err),
                     STATUS_CORRUPT);
    ck_assert_int_eq(DECODE("\x82\xa1t\x06\xa1z\xff", &frame, &err), STATUS_CORRUPT);
    /* a status of the future is an internal error */
    ck_assert_int_eq(DECODE("\x82\xa1t\x06\xa1z\xcc\xc8", &frame, &err), STATUS_OK);
    ck_assert_uint_eq(frame.error.status, STATUS_INTERNAL);
}
END_TEST

START_TEST(free_text_is_cut_to_fit)
{
    char text[1500];
    struct frame frame = {.type = FRAME_BYE, .bye = {{text, sizeof(text)}}}, back;
    struct buf bytes = {0};
    struct err err;

    for (size_t i = 0; i < sizeof(text); i += 3)
        memcpy(text + i, "€", 3);
    frame_encode(&frame, &bytes);
    ck_assert_int_eq(decode_text(bytes.data, bytes.len, &back, &err), STATUS_OK);
    ck_assert_uint_eq(back.bye.reason.len, 1023); /* the last whole character below 1024 */
    frame.bye.reason = (struct str){"ab\xff", 3};
    buf_clear(&bytes);
    frame_encode(&frame, &bytes);
    ck_assert_int_eq(decode_text(bytes.data, bytes.len, &back, &err), STATUS_OK);
    ck_assert(str_is(back.bye.reason, "ab"));
    buf_release(&bytes);
}
END_TEST

int main(void)
{
    const char *given = getenv("MSGL_SEED"), *many = getenv("MSGL_FUZZ_FRAMES");
    Suite *suite = suite_create("codec");
    TCase *tc = tcase_create("codec");
    SRunner *runner = srunner_create(suite);
    int failed;

    seed = given ? strtoull(given, NULL, 0) : rng_os();
    frames_many = many ? strtoull(many, NULL, 0) : effort(200000);
    printf("MSGL_SEED=%llu\n", (unsigned long long)seed);
    tcase_set_timeout(tc, 240);
    tcase_add_test(tc, every_frame_comes_back);
    tcase_add_test(tc, a_cut_frame_is_corrupt_at_every_byte);
    tcase_add_test(tc, damaged_frames_never_hurt);
    tcase_add_test(tc, random_bytes_never_hurt);
    tcase_add_test(tc, hostile_counts_allocate_nothing);
    tcase_add_test(tc, rules_of_the_map);
    tcase_add_test(tc, a_foreign_version_is_readable);
    tcase_add_test(tc, numbers_keep_their_range);
    tcase_add_test(tc, free_text_is_cut_to_fit);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
