/* include/promql/fn.h
 *
 * The table of PromQL functions: name, argument types, arity, result, experimental or not. Rows are
 * in include/promql/functions.def; the parser checks calls by it, the evaluator dispatches on `id`.
 */
#ifndef ENGRAM_PROMQL_FN_H
#define ENGRAM_PROMQL_FN_H

#include "promql/ast.h"

enum fn_id {
#define FN(id, name, types, variadic, result, experimental) FN_##id,
#include "promql/functions.def"
#undef FN
    FN_COUNT
};

struct promql_fn {
    enum fn_id id;
    const char *name;
    /* one letter an argument: s scalar, v instant vector, m range vector, t string */
    const char *types;
    /* Prometheus's Variadic: 0 none, n > 0: the last n may be missing, -1: the last repeats */
    int variadic;
    enum expr_type result;
    bool experimental;
};

const struct promql_fn *promql_fn_find(struct sv name); /* NULL: unknown */
const struct promql_fn *promql_fn_by_id(enum fn_id id);

#endif
