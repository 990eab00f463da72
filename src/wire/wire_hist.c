/* Native histograms: prometheus.Histogram <-> struct hist.
 *
 * Decoding walks twice: first to count what the arrays need, then to fill them; the arena gets exactly
 * that. Well-formed bytes that are no valid histogram give NULL, not an error, so that the request's
 * other series are stored and this one gets its verdict. */
#include "wire_int.h"

#include <math.h>

enum hist_field {
    F_COUNT_INT = 1, F_COUNT_FLOAT, F_SUM, F_SCHEMA, F_ZERO_THRESHOLD, F_ZERO_INT, F_ZERO_FLOAT,
    F_NEG_SPANS, F_NEG_DELTAS, F_NEG_COUNTS, F_POS_SPANS, F_POS_DELTAS, F_POS_COUNTS, F_RESET,
    F_TIMESTAMP, F_CUSTOM, F_START, F_N
};

#define SCHEMA_MIN (-4)
#define SCHEMA_MAX 8

/* Arrays of one side while they are filled. */
struct side {
    struct hist_span *spans;
    uint64_t *counts;
    double *fcounts;
    uint32_t spans_n, counts_n, fcounts_n;
    int64_t delta_sum;
    bool negative; /* a count below zero, or one that overflows */
};

struct fill {
    struct hist *h;
    struct side pos, neg;
    double *custom;
    uint32_t custom_n;
    bool fzero; /* the zero count came as a float */
};

enum hist_reset wire_reset_of(int64_t v)
{
    return v >= HIST_RESET_UNKNOWN && v <= HIST_RESET_GAUGE ? (enum hist_reset)v
                                                            : HIST_RESET_UNKNOWN;
}

uint32_t wire_metadata_type_of(int64_t v)
{
    return v >= 0 && v <= 7 ? (uint32_t)v : 0;
}

static bool type_fits(const struct field *f)
{
    switch (f->no) {
    case F_COUNT_INT:
    case F_SCHEMA:
    case F_ZERO_INT:
    case F_RESET:
    case F_TIMESTAMP:
    case F_START: return f->type == PB_VARINT;
    case F_COUNT_FLOAT:
    case F_SUM:
    case F_ZERO_THRESHOLD:
    case F_ZERO_FLOAT: return f->type == PB_I64;
    case F_NEG_SPANS:
    case F_POS_SPANS: return f->type == PB_LEN;
    case F_NEG_DELTAS:
    case F_POS_DELTAS: return f->type == PB_LEN || f->type == PB_VARINT;
    case F_NEG_COUNTS:
    case F_POS_COUNTS:
    case F_CUSTOM: return f->type == PB_I64 || (f->type == PB_LEN && f->bytes.n % 8 == 0);
    default: return true;
    }
}

static uint32_t varints_in(const struct field *f)
{
    uint32_t n = 0;

    if (f->type == PB_VARINT)
        return 1;
    for (size_t i = 0; i < f->bytes.n; i++)
        n += !(f->bytes.p[i] & 0x80);
    return n;
}

static uint32_t doubles_in(const struct field *f)
{
    return f->type == PB_I64 ? 1 : (uint32_t)(f->bytes.n / 8);
}

/* First walk: scalars, and how long the arrays will be. */
static bool measure(struct sv msg, struct fill *x, struct batch_hist *to)
{
    struct walk w = walk_of(msg);
    struct hist *h = x->h;
    struct field f = {0};

    while (w.p < w.end) {
        if (!walk_field(&w, &f) || !type_fits(&f))
            return false;
        switch (f.no) {
        case F_COUNT_INT: h->count = f.v, h->is_float = false; break;
        case F_COUNT_FLOAT: h->fcount = double_of(f.v), h->is_float = true; break;
        case F_SUM: h->sum = double_of(f.v); break;
        case F_SCHEMA: h->schema = unzigzag32((uint32_t)f.v); break;
        case F_ZERO_THRESHOLD: h->zero_threshold = double_of(f.v); break;
        case F_ZERO_INT: h->zero_count = f.v, x->fzero = false; break;
        case F_ZERO_FLOAT: h->fzero_count = double_of(f.v), x->fzero = true; break;
        case F_NEG_SPANS: x->neg.spans_n++; break;
        case F_NEG_DELTAS: x->neg.counts_n += varints_in(&f); break;
        case F_NEG_COUNTS: x->neg.fcounts_n += doubles_in(&f); break;
        case F_POS_SPANS: x->pos.spans_n++; break;
        case F_POS_DELTAS: x->pos.counts_n += varints_in(&f); break;
        case F_POS_COUNTS: x->pos.fcounts_n += doubles_in(&f); break;
        case F_RESET: h->reset = wire_reset_of((int32_t)f.v); break;
        case F_TIMESTAMP: to->t_ms = (int64_t)f.v; break;
        case F_START: to->st_ms = (int64_t)f.v; break;
        case F_CUSTOM: x->custom_n += doubles_in(&f); break;
        default: break;
        }
    }
    return true;
}

/* The other alternative of a oneof is gone; arrays of the other kind are not kept. */
static void one_kind(struct fill *x)
{
    struct hist *h = x->h;

    if (h->is_float) {
        h->count = h->zero_count = 0;
        if (!x->fzero)
            h->fzero_count = 0;
    } else {
        h->fcount = h->fzero_count = 0;
        if (x->fzero)
            h->zero_count = 0;
    }
}

static bool reserve(struct side *s, bool is_float, struct arena *arena)
{
    s->spans = arena_array(arena, s->spans_n, sizeof(*s->spans));
    if (is_float)
        s->fcounts = arena_array(arena, s->fcounts_n, sizeof(*s->fcounts));
    else
        s->counts = arena_array(arena, s->counts_n, sizeof(*s->counts));
    s->spans_n = s->counts_n = s->fcounts_n = 0;
    return !arena_over(arena);
}

static bool span(struct side *s, struct sv msg)
{
    struct hist_span *to = &s->spans[s->spans_n++];
    struct walk w = walk_of(msg);
    struct field f;

    while (w.p < w.end) {
        if (!walk_field(&w, &f) || ((f.no == 1 || f.no == 2) && f.type != PB_VARINT))
            return false;
        if (f.no == 1)
            to->offset = unzigzag32((uint32_t)f.v);
        else if (f.no == 2)
            to->length = (uint32_t)f.v;
    }
    return true;
}

/* Deltas become absolute counts. Without an array they are only held to be well-formed. */
static void delta(struct side *s, uint64_t v)
{
    if (!s->counts)
        return;
    if (__builtin_add_overflow(s->delta_sum, unzigzag64(v), &s->delta_sum) || s->delta_sum < 0)
        s->negative = true;
    s->counts[s->counts_n++] = (uint64_t)s->delta_sum;
}

static bool deltas(struct side *s, const struct field *f)
{
    struct walk w;
    uint64_t v;

    if (f->type == PB_VARINT) {
        delta(s, f->v);
        return true;
    }
    w = walk_of(f->bytes);
    while (w.p < w.end) {
        if (!walk_varint(&w, &v))
            return false;
        delta(s, v);
    }
    return true;
}

static void doubles(double *to, uint32_t *n, const struct field *f)
{
    if (!to)
        return;
    if (f->type == PB_I64) {
        to[(*n)++] = double_of(f->v);
    } else if (f->bytes.n) {
        memcpy(to + *n, f->bytes.p, f->bytes.n);
        *n += (uint32_t)(f->bytes.n / 8);
    }
}

/* Second walk: the arrays. */
static bool gather(struct sv msg, struct fill *x)
{
    struct walk w = walk_of(msg);
    struct field f;
    bool ok = true;

    while (ok && w.p < w.end && walk_field(&w, &f)) {
        switch (f.no) {
        case F_NEG_SPANS: ok = span(&x->neg, f.bytes); break;
        case F_NEG_DELTAS: ok = deltas(&x->neg, &f); break;
        case F_NEG_COUNTS: doubles(x->neg.fcounts, &x->neg.fcounts_n, &f); break;
        case F_POS_SPANS: ok = span(&x->pos, f.bytes); break;
        case F_POS_DELTAS: ok = deltas(&x->pos, &f); break;
        case F_POS_COUNTS: doubles(x->pos.fcounts, &x->pos.fcounts_n, &f); break;
        case F_CUSTOM: doubles(x->custom, &x->custom_n, &f); break;
        default: break;
        }
    }
    return ok;
}

static struct hist_side side_of(const struct side *s, bool is_float)
{
    return (struct hist_side){.spans = s->spans,
                              .spans_n = s->spans_n,
                              .counts = s->counts,
                              .fcounts = s->fcounts,
                              .buckets_n = is_float ? s->fcounts_n : s->counts_n};
}

enum status wire_hist(struct sv msg, struct arena *arena, struct batch_hist *to, struct err *err)
{
    struct fill x = {.h = arena_new(arena, struct hist)};

    if (!x.h)
        return wire_over(arena, err);
    if (!measure(msg, &x, to))
        return wire_bad(err, "histogram");
    one_kind(&x);
    if (x.custom_n)
        x.custom = arena_array(arena, x.custom_n, sizeof(*x.custom));
    x.custom_n = 0;
    if (!reserve(&x.pos, x.h->is_float, arena) || !reserve(&x.neg, x.h->is_float, arena))
        return wire_over(arena, err);
    if (!gather(msg, &x))
        return wire_bad(err, "histogram");
    x.h->pos = side_of(&x.pos, x.h->is_float);
    x.h->neg = side_of(&x.neg, x.h->is_float);
    x.h->custom = x.custom;
    x.h->custom_n = x.custom_n;
    to->h = x.pos.negative || x.neg.negative || !wire_hist_valid(x.h) ? NULL : x.h;
    to->wire = msg;
    return ST_OK;
}

/* Spans cover the buckets exactly and do not go back. For custom buckets (limit > 0) they begin at
 * or after 0 and end within limit. */
static bool spans_valid(const struct hist_side *s, uint64_t limit)
{
    uint64_t covered = 0;
    int64_t at = 0;

    for (uint32_t i = 0; i < s->spans_n; i++) {
        if (s->spans[i].offset < 0 && (i || limit))
            return false;
        covered += s->spans[i].length;
        at += (int64_t)s->spans[i].offset + s->spans[i].length;
    }
    if (limit && (uint64_t)at > limit)
        return false;
    /* Bucket indexes are 32 bits wide everywhere after this. */
    return covered == s->buckets_n && at >= INT32_MIN && at <= INT32_MAX;
}

static bool custom_valid(const struct hist *h)
{
    double last = -INFINITY;

    if (h->zero_count || h->fzero_count != 0 || h->zero_threshold != 0 || h->neg.spans_n ||
        h->neg.buckets_n)
        return false;
    for (uint32_t i = 0; i < h->custom_n; i++) {
        /* Also false for NaN. The first bound may be -Inf, none may be +Inf. */
        if (!(h->custom[i] > last || (i == 0 && h->custom[i] == last)) || h->custom[i] == INFINITY)
            return false;
        last = h->custom[i];
    }
    return spans_valid(&h->pos, (uint64_t)h->custom_n + 1);
}

static bool int_counts_valid(const struct hist *h)
{
    uint64_t sum = h->zero_count;

    for (uint32_t i = 0; i < h->pos.buckets_n; i++)
        if (__builtin_add_overflow(sum, h->pos.counts[i], &sum))
            return false;
    for (uint32_t i = 0; i < h->neg.buckets_n; i++)
        if (__builtin_add_overflow(sum, h->neg.counts[i], &sum))
            return false;
    /* NaN observations are counted, but no bucket has them. */
    return isnan(h->sum) ? sum <= h->count : sum == h->count;
}

static bool float_counts_valid(const struct hist *h)
{
    if (h->fcount < 0 || h->fzero_count < 0)
        return false;
    for (uint32_t i = 0; i < h->pos.buckets_n; i++)
        if (h->pos.fcounts[i] < 0)
            return false;
    for (uint32_t i = 0; i < h->neg.buckets_n; i++)
        if (h->neg.fcounts[i] < 0)
            return false;
    return true;
}

bool wire_hist_valid(const struct hist *h)
{
    if (h->schema == HIST_CUSTOM_SCHEMA) {
        if (!custom_valid(h))
            return false;
    } else if (h->schema < SCHEMA_MIN || h->schema > SCHEMA_MAX || h->custom_n ||
               !spans_valid(&h->pos, 0) || !spans_valid(&h->neg, 0)) {
        return false;
    }
    return h->is_float ? float_counts_valid(h) : int_counts_valid(h);
}
