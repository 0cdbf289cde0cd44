/* gemm_plans - the table and its file. */
#include "kernels/cuda/gemm_plans.cuh"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
}

#define PLANS_MAX      8192u /* a power of two; a model has ~5 shapes, m ~210 buckets */
#define FILE_BYTES_MAX (PLANS_MAX * 256u)
#define HEADER         "# msgl plans 1\n"

struct gemm_plans {
    struct gemm_plan slots[PLANS_MAX];
    bool measured[PLANS_MAX];
    uint32_t used;
    bool changed;
    char *dir, *path; /* NULL: nothing is kept */
};

struct gemm_plan *gemm_plans_slot(struct gemm_plans *plans, const struct gemm_key *key)
{
    uint32_t hash = key->n * 2654435761u ^ key->k * 2246822519u ^ key->bucket * 3266489917u ^
                    key->kind * 668265263u;
    for (uint32_t i = (hash ^ hash >> 15) % PLANS_MAX;; i = (i + 1) % PLANS_MAX) {
        struct gemm_plan *slot = &plans->slots[i];
        if (slot->key.n == 0 || memcmp(&slot->key, key, sizeof(*key)) == 0)
            return slot;
    }
}

bool gemm_plans_measured(const struct gemm_plans *plans, const struct gemm_plan *plan)
{
    return plans->measured[plan - plans->slots];
}

bool gemm_plans_keep(struct gemm_plans *plans, const struct gemm_key *key,
                     const cublasLtMatmulAlgo_t *algo, bool measured)
{
    struct gemm_plan *slot = gemm_plans_slot(plans, key);
    if (slot->key.n == 0) {
        if (plans->used >= PLANS_MAX / 2)
            return false;
        plans->used++;
    }
    slot->key = *key;
    slot->algo = *algo;
    plans->measured[slot - plans->slots] = measured;
    plans->changed |= measured;
    return true;
}

static int hex_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_line(const char *line, struct gemm_plan *out)
{
    unsigned char *bytes = (unsigned char *)&out->algo;
    int end = 0;
    if (sscanf(line, "%u %u %u %u %n", &out->key.n, &out->key.k, &out->key.bucket, &out->key.kind,
               &end) != 4 ||
        end == 0 || out->key.n == 0)
        return false;
    for (size_t i = 0; i < sizeof(out->algo); i++) {
        int high = hex_of(line[end]), low = high < 0 ? -1 : hex_of(line[end + 1]);
        if (low < 0)
            return false;
        bytes[i] = (unsigned char)(high << 4 | low);
        end += 2;
    }
    return line[end] == '\0';
}

static bool parse(struct gemm_plans *plans, char *text)
{
    if (strncmp(text, HEADER, strlen(HEADER)) != 0)
        return false;
    for (char *line = text + strlen(HEADER), *next; *line != '\0'; line = next) {
        struct gemm_plan plan;
        next = strchr(line, '\n');
        if (!next)
            return false;
        *next++ = '\0';
        if (!parse_line(line, &plan) || !gemm_plans_keep(plans, &plan.key, &plan.algo, true))
            return false;
    }
    return true;
}

static void load(struct gemm_plans *plans)
{
    struct buf text = {};
    struct err err = {};
    enum status status = file_read(plans->path, FILE_BYTES_MAX, &text, &err);
    if (status == STATUS_OK) {
        buf_append(&text, "", 1);
        if (!parse(plans, (char *)text.data)) {
            LOG_WARN("kernels", "plans not read", "path=\"%s\"", plans->path);
            memset(plans->slots, 0, sizeof(plans->slots));
            plans->used = 0;
        }
    } else if (status != STATUS_NOT_FOUND) {
        LOG_WARN("kernels", "plans not read", "path=\"%s\" error=\"%s\"", plans->path, err.text);
    }
    plans->changed = false;
    buf_release(&text);
}

struct gemm_plans *gemm_plans_new(const char *dir, const char *device_name, size_t version)
{
    struct gemm_plans *plans = (struct gemm_plans *)mem_zalloc(sizeof(*plans));
    char name[160];
    if (!dir)
        return plans;
    snprintf(name, sizeof(name), "%.80s-cublaslt-%zu.plans", device_name, version);
    for (char *c = name; *c; c++)
        *c = isalnum((unsigned char)*c) || *c == '.' || *c == '-' ? *c : '_';
    plans->dir = mem_strdup(dir);
    plans->path = path_join(dir, name);
    load(plans);
    return plans;
}

void gemm_plans_free(struct gemm_plans *plans)
{
    if (!plans)
        return;
    mem_free(plans->dir);
    mem_free(plans->path);
    mem_free(plans);
}

static void format(const struct gemm_plans *plans, struct buf *out)
{
    buf_printf(out, "%s", HEADER);
    for (uint32_t i = 0; i < PLANS_MAX; i++) {
        const struct gemm_plan *plan = &plans->slots[i];
        const unsigned char *bytes = (const unsigned char *)&plan->algo;
        if (plan->key.n == 0 || !plans->measured[i])
            continue;
        buf_printf(out, "%u %u %u %u ", plan->key.n, plan->key.k, plan->key.bucket, plan->key.kind);
        for (size_t b = 0; b < sizeof(plan->algo); b++)
            buf_printf(out, "%02x", bytes[b]);
        buf_printf(out, "\n");
    }
}

enum status gemm_plans_save(struct gemm_plans *plans, struct err *err)
{
    enum status status = STATUS_OK;
    struct buf text = {};
    if (!plans->path || !plans->changed)
        return STATUS_OK;
    TRY(dir_create(plans->dir, err));
    format(plans, &text);
    status = file_replace(plans->path, (struct str){text.data, text.len}, err);
    plans->changed = status != STATUS_OK;
    buf_release(&text);
    return status;
}
