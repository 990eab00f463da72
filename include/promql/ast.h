/* include/promql/ast.h
 *
 * The tree of a PromQL expression. Written by the parser, type-checked by it (every node has its
 * type), read by printer, evaluator and frontend.
 *
 * Memory: nodes, strings and lists in the arena of the parse; compiled matchers on the heap
 * (expr_free()). Positions are byte offsets into the text, half-open.
 */
#ifndef ENGRAM_PROMQL_AST_H
#define ENGRAM_PROMQL_AST_H

#include "model/matcher.h"

enum expr_kind {
    EXPR_NUMBER,
    EXPR_STRING,
    EXPR_VECTOR,    /* selector */
    EXPR_MATRIX,    /* selector[range] */
    EXPR_SUBQUERY,  /* expr[range:step] */
    EXPR_CALL,
    EXPR_AGGREGATE,
    EXPR_BINARY,
    EXPR_UNARY,
    EXPR_PAREN,
    EXPR_STEP_INVARIANT, /* put in by the evaluator's preparation: same value at every step */
};

enum expr_type { TYPE_NONE, TYPE_SCALAR, TYPE_VECTOR, TYPE_MATRIX, TYPE_STRING };

enum at_kind { AT_NONE, AT_TIME, AT_START, AT_END };

/* ORDER BINOP */
enum binop { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MOD, OP_POW, OP_ATAN2, OP_EQ, OP_NE, OP_GT, OP_LT,
             OP_GE, OP_LE, OP_AND, OP_OR, OP_UNLESS, OP_TRIM_UPPER /* </ */, OP_TRIM_LOWER /* >/ */ };

/* ORDER AGG */
enum agg { AGG_SUM, AGG_AVG, AGG_COUNT, AGG_MIN, AGG_MAX, AGG_GROUP, AGG_STDDEV, AGG_STDVAR,
           AGG_TOPK, AGG_BOTTOMK, AGG_COUNT_VALUES, AGG_QUANTILE, AGG_LIMITK, AGG_LIMIT_RATIO };

enum match_card { CARD_ONE_ONE, CARD_MANY_ONE /* group_left */, CARD_ONE_MANY /* group_right */,
                  CARD_MANY_MANY /* and or unless */ };

struct expr;
struct promql_fn; /* a row of functions.def; include/promql/fn.h */

struct expr_list {
    struct expr **p;
    size_t n;
};
struct sv_list {
    struct sv *p;
    size_t n;
};

/* Modifiers of selectors and subqueries. Durations in ms; expressions (duration_expr) are NULL
 * unless written, and are resolved to the plain value by the evaluator's preparation. */
struct expr_time {
    int64_t offset_ms;          /* as written, may be negative */
    struct expr *offset_expr;
    enum at_kind at;
    int64_t at_ms;              /* AT_TIME */
};

struct expr {
    enum expr_kind kind;
    enum expr_type type;
    size_t pos_from, pos_to;
    unsigned height; /* of the tree from here: a leaf has 1; at most PROMQL_DEPTH_MAX */
    union {
        struct {
            double v;
            bool duration;      /* written as a duration ("5m"): prints as such */
            int64_t duration_ms;
        } number;
        struct {
            struct sv v;        /* unescaped */
        } string;
        struct {
            struct sv name;     /* metric name in front of the braces, or empty */
            struct matcher **matchers; /* includes the one of the name */
            size_t matchers_n;
            struct expr_time time;
            bool anchored, smoothed;
        } vector;
        struct {
            struct expr *selector; /* EXPR_VECTOR; its time modifiers apply */
            int64_t range_ms;
            struct expr *range_expr;
        } matrix;
        struct {
            struct expr *e;
            int64_t range_ms, step_ms; /* step 0: the default evaluation interval (1 m) */
            struct expr *range_expr, *step_expr;
            struct expr_time time;
        } subquery;
        struct {
            const struct promql_fn *fn;
            struct expr_list args;
        } call;
        struct {
            enum agg op;
            struct expr *e, *param; /* param: k, quantile, label name; else NULL */
            struct sv_list grouping;
            bool without;
        } aggregate;
        struct {
            enum binop op;
            struct expr *l, *r;
            bool return_bool;
            /* vector to vector: */
            enum match_card card;
            bool on;               /* else ignoring */
            struct sv_list labels; /* of on/ignoring */
            struct sv_list include;/* of group_left/group_right */
            bool fill_l_set, fill_r_set;
            double fill_l, fill_r;
        } binary;
        struct {
            bool minus;            /* else plus */
            struct expr *e;
        } unary;
        struct {
            struct expr *e;
        } paren;
        struct {
            struct expr *e;
        } invariant;
    };
};

const char *expr_type_name(enum expr_type t);  /* "scalar", "instant vector", "range vector", ... */
const char *binop_text(enum binop op);
const char *agg_text(enum agg op);
static inline bool binop_is_comparison(enum binop op)
{
    return op >= OP_EQ && op <= OP_LE;
}
static inline bool binop_is_set(enum binop op)
{
    return op >= OP_AND && op <= OP_UNLESS;
}
/* The i-th child in order of the text, NULL from the first that is not there. */
struct expr *expr_child(const struct expr *e, size_t i);
/* The node without parentheses and step-invariant wrappers around it. */
struct expr *expr_unwrap(struct expr *e);

#endif
