/* The canonical text of a tree, on one line, as Prometheus's String(). Every function stops when
 * the buffer is over its ceiling, so that asking "is it longer than 100 bytes?" is cheap. */
#include "promql_lang_int.h"

#include "base/dtoa.h"
#include "base/heap.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

static void print_number(struct buf *out, const struct expr *e)
{
    if (!e->number.duration) {
        buf_double(out, e->number.v);
        return;
    }
    if (!e->number.duration_ms && signbit(e->number.v)) /* 1 / -0s is not 1 / 0s */
        buf_ch(out, '-');
    promql_print_duration(out, e->number.duration_ms);
}

void promql_print_labels(struct buf *out, struct sv_list l)
{
    for (size_t i = 0; i < l.n; i++) {
        if (i)
            buf_str(out, ", ");
        if (label_name_legacy(l.p[i]))
            buf_sv(out, l.p[i]);
        else
            promql_quote(out, l.p[i]);
    }
}

static void print_fill(struct buf *out, const char *word, double v)
{
    char text[DTOA_MAX];

    buf_printf(out, " %s (" SV_FMT ")", word, SV_ARG(sv_make(text, dtoa_g(text, v))));
}

static void print_fills(struct buf *out, const struct expr *e)
{
    if (e->binary.fill_l_set && e->binary.fill_r_set && e->binary.fill_l == e->binary.fill_r) {
        print_fill(out, "fill", e->binary.fill_l);
        return;
    }
    if (e->binary.fill_l_set)
        print_fill(out, "fill_left", e->binary.fill_l);
    if (e->binary.fill_r_set)
        print_fill(out, "fill_right", e->binary.fill_r);
}

void promql_print_matching(struct buf *out, const struct expr *e)
{
    bool grouped = e->binary.card == CARD_MANY_ONE || e->binary.card == CARD_ONE_MANY;

    if (e->binary.labels.n || e->binary.on || grouped) {
        buf_str(out, e->binary.on ? " on (" : " ignoring (");
        promql_print_labels(out, e->binary.labels);
        buf_ch(out, ')');
    }
    if (grouped) {
        buf_str(out, e->binary.card == CARD_MANY_ONE ? " group_left (" : " group_right (");
        promql_print_labels(out, e->binary.include);
        buf_ch(out, ')');
    }
    print_fills(out, e);
}

void promql_print_agg_head(struct buf *out, const struct expr *e)
{
    buf_str(out, agg_text(e->aggregate.op));
    if (!e->aggregate.without && !e->aggregate.grouping.n)
        return;
    buf_str(out, e->aggregate.without ? " without (" : " by (");
    promql_print_labels(out, e->aggregate.grouping);
    buf_str(out, ") ");
}

/* Signs are folded into numbers. A plus says nothing but in front of a parenthesis, where it keeps
 * operators behind it out of the duration; else it is not shown. */
void promql_print_duration_expr(struct buf *out, const struct expr *e)
{
    switch ((int)e->kind) {
    case EXPR_NUMBER: print_number(out, e); break;
    case EXPR_PAREN:
        buf_ch(out, '(');
        promql_print_duration_expr(out, e->paren.e);
        buf_ch(out, ')');
        break;
    case EXPR_UNARY:
        if (e->unary.minus || e->unary.e->kind == EXPR_PAREN)
            buf_ch(out, e->unary.minus ? '-' : '+');
        promql_print_duration_expr(out, e->unary.e);
        break;
    case EXPR_CALL:
        buf_printf(out, "%s(", e->call.fn->name);
        for (size_t i = 0; i < e->call.args.n; i++) {
            if (i)
                buf_str(out, ", ");
            promql_print_duration_expr(out, e->call.args.p[i]);
        }
        buf_ch(out, ')');
        break;
    case EXPR_BINARY:
        promql_print_duration_expr(out, e->binary.l);
        buf_printf(out, " %s ", binop_text(e->binary.op));
        promql_print_duration_expr(out, e->binary.r);
        break;
    default: assert(!"no part of a duration");
    }
}

static void print_span(struct buf *out, int64_t ms, const struct expr *e)
{
    if (e)
        promql_print_duration_expr(out, e);
    else
        promql_print_duration(out, ms);
}

static void print_at(struct buf *out, const struct expr_time *t)
{
    switch (t->at) {
    case AT_NONE: break;
    case AT_TIME: buf_printf(out, " @ %.3f", (double)t->at_ms / 1000.0); break;
    case AT_START: buf_str(out, " @ start()"); break;
    case AT_END: buf_str(out, " @ end()"); break;
    }
}

/* An offset ends after its first number, call or signed parenthesis. Signs that were folded or
 * dropped can make a longer one begin like that ("--5m + 1m"): it needs parentheses to be read as it
 * was. */
static bool offset_stands_alone(const struct expr *e)
{
    bool binary = e->kind == EXPR_BINARY;

    while (e->kind == EXPR_BINARY)
        e = e->binary.l;
    if (e->kind == EXPR_PAREN)
        return true;
    if (e->kind == EXPR_UNARY)
        return e->unary.e->kind == EXPR_UNARY || (!binary && e->unary.e->kind != EXPR_BINARY);
    return !binary;
}

static void print_offset(struct buf *out, const struct expr_time *t)
{
    bool alone = !t->offset_expr || offset_stands_alone(t->offset_expr);

    if (!t->offset_expr && !t->offset_ms)
        return;
    buf_str(out, alone ? " offset " : " offset (");
    print_span(out, t->offset_ms, t->offset_expr);
    if (!alone)
        buf_ch(out, ')');
}

void promql_print_subquery_time(struct buf *out, const struct expr *e)
{
    buf_ch(out, '[');
    print_span(out, e->subquery.range_ms, e->subquery.range_expr);
    buf_ch(out, ':');
    if (e->subquery.step_ms || e->subquery.step_expr)
        print_span(out, e->subquery.step_ms, e->subquery.step_expr);
    buf_ch(out, ']');
    print_at(out, &e->subquery.time);
    print_offset(out, &e->subquery.time);
}

static void print_matcher(struct buf *out, const struct matcher *m)
{
    if (label_name_legacy(m->name))
        buf_sv(out, m->name);
    else
        promql_quote(out, m->name);
    buf_str(out, matcher_op_text(m->op));
    promql_quote(out, m->value);
}

static int by_text(const void *a, const void *b)
{
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

/* The matchers but the one that repeats the name in front, sorted by their text. */
static void print_matchers(struct buf *out, const struct expr *e)
{
    VEC(struct sv) texts = {0};

    for (size_t i = 0; i < e->vector.matchers_n; i++) {
        const struct matcher *m = e->vector.matchers[i];
        struct buf b;
        struct sv text;

        if (m->op == MATCH_EQ && sv_is(m->name, LABEL_NAME) && m->value.n &&
            sv_eq(m->value, e->vector.name))
            continue;
        buf_init(&b, out->max);
        print_matcher(&b, m);
        out->over |= b.over;
        text.p = buf_detach(&b, &text.n);
        vec_push(&texts, text);
    }
    if (texts.n)
        qsort(texts.p, texts.n, sizeof(*texts.p), by_text);
    for (size_t i = 0; i < texts.n; i++) {
        buf_ch(out, i ? ',' : '{');
        buf_sv(out, texts.p[i]);
        heap_free((void *)(uintptr_t)texts.p[i].p);
    }
    if (texts.n)
        buf_ch(out, '}');
    vec_free(&texts);
}

static void print_extended(struct buf *out, const struct expr *e)
{
    if (e->vector.anchored)
        buf_str(out, " anchored");
    else if (e->vector.smoothed)
        buf_str(out, " smoothed");
}

static void print_vector(struct buf *out, const struct expr *e)
{
    buf_sv(out, e->vector.name);
    print_matchers(out, e);
    print_at(out, &e->vector.time);
    print_extended(out, e);
    print_offset(out, &e->vector.time);
}

static void print_matrix(struct buf *out, const struct expr *e)
{
    const struct expr *v = e->matrix.selector;

    buf_sv(out, v->vector.name);
    print_matchers(out, v);
    buf_ch(out, '[');
    print_span(out, e->matrix.range_ms, e->matrix.range_expr);
    buf_ch(out, ']');
    print_extended(out, v);
    print_at(out, &v->vector.time);
    print_offset(out, &v->vector.time);
}

static void print_call(struct buf *out, const struct expr *e)
{
    buf_printf(out, "%s(", e->call.fn->name);
    for (size_t i = 0; i < e->call.args.n; i++) {
        if (i)
            buf_str(out, ", ");
        promql_print(out, e->call.args.p[i]);
    }
    buf_ch(out, ')');
}

static void print_aggregate(struct buf *out, const struct expr *e)
{
    promql_print_agg_head(out, e);
    buf_ch(out, '(');
    if (e->aggregate.param) {
        promql_print(out, e->aggregate.param);
        buf_str(out, ", ");
    }
    promql_print(out, e->aggregate.e);
    buf_ch(out, ')');
}

/* Would the offset that e's text ends in take an operator behind it for its own? */
static bool offset_is_open(const struct expr *e)
{
    const struct expr *o = NULL;

    while (e->kind == EXPR_UNARY || e->kind == EXPR_BINARY)
        e = e->kind == EXPR_UNARY ? e->unary.e : e->binary.r;
    if (e->kind == EXPR_VECTOR)
        o = e->vector.time.offset_expr;
    else if (e->kind == EXPR_MATRIX)
        o = e->matrix.selector->vector.time.offset_expr;
    else if (e->kind == EXPR_SUBQUERY)
        o = e->subquery.time.offset_expr;
    if (o && o->kind == EXPR_UNARY)
        return o->unary.e->kind != EXPR_CALL && o->unary.e->kind != EXPR_PAREN;
    return o && o->kind != EXPR_CALL;
}

/* Modifiers are printed in one order, whatever they were written in, and folded calls may have made a
 * negative or infinite ("+Inf") base of a power: then the left side needs parentheses to be read as
 * it was. */
bool promql_left_in_parens(const struct expr *e)
{
    const struct expr *l = e->binary.l;
    enum binop op = e->binary.op;

    if (op > OP_POW) /* no operator of durations */
        return false;
    return (op == OP_POW && l->kind == EXPR_NUMBER && (l->number.v < 0 || isinf(l->number.v))) ||
           offset_is_open(l);
}

static void print_left(struct buf *out, const struct expr *e)
{
    bool paren = promql_left_in_parens(e);

    if (paren)
        buf_ch(out, '(');
    promql_print(out, e->binary.l);
    if (paren)
        buf_ch(out, ')');
}

static void print_binary(struct buf *out, const struct expr *e)
{
    print_left(out, e);
    buf_printf(out, " %s%s", binop_text(e->binary.op), e->binary.return_bool ? " bool" : "");
    promql_print_matching(out, e);
    buf_ch(out, ' ');
    promql_print(out, e->binary.r);
}

void promql_print(struct buf *out, const struct expr *e)
{
    if (!buf_ok(out))
        return;
    switch (e->kind) {
    case EXPR_NUMBER: print_number(out, e); break;
    case EXPR_STRING: promql_quote(out, e->string.v); break;
    case EXPR_VECTOR: print_vector(out, e); break;
    case EXPR_MATRIX: print_matrix(out, e); break;
    case EXPR_SUBQUERY:
        promql_print(out, e->subquery.e);
        promql_print_subquery_time(out, e);
        break;
    case EXPR_CALL: print_call(out, e); break;
    case EXPR_AGGREGATE: print_aggregate(out, e); break;
    case EXPR_BINARY: print_binary(out, e); break;
    case EXPR_UNARY:
        buf_ch(out, e->unary.minus ? '-' : '+');
        promql_print(out, e->unary.e);
        break;
    case EXPR_PAREN:
        buf_ch(out, '(');
        promql_print(out, e->paren.e);
        buf_ch(out, ')');
        break;
    case EXPR_STEP_INVARIANT: promql_print(out, e->invariant.e); break;
    }
}
