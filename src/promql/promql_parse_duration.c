/* Durations: numbers, and (a feature) expressions over them with step(), range(), min_of() and
 * max_of(). They stand in [range:step] and after offset.
 *
 * In the tree they are ordinary nodes: numbers, binary and unary operators, calls, parentheses.
 * Parentheses are kept once: Prometheus prints ((1m)) as (1m). */
#include "promql_lang_int.h"

#include <math.h>

#define DURATION_S_MAX 9223372036.854775808 /* 2^63 ns in seconds */

enum prec { PREC_NONE, PREC_ADD, PREC_MUL, PREC_POW };

static struct expr *parse_duration(struct parser *p, enum prec min);

static bool is_number(const struct expr *e)
{
    return e->kind == EXPR_NUMBER;
}

static struct expr *in_range(struct parser *p, struct expr *e, size_t pos)
{
    if (!(fabs(e->number.v) <= DURATION_S_MAX)) /* NaN too */
        return promql_fail(p, pos, "duration out of range");
    return e;
}

static struct expr *need_feature(struct parser *p, struct expr *e)
{
    if (e && !p->opts->duration_expr)
        return promql_fail(p, e->pos_from, "experimental duration expression is not enabled");
    return e;
}

static struct expr *wrap(struct parser *p, struct expr *e, size_t from, size_t to)
{
    struct expr *paren;

    if (e->kind == EXPR_PAREN)
        return e;
    paren = promql_node(p, EXPR_PAREN, is_number(e) ? from : e->pos_from,
                        is_number(e) ? to : e->pos_to);
    if (!paren || !promql_over(p, paren, e))
        return NULL;
    paren->type = TYPE_SCALAR;
    paren->paren.e = e;
    return paren;
}

static void negate(struct expr *number)
{
    number->number.v = -number->number.v;
    number->number.duration_ms = -number->number.duration_ms;
}

static struct expr *unary(struct parser *p, struct token op, struct expr *e)
{
    struct expr *u = promql_node(p, EXPR_UNARY, op.pos, e->pos_to);

    if (!u || !promql_over(p, u, e))
        return NULL;
    u->type = TYPE_SCALAR;
    u->unary.minus = op.type == T_SUB;
    u->unary.e = e;
    return u;
}

/* A sign in front of a duration: folded into a number, dropped when plus. */
static struct expr *sign(struct parser *p, struct token op, struct expr *e)
{
    if (!e)
        return NULL;
    if (is_number(e)) {
        if (op.type == T_SUB)
            negate(e);
        e->pos_from = op.pos;
        return in_range(p, e, op.pos);
    }
    return op.type == T_SUB ? unary(p, op, e) : e;
}

static bool expect(struct parser *p, enum tok t)
{
    if (!promql_at(p, t))
        return promql_unexpected_here(p);
    (void)promql_take(p);
    return true;
}

/* step(), range(), min_of(a, b), max_of(a, b); at the word. */
static struct expr *parse_call(struct parser *p)
{
    struct token t = promql_take(p);
    bool two = t.type == T_MIN_OF || t.type == T_MAX_OF;
    struct expr *e = promql_node(p, EXPR_CALL, t.pos, t.pos), *arg;
    size_t cap = 0;

    if (!e || !expect(p, T_LPAREN))
        return NULL;
    e->type = TYPE_SCALAR;
    e->call.fn = promql_fn_find(sv_of(promql_tok_text(t.type)));
    for (unsigned i = 0; two && i < 2; i++) {
        if ((i && !expect(p, T_COMMA)) || !(arg = parse_duration(p, PREC_NONE)) ||
            !promql_over(p, e, arg) || !promql_push_expr(p, &e->call.args, &cap, arg))
            return NULL;
    }
    if (!promql_at(p, T_RPAREN))
        return promql_unexpected_here(p);
    e->pos_to = promql_take(p).pos + 1;
    return e;
}

static bool at_call(struct parser *p)
{
    enum tok t = promql_peek(p)->type;

    return t == T_STEP || t == T_RANGE || t == T_MIN_OF || t == T_MAX_OF;
}

/* At "(": the duration inside and both positions. */
static struct expr *parse_parens(struct parser *p, size_t *ret_from, size_t *ret_to)
{
    struct expr *e;

    *ret_from = promql_take(p).pos;
    e = parse_duration(p, PREC_NONE);
    if (!e)
        return NULL;
    if (!promql_at(p, T_RPAREN))
        return promql_unexpected_here(p);
    *ret_to = promql_take(p).pos + 1;
    return e;
}

static struct expr *parse_operand(struct parser *p)
{
    struct expr *e;
    size_t from = 0, to = 0;

    switch ((int)promql_peek(p)->type) {
    case T_NUMBER:
    case T_DURATION:
        e = promql_parse_number(p);
        return e ? in_range(p, e, e->pos_from) : NULL;
    case T_ADD:
    case T_SUB: {
        struct token op = promql_take(p);

        return sign(p, op, parse_duration(p, PREC_POW)); /* binds as * does: tighter than its right */
    }
    case T_LPAREN:
        e = parse_parens(p, &from, &to);
        return need_feature(p, e) ? wrap(p, e, from, to) : NULL;
    default:
        return at_call(p) ? need_feature(p, parse_call(p)) : promql_unexpected_here(p);
    }
}

static enum prec op_prec(enum tok t, enum binop *op)
{
    switch ((int)t) {
    case T_ADD: *op = OP_ADD; return PREC_ADD;
    case T_SUB: *op = OP_SUB; return PREC_ADD;
    case T_MUL: *op = OP_MUL; return PREC_MUL;
    case T_DIV: *op = OP_DIV; return PREC_MUL;
    case T_MOD: *op = OP_MOD; return PREC_MUL;
    case T_POW: *op = OP_POW; return PREC_POW;
    default: return PREC_NONE;
    }
}

static struct expr *binary(struct parser *p, struct expr *l, struct token op_tok, enum binop op,
                           struct expr *r)
{
    struct expr *e;

    (void)promql_peek(p); /* as far as Prometheus's parser has read before it decides */
    if (!need_feature(p, l))
        return NULL;
    if ((op == OP_DIV || op == OP_MOD) && is_number(r) && r->number.v == 0)
        return promql_fail(p, op_tok.pos, op == OP_DIV ? "division by zero" : "modulo by zero");
    e = promql_node(p, EXPR_BINARY, l->pos_from, r->pos_to);
    if (!e || !promql_over(p, e, l) || !promql_over(p, e, r))
        return NULL;
    e->type = TYPE_SCALAR;
    e->binary.op = op;
    e->binary.l = l;
    e->binary.r = r;
    return e;
}

static struct expr *parse_rest(struct parser *p, struct expr *l, enum prec min)
{
    enum binop op = OP_ADD;
    enum prec prec;

    while (l && (prec = op_prec(promql_peek(p)->type, &op)) != PREC_NONE && prec >= min) {
        struct token t = promql_take(p);
        struct expr *r = parse_duration(p, prec == PREC_POW ? PREC_POW : prec + 1);

        l = r ? binary(p, l, t, op, r) : NULL;
    }
    return p->failed ? NULL : l;
}

static struct expr *parse_duration(struct parser *p, enum prec min)
{
    struct expr *e;

    if (p->depth >= PROMQL_DEPTH_MAX)
        return promql_fail(p, promql_peek(p)->pos, "expression is nested deeper than %d",
                           PROMQL_DEPTH_MAX);
    p->depth++;
    e = parse_operand(p);
    e = e ? parse_rest(p, e, min == PREC_NONE ? PREC_ADD : min) : NULL;
    p->depth--;
    return e;
}

struct expr *promql_parse_range_duration(struct parser *p)
{
    struct expr *e = parse_duration(p, PREC_NONE);

    if (e && is_number(e) && !(e->number.v >= 0.001)) /* a part of a millisecond is none */
        return promql_fail(p, e->pos_from, "duration must be greater than 0");
    return e;
}

/* After a sign at the beginning of an offset: what ends the offset here, so that in
 * "foo offset -2 ^ 2" the power is taken of the selector. NULL without failure: more may come. */
static struct expr *signed_offset(struct parser *p, struct token op)
{
    struct expr *e;
    size_t from = 0, to = 0;

    switch ((int)promql_peek(p)->type) {
    case T_NUMBER:
    case T_DURATION: return sign(p, op, promql_parse_number(p));
    case T_STEP:
    case T_RANGE:
    case T_MIN_OF:
    case T_MAX_OF:
        e = parse_call(p);
        e = e ? unary(p, op, e) : NULL;
        return need_feature(p, e);
    case T_LPAREN:
        e = parse_parens(p, &from, &to);
        e = e ? wrap(p, e, e->pos_from, e->pos_to) : NULL;
        return e ? unary(p, op, e) : NULL; /* a plus is kept: it ends the offset */
    default: return NULL;
    }
}

struct expr *promql_parse_offset_duration(struct parser *p)
{
    struct expr *e;
    struct token op;

    switch ((int)promql_peek(p)->type) {
    case T_NUMBER:
    case T_DURATION:
        e = promql_parse_number(p);
        return e ? in_range(p, e, e->pos_from) : NULL;
    case T_ADD:
    case T_SUB:
        op = promql_take(p);
        e = signed_offset(p, op);
        if (e || p->failed)
            return e;
        e = sign(p, op, parse_duration(p, PREC_POW));
        return e ? parse_rest(p, e, PREC_ADD) : NULL;
    default:
        return at_call(p) ? need_feature(p, parse_call(p)) : parse_duration(p, PREC_NONE);
    }
}
