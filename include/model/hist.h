/* include/model/hist.h
 *
 * A native histogram value: integer or float, exponential (schema -4..8) or custom buckets
 * (schema -53). Spans and buckets are those of Prometheus's remote-write protocol; integer bucket
 * counts are kept as absolute counts, not deltas.
 *
 * Memory: arrays live where the histogram was made (an arena, a chunk's decode buffer).
 */
#ifndef ENGRAM_MODEL_HIST_H
#define ENGRAM_MODEL_HIST_H

#include <stdbool.h>
#include <stdint.h>

#define HIST_CUSTOM_SCHEMA (-53)

enum hist_reset { HIST_RESET_UNKNOWN, HIST_RESET_YES, HIST_RESET_NO, HIST_RESET_GAUGE };

struct hist_span {
    int32_t offset;
    uint32_t length;
};

struct hist_side {
    const struct hist_span *spans;
    uint32_t spans_n;
    const uint64_t *counts;   /* integer histograms */
    const double *fcounts;    /* float histograms */
    uint32_t buckets_n;
};

struct hist {
    int32_t schema;
    bool is_float;
    enum hist_reset reset;
    double zero_threshold, sum;
    uint64_t count, zero_count; /* integer */
    double fcount, fzero_count; /* float */
    struct hist_side pos, neg;
    const double *custom; /* upper bounds, schema -53 */
    uint32_t custom_n;
};

#endif
