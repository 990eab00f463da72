/* src/frontend/fe_int.h
 *
 * What the files of the frontend share: the pipeline's state, pieces of evaluation, the grid of steps.
 */
#ifndef ENGRAM_FRONTEND_FE_INT_H
#define ENGRAM_FRONTEND_FE_INT_H

#include "base/lock.h"
#include "frontend/fe.h"
#include "tenant/limits.h"

struct fe {
    struct fe_opts opts;
    struct fe_queue *queue;
    struct fe_flights *flights;
    struct cache *fresh; /* memory alone: open buckets, tails, instant answers */
    struct metric *m_hit, *m_miss, *m_bypass, *m_stored, *m_refused, *m_shared;
    struct metric_hist *m_seconds, *m_eval, *m_wait;
};

/* One request on its way through the pipeline. */
struct fe_run {
    struct fe *fe;
    const struct query_ctx *ctx; /* the caller's */
    struct query_ctx inner;      /* the same with deadline and limits */
    const struct fe_query *q;
    struct expr *expr;           /* parsed, durations resolved, bound */
    struct sv text;              /* canonical */
    int64_t lookback_ms;
    struct fe_stats *stats;
    struct account results;      /* of all pieces together */
    struct fe_flight *flight;    /* that this leads, or NULL */
};

/* What has not settled is shared for min(step/2, this). */
#define FE_FRESH_MS INT64_C(10000)

/* --- the grid: step i is at phase + i * step; bucket k is the steps [k * B, k * B + B) --- */
struct fe_grid {
    int64_t step_ms, phase_ms; /* 0 <= phase < step */
    int64_t bucket_steps;
};
struct fe_grid fe_grid_of(int64_t start_ms, int64_t step_ms);
static inline int64_t fe_grid_ms(const struct fe_grid *g, int64_t i)
{
    return g->phase_ms + i * g->step_ms;
}
int64_t fe_grid_index(const struct fe_grid *g, int64_t t_ms);  /* of the last step at or before t */
int64_t fe_grid_bucket(const struct fe_grid *g, int64_t i);

/* --- fe_eval.c: pieces, each evaluated on a thread of the queue --- */
struct fe_piece {
    int64_t from, to; /* step indexes, both inclusive; an instant query is one piece, 0 to 0 */
    struct arena arena;
    struct value *value; /* lives in arena */
};
struct fe_pieces {
    struct fe_piece *p;
    size_t n, cap;
};
/* Splits [from, to] by day and appends. */
void fe_pieces_add(struct fe_pieces *ps, const struct fe_grid *g, int64_t from, int64_t to);
void fe_pieces_free(struct fe_pieces *ps);
uint64_t fe_query_memory(const struct fe_run *r); /* the limit in bytes */
/* Evaluates all, max_query_parallelism at once. g NULL: instant. The first error ends it. */
enum status fe_evaluate(struct fe_run *r, const struct fe_grid *g, struct fe_pieces *ps,
                        struct err *err);

/* --- fe_key.c: what an answer depends on --- */
struct fe_mark {
    struct hash128 digest; /* of the change marks of all that is read, boot nonce included */
    bool settled;          /* nothing that is read can change without the digest changing */
};
/* Of evaluating the steps from_ms .. to_ms. */
struct fe_mark fe_mark_of(const struct fe_run *r, int64_t from_ms, int64_t to_ms, int64_t step_ms);
/* kind: 'B' bucket, 'P' open bucket's beginning, 'T' tail, 'I' instant, 'F' flight; a and b say
 * which. */
void fe_key(struct buf *out, const struct fe_run *r, const struct fe_grid *g, char kind, int64_t a,
            int64_t b, const struct fe_mark *mark);

/* --- fe_merge.c: rows of neighbouring stretches of steps become one matrix --- */
struct fe_part {
    const struct value *value;
    int64_t from_ms, to_ms; /* only points in here, both inclusive, are taken */
};
/* Parts in ascending order of time, not overlapping. Result in arena, rows in label order. */
enum status fe_merge(struct arena *arena, const struct fe_part *parts, size_t n, struct value **ret,
                     struct err *err);

/* A deep copy, rows in the same order; NULL when the arena is over its ceiling. */
struct value *fe_value_dup(struct arena *arena, const struct value *from);

/* --- fe_encode.c: a value as bytes --- */
/* False: it has what can't be encoded (histograms): then it is not shared and not cached. Rows are
 * cut to [from_ms, to_ms]. */
bool fe_encode(struct buf *out, const struct value *v, int64_t from_ms, int64_t to_ms);
enum status fe_decode(struct sv bytes, struct arena *arena, struct value **ret, struct err *err);
/* Infos name places in the query's text, so an item that has some says behind them which text that was;
 * another spelling of the query finds it of no use. check() takes the text away again. */
bool fe_infos_sign(struct value *v, struct arena *arena, struct sv text);
bool fe_infos_check(struct value *v, struct sv text);

/* --- fe_range.c, fe_instant.c: a query through the results cache; result in r->ctx->arena --- */
enum status fe_range(struct fe_run *r, struct value **ret, struct err *err);
enum status fe_instant(struct fe_run *r, struct value **ret, struct err *err);

/* --- fe_limits.c --- */
enum status fe_check_limits(const struct fe_run *r, struct err *err);
/* A storage that counts series against max_fetched_series_per_query. */
struct fe_counted {
    struct storage base;
    const struct storage *inner;
    uint64_t limit;
    struct sv tenant;
    _Atomic uint64_t series;
};
void fe_counted_init(struct fe_counted *c, const struct storage *inner, const struct who *who);

/* --- fe_queue.c: the evaluating threads and the fair order of tenants --- */
struct fe_queue;
struct fe_queue *fe_queue_new(unsigned threads, struct metrics *m);
void fe_queue_free(struct fe_queue *own_q); /* runs what waits, joins; takes NULL */
typedef void (*fe_job)(void *arg);
/* ST_RATE when max_waiting jobs of the tenant wait already; those put with 0 are neither refused nor
 * counted: the further pieces of a query that has begun. */
enum status fe_queue_put(struct fe_queue *q, struct sv tenant, uint64_t max_waiting, fe_job fn,
                         void *arg, struct err *err);

/* --- fe_flight.c: one evaluation for all who ask the same at the same time --- */
struct fe_flights;
struct fe_flight;
struct fe_flights *fe_flights_new(void);
void fe_flights_free(struct fe_flights *own_f);
/* *ret_leader: the caller evaluates and must land the flight. Else it waits with fe_flight_wait(). A
 * flight that began more than max_age_ns ago is not joined: the caller leads a new one. */
struct fe_flight *fe_flight_join(struct fe_flights *f, struct sv key, int64_t now_ns,
                                 int64_t max_age_ns, bool *ret_leader);
/* What the leader shares is older than its flight: a tail that was evaluated at began_ns. */
void fe_flight_older(struct fe_flights *f, struct fe_flight *flight, int64_t began_ns);
/* value NULL: st and err are the outcome. Gives the leader's part of the flight back. */
void fe_flight_land(struct fe_flights *f, struct fe_flight *own_flight, const struct value *value,
                    enum status st, const struct err *err, const struct fe_stats *stats);
/* Waits; gives the follower's part back. *ret NULL with ST_OK: there is nothing to share. Ask again when
 * the leader gave up (its client left); evaluate yourself (*ret_alone) when the answer can't be shared. */
enum status fe_flight_wait(struct fe_flights *f, struct fe_flight *own_flight,
                           const struct query_ctx *ctx, struct value **ret, bool *ret_alone,
                           struct fe_stats *ret_stats, struct err *err);

#endif
