/* The oracle: random queries over random schedules of writes (in order, late, new series, deletes,
 * restarts that a second cache outlives), time injected. What has settled is bit for bit what an
 * uncached evaluation gives; what has not is at most min(step/2, 10 s) old. */
#include "unit.h"

#include "fe_fake.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define CASES 2400

static uint64_t seed;

static uint64_t rnd(uint64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

static const char *const templates[] = {
    "m", "sum(m)", "sum by (a) (m)", "rate(m[%d])", "sum by (a) (rate(m[%d]))", "avg_over_time(m[%d])",
    "max_over_time(m[%d]) - min_over_time(m[%d])", "m offset %d", "m - m offset %d", "m offset -%d",
    "count_over_time(m{a=\"1\"}[%d])", "topk(2, m)", "bottomk(1, rate(m[%d]))", "m > 5",
    "absent(m{a=\"none\"})", "absent_over_time(m{a=\"2\"}[%d])", "max_over_time(rate(m[300s])[%d:60s])",
    "sum_over_time(m[%d:30s])", "time()", "1 + 1", "scalar(sum(m))", "vector(time())",
    "label_replace(m, \"x\", \"$1\", \"a\", \"(.*)\")", "m @ %d000", "m @ end()", "rate(m[300s] @ start())",
    "sum(m) / count(m)", "m and on (a) (m > 3)", "m unless m offset %d", "count_values(\"v\", m)",
    "quantile(0.5, m)", "stddev_over_time(m[%d])", "last_over_time(m[%d])", "timestamp(m)", "-m",
    "sum by (a) (m) * on (a) group_right m", "changes(m[%d])", "irate(m[%d])", "increase(m[%d] offset 60s)",
    "sort_desc(m)", "hour()", "clamp_min(m, 3)", "predict_linear(m[600s], %d)", "n", "m or n",
};

struct world {
    struct fake f;
    struct cache *near, *far, *tier;
    struct fe *fe;
    uint64_t hits, misses, compared, steps;
};

static struct labels make_labels(const char *name, const char *a, struct label room[2])
{
    room[0] = (struct label){SV("__name__"), sv_of(name)};
    room[1] = (struct label){SV("a"), sv_of(a)};
    return (struct labels){room, 2};
}

/* What is far is another process: closing our end leaves it what it has. */
struct far_end {
    struct cache base;
    struct cache *inner;
};

static void far_get(struct cache *c, struct cache_get *gets, size_t n)
{
    struct cache *inner = ((struct far_end *)c)->inner;

    inner->ops->get(inner, gets, n);
}

static void far_set(struct cache *c, struct sv key, struct sv value, int64_t ttl_ms)
{
    struct cache *inner = ((struct far_end *)c)->inner;

    inner->ops->set(inner, key, value, ttl_ms);
}

static void far_del(struct cache *c, struct sv key)
{
    struct cache *inner = ((struct far_end *)c)->inner;

    inner->ops->del(inner, key);
}

static void far_close(struct cache *own_c)
{
    heap_free(own_c);
}

/* A fe and a memory cache are born, change counters begin anew; what is far stays. */
static void start(struct world *w)
{
    static const struct cache_ops ops = {far_get, far_set, far_del, far_close};
    struct far_end *end = heap_new(struct far_end);

    if (!w->far)
        w->far = cache_lru_new(64 << 20, NULL, &w->f.clk, NULL, "f");
    end->base.ops = &ops;
    end->inner = w->far;
    w->near = cache_lru_new(4 << 20, NULL, &w->f.clk, NULL, "n");
    w->tier = cache_tier_new(w->near, &end->base);
    w->f.boot++;
    w->f.counters.n = 0;
    struct fe_opts o = {.storage = &w->f.base,
                        .cache = w->tier,
                        .clk = &w->f.clk,
                        .timeout_ms = 120000,
                        .max_samples = 50000000,
                        .workers = 2,
                        .default_query_memory = 64 << 20};
    w->fe = fe_new(&o);
}

static void stop(struct world *w)
{
    fe_free(w->fe);
    w->tier->ops->close(w->tier);
}

static void write_some(struct world *w)
{
    static const char *const as[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
    struct label room[2];
    int64_t step = 15000 + (int64_t)rnd(3) * 15000, until = w->f.wall_ms;

    for (int64_t t = w->f.newest_ms + step; t <= until; t += step)
        for (unsigned s = 0; s < 3 + rnd(2); s++)
            if (rnd(20))
                fake_write(&w->f, make_labels("m", as[s], room), t + (int64_t)rnd(2), (double)rnd(100) / 8);
    while (rnd(3) == 0) /* late, or a series nobody knew */
        fake_write(&w->f, make_labels(rnd(3) ? "m" : "n", as[rnd(8)], room),
                   (int64_t)rnd((uint64_t)w->f.newest_ms + 1), (double)rnd(50));
    /* What has not settled gets more, uncounted. */
    while (w->f.newest_ms > w->f.edge_ms && rnd(3))
        fake_write(&w->f, make_labels("m", as[rnd(4)], room),
                   w->f.edge_ms + (int64_t)rnd((uint64_t)(w->f.newest_ms - w->f.edge_ms)),
                   (double)rnd(100) / 8);
    if (w->f.n && rnd(12) == 0) {
        int64_t from = (int64_t)rnd((uint64_t)w->f.newest_ms + 1);

        fake_delete(&w->f, rnd(w->f.n), from, from + (int64_t)rnd(3600000));
    }
    /* The edge moves some time behind the newest sample. */
    if (rnd(3) && w->f.newest_ms - 60000 > w->f.edge_ms)
        w->f.edge_ms = w->f.newest_ms - 60000;
}

static struct value *ask(struct world *w, struct arena *arena, struct fe_query *q, bool no_cache,
                         enum status *ret_st)
{
    struct limits limits;
    struct who who = {.tenant = SV("t"), .limits = &limits};
    struct query_ctx ctx = {.who = &who, .clk = &w->f.clk, .arena = arena};
    struct fe_stats stats;
    struct value *v = NULL;
    struct err err = ERR_INIT;

    memset(&limits, 0, sizeof(limits));
    limits.max_query_parallelism = 1 + rnd(3);
    q->no_cache = no_cache;
    *ret_st = fe_run(w->fe, &ctx, q, &v, &stats, &err);
    if (!no_cache) {
        w->hits += stats.hit;
        w->misses += stats.miss;
    }
    return v;
}

/* The last step that has settled: what is at or before it must be equal. */
static int64_t settled_until(struct world *w, const struct fe_query *q)
{
    struct arena arena;
    struct expr *e;
    struct err err = ERR_INIT;
    struct promql_opts opts = {0};
    int64_t last = INT64_MIN;

    arena_init(&arena, 16 << 20);
    OK(promql_parse(&arena, q->text, &opts, &e, &err));
    promql_bind(e, q->start_ms, q->end_ms);
    for (int64_t t = q->start_ms; t <= q->end_ms; t += q->step_ms) {
        struct promql_params p = {.start_ms = t, .end_ms = t, .step_ms = q->step_ms, .lookback_ms = 300000};
        struct promql_reads reads;
        bool settled = true;

        promql_reads(e, &p, &arena, &reads);
        for (size_t i = 0; i < reads.n; i++)
            settled &= reads.p[i].to_ms <= w->f.edge_ms;
        if (!settled)
            break;
        last = t;
    }
    expr_free(e);
    arena_fini(&arena);
    return last;
}

static bool has_info(const struct value *v, struct sv info)
{
    for (size_t i = 0; i < v->infos_n; i++)
        if (sv_eq(v->infos[i], info))
            return true;
    return false;
}

static void compare(struct world *w, struct fe_query *q, bool all)
{
    struct arena one, two;
    struct value *a, *b, *ca, *cb;
    enum status sa, sb;
    struct err err = ERR_INIT;
    int64_t until = all ? q->end_ms : settled_until(w, q);

    arena_init(&one, 64 << 20);
    arena_init(&two, 64 << 20);
    a = ask(w, &one, q, false, &sa);
    b = ask(w, &two, q, true, &sb);
    if (sa != sb)
        fail_msg("cached gives %s, uncached %s: " SV_FMT, status_name(sa), status_name(sb), SV_ARG(q->text));
    if (sa == ST_OK && until != INT64_MIN) {
        struct fe_part pa = {a, INT64_MIN, until}, pb = {b, INT64_MIN, until};

        OK(fe_merge(&one, &pa, 1, &ca, &err));
        OK(fe_merge(&two, &pb, 1, &cb, &err));
        /* Infos may come from steps of a bucket that were not asked for; none may be missing. */
        for (size_t i = 0; i < cb->infos_n; i++)
            assert_true(has_info(a, cb->infos[i]));
        ca->infos_n = cb->infos_n = 0;
        if (!value_eq(ca, cb))
            fail_msg("differs: " SV_FMT " start=%" PRId64 " end=%" PRId64 " step=%" PRId64 " until=%" PRId64
                     " edge=%" PRId64 " rows %zu/%zu",
                     SV_ARG(q->text), q->start_ms, q->end_ms, q->step_ms, until, w->f.edge_ms, ca->rows_n,
                     cb->rows_n);
        w->compared++;
        for (size_t i = 0; i < cb->rows_n; i++)
            w->steps += cb->rows[i].n;
    }
    arena_fini(&one);
    arena_fini(&two);
}

static void one_query(struct world *w, bool again)
{
    static char text[256];
    static struct fe_query q;
    static const int64_t steps[] = {15000, 30000, 60000, 60000, 300000, 61000, 7200000, 86400000, 1000};
    bool all = rnd(2) == 0;

    if (!again) {
        int64_t arg = 60 * (int64_t)(1 + rnd(40)), span;

        const char *t = templates[rnd(sizeof(templates) / sizeof(templates[0]))], *p;
        size_t n = 0;

        for (p = t; *p; p++) {
            if (p[0] == '%') {
                bool at = sv_ends(sv_make(t, (size_t)(p - t)), SV("@ "));

                n += (size_t)snprintf(text + n, sizeof(text) - n, at ? "%" PRId64 : "%" PRId64 "s",
                                      at ? w->f.newest_ms / 1000 / 1000 : arg);
                if (at) /* "%d000": milliseconds are not seconds */
                    p += 3;
                p++;
            } else {
                text[n++] = *p;
            }
        }
        text[n] = 0;
        if (strstr(text, ", ") && strstr(text, "predict"))
            snprintf(text, sizeof(text), "predict_linear(m[600s], %" PRId64 ")", arg);
        q = (struct fe_query){.text = sv_of(text), .range = true, .step_ms = steps[rnd(9)]};
        span = (int64_t)rnd(30) * q.step_ms * (int64_t)(1 + rnd(20));
        q.end_ms = w->f.wall_ms - (rnd(2) ? 0 : (int64_t)rnd((uint64_t)w->f.wall_ms / 2));
        q.start_ms = q.end_ms - span;
        if (q.start_ms < 0)
            q.start_ms = (int64_t)rnd(1000);
        if (q.end_ms < q.start_ms)
            q.end_ms = q.start_ms;
        if (rnd(2)) /* as Grafana asks: on the grid */
            q.start_ms -= q.start_ms % q.step_ms;
    } else if (rnd(2)) { /* a dashboard that moves on */
        int64_t by = (w->f.wall_ms - q.end_ms) / q.step_ms * q.step_ms;

        q.start_ms += by;
        q.end_ms += by;
    }
    if (all) /* nothing shared is left */
        w->f.mono_ns += INT64_C(10000000001);
    compare(w, &q, all);
}

static void cached_equals_uncached(void **state)
{
    struct world w;
    unsigned cases = 0;

    (void)state;
    for (unsigned round = 0; round < CASES / 60; round++) {
        memset(&w, 0, sizeof(w));
        seed = round + 1;
        fake_init(&w.f);
        w.f.wall_ms = INT64_C(30000000) + (int64_t)rnd(100000000);
        w.f.newest_ms = w.f.wall_ms - 20000000;
        start(&w);
        for (unsigned i = 0; i < 60; i++, cases++) {
            int64_t passed = (int64_t)rnd(4) * (int64_t)rnd(rnd(2) ? 120000 : 3000);

            w.f.wall_ms += passed;
            w.f.mono_ns += passed * 1000000;
            write_some(&w);
            if (rnd(40) == 0) {
                stop(&w);
                write_some(&w); /* nobody counts this */
                start(&w);
            }
            one_query(&w, i && rnd(2));
        }
        stop(&w);
        w.far->ops->close(w.far);
        fake_fini(&w.f);
        if (round % 10 == 0)
            printf("# round %u: %" PRIu64 " comparisons of %" PRIu64 " points, %" PRIu64 " hits, %" PRIu64
                   " misses\n", round, w.compared, w.steps, w.hits, w.misses);
        assert_true(w.compared > 0);
    }
    assert_true(cases >= 2000);
}

static void the_cache_is_used_at_all(void **state)
{
    struct world w = {0};
    struct label room[2];
    struct fe_query q = {.text = SV("rate(m[300s])"), .range = true, .start_ms = 36000000, .end_ms = 72000000,
                         .step_ms = 60000};
    enum status st;

    (void)state;
    fake_init(&w.f);
    for (int64_t t = 15000; t < 80000000; t += 15000)
        fake_write(&w.f, make_labels("m", "1", room), t, (double)t);
    w.f.wall_ms = 80000000;
    w.f.edge_ms = 79500000;
    start(&w);
    for (int i = 0; i < 2; i++) {
        struct arena arena;

        arena_init(&arena, 64 << 20);
        assert_non_null(ask(&w, &arena, &q, false, &st));
        arena_fini(&arena);
    }
    assert_int_equal(w.misses, 6);
    assert_int_equal(w.hits, 6);
    w.f.selects = 0;
    {
        struct arena arena;

        arena_init(&arena, 64 << 20);
        assert_non_null(ask(&w, &arena, &q, false, &st));
        arena_fini(&arena);
    }
    assert_int_equal(w.f.selects, 0);
    /* A late sample costs the buckets that read its granule, and no other. */
    w.hits = w.misses = 0;
    fake_write(&w.f, make_labels("m", "1", room), 40000001, 1);
    {
        struct arena arena;

        arena_init(&arena, 64 << 20);
        assert_non_null(ask(&w, &arena, &q, false, &st));
        arena_fini(&arena);
    }
    assert_in_range(w.misses, 1, 2);
    assert_true(w.hits >= 4);
    stop(&w);
    w.far->ops->close(w.far);
    fake_fini(&w.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_is_used_at_all),
        cmocka_unit_test(cached_equals_uncached),
    };

    return RUN(tests);
}
