#include "proto/codec_read.h"

#include <string.h>

static size_t left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static uint64_t fail(struct reader *reader)
{
    reader->bad = true;
    reader->at = reader->end;
    return 0;
}

/* The first byte of the next value; 0xc1, which msgpack never uses, when there is none. */
static unsigned char take_tag(struct reader *reader)
{
    if (reader->bad || reader->at == reader->end) {
        fail(reader);
        return 0xc1;
    }
    return *reader->at++;
}

static uint64_t take_big_endian(struct reader *reader, unsigned bytes)
{
    uint64_t value = 0;
    if (left(reader) < bytes)
        return fail(reader);
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | *reader->at++;
    return value;
}

/* Sign-extended value of an integer with this tag; *negative says how to read it. */
static uint64_t take_integer(struct reader *reader, unsigned char tag, bool *negative)
{
    *negative = false;
    if (tag <= 0x7f)
        return tag;
    if (tag >= 0xe0) {
        *negative = true;
        return (uint64_t)(int64_t)(int8_t)tag;
    }
    if (tag >= 0xcc && tag <= 0xcf)
        return take_big_endian(reader, 1u << (tag - 0xcc));
    if (tag >= 0xd0 && tag <= 0xd3) {
        unsigned bytes = 1u << (tag - 0xd0), shift = 64 - 8 * bytes;
        uint64_t value = take_big_endian(reader, bytes);
        value = (uint64_t)((int64_t)(value << shift) >> shift);
        *negative = (int64_t)value < 0;
        return value;
    }
    return fail(reader);
}

uint64_t read_uint(struct reader *reader)
{
    bool negative;
    uint64_t value = take_integer(reader, take_tag(reader), &negative);
    return negative ? fail(reader) : value;
}

int64_t read_int(struct reader *reader)
{
    bool negative;
    uint64_t value = take_integer(reader, take_tag(reader), &negative);
    return (int64_t)(!negative && value > INT64_MAX ? fail(reader) : value);
}

double read_float(struct reader *reader)
{
    unsigned char tag = take_tag(reader);
    bool negative;
    uint64_t bits;

    if (tag == 0xca) {
        uint32_t narrow = (uint32_t)take_big_endian(reader, 4);
        float value;
        memcpy(&value, &narrow, sizeof(value));
        return (double)value;
    }
    if (tag == 0xcb) {
        double value;
        bits = take_big_endian(reader, 8);
        memcpy(&value, &bits, sizeof(value));
        return value;
    }
    bits = take_integer(reader, tag, &negative);
    return negative ? (double)(int64_t)bits : (double)bits;
}

bool read_bool(struct reader *reader)
{
    unsigned char tag = take_tag(reader);
    if (tag != 0xc2 && tag != 0xc3)
        fail(reader);
    return tag == 0xc3;
}

/* Length of a str or bin with this tag. */
static uint64_t take_length(struct reader *reader, unsigned char tag)
{
    if (tag >= 0xa0 && tag <= 0xbf)
        return tag & 31;
    if (tag >= 0xc4 && tag <= 0xc6)
        return take_big_endian(reader, 1u << (tag - 0xc4));
    if (tag >= 0xd9 && tag <= 0xdb)
        return take_big_endian(reader, 1u << (tag - 0xd9));
    return fail(reader);
}

struct str read_bytes(struct reader *reader)
{
    uint64_t len = take_length(reader, take_tag(reader));
    struct str bytes = {(const char *)reader->at, (size_t)len};

    if (reader->bad || len > left(reader)) {
        fail(reader);
        return (struct str){"", 0};
    }
    reader->at += len;
    return bytes;
}

static uint32_t take_count(struct reader *reader, unsigned char tag, unsigned char fix,
                           unsigned char wide, unsigned item_bytes)
{
    uint64_t count;
    if (tag >= fix && tag <= fix + 15)
        count = tag & 15;
    else if (tag == wide || tag == wide + 1)
        count = take_big_endian(reader, tag == wide ? 2 : 4);
    else
        return (uint32_t)fail(reader);
    return (uint32_t)(count > left(reader) / item_bytes ? fail(reader) : count);
}

uint32_t read_map(struct reader *reader)
{
    return take_count(reader, take_tag(reader), 0x80, 0xde, 2);
}

uint32_t read_array(struct reader *reader)
{
    return take_count(reader, take_tag(reader), 0x90, 0xdc, 1);
}

static void skip_bytes(struct reader *reader, uint64_t count)
{
    if (count > left(reader))
        fail(reader);
    else
        reader->at += count;
}

/* Skips a value that holds no others, or returns how many values it announces. */
static uint64_t skip_head(struct reader *reader)
{
    unsigned char tag = take_tag(reader);

    if (tag <= 0x7f || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3)
        return 0;
    if (tag <= 0x8f || tag == 0xde || tag == 0xdf)
        return 2 * (uint64_t)take_count(reader, tag, 0x80, 0xde, 2);
    if (tag <= 0x9f || tag == 0xdc || tag == 0xdd)
        return take_count(reader, tag, 0x90, 0xdc, 1);
    if (tag >= 0xc7 && tag <= 0xc9) /* ext: length, type, data */
        skip_bytes(reader, take_big_endian(reader, 1u << (tag - 0xc7)) + 1);
    else if (tag == 0xca || tag == 0xcb)
        skip_bytes(reader, tag == 0xca ? 4 : 8);
    else if (tag >= 0xcc && tag <= 0xd3)
        skip_bytes(reader, 1u << ((tag - 0xcc) & 3));
    else if (tag >= 0xd4 && tag <= 0xd8) /* fixext: type, data */
        skip_bytes(reader, (1u << (tag - 0xd4)) + 1u);
    else
        skip_bytes(reader, take_length(reader, tag)); /* str, bin, or 0xc1 */
    return 0;
}

void read_skip(struct reader *reader)
{
    uint64_t pending[READ_DEPTH_MAX + 1] = {1}; /* values left on each level */
    unsigned depth = 0;

    while (!reader->bad) {
        uint64_t inner;
        while (pending[depth] == 0) {
            if (depth == 0)
                return;
            depth--;
        }
        pending[depth]--;
        inner = skip_head(reader);
        if (inner == 0)
            continue;
        if (depth == READ_DEPTH_MAX)
            fail(reader);
        else
            pending[++depth] = inner;
    }
}
