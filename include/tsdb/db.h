/* include/tsdb/db.h
 *
 * One tenant's storage on this node: the head (newest samples, in memory, backed by the log) and
 * its local blocks.
 *
 * Threads: append, select and mark from any thread, in parallel. db_cut() runs beside them, one
 *          cut at a time. db_settle() is stepped by a ticker.
 * Memory:  counted by the ingester. A series_set keeps what it reads alive until closed.
 * Errors:  refusals are verdicts in append_result, not errors. ST_UNAVAIL, ST_FULL, ST_IO when
 *          the log can't take the records: then nothing counts as stored.
 */
#ifndef ENGRAM_TSDB_DB_H
#define ENGRAM_TSDB_DB_H

#include "model/batch.h"
#include "model/storage.h"
#include "tsdb/block.h"
#include "tsdb/wal.h"

struct db;

struct db_opts {
    const struct fs *fs;
    const struct clk *clk;
    struct wal *wal;            /* borrowed; may be NULL during replay, see db_set_wal() */
    struct budget *budget;      /* borrowed */
    const char *tenant;
    const char *ingester;       /* goes into meta.json */
    const char *blocks_dir;     /* data/blocks/<tenant>; made when the first block is cut */
    int64_t block_range_ms;     /* 2 h */
    uint64_t boot;              /* nonce of this process, for change marks */
};

/* Opens the local blocks (a damaged one is quarantined: renamed to <ULID>.bad and logged). */
enum status db_open(const struct db_opts *opts, struct db **ret, struct err *err);
void db_close(struct db *own_d); /* takes NULL */
void db_set_wal(struct db *d, struct wal *wal);

enum status db_append(struct db *d, const struct batch *batch, const struct append_rules *rules,
                      struct append_result *ret, struct err *err);
/* A record of this tenant read back from the log: no order rules, nothing is logged again. */
enum status db_replay(struct db *d, const struct wal_record *rec, struct err *err);

enum status db_select(struct db *d, const struct query_ctx *ctx, const struct select_req *req,
                      struct series_set **ret, struct err *err); /* head and local blocks, merged */
enum status db_label_names(struct db *d, const struct query_ctx *ctx, const struct select_req *req,
                           struct names *ret, struct err *err);
enum status db_label_values(struct db *d, const struct query_ctx *ctx, struct sv name,
                            const struct select_req *req, struct names *ret, struct err *err);
void db_mark(struct db *d, struct trange range, struct change_mark *ret);
/* Moves the sealed edge forward: see src/ARCHITECTURE.md, "settled". */
void db_settle(struct db *d);
/* Counts a change made from outside (an import, a block that vanished). */
void db_bump(struct db *d, struct trange range);

/* Is a window complete (head spans 1.5 x block range) or the head idle? */
bool db_wants_cut(struct db *d, int64_t idle_ns);
/* Cuts complete windows, or with `all` everything, into blocks; their samples leave the head.
 * An empty head makes no block. *ret_n blocks were made; blocks and their metas by db_blocks(). */
enum status db_cut(struct db *d, bool all, size_t *ret_n, struct err *err);

/* Local blocks, oldest first, each referenced for the caller. */
struct db_blocks {
    struct block **p;
    size_t n;
};
void db_blocks(struct db *d, struct db_blocks *ret);
void db_blocks_free(struct db_blocks *b);
/* Forgets a local block and removes its folder (its upload was confirmed). */
enum status db_drop_block(struct db *d, struct sv ulid, struct err *err);

struct db_stats {
    uint64_t series, samples, chunk_bytes, index_bytes, head_bytes;
    int64_t min_ms, max_ms;   /* of the head; min > max: empty */
    uint64_t log_needed_from; /* the log must be kept from this position on; UINT64_MAX: not needed */
    size_t blocks;
};
void db_stats(struct db *d, struct db_stats *ret);
/* Walks every invariant of the head. */
enum status db_check(struct db *d, struct err *err);

#endif
