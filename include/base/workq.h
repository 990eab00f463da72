/* include/base/workq.h
 *
 * A bounded queue and the threads that work it off; and a ticker, a thread that steps one
 * background job at an interval.
 *
 * Threads: put from any thread. Jobs run on the queue's own threads, in order of arrival.
 * Errors:  workq_put() is false when the queue is full or stopping; the caller answers
 *          ST_UNAVAIL at once.
 */
#ifndef ENGRAM_BASE_WORKQ_H
#define ENGRAM_BASE_WORKQ_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct workq;
struct ticker;

typedef void (*work_fn)(void *arg);

/* name: at most 15 characters, shown as the thread's name. */
struct workq *workq_start(const char *name, unsigned threads, size_t cap);
bool workq_put(struct workq *q, work_fn fn, void *arg) NODISCARD;
size_t workq_length(struct workq *q);
/* Refuses new jobs, runs those queued, joins the threads, frees. Takes NULL. */
void workq_stop(struct workq *own_q);

/* Calls fn(arg) every interval_ms until stopped; ticker_kick() runs it now. Not re-entrant. */
struct ticker *ticker_start(const char *name, int64_t interval_ms, work_fn fn, void *arg);
void ticker_kick(struct ticker *t);
void ticker_stop(struct ticker *own_t); /* waits for a running step; takes NULL */

#endif
