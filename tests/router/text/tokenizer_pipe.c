/* tokenizer_pipe DIR - the tokenizer behind a pipe, for the differential tests in Python.
 *
 * Standard input is a row of requests, standard output a row of replies; numbers are little-endian
 * u32:
 *   'e' | 'E'  len, text         encode without | with special tokens     ─► count, ids
 *   'd' | 'D'  count, ids        decode with | without special tokens     ─► len, text, len, text
 * A decode replies twice: the whole, and what the streaming detokenizer said, one push of 1 to 3 ids
 * after the other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/rng.h"
#include "router/text/detokenizer.h"
#include "router/text/tokenizer.h"

#define REQUEST_MAX (1u << 28)

struct pipe {
    struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
    struct token_list ids;
    struct buf text, stream;
    uint64_t rng;
};

static void reply(const void *data, uint32_t count, size_t item_bytes)
{
    fwrite(&count, sizeof(count), 1, stdout);
    if (count) /* nothing may be NULL */
        fwrite(data, item_bytes, count, stdout);
}

static bool do_encode(struct pipe *p, const char *text, uint32_t len, bool add_special)
{
    struct err err = {0};
    p->ids.count = 0;
    if (tokenizer_encode(p->tokenizer, p->scratch, (struct str){text, len}, add_special, &p->ids,
                         &err) != STATUS_OK) {
        fprintf(stderr, "tokenizer_pipe: %s\n", err.text);
        return false;
    }
    reply(p->ids.ids, (uint32_t)p->ids.count, sizeof(uint32_t));
    return true;
}

static void do_decode(struct pipe *p, const uint32_t *ids, uint32_t count, bool skip_special)
{
    struct detokenizer d;
    buf_clear(&p->text);
    buf_clear(&p->stream);
    tokenizer_decode(p->tokenizer, ids, count, skip_special, &p->text);
    reply(p->text.data, (uint32_t)p->text.len, 1);
    detokenizer_init(&d, p->tokenizer, skip_special);
    for (uint32_t i = 0; i < count;) {
        uint32_t want = 1 + (uint32_t)rng_below(&p->rng, 3), n = MIN(count - i, want);
        detokenizer_push(&d, ids + i, n, &p->stream);
        i += n;
    }
    detokenizer_finish(&d, &p->stream);
    detokenizer_release(&d);
    reply(p->stream.data, (uint32_t)p->stream.len, 1);
}

static bool serve(struct pipe *p)
{
    int op;
    while ((op = getchar()) != EOF) {
        uint32_t n;
        void *data;
        bool ok = true, decode = op == 'd' || op == 'D';
        if (fread(&n, sizeof(n), 1, stdin) != 1 || n > REQUEST_MAX)
            return false;
        data = mem_alloc((size_t)n * 4 + 1);
        ok = fread(data, decode ? 4 : 1, n, stdin) == n;
        if (ok && decode)
            do_decode(p, data, n, op == 'D');
        else if (ok)
            ok = do_encode(p, data, n, op == 'E');
        mem_free(data);
        if (!ok)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct pipe p = {.rng = 1};
    struct err err = {0};
    bool ok;
    if (argc != 2) {
        fprintf(stderr, "usage: tokenizer_pipe DIR < requests > replies\n");
        return 2;
    }
    if (tokenizer_load(argv[1], &p.tokenizer, &err) != STATUS_OK) {
        fprintf(stderr, "tokenizer_pipe: %s\n", err.text);
        return 1;
    }
    p.scratch = tokenizer_scratch_new(p.tokenizer);
    ok = serve(&p) && fflush(stdout) == 0;
    tokenizer_scratch_free(p.scratch);
    tokenizer_free(p.tokenizer);
    token_list_release(&p.ids);
    buf_release(&p.text);
    buf_release(&p.stream);
    return ok ? 0 : 1;
}
