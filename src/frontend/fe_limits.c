/* What a query may ask: its length, its type, the series it reads. */
#include "base/heap.h"
#include "fe_int.h"

#include <inttypes.h>
#include <stdatomic.h>

enum status fe_check_limits(const struct fe_run *r, struct err *err)
{
    const struct limits *l = r->ctx->who->limits;
    const struct fe_query *q = r->q;

    if (q->range && (q->step_ms <= 0 || q->end_ms < q->start_ms))
        return err_set(err, ST_INVALID, "a range query needs a step and an end not before its start");
    if (q->range && r->expr->type != TYPE_SCALAR && r->expr->type != TYPE_VECTOR)
        return err_set(err, ST_INVALID,
                       "invalid parameter \"query\": invalid expression type \"%s\" for range query, "
                       "must be Scalar or instant Vector", expr_type_name(r->expr->type));
    if (q->range && l && l->max_query_length && q->end_ms - q->start_ms > l->max_query_length)
        return err_set(err, ST_INVALID,
                       "the query time range exceeds the limit (query length: %" PRId64
                       "s, limit max_query_length: %" PRId64 "s)",
                       (q->end_ms - q->start_ms) / 1000, l->max_query_length / 1000);
    return ST_OK;
}

/* --- a storage that counts --- */

struct counted_set {
    struct series_set base;
    struct series_set *inner;
    struct fe_counted *counted;
};

static enum status counted_next(struct series_set *s, bool *ret_more, struct err *err)
{
    struct counted_set *c = (struct counted_set *)s;

    TRY(series_set_next(c->inner, ret_more, err));
    if (!*ret_more) {
        s->outcome = c->inner->outcome;
        memset(&c->inner->outcome, 0, sizeof(c->inner->outcome)); /* its list has moved */
        return ST_OK;
    }
    s->labels = c->inner->labels;
    if (atomic_fetch_add_explicit(&c->counted->series, 1, memory_order_relaxed) >= c->counted->limit)
        return err_set(err, ST_LIMIT,
                       "the query hit the max number of series limit "
                       "(max_fetched_series_per_query: %" PRIu64 ", tenant " SV_FMT ")",
                       c->counted->limit, SV_ARG(c->counted->tenant));
    return ST_OK;
}

static enum status counted_read(struct series_set *s, struct samples *out, struct err *err)
{
    return series_set_read(((struct counted_set *)s)->inner, out, err);
}

static void counted_close(struct series_set *own_s)
{
    struct counted_set *c = (struct counted_set *)own_s;

    series_set_close(c->inner);
    vec_free(&own_s->outcome.warnings);
    heap_free(c);
}

static enum status counted_select(const struct storage *s, const struct query_ctx *ctx,
                                  const struct select_req *req, struct series_set **ret,
                                  struct err *err)
{
    static const struct series_set_ops ops = {counted_next, counted_read, counted_close};
    struct fe_counted *counted = (struct fe_counted *)(uintptr_t)s;
    struct series_set *inner;
    struct counted_set *c;

    TRY(counted->inner->ops->select(counted->inner, ctx, req, &inner, err));
    if (!counted->limit) {
        *ret = inner;
        return ST_OK;
    }
    c = heap_new(struct counted_set);
    c->base.ops = &ops;
    c->inner = inner;
    c->counted = counted;
    *ret = &c->base;
    return ST_OK;
}

void fe_counted_init(struct fe_counted *c, const struct storage *inner, const struct who *who)
{
    /* The evaluator only selects; names and marks are asked past this. */
    static const struct storage_ops ops = {.select = counted_select};

    *c = (struct fe_counted){.base = {&ops},
                             .inner = inner,
                             .limit = who->limits ? who->limits->max_fetched_series_per_query : 0,
                             .tenant = who->tenant};
}
