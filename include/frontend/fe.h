/* include/frontend/fe.h
 *
 * The query pipeline: limits -> parse once -> split by day -> results cache -> one flight per key
 * -> fair queue per tenant -> promql eval -> merge -> store what is settled.
 *
 * Rules of the results cache: docs in src/frontend/README.md.
 *
 * Threads: fe_query() blocks its caller (a query worker). Memory: the result lives in ctx->arena.
 * Errors:  ST_INVALID (parse, parameters), ST_EXEC, ST_LIMIT, ST_RATE (queue full), ST_TIMEOUT,
 *          ST_CANCELED, and what storage gives.
 */
#ifndef ENGRAM_FRONTEND_FE_H
#define ENGRAM_FRONTEND_FE_H

#include "base/metric.h"
#include "cache/cache.h"
#include "model/storage.h"
#include "model/value.h"
#include "promql/promql.h"

struct fe;

struct fe_opts {
    const struct storage *storage; /* borrowed */
    struct cache *cache;           /* borrowed; NULL: no results cache */
    const struct clk *clk;
    struct budget *budget;
    struct metrics *metrics;
    struct promql_opts promql;     /* features */
    int64_t timeout_ms;            /* promql.timeout */
    uint64_t max_samples;
    unsigned workers;              /* queries evaluated at once */
    uint64_t default_query_memory; /* when the limit max_query_memory is 0 */
};
struct fe *fe_new(const struct fe_opts *opts);
void fe_free(struct fe *f);

struct fe_query {
    struct sv text;
    bool range;                       /* else instant at start_ms */
    int64_t start_ms, end_ms, step_ms;
    int64_t lookback_ms;              /* 0: default 5 m */
    int64_t timeout_ms;               /* 0: promql.timeout; capped by it */
    uint64_t limit;                   /* series in the answer; 0: all */
    bool no_cache;                    /* Cache-Control: no-store */
};
struct fe_stats {
    uint32_t hit, miss, bypass;       /* buckets: X-Engram-Cache */
    uint64_t samples, series;
    int64_t queue_ns, eval_ns, total_ns;
};
/* ctx: who, clk, canceled and arena are the caller's; deadline and mem are set here. */
enum status fe_run(struct fe *f, const struct query_ctx *ctx, const struct fe_query *q,
                   struct value **ret, struct fe_stats *ret_stats, struct err *err);

#endif
