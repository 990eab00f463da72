/* Columns of samples of one series. */
#include "model/samples.h"

#include "base/heap.h"

#include <stdlib.h>

void samples_init(struct samples *s)
{
    memset(s, 0, sizeof(*s));
}

void samples_fini(struct samples *s)
{
    heap_free(s->t_ms);
    heap_free(s->f);
    heap_free(s->h);
    heap_free(s->st_ms);
    memset(s, 0, sizeof(*s));
}

void samples_clear(struct samples *s)
{
    s->n = 0;
    heap_free(s->h);
    heap_free(s->st_ms);
    s->h = NULL;
    s->st_ms = NULL;
}

void samples_reserve(struct samples *s, size_t want)
{
    size_t cap = s->cap ? s->cap : 128;

    if (want <= s->cap)
        return;
    while (cap < want)
        cap *= 2;
    s->t_ms = heap_realloc(s->t_ms, cap * sizeof(*s->t_ms));
    s->f = heap_realloc(s->f, cap * sizeof(*s->f));
    if (s->h)
        s->h = heap_realloc(s->h, cap * sizeof(*s->h));
    if (s->st_ms)
        s->st_ms = heap_realloc(s->st_ms, cap * sizeof(*s->st_ms));
    s->cap = cap;
}

static void need_hists(struct samples *s)
{
    if (!s->h)
        s->h = heap_array(s->cap, sizeof(*s->h));
}

void samples_push_hist(struct samples *s, int64_t t_ms, const struct hist *h)
{
    samples_push(s, t_ms, h->sum);
    need_hists(s);
    s->h[s->n - 1] = h;
}

struct one {
    int64_t t_ms, st_ms;
    double f;
    const struct hist *h;
    size_t order;
};

static int by_time(const void *a, const void *b)
{
    const struct one *x = a, *y = b;

    if (x->t_ms != y->t_ms)
        return x->t_ms < y->t_ms ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static struct one get(const struct samples *s, size_t i)
{
    return (struct one){s->t_ms[i], s->st_ms ? s->st_ms[i] : 0, s->f[i], s->h ? s->h[i] : NULL, i};
}

static void put(struct samples *s, size_t i, const struct one *o)
{
    s->t_ms[i] = o->t_ms;
    s->f[i] = o->f;
    if (s->h)
        s->h[i] = o->h;
    if (s->st_ms)
        s->st_ms[i] = o->st_ms;
}

void samples_sort(struct samples *s)
{
    bool sorted = true;
    struct one *all;
    size_t n = 0;

    for (size_t i = 1; i < s->n && sorted; i++)
        sorted = s->t_ms[i - 1] < s->t_ms[i];
    if (sorted)
        return;
    all = heap_array(s->n, sizeof(*all));
    for (size_t i = 0; i < s->n; i++)
        all[i] = get(s, i);
    qsort(all, s->n, sizeof(*all), by_time);
    for (size_t i = 0; i < s->n; i++)
        if (i == 0 || all[i].t_ms != all[i - 1].t_ms)
            put(s, n++, &all[i]);
    s->n = n;
    heap_free(all);
}

void samples_merge(struct samples *a, const struct samples *b)
{
    struct samples r;
    size_t i = 0, j = 0, n = 0;

    if (b->n == 0)
        return;
    samples_init(&r);
    samples_reserve(&r, a->n + b->n);
    if (a->h || b->h)
        need_hists(&r);
    if (a->st_ms || b->st_ms)
        r.st_ms = heap_array(r.cap, sizeof(*r.st_ms));
    while (i < a->n || j < b->n) {
        bool from_a = j == b->n || (i < a->n && a->t_ms[i] <= b->t_ms[j]);
        struct one o = from_a ? get(a, i) : get(b, j);

        if (from_a) {
            if (j < b->n && b->t_ms[j] == a->t_ms[i])
                j++;
            i++;
        } else {
            j++;
        }
        put(&r, n++, &o);
    }
    r.n = n;
    samples_fini(a);
    *a = r;
}

size_t samples_bytes(const struct samples *s)
{
    return s->cap * (sizeof(*s->t_ms) + sizeof(*s->f) + (s->h ? sizeof(*s->h) : 0) +
                     (s->st_ms ? sizeof(*s->st_ms) : 0));
}
