#include "common/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

#define OTHER_LABELS "other=\"true\""

struct sample {
    char *labels;
    double value;      /* counter, gauge; histogram: sum */
    uint64_t count;    /* histogram */
    uint64_t *buckets; /* histogram: per bound, not cumulative */
};

struct family {
    const struct metric_family *spec;
    struct sample *samples;
    size_t count, cap;
};

struct metrics {
    struct family *families;
    size_t count;
};

struct metrics *metrics_new(const struct metric_family *families, size_t family_count)
{
    struct metrics *metrics = mem_zalloc(sizeof(*metrics));
    metrics->families = mem_array(family_count, sizeof(*metrics->families));
    metrics->count = family_count;
    for (size_t i = 0; i < family_count; i++) {
        CHECK(families[i].bucket_count <= METRICS_BUCKETS_MAX);
        metrics->families[i].spec = &families[i];
    }
    return metrics;
}

static void sample_release(struct sample *sample)
{
    mem_free(sample->labels);
    mem_free(sample->buckets);
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    for (size_t i = 0; i < metrics->count; i++) {
        for (size_t k = 0; k < metrics->families[i].count; k++)
            sample_release(&metrics->families[i].samples[k]);
        mem_free(metrics->families[i].samples);
    }
    mem_free(metrics->families);
    mem_free(metrics);
}

static struct sample *find(const struct family *family, const char *labels)
{
    for (size_t i = 0; i < family->count; i++)
        if (strcmp(family->samples[i].labels, labels) == 0)
            return &family->samples[i];
    return NULL;
}

static struct sample *sample_of(struct metrics *metrics, size_t index, const char *labels)
{
    struct family *family = &metrics->families[index];
    struct sample *sample;

    CHECK(index < metrics->count);
    sample = find(family, labels);
    if (sample)
        return sample;
    if (family->count + 1 >= METRICS_SAMPLES_MAX && strcmp(labels, OTHER_LABELS) != 0)
        return sample_of(metrics, index, OTHER_LABELS);
    if (family->count == family->cap) {
        family->cap = MAX(family->cap * 2, (size_t)4);
        family->samples = mem_realloc(family->samples, family->cap * sizeof(*family->samples));
    }
    sample = &family->samples[family->count++];
    memset(sample, 0, sizeof(*sample));
    sample->labels = mem_strdup(labels);
    if (family->spec->type == METRIC_HISTOGRAM)
        sample->buckets = mem_array(family->spec->bucket_count + 1, sizeof(*sample->buckets));
    return sample;
}

void metrics_add(struct metrics *metrics, size_t family, const char *labels, double delta)
{
    sample_of(metrics, family, labels)->value += delta;
}

void metrics_set(struct metrics *metrics, size_t family, const char *labels, double value)
{
    sample_of(metrics, family, labels)->value = value;
}

void metrics_observe(struct metrics *metrics, size_t family, const char *labels, double value)
{
    struct sample *sample = sample_of(metrics, family, labels);
    const struct metric_family *spec = metrics->families[family].spec;
    size_t at = 0;

    CHECK(spec->type == METRIC_HISTOGRAM);
    while (at < spec->bucket_count && value > spec->buckets[at])
        at++;
    sample->buckets[at]++;
    sample->count++;
    sample->value += value;
}

double metrics_get(const struct metrics *metrics, size_t family, const char *labels)
{
    const struct sample *sample = find(&metrics->families[family], labels);
    return sample ? sample->value : 0.0;
}

void metrics_forget(struct metrics *metrics, size_t family, const char *labels)
{
    struct family *f = &metrics->families[family];
    struct sample *sample = find(f, labels);
    if (sample) {
        sample_release(sample);
        *sample = f->samples[--f->count];
    }
}

static void write_line(struct buf *out, const char *name, const char *suffix, const char *labels,
                       const char *more, double value)
{
    bool both = *labels && *more;
    buf_printf(out, "%s%s", name, suffix);
    if (*labels || *more)
        buf_printf(out, "{%s%s%s}", labels, both ? "," : "", more);
    if (value == floor(value) && fabs(value) < 1e15)
        buf_printf(out, " %.0f\n", value);
    else
        buf_printf(out, " %.9g\n", value);
}

static void write_histogram(const struct family *family, const struct sample *sample,
                            struct buf *out)
{
    const struct metric_family *spec = family->spec;
    uint64_t below = 0;
    char bound[40];

    for (size_t i = 0; i < spec->bucket_count; i++) {
        below += sample->buckets[i];
        snprintf(bound, sizeof(bound), "le=\"%g\"", spec->buckets[i]);
        write_line(out, spec->name, "_bucket", sample->labels, bound, (double)below);
    }
    write_line(out, spec->name, "_bucket", sample->labels, "le=\"+Inf\"", (double)sample->count);
    write_line(out, spec->name, "_sum", sample->labels, "", sample->value);
    write_line(out, spec->name, "_count", sample->labels, "", (double)sample->count);
}

void metrics_write(const struct metrics *metrics, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};

    for (size_t i = 0; i < metrics->count; i++) {
        const struct family *family = &metrics->families[i];
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family->spec->name, family->spec->help,
                   family->spec->name, types[family->spec->type]);
        for (size_t k = 0; k < family->count; k++) {
            if (family->spec->type == METRIC_HISTOGRAM)
                write_histogram(family, &family->samples[k], out);
            else
                write_line(out, family->spec->name, "", family->samples[k].labels, "",
                           family->samples[k].value);
        }
    }
}
