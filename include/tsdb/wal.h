/* include/tsdb/wal.h
 *
 * The write-ahead log: one per process, all tenants. Checksummed framed records in segments;
 * group commit: one thread writes and fdatasyncs whatever has gathered, then tells who waits.
 *
 * A record is bytes with a type and a tenant; wal_append() copies it into the pending group and
 * returns its position. Positions only grow, over restarts too, and are never given twice: a log
 * begun in an empty folder starts at the wall clock's nanoseconds, so blocks of an older log can't
 * claim its records.
 *
 * Failure: what a group holds is kept until it is on disk. ENOSPC and EIO: what was written of it is
 * truncated away and it is tried again four times a second. A failed fdatasync is never repeated on
 * that file: the segment is sealed and the group goes into a new one, together with the records
 * that shared its last pages. While a group can't be written, its waiters get the error, and so
 * does every wal_append(): nothing counts as stored, and memory does not grow.
 *
 * Replay may hand out a record twice (that second case), always with the same position.
 *
 * Threads: append, wait and stats from any thread; callbacks run on the syncer and must be short.
 * Format:  drawn at the top of tsdb/wal_write.c.
 */
#ifndef ENGRAM_TSDB_WAL_H
#define ENGRAM_TSDB_WAL_H

#include "base/clk.h"
#include "base/fs.h"
#include "base/metric.h"

struct wal;

enum wal_sync { WAL_SYNC_ALWAYS, WAL_SYNC_INTERVAL, WAL_SYNC_OFF };

struct wal_opts {
    const struct fs *fs;
    const struct clk *clk;
    const char *dir;
    uint64_t segment_bytes;   /* default 64 MiB */
    uint64_t pending_max;     /* bytes that may wait for the syncer; above: ST_UNAVAIL. 64 MiB */
    enum wal_sync sync;
    int64_t sync_interval_ms; /* WAL_SYNC_INTERVAL */
    struct metrics *metrics;  /* NULL: none */
};

#define WAL_RECORD_MAX ((size_t)128 << 20) /* bytes of a body; larger: ST_TOOBIG */

/* One record as replay sees it; views into the segment. */
struct wal_record {
    uint8_t type; /* enum of tsdb/wal_record.h, private to tsdb */
    struct sv tenant, body;
    uint64_t pos;
};
typedef enum status (*wal_visit)(void *arg, const struct wal_record *rec, struct err *err);

/* Reads all segments in order, hands each sound record to visit, then starts a new segment and
 * the syncer. Damaged pages are skipped, counted and named in the log; a torn tail of the last
 * segment is normal. */
enum status wal_open(const struct wal_opts *opts, wal_visit visit, void *arg, struct wal **ret,
                     struct err *err);
void wal_close(struct wal *own_w); /* syncs what is pending; takes NULL */

enum status wal_append(struct wal *w, uint8_t type, struct sv tenant, struct sv body,
                       uint64_t *ret_pos, struct err *err);
/* fn(arg, st, err) once everything up to pos is durable (ST_OK) or can't be. May call at once. */
typedef void (*wal_done)(void *arg, enum status st, const struct err *err);
void wal_notify(struct wal *w, uint64_t pos, wal_done fn, void *arg);
enum status wal_wait(struct wal *w, uint64_t pos, struct err *err); /* blocks */

uint64_t wal_position(struct wal *w); /* of the newest appended record */
uint64_t wal_durable(struct wal *w);  /* everything up to here is on disk */
uint64_t wal_bytes(struct wal *w);    /* of all segments */
/* Removes segments whose every record is at or below pos. */
enum status wal_drop_until(struct wal *w, uint64_t pos, struct err *err);
/* Seals the current segment so that it can be dropped. */
enum status wal_roll(struct wal *w, struct err *err);

/* `engram check wal`: walks every segment; ST_CORRUPT when anything was found. */
enum status wal_check(const struct fs *fs, const char *dir, void (*say)(void *arg, const char *text),
                      void *arg, struct err *err);

#endif
