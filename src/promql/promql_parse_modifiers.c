/* What may stand after an expression and binds tighter than any operator: [range], [range:step],
 * offset, @, anchored, smoothed. */
#include "promql_lang_int.h"

#include <assert.h>
#include <math.h>

#define DURATION_WORDS "number, duration, step(), or range()"

/* The modifiers of a selector, a range selector's or a subquery's; NULL: it can't have any. */
static struct expr_time *time_of(struct expr *e)
{
    return e->kind == EXPR_VECTOR     ? &e->vector.time
           : e->kind == EXPR_MATRIX   ? &e->matrix.selector->vector.time
           : e->kind == EXPR_SUBQUERY ? &e->subquery.time
                                      : NULL;
}

static struct expr *no_selector(struct parser *p, const struct expr *e, const char *what)
{
    return promql_fail(p, e->pos_from,
                       "%s modifier must be preceded by an instant vector selector or range vector "
                       "selector or a subquery",
                       what);
}

/* Whole milliseconds of a written duration, cut as Prometheus cuts its nanoseconds. */
static int64_t to_ms(double seconds)
{
    double ns = round(seconds * 1e9);

    if (ns >= 9223372036854775807.0)
        return INT64_MAX / 1000000;
    return (int64_t)ns / 1000000;
}

static int64_t plain_ms(const struct expr *e)
{
    if (e->kind != EXPR_NUMBER)
        return 0;
    return e->number.duration ? e->number.duration_ms : to_ms(e->number.v);
}

static struct expr *unless_plain(struct expr *e)
{
    return e->kind == EXPR_NUMBER ? NULL : e;
}

static struct expr *duration_at(struct parser *p, const char *here, const char *expected,
                                struct expr *(*parse)(struct parser *))
{
    struct expr *e;

    p->here = here;
    p->here_expected = expected;
    e = parse(p);
    p->here = NULL;
    return e;
}

static struct expr *parse_offset(struct parser *p, struct expr *e)
{
    struct expr *d;
    struct expr_time *time = time_of(e);

    (void)promql_take(p);
    d = duration_at(p, "offset", DURATION_WORDS, promql_parse_offset_duration);
    if (!d)
        return NULL;
    if (!time)
        return no_selector(p, e, "offset");
    if (time->offset_ms || time->offset_expr)
        return promql_fail(p, e->pos_from, "offset may not be set multiple times");
    time->offset_ms = plain_ms(d);
    time->offset_expr = unless_plain(d);
    if (!promql_over(p, e, d))
        return NULL;
    e->pos_to = p->last_closing;
    return e;
}

static struct expr *at_time(struct parser *p, struct expr *e, double t)
{
    struct expr_time *time = time_of(e);

    if (!(fabs(t) < 9223372036854775807.0)) {
        buf_clear(&p->msg);
        buf_str(&p->msg, "timestamp out of bounds for @ modifier: ");
        if (isnan(t) || isinf(t))
            buf_str(&p->msg, isnan(t) ? "NaN" : t > 0 ? "+Inf" : "-Inf");
        else
            buf_printf(&p->msg, "%f", t);
        return promql_fail_msg(p, e->pos_from);
    }
    t = round(t * 1000);
    time->at = AT_TIME;
    time->at_ms = t >= 9223372036854775807.0    ? INT64_MAX
                  : t <= -9223372036854775807.0 ? INT64_MIN
                                                : (int64_t)t;
    return e;
}

/* The rule gives the reasons in this order: out of bounds, no selector, twice. */
static struct expr *check_at(struct parser *p, struct expr *e)
{
    struct expr_time *time = time_of(e);

    if (!time)
        return no_selector(p, e, "@");
    if (time->at != AT_NONE)
        return promql_fail(p, e->pos_from, "@ <timestamp> may not be set multiple times");
    return e;
}

static struct expr *parse_at_number(struct parser *p, struct expr *e)
{
    enum tok sign = promql_peek(p)->type;
    struct expr *n;
    double t;

    if (sign == T_ADD || sign == T_SUB)
        (void)promql_take(p);
    if (!promql_at(p, T_NUMBER) && !promql_at(p, T_DURATION))
        return promql_unexpected(p, "@", "timestamp");
    n = promql_parse_number(p);
    if (!n)
        return NULL;
    t = sign == T_SUB ? -n->number.v : n->number.v;
    if (fabs(t) < 9223372036854775807.0 && !check_at(p, e))
        return NULL;
    return at_time(p, e, t);
}

static struct expr *parse_at(struct parser *p, struct expr *e)
{
    enum tok t;

    (void)promql_take(p);
    t = promql_peek(p)->type;
    if (t == T_START || t == T_END) {
        (void)promql_take(p);
        for (unsigned i = 0; i < 2; i++) {
            if (!promql_at(p, i ? T_RPAREN : T_LPAREN))
                return promql_unexpected(p, "@", "timestamp");
            (void)promql_take(p);
        }
        if (!check_at(p, e))
            return NULL;
        time_of(e)->at = t == T_START ? AT_START : AT_END;
    } else if (!parse_at_number(p, e)) {
        return NULL;
    }
    e->pos_to = p->last_closing;
    return e;
}

static struct expr *parse_extended(struct parser *p, struct expr *e)
{
    bool anchored = promql_take(p).type == T_ANCHORED;
    const char *word = anchored ? "anchored" : "smoothed";
    struct expr *v = e->kind == EXPR_MATRIX ? e->matrix.selector : e;

    if (!p->opts->extended_range_selectors)
        return promql_fail(p, e->pos_from, "%s modifier is experimental and not enabled", word);
    if (e->kind == EXPR_SUBQUERY)
        return promql_fail(p, e->pos_from, "%s modifier is not supported for subqueries", word);
    if (v->kind != EXPR_VECTOR)
        return promql_fail(p, e->pos_from, "%s modifier not implemented", word);
    if (anchored)
        v->vector.anchored = true;
    else
        v->vector.smoothed = true;
    if (v->vector.anchored && v->vector.smoothed)
        return promql_fail(p, e->pos_from,
                           "anchored and smoothed modifiers cannot be used together");
    return e;
}

static struct expr *make_range(struct parser *p, struct expr *e, struct expr *range, size_t pos)
{
    struct expr *m = promql_node(p, EXPR_MATRIX, e->pos_from, p->last_closing);
    const struct expr_time *time;

    if (!m || !promql_over(p, m, e) || !promql_over(p, m, range))
        return NULL;
    if (e->kind != EXPR_VECTOR)
        return promql_fail(p, pos, "ranges only allowed for vector selectors");
    time = &e->vector.time;
    if (time->offset_ms || time->offset_expr)
        return promql_fail(p, pos, "no offset modifiers allowed before range");
    if (time->at != AT_NONE)
        return promql_fail(p, pos, "no @ modifiers allowed before range");
    m->type = TYPE_MATRIX;
    m->matrix.selector = e;
    m->matrix.range_ms = plain_ms(range);
    m->matrix.range_expr = unless_plain(range);
    return m;
}

static struct expr *parse_subquery(struct parser *p, struct expr *e, struct expr *range)
{
    struct expr *s = promql_node(p, EXPR_SUBQUERY, e->pos_from, 0), *step = NULL;
    static const char step_words[] = "number, duration, step(), range(), or \"]\"";

    (void)promql_take(p);
    if (!s || !promql_over(p, s, e) || !promql_over(p, s, range))
        return NULL;
    if (!promql_at(p, T_RBRACKET)) {
        step = duration_at(p, "subquery selector", step_words, promql_parse_range_duration);
        if (!step || !promql_over(p, s, step))
            return NULL;
        if (!promql_at(p, T_RBRACKET))
            return promql_unexpected(p, "subquery selector", "\"]\"");
    }
    s->pos_to = promql_take(p).pos + 1;
    s->type = TYPE_MATRIX;
    s->subquery.e = e;
    s->subquery.range_ms = plain_ms(range);
    s->subquery.range_expr = unless_plain(range);
    s->subquery.step_ms = step ? plain_ms(step) : 0;
    s->subquery.step_expr = step ? unless_plain(step) : NULL;
    return s;
}

static struct expr *parse_brackets(struct parser *p, struct expr *e)
{
    size_t pos = promql_take(p).pos;
    struct expr *range = duration_at(p, "subquery or range selector", DURATION_WORDS,
                                     promql_parse_range_duration);

    if (!range)
        return NULL;
    if (promql_at(p, T_COLON))
        return parse_subquery(p, e, range);
    if (!promql_at(p, T_RBRACKET))
        return promql_unexpected(p, "subquery or range", "\":\" or \"]\"");
    (void)promql_take(p);
    return make_range(p, e, range, pos);
}

struct expr *promql_parse_modifiers(struct parser *p, struct expr *e)
{
    while (e && !p->failed) {
        switch ((int)promql_peek(p)->type) {
        case T_LBRACKET: e = parse_brackets(p, e); break;
        case T_OFFSET: e = parse_offset(p, e); break;
        case T_AT: e = parse_at(p, e); break;
        case T_ANCHORED:
        case T_SMOOTHED: e = parse_extended(p, e); break;
        default: return p->failed ? NULL : e;
        }
    }
    return NULL;
}
