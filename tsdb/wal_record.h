/* tsdb/wal_record.h
 *
 * The bodies of the log's records, private to tsdb: what a head writes and a replay reads back.
 *
 * Epochs. A record names series by 32-bit references, and segments are dropped from the front, so
 * a definition must never lie in front of the samples that need it. Every record therefore carries
 * an epoch: the log position after which all records of that epoch lie. A series is defined anew
 * before its first sample of each epoch, and a reference is resolved by definitions of its own
 * epoch alone. So whoever keeps the log from epoch + 1 on keeps everything that the samples need;
 * and a definition lost to damage can lose samples, but never give them to another series.
 *
 * Where a sample goes (open chunk or late buffer) is not logged: it follows from the order of the
 * records, which is the order in which they were applied.
 *
 * Threads: plain functions. Memory: decoded views point into the body.
 * Errors:  ST_CORRUPT, with the place; ST_INVALID: of a newer program, named. Format: drawn at the
 * top of tsdb/wal_record.c.
 */
#ifndef ENGRAM_TSDB_WAL_RECORD_H
#define ENGRAM_TSDB_WAL_RECORD_H

#include "base/buf.h"
#include "base/codec.h"
#include "base/err.h"
#include "model/batch.h"
#include "model/trange.h"

enum wal_record_type {
    WAL_SERIES = 1,  /* definitions: reference and labels */
    WAL_SAMPLES = 2, /* float samples */
    WAL_HISTS = 3,   /* native histograms, as their protobuf message */
    WAL_EXEMPLARS = 4,
    WAL_METADATA = 5,
    WAL_CUT_BEGIN = 6, /* a cut of one window starts: what lies before belongs to it */
    WAL_CUT = 7        /* ... and is now in a block on disk */
};

#define WAL_RECORD_VERSION 1
#define WAL_LABELS_MAX     1024 /* labels of one series, as they come on the wire */

/* --- writing: begin, items, and the body is done --- */
struct wal_coder {
    struct buf *out; /* borrowed */
    int64_t prev_ms;
    uint32_t prev_ref;
    bool with_st;
};
void wal_code_begin(struct wal_coder *c, struct buf *out, uint64_t epoch, bool with_st);
void wal_code_series(struct wal_coder *c, uint32_t ref, struct labels labels);
/* The samples of a series: a group head, then n samples. */
void wal_code_group(struct wal_coder *c, uint32_t ref, size_t n);
void wal_code_sample(struct wal_coder *c, const struct batch_sample *s);
void wal_code_hist(struct wal_coder *c, uint32_t ref, const struct batch_hist *h);
void wal_code_exemplar(struct wal_coder *c, uint32_t ref, const struct batch_exemplar *e);
void wal_code_metadata(struct wal_coder *c, const struct batch_metadata *m);

struct wal_cut {
    struct trange window; /* of sample time */
    uint64_t begin_pos;   /* WAL_CUT: position of its WAL_CUT_BEGIN */
    struct sv ulid;       /* WAL_CUT: the block */
};
void wal_code_cut(struct buf *out, uint64_t epoch, const struct wal_cut *cut);

/* --- reading: open, then next until *ret_more is false --- */
struct wal_reader {
    struct cur cur;
    uint64_t epoch;
    int64_t prev_ms;
    uint32_t ref; /* of the current series */
    uint64_t group_left;
    uint8_t type;
    bool with_st;
};
struct wal_item {
    uint32_t ref;
    struct sv labels;           /* WAL_SERIES: wire form; WAL_EXEMPLARS: of the exemplar */
    struct batch_sample sample; /* WAL_SAMPLES; WAL_HISTS: t_ms, st_ms; WAL_EXEMPLARS: t_ms, f */
    struct sv wire;             /* WAL_HISTS */
    struct batch_metadata metadata;
    struct wal_cut cut;
};
enum status wal_read_open(struct wal_reader *r, uint8_t type, struct sv body, struct err *err);
enum status wal_read_next(struct wal_reader *r, struct wal_item *ret, bool *ret_more,
                          struct err *err);

#endif
