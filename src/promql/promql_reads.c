/* Which times an evaluation reads. A walk from the root carries the span of evaluation times; a
 * subquery moves and widens it, a selector turns it into what its samples may lie in.
 *
 *   selector           (first - lookback, last]  - offset
 *   selector[range]    (first - range, last]     - offset   (anchored and smoothed: with lookback)
 *   expr[range:step]   evaluates expr over [first - range, last] - offset
 *
 * What is left-open here is taken one millisecond wider: the list covers, it need not be tight. */
#include "promql_lang_int.h"

#include <stdlib.h>

struct span { /* evaluation times, both ends included */
    int64_t first_ms, last_ms;
};

struct walk {
    const struct promql_params *params;
    struct arena *arena;
    struct promql_reads *out;
    size_t cap;
    bool all; /* the arena is over: everything is read, which is true enough */
};

static int64_t minus(int64_t a, int64_t b)
{
    int64_t r;

    if (!__builtin_sub_overflow(a, b, &r))
        return r;
    return b > 0 ? INT64_MIN : INT64_MAX;
}

static int64_t plus(int64_t a, int64_t b)
{
    int64_t r;

    if (!__builtin_add_overflow(a, b, &r))
        return r;
    return b < 0 ? INT64_MIN : INT64_MAX;
}

static void add(struct walk *w, struct trange r)
{
    if (w->all)
        return;
    if (w->out->n == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 8;
        struct trange *more = arena_array(w->arena, cap, sizeof(*more));

        if (!more) {
            w->all = true;
            return;
        }
        if (w->out->n)
            memcpy(more, w->out->p, w->out->n * sizeof(*more));
        w->out->p = more;
        w->cap = cap;
    }
    w->out->p[w->out->n++] = r;
}

/* A duration expression's value; one that fails in evaluation reads nothing, so 0 will do. */
static int64_t span_ms(const struct walk *w, int64_t plain, const struct expr *e, bool negative_ok)
{
    int64_t ms = 0;

    if (!e)
        return plain;
    return promql_duration_value(e, w->params, negative_ok, &ms, NULL) == ST_OK ? ms : 0;
}

static struct span moved(const struct walk *w, struct span s, const struct expr_time *t)
{
    int64_t offset = span_ms(w, t->offset_ms, t->offset_expr, true);

    switch (t->at) {
    case AT_NONE: break;
    case AT_TIME: s = (struct span){t->at_ms, t->at_ms}; break;
    case AT_START: s = (struct span){w->params->start_ms, w->params->start_ms}; break;
    case AT_END: s = (struct span){w->params->end_ms, w->params->end_ms}; break;
    }
    return (struct span){minus(s.first_ms, offset), minus(s.last_ms, offset)};
}

static void read_selector(struct walk *w, const struct expr *v, int64_t range_ms, struct span s)
{
    int64_t back = range_ms, ahead = 0;

    if (!range_ms || v->vector.anchored || v->vector.smoothed)
        back = plus(back, w->params->lookback_ms);
    if (v->vector.smoothed) /* looks for the next sample too */
        ahead = w->params->lookback_ms;
    s = moved(w, s, &v->vector.time);
    add(w, trange_closed(minus(s.first_ms, back), plus(s.last_ms, ahead)));
}

static void walk(struct walk *w, const struct expr *e, struct span s)
{
    struct expr *child;

    if (e->kind == EXPR_VECTOR) {
        read_selector(w, e, 0, s);
        return;
    }
    if (e->kind == EXPR_MATRIX) {
        read_selector(w, e->matrix.selector,
                      span_ms(w, e->matrix.range_ms, e->matrix.range_expr, false), s);
        return;
    }
    if (e->kind == EXPR_SUBQUERY) {
        s = moved(w, s, &e->subquery.time);
        s.first_ms =
            minus(s.first_ms, span_ms(w, e->subquery.range_ms, e->subquery.range_expr, false));
    }
    if (e->kind == EXPR_CALL && e->call.fn->id == FN_INFO) /* reads info series without a selector */
        add(w, trange_closed(minus(s.first_ms, w->params->lookback_ms), s.last_ms));
    for (size_t i = 0; (child = expr_child(e, i)); i++)
        walk(w, child, s);
}

static int by_start(const void *a, const void *b)
{
    const struct trange *x = a, *y = b;

    return (x->from_ms > y->from_ms) - (x->from_ms < y->from_ms);
}

static void merge(struct promql_reads *r)
{
    size_t n = 0;

    if (r->n)
        qsort(r->p, r->n, sizeof(*r->p), by_start);
    for (size_t i = 0; i < r->n; i++) {
        if (n && r->p[i].from_ms <= r->p[n - 1].to_ms) {
            if (r->p[i].to_ms > r->p[n - 1].to_ms)
                r->p[n - 1].to_ms = r->p[i].to_ms;
        } else {
            r->p[n++] = r->p[i];
        }
    }
    r->n = n;
}

void promql_reads(const struct expr *e, const struct promql_params *params, struct arena *arena,
                  struct promql_reads *ret)
{
    static const struct trange always = {INT64_MIN, INT64_MAX};
    struct promql_params p = *params;
    struct walk w = {.params = &p, .arena = arena, .out = ret};

    if (!p.step_ms)
        p.end_ms = p.start_ms;
    *ret = (struct promql_reads){0};
    walk(&w, e, (struct span){p.start_ms, p.end_ms});
    if (w.all) {
        ret->p = (struct trange *)(uintptr_t)&always; /* never written through */
        ret->n = 1;
        return;
    }
    merge(ret);
}
