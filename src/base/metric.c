/* A registry is a growing list of families, each with its members by label text. Updates are atomic
 * and lock-free; doubles are added by compare-and-swap on their bits. */
#include "base/metric.h"

#include "base/dtoa.h"
#include "base/heap.h"
#include "base/lock.h"
#include "base/vec.h"

#include <assert.h>
#include <stdio.h>

enum kind { COUNTER, GAUGE, HISTOGRAM };

static const double bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
#define BUCKETS (sizeof(bounds) / sizeof(bounds[0]))

struct metric {
    _Atomic uint64_t bits; /* of the double; partner: metric_get() */
    metric_fn fn;          /* read instead when set */
    void *arg;
    char *labels;
};

struct metric_hist {
    _Atomic uint64_t counts[BUCKETS + 1]; /* not cumulative; the last is +Inf */
    struct metric sum;
    char *labels;
};

struct family {
    char *name, *help;
    enum kind kind;
    VEC(struct metric *) plain;
    VEC(struct metric_hist *) hists;
};

struct metrics {
    struct lock lock; /* guards the lists; members live until the end */
    VEC(struct family *) families;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = heap_new(struct metrics);

    lock_init(&m->lock, LOCK_metric);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->families.n; i++) {
        struct family *f = m->families.p[i];

        for (size_t j = 0; j < f->plain.n; j++) {
            heap_free(f->plain.p[j]->labels);
            heap_free(f->plain.p[j]);
        }
        for (size_t j = 0; j < f->hists.n; j++) {
            heap_free(f->hists.p[j]->labels);
            heap_free(f->hists.p[j]);
        }
        vec_free(&f->plain);
        vec_free(&f->hists);
        heap_free(f->name);
        heap_free(f->help);
        heap_free(f);
    }
    vec_free(&m->families);
    lock_fini(&m->lock);
    heap_free(m);
}

static struct family *family(struct metrics *m, const char *name, const char *help, enum kind kind)
{
    struct family *f;

    for (size_t i = 0; i < m->families.n; i++)
        if (strcmp(m->families.p[i]->name, name) == 0) {
            assert(m->families.p[i]->kind == kind);
            return m->families.p[i];
        }
    f = heap_new(struct family);
    f->name = heap_strn(name, strlen(name));
    f->help = heap_strn(help, strlen(help));
    f->kind = kind;
    vec_push(&m->families, f);
    return f;
}

static struct metric *plain(struct metrics *m, const char *name, const char *labels,
                            const char *help, enum kind kind)
{
    struct family *f;
    struct metric *c = NULL;

    if (!m)
        return NULL;
    lock_take(&m->lock);
    f = family(m, name, help, kind);
    for (size_t i = 0; i < f->plain.n && !c; i++)
        if (strcmp(f->plain.p[i]->labels, labels) == 0)
            c = f->plain.p[i];
    if (!c) {
        c = heap_new(struct metric);
        c->labels = heap_strn(labels, strlen(labels));
        vec_push(&f->plain, c);
    }
    lock_drop(&m->lock);
    return c;
}

struct metric *metric_counter(struct metrics *m, const char *name, const char *labels,
                              const char *help)
{
    return plain(m, name, labels, help, COUNTER);
}

struct metric *metric_gauge(struct metrics *m, const char *name, const char *labels,
                            const char *help)
{
    return plain(m, name, labels, help, GAUGE);
}

void metric_gauge_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                     metric_fn fn, void *arg)
{
    struct metric *c = plain(m, name, labels, help, GAUGE);

    if (c) {
        c->arg = arg;
        c->fn = fn;
    }
}

void metric_counter_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                       metric_fn fn, void *arg)
{
    struct metric *c = plain(m, name, labels, help, COUNTER);

    if (c) {
        c->arg = arg;
        c->fn = fn;
    }
}

struct metric_hist *metric_seconds(struct metrics *m, const char *name, const char *labels,
                                   const char *help)
{
    struct family *f;
    struct metric_hist *h = NULL;

    if (!m)
        return NULL;
    lock_take(&m->lock);
    f = family(m, name, help, HISTOGRAM);
    for (size_t i = 0; i < f->hists.n && !h; i++)
        if (strcmp(f->hists.p[i]->labels, labels) == 0)
            h = f->hists.p[i];
    if (!h) {
        h = heap_new(struct metric_hist);
        h->labels = heap_strn(labels, strlen(labels));
        vec_push(&f->hists, h);
    }
    lock_drop(&m->lock);
    return h;
}

static double of_bits(uint64_t u)
{
    double v;

    memcpy(&v, &u, sizeof(v));
    return v;
}

static uint64_t to_bits(double v)
{
    uint64_t u;

    memcpy(&u, &v, sizeof(u));
    return u;
}

void metric_add(struct metric *c, double v)
{
    uint64_t old;

    if (!c)
        return;
    old = atomic_load_explicit(&c->bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&c->bits, &old, to_bits(of_bits(old) + v),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void metric_inc(struct metric *c)
{
    metric_add(c, 1);
}

void metric_set(struct metric *g, double v)
{
    if (g)
        atomic_store_explicit(&g->bits, to_bits(v), memory_order_relaxed);
}

double metric_get(const struct metric *c)
{
    if (!c)
        return 0;
    return c->fn ? c->fn(c->arg) : of_bits(atomic_load_explicit(&c->bits, memory_order_relaxed));
}

void metric_observe(struct metric_hist *h, double seconds)
{
    size_t i = 0;

    if (!h)
        return;
    while (i < BUCKETS && seconds > bounds[i])
        i++;
    atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
    metric_add(&h->sum, seconds);
}

static void visit_hist(const struct family *f, const struct metric_hist *h, metric_visit visit,
                       void *arg)
{
    char name[160], labels[512], le[DTOA_MAX];
    const char *sep = h->labels[0] ? "," : "";
    uint64_t total = 0;

    for (size_t i = 0; i <= BUCKETS; i++) {
        total += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        if (i < BUCKETS)
            le[dtoa_g(le, bounds[i])] = 0;
        else
            memcpy(le, "+Inf", 5);
        snprintf(name, sizeof(name), "%s_bucket", f->name);
        snprintf(labels, sizeof(labels), "%s%sle=\"%s\"", h->labels, sep, le);
        visit(arg, sv_of(name), sv_of(labels), (double)total);
    }
    snprintf(name, sizeof(name), "%s_sum", f->name);
    visit(arg, sv_of(name), sv_of(h->labels), metric_get(&h->sum));
    snprintf(name, sizeof(name), "%s_count", f->name);
    visit(arg, sv_of(name), sv_of(h->labels), (double)total);
}

static void visit_family(const struct family *f, metric_visit visit, void *arg)
{
    for (size_t i = 0; i < f->plain.n; i++)
        visit(arg, sv_of(f->name), sv_of(f->plain.p[i]->labels), metric_get(f->plain.p[i]));
    for (size_t i = 0; i < f->hists.n; i++)
        visit_hist(f, f->hists.p[i], visit, arg);
}

void metrics_each(struct metrics *m, metric_visit visit, void *arg)
{
    lock_take(&m->lock);
    for (size_t i = 0; i < m->families.n; i++)
        visit_family(m->families.p[i], visit, arg);
    lock_drop(&m->lock);
}

static void print_line(void *arg, struct sv name, struct sv labels, double value)
{
    struct buf *out = arg;
    char text[DTOA_MAX];

    buf_sv(out, name);
    if (labels.n) {
        buf_ch(out, '{');
        buf_sv(out, labels);
        buf_ch(out, '}');
    }
    buf_ch(out, ' ');
    buf_put(out, text, dtoa_g(text, value));
    buf_ch(out, '\n');
}

void metrics_render(struct metrics *m, struct buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};

    lock_take(&m->lock);
    for (size_t i = 0; i < m->families.n; i++) {
        const struct family *f = m->families.p[i];

        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, kinds[f->kind]);
        visit_family(f, print_line, out);
    }
    lock_drop(&m->lock);
}
