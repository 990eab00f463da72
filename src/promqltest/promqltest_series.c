/* Series notation: labels, then points ("1+2x3 _ stale {{...}}"); and @st lines. */
#include "promqltest_int.h"

#include "base/dtoa.h"

#include <math.h>

void promqltest_points_free(struct points *pts)
{
    heap_free(pts->p);
    *pts = (struct points){0};
}

static enum status put(struct points *pts, const struct point *x, struct err *err)
{
    if (pts->n >= POINTS_MAX)
        return err_set(err, ST_LIMIT, "more than %d points in one line", POINTS_MAX);
    vec_push(pts, *x);
    return ST_OK;
}

/* Where the labels end: the first space outside braces and quotes. */
static size_t labels_end(struct sv line)
{
    char quote = 0;
    int depth = 0;

    for (size_t i = 0; i < line.n; i++) {
        char c = line.p[i];

        if (quote) {
            if (c == '\\' && quote != '`')
                i++;
            else if (c == quote)
                quote = 0;
        } else if (c == '"' || c == '\'' || c == '`') {
            quote = c;
        } else if (c == '{' || c == '}') {
            depth += c == '{' ? 1 : -1;
        } else if ((c == ' ' || c == '\t') && depth == 0) {
            /* "metric {a="b"}" is one, too */
            size_t k = i;

            while (k < line.n && (line.p[k] == ' ' || line.p[k] == '\t'))
                k++;
            if (i && k < line.n && line.p[k] == '{' && !(k + 1 < line.n && line.p[k + 1] == '{') &&
                line.p[i - 1] != '}')
                continue;
            return i;
        }
    }
    return line.n;
}

/* The labels are read as a selector of equalities. */
static enum status read_labels(struct sv text, struct arena *arena, struct labels *ret,
                               struct err *err)
{
    struct expr *e;
    struct labels ls = {0};
    struct sv dup;

    if (sv_is(text, "{}")) {
        *ret = ls;
        return ST_OK;
    }
    TRY(promql_parse_selector(arena, text, &e, err));
    ls.p = arena_array(arena, e->vector.matchers_n + 1, sizeof(*ls.p));
    for (size_t i = 0; ls.p && i < e->vector.matchers_n; i++)
        ls.p[ls.n++] = (struct label){arena_sv(arena, e->vector.matchers[i]->name),
                                      arena_sv(arena, e->vector.matchers[i]->value)};
    expr_free(e);
    if (!ls.p || !labels_canonical(&ls, &dup))
        return err_set(err, ST_INVALID, "bad labels: " SV_FMT, SV_ARG(text));
    *ret = ls;
    return ST_OK;
}

/* The longest number at the start; its length, or 0. */
static size_t number(struct sv s, double *ret)
{
    size_t n = 0, end = sv_find(s, 'x'); /* which repeats; hex is not written here */

    end = end == SIZE_MAX ? s.n : end;
    for (size_t k = end < 64 ? end : 64; k > 0 && !n; k--)
        if (dtoa_parse(sv_make(s.p, k), ret))
            n = k;
    if (n)
        dtoa_parse(sv_make(s.p, n), ret);
    return n;
}

static enum status times(struct sv s, uint64_t *ret, struct err *err)
{
    if (s.n < 2 || s.p[0] != 'x' || !sv_u64(sv_sub(s, 1, s.n - 1), ret) || *ret > POINTS_MAX)
        return err_set(err, ST_INVALID, "bad repetition: " SV_FMT, SV_ARG(s));
    return ST_OK;
}

static enum status number_item(struct sv s, struct points *pts, struct err *err)
{
    struct point x = {0};
    double step = 0;
    uint64_t n = 0;
    size_t used;

    if (sv_starts(s, SV("stale"))) {
        x.v = f64_of_bits(STALE_NAN_BITS);
        used = 5;
    } else {
        used = number(s, &x.v);
    }
    if (!used)
        return err_set(err, ST_INVALID, "bad value: " SV_FMT, SV_ARG(s));
    s = sv_sub(s, used, s.n);
    if (s.n && (s.p[0] == '+' || s.p[0] == '-')) {
        used = number(s.p[0] == '+' ? sv_sub(s, 1, s.n) : s, &step);
        if (!used)
            return err_set(err, ST_INVALID, "bad step: " SV_FMT, SV_ARG(s));
        s = sv_sub(s, used + (s.p[0] == '+'), s.n);
    }
    if (s.n)
        TRY(times(s, &n, err));
    for (uint64_t i = 0; i <= n; i++) {
        TRY(put(pts, &x, err));
        x.v = step != 0 ? x.v + step : x.v;
    }
    return ST_OK;
}

static enum status gap_item(struct sv s, struct points *pts, struct err *err)
{
    uint64_t n = 1;

    if (s.n > 1)
        TRY(times(sv_sub(s, 1, s.n), &n, err));
    for (uint64_t i = 0; i < n; i++)
        TRY(put(pts, &(struct point){.omitted = true}, err));
    return ST_OK;
}

/* {{...}}, {{...}}xN, {{...}}+{{...}}xN. *ret_used: bytes. */
static enum status hist_item(struct sv s, struct arena *arena, struct points *pts,
                             size_t *ret_used, struct err *err)
{
    struct hist *h, *step = NULL;
    size_t used, more, end;
    double sign = 1;
    uint64_t n = 0;
    bool hint, ignored;

    TRY(promqltest_hist(s, arena, &h, &hint, &used, err));
    if (used + 2 < s.n && (s.p[used] == '+' || s.p[used] == '-') && s.p[used + 1] == '{') {
        sign = s.p[used] == '-' ? -1 : 1;
        TRY(promqltest_hist(sv_sub(s, used + 1, s.n), arena, &step, &ignored, &more, err));
        used += 1 + more;
    }
    for (end = used; end < s.n && s.p[end] != ' ' && s.p[end] != '\t'; end++)
        ;
    if (end > used)
        TRY(times(sv_sub(s, used, end - used), &n, err));
    for (uint64_t i = 0; i <= n; i++) {
        struct hist *at = step && i ? promqltest_hist_step(arena, h, step, sign * (double)i) : h;

        if (!at)
            return err_set(err, ST_INVALID, "histograms whose buckets differ can't be added");
        TRY(put(pts, &(struct point){.h = at, .v = at->sum, .hint_set = hint}, err));
    }
    *ret_used = end;
    return ST_OK;
}

enum status promqltest_series(struct sv line, struct arena *arena, struct labels *ret,
                              struct points *ret_points, struct err *err)
{
    size_t at = labels_end(line);

    TRY(read_labels(sv_trim(sv_sub(line, 0, at)), arena, ret, err));
    while (at < line.n) {
        struct sv rest = sv_sub(line, at, line.n), item;
        size_t used = 0;

        if (rest.p[0] == ' ' || rest.p[0] == '\t') {
            at++;
            continue;
        }
        while (used < rest.n && rest.p[used] != ' ' && rest.p[used] != '\t')
            used++;
        item = sv_sub(rest, 0, used);
        if (item.p[0] == '_')
            TRY(gap_item(item, ret_points, err));
        else if (item.p[0] == '{')
            TRY(hist_item(rest, arena, ret_points, &used, err));
        else
            TRY(number_item(item, ret_points, err));
        at += used;
    }
    return ST_OK;
}

/* --- start timestamps ----------------------------------------------------------------------- */

bool promqltest_is_st(struct sv line)
{
    size_t end = labels_end(line);

    return sv_ends(sv_sub(line, 0, end), SV("@st"));
}

/* A signed duration at the start; its length, or 0. */
static size_t duration(struct sv s, int64_t *ret_ms)
{
    size_t i = 0, from;
    bool minus = s.n && s.p[0] == '-';

    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        i++;
    from = i;
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    while (i < s.n && s.p[i] >= 'a' && s.p[i] <= 'z' && s.p[i] != 'x')
        i++;
    if (!sv_duration_ms(sv_sub(s, from, i - from), ret_ms))
        return 0;
    *ret_ms = minus ? -*ret_ms : *ret_ms;
    return i;
}

static enum status st_item(struct sv s, struct points *pts, struct err *err)
{
    struct point x = {.has_st = true};
    int64_t step = 0;
    uint64_t n = 0;
    size_t used = duration(s, &x.st_ms);

    if (!used)
        return err_set(err, ST_INVALID, "bad start timestamp: " SV_FMT, SV_ARG(s));
    s = sv_sub(s, used, s.n);
    if (s.n && (s.p[0] == '+' || s.p[0] == '-')) {
        used = duration(s, &step);
        s = sv_sub(s, used, s.n);
    }
    if (s.n)
        TRY(times(s, &n, err));
    for (uint64_t i = 0; i <= n; i++) {
        TRY(put(pts, &x, err));
        x.st_ms += step;
    }
    return ST_OK;
}

enum status promqltest_st_series(struct sv line, struct arena *arena, struct labels *ret,
                                 struct points *ret_points, struct err *err)
{
    size_t end = labels_end(line);
    struct sv rest = sv_trim(sv_sub(line, end, line.n));

    TRY(read_labels(sv_sub(line, 0, end - 3), arena, ret, err));
    while (rest.n) {
        struct sv item = sv_cut(rest, ' ', &rest);

        rest = sv_trim(rest);
        if (item.p[0] == '_')
            TRY(gap_item(item, ret_points, err));
        else
            TRY(st_item(item, ret_points, err));
    }
    return ST_OK;
}
