/* index - one routing decision on a large index: bench_index [PAGES] [WORKERS] [PROMPT_TOKENS]
 *
 * PAGES pages (10,000,000) over WORKERS workers (64) in chains of 1024, a fifth of the chains held by
 * two workers, one in 64 by all. A decision is: hash the prompt's pages, match all workers, cost, pick.
 * Prompts: held whole by one worker, by all, half by two, and unknown; each time another one, so that
 * memory is cold. Prints CSV: case, microseconds at the median and at 99 %, bytes a page-worker.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/mem.h"
#include "common/rng.h"
#include "router/prefix_index.h"
#include "router/route.h"

#define PAGE   16
#define CHAIN  1024u
#define ROUNDS 2000u

struct bench {
    struct prefix_index index;
    uint64_t pages, page_workers;
    uint32_t workers, prompt_pages;
    uint32_t *tokens;
    uint64_t *hashes;
    struct prefix_match *matches;
    struct route_candidate *candidates;
    uint32_t *ids;
};

/* Tokens of the chain's page; any chain can be made again from its number. */
static void fill_tokens(uint32_t *tokens, uint64_t chain, uint32_t pages)
{
    uint64_t state = chain * 0x9e3779b97f4a7c15u + 1;
    for (uint32_t i = 0; i < pages * PAGE; i++)
        tokens[i] = (uint32_t)rng_below(&state, 150000);
}

static void hash_pages(const uint32_t *tokens, uint32_t pages, uint64_t *hashes)
{
    uint64_t hash = page_hash_root(1, 0);
    for (uint32_t i = 0; i < pages; i++)
        hashes[i] = hash = page_hash_next(hash, tokens + (size_t)i * PAGE, PAGE);
}

/* 0: one worker, 1: two, 2: all. */
static uint32_t kind_of(uint64_t chain)
{
    return chain % 64 == 0 ? 2 : chain % 5 == 0 ? 1 : 0;
}

static uint64_t fill(struct bench *b)
{
    uint64_t chain = 0;
    while (b->pages < b->page_workers) {
        fill_tokens(b->tokens, chain, CHAIN);
        hash_pages(b->tokens, CHAIN, b->hashes);
        uint32_t copies = kind_of(chain) == 2 ? b->workers : kind_of(chain) + 1;
        for (uint32_t c = 0; c < copies; c++)
            for (uint32_t i = 0; i < CHAIN; i++)
                prefix_index_add(&b->index, (uint32_t)((chain + c) % b->workers), b->hashes[i]);
        b->pages += (uint64_t)copies * CHAIN;
        chain++;
    }
    return chain;
}

/* What router/dispatch.c does for a stream, the send left out. */
static size_t decide(struct bench *b)
{
    hash_pages(b->tokens, b->prompt_pages, b->hashes);
    prefix_index_match(&b->index, b->hashes, b->prompt_pages, b->ids, b->workers, b->matches);
    for (uint32_t i = 0; i < b->workers; i++) {
        struct route_candidate *c = &b->candidates[i];
        uint32_t prompt = b->prompt_pages * PAGE;
        *c = (struct route_candidate){.worker = i,
                                      .prompt_tokens = prompt,
                                      .held_tokens = MIN(b->matches[i].pages * PAGE, prompt - 1),
                                      .pending_tokens = i * 7 % 13 * 100,
                                      .reqs = i % 5,
                                      .last_turn = i};
        c->busy = route_busy(c->busy, c->pending_tokens > 0, b->workers, UINT32_MAX);
        c->cost = route_cost(c, 32);
    }
    return route_prefix.pick(b->candidates, b->workers);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* `kind` as in kind_of; 3: unknown; 4: half of the prompt is a known chain. */
static void run(struct bench *b, const char *name, uint32_t kind, uint64_t chains)
{
    static uint64_t ns[ROUNDS];
    uint64_t random = 7, sum = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t chain = rng_below(&random, chains);
        while (kind < 3 && kind_of(chain) != kind)
            chain = (chain + 1) % chains;
        fill_tokens(b->tokens, kind == 3 ? chains + i : chain, b->prompt_pages);
        if (kind == 4)
            fill_tokens(b->tokens + (size_t)b->prompt_pages / 2 * PAGE, chains + i,
                        b->prompt_pages - b->prompt_pages / 2);
        uint64_t begin = clock_now_ns();
        sum += decide(b);
        ns[i] = clock_now_ns() - begin;
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), by_value);
    printf("%s,%" PRIu64 ",%u,%u,%.1f,%.1f,%.1f,%" PRIu64 "\n", name, b->pages, b->workers,
           b->prompt_pages * PAGE, (double)ns[ROUNDS / 2] / 1e3,
           (double)ns[ROUNDS * 99 / 100] / 1e3,
           (double)prefix_index_bytes(&b->index) / (double)b->pages, sum);
}

int main(int argc, char **argv)
{
    struct bench b = {.page_workers = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000,
                      .workers = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 64,
                      .prompt_pages = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) / PAGE : 500};
    CHECK(b.workers > 0 && b.workers <= PREFIX_WORKERS_MAX && b.prompt_pages <= CHAIN);
    prefix_index_init(&b.index);
    b.tokens = mem_array((size_t)CHAIN * PAGE, sizeof(*b.tokens));
    b.hashes = mem_array(CHAIN, sizeof(*b.hashes));
    b.matches = mem_array(b.workers, sizeof(*b.matches));
    b.candidates = mem_array(b.workers, sizeof(*b.candidates));
    b.ids = mem_array(b.workers, sizeof(*b.ids));
    for (uint32_t i = 0; i < b.workers; i++)
        b.ids[i] = i;
    uint64_t chains = fill(&b);
    printf("prompt,page_workers,workers,tokens,us_p50,us_p99,bytes_page_worker,check\n");
    run(&b, "one worker holds it", 0, chains);
    run(&b, "two workers hold it", 1, chains);
    run(&b, "all workers hold it", 2, chains);
    run(&b, "half of it is held", 4, chains);
    run(&b, "nobody holds it", 3, chains);
    return 0;
}
