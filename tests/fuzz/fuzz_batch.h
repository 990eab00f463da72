/* Two decoded write requests are the same, or the program ends: for the fuzz targets of both versions
 * of remote write. */
#ifndef ENGRAM_FUZZ_BATCH_H
#define ENGRAM_FUZZ_BATCH_H

#include "model/batch.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static bool same_bits(double a, double b)
{
    return f64_bits(a) == f64_bits(b);
}

static bool same_side(const struct hist_side *a, const struct hist_side *b, bool is_float)
{
    if (a->spans_n != b->spans_n || a->buckets_n != b->buckets_n)
        return false;
    for (uint32_t i = 0; i < a->spans_n; i++)
        if (a->spans[i].offset != b->spans[i].offset || a->spans[i].length != b->spans[i].length)
            return false;
    for (uint32_t i = 0; i < a->buckets_n; i++)
        if (is_float ? !same_bits(a->fcounts[i], b->fcounts[i]) : a->counts[i] != b->counts[i])
            return false;
    return true;
}

static bool same_hist(const struct hist *a, const struct hist *b)
{
    if (!a || !b)
        return a == b;
    if (a->schema != b->schema || a->is_float != b->is_float || a->reset != b->reset ||
        a->count != b->count || a->zero_count != b->zero_count || a->custom_n != b->custom_n ||
        !same_bits(a->fcount, b->fcount) || !same_bits(a->fzero_count, b->fzero_count) ||
        !same_bits(a->sum, b->sum) || !same_bits(a->zero_threshold, b->zero_threshold))
        return false;
    for (uint32_t i = 0; i < a->custom_n; i++)
        if (!same_bits(a->custom[i], b->custom[i]))
            return false;
    return same_side(&a->pos, &b->pos, a->is_float) && same_side(&a->neg, &b->neg, a->is_float);
}

static bool same_labels(struct sv a, struct sv b, struct arena *arena)
{
    struct labels x, y;

    must(labels_from_wire(a, SIZE_MAX / 2, arena, &x, NULL) == ST_OK);
    must(labels_from_wire(b, SIZE_MAX / 2, arena, &y, NULL) == ST_OK);
    return labels_eq(x, y);
}

static void must_be_same_series(const struct batch *a, const struct batch *b, struct arena *arena)
{
    must(a->series_n == b->series_n && a->samples_n == b->samples_n && a->hists_n == b->hists_n &&
         a->exemplars_n == b->exemplars_n);
    for (size_t i = 0; i < a->series_n; i++) {
        const struct batch_series *x = &a->series[i], *y = &b->series[i];

        must(same_labels(x->raw, y->raw, arena) && x->sample_off == y->sample_off &&
             x->sample_n == y->sample_n && x->hist_off == y->hist_off && x->hist_n == y->hist_n &&
             x->exemplar_off == y->exemplar_off && x->exemplar_n == y->exemplar_n);
    }
    for (size_t i = 0; i < a->samples_n; i++)
        must(a->samples[i].t_ms == b->samples[i].t_ms &&
             a->samples[i].st_ms == b->samples[i].st_ms &&
             same_bits(a->samples[i].f, b->samples[i].f));
    for (size_t i = 0; i < a->hists_n; i++)
        must(a->hists[i].t_ms == b->hists[i].t_ms && a->hists[i].st_ms == b->hists[i].st_ms &&
             same_hist(a->hists[i].h, b->hists[i].h));
    for (size_t i = 0; i < a->exemplars_n; i++)
        must(a->exemplars[i].t_ms == b->exemplars[i].t_ms &&
             same_bits(a->exemplars[i].f, b->exemplars[i].f) &&
             same_labels(a->exemplars[i].raw, b->exemplars[i].raw, arena));
}

static void must_be_same_metadata(const struct batch *a, const struct batch *b)
{
    must(a->metadata_n == b->metadata_n);
    for (size_t i = 0; i < a->metadata_n; i++)
        must(a->metadata[i].type == b->metadata[i].type &&
             sv_eq(a->metadata[i].metric, b->metadata[i].metric) &&
             sv_eq(a->metadata[i].help, b->metadata[i].help) &&
             sv_eq(a->metadata[i].unit, b->metadata[i].unit));
}

#endif
