/* A tokenizer.json: it loads or is refused with a sentence; what has loaded encodes and decodes
 * anything, streamed text is the whole text, and the worker's table of the same file is as large. */
#include "common/json.h"
#include "common/token_bytes.h"
#include "common/utf8.h"
#include "router/text/detokenizer.h"
#include "router/text/tokenizer_model.h"
#include "tests/fuzz/input.h"

static const char *const texts[] = {
    "",
    "Hello, world! it's 12345 <end>\n\n  x",
    "caf\xc3\xa9 cafe\xcc\x81 \xe4\xbd\xa0\xe5\xa5\xbd\xf0\x9f\x99\x82 \xe2\x96\x81 \xc7\x84",
    "\xff\xf0\x9f \x80 broken \xed\xa0\x80",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa<unk>bbbb    \t\r\n",
};

static void check_decode(const struct tokenizer *t, const struct token_list *ids, bool skip_special)
{
    struct detokenizer pieces;
    struct buf whole = {0}, streamed = {0};
    tokenizer_decode(t, ids->ids, ids->count, skip_special, &whole);
    detokenizer_init(&pieces, t, skip_special);
    for (size_t i = 0; i < ids->count; i++)
        detokenizer_push(&pieces, &ids->ids[i], 1, &streamed);
    detokenizer_finish(&pieces, &streamed);
    detokenizer_release(&pieces);
    CHECK(whole.len == streamed.len &&
          (whole.len == 0 || memcmp(whole.data, streamed.data, whole.len) == 0));
    CHECK(whole.len == 0 || utf8_valid(whole.data, whole.len));
    buf_release(&whole);
    buf_release(&streamed);
}

static void use(const struct tokenizer *t)
{
    struct tokenizer_scratch *scratch = tokenizer_scratch_new(t);
    struct token_list ids = {0};
    struct err err = {.text = ""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        ids.count = 0;
        if (tokenizer_encode(t, scratch, str_from(texts[i]), i % 2, &ids, &err) != STATUS_OK)
            CHECK(err.text[0]);
        for (size_t n = 0; n < ids.count; n++)
            CHECK(ids.ids[n] < tokenizer_vocab_size(t));
        check_decode(t, &ids, i % 2);
    }
    ids.count = 0;
    for (uint32_t id = 0; id < MIN(tokenizer_vocab_size(t) + 2, 300u); id++)
        token_list_push(&ids, id);
    check_decode(t, &ids, false);
    for (size_t i = 0; i < ids.count; i++)
        (void)tokenizer_token_bytes(t, ids.ids[i], false);
    token_list_release(&ids);
    tokenizer_scratch_free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tokenizer *t = mem_zalloc(sizeof(*t));
    struct token_bytes table;
    struct err err = {.text = ""};
    json_t *root = NULL;

    if (json_parse((const char *)data, len, &root, &err) == STATUS_OK) {
        if (tokenizer_read(root, t, &err) == STATUS_OK)
            use(t);
        else
            CHECK(err.text[0]);
        err.text[0] = 0;
        scratch_write("tokenizer.json", (struct str){(const char *)data, len});
        if (token_bytes_load(scratch_folder(), &table, &err) == STATUS_OK)
            for (uint32_t id = 0; id < table.count; id++)
                CHECK(table.of[id].len == 0 || (table.of[id].data >= table.text));
        else
            CHECK(err.text[0]);
        token_bytes_release(&table);
    }
    json_decref(root);
    tokenizer_free(t);
    return 0;
}
