/* Trees: names of their parts, their children, giving matchers back. */
#include "promql_lang_int.h"

#include <assert.h>

const char *expr_type_name(enum expr_type t)
{
    static const char *const names[] = {"none", "scalar", "instant vector", "range vector",
                                        "string"};

    return names[t];
}

const char *binop_text(enum binop op)
{
    static const char *const texts[] = {"+", "-", "*",  "/",  "%",   "^",  "atan2",  "==", "!=",
                                        ">", "<", ">=", "<=", "and", "or", "unless", "</", ">/"};

    return texts[op];
}

const char *agg_text(enum agg op)
{
    return promql_tok_text((enum tok)(T_SUM + op)); /* ORDER AGG */
}

struct expr *expr_unwrap(struct expr *e)
{
    for (;;) {
        if (e->kind == EXPR_PAREN)
            e = e->paren.e;
        else if (e->kind == EXPR_STEP_INVARIANT)
            e = e->invariant.e;
        else
            return e;
    }
}

struct expr *expr_child(const struct expr *e, size_t i)
{
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_VECTOR: return NULL;
    case EXPR_MATRIX: return i ? NULL : e->matrix.selector;
    case EXPR_SUBQUERY: return i ? NULL : e->subquery.e;
    case EXPR_CALL: return i < e->call.args.n ? e->call.args.p[i] : NULL;
    case EXPR_AGGREGATE: return i == 0 ? e->aggregate.e : i == 1 ? e->aggregate.param : NULL;
    case EXPR_BINARY: return i == 0 ? e->binary.l : i == 1 ? e->binary.r : NULL;
    case EXPR_UNARY: return i ? NULL : e->unary.e;
    case EXPR_PAREN: return i ? NULL : e->paren.e;
    case EXPR_STEP_INVARIANT: return i ? NULL : e->invariant.e;
    }
    assert(!"expression kind");
    return NULL;
}

bool promql_has_matching(const struct expr *e)
{
    return e->binary.l->type == TYPE_VECTOR && e->binary.r->type == TYPE_VECTOR;
}

void expr_free(struct expr *e)
{
    struct expr *child;

    if (!e)
        return;
    for (size_t i = 0; (child = expr_child(e, i)); i++)
        expr_free(child);
    if (e->kind != EXPR_VECTOR)
        return;
    for (size_t i = 0; i < e->vector.matchers_n; i++)
        matcher_free(e->vector.matchers[i]);
    e->vector.matchers_n = 0; /* the node may be shared */
}
