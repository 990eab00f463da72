/* Expressions by precedence climbing: operands, calls, aggregations, operators with their vector
 * matching. Weakest first: or; and unless; comparisons and trims; + -; * / % atan2 and the signs;
 * ^, which is the only one that groups from the right. */
#include "promql_lang_int.h"

enum prec { PREC_OR = 1, PREC_AND, PREC_CMP, PREC_ADD, PREC_MUL, PREC_POW };

static struct expr *parse_prec(struct parser *p, enum prec min);

static enum prec op_of(enum tok t, enum binop *ret)
{
    static const struct {
        enum tok t;
        enum binop op;
        enum prec prec;
    } ops[] = {
        {T_OR, OP_OR, PREC_OR},
        {T_AND, OP_AND, PREC_AND},
        {T_UNLESS, OP_UNLESS, PREC_AND},
        {T_EQLC, OP_EQ, PREC_CMP},
        {T_NEQ, OP_NE, PREC_CMP},
        {T_GTR, OP_GT, PREC_CMP},
        {T_LSS, OP_LT, PREC_CMP},
        {T_GTE, OP_GE, PREC_CMP},
        {T_LTE, OP_LE, PREC_CMP},
        {T_TRIM_UPPER, OP_TRIM_UPPER, PREC_CMP},
        {T_TRIM_LOWER, OP_TRIM_LOWER, PREC_CMP},
        {T_ADD, OP_ADD, PREC_ADD},
        {T_SUB, OP_SUB, PREC_ADD},
        {T_MUL, OP_MUL, PREC_MUL},
        {T_DIV, OP_DIV, PREC_MUL},
        {T_MOD, OP_MOD, PREC_MUL},
        {T_ATAN2, OP_ATAN2, PREC_MUL},
        {T_POW, OP_POW, PREC_POW},
    };

    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        if (ops[i].t == t) {
            *ret = ops[i].op;
            return ops[i].prec;
        }
    return 0;
}

bool promql_tok_starts_expr(enum tok t)
{
    return t == T_NUMBER || t == T_DURATION || t == T_STRING || t == T_LPAREN || t == T_LBRACE ||
           t == T_ADD || t == T_SUB || promql_is_metric_word(t);
}

static struct expr *parse_string(struct parser *p)
{
    struct token t = promql_take(p);
    struct expr *e = promql_node(p, EXPR_STRING, t.pos, t.pos + t.text.n);

    if (e && !promql_unquote(p->arena, t.text, &e->string.v))
        return promql_fail_full(p);
    return e;
}

static struct expr *parse_paren(struct parser *p)
{
    size_t from = promql_take(p).pos;
    struct expr *in = parse_prec(p, PREC_OR), *e;

    if (!in)
        return NULL;
    if (!promql_at(p, T_RPAREN))
        return promql_unexpected_here(p);
    e = promql_node(p, EXPR_PAREN, from, promql_take(p).pos + 1);
    if (!e || !promql_over(p, e, in))
        return NULL;
    e->paren.e = in;
    return e;
}

/* (a, b): at the parenthesis. The place of the closing one in *ret_end. */
static bool parse_args(struct parser *p, struct expr_list *ret, size_t *ret_end)
{
    size_t cap = 0;
    struct expr *e;

    *ret = (struct expr_list){0};
    (void)promql_take(p);
    while (!promql_at(p, T_RPAREN)) {
        e = parse_prec(p, PREC_OR);
        if (!e || !promql_push_expr(p, ret, &cap, e))
            return false;
        if (promql_at(p, T_RPAREN))
            break;
        if (!promql_at(p, T_COMMA))
            return promql_unexpected_here(p);
        size_t pos = promql_take(p).pos;
        enum tok t = promql_peek(p)->type;

        if (!promql_tok_starts_expr(t) && !p->failed)
            return promql_fail(p, pos, "trailing commas not allowed in function call args");
    }
    *ret_end = promql_take(p).pos + 1;
    return !p->failed;
}

static struct expr *parse_call(struct parser *p, struct token name)
{
    struct expr *e = promql_node(p, EXPR_CALL, name.pos, 0);

    if (!e || !parse_args(p, &e->call.args, &e->pos_to))
        return NULL;
    e->call.fn = promql_fn_find(name.text);
    if (!e->call.fn)
        return promql_fail(p, name.pos, "unknown function with name \"" SV_FMT "\"",
                           SV_ARG(name.text));
    if (e->call.fn->experimental && !p->opts->experimental_functions)
        return promql_fail(p, name.pos, "function \"" SV_FMT "\" is not enabled",
                           SV_ARG(name.text));
    e->type = e->call.fn->result;
    for (size_t i = 0; i < e->call.args.n; i++)
        if (!promql_over(p, e, e->call.args.p[i]))
            return NULL;
    return e;
}

static bool parse_by(struct parser *p, struct expr *e)
{
    e->aggregate.without = promql_take(p).type == T_WITHOUT;
    return promql_parse_labels(p, &e->aggregate.grouping);
}

static bool at_by(struct parser *p)
{
    return promql_at(p, T_BY) || promql_at(p, T_WITHOUT);
}

static bool has_param(enum agg op)
{
    return op >= AGG_TOPK;
}

static struct expr *finish_aggregate(struct parser *p, struct expr *e, struct expr_list args)
{
    size_t want = has_param(e->aggregate.op) ? 2 : 1;

    if (!args.n)
        return promql_fail(p, e->pos_from, "no arguments for aggregate expression provided");
    if (e->aggregate.op >= AGG_LIMITK && !p->opts->experimental_functions)
        return promql_fail(p, e->pos_from,
                           "%s() is experimental and must be enabled with "
                           "--enable-feature=promql-experimental-functions",
                           agg_text(e->aggregate.op));
    if (args.n != want)
        return promql_fail(p, e->pos_from,
                           "wrong number of arguments for aggregate expression provided, "
                           "expected %zu, got %zu",
                           want, args.n);
    e->aggregate.param = want == 2 ? args.p[0] : NULL;
    e->aggregate.e = args.p[want - 1];
    for (size_t i = 0; i < args.n; i++)
        if (!promql_over(p, e, args.p[i]))
            return NULL;
    return e;
}

static struct expr *parse_aggregate(struct parser *p, struct token op)
{
    struct expr *e = promql_node(p, EXPR_AGGREGATE, op.pos, 0);
    struct expr_list args;
    bool before = at_by(p), ok;

    if (!e)
        return NULL;
    e->type = TYPE_VECTOR;
    e->aggregate.op = (enum agg)(op.type - T_SUM);
    p->aggs++;
    ok = !before || parse_by(p, e);
    if (ok && !promql_at(p, T_LPAREN)) {
        promql_unexpected_here(p);
        ok = false;
    }
    ok = ok && parse_args(p, &args, &e->pos_to);
    if (ok && !before && at_by(p)) {
        ok = parse_by(p, e);
        e->pos_to = p->last_closing;
    }
    p->aggs--;
    return ok && !p->failed ? finish_aggregate(p, e, args) : NULL;
}

/* A word: a call, an aggregation or a metric's name. */
static struct expr *parse_word(struct parser *p)
{
    struct token t = *promql_peek(p);
    enum tok_class c = promql_tok_class(t.type);

    (void)promql_take(p);
    if (c == TOK_AGGREGATOR && (promql_at(p, T_LPAREN) || at_by(p)))
        return parse_aggregate(p, t);
    if ((t.type == T_IDENT || c == TOK_PRE) && promql_at(p, T_LPAREN))
        return parse_call(p, t);
    return promql_parse_vector(p, &t);
}

static struct expr *parse_operand(struct parser *p)
{
    enum tok t = promql_peek(p)->type;

    if (t == T_NUMBER || t == T_DURATION)
        return promql_parse_number(p);
    if (t == T_STRING)
        return parse_string(p);
    if (t == T_LPAREN)
        return parse_paren(p);
    if (t == T_LBRACE)
        return promql_parse_vector(p, NULL);
    if (promql_is_metric_word(t))
        return parse_word(p);
    return promql_unexpected_here(p);
}

/* A sign binds like *: what follows may only hold ^ and modifiers. Numbers take it in. */
static struct expr *parse_sign(struct parser *p)
{
    struct token op = promql_take(p);
    struct expr *in = parse_prec(p, PREC_POW), *e;

    if (!in)
        return NULL;
    if (in->kind == EXPR_NUMBER) {
        if (op.type == T_SUB) {
            in->number.v = -in->number.v;
            in->number.duration_ms = -in->number.duration_ms;
        }
        in->pos_from = op.pos;
        return in;
    }
    e = promql_node(p, EXPR_UNARY, op.pos, in->pos_to);
    if (!e || !promql_over(p, e, in))
        return NULL;
    e->unary.minus = op.type == T_SUB;
    e->unary.e = in;
    return e;
}

/* fill(1), fill_left(-1): at the keyword. */
static bool parse_fill(struct parser *p, double *ret)
{
    struct expr *n;
    enum tok sign;

    (void)promql_take(p);
    if (!promql_at(p, T_LPAREN))
        return promql_unexpected_here(p);
    (void)promql_take(p);
    sign = promql_peek(p)->type;
    if (sign == T_ADD || sign == T_SUB)
        (void)promql_take(p);
    if (!promql_at(p, T_NUMBER) && !promql_at(p, T_DURATION))
        return promql_unexpected_here(p);
    n = promql_parse_number(p);
    if (!n)
        return false;
    *ret = sign == T_SUB ? -n->number.v : n->number.v;
    if (!promql_at(p, T_RPAREN))
        return promql_unexpected_here(p);
    (void)promql_take(p);
    return true;
}

static bool parse_fills(struct parser *p, struct expr *e)
{
    enum tok t = promql_peek(p)->type, other;

    if (t == T_FILL) {
        if (!parse_fill(p, &e->binary.fill_l))
            return false;
        e->binary.fill_r = e->binary.fill_l;
        e->binary.fill_l_set = e->binary.fill_r_set = true;
        return true;
    }
    if (t != T_FILL_LEFT && t != T_FILL_RIGHT)
        return true;
    other = t == T_FILL_LEFT ? T_FILL_RIGHT : T_FILL_LEFT;
    for (unsigned i = 0; i < 2; i++, t = other) {
        bool left = t == T_FILL_LEFT;

        if (i && !promql_at(p, other))
            break;
        if (!parse_fill(p, left ? &e->binary.fill_l : &e->binary.fill_r))
            return false;
        *(left ? &e->binary.fill_l_set : &e->binary.fill_r_set) = true;
    }
    return true;
}

/* group_left and group_right: the labels may be left out, then an operand or a fill follows. */
static bool parse_group(struct parser *p, struct expr *e)
{
    enum tok t;

    e->binary.card = promql_take(p).type == T_GROUP_LEFT ? CARD_MANY_ONE : CARD_ONE_MANY;
    t = promql_peek(p)->type;
    if (t == T_LPAREN || !promql_tok_starts_expr(t))
        return promql_parse_labels(p, &e->binary.include);
    return true;
}

static bool parse_matching(struct parser *p, struct expr *e)
{
    enum tok t = promql_peek(p)->type;

    if (t == T_BOOL) {
        e->binary.return_bool = true;
        (void)promql_take(p);
        t = promql_peek(p)->type;
    }
    if (t == T_ON || t == T_IGNORING) {
        e->binary.on = t == T_ON;
        (void)promql_take(p);
        if (!promql_parse_labels(p, &e->binary.labels))
            return false;
        t = promql_peek(p)->type;
        if ((t == T_GROUP_LEFT || t == T_GROUP_RIGHT) && !parse_group(p, e))
            return false;
    }
    return parse_fills(p, e) && !p->failed;
}

static struct expr *parse_binary(struct parser *p, struct expr *l, enum binop op, enum prec prec)
{
    struct expr *e = promql_node(p, EXPR_BINARY, l->pos_from, 0), *r;

    (void)promql_take(p);
    if (!e || !parse_matching(p, e))
        return NULL;
    r = parse_prec(p, op == OP_POW ? PREC_POW : prec + 1);
    if (!r)
        return NULL;
    e->binary.op = op;
    e->binary.l = l;
    e->binary.r = r;
    e->pos_to = r->pos_to;
    if ((e->binary.fill_l_set || e->binary.fill_r_set) && !p->opts->binop_fill_modifiers)
        return promql_fail(p, e->pos_from, "binop fill modifiers are experimental and not enabled");
    return promql_over(p, e, l) && promql_over(p, e, r) ? e : NULL;
}

static struct expr *parse_prec(struct parser *p, enum prec min)
{
    struct expr *e;
    enum binop op = OP_ADD;
    enum prec prec;
    enum tok t;

    if (p->depth >= PROMQL_DEPTH_MAX)
        return promql_fail(p, promql_peek(p)->pos, "expression is nested deeper than %d",
                           PROMQL_DEPTH_MAX);
    p->depth++;
    t = promql_peek(p)->type;
    e = t == T_ADD || t == T_SUB ? parse_sign(p) : promql_parse_modifiers(p, parse_operand(p));
    while (e && (prec = op_of(promql_peek(p)->type, &op)) && prec >= min)
        e = parse_binary(p, e, op, prec);
    p->depth--;
    return p->failed ? NULL : e;
}

struct expr *promql_parse_expr(struct parser *p)
{
    return parse_prec(p, PREC_OR);
}
