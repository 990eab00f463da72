/* src/promql/promql_lang_int.h
 *
 * Inside the language half: tokens, lexer, parser state, text helpers. The order of work is
 * promql_lex.c -> promql_parse*.c -> promql_check.c; everything else walks a finished tree.
 */
#ifndef ENGRAM_PROMQL_LANG_INT_H
#define ENGRAM_PROMQL_LANG_INT_H

#include "promql/fn.h"
#include "promql/promql.h"

#include "base/vec.h"

/* ORDER TOKEN: as in promql_token.c */
enum tok {
    T_EOF, T_ERROR, T_IDENT, T_METRIC_IDENT, T_STRING, T_NUMBER, T_DURATION,
    /* punctuation */
    T_LPAREN, T_RPAREN, T_LBRACE, T_RBRACE, T_LBRACKET, T_RBRACKET, T_COMMA, T_EQL, T_COLON,
    /* operators */
    T_ADD, T_SUB, T_MUL, T_DIV, T_MOD, T_POW, T_ATAN2, T_EQLC, T_NEQ, T_GTR, T_LSS, T_GTE, T_LTE,
    T_AND, T_OR, T_UNLESS, T_TRIM_UPPER, T_TRIM_LOWER, T_EQL_REGEX, T_NEQ_REGEX, T_AT,
    /* aggregators, ORDER AGG */
    T_SUM, T_AVG, T_COUNT, T_MIN, T_MAX, T_GROUP, T_STDDEV, T_STDVAR, T_TOPK, T_BOTTOMK,
    T_COUNT_VALUES, T_QUANTILE, T_LIMITK, T_LIMIT_RATIO,
    /* keywords */
    T_BOOL, T_BY, T_GROUP_LEFT, T_GROUP_RIGHT, T_FILL, T_FILL_LEFT, T_FILL_RIGHT, T_IGNORING,
    T_OFFSET, T_SMOOTHED, T_ANCHORED, T_ON, T_WITHOUT,
    /* words that are functions of the query's time, and of durations */
    T_START, T_END, T_STEP, T_RANGE, T_MAX_OF, T_MIN_OF,
    TOK_COUNT
};

enum tok_class { TOK_PLAIN, TOK_PUNCT, TOK_OPERATOR, TOK_AGGREGATOR, TOK_KEYWORD, TOK_PRE };

struct token {
    enum tok type;
    size_t pos;
    struct sv text; /* into the query; of T_ERROR: the message */
};

enum tok_class promql_tok_class(enum tok t);
const char *promql_tok_text(enum tok t); /* "" for classes of text such as T_IDENT */
/* A word, in any case: its token, or T_IDENT. "inf" and "nan" are T_NUMBER. */
enum tok promql_tok_of_word(struct sv word);
void promql_tok_describe(struct buf *out, const struct token *t); /* as in "unexpected ..." */

/* --- lexer ------------------------------------------------------------------------------- */

#define PROMQL_EOF (-1)           /* the rune after the last */
#define PROMQL_RUNE_ERROR 0xfffd  /* what bytes that are not UTF-8 read as */

enum lex_state { LEX_STATEMENTS, LEX_DURATION, LEX_DONE };

struct lexer {
    struct sv in;
    size_t pos, start; /* read to here; the present token began here */
    unsigned width;    /* of the rune read last */
    enum lex_state state;
    int paren_depth;
    bool brace_open, bracket_open, got_colon, got_duration;
    bool scanned;
    struct token *out;
    struct buf *msg;   /* borrowed: holds the text of an error */
};

void promql_lex_init(struct lexer *lx, struct sv in, struct buf *msg);
/* The next token, comments left out; after the end or an error T_EOF again and again. */
void promql_lex_next(struct lexer *lx, struct token *ret);
/* Rune at i (below s.n) and its width; PROMQL_RUNE_ERROR with width 1 for a bad byte. */
int32_t promql_rune_at(struct sv s, size_t i, unsigned *ret_width);

/* --- text -------------------------------------------------------------------------------- */

void promql_quote(struct buf *out, struct sv s);           /* Go's %q of a string */
void promql_quote_rune(struct buf *out, int32_t r);        /* Go's %q of a rune */
void promql_print_rune_u(struct buf *out, int32_t r);      /* Go's %#U */
bool promql_unquote(struct arena *a, struct sv quoted, struct sv *ret); /* false: arena is over */
void promql_print_duration(struct buf *out, int64_t ms);   /* 5m, 1h30m, -1d; 0s */
/* Prometheus's ParseDuration; its message in *msg when false. */
bool promql_duration_ns(struct sv s, int64_t *ret_ns, struct buf *msg);
/* strconv: an integer in Go's notations, else a float; its message in *msg when false. */
bool promql_number(struct sv s, double *ret, struct buf *msg);

/* --- parser ------------------------------------------------------------------------------ */

struct parser {
    struct arena *arena;
    struct sv text;
    const struct promql_opts *opts;
    struct lexer lex;
    struct token tok;  /* looked at, not consumed; valid when have */
    bool have;
    bool failed;       /* err is set; the first error is the one told */
    unsigned depth;    /* of recursion */
    unsigned aggs;     /* open aggregations around here: they name the place of an error */
    const char *here, *here_expected; /* inside a duration: what its place is called, else NULL */
    size_t last_closing; /* end of the last ) ] } number or duration */
    struct buf msg;
    struct err *err;
    VEC(struct matcher *) matchers; /* all made so far: freed when parsing fails */
};

const struct token *promql_peek(struct parser *p);
struct token promql_take(struct parser *p);  /* consumes the token looked at */
static inline bool promql_at(struct parser *p, enum tok t)
{
    return promql_peek(p)->type == t;
}
/* All of these record an error (the first wins) and return NULL for the caller to return. */
void *promql_fail(struct parser *p, size_t pos, const char *fmt, ...) PRINTF(3, 4);
void *promql_fail_msg(struct parser *p, size_t pos); /* the text stands in p->msg */
void *promql_fail_full(struct parser *p);            /* the arena is over */
/* The token looked at can't stand here. */
void *promql_unexpected(struct parser *p, const char *context, const char *expected);
/* The same where no rule says more: inside an aggregation that is all there is to say. */
void *promql_unexpected_here(struct parser *p);

struct expr *promql_node(struct parser *p, enum expr_kind kind, size_t from, size_t to);
/* Takes the height of a child into the parent; false: too deep, failed. */
bool promql_over(struct parser *p, struct expr *parent, const struct expr *child);

struct expr *promql_parse_expr(struct parser *p);                 /* any expression */
struct expr *promql_parse_number(struct parser *p);               /* number or duration token */
/* The name is consumed already; NULL: at the brace. */
struct expr *promql_parse_vector(struct parser *p, const struct token *name);
bool promql_parse_labels(struct parser *p, struct sv_list *ret);  /* (a, "b", by) */
struct expr *promql_parse_range_duration(struct parser *p);       /* inside [ ] */
struct expr *promql_parse_offset_duration(struct parser *p);
struct expr *promql_parse_modifiers(struct parser *p, struct expr *e); /* [] offset @ anchored */
bool promql_is_metric_word(enum tok t);
bool promql_tok_starts_expr(enum tok t);
void promql_check(struct parser *p, struct expr *e); /* types; fails p */

/* Growing lists of the parse, in its arena. */
bool promql_push_sv(struct parser *p, struct sv_list *l, size_t *cap, struct sv s);
bool promql_push_expr(struct parser *p, struct expr_list *l, size_t *cap, struct expr *e);

/* --- walking finished trees ---------------------------------------------------------------- */

bool promql_has_matching(const struct expr *binary);       /* both sides are vectors */
bool promql_left_in_parens(const struct expr *binary);      /* to be read again as it was */
void promql_print_labels(struct buf *out, struct sv_list l);
void promql_print_matching(struct buf *out, const struct expr *binary); /* " on (a) group_left (b)" */
void promql_print_agg_head(struct buf *out, const struct expr *agg);    /* "sum by (a) " */
void promql_print_subquery_time(struct buf *out, const struct expr *subquery);
void promql_print_duration_expr(struct buf *out, const struct expr *e);
/* A duration expression's value in ms. step() and range() are those of the query. ST_EXEC. */
enum status promql_duration_value(const struct expr *e, const struct promql_params *params,
                                  bool negative_ok, int64_t *ret_ms, struct err *err);

#endif
