/* struct batch -> remote write's messages, 1.0 and 2.0. A field at its default is left out, as senders do; a message
 * inside another is built in a scratch buffer first, so that its length is known. */
#include "wire_int.h"

#include "base/heap.h"
#include "base/hmap.h"

static void put_tag(struct buf *out, unsigned no, unsigned type)
{
    buf_uvarint(out, no << 3 | type);
}

static void put_varint(struct buf *out, unsigned no, uint64_t v)
{
    if (!v)
        return;
    put_tag(out, no, PB_VARINT);
    buf_uvarint(out, v);
}

static void put_double_always(struct buf *out, unsigned no, double v)
{
    put_tag(out, no, PB_I64);
    buf_le64(out, f64_bits(v));
}

/* -0 is not the default: its sign is kept. */
static void put_double(struct buf *out, unsigned no, double v)
{
    if (f64_bits(v))
        put_double_always(out, no, v);
}

static void put_bytes(struct buf *out, unsigned no, struct sv s)
{
    put_tag(out, no, PB_LEN);
    buf_uvarint(out, s.n);
    buf_sv(out, s);
}

static uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static void put_spans(struct buf *out, unsigned no, const struct hist_side *s, struct buf *scratch)
{
    for (uint32_t i = 0; i < s->spans_n; i++) {
        buf_clear(scratch);
        put_varint(scratch, 1, (uint32_t)zigzag(s->spans[i].offset));
        put_varint(scratch, 2, s->spans[i].length);
        put_bytes(out, no, buf_view(scratch));
    }
}

static void put_deltas(struct buf *out, unsigned no, const struct hist_side *s, struct buf *scratch)
{
    uint64_t last = 0;

    if (!s->buckets_n)
        return;
    buf_clear(scratch);
    for (uint32_t i = 0; i < s->buckets_n; i++) {
        buf_uvarint(scratch, zigzag((int64_t)(s->counts[i] - last)));
        last = s->counts[i];
    }
    put_bytes(out, no, buf_view(scratch));
}

static void put_doubles(struct buf *out, unsigned no, const double *p, uint32_t n)
{
    if (!n)
        return;
    put_tag(out, no, PB_LEN);
    buf_uvarint(out, (uint64_t)n * sizeof(*p));
    buf_put(out, p, n * sizeof(*p));
}

static void put_hist(struct buf *out, const struct hist *h, int64_t t_ms, struct buf *scratch)
{
    if (h->is_float) {
        put_double_always(out, 2, h->fcount);
    } else {
        put_tag(out, 1, PB_VARINT);
        buf_uvarint(out, h->count);
    }
    put_double(out, 3, h->sum);
    put_varint(out, 4, (uint32_t)zigzag(h->schema));
    put_double(out, 5, h->zero_threshold);
    if (h->is_float) {
        put_double_always(out, 7, h->fzero_count);
    } else {
        put_tag(out, 6, PB_VARINT);
        buf_uvarint(out, h->zero_count);
    }
    put_spans(out, 8, &h->neg, scratch);
    if (h->is_float)
        put_doubles(out, 10, h->neg.fcounts, h->neg.buckets_n);
    else
        put_deltas(out, 9, &h->neg, scratch);
    put_spans(out, 11, &h->pos, scratch);
    if (h->is_float)
        put_doubles(out, 13, h->pos.fcounts, h->pos.buckets_n);
    else
        put_deltas(out, 12, &h->pos, scratch);
    put_varint(out, 14, (uint64_t)h->reset);
    put_varint(out, 15, (uint64_t)t_ms);
    put_doubles(out, 16, h->custom, h->custom_n);
}

void wire_hist_encode(struct buf *out, const struct hist *h, int64_t t_ms)
{
    struct buf scratch;

    buf_init(&scratch, out->max);
    put_hist(out, h, t_ms, &scratch);
    out->over |= scratch.over;
    buf_fini(&scratch);
}

/* A message under construction and what nests in it. */
struct nest {
    struct buf series, inner, scratch;
};

static void put_hists(struct nest *n, const struct batch *b, const struct batch_series *s, unsigned no)
{
    for (uint32_t i = 0; i < s->hist_n; i++) {
        const struct batch_hist *h = &b->hists[s->hist_off + i];

        buf_clear(&n->inner);
        if (h->h && !h->wire.n)
            put_hist(&n->inner, h->h, h->t_ms, &n->scratch);
        else
            buf_sv(&n->inner, h->wire);
        put_varint(&n->inner, 17, (uint64_t)h->st_ms);
        put_bytes(&n->series, no, buf_view(&n->inner));
    }
}

static void put_series(struct nest *n, const struct batch *b, const struct batch_series *s)
{
    buf_clear(&n->series);
    buf_sv(&n->series, s->raw);
    for (uint32_t i = 0; i < s->sample_n; i++) {
        const struct batch_sample *x = &b->samples[s->sample_off + i];

        buf_clear(&n->inner);
        put_double(&n->inner, 1, x->f);
        put_varint(&n->inner, 2, (uint64_t)x->t_ms);
        put_bytes(&n->series, 2, buf_view(&n->inner));
    }
    for (uint32_t i = 0; i < s->exemplar_n; i++) {
        const struct batch_exemplar *e = &b->exemplars[s->exemplar_off + i];

        buf_clear(&n->inner);
        buf_sv(&n->inner, e->raw);
        put_double(&n->inner, 2, e->f);
        put_varint(&n->inner, 3, (uint64_t)e->t_ms);
        put_bytes(&n->series, 3, buf_view(&n->inner));
    }
    put_hists(n, b, s, 4);
}

void wire_write_v1_encode(struct buf *out, const struct batch *b)
{
    struct nest n;

    buf_init(&n.series, out->max);
    buf_init(&n.inner, out->max);
    buf_init(&n.scratch, out->max);
    for (size_t i = 0; i < b->series_n; i++) {
        put_series(&n, b, &b->series[i]);
        put_bytes(out, 1, buf_view(&n.series));
    }
    for (size_t i = 0; i < b->metadata_n; i++) {
        const struct batch_metadata *m = &b->metadata[i];

        buf_clear(&n.inner);
        put_varint(&n.inner, 1, m->type);
        if (m->metric.n)
            put_bytes(&n.inner, 2, m->metric);
        if (m->help.n)
            put_bytes(&n.inner, 4, m->help);
        if (m->unit.n)
            put_bytes(&n.inner, 5, m->unit);
        put_bytes(out, 3, buf_view(&n.inner));
    }
    out->over |= n.series.over | n.inner.over | n.scratch.over;
    buf_fini(&n.series);
    buf_fini(&n.inner);
    buf_fini(&n.scratch);
}

/* --- 2.0 --- */

struct nest2 {
    struct nest n;
    struct hmap refs; /* symbol -> its number + 1, as a pointer */
    struct buf symbols, list;
    struct arena arena;
    const struct batch *batch;
    size_t metadata_i; /* the next row to be written */
};

static uint32_t ref_of(struct nest2 *x, struct sv symbol)
{
    uintptr_t at = (uintptr_t)hmap_get(&x->refs, symbol);

    if (!at) {
        at = x->refs.n + 1;
        hmap_set(&x->refs, symbol, (void *)at);
        put_bytes(&x->symbols, 4, symbol);
    }
    return (uint32_t)(at - 1);
}

static void put_refs(struct nest2 *x, struct buf *out, struct labels ls)
{
    buf_clear(&x->list);
    for (size_t i = 0; i < ls.n; i++) {
        buf_uvarint(&x->list, ref_of(x, ls.p[i].name));
        buf_uvarint(&x->list, ref_of(x, ls.p[i].value));
    }
    if (ls.n)
        put_bytes(out, 1, buf_view(&x->list));
}

/* Labels that were decoded before; none when they were not, which a test sees. */
static struct labels labels_read(struct nest2 *x, struct sv raw)
{
    struct labels ls = {NULL, 0};

    arena_reset(&x->arena);
    if (labels_from_wire(raw, SIZE_MAX / 2, &x->arena, &ls, NULL) != ST_OK)
        x->symbols.over = true;
    return ls;
}

static void put_metadata(struct nest2 *x)
{
    const struct batch_metadata *m = &x->batch->metadata[x->metadata_i++];

    buf_clear(&x->n.inner);
    put_varint(&x->n.inner, 1, m->type);
    put_varint(&x->n.inner, 3, ref_of(x, m->help));
    put_varint(&x->n.inner, 4, ref_of(x, m->unit));
    put_bytes(&x->n.series, 5, buf_view(&x->n.inner));
}

static void put_series_v2(struct nest2 *x, const struct batch_series *s)
{
    const struct batch *b = x->batch;
    struct labels ls = labels_read(x, s->raw);
    struct sv name = {NULL, 0};

    for (size_t i = ls.n; i; i--)
        if (sv_is(ls.p[i - 1].name, "__name__"))
            name = ls.p[i - 1].value;
    buf_clear(&x->n.series);
    put_refs(x, &x->n.series, ls);
    for (uint32_t i = 0; i < s->sample_n; i++) {
        const struct batch_sample *v = &b->samples[s->sample_off + i];

        buf_clear(&x->n.inner);
        put_double(&x->n.inner, 1, v->f);
        put_varint(&x->n.inner, 2, (uint64_t)v->t_ms);
        put_varint(&x->n.inner, 3, (uint64_t)v->st_ms);
        put_bytes(&x->n.series, 2, buf_view(&x->n.inner));
    }
    put_hists(&x->n, b, s, 3);
    if (x->metadata_i < b->metadata_n && name.n &&
        sv_eq(b->metadata[x->metadata_i].metric,
              wire_family_of(name, b->metadata[x->metadata_i].type)))
        put_metadata(x);
    for (uint32_t i = 0; i < s->exemplar_n; i++) {
        const struct batch_exemplar *e = &b->exemplars[s->exemplar_off + i];

        buf_clear(&x->n.inner);
        put_refs(x, &x->n.inner, labels_read(x, e->raw));
        put_double(&x->n.inner, 2, e->f);
        put_varint(&x->n.inner, 3, (uint64_t)e->t_ms);
        put_bytes(&x->n.series, 4, buf_view(&x->n.inner));
    }
}

void wire_write_v2_encode(struct buf *out, const struct batch *b)
{
    struct nest2 x = {.batch = b};
    struct buf series, *all[] = {&x.n.series, &x.n.inner, &x.n.scratch, &x.symbols, &x.list, &series};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        buf_init(all[i], out->max);
    arena_init(&x.arena, SIZE_MAX / 2);
    hmap_init(&x.refs);
    ref_of(&x, SV(""));
    for (size_t i = 0; i < b->series_n; i++) {
        put_series_v2(&x, &b->series[i]);
        put_bytes(&series, 5, buf_view(&x.n.series));
    }
    while (x.metadata_i < b->metadata_n) {
        struct label name = {SV("__name__"), b->metadata[x.metadata_i].metric};

        buf_clear(&x.n.series);
        put_refs(&x, &x.n.series, (struct labels){&name, 1});
        put_metadata(&x);
        put_bytes(&series, 5, buf_view(&x.n.series));
    }
    buf_sv(out, buf_view(&x.symbols));
    buf_sv(out, buf_view(&series));
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        out->over |= all[i]->over;
        buf_fini(all[i]);
    }
    arena_fini(&x.arena);
    hmap_fini(&x.refs);
}
