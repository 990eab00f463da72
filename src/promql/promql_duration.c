/* What the language asks of the request becomes constants of the tree, once the request is known:
 * duration expressions, and start(), end(), step() and range() where they are calls. */
#include "promql_lang_int.h"

#include <assert.h>
#include <math.h>

#define DURATION_S_MAX 9223372036.854775808 /* 2^63 ns in seconds */

static enum status value(const struct expr *e, const struct promql_params *params, double *ret,
                         struct err *err);

static enum status at(const struct expr *e, const char *what, struct err *err)
{
    return err_set(err, ST_EXEC, "%zu:%zu: %s", e->pos_from, e->pos_to, what);
}

static enum status binary(const struct expr *e, double l, double r, double *ret, struct err *err)
{
    switch ((int)e->binary.op) {
    case OP_ADD: *ret = l + r; break;
    case OP_SUB: *ret = l - r; break;
    case OP_MUL: *ret = l * r; break;
    case OP_POW: *ret = pow(l, r); break;
    case OP_DIV:
        if (r == 0)
            return at(e, "division by zero", err);
        *ret = l / r;
        break;
    case OP_MOD:
        if (r == 0)
            return at(e, "modulo by zero", err);
        *ret = fmod(l, r);
        break;
    default: assert(!"duration operator");
    }
    return ST_OK;
}

/* Go's Min and Max: any NaN wins. */
static double min_of(double a, double b)
{
    return isnan(a) || isnan(b) ? NAN : fmin(a, b);
}

static double max_of(double a, double b)
{
    return isnan(a) || isnan(b) ? NAN : fmax(a, b);
}

static enum status call(const struct expr *e, const struct promql_params *params, double *ret,
                        struct err *err)
{
    double a, b;

    switch ((int)e->call.fn->id) {
    case FN_STEP: *ret = (double)params->step_ms / 1000; return ST_OK;
    case FN_RANGE:
        *ret = params->step_ms ? (double)(params->end_ms - params->start_ms) / 1000 : 0;
        return ST_OK;
    default: break;
    }
    assert(e->call.args.n == 2);
    TRY(value(e->call.args.p[0], params, &a, err));
    TRY(value(e->call.args.p[1], params, &b, err));
    *ret = e->call.fn->id == FN_MIN_OF ? min_of(a, b) : max_of(a, b);
    return ST_OK;
}

static enum status value(const struct expr *e, const struct promql_params *params, double *ret,
                         struct err *err)
{
    double l, r;

    switch ((int)e->kind) {
    case EXPR_NUMBER: *ret = e->number.v; return ST_OK;
    case EXPR_PAREN: return value(e->paren.e, params, ret, err);
    case EXPR_CALL: return call(e, params, ret, err);
    case EXPR_UNARY:
        TRY(value(e->unary.e, params, &r, err));
        *ret = e->unary.minus ? -r : r;
        return ST_OK;
    case EXPR_BINARY:
        TRY(value(e->binary.l, params, &l, err));
        TRY(value(e->binary.r, params, &r, err));
        return binary(e, l, r, ret, err);
    default: assert(!"no part of a duration");
    }
    return ST_BUG;
}

enum status promql_duration_value(const struct expr *e, const struct promql_params *params,
                                  bool negative_ok, int64_t *ret_ms, struct err *err)
{
    double s = 0;

    TRY(value(e, params, &s, err));
    if (isnan(s) || isinf(s))
        return at(e, "duration is NaN or infinite", err);
    if (s < 0.001 && !negative_ok) /* a part of a millisecond is none */
        return at(e, "duration must be greater than 0", err);
    if (fabs(s) > DURATION_S_MAX)
        return at(e, "duration is out of range", err);
    *ret_ms = (int64_t)(s * 1000);
    return ST_OK;
}

/* The expression goes: what is left means the same in every part of a split request. */
static enum status one(int64_t *at_ms, struct expr **e, const struct promql_params *params,
                       bool negative_ok, struct err *err)
{
    if (!*e)
        return ST_OK;
    TRY(promql_duration_value(*e, params, negative_ok, at_ms, err));
    *e = NULL;
    return ST_OK;
}

static int64_t end_ms(const struct promql_params *params)
{
    return params->step_ms ? params->end_ms : params->start_ms;
}

/* A call of the request's own times becomes a number. */
static void fold(struct expr *e, const struct promql_params *params)
{
    int64_t start = params->start_ms, end = end_ms(params), ms;

    switch ((int)e->call.fn->id) {
    case FN_START: ms = start; break;
    case FN_END: ms = end; break;
    case FN_RANGE: ms = end - start; break;
    case FN_STEP: ms = start == end ? 0 : params->step_ms; break;
    default: return;
    }
    e->kind = EXPR_NUMBER;
    e->type = TYPE_SCALAR;
    memset(&e->number, 0, sizeof(e->number));
    e->number.v = (double)ms / 1000;
}

enum status promql_durations(struct expr *e, const struct promql_params *params, struct err *err)
{
    struct expr *child;
    struct expr_time *time;

    if (e->kind == EXPR_CALL) {
        fold(e, params);
    } else if (e->kind == EXPR_VECTOR) {
        time = &e->vector.time;
        TRY(one(&time->offset_ms, &time->offset_expr, params, true, err));
    } else if (e->kind == EXPR_MATRIX) {
        TRY(one(&e->matrix.range_ms, &e->matrix.range_expr, params, false, err));
    } else if (e->kind == EXPR_SUBQUERY) {
        time = &e->subquery.time;
        TRY(one(&time->offset_ms, &time->offset_expr, params, true, err));
        TRY(one(&e->subquery.step_ms, &e->subquery.step_expr, params, false, err));
        TRY(one(&e->subquery.range_ms, &e->subquery.range_expr, params, false, err));
    }
    for (size_t i = 0; (child = expr_child(e, i)); i++)
        TRY(promql_durations(child, params, err));
    return ST_OK;
}
