/* tokenizer - how fast a file is encoded, on one thread.
 *
 *     bench_tokenizer DIR FILE [ROUNDS]
 *
 * Prints one CSV row: bytes, tokens, seconds of CPU of the first round (empty word cache), of the
 * best round, and of reading DIR/tokenizer.json. bench/tokenizer sets it beside the `tokenizers`
 * package.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/file.h"
#include "router/text/tokenizer.h"

#define FILE_BYTES_MAX (1u << 28)

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static enum status measure(const char *dir, const char *file, unsigned long rounds, struct err *err)
{
    struct tokenizer *tokenizer = NULL;
    struct tokenizer_scratch *scratch = NULL;
    struct token_list ids = {0};
    struct buf text = {0};
    enum status status = STATUS_OK;
    double first_s = 0, best_s = 0, load_s;
    double start = cpu_s();

    TRY_OUT(tokenizer_load(dir, &tokenizer, err));
    load_s = cpu_s() - start;
    TRY_OUT(file_read(file, FILE_BYTES_MAX, &text, err));
    scratch = tokenizer_scratch_new(tokenizer);
    for (unsigned long i = 0; i < rounds; i++) {
        double took_s;
        ids.count = 0;
        start = cpu_s();
        TRY_OUT(tokenizer_encode(tokenizer, scratch, (struct str){text.data, text.len}, false, &ids,
                                 err));
        took_s = cpu_s() - start;
        first_s = i == 0 ? took_s : first_s;
        best_s = i == 0 || took_s < best_s ? took_s : best_s;
    }
    printf("%zu,%zu,%.6f,%.6f,%.3f\n", text.len, ids.count, first_s, best_s, load_s);
out:
    tokenizer_scratch_free(scratch);
    tokenizer_free(tokenizer);
    token_list_release(&ids);
    buf_release(&text);
    return status;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    unsigned long rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 5;
    if (argc < 3 || rounds == 0) {
        fprintf(stderr, "usage: bench_tokenizer DIR FILE [ROUNDS]\n");
        return 2;
    }
    if (measure(argv[1], argv[2], rounds, &err) != STATUS_OK) {
        fprintf(stderr, "bench_tokenizer: %s\n", err.text);
        return 1;
    }
    return 0;
}
