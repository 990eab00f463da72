/* Neighbouring stretches of steps become one matrix: the rows of a label set are joined in order of
 * time, rows are put into label order. */
#include "base/heap.h"
#include "base/vec.h"
#include "fe_int.h"

#include <stdlib.h>

struct segment {
    size_t order; /* of its part: time */
    const struct row *row;
    size_t from, to; /* its points */
};

static int by_labels(const void *a, const void *b)
{
    const struct segment *x = a, *y = b;
    int c = labels_cmp(x->row->labels, y->row->labels);

    return c ? c : (x->order > y->order) - (x->order < y->order);
}

static size_t first_at(const struct row *row, int64_t t_ms)
{
    size_t a = 0, b = row->n;

    while (a < b) {
        size_t m = a + (b - a) / 2;

        if (row->t_ms[m] < t_ms)
            a = m + 1;
        else
            b = m;
    }
    return a;
}

static const struct hist_span *dup_spans(struct arena *arena, const struct hist_side *side)
{
    struct hist_span *p = arena_alloc(arena, (side->spans_n ? side->spans_n : 1) * sizeof(*p));

    if (p && side->spans_n)
        memcpy(p, side->spans, side->spans_n * sizeof(*p));
    return p;
}

static void *dup_bytes(struct arena *arena, const void *from, size_t bytes)
{
    void *p = from ? arena_alloc(arena, bytes ? bytes : 1) : NULL;

    if (p && bytes)
        memcpy(p, from, bytes);
    return p;
}

static void dup_side(struct arena *arena, struct hist_side *side)
{
    side->spans = dup_spans(arena, side);
    side->counts = dup_bytes(arena, side->counts, side->buckets_n * sizeof(*side->counts));
    side->fcounts = dup_bytes(arena, side->fcounts, side->buckets_n * sizeof(*side->fcounts));
}

/* Pieces die before the answer does, so histograms are copied as well. */
static const struct hist *dup_hist(struct arena *arena, const struct hist *h)
{
    struct hist *n = h ? dup_bytes(arena, h, sizeof(*h)) : NULL;

    if (!n)
        return NULL;
    dup_side(arena, &n->pos);
    dup_side(arena, &n->neg);
    n->custom = dup_bytes(arena, h->custom, h->custom_n * sizeof(*h->custom));
    return n;
}

/* One row of the result from segments of equal labels. */
static bool join(struct arena *arena, const struct segment *s, size_t n, struct row *ret)
{
    size_t points = 0, at = 0;
    int64_t *t;
    double *f;
    const struct hist **h = NULL;
    bool any_h = false;

    for (size_t i = 0; i < n; i++) {
        points += s[i].to - s[i].from;
        any_h |= s[i].row->h != NULL;
    }
    t = arena_alloc(arena, points * sizeof(*t));
    f = arena_alloc(arena, points * sizeof(*f));
    if (any_h)
        h = arena_array(arena, points, sizeof(*h));
    ret->labels = labels_dup(arena, s[0].row->labels);
    if (arena_over(arena))
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t k = s[i].to - s[i].from;

        memcpy(t + at, s[i].row->t_ms + s[i].from, k * sizeof(*t));
        memcpy(f + at, s[i].row->f + s[i].from, k * sizeof(*f));
        for (size_t p = 0; s[i].row->h && p < k; p++)
            h[at + p] = dup_hist(arena, s[i].row->h[s[i].from + p]);
        at += k;
    }
    ret->t_ms = t;
    ret->f = f;
    ret->h = h;
    ret->n = points;
    return true;
}

static void gather_texts(struct arena *arena, const struct sv *from, size_t n, struct sv **to,
                         size_t *to_n)
{
    struct sv *all = arena_array(arena, *to_n + n ? *to_n + n : 1, sizeof(*all));

    if (!all)
        return;
    if (*to_n)
        memcpy(all, *to, *to_n * sizeof(*all));
    *to = all;
    for (size_t i = 0; i < n; i++) {
        bool known = false;

        for (size_t k = 0; k < *to_n && !known; k++)
            known = sv_eq(all[k], from[i]);
        if (!known)
            all[(*to_n)++] = arena_sv(arena, from[i]);
    }
}

enum status fe_merge(struct arena *arena, const struct fe_part *parts, size_t n, struct value **ret,
                     struct err *err)
{
    VEC(struct segment) all = {0};
    struct value *v = arena_new(arena, struct value);
    size_t rows = 0;

    if (!v)
        return err_set(err, ST_LIMIT, "the answer needs more than %zu bytes", arena->max_bytes);
    v->kind = VALUE_MATRIX;
    v->complete = true;
    for (size_t p = 0; p < n; p++) {
        v->complete &= parts[p].value->complete;
        gather_texts(arena, parts[p].value->warnings, parts[p].value->warnings_n, &v->warnings,
                     &v->warnings_n);
        gather_texts(arena, parts[p].value->infos, parts[p].value->infos_n, &v->infos, &v->infos_n);
        for (size_t i = 0; i < parts[p].value->rows_n; i++) {
            const struct row *row = &parts[p].value->rows[i];
            struct segment s = {.order = p, .row = row, .from = first_at(row, parts[p].from_ms)};

            s.to = parts[p].to_ms == INT64_MAX ? row->n : first_at(row, parts[p].to_ms + 1);
            if (s.from < s.to)
                vec_push(&all, s);
        }
    }
    if (all.n)
        qsort(all.p, all.n, sizeof(*all.p), by_labels);
    for (size_t i = 0; i < all.n; i++)
        rows += !i || labels_cmp(all.p[i].row->labels, all.p[i - 1].row->labels) != 0;
    v->rows = arena_array(arena, rows ? rows : 1, sizeof(*v->rows));
    for (size_t i = 0, k; v->rows && i < all.n; i = k) {
        for (k = i + 1; k < all.n && labels_cmp(all.p[i].row->labels, all.p[k].row->labels) == 0; k++)
            ;
        if (!join(arena, &all.p[i], k - i, &v->rows[v->rows_n]))
            break;
        v->rows_n++;
    }
    vec_free(&all);
    if (arena_over(arena))
        return err_set(err, ST_LIMIT, "the answer needs more than %zu bytes", arena->max_bytes);
    *ret = v;
    return ST_OK;
}

struct value *fe_value_dup(struct arena *arena, const struct value *from)
{
    struct value *v = arena_new(arena, struct value);

    if (!v)
        return NULL;
    *v = (struct value){.kind = from->kind, .t_ms = from->t_ms, .complete = from->complete};
    v->string = arena_sv(arena, from->string);
    gather_texts(arena, from->warnings, from->warnings_n, &v->warnings, &v->warnings_n);
    gather_texts(arena, from->infos, from->infos_n, &v->infos, &v->infos_n);
    v->rows = arena_array(arena, from->rows_n ? from->rows_n : 1, sizeof(*v->rows));
    for (size_t i = 0; v->rows && i < from->rows_n; i++) {
        struct segment s = {.row = &from->rows[i], .to = from->rows[i].n};

        if (!join(arena, &s, 1, &v->rows[v->rows_n]))
            break;
        v->rows_n++;
    }
    return arena_over(arena) ? NULL : v;
}
