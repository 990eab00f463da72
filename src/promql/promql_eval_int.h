/* src/promql/promql_eval_int.h
 *
 * Inside the evaluating half. An expression becomes a tree of operators; each yields one series'
 * row after another, a row being one value per step of the operator's grid.
 *
 * A step without a sample holds the stale marker's bits: no selector lets that NaN through and no
 * arithmetic makes it (results are quiet NaNs), so a row needs no second column for presence.
 *
 * Threads: one evaluation belongs to one thread. Memory: operators, stored rows and labels live in
 * the evaluation's own arena, charged to ctx->mem, and go when it ends; a row is valid until the
 * next call of next(), and its taker may change its values and labels in place.
 */
#ifndef ENGRAM_PROMQL_EVAL_INT_H
#define ENGRAM_PROMQL_EVAL_INT_H

#include "promql/fn.h"
#include "promql/promql.h"
#include "promql_lang_int.h"

#include "base/vec.h"

#include <math.h>

#define SUBQUERY_STEP_DEFAULT_MS 60000 /* Prometheus's global evaluation interval */
#define NOTES_MAX 1000                 /* distinct annotations kept; the API shows ten */

static inline double f64_absent(void)
{
    return f64_of_bits(STALE_NAN_BITS);
}
static inline bool f64_is_absent(double v)
{
    return f64_is_stale(v);
}

/* The NaN that Prometheus's own results carry (Go's math.NaN()). */
static inline double f64_nan(void)
{
    return f64_of_bits(UINT64_C(0x7ff8000000000001));
}

/* --- steps, rows, operators ---------------------------------------------------------------- */

struct grid {
    int64_t start_ms, step_ms;
    size_t n;
};
static inline int64_t grid_ms(const struct grid *g, size_t i)
{
    return g->start_ms + (int64_t)i * g->step_ms;
}

struct prow {
    struct labels labels;
    bool drop_name;       /* the name goes at the very end (delayed name removal) */
    double *v;
    const struct hist **h; /* NULL: only floats; else not NULL where the value is a histogram */
};
static inline bool prow_has(const struct prow *r, size_t i)
{
    return !f64_is_absent(r->v[i]);
}
static inline bool prow_is_hist(const struct prow *r, size_t i)
{
    return r->h && r->h[i];
}

struct ev;
struct op;
struct rsource;
struct op_ops {
    /* *ret is NULL when there are no more rows. */
    enum status (*next)(struct op *o, struct prow **ret, struct err *err);
    void (*close)(struct op *o); /* gives heap and series sets back, not its child; may be NULL */
};
struct op {
    const struct op_ops *ops;
    struct ev *ev;
    struct grid grid;
    struct op *child;
    bool one_name;     /* all rows have one metric name, or none */
};

static inline enum status promql_next(struct op *o, struct prow **ret, struct err *err)
{
    return o->ops->next(o, ret, err);
}

/* --- one evaluation ------------------------------------------------------------------------ */

struct note {
    bool warn;
    struct sv text;
    size_t pos;
    bool forced; /* monotonicity: has the fields below */
    int64_t min_ms, max_ms;
    double min_bucket, max_bucket, max_diff;
    unsigned more;
};

struct ev {
    const struct storage *storage;
    const struct query_ctx *ctx;
    const struct promql_params *params;
    struct arena arena;
    int64_t charged;
    uint64_t held, peak, samples, series;
    uint64_t seed; /* of label tables */
    bool complete, full;
    VEC(struct note) notes;
    VEC(struct sv) storage_warnings;
    VEC(struct op *) ops; /* every one made: closed when the evaluation ends */
    VEC(struct rsource *) sources;
};

/* Memory of the evaluation, cleared; ST_LIMIT. */
enum status promql_alloc(struct ev *ev, size_t bytes, void **ret, struct err *err);
enum status promql_column(struct ev *ev, size_t n, double **ret, struct err *err); /* all absent */
/* Samples kept in memory; Prometheus's text when they pass max_samples. */
enum status promql_hold(struct ev *ev, size_t samples, struct err *err);
void promql_release(struct ev *ev, size_t samples);
enum status promql_labels_keep(struct ev *ev, struct labels ls, struct labels *ret,
                               struct err *err);

/* Annotations: of equal texts one is kept, with the position of the last. */
void promql_warn(struct ev *ev, const struct expr *at, const char *fmt, ...) PRINTF(3, 4);
void promql_info(struct ev *ev, const struct expr *at, const char *fmt, ...) PRINTF(3, 4);
void promql_info_forced(struct ev *ev, const struct expr *at, struct sv metric, int64_t t_ms,
                        double min_bucket, double max_bucket, double max_diff);
/* The annotation's whole text with its position. */
void promql_note_print(struct buf *out, const struct note *n, struct sv query);
void promql_go_g(struct buf *out, double v); /* %g */

enum status promql_build(struct ev *ev, const struct expr *e, const struct grid *g,
                         struct op **ret, struct err *err);
/* An operator of `size` bytes, which begins with a struct op; ret points at a pointer. */
enum status promql_op_new(struct ev *ev, size_t size, const struct op_ops *ops,
                          const struct grid *g, struct op *child, void *ret, struct err *err);
/* The values of a scalar expression over the grid. */
enum status promql_scalar(struct ev *ev, const struct expr *e, const struct grid *g,
                          const double **ret, struct err *err);
bool promql_invariant(const struct expr *e);

enum status promql_build_vector(struct ev *ev, const struct expr *e, const struct grid *g,
                                struct op **ret, struct err *err);
/* The times of the samples in ms instead of their values. */
enum status promql_build_info_vector(struct ev *ev, const struct expr *e, const struct grid *g,
                                     struct op **ret, struct err *err);
enum status promql_build_timestamp(struct ev *ev, const struct expr *call, const struct grid *g,
                                   struct op **ret, struct err *err);
enum status promql_build_invariant(struct ev *ev, const struct expr *e, const struct grid *g,
                                   struct op **ret, struct err *err);
enum status promql_build_call(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err);
enum status promql_build_range(struct ev *ev, const struct expr *e, const struct grid *g,
                               struct op **ret, struct err *err);
enum status promql_build_date(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err);
enum status promql_build_label(struct ev *ev, const struct expr *e, const struct grid *g,
                               struct op **ret, struct err *err);
enum status promql_build_sort(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err);
enum status promql_build_absent(struct ev *ev, const struct expr *e, const struct grid *g,
                                struct op **ret, struct err *err);
enum status promql_build_hist(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err);
enum status promql_build_info(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err);
enum status promql_build_agg(struct ev *ev, const struct expr *e, const struct grid *g,
                             struct op **ret, struct err *err);
enum status promql_build_topk(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err);
enum status promql_build_count_values(struct ev *ev, const struct expr *e, const struct grid *g,
                                      struct op **ret, struct err *err);
enum status promql_build_binary(struct ev *ev, const struct expr *e, const struct grid *g,
                                struct op **ret, struct err *err);
enum status promql_build_set(struct ev *ev, const struct expr *e, const struct grid *g,
                             struct op **ret, struct err *err);
enum status promql_build_scalar_row(struct ev *ev, const struct grid *g, double *own_v,
                                    struct op **ret, struct err *err);

/* --- labels -------------------------------------------------------------------------------- */

struct labbuf { /* room for a changed label list; the strings stay borrowed */
    struct label *p;
    size_t cap;
};
struct label *promql_labbuf(struct labbuf *b, size_t n);
void promql_labbuf_free(struct labbuf *b);
bool promql_is_meta(struct sv label); /* __name__, __type__, __unit__ */
struct labels promql_without_meta(struct labels ls, struct labbuf *b);
struct labels promql_keep(struct labels ls, struct sv_list names, struct labbuf *b);
/* Without the names, and without __name__ when drop_name. */
struct labels promql_without(struct labels ls, struct sv_list names, bool drop_name,
                             struct labbuf *b);
/* With one label set (an empty value takes it away). */
struct labels promql_with(struct labels ls, struct sv name, struct sv value, struct labbuf *b);
bool promql_listed(struct sv_list l, struct sv name);

/* The row loses its name: at once, or marked when removal is delayed. */
void promql_drop_name(struct ev *ev, struct prow *row, struct labbuf *b);

/* A table of label sets: 0, 1, 2, ... in the order of their coming. */
struct labtab {
    struct ev *ev;
    VEC(struct labels) keys;
    VEC(uint64_t) hashes;
    uint32_t *slots; /* index + 1; 0: empty */
    size_t slots_n;  /* power of two */
};
#define LABTAB_NONE SIZE_MAX
void promql_labtab_init(struct labtab *t, struct ev *ev);
void promql_labtab_fini(struct labtab *t);
size_t promql_labtab_find(const struct labtab *t, struct labels ls);
/* Adds when it is new (labels are copied). */
enum status promql_labtab_put(struct labtab *t, struct labels ls, size_t *ret, bool *ret_new,
                              struct err *err);

/* --- stored rows --------------------------------------------------------------------------- */

struct rowset {
    struct ev *ev;
    struct labtab tab;
    VEC(struct prow) rows; /* in step with tab */
    size_t n;              /* values of a row */
    size_t at;             /* of the reader */
};
void promql_rowset_init(struct rowset *s, struct ev *ev, size_t n);
void promql_rowset_fini(struct rowset *s);
/* The row with these labels, new ones all absent. */
enum status promql_rowset_row(struct rowset *s, struct labels ls, bool drop_name,
                              struct prow **ret, struct err *err);
/* Copies a row in; where one with its labels has a value at the same step: "vector cannot contain
 * metrics with the same labelset". strict: whenever one is there at all. */
enum status promql_rowset_add(struct rowset *s, const struct prow *row, bool strict,
                              struct err *err);
enum status promql_rowset_drain(struct rowset *s, struct op *o, bool strict, struct err *err);
/* The next row that has any value, or NULL. */
struct prow *promql_rowset_next(struct rowset *s);
enum status promql_prow_hists(struct ev *ev, struct prow *row, size_t n, struct err *err);
enum status promql_same_labelset(struct err *err);
/* A stage that merges rows with equal labels where dropping names can have made them equal. */
enum status promql_build_merge(struct ev *ev, struct op *child, bool strict, struct op **ret,
                               struct err *err);
const struct hist *promql_hist_dup(struct arena *a, const struct hist *h);
enum status promql_no_hist(const char *what, struct err *err);

/* --- range vectors ------------------------------------------------------------------------- */

/* One series of a range vector: floats and histograms apart, ascending, no stale markers. */
struct rseries {
    struct labels labels;
    bool drop_name;
    const int64_t *t_ms;
    const double *f;
    const int64_t *st_ms; /* NULL: no start timestamps */
    size_t n;
    const int64_t *ht_ms;
    const struct hist *const *h;
    const int64_t *hst_ms;
    size_t hn;
};

struct rsource {
    enum status (*next)(struct rsource *s, bool *ret_more, struct err *err);
    void (*close)(struct rsource *s);
    struct ev *ev;
    struct rseries cur;
    int64_t range_ms;
    bool one_name, anchored, smoothed;
    /* The window of a step ends at (has_at ? at_ms : step) - offset_ms. */
    int64_t offset_ms, at_ms;
    bool has_at;
};
enum status promql_rsource(struct ev *ev, const struct expr *e, const struct grid *g,
                           struct sv func, struct rsource **ret, struct err *err);
enum status promql_rsource_subquery(struct ev *ev, const struct expr *e, const struct grid *g,
                                    struct rsource **ret, struct err *err);
/* The times of a selector or subquery, @ start() and end() bound. */
enum status promql_when(struct ev *ev, const struct expr_time *t, int64_t *ret_offset_ms,
                        bool *ret_has_at, int64_t *ret_at_ms, struct err *err);
static inline int64_t promql_ref_ms(const struct grid *g, size_t i, bool has_at, int64_t at_ms,
                                    int64_t offset_ms)
{
    return (has_at ? at_ms : grid_ms(g, i)) - offset_ms;
}
static inline int64_t promql_end_ms(const struct promql_params *p)
{
    return p->step_ms ? p->end_ms : p->start_ms;
}
/* The window that ends at end_ms of an anchored or smoothed source, borders included: at most
 * cur.n + 2 points. */
size_t promql_extend(const struct rsource *s, int64_t end_ms, int64_t *t_ms, double *f);
/* Opens the series of a selector over closed [from, last]. */
enum status promql_select(struct ev *ev, const struct expr *vector, int64_t from_ms,
                          int64_t last_ms, int64_t step_ms, int64_t range_ms, struct sv func,
                          struct series_set **ret, struct err *err);
/* next() with what every reader of series does: alive, outcome, counts. */
enum status promql_series_next(struct ev *ev, struct series_set *s, bool *ret_more,
                               struct err *err);
bool promql_name_fixed(const struct expr *vector);

/* --- arithmetic ---------------------------------------------------------------------------- */

/* Kahan summation with Neumaier's improvement, as Prometheus adds. */
static inline void kahan_inc(double inc, double *sum, double *c)
{
    double t = *sum + inc;

    if (isinf(t))
        *c = 0;
    else if (fabs(*sum) >= fabs(inc))
        *c += (*sum - t) + inc;
    else
        *c += (inc - t) + *sum;
    *sum = t;
}
/* q-quantile; sorts v, NaNs first. */
double promql_quantile(double q, double *v, size_t n);
double promql_arith(enum binop op, double l, double r);
bool promql_compare(enum binop op, double l, double r);
bool promql_label_name_ok(struct sv s);
void promql_go_labels(struct buf *out, struct labels ls); /* {__name__="x", a="b"} */
/* Less as Prometheus's heaps compare: a NaN is less than all. */
bool promql_less_value(double a, double b, bool reverse);

#endif
