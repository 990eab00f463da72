/* Text into tokens. A hand-made machine with Prometheus's states (statements, braces, durations in
 * brackets), because its texts and positions of errors follow from them: after the token is begun
 * again, an error stands at the new beginning, not at the character that caused it. */
#include "promql_lang_int.h"

#include <stdarg.h>

void promql_lex_init(struct lexer *lx, struct sv in, struct buf *msg)
{
    *lx = (struct lexer){.in = in, .msg = msg};
}

static int32_t next(struct lexer *lx)
{
    int32_t r;

    lx->width = 0;
    if (lx->pos >= lx->in.n)
        return PROMQL_EOF;
    r = promql_rune_at(lx->in, lx->pos, &lx->width);
    lx->pos += lx->width;
    return r;
}

static void back(struct lexer *lx)
{
    lx->pos -= lx->width;
}

static int32_t look(struct lexer *lx)
{
    int32_t r = next(lx);

    back(lx);
    return r;
}

static void emit(struct lexer *lx, enum tok type)
{
    *lx->out = (struct token){type, lx->start, sv_sub(lx->in, lx->start, lx->pos - lx->start)};
    lx->start = lx->pos;
    lx->scanned = true;
}

/* The error of a token; the text is what stands in msg. */
static void error_msg(struct lexer *lx)
{
    *lx->out = (struct token){T_ERROR, lx->start, buf_view(lx->msg)};
    lx->scanned = true;
    lx->state = LEX_DONE;
}

static void error(struct lexer *lx, const char *text)
{
    buf_clear(lx->msg);
    buf_str(lx->msg, text);
    error_msg(lx);
}

static void error_rune(struct lexer *lx, const char *text, int32_t r)
{
    buf_clear(lx->msg);
    buf_str(lx->msg, text);
    promql_quote_rune(lx->msg, r);
    error_msg(lx);
}

static bool among(int32_t r, const char *set)
{
    return r > 0 && r < 0x80 && strchr(set, (char)r);
}

static bool accept(struct lexer *lx, const char *set)
{
    if (among(next(lx), set))
        return true;
    back(lx);
    return false;
}

static bool is_space(int32_t r)
{
    return among(r, " \t\n\r");
}

static bool is_digit(int32_t r)
{
    return r >= '0' && r <= '9';
}

static bool is_alpha(int32_t r)
{
    return r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
}

static bool is_alnum(int32_t r)
{
    return is_alpha(r) || is_digit(r);
}

static void skip_spaces(struct lexer *lx)
{
    while (is_space(look(lx)))
        (void)next(lx);
    lx->start = lx->pos;
}

static void skip_comment(struct lexer *lx)
{
    int32_t r = next(lx);

    while (r != '\r' && r != '\n' && r != PROMQL_EOF)
        r = next(lx);
    back(lx);
    lx->start = lx->pos;
}

static int digit_value(int32_t r)
{
    return is_digit(r)              ? r - '0'
           : r >= 'a' && r <= 'f'   ? r - 'a' + 10
           : r >= 'A' && r <= 'F'   ? r - 'A' + 10
                                    : 16;
}

/* The digits of an escape, the first already read. */
static bool escape_digits(struct lexer *lx, int32_t r, unsigned n, int base, uint32_t max)
{
    uint32_t v = 0;

    for (; n; n--) {
        int d = digit_value(r);

        if (r == PROMQL_EOF) {
            error(lx, "escape sequence not terminated");
            return false;
        }
        if (d >= base) {
            buf_clear(lx->msg);
            buf_str(lx->msg, "illegal character ");
            promql_print_rune_u(lx->msg, r);
            buf_str(lx->msg, " in escape sequence");
            error_msg(lx);
            return false;
        }
        v = v * (uint32_t)base + (uint32_t)d;
        if (n > 1)
            r = next(lx);
    }
    if (v > max || (v >= 0xd800 && v < 0xe000)) {
        error(lx, "escape sequence is an invalid Unicode code point");
        return false;
    }
    return true;
}

static bool escape(struct lexer *lx, int32_t quote)
{
    int32_t r = next(lx);

    if (r == quote || among(r, "abfnrtv\\"))
        return true;
    if (r >= '0' && r <= '7')
        return escape_digits(lx, r, 3, 8, 255);
    if (r == 'x')
        return escape_digits(lx, next(lx), 2, 16, 255);
    if (r == 'u' || r == 'U')
        return escape_digits(lx, next(lx), r == 'u' ? 4 : 8, 16, 0x10ffff);
    if (r == PROMQL_EOF) {
        error(lx, "escape sequence not terminated");
        return false;
    }
    buf_clear(lx->msg);
    buf_str(lx->msg, "unknown escape sequence ");
    promql_print_rune_u(lx->msg, r);
    error_msg(lx);
    return false;
}

static void lex_string(struct lexer *lx, int32_t quote)
{
    bool raw = quote == '`';

    for (;;) {
        int32_t r = next(lx);

        if (r == '\\' && !raw) {
            if (!escape(lx, quote))
                return;
        } else if (r == PROMQL_RUNE_ERROR) {
            error(lx, "invalid UTF-8 rune");
            return;
        } else if (r == PROMQL_EOF || (r == '\n' && !raw)) {
            error(lx, raw ? "unterminated raw string" : "unterminated quoted string");
            return;
        } else if (r == quote) {
            emit(lx, T_STRING);
            return;
        }
    }
}

/* One more piece of a number; false: it can't be one. */
static bool number_piece(struct lexer *lx, const char *digits, bool hex, bool *dot, bool *exp)
{
    if (accept(lx, ".")) {
        if (*dot)
            return false;
        *dot = true;
        return !accept(lx, "_.") && !hex;
    }
    if (accept(lx, "eE")) { /* in hexadecimal too, unless among the digits just read */
        if (*exp)
            return false;
        *exp = true;
        (void)accept(lx, "+-");
        return !accept(lx, "._eE") && look(lx) != PROMQL_EOF;
    }
    if (accept(lx, "_"))
        return !accept(lx, "._eE") && look(lx) != PROMQL_EOF;
    while (accept(lx, digits))
        ;
    return true;
}

/* A number's characters; whether they are one is found out when it is read. */
static bool scan_number(struct lexer *lx)
{
    const char *digits = "0123456789", *pieces = "0123456789._eE";
    size_t from = lx->pos;
    bool hex = false, dot = false, exp = false;

    if (accept(lx, "0") && accept(lx, "xX")) {
        (void)accept(lx, "_");
        hex = true;
        digits = "0123456789abcdefABCDEF";
        pieces = "0123456789abcdefABCDEF._";
    }
    (void)accept(lx, ".");
    (void)accept(lx, digits);
    while (among(look(lx), pieces))
        if (!number_piece(lx, digits, hex, &dot, &exp))
            return false;
    return lx->pos != from && !is_alnum(look(lx));
}

/* What makes the digits read so far a duration: a unit, then digits and units. */
static bool scan_duration_rest(struct lexer *lx)
{
    if (!accept(lx, "smhdwy"))
        return false;
    (void)accept(lx, "s");
    while (accept(lx, "0123456789")) {
        while (accept(lx, "0123456789"))
            ;
        if (!accept(lx, "smhdw"))
            return false;
        (void)accept(lx, "s");
    }
    return !is_alnum(next(lx));
}

static void lex_number(struct lexer *lx)
{
    if (scan_number(lx)) {
        emit(lx, T_NUMBER);
    } else if (scan_duration_rest(lx)) {
        back(lx);
        emit(lx, T_DURATION);
    } else {
        buf_clear(lx->msg);
        buf_str(lx->msg, "bad number or duration syntax: ");
        promql_quote(lx->msg, sv_sub(lx->in, lx->start, lx->pos - lx->start));
        error_msg(lx);
        return;
    }
    lx->state = LEX_STATEMENTS;
}

/* step, range, max_of, min_of inside brackets; the first letter is read. */
static bool lex_duration_word(struct lexer *lx)
{
    enum tok t;

    while (is_alpha(next(lx)))
        ;
    back(lx);
    t = promql_tok_of_word(sv_sub(lx->in, lx->start, lx->pos - lx->start));
    if (t != T_STEP && t != T_RANGE && t != T_MAX_OF && t != T_MIN_OF)
        return false;
    emit(lx, t);
    return true;
}

static bool paren_follows(struct lexer *lx)
{
    size_t i = lx->pos;

    while (i < lx->in.n && is_space(lx->in.p[i]))
        i++;
    return i < lx->in.n && lx->in.p[i] == '(';
}

static void lex_word(struct lexer *lx)
{
    int32_t r = next(lx);
    struct sv word;
    enum tok t;

    while (is_alnum(r) || r == ':')
        r = next(lx);
    back(lx);
    word = sv_sub(lx->in, lx->start, lx->pos - lx->start);
    t = promql_tok_of_word(word);
    /* names of metrics long before they were modifiers */
    if ((t == T_FILL || t == T_FILL_LEFT || t == T_FILL_RIGHT) && !paren_follows(lx))
        t = T_IDENT;
    if (t == T_IDENT && sv_find(word, ':') != SIZE_MAX)
        t = T_METRIC_IDENT;
    emit(lx, t);
}

static void lex_braces(struct lexer *lx)
{
    int32_t r = next(lx);

    if (r == '#') {
        skip_comment(lx);
    } else if (r == PROMQL_EOF) {
        error(lx, "unexpected end of input inside braces");
    } else if (is_space(r)) {
        skip_spaces(lx);
    } else if (is_alpha(r)) {
        while (is_alnum(next(lx)))
            ;
        back(lx);
        emit(lx, T_IDENT);
    } else if (r == ',') {
        emit(lx, T_COMMA);
    } else if (r == '"' || r == '\'' || r == '`') {
        lex_string(lx, r);
    } else if (r == '=') {
        emit(lx, accept(lx, "~") ? T_EQL_REGEX : T_EQL);
    } else if (r == '!') {
        r = next(lx);
        if (r == '~' || r == '=')
            emit(lx, r == '~' ? T_NEQ_REGEX : T_NEQ);
        else
            error_rune(lx, "unexpected character after '!' inside braces: ", r);
    } else if (r == '{') {
        error_rune(lx, "unexpected left brace ", r);
    } else if (r == '}') {
        emit(lx, T_RBRACE);
        lx->brace_open = false;
    } else {
        error_rune(lx, "unexpected character inside braces: ", r);
    }
}

static void lex_paren(struct lexer *lx, int32_t r)
{
    emit(lx, r == '(' ? T_LPAREN : T_RPAREN);
    lx->paren_depth += r == '(' ? 1 : -1;
    if (lx->paren_depth < 0)
        error_rune(lx, "unexpected right parenthesis ", r);
}

static enum tok arithmetic(int32_t r)
{
    return r == '*'   ? T_MUL
           : r == '/' ? T_DIV
           : r == '%' ? T_MOD
           : r == '+' ? T_ADD
           : r == '-' ? T_SUB
           : r == '^' ? T_POW
           : r == ',' ? T_COMMA
                      : T_EOF;
}

static void lex_duration(struct lexer *lx)
{
    int32_t r = next(lx);

    if (r == PROMQL_EOF) {
        error(lx, "unexpected end of input in duration expression");
    } else if (r == ']') {
        emit(lx, T_RBRACKET);
        lx->bracket_open = lx->got_colon = false;
        lx->state = LEX_STATEMENTS;
    } else if (r == ':') {
        emit(lx, T_COLON);
        if (!lx->got_duration)
            error(lx, "unexpected colon before duration in duration expression");
        else if (lx->got_colon)
            error(lx, "unexpected repeated colon in duration expression");
        lx->got_colon = true;
    } else if (r == '(' || r == ')') {
        lex_paren(lx, r);
    } else if (is_space(r)) {
        skip_spaces(lx);
    } else if (arithmetic(r) != T_EOF) {
        emit(lx, arithmetic(r));
    } else if (is_digit(r) || (r == '.' && is_digit(look(lx)))) {
        lx->pos = lx->start;
        lx->got_duration = true;
        lex_number(lx);
    } else if (!among(r, "sSrRmM") || !lex_duration_word(lx)) {
        error_rune(lx, "unexpected character in duration expression: ", r);
    }
}

static void lex_bracket(struct lexer *lx, int32_t r)
{
    if (r == '[' && lx->bracket_open) {
        error_rune(lx, "unexpected left bracket ", r);
    } else if (r == '[') {
        lx->got_colon = false;
        emit(lx, T_LBRACKET);
        skip_spaces(lx);
        lx->bracket_open = true;
        lx->state = LEX_DURATION;
    } else if (!lx->bracket_open) {
        error_rune(lx, "unexpected right bracket ", r);
    } else {
        emit(lx, T_RBRACKET);
        lx->bracket_open = false;
    }
}

/* A letter or a colon, read already. */
static void lex_letter(struct lexer *lx, int32_t r)
{
    if (!lx->bracket_open) {
        back(lx);
        lex_word(lx);
        return;
    }
    if (r == ':') {
        if (lx->got_colon) {
            error_rune(lx, "unexpected colon ", r);
            return;
        }
        emit(lx, T_COLON);
        lx->got_colon = true;
        return;
    }
    if (among(r, "sSrRmM") && lex_duration_word(lx))
        return;
    buf_clear(lx->msg);
    buf_str(lx->msg, "unexpected character: ");
    promql_quote_rune(lx->msg, r);
    buf_str(lx->msg, ", expected ':'");
    error_msg(lx);
}

static void lex_comparison(struct lexer *lx, int32_t r)
{
    int32_t t;

    if (r == '<' || r == '>') {
        bool less = r == '<';

        if (accept(lx, "="))
            emit(lx, less ? T_LTE : T_GTE);
        else if (accept(lx, "/"))
            emit(lx, less ? T_TRIM_UPPER : T_TRIM_LOWER);
        else
            emit(lx, less ? T_LSS : T_GTR);
    } else if (r == '=') {
        if (look(lx) == '~')
            error_rune(lx, "unexpected character after '=': ", '~');
        else
            emit(lx, accept(lx, "=") ? T_EQLC : T_EQL);
    } else {
        t = next(lx);
        if (t == '=')
            emit(lx, T_NEQ);
        else
            error_rune(lx, "unexpected character after '!': ", t);
    }
}

static void lex_end(struct lexer *lx)
{
    if (lx->paren_depth != 0)
        error(lx, "unclosed left parenthesis");
    else if (lx->bracket_open)
        error(lx, "unclosed left bracket");
    else
        emit(lx, T_EOF);
}

static void lex_statements(struct lexer *lx)
{
    int32_t r = next(lx);

    if (r == PROMQL_EOF) {
        lex_end(lx);
    } else if (r == '#') {
        skip_comment(lx);
    } else if (is_space(r)) {
        skip_spaces(lx);
    } else if (arithmetic(r) != T_EOF) {
        emit(lx, arithmetic(r));
    } else if (among(r, "=!<>")) {
        lex_comparison(lx, r);
    } else if (is_digit(r) || (r == '.' && is_digit(look(lx)))) {
        lx->pos = lx->start;
        lex_number(lx);
    } else if (r == '"' || r == '\'' || r == '`') {
        lex_string(lx, r);
    } else if (is_alpha(r) || r == ':') {
        lex_letter(lx, r);
    } else if (r == '(' || r == ')') {
        lex_paren(lx, r);
    } else if (r == '{') {
        emit(lx, T_LBRACE);
        lx->brace_open = true;
    } else if (r == '[' || r == ']') {
        lex_bracket(lx, r);
    } else if (r == '@') {
        emit(lx, T_AT);
    } else {
        error_rune(lx, "unexpected character: ", r);
    }
}

void promql_lex_next(struct lexer *lx, struct token *ret)
{
    lx->out = ret;
    lx->scanned = false;
    while (!lx->scanned) {
        switch (lx->state) {
        case LEX_STATEMENTS:
            if (lx->brace_open)
                lex_braces(lx);
            else
                lex_statements(lx);
            break;
        case LEX_DURATION: lex_duration(lx); break;
        case LEX_DONE: emit(lx, T_EOF); break;
        }
    }
}
