/* tsdb/block_read_int.h
 *
 * An open block, and what its readers (select, names, check) share.
 *
 * Threads: immutable but for the count of references.
 */
#ifndef ENGRAM_TSDB_BLOCK_READ_INT_H
#define ENGRAM_TSDB_BLOCK_READ_INT_H

#include "index_int.h"

#include <stdatomic.h>

#define BLOCK_MAGIC       0x626c6f63u
#define BLOCK_CHUNK_GUESS ((size_t)512) /* asked for when a chunk's length is unknown */

struct block {
    uint32_t magic;
    _Atomic uint32_t refs; /* block_ref, block_unref */
    struct block_source *src;
    struct block_meta meta;
    struct index index;
};

/* As block_open(), without verifying checksums: for fuzzing alone. */
enum status block_open_trusting(struct block_source *own_source, const struct block_meta *meta,
                                struct block **ret, struct err *err);

/* Ids on the heap, charged to an account. */
struct block_ids {
    struct postings list;
    int64_t charged;
};
/* The series that all matchers match, whatever their times. */
enum status block_match(struct block *b, const struct query_ctx *ctx,
                        const struct matcher *const *matchers, size_t n, struct block_ids *ret,
                        struct err *err);
void block_ids_fini(struct block_ids *ids, const struct query_ctx *ctx);

/* Appends what lies in range of one chunk. next: the one behind it in the same series, or NULL; only
 * a hint for how much to ask for. */
enum status block_chunk_read(struct block *b, const struct index_chunk *c,
                             const struct index_chunk *next, struct trange range,
                             struct samples *out, struct err *err);
enum status block_wrap(const struct block *b, struct err *err); /* prefixes the ULID */

/* ST_OK when the file is absent or says that nothing is deleted. */
enum status block_tombstones_check(const struct fs *fs, const char *block_dir, struct err *err);

#endif
