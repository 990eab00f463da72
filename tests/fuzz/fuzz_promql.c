/* Fuzz target: PromQL text. What parses must print to text that parses again and prints the same;
 * JSON, prettified text (which must parse to the same too), time ranges, binding and duration
 * values run on every tree. */
#include "promql/promql.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define ARENA_MAX ((size_t)64 << 20)
#define OUT_MAX   ((size_t)32 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const struct promql_opts plain, all_features = {true, true, true, true, true, true};

/* A plus says nothing ("+Inf" is printed with one); parentheses come where they are needed. */
static const struct expr *bare(const struct expr *e)
{
    for (;;) {
        if (e->kind == EXPR_UNARY && !e->unary.minus)
            e = e->unary.e;
        else if (e->kind == EXPR_PAREN)
            e = e->paren.e;
        else
            return e;
    }
}

static bool same(const struct expr *a, const struct expr *b, bool duration);

static bool same_duration(const struct expr *a, const struct expr *b)
{
    return a && b ? same(a, b, true) : a == b;
}

static bool same_time(const struct expr_time *a, const struct expr_time *b)
{
    return a->offset_ms == b->offset_ms && a->at == b->at &&
           same_duration(a->offset_expr, b->offset_expr);
}

static bool same_number(const struct expr *a, const struct expr *b)
{
    double v = a->number.v, w = b->number.v;

    return a->number.duration == b->number.duration && (isnan(v) ? isnan(w) : v == w) &&
           (isnan(v) || !signbit(v) == !signbit(w));
}

static bool same_list(struct expr_list a, struct expr_list b, bool duration)
{
    bool ok = a.n == b.n;

    for (size_t i = 0; ok && i < a.n; i++)
        ok = same(a.p[i], b.p[i], duration);
    return ok;
}

static bool same_binary(const struct expr *a, const struct expr *b, bool duration)
{
    return a->binary.op == b->binary.op && a->binary.return_bool == b->binary.return_bool &&
           a->binary.card == b->binary.card && a->binary.on == b->binary.on &&
           a->binary.labels.n == b->binary.labels.n &&
           a->binary.include.n == b->binary.include.n &&
           same(a->binary.l, b->binary.l, duration) && same(a->binary.r, b->binary.r, duration);
}

static bool same(const struct expr *a, const struct expr *b, bool duration)
{
    a = bare(a);
    b = bare(b);
    if (a->kind != b->kind || (!duration && a->type != b->type))
        return false;
    switch (a->kind) {
    case EXPR_NUMBER: return same_number(a, b);
    case EXPR_STRING: return sv_eq(a->string.v, b->string.v);
    case EXPR_VECTOR:
        return sv_eq(a->vector.name, b->vector.name) &&
               a->vector.matchers_n == b->vector.matchers_n &&
               same_time(&a->vector.time, &b->vector.time);
    case EXPR_MATRIX:
        return a->matrix.range_ms == b->matrix.range_ms &&
               same_duration(a->matrix.range_expr, b->matrix.range_expr) &&
               same(a->matrix.selector, b->matrix.selector, false);
    case EXPR_SUBQUERY:
        return a->subquery.range_ms == b->subquery.range_ms &&
               a->subquery.step_ms == b->subquery.step_ms &&
               same_duration(a->subquery.range_expr, b->subquery.range_expr) &&
               same_duration(a->subquery.step_expr, b->subquery.step_expr) &&
               same_time(&a->subquery.time, &b->subquery.time) &&
               same(a->subquery.e, b->subquery.e, false);
    case EXPR_CALL:
        return a->call.fn == b->call.fn && same_list(a->call.args, b->call.args, duration);
    case EXPR_AGGREGATE:
        return a->aggregate.op == b->aggregate.op &&
               a->aggregate.without == b->aggregate.without &&
               a->aggregate.grouping.n == b->aggregate.grouping.n &&
               same_duration(a->aggregate.param, b->aggregate.param) &&
               same(a->aggregate.e, b->aggregate.e, false);
    case EXPR_BINARY: return same_binary(a, b, duration);
    case EXPR_UNARY: return same(a->unary.e, b->unary.e, duration);
    case EXPR_PAREN:
    case EXPR_STEP_INVARIANT: return false;
    }
    return false;
}

/* text, printed from a tree whose canonical text is `want`, must make the same tree. Times that need
 * more digits than a double has change in print. */
static void again(const struct buf *text, const struct buf *want, const struct expr *before)
{
    struct arena arena;
    struct err err = ERR_INIT;
    struct expr *e;
    struct buf out;

    if (text->n > PROMQL_TEXT_MAX)
        return;
    arena_init(&arena, ARENA_MAX);
    buf_init(&out, OUT_MAX);
    if (promql_parse(&arena, buf_view(text), &all_features, &e, &err) != ST_OK)
        abort();
    promql_print(&out, e);
    if (sv_search(buf_view(want), SV(" @ ")) == SIZE_MAX &&
        !sv_eq(buf_view(&out), buf_view(want)))
        abort();
    if (!same(before, e, false))
        abort();
    expr_free(e);
    buf_fini(&out);
    arena_fini(&arena);
}

static void walk(struct expr *e, struct arena *arena)
{
    struct promql_params params = {
        .start_ms = 1000000, .end_ms = 5000000, .step_ms = 15000, .lookback_ms = 300000};
    struct promql_reads reads;
    struct buf one, many, json;
    struct err err = ERR_INIT;

    buf_init(&one, OUT_MAX);
    buf_init(&many, OUT_MAX);
    buf_init(&json, OUT_MAX);
    promql_print(&one, e);
    promql_pretty(&many, e);
    promql_json(&json, e);
    if (buf_ok(&one))
        again(&one, &one, e);
    if (buf_ok(&many))
        again(&many, &one, e);
    promql_reads(e, &params, arena, &reads);
    for (size_t i = 1; i < reads.n; i++)
        assert(reads.p[i - 1].to_ms < reads.p[i].from_ms);
    if (promql_durations(e, &params, &err) != ST_OK)
        assert(err.st == ST_EXEC);
    promql_bind(e, params.start_ms, params.end_ms);
    buf_fini(&one);
    buf_fini(&many);
    buf_fini(&json);
}

static void parse(struct sv text, const struct promql_opts *opts)
{
    struct arena arena;
    struct err err = ERR_INIT;
    struct expr *e;

    arena_init(&arena, ARENA_MAX);
    if (promql_parse(&arena, text, opts, &e, &err) == ST_OK) {
        walk(e, &arena);
        expr_free(e);
    } else {
        assert(err.st == ST_INVALID || err.st == ST_LIMIT);
        assert(err.msg[0]);
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct sv text = sv_make(p ? (const char *)p : "", n);
    struct arena arena;
    struct err err = ERR_INIT;
    struct expr *e;

    parse(text, &plain);
    parse(text, &all_features);
    arena_init(&arena, ARENA_MAX);
    if (promql_parse_selector(&arena, text, &e, &err) == ST_OK)
        expr_free(e);
    arena_fini(&arena);
    return 0;
}
