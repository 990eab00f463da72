/* The hot WriteRequest decoder against protobuf-c: the same bytes must be taken by both, with the same
 * columns, or refused by both; and taken bytes must survive encoding and decoding again. The first byte
 * chooses: snappy-packed (odd) or plain. */
#include "base/heap.h"
#include "wire/wire.h"

#include <stdlib.h>

#define DECODED_MAX ((size_t)1 << 20)
#define ARENA_MAX   ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

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

static void must_be_same(const struct batch *a, const struct batch *b, struct arena *arena)
{
    must(a->series_n == b->series_n && a->samples_n == b->samples_n && a->hists_n == b->hists_n &&
         a->exemplars_n == b->exemplars_n && a->metadata_n == b->metadata_n);
    for (size_t i = 0; i < a->series_n; i++) {
        const struct batch_series *x = &a->series[i], *y = &b->series[i];

        must(same_labels(x->raw, y->raw, arena) && x->sample_off == y->sample_off &&
             x->sample_n == y->sample_n && x->hist_off == y->hist_off && x->hist_n == y->hist_n &&
             x->exemplar_off == y->exemplar_off && x->exemplar_n == y->exemplar_n);
    }
    for (size_t i = 0; i < a->samples_n; i++)
        must(a->samples[i].t_ms == b->samples[i].t_ms &&
             same_bits(a->samples[i].f, b->samples[i].f));
    for (size_t i = 0; i < a->hists_n; i++)
        must(a->hists[i].t_ms == b->hists[i].t_ms && same_hist(a->hists[i].h, b->hists[i].h));
    for (size_t i = 0; i < a->exemplars_n; i++)
        must(a->exemplars[i].t_ms == b->exemplars[i].t_ms &&
             same_bits(a->exemplars[i].f, b->exemplars[i].f) &&
             same_labels(a->exemplars[i].raw, b->exemplars[i].raw, arena));
    for (size_t i = 0; i < a->metadata_n; i++)
        must(a->metadata[i].type == b->metadata[i].type &&
             sv_eq(a->metadata[i].metric, b->metadata[i].metric) &&
             sv_eq(a->metadata[i].help, b->metadata[i].help) &&
             sv_eq(a->metadata[i].unit, b->metadata[i].unit));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    struct batch fast, slow, again;
    struct buf out;
    struct sv body;
    enum status x, y;

    arena_init(&a, ARENA_MAX);
    body = n ? sv_make(p + 1, n - 1) : (struct sv){NULL, 0};
    if (n && (p[0] & 1) && wire_unsnap(body, DECODED_MAX, &a, &body, NULL) != ST_OK) {
        arena_fini(&a);
        return 0;
    }
    batch_init(&fast, &a, 1);
    batch_init(&slow, &a, 1);
    batch_init(&again, &a, 1);
    x = wire_write_v1(body, &fast, NULL);
    y = wire_write_v1_slow(body, &slow, NULL);
    /* Out of memory is no verdict on the bytes. */
    if (x != ST_LIMIT && y != ST_LIMIT)
        must(x == y);
    if (x == ST_OK && y == ST_OK) {
        must_be_same(&fast, &slow, &a);
        buf_init(&out, ARENA_MAX);
        wire_write_v1_encode(&out, &fast);
        must(buf_ok(&out));
        x = wire_write_v1(buf_view(&out), &again, NULL);
        must(x == ST_OK || x == ST_LIMIT);
        if (x == ST_OK)
            must_be_same(&fast, &again, &a);
        buf_fini(&out);
    }
    arena_fini(&a);
    return 0;
}
