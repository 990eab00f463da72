/* The storage of a script: all series in memory, in canonical label order. */
#include "promqltest_int.h"

#include <assert.h>
#include <stdlib.h>

struct mem_sample {
    int64_t t_ms, st_ms;
    double f;
    const struct hist *h;
};
struct mem_series {
    struct labels labels;
    VEC(struct mem_sample) samples;
};

struct memory {
    struct storage storage;
    struct arena arena;
    VEC(struct mem_series) series;
};

struct mem_set {
    struct series_set set;
    const struct memory *m;
    const struct matcher *const *matchers;
    size_t matchers_n, at;
    struct trange range;
};

static bool matches(const struct mem_set *s, struct labels ls)
{
    for (size_t i = 0; i < s->matchers_n; i++)
        if (!matcher_matches_labels(s->matchers[i], ls))
            return false;
    return true;
}

static enum status set_next(struct series_set *set, bool *ret_more, struct err *err)
{
    struct mem_set *s = (struct mem_set *)set;

    *ret_more = false;
    while (s->at < s->m->series.n && !*ret_more) {
        set->labels = s->m->series.p[s->at++].labels;
        *ret_more = matches(s, set->labels);
    }
    if (!*ret_more)
        set->outcome.complete = true;
    return ST_OK;
}

static void put_sample(struct samples *out, const struct mem_sample *x)
{
    if (x->h)
        samples_push_hist(out, x->t_ms, x->h);
    else
        samples_push(out, x->t_ms, x->f);
    if (out->h && !x->h)
        out->h[out->n - 1] = NULL;
    if (out->st_ms)
        out->st_ms[out->n - 1] = x->st_ms;
}

static enum status set_read(struct series_set *set, struct samples *out, struct err *err)
{
    struct mem_set *s = (struct mem_set *)set;
    const struct mem_series *series = &s->m->series.p[s->at - 1];
    bool st = false;

    samples_clear(out);
    samples_reserve(out, series->samples.n);
    for (size_t i = 0; i < series->samples.n; i++)
        st = st || series->samples.p[i].st_ms;
    if (st)
        out->st_ms = heap_array(out->cap, sizeof(*out->st_ms));
    for (size_t i = 0; i < series->samples.n; i++)
        if (trange_has(s->range, series->samples.p[i].t_ms))
            put_sample(out, &series->samples.p[i]);
    return ST_OK;
}

static void set_close(struct series_set *set)
{
    heap_free(set);
}

static enum status mem_select(const struct storage *storage, const struct query_ctx *ctx,
                              const struct select_req *req, struct series_set **ret,
                              struct err *err)
{
    static const struct series_set_ops ops = {set_next, set_read, set_close};
    struct mem_set *s = heap_new(struct mem_set);

    s->set.ops = &ops;
    s->m = (const struct memory *)storage;
    s->matchers = req->matchers;
    s->matchers_n = req->matchers_n;
    s->range = req->range;
    *ret = &s->set;
    return ST_OK;
}

struct memory *promqltest_memory_new(void)
{
    static const struct storage_ops ops = {.select = mem_select};
    struct memory *m = heap_new(struct memory);

    m->storage.ops = &ops;
    arena_init(&m->arena, SIZE_MAX);
    return m;
}

void promqltest_memory_clear(struct memory *m)
{
    for (size_t i = 0; i < m->series.n; i++)
        vec_free(&m->series.p[i].samples);
    m->series.n = 0;
    arena_reset(&m->arena);
}

void promqltest_memory_free(struct memory *m)
{
    if (!m)
        return;
    promqltest_memory_clear(m);
    vec_free(&m->series);
    arena_fini(&m->arena);
    heap_free(m);
}

const struct storage *promqltest_memory_storage(struct memory *m)
{
    return &m->storage;
}

static struct mem_series *series_of(struct memory *m, struct labels ls)
{
    size_t i = 0;
    struct mem_series fresh = {.labels = labels_dup(&m->arena, ls)};

    while (i < m->series.n && labels_cmp(m->series.p[i].labels, ls) < 0)
        i++;
    if (i < m->series.n && labels_eq(m->series.p[i].labels, ls))
        return &m->series.p[i];
    vec_push(&m->series, fresh);
    memmove(&m->series.p[i + 1], &m->series.p[i], (m->series.n - 1 - i) * sizeof(fresh));
    m->series.p[i] = fresh;
    return &m->series.p[i];
}

static int by_time(const void *a, const void *b)
{
    const struct mem_sample *x = a, *y = b;

    return (x->t_ms > y->t_ms) - (x->t_ms < y->t_ms);
}

enum status promqltest_memory_load(struct memory *m, struct labels ls, const struct points *pts,
                                   const struct points *sts, int64_t gap_ms, struct err *err)
{
    struct mem_series *s = series_of(m, ls);

    if (sts && sts->n != pts->n)
        return err_set(err, ST_INVALID, "@st line has %zu values but sample line has %zu", sts->n,
                       pts->n);
    for (size_t i = 0; i < pts->n; i++) {
        struct mem_sample x = {(int64_t)i * gap_ms, 0, pts->p[i].v, pts->p[i].h};

        if (pts->p[i].omitted)
            continue;
        if (sts && sts->p[i].has_st)
            x.st_ms = x.t_ms + sts->p[i].st_ms;
        vec_push(&s->samples, x);
    }
    if (s->samples.n)
        qsort(s->samples.p, s->samples.n, sizeof(*s->samples.p), by_time);
    return ST_OK;
}
