/* pages - a free stack, two limbo lists, one owner byte a page. */
#include "worker/sched/pages.h"

#include "common/mem.h"

void pages_init(struct pages *pages, uint32_t count)
{
    *pages = (struct pages){.count = count, .free_count = count};
    pages->free_stack = mem_array(count, sizeof(uint32_t));
    pages->limbo[0] = mem_array(count, sizeof(uint32_t));
    pages->limbo[1] = mem_array(count, sizeof(uint32_t));
    pages->owner = mem_array(count, 1);
    for (uint32_t i = 0; i < count; i++)
        pages->free_stack[i] = count - 1 - i; /* page 0 is taken first */
}

void pages_release(struct pages *pages)
{
    mem_free(pages->free_stack);
    mem_free(pages->limbo[0]);
    mem_free(pages->limbo[1]);
    mem_free(pages->owner);
    *pages = (struct pages){.count = 0};
}

uint32_t pages_take(struct pages *pages)
{
    if (pages->free_count == 0)
        return PAGE_NONE;
    uint32_t page = pages->free_stack[--pages->free_count];
    CHECK(pages->owner[page] == PAGE_FREE);
    pages->owner[page] = PAGE_REQ;
    pages->req_count++;
    return page;
}

void pages_claim(struct pages *pages, const uint8_t *claimed)
{
    CHECK(pages->free_count == pages->count);
    uint32_t left = 0;
    for (uint32_t i = 0; i < pages->count; i++) {
        uint32_t page = pages->free_stack[i];
        if (claimed[page])
            pages->owner[page] = PAGE_REQ;
        else
            pages->free_stack[left++] = page;
    }
    pages->free_count = left;
    pages->req_count = pages->count - left;
}

void pages_give(struct pages *pages, uint32_t page)
{
    CHECK(page < pages->count && pages->owner[page] == PAGE_REQ);
    pages->owner[page] = PAGE_TREE;
    pages->req_count--;
    pages->tree_count++;
}

void pages_drop(struct pages *pages, uint32_t page, uint64_t last_step)
{
    CHECK(page < pages->count);
    uint8_t owner = pages->owner[page];
    CHECK(owner == PAGE_REQ || owner == PAGE_TREE);
    if (owner == PAGE_REQ)
        pages->req_count--;
    else
        pages->tree_count--;
    if (last_step <= pages->committed) {
        pages->owner[page] = PAGE_FREE;
        pages->free_stack[pages->free_count++] = page;
        return;
    }
    CHECK(last_step <= pages->committed + 2);
    pages->owner[page] = PAGE_LIMBO;
    pages->limbo[last_step & 1][pages->limbo_count[last_step & 1]++] = page;
}

void pages_commit(struct pages *pages, uint64_t step)
{
    CHECK(step == pages->committed + 1);
    pages->committed = step;
    uint32_t *list = pages->limbo[step & 1];
    while (pages->limbo_count[step & 1] > 0) {
        uint32_t page = list[--pages->limbo_count[step & 1]];
        pages->owner[page] = PAGE_FREE;
        pages->free_stack[pages->free_count++] = page;
    }
}

bool pages_check(const struct pages *pages, struct err *err)
{
    uint32_t counts[4] = {0, 0, 0, 0};
    for (uint32_t i = 0; i < pages->count; i++) {
        if (pages->owner[i] > PAGE_LIMBO) {
            err_set(err, STATUS_INTERNAL, "page %u has no owner", i);
            return false;
        }
        counts[pages->owner[i]]++;
    }
    if (counts[PAGE_FREE] != pages->free_count || counts[PAGE_REQ] != pages->req_count ||
        counts[PAGE_TREE] != pages->tree_count || counts[PAGE_LIMBO] != pages_limbo(pages)) {
        err_set(err, STATUS_INTERNAL,
                "pages: %u free, %u in reqs, %u in the tree, %u in limbo, but the counters differ",
                counts[0], counts[1], counts[2], counts[3]);
        return false;
    }
    /* With equal counts, a page listed twice means another is missing; take()'s CHECK finds it. */
    for (uint32_t i = 0; i < pages->free_count; i++)
        if (pages->owner[pages->free_stack[i]] != PAGE_FREE) {
            err_set(err, STATUS_INTERNAL, "page %u is on the free stack and in use",
                    pages->free_stack[i]);
            return false;
        }
    for (int side = 0; side < 2; side++)
        for (uint32_t i = 0; i < pages->limbo_count[side]; i++)
            if (pages->owner[pages->limbo[side][i]] != PAGE_LIMBO) {
                err_set(err, STATUS_INTERNAL, "page %u is in limbo and in use",
                        pages->limbo[side][i]);
                return false;
            }
    return true;
}
