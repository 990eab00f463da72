/* include/promql/promql.h
 *
 * The language: text -> tree -> value. Knows only struct storage.
 *
 * Threads: parsing and evaluation use no shared state. Memory: trees in the given arena; values in
 * ctx->arena; working memory is charged to ctx->mem.
 * Errors:  ST_INVALID from parsing, texts and positions as Prometheus ("1:5: parse error: ...");
 *          ST_EXEC, ST_LIMIT, ST_TIMEOUT, ST_CANCELED from evaluation.
 */
#ifndef ENGRAM_PROMQL_PROMQL_H
#define ENGRAM_PROMQL_PROMQL_H

#include "model/storage.h"
#include "model/value.h"
#include "promql/ast.h"

#define PROMQL_TEXT_MAX (1 << 20) /* bytes of a query */
#define PROMQL_DEPTH_MAX 1000     /* levels of a tree: what walks it may recurse */

/* Feature switches, names as Prometheus's --enable-feature; false is Prometheus's default. */
struct promql_opts {
    bool experimental_functions;   /* promql-experimental-functions */
    bool duration_expr;            /* promql-duration-expr */
    bool extended_range_selectors; /* promql-extended-range-selectors */
    bool binop_fill_modifiers;     /* promql-binop-fill-modifiers */
    bool delayed_name_removal;     /* promql-delayed-name-removal */
    bool start_timestamps;         /* use start timestamps */
};
bool promql_feature(struct promql_opts *o, struct sv name, bool on); /* false: unknown */

enum status promql_parse(struct arena *arena, struct sv text, const struct promql_opts *opts,
                         struct expr **ret, struct err *err);
/* A metric selector alone (match[]). Matchers live in the arena's tree: free with expr_free(). */
enum status promql_parse_selector(struct arena *arena, struct sv text, struct expr **ret,
                                  struct err *err);
/* Trees hold compiled matchers, which are heap: give them back. The arena frees the rest. */
void expr_free(struct expr *e); /* takes NULL */

void promql_print(struct buf *out, const struct expr *e);  /* canonical, one line (String()) */
void promql_pretty(struct buf *out, const struct expr *e); /* format_query */
void promql_json(struct buf *out, const struct expr *e);   /* parse_query */

struct promql_params {
    int64_t start_ms, end_ms, step_ms; /* step 0: instant at start_ms */
    int64_t lookback_ms;
    uint64_t max_samples;              /* 0: no limit */
    struct promql_opts opts;
    struct sv text;                    /* the query's, for line and column in annotations; may be
                                          empty: then all is line 1 */
};

/* Time ranges that evaluating reads, as one covering list (merged, ascending) in arena:
 * range + offset + lookback, negative offsets, @, subqueries. */
struct promql_reads {
    struct trange *p;
    size_t n;
};
void promql_reads(const struct expr *e, const struct promql_params *params, struct arena *arena,
                  struct promql_reads *ret);
/* Duration expressions become plain values (..._expr goes, ..._ms stays), and calls of start(),
 * end(), step() and range() numbers: after this, parts of the request mean what the whole meant, and
 * the canonical text holds the values. ST_EXEC: division by zero, a range that is not positive, out
 * of range. */
enum status promql_durations(struct expr *e, const struct promql_params *params, struct err *err);
/* start() and end() inside @ become the whole request's constants; do this before splitting. */
void promql_bind(struct expr *e, int64_t start_ms, int64_t end_ms);

struct promql_stats {
    uint64_t samples, series, peak_samples;
};
enum status promql_eval(const struct storage *storage, const struct query_ctx *ctx,
                        const struct expr *e, const struct promql_params *params,
                        struct value **ret, struct promql_stats *ret_stats, struct err *err);

#endif
