/* Types, after the whole text is parsed. Gives every node its type and tells the first thing that
 * does not fit, in Prometheus's order and words. */
#include "promql_lang_int.h"

#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

static enum expr_type check(struct parser *p, struct expr *e);

/* As Prometheus's ValueType prints, which some texts use instead of the documented names. */
static const char *short_name(enum expr_type t)
{
    return t == TYPE_VECTOR ? "vector" : t == TYPE_MATRIX ? "matrix" : expr_type_name(t);
}

static void expect(struct parser *p, struct expr *e, enum expr_type want, const char *where)
{
    enum expr_type t = check(p, e);

    if (t != want)
        promql_fail(p, e->pos_from, "expected type %s in %s, got %s", expr_type_name(want), where,
                    expr_type_name(t));
}

static void check_aggregate(struct parser *p, struct expr *e)
{
    e->type = TYPE_VECTOR;
    expect(p, e->aggregate.e, TYPE_VECTOR, "aggregation expression");
    if (e->aggregate.param)
        expect(p, e->aggregate.param,
               e->aggregate.op == AGG_COUNT_VALUES ? TYPE_STRING : TYPE_SCALAR,
               "aggregation parameter");
}

/* Where the operator begins. */
static size_t op_pos(const struct parser *p, const struct expr *e)
{
    size_t i = e->binary.l->pos_to;

    while (i < p->text.n && memchr(" \t\n\r", p->text.p[i], 4))
        i++;
    return i;
}

static int by_name(const void *a, const void *b)
{
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

/* Both lists may be as long as a query: the second is sorted to search it. */
static void check_labels(struct parser *p, const struct expr *e)
{
    const struct sv_list *on = &e->binary.labels, *include = &e->binary.include;
    struct sv *sorted;

    if (!e->binary.on || !on->n || !include->n || p->failed)
        return;
    sorted = heap_dup(include->p, include->n * sizeof(*sorted));
    qsort(sorted, include->n, sizeof(*sorted), by_name);
    for (size_t i = 0; i < on->n && !p->failed; i++) {
        if (!bsearch(&on->p[i], sorted, include->n, sizeof(*sorted), by_name))
            continue;
        buf_clear(&p->msg);
        buf_str(&p->msg, "label ");
        promql_quote(&p->msg, on->p[i]);
        buf_str(&p->msg, " must not occur in ON and GROUP clause at once");
        promql_fail_msg(p, op_pos(p, e));
    }
    heap_free(sorted);
}

/* Matching has no meaning with a scalar: it is refused if it says anything, else forgotten. */
static void no_matching(struct parser *p, struct expr *e)
{
    if (e->binary.labels.n)
        promql_fail(p, e->pos_from, "vector matching only allowed between instant vectors");
    if (e->binary.fill_l_set || e->binary.fill_r_set)
        promql_fail(p, e->pos_from,
                    "filling in missing series only allowed between instant vectors");
    e->binary.card = CARD_ONE_ONE;
    e->binary.on = false;
    e->binary.include = (struct sv_list){0};
}

static void check_set(struct parser *p, const struct expr *e)
{
    if (e->binary.card != CARD_MANY_MANY)
        promql_fail(p, e->pos_from, "no grouping allowed for \"%s\" operation",
                    binop_text(e->binary.op));
    if (e->binary.fill_l_set || e->binary.fill_r_set)
        promql_fail(p, e->pos_from, "filling in missing series not allowed for set operators");
}

static bool is_value(enum expr_type t)
{
    return t == TYPE_SCALAR || t == TYPE_VECTOR;
}

static void check_binary(struct parser *p, struct expr *e)
{
    enum expr_type l = check(p, e->binary.l), r = check(p, e->binary.r);
    enum binop op = e->binary.op;
    static const char values[] = "binary expression must contain only scalar and instant vector "
                                 "types";

    e->type = l == TYPE_SCALAR && r == TYPE_SCALAR ? TYPE_SCALAR : TYPE_VECTOR;
    if (e->binary.return_bool && !binop_is_comparison(op))
        promql_fail(p, op_pos(p, e), "bool modifier can only be used on comparison operators");
    if (binop_is_comparison(op) && !e->binary.return_bool && e->type == TYPE_SCALAR)
        promql_fail(p, op_pos(p, e), "comparisons between scalars must use BOOL modifier");
    if (binop_is_set(op) && e->binary.card == CARD_ONE_ONE)
        e->binary.card = CARD_MANY_MANY;
    check_labels(p, e);
    if (!is_value(l))
        promql_fail(p, e->binary.l->pos_from, values);
    if (!is_value(r))
        promql_fail(p, e->binary.r->pos_from, values);
    if (l != TYPE_VECTOR || r != TYPE_VECTOR)
        no_matching(p, e);
    else if (binop_is_set(op))
        check_set(p, e);
    if ((l == TYPE_SCALAR || r == TYPE_SCALAR) && binop_is_set(op))
        promql_fail(p, e->pos_from, "set operator \"%s\" not allowed in binary scalar expression",
                    binop_text(op));
}

static enum expr_type type_of_letter(char c)
{
    return c == 's' ? TYPE_SCALAR : c == 'v' ? TYPE_VECTOR : c == 'm' ? TYPE_MATRIX : TYPE_STRING;
}

static void check_count(struct parser *p, const struct expr *e)
{
    const struct promql_fn *fn = e->call.fn;
    size_t want = strlen(fn->types), n = e->call.args.n;

    if (!fn->variadic) {
        if (n != want)
            promql_fail(p, e->pos_from, "expected %zu argument(s) in call to \"%s\", got %zu", want,
                        fn->name, n);
        return;
    }
    want--;
    if (n < want)
        promql_fail(p, e->pos_from, "expected at least %zu argument(s) in call to \"%s\", got %zu",
                    want, fn->name, n);
    else if (fn->variadic > 0 && n > want + (size_t)fn->variadic)
        promql_fail(p, e->pos_from, "expected at most %zu argument(s) in call to \"%s\", got %zu",
                    want + (size_t)fn->variadic, fn->name, n);
}

/* The type of a tree that is not checked yet. */
static enum expr_type type_ahead(const struct expr *e)
{
    switch (e->kind) {
    case EXPR_NUMBER: return TYPE_SCALAR;
    case EXPR_STRING: return TYPE_STRING;
    case EXPR_PAREN: return type_ahead(e->paren.e);
    case EXPR_UNARY: return type_ahead(e->unary.e);
    case EXPR_BINARY:
        return type_ahead(e->binary.l) == TYPE_SCALAR && type_ahead(e->binary.r) == TYPE_SCALAR
                   ? TYPE_SCALAR
                   : TYPE_VECTOR;
    case EXPR_VECTOR:
    case EXPR_MATRIX:
    case EXPR_SUBQUERY:
    case EXPR_CALL:
    case EXPR_AGGREGATE:
    case EXPR_STEP_INVARIANT: break;
    }
    return e->type; /* set when it was parsed */
}

/* info()'s second argument only names labels: a selector without a name, which may match all. */
static void check_info(struct parser *p, const struct expr *e)
{
    const struct expr *sel = e->call.args.p[1];
    enum expr_type t = type_ahead(sel);

    if (t != TYPE_VECTOR)
        promql_fail(p, e->pos_from,
                    "expected type instant vector in call to function \"info\", got %s",
                    expr_type_name(t));
    else if (sel->kind != EXPR_VECTOR)
        promql_fail(p, sel->pos_from, "expected label selectors only");
    else if (sel->vector.name.n)
        promql_fail(p, sel->pos_from, "expected label selectors only, got vector selector instead");
}

static void check_call(struct parser *p, struct expr *e)
{
    const struct promql_fn *fn = e->call.fn;
    size_t types_n = strlen(fn->types);
    bool info;

    e->type = fn->result;
    check_count(p, e);
    info = sv_is(sv_of(fn->name), "info") && e->call.args.n > 1;
    if (info)
        check_info(p, e);
    for (size_t i = 0; i < e->call.args.n && !p->failed; i++) {
        struct expr *arg = e->call.args.p[i];
        enum expr_type want = type_of_letter(fn->types[i < types_n ? i : types_n - 1]), t;

        t = info && i == 1 ? arg->type : check(p, arg);
        if (t != want)
            promql_fail(p, arg->pos_from, "expected type %s in call to function \"%s\", got %s",
                        expr_type_name(want), fn->name, expr_type_name(t));
    }
}

static void check_unary(struct parser *p, struct expr *e)
{
    e->type = check(p, e->unary.e);
    if (!is_value(e->type))
        promql_fail(p, e->pos_from,
                    "unary expression only allowed on expressions of type scalar or instant "
                    "vector, got \"%s\"",
                    expr_type_name(e->type));
}

static void check_subquery(struct parser *p, struct expr *e)
{
    enum expr_type t = check(p, e->subquery.e);

    e->type = TYPE_MATRIX;
    if (t != TYPE_VECTOR)
        promql_fail(p, e->pos_from, "subquery is only allowed on instant vector, got %s instead",
                    short_name(t));
}

static void named_twice(struct parser *p, const struct expr *e)
{
    for (size_t i = 0; i + 1 < e->vector.matchers_n && !p->failed; i++) {
        if (!sv_is(e->vector.matchers[i]->name, LABEL_NAME))
            continue;
        buf_clear(&p->msg);
        buf_str(&p->msg, "metric name must not be set twice: ");
        promql_quote(&p->msg, e->vector.name);
        buf_str(&p->msg, " or ");
        promql_quote(&p->msg, e->vector.matchers[i]->value);
        promql_fail_msg(p, e->pos_from);
    }
}

static void check_vector(struct parser *p, struct expr *e)
{
    if (e->vector.name.n) {
        named_twice(p, e);
        return;
    }
    for (size_t i = 0; i < e->vector.matchers_n; i++)
        if (!matcher_matches_empty(e->vector.matchers[i]))
            return;
    promql_fail(p, e->pos_from, "vector selector must contain at least one non-empty matcher");
}

static enum expr_type check(struct parser *p, struct expr *e)
{
    if (p->failed)
        return e->type;
    switch (e->kind) {
    case EXPR_NUMBER: e->type = TYPE_SCALAR; break;
    case EXPR_STRING: e->type = TYPE_STRING; break;
    case EXPR_VECTOR: check_vector(p, e); break;
    case EXPR_MATRIX: (void)check(p, e->matrix.selector); break;
    case EXPR_SUBQUERY: check_subquery(p, e); break;
    case EXPR_CALL: check_call(p, e); break;
    case EXPR_AGGREGATE: check_aggregate(p, e); break;
    case EXPR_BINARY: check_binary(p, e); break;
    case EXPR_UNARY: check_unary(p, e); break;
    case EXPR_PAREN: e->type = check(p, e->paren.e); break;
    case EXPR_STEP_INVARIANT: assert(!"made after parsing");
    }
    return e->type;
}

void promql_check(struct parser *p, struct expr *e)
{
    (void)check(p, e);
}
