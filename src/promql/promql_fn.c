/* The table of functions, searched by name. Rows are in include/promql/functions.def, sorted. */
#include "promql/fn.h"

#include <assert.h>

static const struct promql_fn fns[FN_COUNT] = {
#define FN(id, name, types, variadic, result, experimental)                                        \
    {FN_##id, name, types, variadic, result, experimental},
#include "promql/functions.def"
#undef FN
};

const struct promql_fn *promql_fn_find(struct sv name)
{
    for (size_t i = 0; i < FN_COUNT; i++)
        if (sv_is(name, fns[i].name))
            return &fns[i];
    return NULL;
}

const struct promql_fn *promql_fn_by_id(enum fn_id id)
{
    assert(id < FN_COUNT);
    return &fns[id];
}
