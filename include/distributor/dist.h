/* include/distributor/dist.h
 *
 * The way in for samples, from HTTP and from the self-scrape alike: rate, then placement, then the
 * ingester. Each request is decided once; labels are checked where an unknown alias is met (in the
 * head, by the rules passed down), so a series seen before costs no second look-up.
 *
 * Threads: any. Errors: ST_RATE (nothing stored), ST_UNAVAIL, ST_FULL, ST_IO (nothing
 * acknowledged). Refused series are in *ret, not errors.
 */
#ifndef ENGRAM_DISTRIBUTOR_DIST_H
#define ENGRAM_DISTRIBUTOR_DIST_H

#include "base/metric.h"
#include "ingester/ingester.h"
#include "model/batch.h"
#include "tenant/tenant.h"

struct dist;

struct dist_opts {
    struct ingester *ingester;  /* borrowed */
    struct tenants *tenants;    /* borrowed */
    const struct clk *clk;
    struct budget *budget;
    struct metrics *metrics;
};
struct dist *dist_new(const struct dist_opts *opts);
void dist_free(struct dist *d);
/* Stores; the answer may go out once dist_durable() has called back for ret->log_pos. */
enum status dist_push(struct dist *d, const struct who *who, const struct batch *batch,
                      struct append_result *ret, struct err *err);
void dist_durable(struct dist *d, uint64_t log_pos, wal_done fn, void *arg);
uint64_t dist_alias_key(const struct dist *d);
/* The text of a 400 for refused samples: counts, first reason, its series. Empty: all stored. */
void dist_refusal_text(const struct append_result *r, struct sv tenant, struct buf *out);

#endif
