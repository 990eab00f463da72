/* The tree as JSON, the answer of parse_query. Keys stand sorted, texts are escaped as in HTML:
 * byte for byte what Prometheus sends. */
#include "promql_lang_int.h"

#include "base/dtoa.h"
#include "base/json.h"

#include <math.h>

static void key(struct buf *out, const char *name)
{
    if (out->n && out->p[out->n - 1] != '{')
        buf_ch(out, ',');
    json_key(out, name);
}

static void key_text(struct buf *out, const char *name, const char *value)
{
    key(out, name);
    json_str_html(out, sv_of(value));
}

static void key_bool(struct buf *out, const char *name, bool v)
{
    key(out, name);
    buf_str(out, v ? "true" : "false");
}

static void key_i64(struct buf *out, const char *name, int64_t v)
{
    key(out, name);
    buf_i64(out, v);
}

static void key_expr(struct buf *out, const char *name, const struct expr *e)
{
    key(out, name);
    if (e)
        promql_json(out, e);
    else
        buf_str(out, "null");
}

static void key_names(struct buf *out, const char *name, struct sv_list l)
{
    key(out, name);
    buf_ch(out, '[');
    for (size_t i = 0; i < l.n; i++) {
        if (i)
            buf_ch(out, ',');
        json_str_html(out, l.p[i]);
    }
    buf_ch(out, ']');
}

static void json_number(struct buf *out, const struct expr *e, bool in_duration)
{
    char text[DTOA_MAX];
    size_t n = dtoa_f(text, e->number.v);

    buf_ch(out, '{');
    if (in_duration)
        key_bool(out, "duration", e->number.duration);
    key_text(out, "type", "numberLiteral");
    key(out, "val");
    json_str_html(out, sv_make(text, n));
    buf_ch(out, '}');
}

/* Prometheus has one kind of node for durations: an operator, up to two sides, "in parentheses". */
static void json_duration(struct buf *out, const struct expr *e)
{
    const struct expr *l = NULL, *r = NULL;
    const char *op = "+"; /* of a number in parentheses */
    bool wrapped;

    if (!e) {
        buf_str(out, "null");
        return;
    }
    if (e->kind == EXPR_UNARY && !e->unary.minus && e->unary.e->kind == EXPR_PAREN)
        e = e->unary.e; /* only the text needs that plus */
    wrapped = e->kind == EXPR_PAREN;
    if (e->kind == EXPR_NUMBER) {
        json_number(out, e, true);
        return;
    }
    if (wrapped)
        e = e->paren.e;
    if (e->kind == EXPR_BINARY) {
        op = binop_text(e->binary.op);
        l = e->binary.l;
        r = e->binary.r;
    } else if (e->kind == EXPR_UNARY) {
        op = e->unary.minus ? "-" : "+";
        r = e->unary.e;
    } else if (e->kind == EXPR_CALL) {
        op = e->call.fn->name;
        l = e->call.args.n ? e->call.args.p[0] : NULL;
        r = e->call.args.n ? e->call.args.p[1] : NULL;
    } else {
        r = e;
    }
    buf_ch(out, '{');
    key(out, "lhs");
    json_duration(out, l);
    key_text(out, "op", op);
    key(out, "rhs");
    json_duration(out, r);
    key_text(out, "type", "durationExpr");
    key_bool(out, "wrapped", wrapped);
    buf_ch(out, '}');
}

static void key_duration(struct buf *out, const char *name, const struct expr *e)
{
    key(out, name);
    json_duration(out, e);
}

static void keys_at(struct buf *out, const struct expr_time *t)
{
    key(out, "startOrEnd");
    buf_str(out, t->at == AT_START ? "\"start\"" : t->at == AT_END ? "\"end\"" : "null");
}

static void key_timestamp(struct buf *out, const struct expr_time *t)
{
    key(out, "timestamp");
    if (t->at == AT_TIME)
        buf_i64(out, t->at_ms);
    else
        buf_str(out, "null");
}

static void key_matchers(struct buf *out, const struct expr *v)
{
    key(out, "matchers");
    buf_ch(out, '[');
    for (size_t i = 0; i < v->vector.matchers_n; i++) {
        const struct matcher *m = v->vector.matchers[i];

        buf_str(out, i ? ",{" : "{");
        key(out, "name");
        json_str_html(out, m->name);
        key_text(out, "type", matcher_op_text(m->op));
        key(out, "value");
        json_str_html(out, m->value);
        buf_ch(out, '}');
    }
    buf_ch(out, ']');
}

/* A selector, or with m the range selector around it. */
static void json_selector(struct buf *out, const struct expr *v, const struct expr *m)
{
    key_bool(out, "anchored", v->vector.anchored);
    key_matchers(out, v);
    key(out, "name");
    json_str_html(out, v->vector.name);
    key_i64(out, "offset", v->vector.time.offset_ms);
    key_duration(out, "offsetExpr", v->vector.time.offset_expr);
    if (m) {
        key_i64(out, "range", m->matrix.range_ms);
        key_duration(out, "rangeExpr", m->matrix.range_expr);
    }
    key_bool(out, "smoothed", v->vector.smoothed);
    keys_at(out, &v->vector.time);
    key_timestamp(out, &v->vector.time);
    key_text(out, "type", m ? "matrixSelector" : "vectorSelector");
}

static void json_subquery(struct buf *out, const struct expr *e)
{
    key_expr(out, "expr", e->subquery.e);
    key_i64(out, "offset", e->subquery.time.offset_ms);
    key_duration(out, "offsetExpr", e->subquery.time.offset_expr);
    key_i64(out, "range", e->subquery.range_ms);
    key_duration(out, "rangeExpr", e->subquery.range_expr);
    keys_at(out, &e->subquery.time);
    key_i64(out, "step", e->subquery.step_ms);
    key_duration(out, "stepExpr", e->subquery.step_expr);
    key_timestamp(out, &e->subquery.time);
    key_text(out, "type", "subquery");
}

static void json_call(struct buf *out, const struct expr *e)
{
    const struct promql_fn *fn = e->call.fn;

    key(out, "args");
    buf_ch(out, '[');
    for (size_t i = 0; i < e->call.args.n; i++) {
        if (i)
            buf_ch(out, ',');
        promql_json(out, e->call.args.p[i]);
    }
    buf_ch(out, ']');
    key(out, "func");
    buf_ch(out, '{');
    key(out, "argTypes");
    buf_ch(out, '[');
    for (const char *t = fn->types; *t; t++)
        buf_printf(out, "%s\"%s\"", t > fn->types ? "," : "",
                   *t == 's'   ? "scalar"
                   : *t == 'v' ? "vector"
                   : *t == 'm' ? "matrix"
                               : "string");
    buf_ch(out, ']');
    key_text(out, "name", fn->name);
    key_text(out, "returnType", fn->result == TYPE_SCALAR ? "scalar" : "vector");
    key_i64(out, "variadic", fn->variadic);
    buf_ch(out, '}');
    key_text(out, "type", "call");
}

static void json_aggregate(struct buf *out, const struct expr *e)
{
    key_expr(out, "expr", e->aggregate.e);
    key_names(out, "grouping", e->aggregate.grouping);
    key_text(out, "op", agg_text(e->aggregate.op));
    key_expr(out, "param", e->aggregate.param);
    key_text(out, "type", "aggregation");
    key_bool(out, "without", e->aggregate.without);
}

static void key_fill(struct buf *out, const char *name, bool set, double v)
{
    key(out, name);
    if (set && isfinite(v))
        buf_double_json(out, v);
    else
        buf_str(out, "null"); /* JSON has no word for the others */
}

static void json_matching(struct buf *out, const struct expr *e)
{
    static const char *const cards[] = {"one-to-one", "many-to-one", "one-to-many",
                                        "many-to-many"};

    buf_ch(out, '{');
    key_text(out, "card", cards[e->binary.card]);
    key(out, "fillValues");
    buf_ch(out, '{');
    key_fill(out, "lhs", e->binary.fill_l_set, e->binary.fill_l);
    key_fill(out, "rhs", e->binary.fill_r_set, e->binary.fill_r);
    buf_ch(out, '}');
    key_names(out, "include", e->binary.include);
    key_names(out, "labels", e->binary.labels);
    key_bool(out, "on", e->binary.on);
    buf_ch(out, '}');
}

static void json_binary(struct buf *out, const struct expr *e)
{
    key_bool(out, "bool", e->binary.return_bool);
    key_expr(out, "lhs", e->binary.l);
    key(out, "matching");
    if (promql_has_matching(e))
        json_matching(out, e);
    else
        buf_str(out, "null");
    key_text(out, "op", binop_text(e->binary.op));
    key_expr(out, "rhs", e->binary.r);
    key_text(out, "type", "binaryExpr");
}

static void json_members(struct buf *out, const struct expr *e)
{
    switch (e->kind) {
    case EXPR_STRING:
        key_text(out, "type", "stringLiteral");
        key(out, "val");
        json_str_html(out, e->string.v);
        break;
    case EXPR_VECTOR: json_selector(out, e, NULL); break;
    case EXPR_MATRIX: json_selector(out, e->matrix.selector, e); break;
    case EXPR_SUBQUERY: json_subquery(out, e); break;
    case EXPR_CALL: json_call(out, e); break;
    case EXPR_AGGREGATE: json_aggregate(out, e); break;
    case EXPR_BINARY: json_binary(out, e); break;
    case EXPR_UNARY:
        key_expr(out, "expr", e->unary.e);
        key_text(out, "op", e->unary.minus ? "-" : "+");
        key_text(out, "type", "unaryExpr");
        break;
    case EXPR_PAREN:
        key_expr(out, "expr", e->paren.e);
        key_text(out, "type", "parenExpr");
        break;
    case EXPR_NUMBER:
    case EXPR_STEP_INVARIANT: break; /* not here: promql_json() */
    }
}

void promql_json(struct buf *out, const struct expr *e)
{
    if (!buf_ok(out))
        return;
    while (e->kind == EXPR_STEP_INVARIANT)
        e = e->invariant.e;
    if (e->kind == EXPR_NUMBER) {
        json_number(out, e, false);
        return;
    }
    buf_ch(out, '{');
    json_members(out, e);
    buf_ch(out, '}');
}
