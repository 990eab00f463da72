/* The pipeline, top to bottom: parse once, limits, one flight per key, cache, evaluation, limit. */
#include "base/heap.h"
#include "base/log.h"
#include "base/vec.h"
#include "fe_int.h"

#include <inttypes.h>

#define FRESH_BYTES ((uint64_t)32 << 20)
#define DEFAULT_LOOKBACK_MS INT64_C(300000)
#define TEXT_MAX ((size_t)4 << 20)
#define INSTANT_FRESH_MS INT64_C(1000)
#define TRUNCATED "results truncated due to limit"

struct fe *fe_new(const struct fe_opts *opts)
{
    struct fe *f = heap_new(struct fe);
    struct metrics *m = opts->metrics;

    f->opts = *opts;
    f->queue = fe_queue_new(opts->workers, m);
    f->flights = fe_flights_new();
    f->fresh = cache_lru_new(FRESH_BYTES, opts->budget, opts->clk, m, "fresh");
    if (!m)
        return f;
    f->m_hit = metric_counter(m, "engram_frontend_buckets_total", "outcome=\"hit\"",
                              "Buckets of steps by what the results cache did for them.");
    f->m_miss = metric_counter(m, "engram_frontend_buckets_total", "outcome=\"miss\"",
                               "Buckets of steps by what the results cache did for them.");
    f->m_bypass = metric_counter(m, "engram_frontend_buckets_total", "outcome=\"bypass\"",
                                 "Buckets of steps by what the results cache did for them.");
    f->m_stored = metric_counter(m, "engram_frontend_stored_total", "", "Buckets put into the cache.");
    f->m_refused = metric_counter(m, "engram_frontend_not_stored_total", "",
                                  "Answers not stored: incomplete, with warnings, or data changed.");
    f->m_shared = metric_counter(m, "engram_frontend_shared_total", "",
                                 "Queries answered by another's evaluation.");
    f->m_seconds = metric_seconds(m, "engram_frontend_query_seconds", "", "Queries, in all.");
    f->m_eval = metric_seconds(m, "engram_frontend_eval_seconds", "", "Evaluations of pieces.");
    f->m_wait = metric_seconds(m, "engram_frontend_queue_seconds", "", "Waiting for a turn.");
    return f;
}

void fe_free(struct fe *f)
{
    if (!f)
        return;
    fe_queue_free(f->queue);
    fe_flights_free(f->flights);
    f->fresh->ops->close(f->fresh);
    heap_free(f);
}

/* Text to a tree whose times are those of the whole request, and its canonical text. */
static enum status prepare(struct fe_run *r, struct err *err)
{
    const struct fe_query *q = r->q;
    struct promql_params p = {.start_ms = q->start_ms,
                              .end_ms = q->end_ms,
                              .step_ms = q->range ? q->step_ms : 0,
                              .lookback_ms = r->lookback_ms,
                              .opts = r->fe->opts.promql};
    struct buf text;

    TRY(promql_parse(r->ctx->arena, q->text, &r->fe->opts.promql, &r->expr, err));
    TRY(promql_durations(r->expr, &p, err));
    promql_bind(r->expr, q->start_ms, q->end_ms);
    buf_init(&text, TEXT_MAX);
    promql_print(&text, r->expr);
    r->text = arena_sv(r->ctx->arena, buf_view(&text));
    buf_fini(&text);
    if (arena_over(r->ctx->arena))
        return err_set(err, ST_LIMIT, "the query needs more than %zu bytes", r->ctx->arena->max_bytes);
    return fe_check_limits(r, err);
}

/* The series beyond `limit` go, and the answer says so. */
static void cut_to_limit(struct fe_run *r, struct value *v)
{
    struct sv *w;

    if (!r->q->limit || v->rows_n <= r->q->limit || v->kind == VALUE_SCALAR)
        return;
    v->rows_n = r->q->limit;
    w = arena_array(r->ctx->arena, v->warnings_n + 1, sizeof(*w));
    if (!w)
        return;
    if (v->warnings_n)
        memcpy(w, v->warnings, v->warnings_n * sizeof(*w));
    w[v->warnings_n] = SV(TRUNCATED);
    v->warnings = w;
    v->warnings_n++;
}

static enum status evaluate(struct fe_run *r, struct value **ret, struct err *err)
{
    return r->q->range ? fe_range(r, ret, err) : fe_instant(r, ret, err);
}

/* How old a flight may be that is joined. What has settled stays as it is, as long as the digest in the
 * key does; an answer that has not is shared for a moment. */
static int64_t flight_age_ns(const struct fe_run *r, const struct fe_mark *mark)
{
    int64_t ms = r->q->range ? r->q->step_ms / 2 : INSTANT_FRESH_MS;

    if (mark->settled)
        return INT64_MAX;
    return (ms < FE_FRESH_MS ? ms : FE_FRESH_MS) * 1000000;
}

/* Errors and infos name places in the text as it was sent, so that is part of the key. */
static void flight_key(struct buf *out, const struct fe_run *r, const struct fe_mark *mark)
{
    struct fe_grid g = {.step_ms = r->q->step_ms};

    fe_key(out, r, r->q->range ? &g : NULL, 'F', r->q->start_ms, r->q->end_ms, mark);
    buf_varint(out, r->q->timeout_ms);
    buf_sv(out, r->q->text);
}

/* One evaluation for all who ask the same while it runs. */
static enum status in_one_flight(struct fe_run *r, struct value **ret, struct err *err)
{
    const struct fe_query *q = r->q;
    struct fe_mark mark = fe_mark_of(r, q->start_ms, q->range ? q->end_ms : q->start_ms,
                                     q->range ? q->step_ms : 0);
    bool alone = false;
    struct buf key;
    enum status st;

    buf_init(&key, 2 * TEXT_MAX);
    flight_key(&key, r, &mark);
    do {
        bool leader;
        struct fe_flight *flight =
            fe_flight_join(r->fe->flights, buf_view(&key), clk_mono_ns(r->fe->opts.clk),
                           flight_age_ns(r, &mark), &leader);

        if (leader) {
            r->flight = flight;
            st = evaluate(r, ret, err);
            fe_flight_land(r->fe->flights, flight, *ret, st, err, r->stats);
            break;
        }
        st = fe_flight_wait(r->fe->flights, flight, &r->inner, ret, &alone, r->stats, err);
        if (st == ST_OK && *ret)
            metric_inc(r->fe->m_shared);
    } while (st == ST_OK && !*ret && !alone);
    buf_fini(&key);
    return alone ? evaluate(r, ret, err) : st;
}

static void count(struct fe *f, const struct fe_stats *s)
{
    metric_add(f->m_hit, s->hit);
    metric_add(f->m_miss, s->miss);
    metric_add(f->m_bypass, s->bypass);
    metric_observe(f->m_seconds, (double)s->total_ns / 1e9);
}

enum status fe_run(struct fe *f, const struct query_ctx *ctx, const struct fe_query *q,
                   struct value **ret, struct fe_stats *ret_stats, struct err *err)
{
    int64_t began_ns = clk_mono_ns(f->opts.clk), timeout_ms = f->opts.timeout_ms;
    struct fe_run r = {.fe = f,
                       .ctx = ctx,
                       .inner = *ctx,
                       .q = q,
                       .lookback_ms = q->lookback_ms ? q->lookback_ms : DEFAULT_LOOKBACK_MS,
                       .stats = ret_stats};
    enum status st;

    memset(ret_stats, 0, sizeof(*ret_stats));
    *ret = NULL;
    if (q->timeout_ms && q->timeout_ms < timeout_ms)
        timeout_ms = q->timeout_ms;
    r.inner.deadline_ns = began_ns + timeout_ms * 1000000;
    account_init(&r.results, f->opts.budget, BUDGET_QUERY, (int64_t)fe_query_memory(&r));
    st = prepare(&r, err);
    /* Enforced matchers are not part of keys: such an answer is nobody else's. */
    if (st == ST_OK)
        st = q->no_cache || ctx->who->enforced_n ? evaluate(&r, ret, err)
                                                 : in_one_flight(&r, ret, err);
    if (st == ST_OK)
        cut_to_limit(&r, *ret);
    expr_free(r.expr);
    account_fini(&r.results);
    ret_stats->total_ns = clk_mono_ns(f->opts.clk) - began_ns;
    count(f, ret_stats);
    return st;
}
