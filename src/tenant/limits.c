/* Limits by table: include/tenant/limits.def names each once, with its kind. */
#include "tenant/limits.h"

#include "base/dtoa.h"
#include "base/heap.h"

#include <math.h>

void limits_defaults(struct limits *l)
{
    memset(l, 0, sizeof(*l));
    atomic_init(&l->refs, 1);
#define U64(name, def, help) l->name = def;
#define BYTES(name, def, help) l->name = def;
#define MS(name, def, help) l->name = def;
#define F64(name, def, help) l->name = def;
#include "tenant/limits.def"
}

static enum status bad(struct sv key, struct sv value, const char *want, struct err *err)
{
    return err_set(err, ST_INVALID, "limit " SV_FMT ": \"" SV_FMT "\" is not %s", SV_ARG(key),
                   SV_ARG(value), want);
}

/* A rate is a number that is not negative; "inf" says no limit in Cortex's files, 0 in ours. */
static bool parse_rate(struct sv value, double *ret)
{
    double v;

    if (!dtoa_parse(value, &v) || isnan(v) || v < 0)
        return false;
    *ret = isinf(v) ? 0 : v;
    return true;
}

static bool parse_ms(struct sv value, int64_t *ret)
{
    int64_t v;

    if (!sv_duration_ms(value, &v) || v < 0)
        return false;
    *ret = v;
    return true;
}

enum status limits_set(struct limits *l, struct sv key, struct sv value, struct err *err)
{
#define U64(name, def, help) \
    if (sv_is(key, #name))   \
        return sv_u64(value, &l->name) ? ST_OK : bad(key, value, "a whole number", err);
#define BYTES(name, def, help) \
    if (sv_is(key, #name))     \
        return sv_bytes(value, &l->name) ? ST_OK : bad(key, value, "a size such as 64MiB", err);
#define MS(name, def, help) \
    if (sv_is(key, #name))  \
        return parse_ms(value, &l->name) ? ST_OK : bad(key, value, "a duration such as 5m", err);
#define F64(name, def, help) \
    if (sv_is(key, #name))   \
        return parse_rate(value, &l->name) ? ST_OK : bad(key, value, "a number from 0 on", err);
#include "tenant/limits.def"
    return err_set(err, ST_INVALID, "unknown limit \"" SV_FMT "\"", SV_ARG(key));
}

bool limits_known(struct sv key)
{
#define ROW(name)          \
    if (sv_is(key, #name)) \
        return true;
#define U64(name, def, help) ROW(name)
#define BYTES(name, def, help) ROW(name)
#define MS(name, def, help) ROW(name)
#define F64(name, def, help) ROW(name)
#include "tenant/limits.def"
#undef ROW
    return false;
}

struct limits *limits_ref(struct limits *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void limits_unref(struct limits *l)
{
    if (l && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
        heap_free(l);
}
