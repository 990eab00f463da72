/* include/ingester/ingester.h
 *
 * The tenants' databases on this node: opened on first use, replayed at start, cut, shipped,
 * closed when idle. Owns the log.
 *
 * Threads: any; maintenance (cut, ship, settle, evict) is stepped by tickers of the app.
 * Errors:  as db.h; ST_UNAVAIL while stopping.
 */
#ifndef ENGRAM_INGESTER_INGESTER_H
#define ENGRAM_INGESTER_INGESTER_H

#include "catalogue/catalogue.h"
#include "model/batch.h"
#include "model/storage.h"
#include "objstore/obj.h"
#include "tsdb/db.h"

struct ingester;

struct ingester_opts {
    const struct fs *fs;
    const struct clk *clk;
    const char *data_dir;
    const char *id;              /* __ingester_id__ */
    int64_t block_range_ms;
    int64_t idle_cut_ms;         /* a head idle this long is cut; 1 h */
    uint64_t log_max_bytes;      /* over it the oldest heads are cut */
    size_t tenants_max;          /* entries; 0: 100000 */
    struct wal_opts wal;         /* fs, clk, dir are filled by the ingester */
    struct budget *budget;
    struct obj *bucket;          /* borrowed */
    struct catalogue *catalogue; /* borrowed */
    struct metrics *metrics;
    /* Told of each block of ours before its upload (so before a listing can meet it, the catalogue
     * says so and the local copy goes), again when an upload is tried again. May be NULL. */
    void (*on_shipped)(void *arg, struct sv tenant, struct sv ulid);
    void *on_shipped_arg;
};
/* Opens the log and the tenants it and data/blocks name, replays. Progress goes to the log. */
enum status ingester_open(const struct ingester_opts *opts, struct ingester **ret, struct err *err);
void ingester_close(struct ingester *own_i); /* syncs; heads stay in the log; takes NULL */

enum status ingester_append(struct ingester *i, struct sv tenant, const struct batch *batch,
                            const struct append_rules *rules, struct append_result *ret,
                            struct err *err);
void ingester_durable(struct ingester *i, uint64_t log_pos, wal_done fn, void *arg);
uint64_t ingester_alias_key(const struct ingester *i);

/* Read side; an unknown tenant gives an empty complete set. */
enum status ingester_select(struct ingester *i, const struct query_ctx *ctx,
                            const struct select_req *req, struct series_set **ret, struct err *err);
enum status ingester_label_names(struct ingester *i, const struct query_ctx *ctx,
                                 const struct select_req *req, struct names *ret, struct err *err);
enum status ingester_label_values(struct ingester *i, const struct query_ctx *ctx, struct sv name,
                                  const struct select_req *req, struct names *ret, struct err *err);
/* ULIDs of the local blocks, in ctx->arena. Asked after ingester_select() it is what the store
 * gateway may leave out: see src/querier/querier.c. */
enum status ingester_local_blocks(struct ingester *i, const struct query_ctx *ctx,
                                  struct names *ret, struct err *err);
void ingester_mark(struct ingester *i, const struct who *who, struct trange range,
                   struct change_mark *ret);

/* Steps of the background work. */
void ingester_step_cut(struct ingester *i);
void ingester_step_ship(struct ingester *i);
void ingester_step_settle(struct ingester *i);

/* Cuts and ships one tenant's head (or all: tenant.p NULL); visits each block that is in the
 * bucket afterwards. ST_UNAVAIL when the bucket can't be reached: nothing is lost. */
typedef void (*ingester_block_visit)(void *arg, const struct block_meta *m);
enum status ingester_flush(struct ingester *i, struct sv tenant, ingester_block_visit visit,
                           void *arg, struct err *err);

struct ingester_tenant_stats {
    struct sv tenant;
    struct db_stats db;
};
typedef void (*ingester_visit)(void *arg, const struct ingester_tenant_stats *s);
void ingester_each(struct ingester *i, ingester_visit visit, void *arg);

#endif
