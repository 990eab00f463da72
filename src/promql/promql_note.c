/* Annotations: gathered while evaluating, of equal texts one, printed with their position. */
#include "promql_eval_int.h"

#include "base/dtoa.h"

#include <stdio.h>
#include <time.h>

static struct note *note_put(struct ev *ev, bool warn, struct sv text, size_t pos)
{
    struct note *n;

    for (size_t i = 0; i < ev->notes.n; i++) {
        n = &ev->notes.p[i];
        if (n->warn == warn && sv_eq(n->text, text)) {
            n->pos = pos;
            return n;
        }
    }
    if (ev->notes.n == NOTES_MAX)
        return NULL;
    text = arena_sv(&ev->arena, text);
    if (!text.p)
        return NULL;
    n = vec_add(&ev->notes);
    n->warn = warn;
    n->text = text;
    n->pos = pos;
    return n;
}

static void note(struct ev *ev, bool warn, const struct expr *at, const char *fmt, va_list ap)
{
    char text[1024];
    int n = vsnprintf(text, sizeof(text), fmt, ap);

    if (n < 0)
        return;
    note_put(ev, warn, sv_make(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1),
             at->pos_from);
}

void promql_warn(struct ev *ev, const struct expr *at, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    note(ev, true, at, fmt, ap);
    va_end(ap);
}

void promql_info(struct ev *ev, const struct expr *at, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    note(ev, false, at, fmt, ap);
    va_end(ap);
}

void promql_info_forced(struct ev *ev, const struct expr *at, struct sv metric, int64_t t_ms,
                        double min_bucket, double max_bucket, double max_diff)
{
    static const char text[] =
        "input to histogram_quantile needed to be fixed for monotonicity (see "
        "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
    struct buf b;
    struct note *n;

    buf_init(&b, 4096);
    buf_str(&b, text);
    if (metric.n) {
        buf_str(&b, " for metric name ");
        promql_quote(&b, metric);
    }
    n = buf_ok(&b) ? note_put(ev, false, buf_view(&b), at->pos_from) : NULL;
    buf_fini(&b);
    if (!n)
        return;
    if (!n->forced)
        *n = (struct note){n->warn, n->text, n->pos, true, t_ms, t_ms,
                           min_bucket, max_bucket, max_diff, 0};
    else
        n->more++;
    n->min_ms = t_ms < n->min_ms ? t_ms : n->min_ms;
    n->max_ms = t_ms > n->max_ms ? t_ms : n->max_ms;
    n->min_bucket = fmin(n->min_bucket, min_bucket);
    n->max_bucket = fmax(n->max_bucket, max_bucket);
    n->max_diff = fmax(n->max_diff, max_diff);
}

void promql_go_g(struct buf *out, double v)
{
    char text[DTOA_MAX + 1];

    text[dtoa_g(text, v)] = '\0';
    buf_str(out, text);
}

static void put_utc(struct buf *out, int64_t t_ms)
{
    time_t t = (time_t)(t_ms / 1000);
    struct tm tm;

    gmtime_r(&t, &tm);
    buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
               tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* Go's %.2g: the shortest of %e and %f with two digits, exponents of two digits at least. */
static void put_2g(struct buf *out, double v)
{
    buf_printf(out, "%.2g", v);
}

void promql_note_print(struct buf *out, const struct note *n, struct sv query)
{
    size_t line = 1, col = n->pos + 1;

    for (size_t i = 0; i < n->pos && i < query.n; i++) {
        if (query.p[i] == '\n') {
            line++;
            col = n->pos - i;
        }
    }
    buf_str(out, n->warn ? "PromQL warning: " : "PromQL info: ");
    buf_sv(out, n->text);
    if (n->forced) {
        buf_str(out, ", from buckets ");
        promql_go_g(out, n->min_bucket);
        buf_str(out, " to ");
        promql_go_g(out, n->max_bucket);
        buf_str(out, ", with a max diff of ");
        put_2g(out, n->max_diff);
        buf_printf(out, ", over %u samples from ", n->more + 1);
        put_utc(out, n->min_ms);
        buf_str(out, " to ");
        put_utc(out, n->max_ms);
    }
    buf_printf(out, " (%zu:%zu)", line, col);
}

void promql_go_labels(struct buf *out, struct labels ls)
{
    buf_ch(out, '{');
    for (size_t i = 0; i < ls.n; i++) {
        if (i)
            buf_str(out, ", ");
        if (label_name_legacy(ls.p[i].name))
            buf_sv(out, ls.p[i].name);
        else
            promql_quote(out, ls.p[i].name);
        buf_ch(out, '=');
        promql_quote(out, ls.p[i].value);
    }
    buf_ch(out, '}');
}
