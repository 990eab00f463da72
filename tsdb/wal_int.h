/* tsdb/wal_int.h
 *
 * What the files of the log share: the constants of its format and the log itself.
 */
#ifndef ENGRAM_TSDB_WAL_INT_H
#define ENGRAM_TSDB_WAL_INT_H

#include "base/buf.h"
#include "base/codec.h"
#include "base/heap.h"
#include "base/lock.h"
#include "tsdb/wal.h"

#include <pthread.h>
#include <stdatomic.h>

/* --- format: drawn at the top of wal_write.c --- */
#define WAL_MAGIC "ENGRMWAL"
#define WAL_VERSION 1u
#define WAL_HEADER_BYTES 32u
#define WAL_PAGE_BYTES 32768u
#define WAL_FRAME_BYTES 7u  /* crc32c, length, kind */
#define WAL_RAW_BYTES 14u   /* length, position, type, tenant's length */
#define WAL_NAME_LEN 20u    /* "0123456789abcdef.wal" */

enum wal_frame { WAL_FRAME_NONE, WAL_FRAME_FULL, WAL_FRAME_FIRST, WAL_FRAME_MIDDLE, WAL_FRAME_LAST };

/* Checksums are seeded with the segment's base, so that bytes of another segment never pass. */
uint32_t wal_seed(uint64_t base);

struct wal_segment {
    uint64_t base;  /* its name; ascending from segment to segment */
    uint64_t last;  /* position of its newest record; base when it has none */
    uint64_t bytes;
};

struct wal_waiter {
    uint64_t pos;
    wal_done fn;
    void *arg;
};

struct wal {
    struct wal_opts opts;
    char *dir;

    /* The open segment and what guards its framing: the syncer's alone, no lock. */
    int fd;               /* -1: none, the next group opens one */
    uint64_t file_bytes;  /* written and kept */
    bool holds_durable;   /* a group in it reached the disk */
    int64_t synced_ns;    /* WAL_SYNC_INTERVAL */
    bool dirty;           /* written, not synced (interval, off) */
    struct buf group;     /* records being written, raw */
    struct buf tail;      /* the newest durable records, raw: at least one disk page of them */
    struct buf page;      /* framed bytes on their way to write() */

    struct lock lock; /* LOCK_wal: all below */
    struct cond work, done;
    struct buf pending;      /* records that wait for the syncer, raw */
    uint64_t pending_records;
    uint64_t position;       /* of the newest record */
    uint64_t group_pos;      /* of the newest record that the syncer has taken */
    enum status failing;     /* not ST_OK: the group can't be written */
    struct err failure;
    bool stop, roll;
    VEC(struct wal_waiter) waiters;
    VEC(struct wal_segment) segments; /* ascending; the last is open when fd >= 0 */
    bool open_is_last;                /* the last segment is still written to */

    _Atomic uint64_t durable;
    pthread_t syncer;
    bool started;

    struct metric *m_records, *m_bytes, *m_failures, *m_pending, *m_segments, *m_damaged;
    struct metric_hist *m_sync, *m_group;
};

/* wal_read.c: reads every segment of the folder in order. A finding is something lost; what a power
 * cut tore off the end is none. */
struct wal_reading {
    const struct fs *fs;
    const char *dir;
    wal_visit visit;                  /* NULL: look only */
    void (*say)(void *arg, const char *text); /* a finding */
    void *arg, *say_arg;
    VEC(struct wal_segment) segments; /* what was read */
    uint64_t position;                /* of the newest record or segment; 0: none */
    uint64_t records, findings;
    bool any;                         /* a record was read: gaps can be told */
};
enum status wal_read_all(struct wal_reading *r, struct err *err);
bool wal_segment_path(const char *dir, uint64_t base, char out[FS_PATH_MAX]);

/* wal_write.c: one group into the open segment; the syncer's thread only. */
enum status wal_write_group(struct wal *w, struct err *err);
void wal_seal(struct wal *w);

/* wal_sync.c */
enum status wal_syncer_start(struct wal *w, struct err *err);
void wal_syncer_stop(struct wal *w);

#endif
