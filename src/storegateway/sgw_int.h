/* src/storegateway/sgw_int.h - the parts of the store gateway: sources of bytes, change marks. */
#ifndef ENGRAM_STOREGATEWAY_SGW_INT_H
#define ENGRAM_STOREGATEWAY_SGW_INT_H

#include "base/hmap.h"
#include "base/lock.h"
#include "storegateway/sgw.h"
#include "tsdb/block.h"

#include <stdatomic.h>

/* A block's name as key of maps: tenant/ULID. */
#define SGW_NAME_MAX 192u
struct sgw_name {
    char z[SGW_NAME_MAX];
};
struct sgw_name sgw_name_of(struct sv tenant, struct sv ulid);
/* --- sgw_source.c: a block's bytes by ranged reads --- */

/* What all sources of a gateway share. */
struct sgw_fetch {
    struct obj *bucket;
    struct cache *cache;        /* NULL: none */
    struct budget *budget;      /* NULL: not counted */
    int64_t keep_max;           /* ceiling of kept_bytes, but for two pages a source */
    _Atomic int64_t kept_bytes; /* of spans that sources keep, together */
    struct metric *m_bytes, *m_requests, *m_hits, *m_misses;
};
/* What a failure of the bucket means to a query: a block that has gone (its meta.json goes first), or
 * a gateway that refuses our credentials, is no fault of the asker's: ST_UNAVAIL. A block that lacks
 * a file though its meta.json is there is damaged: ST_CORRUPT. */
enum status sgw_source_error(struct sgw_fetch *f, enum status st, const struct sgw_name *name,
                             struct err *err);
/* tenant/ULID; both are copied. */
struct block_source *sgw_source_new(struct sgw_fetch *f, struct sv tenant, const char *ulid);

/* --- sgw_mark.c: what changed in the bucket, by tenant and range --- */

struct sgw_changes;
struct sgw_changes *sgw_changes_new(void);
void sgw_changes_free(struct sgw_changes *c);
void sgw_changes_bump(struct sgw_changes *c, struct sv tenant, struct trange range);
struct hash128 sgw_changes_digest(struct sgw_changes *c, struct sv tenant, struct trange range);

struct sgw {
    struct sgw_opts opts;
    struct sgw_fetch fetch;
    struct sgw_changes *changes;
    _Atomic bool synced;  /* the bucket was listed once */
    struct lock lock;     /* guards what follows; no I/O under it */
    struct hmap open;     /* name -> struct sgw_open, both open and quarantined blocks */
    struct hmap own;      /* names of blocks that the ingester has shipped or is shipping */
    size_t open_n;
    uint64_t use;         /* ticks with each use of a block */
    struct metric *m_blocks, *m_open, *m_bad, *m_syncs, *m_sync_failures;
    struct metric_hist *m_sync_seconds;
};

/* sgw.c: forgets an open or quarantined block. */
void sgw_forget(struct sgw *s, struct sv tenant, struct sv ulid);
/* Leaves it out from now on; says so once. */
void sgw_quarantine(struct sgw *s, struct sv tenant, struct sv ulid, const char *why);

#endif
