/* Tokens: their texts, the words among them, and how an error names them. */
#include "promql_lang_int.h"

#define SHOWN_RUNES 10 /* of a long text inside an error */

struct tok_row {
    const char *text;
    enum tok_class cls;
};

/* ORDER TOKEN */
static const struct tok_row rows[TOK_COUNT] = {
    {"", TOK_PLAIN}, {"", TOK_PLAIN}, {"", TOK_PLAIN}, {"", TOK_PLAIN}, {"", TOK_PLAIN},
    {"", TOK_PLAIN}, {"", TOK_PLAIN},
    {"(", TOK_PUNCT}, {")", TOK_PUNCT}, {"{", TOK_PUNCT}, {"}", TOK_PUNCT}, {"[", TOK_PUNCT},
    {"]", TOK_PUNCT}, {",", TOK_PUNCT}, {"=", TOK_PUNCT}, {":", TOK_PUNCT},
    {"+", TOK_OPERATOR}, {"-", TOK_OPERATOR}, {"*", TOK_OPERATOR}, {"/", TOK_OPERATOR},
    {"%", TOK_OPERATOR}, {"^", TOK_OPERATOR}, {"atan2", TOK_OPERATOR}, {"==", TOK_OPERATOR},
    {"!=", TOK_OPERATOR}, {">", TOK_OPERATOR}, {"<", TOK_OPERATOR}, {">=", TOK_OPERATOR},
    {"<=", TOK_OPERATOR}, {"and", TOK_OPERATOR}, {"or", TOK_OPERATOR}, {"unless", TOK_OPERATOR},
    {"</", TOK_OPERATOR}, {">/", TOK_OPERATOR}, {"=~", TOK_OPERATOR}, {"!~", TOK_OPERATOR},
    {"@", TOK_OPERATOR},
    {"sum", TOK_AGGREGATOR}, {"avg", TOK_AGGREGATOR}, {"count", TOK_AGGREGATOR},
    {"min", TOK_AGGREGATOR}, {"max", TOK_AGGREGATOR}, {"group", TOK_AGGREGATOR},
    {"stddev", TOK_AGGREGATOR}, {"stdvar", TOK_AGGREGATOR}, {"topk", TOK_AGGREGATOR},
    {"bottomk", TOK_AGGREGATOR}, {"count_values", TOK_AGGREGATOR}, {"quantile", TOK_AGGREGATOR},
    {"limitk", TOK_AGGREGATOR}, {"limit_ratio", TOK_AGGREGATOR},
    {"bool", TOK_KEYWORD}, {"by", TOK_KEYWORD}, {"group_left", TOK_KEYWORD},
    {"group_right", TOK_KEYWORD}, {"fill", TOK_KEYWORD}, {"fill_left", TOK_KEYWORD},
    {"fill_right", TOK_KEYWORD}, {"ignoring", TOK_KEYWORD}, {"offset", TOK_KEYWORD},
    {"smoothed", TOK_KEYWORD}, {"anchored", TOK_KEYWORD}, {"on", TOK_KEYWORD},
    {"without", TOK_KEYWORD},
    {"start", TOK_PRE}, {"end", TOK_PRE}, {"step", TOK_PRE}, {"range", TOK_PRE},
    {"max_of", TOK_PRE}, {"min_of", TOK_PRE},
};

enum tok_class promql_tok_class(enum tok t)
{
    return rows[t].cls;
}

const char *promql_tok_text(enum tok t)
{
    return rows[t].text;
}

static bool word_is(struct sv word, const char *lower)
{
    for (size_t i = 0; i < word.n; i++) {
        char c = word.p[i];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if (c != lower[i]) /* also where lower ends */
            return false;
    }
    return lower[word.n] == 0;
}

enum tok promql_tok_of_word(struct sv word)
{
    for (unsigned t = T_ADD; t < TOK_COUNT; t++)
        if (word_is(word, rows[t].text))
            return (enum tok)t;
    return word_is(word, "inf") || word_is(word, "nan") ? T_NUMBER : T_IDENT;
}

/* The first runes of a long text, quoted. */
static void quote_short(struct buf *out, struct sv s)
{
    size_t n = 0;
    unsigned width;

    if (s.n <= SHOWN_RUNES) {
        promql_quote(out, s);
        return;
    }
    for (unsigned i = 0; i < SHOWN_RUNES && n < s.n; i++) {
        (void)promql_rune_at(s, n, &width);
        n += width;
    }
    promql_quote(out, sv_sub(s, 0, n));
    buf_str(out, "...");
}

static const char *plain_name(enum tok t)
{
    return t == T_IDENT          ? "identifier"
           : t == T_METRIC_IDENT ? "metric identifier"
           : t == T_STRING       ? "string"
           : t == T_NUMBER       ? "number"
                                 : "duration";
}

void promql_tok_describe(struct buf *out, const struct token *t)
{
    const char *kind = "";

    switch (rows[t->type].cls) {
    case TOK_PLAIN:
        if (t->type == T_EOF) {
            buf_str(out, "end of input");
            return;
        }
        buf_printf(out, "%s ", plain_name(t->type));
        if (t->type == T_IDENT || t->type == T_METRIC_IDENT)
            promql_quote(out, t->text);
        else
            quote_short(out, t->text);
        return;
    case TOK_PUNCT:
    case TOK_PRE:
        promql_quote(out, t->text);
        return;
    case TOK_OPERATOR: kind = "op:"; break;
    case TOK_AGGREGATOR: kind = "aggr:"; break;
    case TOK_KEYWORD: break;
    }
    buf_printf(out, "<%s" SV_FMT ">", kind, SV_ARG(t->text));
}
