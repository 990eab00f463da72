/* Both versions of remote write by protobuf-c: the plain way, which the hot decoders are held against in tests
 * and by the fuzz target. Everything is copied out of protobuf-c's structs, so that nothing is shared
 * with the hot decoders but the check of a finished histogram. */
#include "wire_int.h"

#include "base/heap.h"

#include <remote.pb-c.h>
#include <write_v2.pb-c.h>

static void *pb_alloc(void *arg, size_t bytes)
{
    (void)arg;
    return heap_alloc(bytes ? bytes : 1);
}

static void pb_free(void *arg, void *p)
{
    (void)arg;
    heap_free(p);
}

static struct sv copy(struct arena *a, ProtobufCBinaryData d)
{
    return d.len ? arena_sv(a, sv_make(d.data, d.len)) : (struct sv){NULL, 0};
}

/* Labels in wire form. */
static struct sv labels_written(struct arena *a, struct label *own_ls, size_t n)
{
    struct buf wire;
    struct sv r;

    buf_init(&wire, SIZE_MAX / 2);
    labels_to_wire(&wire, (struct labels){own_ls, n});
    r = wire.n ? arena_sv(a, buf_view(&wire)) : (struct sv){NULL, 0};
    buf_fini(&wire);
    heap_free(own_ls);
    return r;
}

static struct sv labels_of(struct arena *a, Prometheus__Label **p, size_t n)
{
    struct label *ls = heap_array(n ? n : 1, sizeof(*ls));

    for (size_t i = 0; i < n; i++)
        ls[i] = (struct label){sv_make(p[i]->name.data, p[i]->name.len),
                               sv_make(p[i]->value.data, p[i]->value.len)};
    return labels_written(a, ls, n);
}

static struct hist_span *spans_of(struct arena *a, Prometheus__BucketSpan **p, size_t n)
{
    struct hist_span *s = arena_array(a, n, sizeof(*s));

    for (size_t i = 0; s && i < n; i++)
        s[i] = (struct hist_span){p[i]->offset, p[i]->length};
    return s;
}

/* Absolute counts from deltas; false when one is below zero or out of range. */
static bool counts_of(struct arena *a, const int64_t *deltas, size_t n, const uint64_t **ret)
{
    uint64_t *c = arena_array(a, n, sizeof(*c));
    __int128 sum = 0;
    bool ok = true;

    *ret = c;
    for (size_t i = 0; c && i < n && ok; i++) {
        sum += deltas[i];
        ok = sum >= 0 && sum <= INT64_MAX;
        c[i] = (uint64_t)sum;
    }
    return ok;
}

static const double *doubles_of(struct arena *a, const double *p, size_t n)
{
    double *d = arena_array(a, n, sizeof(*d));

    if (d && n)
        memcpy(d, p, n * sizeof(*d));
    return d;
}

static const struct hist *hist_of(struct arena *a, const Prometheus__Histogram *m)
{
    struct hist *h = arena_new(a, struct hist);
    bool ok = true;

    if (!h)
        return NULL;
    h->schema = m->schema;
    h->sum = m->sum;
    h->zero_threshold = m->zero_threshold;
    h->reset = wire_reset_of((int32_t)m->reset_hint);
    h->is_float = m->count_case == PROMETHEUS__HISTOGRAM__COUNT_COUNT_FLOAT;
    h->custom = doubles_of(a, m->custom_values, m->n_custom_values);
    h->custom_n = (uint32_t)m->n_custom_values;
    h->pos.spans = spans_of(a, m->positive_spans, m->n_positive_spans);
    h->pos.spans_n = (uint32_t)m->n_positive_spans;
    h->neg.spans = spans_of(a, m->negative_spans, m->n_negative_spans);
    h->neg.spans_n = (uint32_t)m->n_negative_spans;
    if (h->is_float) {
        h->fcount = m->count_float;
        if (m->zero_count_case == PROMETHEUS__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_FLOAT)
            h->fzero_count = m->zero_count_float;
        h->pos.fcounts = doubles_of(a, m->positive_counts, m->n_positive_counts);
        h->pos.buckets_n = (uint32_t)m->n_positive_counts;
        h->neg.fcounts = doubles_of(a, m->negative_counts, m->n_negative_counts);
        h->neg.buckets_n = (uint32_t)m->n_negative_counts;
    } else {
        if (m->count_case == PROMETHEUS__HISTOGRAM__COUNT_COUNT_INT)
            h->count = m->count_int;
        if (m->zero_count_case == PROMETHEUS__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_INT)
            h->zero_count = m->zero_count_int;
        ok = counts_of(a, m->positive_deltas, m->n_positive_deltas, &h->pos.counts);
        h->pos.buckets_n = (uint32_t)m->n_positive_deltas;
        ok = counts_of(a, m->negative_deltas, m->n_negative_deltas, &h->neg.counts) && ok;
        h->neg.buckets_n = (uint32_t)m->n_negative_deltas;
    }
    return ok && !arena_over(a) && wire_hist_valid(h) ? h : NULL;
}

static struct sv packed(struct arena *a, const Prometheus__Histogram *m)
{
    size_t n = prometheus__histogram__get_packed_size(m);
    char *p = arena_alloc(a, n + 1);

    if (!p)
        return (struct sv){NULL, 0};
    prometheus__histogram__pack(m, (uint8_t *)p);
    return sv_make(p, n);
}

static bool hist_row(struct batch *b, const Prometheus__Histogram *m, int64_t st_ms)
{
    struct batch_hist *x = batch_add_hist(b);

    if (!x)
        return false;
    *x = (struct batch_hist){m->timestamp, m->start_timestamp ? m->start_timestamp : st_ms,
                             hist_of(b->arena, m), packed(b->arena, m)};
    return true;
}

static bool series_of(struct batch *b, const Prometheus__TimeSeries *m)
{
    struct batch_series *s = batch_add_series(b);

    if (!s)
        return false;
    *s = (struct batch_series){
        .raw = labels_of(b->arena, m->labels, m->n_labels),
        .sample_off = (uint32_t)b->samples_n, .sample_n = (uint32_t)m->n_samples,
        .hist_off = (uint32_t)b->hists_n, .hist_n = (uint32_t)m->n_histograms,
        .exemplar_off = (uint32_t)b->exemplars_n, .exemplar_n = (uint32_t)m->n_exemplars};
    s->alias = hash128(s->raw.p, s->raw.n, b->alias_key);
    for (size_t i = 0; i < m->n_samples; i++) {
        struct batch_sample *x = batch_add_sample(b);

        if (!x)
            return false;
        *x = (struct batch_sample){m->samples[i]->timestamp, 0, m->samples[i]->value};
    }
    for (size_t i = 0; i < m->n_histograms; i++)
        if (!hist_row(b, m->histograms[i], 0))
            return false;
    for (size_t i = 0; i < m->n_exemplars; i++) {
        const Prometheus__Exemplar *e = m->exemplars[i];
        struct batch_exemplar *x = batch_add_exemplar(b);

        if (!x)
            return false;
        *x = (struct batch_exemplar){e->timestamp, e->value,
                                     labels_of(b->arena, e->labels, e->n_labels)};
    }
    return !arena_over(b->arena);
}

static bool metadata_of(struct batch *b, const Prometheus__MetricMetadata *m)
{
    struct batch_metadata *x = batch_add_metadata(b);

    if (!x)
        return false;
    *x = (struct batch_metadata){.metric = copy(b->arena, m->metric_family_name),
                                 .help = copy(b->arena, m->help),
                                 .unit = copy(b->arena, m->unit),
                                 .type = wire_metadata_type_of((int32_t)m->type)};
    return !arena_over(b->arena);
}

/* protobuf-c refuses field number 0, but not in a tag of two bytes or more. */
static bool no_field_0(const ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->n_unknown_fields; i++)
        if (m->unknown_fields[i].tag == 0)
            return false;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const char *at = (const char *)m;
        ProtobufCMessage *const *p;
        size_t n;

        if (f->type != PROTOBUF_C_TYPE_MESSAGE || f->label != PROTOBUF_C_LABEL_REPEATED)
            continue;
        memcpy(&n, at + f->quantifier_offset, sizeof(n));
        memcpy(&p, at + f->offset, sizeof(p));
        for (size_t k = 0; k < n; k++)
            if (!no_field_0(p[k]))
                return false;
    }
    return true;
}

enum status wire_write_v1_slow(struct sv body, struct batch *batch, struct err *err)
{
    ProtobufCAllocator heap = {pb_alloc, pb_free, NULL};
    Prometheus__WriteRequest *m;
    bool ok = true;

    m = prometheus__write_request__unpack(&heap, body.n, (const uint8_t *)body.p);
    if (!m)
        return wire_bad(err, "request");
    if (!no_field_0(&m->base)) {
        prometheus__write_request__free_unpacked(m, &heap);
        return wire_bad(err, "request");
    }
    for (size_t i = 0; i < m->n_timeseries && ok; i++)
        ok = series_of(batch, m->timeseries[i]);
    for (size_t i = 0; i < m->n_metadata && ok; i++)
        ok = metadata_of(batch, m->metadata[i]);
    prometheus__write_request__free_unpacked(m, &heap);
    return ok ? ST_OK : wire_over(batch->arena, err);
}

/* --- 2.0 --- */

#define V2(name) Io__Prometheus__Write__V2__##name

struct slow2 {
    struct batch *batch;
    const V2(Request) *m;
    size_t *row_of; /* by symbol: 1 + its row of metadata */
};

static struct sv symbol(const struct slow2 *x, uint32_t ref)
{
    return sv_make(x->m->symbols[ref].data, x->m->symbols[ref].len);
}

static bool refs_good(const struct slow2 *x, const uint32_t *refs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (refs[i] >= x->m->n_symbols)
            return false;
    return n % 2 == 0;
}

static bool v2_series_good(const struct slow2 *x, const V2(TimeSeries) *s)
{
    for (size_t i = 0; i < s->n_exemplars; i++)
        if (!refs_good(x, s->exemplars[i]->labels_refs, s->exemplars[i]->n_labels_refs))
            return false;
    for (size_t i = 0; i < s->n_metadata; i++)
        if (s->metadata[i]->help_ref >= x->m->n_symbols ||
            s->metadata[i]->unit_ref >= x->m->n_symbols)
            return false;
    return refs_good(x, s->labels_refs, s->n_labels_refs);
}

static bool v2_good(const struct slow2 *x)
{
    if (x->m->n_symbols ? x->m->symbols[0].len != 0 : x->m->n_timeseries != 0)
        return false;
    for (size_t i = 0; i < x->m->n_timeseries; i++)
        if (!v2_series_good(x, x->m->timeseries[i]))
            return false;
    return no_field_0(&x->m->base);
}

static struct sv v2_labels(const struct slow2 *x, const uint32_t *refs, size_t n)
{
    struct label *ls = heap_array(n / 2 + 1, sizeof(*ls));

    for (size_t i = 0; i < n / 2; i++)
        ls[i] = (struct label){symbol(x, refs[2 * i]), symbol(x, refs[2 * i + 1])};
    return labels_written(x->batch->arena, ls, n / 2);
}

static bool v2_metadata(const struct slow2 *x, const V2(TimeSeries) *s)
{
    struct batch_metadata *to, *last;
    uint32_t type = 0, help = 0, unit = 0, name = 0;

    for (size_t i = 0; i < s->n_metadata; i++) {
        if (s->metadata[i]->type)
            type = (uint32_t)s->metadata[i]->type;
        if (s->metadata[i]->help_ref)
            help = s->metadata[i]->help_ref;
        if (s->metadata[i]->unit_ref)
            unit = s->metadata[i]->unit_ref;
    }
    for (size_t i = s->n_labels_refs; i >= 2; i -= 2) /* so that the first __name__ stays */
        if (sv_is(symbol(x, s->labels_refs[i - 2]), "__name__"))
            name = s->labels_refs[i - 1];
    if ((!type && !help && !unit) || !symbol(x, name).n)
        return true;
    last = x->row_of[name] ? &x->batch->metadata[x->row_of[name] - 1] : NULL;
    if (last && last->type == wire_metadata_type_of((int32_t)type) &&
        sv_eq(last->help, symbol(x, help)) && sv_eq(last->unit, symbol(x, unit)))
        return true;
    to = batch_add_metadata(x->batch);
    if (!to)
        return false;
    to->type = wire_metadata_type_of((int32_t)type);
    to->metric = arena_sv(x->batch->arena, wire_family_of(symbol(x, name), to->type));
    to->help = arena_sv(x->batch->arena, symbol(x, help));
    to->unit = arena_sv(x->batch->arena, symbol(x, unit));
    x->row_of[name] = x->batch->metadata_n;
    return true;
}

static bool v2_series(const struct slow2 *x, const V2(TimeSeries) *m)
{
    struct batch *b = x->batch;
    struct batch_series *s = batch_add_series(b);

    if (!s)
        return false;
    *s = (struct batch_series){
        .raw = v2_labels(x, m->labels_refs, m->n_labels_refs),
        .sample_off = (uint32_t)b->samples_n, .sample_n = (uint32_t)m->n_samples,
        .hist_off = (uint32_t)b->hists_n, .hist_n = (uint32_t)m->n_histograms,
        .exemplar_off = (uint32_t)b->exemplars_n, .exemplar_n = (uint32_t)m->n_exemplars};
    s->alias = hash128(s->raw.p, s->raw.n, b->alias_key);
    for (size_t i = 0; i < m->n_samples; i++) {
        const V2(Sample) *from = m->samples[i];
        struct batch_sample *to = batch_add_sample(b);

        if (!to)
            return false;
        to->t_ms = from->timestamp;
        to->st_ms = from->start_timestamp ? from->start_timestamp : m->created_timestamp;
        to->f = from->value;
    }
    for (size_t i = 0; i < m->n_histograms; i++)
        if (!hist_row(b, m->histograms[i], m->created_timestamp))
            return false;
    for (size_t i = 0; i < m->n_exemplars; i++) {
        const V2(Exemplar) *from = m->exemplars[i];
        struct batch_exemplar *to = batch_add_exemplar(b);

        if (!to)
            return false;
        to->t_ms = from->timestamp;
        to->f = from->value;
        to->raw = v2_labels(x, from->labels_refs, from->n_labels_refs);
    }
    return v2_metadata(x, m) && !arena_over(b->arena);
}

enum status wire_write_v2_slow(struct sv body, struct batch *batch, struct err *err)
{
    ProtobufCAllocator heap = {pb_alloc, pb_free, NULL};
    struct slow2 x = {.batch = batch};
    V2(Request) *m;
    bool ok = true;

    m = io__prometheus__write__v2__request__unpack(&heap, body.n, (const uint8_t *)body.p);
    x.m = m;
    if (!m || !v2_good(&x)) {
        io__prometheus__write__v2__request__free_unpacked(m, &heap);
        return err_set(err, ST_INVALID, "body is not an io.prometheus.write.v2.Request");
    }
    x.row_of = heap_array(m->n_symbols + 1, sizeof(*x.row_of));
    for (size_t i = 0; i < m->n_timeseries && ok; i++)
        ok = v2_series(&x, m->timeseries[i]);
    heap_free(x.row_of);
    io__prometheus__write__v2__request__free_unpacked(m, &heap);
    return ok ? ST_OK : wire_over(batch->arena, err);
}
