/* include/tsdb/postings.h
 *
 * Sorted lists of series references (ascending, distinct): intersect, union, subtract.
 * Lists are plain arrays of 32-bit ids in the caller's arena: head references and index offsets
 * (divided by 16) both fit.
 */
#ifndef ENGRAM_TSDB_POSTINGS_H
#define ENGRAM_TSDB_POSTINGS_H

#include "base/arena.h"

struct postings {
    uint32_t *p;
    size_t n;
};

/* Results in arena; p NULL with n 0 when empty. Inputs stay. */
struct postings postings_and(struct arena *a, struct postings x, struct postings y);
struct postings postings_minus(struct arena *a, struct postings x, struct postings y);
struct postings postings_or(struct arena *a, const struct postings *lists, size_t n);

#endif
