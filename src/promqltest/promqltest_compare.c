/* What an eval command expects against what came. */
#include "promqltest_int.h"

#include "base/regex.h"

#include <math.h>

#define EPSILON 0.000001 /* relative, as upstream */

bool promqltest_almost(double a, double b)
{
    double sum = fabs(a) + fabs(b), diff = fabs(a - b);

    if (f64_is_stale(a) || f64_is_stale(b))
        return f64_is_stale(a) && f64_is_stale(b);
    if ((isnan(a) && isnan(b)) || a == b)
        return true;
    if (a == 0 || b == 0 || sum < 0x1p-1022)
        return diff < EPSILON * 0x1p-1022;
    return diff / fmin(sum, 1.7976931348623157e308) < EPSILON;
}

static const char *named(struct labels ls, char room[256])
{
    struct buf b;

    buf_init(&b, 4096);
    labels_print(&b, ls);
    buf_ch(&b, '\0');
    memset(room, 0, 256);
    if (b.n)
        memcpy(room, b.p, b.n < 255 ? b.n : 255);
    buf_fini(&b);
    return room;
}

static bool same(const struct point *want, double f, const struct hist *h)
{
    if (want->h || h)
        return want->h && h && promqltest_hist_almost(want->h, h, want->hint_set);
    return promqltest_almost(want->v, f);
}

static const struct want *find(const struct eval *e, struct labels ls)
{
    const struct want *found = NULL;

    for (size_t i = 0; i < e->wants.n; i++) /* the last of equals counts */
        if (labels_eq(e->wants.p[i].labels, ls))
            found = &e->wants.p[i];
    return found;
}

static enum status points(const struct eval *e, const struct want *w, const struct row *row,
                          struct err *err)
{
    char room[256];
    size_t at = 0;

    for (size_t i = 0; i < w->points.n; i++) {
        const struct point *p = &w->points.p[i];
        int64_t t = e->start_ms + (int64_t)i * e->step_ms;

        if (p->omitted)
            continue;
        if (at == row->n || row->t_ms[at] != t)
            return err_set(err, ST_INVALID, "%s: no point at %lld", named(w->labels, room),
                           (long long)t);
        if (!same(p, row->f[at], row->h ? row->h[at] : NULL))
            return err_set(err, ST_INVALID, "%s: at %lld expected %.17g%s, got %.17g%s",
                           named(w->labels, room), (long long)t, p->v, p->h ? " (histogram)" : "",
                           row->f[at], row->h && row->h[at] ? " (histogram)" : "");
        at++;
    }
    if (at < row->n)
        return err_set(err, ST_INVALID, "%s: a point too many, at %lld: %.17g",
                       named(w->labels, room), (long long)row->t_ms[at], row->f[at]);
    return ST_OK;
}

static enum status one_row(const struct eval *e, const struct value *v, size_t i, struct err *err)
{
    const struct row *row = &v->rows[i];
    const struct want *w = find(e, row->labels);
    char room[256];

    if (!w)
        return err_set(err, ST_INVALID, "unexpected series %s with %.17g",
                       named(row->labels, room), row->f[0]);
    if (v->kind == VALUE_MATRIX)
        return points(e, w, row, err);
    if (e->ordered && w->pos != i + 1)
        return err_set(err, ST_INVALID, "%s: expected at position %zu, is at %zu",
                       named(row->labels, room), w->pos, i + 1);
    if (!w->points.n || !same(&w->points.p[0], row->f[0], row->h ? row->h[0] : NULL))
        return err_set(err, ST_INVALID, "%s: expected %.17g%s, got %.17g%s",
                       named(row->labels, room), w->points.n ? w->points.p[0].v : 0,
                       w->points.n && w->points.p[0].h ? " (histogram)" : "", row->f[0],
                       row->h && row->h[0] ? " (histogram)" : "");
    return ST_OK;
}

static bool present(const struct value *v, struct labels ls)
{
    for (size_t i = 0; i < v->rows_n; i++)
        if (labels_eq(v->rows[i].labels, ls))
            return true;
    return false;
}

static enum status rows(const struct eval *e, const struct value *v, struct err *err)
{
    char room[256];

    if (e->scalar)
        return err_set(err, ST_INVALID, "expected a scalar, got series");
    if (v->kind == VALUE_MATRIX && e->ordered)
        return err_set(err, ST_INVALID, "expected ordered result, but query returned a matrix");
    for (size_t i = 1; v->kind == VALUE_MATRIX && i < v->rows_n; i++)
        if (labels_cmp(v->rows[i - 1].labels, v->rows[i].labels) > 0)
            return err_set(err, ST_INVALID, "the matrix is not sorted by labels");
    for (size_t i = 0; i < v->rows_n; i++)
        TRY(one_row(e, v, i, err));
    for (size_t i = 0; i < e->wants.n; i++)
        if (!present(v, e->wants.p[i].labels))
            return err_set(err, ST_INVALID, "expected series %s is not there",
                           named(e->wants.p[i].labels, room));
    return ST_OK;
}

enum status promqltest_compare(const struct eval *e, const struct value *v, struct err *err)
{
    switch (v->kind) {
    case VALUE_VECTOR:
    case VALUE_MATRIX: return rows(e, v, err);
    case VALUE_SCALAR:
        if (!e->scalar)
            return err_set(err, ST_INVALID, "expected series, got scalar %.17g", v->rows[0].f[0]);
        if (!promqltest_almost(e->scalar_value, v->rows[0].f[0]))
            return err_set(err, ST_INVALID, "expected scalar %.17g, got %.17g", e->scalar_value,
                           v->rows[0].f[0]);
        return ST_OK;
    case VALUE_STRING:
        if (!sv_eq(e->string, v->string))
            return err_set(err, ST_INVALID, "expected string \"" SV_FMT "\", got \"" SV_FMT "\"",
                           SV_ARG(e->string), SV_ARG(v->string));
        return ST_OK;
    case VALUE_NONE: break;
    }
    return err_set(err, ST_INVALID, "no value");
}

bool promqltest_expects(const struct eval *e, enum expect_kind kind)
{
    for (size_t i = 0; i < e->expects.n; i++)
        if (e->expects.p[i].kind == kind)
            return true;
    return false;
}

static bool fits(const struct expect *x, struct sv text)
{
    if (x->any)
        return true;
    return x->re ? regex_match(x->re, text) : sv_eq(x->msg, text);
}

static enum status notes_of(const struct eval *e, enum expect_kind kind, const char *what,
                            const struct sv *texts, size_t n, struct err *err)
{
    if (!promqltest_expects(e, kind))
        return ST_OK;
    if (n == 0)
        return err_set(err, ST_INVALID, "expected %s, but there is none", what);
    for (size_t i = 0; i < e->expects.n; i++) {
        bool found = e->expects.p[i].kind != kind;

        for (size_t k = 0; k < n; k++)
            found = found || fits(&e->expects.p[i], texts[k]);
        if (!found)
            return err_set(err, ST_INVALID, "expected another %s, got: " SV_FMT, what,
                           SV_ARG(texts[0]));
    }
    for (size_t k = 0; k < n; k++) {
        bool found = false;

        for (size_t i = 0; i < e->expects.n; i++)
            found = found || (e->expects.p[i].kind == kind && fits(&e->expects.p[i], texts[k]));
        if (!found)
            return err_set(err, ST_INVALID, "unexpected %s: " SV_FMT, what, SV_ARG(texts[k]));
    }
    return ST_OK;
}

enum status promqltest_notes(const struct eval *e, const struct value *v, struct err *err)
{
    TRY(notes_of(e, EXPECT_WARN, "warning", v->warnings, v->warnings_n, err));
    TRY(notes_of(e, EXPECT_INFO, "info", v->infos, v->infos_n, err));
    if (e->no_warn && v->warnings_n)
        return err_set(err, ST_INVALID, "unexpected warning: " SV_FMT, SV_ARG(v->warnings[0]));
    if (e->no_info && v->infos_n)
        return err_set(err, ST_INVALID, "unexpected info: " SV_FMT, SV_ARG(v->infos[0]));
    return ST_OK;
}

enum status promqltest_failure(const struct eval *e, const struct err *got, struct err *err)
{
    for (size_t i = 0; i < e->expects.n; i++)
        if (e->expects.p[i].kind == EXPECT_FAIL && !fits(&e->expects.p[i], sv_of(got->msg)))
            return err_set(err, ST_INVALID, "expected another error, got: %.400s", got->msg);
    return ST_OK;
}
