#include "proto/rank_message.h"

#include <string.h>

#define MAGIC 0x4b52534du /* "MSRK" */

static void put(struct buf *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        buf_char(out, (char)(value >> (8 * i)));
}

static uint64_t get(const char *data, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)(unsigned char)data[i] << (8 * i);
    return value;
}

void rank_message_encode(const struct rank_message *message, struct buf *out)
{
    buf_reserve(out, RANK_MESSAGE_HEAD_BYTES + message->body.len);
    put(out, MAGIC, 4);
    put(out, RANK_MESSAGE_VERSION, 2);
    put(out, message->kind, 2);
    put(out, message->rank, 4);
    put(out, 0, 4);
    put(out, message->group, 8);
    put(out, message->value, 8);
    buf_append(out, message->body.data, message->body.len);
}

enum status rank_message_decode(struct str bytes, struct rank_message *out, struct err *err)
{
    if (bytes.len < RANK_MESSAGE_HEAD_BYTES || get(bytes.data, 4) != MAGIC)
        return err_set(err, STATUS_CORRUPT, "%zu bytes are no message between ranks", bytes.len);
    uint64_t version = get(bytes.data + 4, 2), kind = get(bytes.data + 6, 2);
    if (version != RANK_MESSAGE_VERSION)
        return err_set(err, STATUS_CONFLICT, "the other rank speaks version %u, this one %u",
                       (unsigned)version, RANK_MESSAGE_VERSION);
    if (kind < RANK_JOIN || kind >= RANK_KIND_END)
        return err_set(err, STATUS_CORRUPT, "%u is no kind of message between ranks",
                       (unsigned)kind);
    *out = (struct rank_message){
        .kind = (enum rank_kind)kind,
        .rank = (uint32_t)get(bytes.data + 8, 4),
        .group = get(bytes.data + 16, 8),
        .value = get(bytes.data + 24, 8),
        .body = {bytes.data + RANK_MESSAGE_HEAD_BYTES, bytes.len - RANK_MESSAGE_HEAD_BYTES},
    };
    return STATUS_OK;
}
