/* src/frontend/fe_fake.h
 *
 * For the frontend's tests: a storage in memory whose series can be written late, deleted from and
 * forgotten by a restart, with change counters and a sealed edge as DESIGN's rules ask, and a clock
 * that the test moves.
 */
#ifndef ENGRAM_FRONTEND_FE_FAKE_H
#define ENGRAM_FRONTEND_FE_FAKE_H

#include "base/heap.h"
#include "base/vec.h"
#include "fe_int.h"

#include <stdlib.h>

#define GRANULE_MS INT64_C(7200000)
#define FAKE_SERIES_MAX 64

struct fake_series {
    struct labels labels;
    struct samples samples;
};

struct fake {
    struct storage base;
    struct clk clk;
    int64_t wall_ms, mono_ns;
    struct arena arena;
    struct fake_series series[FAKE_SERIES_MAX]; /* in label order */
    size_t n;
    VEC(uint64_t) counters; /* of granule 0 on; time begins at 0 in these tests */
    int64_t edge_ms, newest_ms;
    uint64_t boot;
    _Atomic int selects;
    _Atomic int slow_ms; /* each select takes this long, in real time */
    bool incomplete;
    void (*during)(struct fake *f); /* called once, when an evaluation has read all it wants */
};

static inline int64_t fake_wall(const struct clk *c)
{
    return ((const struct fake *)((uintptr_t)c - offsetof(struct fake, clk)))->wall_ms;
}

static inline int64_t fake_mono(const struct clk *c)
{
    return ((const struct fake *)((uintptr_t)c - offsetof(struct fake, clk)))->mono_ns;
}

static inline void fake_bump(struct fake *f, int64_t t_ms)
{
    size_t g = (size_t)(t_ms / GRANULE_MS);

    while (f->counters.n <= g)
        vec_push(&f->counters, 0);
    f->counters.p[g]++;
}

static inline struct fake_series *fake_make(struct fake *f, struct labels ls)
{
    size_t i = 0;

    while (i < f->n && labels_cmp(f->series[i].labels, ls) < 0)
        i++;
    if (i < f->n && labels_eq(f->series[i].labels, ls))
        return &f->series[i];
    if (f->n == FAKE_SERIES_MAX)
        abort();
    memmove(&f->series[i + 1], &f->series[i], (f->n - i) * sizeof(*f->series));
    f->series[i].labels = labels_dup(&f->arena, ls);
    samples_init(&f->series[i].samples);
    f->n++;
    return &f->series[i];
}

/* First written wins. Below the sealed edge it counts. */
static inline void fake_write(struct fake *f, struct labels ls, int64_t t_ms, double v)
{
    struct samples *s = &fake_make(f, ls)->samples;

    samples_push(s, t_ms, v);
    samples_sort(s);
    if (t_ms < f->edge_ms)
        fake_bump(f, t_ms);
    if (t_ms > f->newest_ms)
        f->newest_ms = t_ms;
}

static inline void fake_delete(struct fake *f, size_t nth, int64_t from_ms, int64_t to_ms)
{
    struct samples *s = &f->series[nth].samples;
    size_t k = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (s->t_ms[i] >= from_ms && s->t_ms[i] < to_ms) {
            fake_bump(f, s->t_ms[i]);
            continue;
        }
        s->t_ms[k] = s->t_ms[i];
        s->f[k++] = s->f[i];
    }
    s->n = k;
}

struct fake_set {
    struct series_set base;
    struct fake *f;
    const struct select_req *req;
    size_t at;
};

static inline enum status fake_next(struct series_set *s, bool *ret_more, struct err *err)
{
    struct fake_set *set = (struct fake_set *)s;

    (void)err;
    for (set->at++; set->at <= set->f->n; set->at++) {
        bool all = true;

        for (size_t m = 0; m < set->req->matchers_n && all; m++)
            all = matcher_matches_labels(set->req->matchers[m], set->f->series[set->at - 1].labels);
        if (all) {
            s->labels = set->f->series[set->at - 1].labels;
            *ret_more = true;
            return ST_OK;
        }
    }
    *ret_more = false;
    if (set->f->during) {
        void (*during)(struct fake *f) = set->f->during;

        set->f->during = NULL;
        during(set->f);
    }
    s->outcome.complete = !set->f->incomplete;
    return ST_OK;
}

static inline enum status fake_read(struct series_set *s, struct samples *out, struct err *err)
{
    struct fake_set *set = (struct fake_set *)s;
    const struct samples *from = &set->f->series[set->at - 1].samples;

    (void)err;
    samples_clear(out);
    for (size_t i = 0; i < from->n; i++)
        if (trange_has(set->req->range, from->t_ms[i]))
            samples_push(out, from->t_ms[i], from->f[i]);
    return ST_OK;
}

static inline void fake_close(struct series_set *own_s)
{
    heap_free(own_s);
}

static inline enum status fake_select(const struct storage *s, const struct query_ctx *ctx,
                                      const struct select_req *req, struct series_set **ret,
                                      struct err *err)
{
    static const struct series_set_ops ops = {fake_next, fake_read, fake_close};
    struct fake *f = (struct fake *)(uintptr_t)s;
    struct fake_set *set = heap_new(struct fake_set);
    struct select_req *copy = arena_new(ctx->arena, struct select_req);
    struct timespec ts = {.tv_nsec = (long)f->slow_ms * 1000000};

    (void)err;
    f->selects++;
    if (f->slow_ms)
        nanosleep(&ts, NULL);
    *copy = *req;
    set->base.ops = &ops;
    set->f = f;
    set->req = copy;
    *ret = &set->base;
    return ST_OK;
}

static inline void fake_mark(const struct storage *s, const struct who *who, struct trange range,
                             struct change_mark *ret)
{
    const struct fake *f = (const struct fake *)s;
    struct hash128 h = {0, 0};

    (void)who;
    for (size_t g = 0; g < f->counters.n; g++)
        if (trange_overlaps(range, (struct trange){(int64_t)g * GRANULE_MS, (int64_t)(g + 1) * GRANULE_MS}) &&
            f->counters.p[g]) {
            uint64_t v[4] = {h.lo, h.hi, g, f->counters.p[g]};

            h = hash128(v, sizeof(v), 0);
        }
    *ret = (struct change_mark){.boot = f->boot, .counters = h, .settled_ms = f->edge_ms};
}

static inline void fake_init(struct fake *f)
{
    static const struct storage_ops ops = {.select = fake_select, .mark = fake_mark};

    memset(f, 0, sizeof(*f));
    f->base.ops = &ops;
    f->clk = (struct clk){fake_wall, fake_mono};
    f->mono_ns = 1;
    f->boot = 1;
    arena_init(&f->arena, 64 << 20);
}

static inline void fake_fini(struct fake *f)
{
    for (size_t i = 0; i < f->n; i++)
        samples_fini(&f->series[i].samples);
    vec_free(&f->counters);
    arena_fini(&f->arena);
}

#endif
