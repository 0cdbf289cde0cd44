/* Whatever a peer sends: it decodes or is refused with a sentence, and what has decoded says the same
 * when it is encoded and decoded again. */
#include "common/status.h"
#include "proto/codec.h"
#include "tests/fuzz/input.h"

static enum status decode(const void *data, size_t len, struct arena *arena, struct frame *frame)
{
    struct err err = {.text = ""};
    enum status status = frame_decode(data, len, arena, frame, &err);
    CHECK(status == STATUS_OK || err.text[0]);
    return status;
}

static bool encodable(const struct frame *frame)
{
    /* Of another version's greeting only the version counts. */
    return (frame->type != FRAME_HELLO || frame->hello.version == PROTO_VERSION) &&
           (frame->type != FRAME_WELCOME || frame->welcome.version == PROTO_VERSION);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct arena arena;
    struct frame frame, again;
    struct buf first = {0}, second = {0};

    arena_init(&arena);
    if (decode(data, len, &arena, &frame) == STATUS_OK && encodable(&frame)) {
        /* An array of n items came in at least n bytes. */
        CHECK(arena.used_bytes <= 4096 + len * 4 * sizeof(struct tokens_item));
        frame_encode(&frame, &first);
        CHECK(decode(first.data, first.len, &arena, &again) == STATUS_OK &&
              again.type == frame.type);
        frame_encode(&again, &second);
        CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    }
    arena_release(&arena);
    buf_release(&first);
    buf_release(&second);
    return 0;
}
