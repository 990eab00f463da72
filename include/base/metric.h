/* include/base/metric.h
 *
 * Counters, gauges and histograms, and their text page.
 *
 * Names are engram_<room>_<what>_<unit>[_total], base units (seconds, bytes). `labels` is the text
 * between the braces ("reason=\"too_old\"") or "". A metric lives as long as its registry;
 * registering the same name and labels again gives the same metric.
 *
 * Threads: updates are relaxed atomics, from anywhere. Registration and rendering take a lock.
 */
#ifndef ENGRAM_BASE_METRIC_H
#define ENGRAM_BASE_METRIC_H

#include "base/buf.h"

#include <stdatomic.h>

struct metrics;
struct metric; /* counter or gauge */
struct metric_hist;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

struct metric *metric_counter(struct metrics *m, const char *name, const char *labels,
                              const char *help);
struct metric *metric_gauge(struct metrics *m, const char *name, const char *labels,
                            const char *help);
/* Read when the page is made; fn must be quick and take no lock outside rank metric. */
typedef double (*metric_fn)(void *arg);
void metric_gauge_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                     metric_fn fn, void *arg);
void metric_counter_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                       metric_fn fn, void *arg);
/* Seconds, buckets 0.0005 .. 60. */
struct metric_hist *metric_seconds(struct metrics *m, const char *name, const char *labels,
                                   const char *help);

/* All take NULL and then do nothing, so that a test need not build a registry. */
void metric_add(struct metric *c, double v);
void metric_inc(struct metric *c);
void metric_set(struct metric *g, double v);
double metric_get(const struct metric *c);
void metric_observe(struct metric_hist *h, double seconds);

/* The Prometheus text format, and the same as single samples (self-scrape). */
void metrics_render(struct metrics *m, struct buf *out);
typedef void (*metric_visit)(void *arg, struct sv name, struct sv labels, double value);
void metrics_each(struct metrics *m, metric_visit visit, void *arg);

#endif
