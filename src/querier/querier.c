/* Head, local blocks and bucket as one storage.
 *
 * No sample is missed while a block moves from the head to a local block to the bucket, because the
 * tiers are asked in the order in which samples travel: the ingester's select comes first and pins
 * what it saw; only then is asked which blocks are local, and the gateway leaves those out. A block
 * that is local at that moment was local or still head when the select ran; one that had gone by
 * then is in the bucket, which the gateway reads. What is met twice has equal timestamps and merges
 * away.
 *
 * Order in the merge is order of writing: bucket, then local blocks, then head (db_select), so that
 * the first written sample wins everywhere.
 */
#include "querier/querier.h"

#include "base/heap.h"
#include "model/merge.h"

struct querier {
    struct storage base;
    struct ingester *ingester; /* borrowed; NULL: role without */
    struct sgw *sgw;           /* borrowed; NULL: role without */
};

static const struct querier *self(const struct storage *s)
{
    return (const struct querier *)s;
}

static enum status select_both(const struct storage *s, const struct query_ctx *ctx,
                               const struct select_req *req, struct series_set **ret,
                               struct err *err)
{
    const struct querier *q = self(s);
    struct series_set *sets[2] = {NULL, NULL};
    struct names local = {0};
    enum status st;
    size_t n = 0;

    if (q->ingester) {
        TRY_GOTO(ingester_select(q->ingester, ctx, req, &sets[1], err));
        TRY_GOTO(ingester_local_blocks(q->ingester, ctx, &local, err));
    }
    if (q->sgw)
        TRY_GOTO(sgw_select(q->sgw, ctx, req, &local, &sets[0], err));
    for (size_t i = 0; i < 2; i++)
        if (sets[i])
            sets[n++] = sets[i];
    return merge_sets(ctx, sets, n, ret, err);
out:
    series_set_close(sets[0]);
    series_set_close(sets[1]);
    return st;
}

/* One selector of both tiers, appended to lists. */
typedef enum status (*leaf_fn)(const struct querier *q, const struct query_ctx *ctx, struct sv name,
                               const struct select_req *req, struct names lists[2],
                               struct err *err);

static enum status names_leaf(const struct querier *q, const struct query_ctx *ctx, struct sv name,
                              const struct select_req *req, struct names lists[2], struct err *err)
{
    (void)name;
    if (q->ingester)
        TRY(ingester_label_names(q->ingester, ctx, req, &lists[0], err));
    if (q->sgw)
        TRY(sgw_label_names(q->sgw, ctx, req, &lists[1], err));
    return ST_OK;
}

static enum status values_leaf(const struct querier *q, const struct query_ctx *ctx, struct sv name,
                               const struct select_req *req, struct names lists[2], struct err *err)
{
    if (q->ingester)
        TRY(ingester_label_values(q->ingester, ctx, name, req, &lists[0], err));
    if (q->sgw)
        TRY(sgw_label_values(q->sgw, ctx, name, req, &lists[1], err));
    return ST_OK;
}

static enum status gather(const struct querier *q, const struct query_ctx *ctx, struct sv name,
                          const struct select_req *reqs, size_t reqs_n, struct trange range,
                          size_t limit, leaf_fn leaf, struct names *ret, struct err *err)
{
    struct select_req all = {.range = range};
    size_t n = reqs_n ? reqs_n : 1;
    struct names *lists = arena_array(ctx->arena, 2 * n, sizeof(*lists));

    if (!lists)
        return err_set(err, ST_LIMIT, "query needs more than %zu bytes", ctx->arena->max_bytes);
    for (size_t i = 0; i < n; i++) {
        struct select_req req = reqs_n ? reqs[i] : all;

        req.range = range;
        req.hints.labels_only = true;
        lists[2 * i].complete = lists[2 * i + 1].complete = true;
        TRY(leaf(q, ctx, name, &req, &lists[2 * i], err));
    }
    return merge_names(ctx, lists, 2 * n, limit, ret, err);
}

static enum status label_names(const struct storage *s, const struct query_ctx *ctx,
                               const struct select_req *reqs, size_t reqs_n, struct trange range,
                               size_t limit, struct names *ret, struct err *err)
{
    return gather(self(s), ctx, (struct sv){NULL, 0}, reqs, reqs_n, range, limit, names_leaf, ret,
                  err);
}

static enum status label_values(const struct storage *s, const struct query_ctx *ctx,
                                struct sv name, const struct select_req *reqs, size_t reqs_n,
                                struct trange range, size_t limit, struct names *ret,
                                struct err *err)
{
    return gather(self(s), ctx, name, reqs, reqs_n, range, limit, values_leaf, ret, err);
}

static void mark_both(const struct storage *s, const struct who *who, struct trange range,
                      struct change_mark *ret)
{
    const struct querier *q = self(s);
    struct change_mark m = {.settled_ms = INT64_MAX}, g = {.settled_ms = INT64_MAX};

    if (q->ingester)
        ingester_mark(q->ingester, who, range, &m);
    if (q->sgw)
        sgw_mark(q->sgw, who, range, &g);
    struct {
        struct hash128 m, g;
    } both = {m.counters, g.counters};
    *ret = (struct change_mark){
        .boot = m.boot ^ (g.boot * UINT64_C(0x9e3779b97f4a7c15)),
        .counters = hash128(&both, sizeof(both), 0),
        .settled_ms = m.settled_ms < g.settled_ms ? m.settled_ms : g.settled_ms,
    };
}

struct storage *querier_new(struct ingester *ingester, struct sgw *sgw)
{
    static const struct storage_ops ops = {select_both, label_names, label_values, mark_both};
    struct querier *q = heap_new(struct querier);

    q->base.ops = &ops;
    q->ingester = ingester;
    q->sgw = sgw;
    return &q->base;
}

void querier_free(struct storage *own_s)
{
    heap_free(own_s);
}
