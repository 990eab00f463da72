/* One eval command: the query, its variants pinned by @, and each as the middle of a range. */
#include "promqltest_run.h"

#include "promql/fn.h"

#include <stdlib.h>
#include <string.h>

#define QUERY_MEMORY_MAX ((size_t)1 << 30)
#define MINUTE_MS 60000

/* One evaluation and all it allocated. */
struct query {
    struct arena arena;
    struct expr *e;
    struct value *v;
};

static void query_fini(struct query *q)
{
    expr_free(q->e);
    arena_fini(&q->arena);
}

static enum status query_run(struct query *q, const struct script *s, struct sv text,
                             int64_t start_ms, int64_t end_ms, int64_t step_ms, struct err *err)
{
    struct query_ctx ctx = {.arena = &q->arena};
    struct promql_params params = {.start_ms = start_ms,
                                   .end_ms = end_ms,
                                   .step_ms = step_ms,
                                   .lookback_ms = LOOKBACK_MS,
                                   .opts = s->opts->promql,
                                   .text = text};

    *q = (struct query){0};
    arena_init(&q->arena, QUERY_MEMORY_MAX);
    TRY(promql_parse(&q->arena, text, &params.opts, &q->e, err));
    TRY(promql_durations(q->e, &params, err));
    return promql_eval(promqltest_memory_storage(s->memory), &ctx, q->e, &params, &q->v, NULL,
                       err);
}

/* --- pinning by @ --------------------------------------------------------------------------- */

static void pin_time(struct expr_time *t, int64_t at_ms)
{
    if (t->at != AT_NONE)
        return;
    t->at = AT_TIME;
    t->at_ms = at_ms;
}

/* Inside a subquery that is pinned nothing else is. */
static void pin(struct expr *e, int64_t at_ms)
{
    struct expr *c;

    if (e->kind == EXPR_VECTOR)
        pin_time(&e->vector.time, at_ms);
    if (e->kind == EXPR_SUBQUERY) {
        pin_time(&e->subquery.time, at_ms);
        return;
    }
    for (size_t i = 0; (c = expr_child(e, i)); i++)
        pin(c, at_ms);
}

/* Functions whose value moves with the time of evaluation, whatever their arguments. */
static bool moves(const struct expr *e)
{
    static const char *const names[] = {
        "days_in_month", "day_of_month", "day_of_week", "day_of_year", "end", "hour", "minute",
        "month", "year", "predict_linear", "range", "start", "step", "time", "timestamp"};
    struct expr *c;

    for (size_t i = 0; e->kind == EXPR_CALL && i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(e->call.fn->name, names[i]) == 0)
            return true;
    for (size_t i = 0; (c = expr_child(e, i)); i++)
        if (moves(c))
            return true;
    return false;
}

/* --- checks --------------------------------------------------------------------------------- */

static bool of_query_time(struct sv text)
{
    static const char *const calls[] = {"start()", "end()", "range()", "step()"};

    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
        if (sv_search(text, sv_of(calls[i])) != SIZE_MAX)
            return true;
    return false;
}

/* The rows of a range result at one time, as an instant result. */
static enum status compare_middle(const struct eval *e, const struct value *range, int64_t at_ms,
                                  enum value_kind kind, struct arena *arena, struct err *err)
{
    struct value v = {.kind = kind};

    for (size_t i = 1; i < range->rows_n; i++)
        if (labels_cmp(range->rows[i - 1].labels, range->rows[i].labels) > 0)
            return err_set(err, ST_INVALID, "the range result is not sorted by labels");
    v.rows = arena_array(arena, range->rows_n + 1, sizeof(*v.rows));
    for (size_t i = 0; i < range->rows_n; i++) {
        const struct row *r = &range->rows[i];

        for (size_t k = 0; k < r->n; k++)
            if (r->t_ms[k] == at_ms)
                v.rows[v.rows_n++] = (struct row){r->labels, r->t_ms + k, r->f + k,
                                                  r->h ? r->h + k : NULL, 1};
    }
    if (kind == VALUE_SCALAR && v.rows_n == 0)
        return err_set(err, ST_INVALID, "the range result has no middle");
    TRY(promqltest_compare(e, &v, err));
    return ST_OK;
}

static enum status as_range(const struct script *s, const struct eval *e, struct sv text,
                            int64_t at_ms, enum value_kind kind, struct err *err)
{
    struct query q;
    enum status st = query_run(&q, s, text, at_ms - MINUTE_MS, at_ms + MINUTE_MS, MINUTE_MS, err);

    if (st == ST_OK && !e->ordered)
        st = compare_middle(e, q.v, at_ms, kind, &q.arena, err);
    query_fini(&q);
    return st == ST_OK ? st : err_wrap(err, "as a range");
}

static enum status failed(const struct eval *e, const struct err *got, struct err *err)
{
    if (promqltest_expects(e, EXPECT_FAIL))
        return promqltest_failure(e, got, err);
    return err_set(err, ST_INVALID, "%.500s", got->msg);
}

static enum status instant(const struct script *s, const struct eval *e, struct sv text,
                           int64_t at_ms, struct err *err)
{
    struct err got = ERR_INIT;
    enum value_kind kind;
    struct query q;
    enum status st = query_run(&q, s, text, at_ms, at_ms, 0, &got);

    if (st != ST_OK) {
        query_fini(&q);
        return failed(e, &got, err);
    }
    kind = q.v->kind;
    st = promqltest_expects(e, EXPECT_FAIL)
             ? err_set(err, ST_INVALID, "expected an error, got a value")
             : promqltest_notes(e, q.v, err);
    if (st == ST_OK)
        st = promqltest_compare(e, q.v, err);
    query_fini(&q);
    if (st != ST_OK || e->window || e->string_set || of_query_time(text))
        return st;
    return as_range(s, e, text, at_ms, kind, err);
}

static enum status pinned(const struct script *s, const struct eval *e, struct err *err)
{
    int64_t ts = e->window ? e->end_ms : e->start_ms;
    int64_t times[] = {-10 * ts, 0, ts / 5, ts, 10 * ts};
    size_t n = 5;
    struct arena arena;
    struct expr *tree = NULL;
    struct buf text;
    enum status st = ST_OK;

    if (ts == 0) {
        times[0] = -1000;
        times[2] = 1000;
        n = 3;
    }
    arena_init(&arena, QUERY_MEMORY_MAX);
    buf_init(&text, PROMQL_TEXT_MAX);
    if (promql_parse(&arena, e->text, &s->opts->promql, &tree, err) == ST_OK && !moves(tree)) {
        pin(tree, ts);
        promql_print(&text, tree);
        for (size_t i = 0; i < n && st == ST_OK; i++) {
            st = instant(s, e, buf_view(&text), times[i], err);
            if (st != ST_OK)
                err_wrap(err, "pinned, at %lld", (long long)times[i]);
        }
    }
    expr_free(tree);
    buf_fini(&text);
    arena_fini(&arena);
    return st;
}

static enum status range(const struct script *s, const struct eval *e, struct err *err)
{
    struct err got = ERR_INIT;
    struct query q;
    enum status st = query_run(&q, s, e->text, e->start_ms, e->end_ms, e->step_ms, &got);

    if (st != ST_OK) {
        st = failed(e, &got, err);
    } else {
        st = promqltest_expects(e, EXPECT_FAIL)
                 ? err_set(err, ST_INVALID, "expected an error, got a value")
                 : promqltest_notes(e, q.v, err);
        if (st == ST_OK)
            st = promqltest_compare(e, q.v, err);
    }
    query_fini(&q);
    return st;
}

enum status promqltest_eval(const struct script *s, const struct eval *e, struct err *err)
{
    if (e->range)
        return range(s, e, err);
    TRY(instant(s, e, e->text, e->window ? e->end_ms : e->start_ms, err));
    return pinned(s, e, err);
}
