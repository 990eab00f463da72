/* include/storegateway/sgw.h
 *
 * Reading the bucket: which blocks hold a range (catalogue), opening them, ranged reads through
 * the byte cache. A folder bucket is mapped instead.
 *
 * Threads: any. sgw_sync() (bucket listing -> catalogue) is stepped by a ticker and at start.
 * Errors:  a block that can't be read makes the answer incomplete (an error to the query), a
 *          damaged one is quarantined by name and reported once; the rest is served.
 */
#ifndef ENGRAM_STOREGATEWAY_SGW_H
#define ENGRAM_STOREGATEWAY_SGW_H

#include "base/metric.h"
#include "cache/cache.h"
#include "catalogue/catalogue.h"
#include "model/storage.h"
#include "objstore/obj.h"

struct sgw;

struct sgw_opts {
    const struct fs *fs;
    const struct clk *clk;
    struct obj *bucket;          /* borrowed */
    struct catalogue *catalogue; /* borrowed */
    struct cache *cache;         /* borrowed; byte ranges of blocks; NULL: none */
    struct budget *budget;
    struct metrics *metrics;
    uint64_t boot;
};
struct sgw *sgw_new(const struct sgw_opts *opts);
void sgw_free(struct sgw *s);
/* Lists the bucket, reads meta.json of blocks not known, forgets those gone or marked for deletion;
 * bumps the change counters of ranges whose data changed from outside. */
enum status sgw_sync(struct sgw *s, struct err *err);
/* A block of our own is in the bucket now: no data changed, no counter moves. */
void sgw_shipped(struct sgw *s, struct sv tenant, struct sv ulid);

/* Bucket blocks that overlap, without those in `skip` (ULIDs that the ingester serves itself). */
enum status sgw_select(struct sgw *s, const struct query_ctx *ctx, const struct select_req *req,
                       const struct names *skip, struct series_set **ret, struct err *err);
enum status sgw_label_names(struct sgw *s, const struct query_ctx *ctx, const struct select_req *req,
                            struct names *ret, struct err *err);
enum status sgw_label_values(struct sgw *s, const struct query_ctx *ctx, struct sv name,
                             const struct select_req *req, struct names *ret, struct err *err);
void sgw_mark(struct sgw *s, const struct who *who, struct trange range, struct change_mark *ret);

#endif
