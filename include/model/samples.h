/* include/model/samples.h
 *
 * Samples of one series as columns, strictly ascending in time: what storage hands to PromQL and
 * what a cut hands to a block writer.
 *
 * A sample is a tagged value: float or histogram. h is NULL while every sample is a float;
 * otherwise h[i] is NULL for floats and f[i] is the histogram's sum for histograms. st_ms (start
 * timestamps) is NULL while none has one.
 *
 * Memory: heap columns that only grow; samples_fini() frees. Histograms live in `arena` of
 * whoever filled the columns. Threads: one at a time.
 */
#ifndef ENGRAM_MODEL_SAMPLES_H
#define ENGRAM_MODEL_SAMPLES_H

#include "model/hist.h"

#include <stddef.h>
#include <string.h>

/* The one NaN that says "this series ended here"; every other NaN payload is kept bit for bit. */
#define STALE_NAN_BITS UINT64_C(0x7ff0000000000002)

static inline uint64_t f64_bits(double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof(u));
    return u;
}
static inline double f64_of_bits(uint64_t u)
{
    double v;
    memcpy(&v, &u, sizeof(v));
    return v;
}
static inline bool f64_is_stale(double v)
{
    return f64_bits(v) == STALE_NAN_BITS;
}

struct samples {
    int64_t *t_ms;
    double *f;
    const struct hist **h;
    int64_t *st_ms;
    size_t n, cap;
};

void samples_init(struct samples *s);
void samples_fini(struct samples *s);
void samples_clear(struct samples *s); /* n = 0, memory kept */
void samples_reserve(struct samples *s, size_t want);
static inline void samples_push(struct samples *s, int64_t t_ms, double f)
{
    if (s->n == s->cap)
        samples_reserve(s, s->n + 1);
    s->t_ms[s->n] = t_ms;
    s->f[s->n] = f;
    if (s->h)
        s->h[s->n] = NULL;
    if (s->st_ms)
        s->st_ms[s->n] = 0;
    s->n++;
}
void samples_push_hist(struct samples *s, int64_t t_ms, const struct hist *h);
/* Sorts what was pushed out of order; of equal timestamps the first pushed stays. */
void samples_sort(struct samples *s);
/* Merges b into a (both ascending); at equal timestamps a's sample stays. */
void samples_merge(struct samples *a, const struct samples *b);
size_t samples_bytes(const struct samples *s);

#endif
