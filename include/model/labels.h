/* include/model/labels.h
 *
 * Label sets: sorted by name (bytes), no empty values, no duplicate names. That canonical set is
 * the identity of a series.
 *
 * Memory: struct labels is a view; who makes one says where it lives (an arena, a head, a block).
 * Threads: plain values.
 */
#ifndef ENGRAM_MODEL_LABELS_H
#define ENGRAM_MODEL_LABELS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/codec.h"
#include "base/err.h"

struct label {
    struct sv name, value;
};

struct labels {
    struct label *p;
    size_t n;
};

#define LABEL_NAME "__name__"

struct sv labels_get(struct labels ls, struct sv name); /* n 0 when absent */
bool labels_eq(struct labels a, struct labels b);
int labels_cmp(struct labels a, struct labels b); /* Prometheus's labels.Compare */
/* Over names and values, with lengths; for tables in memory only. */
struct hash128 labels_hash(struct labels ls, uint64_t seed);
/* Deep copy; p NULL when the arena is over its ceiling. */
struct labels labels_dup(struct arena *a, struct labels ls);
/* Sorts, drops empty values. false: a name occurs twice, *ret_dup is it. Changes ls in place. */
bool labels_canonical(struct labels *ls, struct sv *ret_dup);
/* {a="b", c="d"} with the metric name in front, as Prometheus prints a series. */
void labels_print(struct buf *out, struct labels ls);
bool label_name_legacy(struct sv name);  /* [a-zA-Z_][a-zA-Z0-9_]* */
bool metric_name_legacy(struct sv name); /* the same with ':' */

/* The wire form of a set: the Label fields of a remote-write 1.0 TimeSeries as they stand, that is
 * any number of 0x0a len { 0x0a len name 0x12 len value }. Read into arena (views into wire, not
 * sorted, nothing dropped); ST_INVALID when malformed, ST_LIMIT when the arena is over or more
 * than max_labels are there. */
enum status labels_from_wire(struct sv wire, size_t max_labels, struct arena *arena,
                             struct labels *ret, struct err *err);
void labels_to_wire(struct buf *out, struct labels ls);

#endif
