/* start() and end() in @ become the times they stand for, so that parts of a request evaluated
 * alone mean what the whole meant. */
#include "promql_lang_int.h"

static void bind(struct expr_time *t, int64_t start_ms, int64_t end_ms)
{
    if (t->at != AT_START && t->at != AT_END)
        return;
    t->at_ms = t->at == AT_START ? start_ms : end_ms;
    t->at = AT_TIME;
}

void promql_bind(struct expr *e, int64_t start_ms, int64_t end_ms)
{
    struct expr *child;

    if (e->kind == EXPR_VECTOR)
        bind(&e->vector.time, start_ms, end_ms);
    else if (e->kind == EXPR_SUBQUERY)
        bind(&e->subquery.time, start_ms, end_ms);
    for (size_t i = 0; (child = expr_child(e, i)); i++)
        promql_bind(child, start_ms, end_ms);
}
