/* Metric selectors and lists of label names. */
#include "promql_lang_int.h"

#include "promql_regex_text.h"

/* Words that are metric names where an expression is expected; the others always mean themselves. */
bool promql_is_metric_word(enum tok t)
{
    switch (promql_tok_class(t)) {
    case TOK_AGGREGATOR:
    case TOK_PRE: return true;
    case TOK_PLAIN: return t == T_IDENT || t == T_METRIC_IDENT;
    case TOK_OPERATOR: return t == T_AND || t == T_OR || t == T_UNLESS;
    case TOK_KEYWORD:
        return t != T_BOOL && t != T_ON && t != T_IGNORING && t != T_GROUP_LEFT &&
               t != T_GROUP_RIGHT;
    case TOK_PUNCT: return false;
    }
    return false;
}

static bool add_matcher(struct parser *p, enum matcher_op op, struct sv name, struct sv value,
                        size_t pos)
{
    struct matcher *m;
    struct err why = ERR_INIT;

    if (matcher_new(op, name, value, &m, &why) != ST_OK) {
        promql_regex_text(&p->msg, why.msg, value);
        promql_fail_msg(p, pos);
        return false;
    }
    vec_push(&p->matchers, m);
    return true;
}

static bool match_op(enum tok t, enum matcher_op *ret)
{
    switch ((int)t) {
    case T_EQL: *ret = MATCH_EQ; return true;
    case T_NEQ: *ret = MATCH_NE; return true;
    case T_EQL_REGEX: *ret = MATCH_RE; return true;
    case T_NEQ_REGEX: *ret = MATCH_NRE; return true;
    default: return false;
    }
}

/* name op "value", "name" op "value", or "metric name". */
static bool parse_matcher(struct parser *p)
{
    struct token t = *promql_peek(p);
    bool quoted = t.type == T_STRING;
    enum matcher_op op;
    struct sv name = t.text, value;

    if (!quoted && t.type != T_IDENT)
        return promql_unexpected(p, "label matching", "identifier or \"}\"");
    (void)promql_take(p);
    if (quoted && !promql_unquote(p->arena, t.text, &name))
        return promql_fail_full(p);
    if (!match_op(promql_peek(p)->type, &op)) {
        if (quoted && !p->failed)
            return add_matcher(p, MATCH_EQ, SV(LABEL_NAME), name, t.pos);
        return promql_unexpected(p, "label matching", "label matching operator");
    }
    (void)promql_take(p);
    if (!promql_at(p, T_STRING))
        return promql_unexpected(p, "label matching", "string");
    if (!promql_unquote(p->arena, promql_take(p).text, &value))
        return promql_fail_full(p);
    return add_matcher(p, op, name, value, t.pos);
}

/* The matchers made since `first`, and the one of the name in front, become the selector's. */
static bool keep_matchers(struct parser *p, struct expr *e, size_t first)
{
    size_t n;

    if (e->vector.name.n && !add_matcher(p, MATCH_EQ, SV(LABEL_NAME), e->vector.name, e->pos_from))
        return false;
    n = p->matchers.n - first;
    e->vector.matchers_n = n;
    if (!n)
        return true;
    e->vector.matchers = arena_array(p->arena, n, sizeof(*e->vector.matchers));
    if (!e->vector.matchers)
        return promql_fail_full(p);
    memcpy(e->vector.matchers, p->matchers.p + first, n * sizeof(*e->vector.matchers));
    return true;
}

/* At "{": reads to "}"; the end of the selector is set. */
static bool parse_braces(struct parser *p, struct expr *e)
{
    (void)promql_take(p);
    while (!promql_at(p, T_RBRACE)) {
        if (!parse_matcher(p))
            return false;
        if (promql_at(p, T_COMMA))
            (void)promql_take(p);
        else if (!promql_at(p, T_RBRACE))
            return promql_unexpected(p, "label matching", "\",\" or \"}\"");
    }
    e->pos_to = promql_take(p).pos + 1;
    return true;
}

struct expr *promql_parse_vector(struct parser *p, const struct token *name)
{
    size_t first = p->matchers.n, pos = name ? name->pos : promql_peek(p)->pos;
    struct expr *e;

    if (p->failed || (!name && !promql_at(p, T_LBRACE)))
        return promql_unexpected_here(p);
    e = promql_node(p, EXPR_VECTOR, pos, name ? pos + name->text.n : pos);
    if (!e)
        return NULL;
    e->type = TYPE_VECTOR;
    if (name) {
        e->vector.name = arena_sv(p->arena, name->text);
        if (!e->vector.name.p)
            return promql_fail_full(p);
    }
    if (promql_at(p, T_LBRACE) && !parse_braces(p, e))
        return NULL;
    return !p->failed && keep_matchers(p, e, first) ? e : NULL;
}

static bool is_label_word(enum tok t)
{
    enum tok_class c = promql_tok_class(t);

    return t == T_IDENT || t == T_METRIC_IDENT || c == TOK_AGGREGATOR || c == TOK_PRE ||
           (c == TOK_KEYWORD && t != T_WITHOUT) || t == T_AND || t == T_OR || t == T_UNLESS ||
           t == T_ATAN2;
}

static bool parse_label(struct parser *p, struct sv *ret)
{
    struct token t = *promql_peek(p);

    if (t.type != T_STRING && !is_label_word(t.type))
        return promql_unexpected(p, "grouping opts", "label");
    (void)promql_take(p);
    if (t.type == T_STRING ? !promql_unquote(p->arena, t.text, ret)
                           : (*ret = arena_sv(p->arena, t.text)).p == NULL)
        return promql_fail_full(p);
    if (ret->n && sv_utf8(*ret))
        return true;
    buf_clear(&p->msg);
    buf_str(&p->msg, "invalid label name for grouping: ");
    promql_quote(&p->msg, *ret);
    return promql_fail_msg(p, t.pos);
}

bool promql_parse_labels(struct parser *p, struct sv_list *ret)
{
    size_t cap = 0;
    struct sv name;

    *ret = (struct sv_list){0};
    if (!promql_at(p, T_LPAREN))
        return promql_unexpected(p, "grouping opts", "\"(\"");
    (void)promql_take(p);
    while (!promql_at(p, T_RPAREN)) {
        if (!parse_label(p, &name) || !promql_push_sv(p, ret, &cap, name))
            return false;
        if (promql_at(p, T_COMMA))
            (void)promql_take(p);
        else if (!promql_at(p, T_RPAREN))
            return promql_unexpected(p, "grouping opts", "\",\" or \")\"");
    }
    (void)promql_take(p);
    return true;
}
