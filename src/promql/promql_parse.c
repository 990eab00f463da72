/* The parser's frame: looking ahead, the first error and its place, nodes, limits, entry points.
 *
 * Prometheus's parser is an LALR machine; ours descends. Both read one token ahead and only when
 * they must, so both meet errors in the same order, and the first one is what is told. */
#include "promql_lang_int.h"

#include <assert.h>
#include <math.h>

#define MSG_MAX ((size_t)16 << 10) /* bytes of an error's text before it is cut */

const struct token *promql_peek(struct parser *p)
{
    struct token *t = &p->tok;

    if (p->have)
        return t;
    p->have = true;
    if (p->failed) { /* nothing more is read; every rule gives up at the end */
        *t = (struct token){T_ERROR, p->text.n, {0}};
        return t;
    }
    promql_lex_next(&p->lex, t);
    if (t->type == T_ERROR)
        (void)promql_fail_msg(p, t->pos);
    if (t->type == T_RBRACE || t->type == T_RPAREN || t->type == T_RBRACKET ||
        t->type == T_DURATION || t->type == T_NUMBER)
        p->last_closing = t->pos + t->text.n;
    return t;
}

struct token promql_take(struct parser *p)
{
    struct token t = *promql_peek(p);

    p->have = false;
    return t;
}

/* Writes "line:column" of a byte position. */
static void place(struct buf *out, struct sv text, size_t pos)
{
    size_t line = 1, line_start = 0;

    if (!text.n) {
        buf_str(out, "unknown position");
        return;
    }
    for (size_t i = 0; i < pos && i < text.n; i++)
        if (text.p[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    buf_printf(out, "%zu:%zu", line, pos - line_start + 1);
}

void *promql_fail_msg(struct parser *p, size_t pos)
{
    struct buf at;

    if (p->failed)
        return NULL;
    p->failed = true;
    buf_init(&at, 64);
    place(&at, p->text, pos);
    err_set(p->err, ST_INVALID, SV_FMT ": parse error: " SV_FMT, SV_ARG(buf_view(&at)),
            SV_ARG(buf_view(&p->msg)));
    buf_fini(&at);
    return NULL;
}

void *promql_fail(struct parser *p, size_t pos, const char *fmt, ...)
{
    va_list ap;

    if (p->failed)
        return NULL;
    buf_clear(&p->msg);
    va_start(ap, fmt);
    buf_vprintf(&p->msg, fmt, ap);
    va_end(ap);
    return promql_fail_msg(p, pos);
}

void *promql_fail_full(struct parser *p)
{
    if (!p->failed)
        err_set(p->err, ST_LIMIT, "query needs more than %zu bytes to be parsed",
                p->arena->max_bytes);
    p->failed = true;
    return NULL;
}

void *promql_unexpected(struct parser *p, const char *context, const char *expected)
{
    const struct token *t = promql_peek(p);

    if (p->failed)
        return NULL;
    buf_clear(&p->msg);
    buf_str(&p->msg, "unexpected ");
    promql_tok_describe(&p->msg, t);
    if (context[0])
        buf_printf(&p->msg, " in %s", context);
    if (expected[0])
        buf_printf(&p->msg, ", expected %s", expected);
    return promql_fail_msg(p, t->pos);
}

void *promql_unexpected_here(struct parser *p)
{
    if (p->here)
        return promql_unexpected(p, p->here, p->here_expected);
    return promql_unexpected(p, p->aggs ? "aggregation" : "", "");
}

struct expr *promql_node(struct parser *p, enum expr_kind kind, size_t from, size_t to)
{
    struct expr *e = arena_new(p->arena, struct expr);

    if (!e)
        return promql_fail_full(p);
    e->kind = kind;
    e->pos_from = from;
    e->pos_to = to;
    e->height = 1;
    return e;
}

bool promql_over(struct parser *p, struct expr *parent, const struct expr *child)
{
    if (child->height >= PROMQL_DEPTH_MAX) {
        promql_fail(p, child->pos_from, "expression is nested deeper than %d", PROMQL_DEPTH_MAX);
        return false;
    }
    if (parent->height <= child->height)
        parent->height = child->height + 1;
    return true;
}

/* Doubles a list of the arena when it is full. */
static void *grown(struct parser *p, void *list, size_t n, size_t *cap, size_t size)
{
    void *more;

    if (n < *cap)
        return list;
    *cap = *cap ? *cap * 2 : 4;
    more = arena_array(p->arena, *cap, size);
    if (!more)
        return promql_fail_full(p);
    if (n)
        memcpy(more, list, n * size);
    return more;
}

bool promql_push_sv(struct parser *p, struct sv_list *l, size_t *cap, struct sv s)
{
    struct sv *list = grown(p, l->p, l->n, cap, sizeof(*l->p));

    if (!list)
        return false;
    l->p = list;
    l->p[l->n++] = s;
    return true;
}

bool promql_push_expr(struct parser *p, struct expr_list *l, size_t *cap, struct expr *e)
{
    struct expr **list = grown(p, l->p, l->n, cap, sizeof(*l->p));

    if (!list)
        return false;
    l->p = list;
    l->p[l->n++] = e;
    return true;
}

struct expr *promql_parse_number(struct parser *p)
{
    struct token t = promql_take(p);
    struct expr *e = promql_node(p, EXPR_NUMBER, t.pos, t.pos + t.text.n);
    int64_t ns;

    if (!e)
        return NULL;
    if (t.type == T_NUMBER) {
        if (!promql_number(t.text, &e->number.v, &p->msg))
            return promql_fail_msg(p, t.pos);
        return e;
    }
    if (!promql_duration_ns(t.text, &ns, &p->msg))
        return promql_fail_msg(p, t.pos);
    e->number.duration = true;
    e->number.duration_ms = ns / 1000000;
    e->number.v = (double)(ns / 1000000000) + (double)(ns % 1000000000) / 1e9;
    return e;
}

static struct expr *parse_selector(struct parser *p)
{
    struct token name = *promql_peek(p);

    if (!promql_is_metric_word(name.type))
        return promql_parse_vector(p, NULL);
    (void)promql_take(p);
    return promql_parse_vector(p, &name);
}

static struct expr *parse_any(struct parser *p)
{
    if (promql_at(p, T_EOF))
        return promql_fail(p, 0, "no expression found in input");
    return promql_parse_expr(p);
}

static enum status run(struct parser *p, struct sv text, bool selector, struct expr **ret)
{
    struct expr *e;

    if (text.n > PROMQL_TEXT_MAX)
        return err_set(p->err, ST_INVALID, "query is longer than %d bytes", PROMQL_TEXT_MAX);
    buf_init(&p->msg, MSG_MAX);
    promql_lex_init(&p->lex, text, &p->msg);
    p->text = text;
    e = selector ? parse_selector(p) : parse_any(p);
    if (e && !promql_at(p, T_EOF))
        promql_unexpected_here(p);
    if (!p->failed && !selector)
        promql_check(p, e);
    if (p->failed)
        for (size_t i = 0; i < p->matchers.n; i++)
            matcher_free(p->matchers.p[i]);
    vec_free(&p->matchers);
    buf_fini(&p->msg);
    if (p->failed)
        return p->err->st;
    assert(e);
    *ret = e;
    return ST_OK;
}

enum status promql_parse(struct arena *arena, struct sv text, const struct promql_opts *opts,
                         struct expr **ret, struct err *err)
{
    struct err own = ERR_INIT;
    struct promql_opts plain = {0};
    struct parser p = {.arena = arena, .opts = opts ? opts : &plain, .err = err ? err : &own};

    return run(&p, text, false, ret);
}

enum status promql_parse_selector(struct arena *arena, struct sv text, struct expr **ret,
                                  struct err *err)
{
    struct err own = ERR_INIT;
    struct promql_opts plain = {0};
    struct parser p = {.arena = arena, .opts = &plain, .err = err ? err : &own};

    return run(&p, text, true, ret);
}
