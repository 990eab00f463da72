/* include/model/storage.h
 *
 * The one interface PromQL and the frontend read through. The querier fills it; tests put a fake
 * behind it.
 *
 * A select yields series in canonical label order (labels_cmp), each with all its samples in the
 * asked range, as columns. When next() says there are no more, `outcome` says whether every leaf
 * answered: only then may anything be cached.
 *
 * Threads: one set belongs to one thread at a time; sets of one storage run in parallel. For
 *          parallel evaluation ask for disjoint shards.
 * Memory:  set->labels and what read() appended stay valid until the next next() or close();
 *          (histograms inside samples likewise). Big buffers are charged to ctx->mem.
 * Errors:  ST_LIMIT, ST_CANCELED, ST_TIMEOUT, ST_IO, ST_CORRUPT, ST_UNAVAIL.
 */
#ifndef ENGRAM_MODEL_STORAGE_H
#define ENGRAM_MODEL_STORAGE_H

#include "base/budget.h"
#include "base/clk.h"
#include "base/vec.h"
#include "model/matcher.h"
#include "model/samples.h"
#include "model/trange.h"
#include "model/who.h"

/* One query on its way down. */
struct query_ctx {
    const struct who *who;
    const struct clk *clk;
    int64_t deadline_ns;              /* monotonic; 0: none */
    const _Atomic bool *canceled;     /* NULL: can't be */
    struct account *mem;              /* NULL: not charged */
    struct arena *arena;              /* lives as long as the query's result */
};
/* ST_CANCELED or ST_TIMEOUT when the query should stop; cheap enough for every series. */
enum status query_alive(const struct query_ctx *ctx, struct err *err);

struct select_hints {
    int64_t step_ms, range_ms; /* 0: instant or unknown */
    struct sv func;            /* the function directly around the selector, or empty */
    bool labels_only;          /* samples won't be read */
    size_t limit;              /* series wanted at most; 0: all */
    uint32_t shard, shards;    /* this select yields series whose labels_hash(.., 0).lo % shards == shard;
                                  shards 0 or 1: all */
};

struct select_req {
    const struct matcher *const *matchers;
    size_t matchers_n;
    struct trange range;
    struct select_hints hints;
};

struct select_outcome {
    bool complete;                  /* every leaf answered in full */
    VEC(const char *) warnings;     /* texts in ctx->arena */
};

struct series_set;

struct series_set_ops {
    enum status (*next)(struct series_set *s, bool *ret_more, struct err *err);
    /* Replaces *out with the current series' samples in the range. */
    enum status (*read)(struct series_set *s, struct samples *out, struct err *err);
    void (*close)(struct series_set *own_s);
};

struct series_set {
    const struct series_set_ops *ops;
    struct labels labels;           /* of the current series */
    struct select_outcome outcome;  /* filled when next() gave no more */
};

static inline enum status series_set_next(struct series_set *s, bool *ret_more, struct err *err)
{
    return s->ops->next(s, ret_more, err);
}
static inline enum status series_set_read(struct series_set *s, struct samples *out, struct err *err)
{
    return s->ops->read(s, out, err);
}
static inline void series_set_close(struct series_set *s) /* takes NULL */
{
    if (s)
        s->ops->close(s);
}

/* What the results cache needs to know of a time range of a tenant's data. Two equal marks taken
 * before and after an evaluation prove that nothing in the range changed meanwhile. */
struct change_mark {
    uint64_t boot;         /* changes when the counters can't be compared any more */
    struct hash128 counters; /* digest of the change counters of all 2 h granules in the range */
    int64_t settled_ms;    /* all below is durable, and any later change there bumps a counter */
};

struct names { /* a sorted list of distinct strings, in ctx->arena */
    struct sv *p;
    size_t n;
    bool truncated;      /* the limit cut it */
    bool complete;
};

struct storage;
struct storage_ops {
    enum status (*select)(const struct storage *s, const struct query_ctx *ctx,
                          const struct select_req *req, struct series_set **ret, struct err *err);
    /* Names of labels, or values of `name`, of the series that the selectors match (any of sets_n
     * selectors; none: all series). limit 0: all. Metric selectors as in select_req. */
    enum status (*label_names)(const struct storage *s, const struct query_ctx *ctx,
                               const struct select_req *reqs, size_t reqs_n, struct trange range,
                               size_t limit, struct names *ret, struct err *err);
    enum status (*label_values)(const struct storage *s, const struct query_ctx *ctx, struct sv name,
                                const struct select_req *reqs, size_t reqs_n, struct trange range,
                                size_t limit, struct names *ret, struct err *err);
    void (*mark)(const struct storage *s, const struct who *who, struct trange range,
                 struct change_mark *ret);
};
struct storage {
    const struct storage_ops *ops;
};

#endif
