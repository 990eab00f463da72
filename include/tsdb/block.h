/* include/tsdb/block.h
 *
 * Prometheus TSDB blocks: meta.json, index (v2), chunks/NNNNNN, tombstones.
 *
 * Writing: block_writer_open() in a folder `<ULID>.tmp`, series in canonical label order with
 * ascending disjoint chunks, then finish(): everything synced, meta.json last, renamed to the ULID.
 * Until then nothing that a reader takes for a block exists.
 *
 * Reading: over a struct block_source, so that the same decoders run on mapped local files and on
 * ranges fetched from a bucket. An open block holds its symbols' and postings' offset tables, not
 * the index.
 *
 * Threads: a block is immutable; selects run in parallel. A writer belongs to one thread.
 * Memory:  counted: block_ref/block_unref; a series_set keeps its block referenced.
 * Errors:  ST_CORRUPT names file and offset; ST_FULL and ST_IO from the disk.
 */
#ifndef ENGRAM_TSDB_BLOCK_H
#define ENGRAM_TSDB_BLOCK_H

#include "base/codec.h"
#include "base/fs.h"
#include "base/json.h"
#include "model/storage.h"
#include "tsdb/chunk.h"

/* meta.json. Strings are NUL-terminated and bounded; unknown keys are ignored when read. */
#define BLOCK_SOURCES_MAX 64
struct block_meta {
    char ulid[ULID_LEN + 1];
    struct trange range;           /* half-open, as meta.json has it: [minTime, maxTime) */
    uint64_t num_samples, num_series, num_chunks;
    unsigned level;                /* compaction level, from 1 */
    char sources[BLOCK_SOURCES_MAX][ULID_LEN + 1];
    unsigned sources_n;
    bool out_of_order;             /* compaction hint "from-out-of-order" */
    char tenant[160];              /* thanos.labels.__org_id__ */
    char ingester[128];            /* thanos.labels.__ingester_id__ */
    uint64_t log_from, log_to;     /* engram: log range whose samples this block holds; 0,0 none */
    uint64_t cut_seq;              /* engram: order of cuts of one head: of two blocks that hold the
                                      same timestamp the lower one was first */
};
enum status block_meta_read(struct sv json, struct block_meta *ret, struct err *err);
void block_meta_write(struct buf *out, const struct block_meta *m);

/* --- writing --- */
struct block_writer;
/* dir: the folder that will hold <ulid>/. */
enum status block_writer_open(const struct fs *fs, const char *dir, const struct block_meta *meta,
                              struct block_writer **ret, struct err *err);
/* labels greater than the last; chunks ascending and disjoint, at least one. */
enum status block_writer_series(struct block_writer *w, struct labels labels,
                                const struct chunk *chunks, size_t chunks_n, uint64_t samples,
                                struct err *err);
/* Ends the block; counts and range of ret_meta are what was written. Frees w either way. */
enum status block_writer_finish(struct block_writer *own_w, struct block_meta *ret_meta,
                                struct err *err);
void block_writer_abort(struct block_writer *own_w); /* removes the .tmp folder; takes NULL */

/* --- reading --- */
/* Where a block's bytes come from. get() gives a view of [off, off+n) of a file ("index",
 * "chunks/000001"), valid until release() of the same lease; past the end is ST_CORRUPT. A local
 * source maps files; the store gateway fetches ranges through a cache. prefetch() says what will
 * be asked soon (may do nothing). */
struct block_lease { /* filled by get; opaque to the reader */
    void *own[2];
};
struct block_range {
    const char *file;
    uint64_t off;
    size_t n;
};
struct block_source;
struct block_source_ops {
    enum status (*size)(struct block_source *s, const char *file, uint64_t *ret, struct err *err);
    enum status (*get)(struct block_source *s, const char *file, uint64_t off, size_t n,
                       struct sv *ret, struct block_lease *ret_lease, struct err *err);
    void (*release)(struct block_source *s, struct block_lease *lease);
    enum status (*prefetch)(struct block_source *s, const struct block_range *ranges, size_t n,
                            struct err *err);
    void (*close)(struct block_source *own_s);
};
struct block_source {
    const struct block_source_ops *ops;
};
enum status block_source_local(const struct fs *fs, const char *block_dir,
                               struct block_source **ret, struct err *err);

struct block;
/* Takes the source, also on failure. */
enum status block_open(struct block_source *own_source, const struct block_meta *meta,
                       struct block **ret, struct err *err);
/* meta.json and a local source of the folder. */
enum status block_open_dir(const struct fs *fs, const char *block_dir, struct block **ret,
                           struct err *err);
struct block *block_ref(struct block *b);
void block_unref(struct block *b); /* takes NULL */
const struct block_meta *block_meta_of(const struct block *b);

/* As struct storage_ops, on this block alone. Samples outside req->range are not handed out. */
enum status block_select(struct block *b, const struct query_ctx *ctx, const struct select_req *req,
                         struct series_set **ret, struct err *err);
enum status block_label_names(struct block *b, const struct query_ctx *ctx,
                              const struct select_req *req /* NULL: all */, struct names *ret,
                              struct err *err);
enum status block_label_values(struct block *b, const struct query_ctx *ctx, struct sv name,
                               const struct select_req *req, struct names *ret, struct err *err);

/* Verifies every byte of a block: checksums, order, references, counts against meta.json.
 * Calls say() once a finding; ST_CORRUPT when there was any. */
typedef void (*check_say)(void *arg, const char *text);
enum status block_check(const struct fs *fs, const char *block_dir, check_say say, void *arg,
                        struct err *err);

#endif
