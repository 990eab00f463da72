/* src/promqltest/promqltest_int.h
 *
 * Inside the runner: series notation, the storage, what a command expects.
 */
#ifndef ENGRAM_PROMQLTEST_INT_H
#define ENGRAM_PROMQLTEST_INT_H

#include "promqltest/promqltest.h"

#include "base/vec.h"

#define POINTS_MAX 1000000 /* of one series line */
#define LOOKBACK_MS (5 * 60 * 1000)

/* One item of a series' points, or a gap. */
struct point {
    bool omitted;
    double v;
    const struct hist *h; /* in the arena of the script */
    bool hint_set;        /* the counter reset hint was written: it is compared */
    int64_t st_ms;        /* start timestamp relative to the sample's time */
    bool has_st;
};
struct points {
    struct point *p;
    size_t n, cap;
};
void promqltest_points_free(struct points *pts);
/* "metric{a="b"} 1+2x3 _ stale": labels into arena. */
enum status promqltest_series(struct sv line, struct arena *arena, struct labels *ret,
                              struct points *ret_points, struct err *err);
/* "metric{a="b"}@st -1m _x3"; false: it is not such a line. */
bool promqltest_is_st(struct sv line);
enum status promqltest_st_series(struct sv line, struct arena *arena, struct labels *ret,
                                 struct points *ret_points, struct err *err);
/* {{schema:1 count:2 ...}} at the start of s; *ret_used bytes of it. */
enum status promqltest_hist(struct sv s, struct arena *arena, struct hist **ret, bool *ret_hint,
                            size_t *ret_used, struct err *err);
/* a + times * b, or NULL when their buckets do not lie alike. */
struct hist *promqltest_hist_step(struct arena *arena, const struct hist *a, const struct hist *b,
                                  double times);
bool promqltest_hist_almost(const struct hist *want, const struct hist *got, bool hint);
bool promqltest_almost(double a, double b);

struct memory; /* the storage */
struct memory *promqltest_memory_new(void);
void promqltest_memory_free(struct memory *m);
void promqltest_memory_clear(struct memory *m);
enum status promqltest_memory_load(struct memory *m, struct labels ls, const struct points *pts,
                                   const struct points *sts, int64_t gap_ms, struct err *err);
const struct storage *promqltest_memory_storage(struct memory *m);

struct regex;
enum expect_kind { EXPECT_FAIL, EXPECT_WARN, EXPECT_INFO };
struct expect {
    enum expect_kind kind;
    bool any;
    struct sv msg;
    struct regex *re;
};
struct want { /* one expected series */
    struct labels labels;
    struct points points;
    size_t pos; /* from 1 */
};

struct eval {
    struct sv text;
    size_t line;
    bool range, ordered, no_warn, no_info, scalar, string_set, window;
    int64_t start_ms, end_ms, step_ms;
    double scalar_value;
    struct sv string;
    VEC(struct expect) expects;
    VEC(struct want) wants;
};
bool promqltest_expects(const struct eval *e, enum expect_kind kind);
/* These say in *err what differs; ST_INVALID. */
enum status promqltest_compare(const struct eval *e, const struct value *v, struct err *err);
enum status promqltest_notes(const struct eval *e, const struct value *v, struct err *err);
enum status promqltest_failure(const struct eval *e, const struct err *got, struct err *err);

#endif
