/* The frontend's parts one by one (items, merging, the grid, the queue, flights), then the whole: limits,
 * sharing, cancelling, what is stored and what is not. */
#include "unit.h"

#include "fe_fake.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#define DAY INT64_C(86400000)

static void pause_ms(long ms)
{
    struct timespec ts = {.tv_nsec = ms * 1000000};

    nanosleep(&ts, NULL);
}

/* --- items --- */

static struct label la[] = {{SV("__name__"), SV("m")}, {SV("a"), SV("1")}};
static struct label lb[] = {{SV("__name__"), SV("m")}, {SV("a"), SV("2")}};
static const int64_t ta[] = {-120000, -60000, 0, 60000, 61000};
static const int64_t tb[] = {-60000, 60000};
static double fa[5], fb[2];
static struct sv words[] = {SV("one"), SV("")};

static struct value sample_value(struct row rows[2])
{
    fa[0] = -0.0;
    fa[1] = f64_of_bits(STALE_NAN_BITS);
    fa[2] = f64_of_bits(UINT64_C(0xfff8000000000123));
    fa[3] = INFINITY;
    fa[4] = 5e-324;
    fb[0] = 1;
    fb[1] = -1;
    rows[0] = (struct row){{la, 2}, ta, fa, NULL, 5};
    rows[1] = (struct row){{lb, 2}, tb, fb, NULL, 2};
    return (struct value){.kind = VALUE_MATRIX, .rows = rows, .rows_n = 2, .warnings = words,
                          .warnings_n = 2, .infos = words, .infos_n = 1, .complete = true};
}

static void an_item_gives_back_every_bit(void **state)
{
    struct row rows[2];
    struct value v = sample_value(rows), *got;
    struct arena arena;
    struct buf item;
    struct err err = ERR_INIT;

    (void)state;
    arena_init(&arena, 1 << 20);
    buf_init(&item, 1 << 20);
    for (int complete = 0; complete < 2; complete++) {
        buf_clear(&item);
        v.complete = complete;
        assert_true(fe_encode(&item, &v, INT64_MIN, INT64_MAX));
        OK(fe_decode(buf_view(&item), &arena, &got, &err));
        assert_true(value_eq(&v, got));
        assert_int_equal(got->complete, complete);
    }
    /* Cut to a range: a row with no point left is gone. */
    buf_clear(&item);
    assert_true(fe_encode(&item, &v, -120000, -120000));
    OK(fe_decode(buf_view(&item), &arena, &got, &err));
    assert_int_equal(got->rows_n, 1);
    assert_int_equal(got->rows[0].n, 1);
    assert_int_equal(got->rows[0].t_ms[0], -120000);
    assert_true(signbit(got->rows[0].f[0]));
    buf_fini(&item);
    arena_fini(&arena);
}

static void a_damaged_item_is_refused(void **state)
{
    struct row rows[2];
    struct value v = sample_value(rows), *got;
    struct arena arena;
    struct buf item;
    struct err err = ERR_INIT;

    (void)state;
    arena_init(&arena, 1 << 20);
    buf_init(&item, 1 << 20);
    assert_true(fe_encode(&item, &v, INT64_MIN, INT64_MAX));
    for (size_t i = 0; i < item.n; i++) {
        char *cut = heap_dup(item.p, i ? i : 1); /* the sanitizer sees each byte beyond */

        item.p[i] ^= 0x10;
        assert_int_equal(fe_decode(buf_view(&item), &arena, &got, &err), ST_CORRUPT);
        item.p[i] ^= 0x10;
        assert_int_equal(fe_decode(sv_make(cut, i), &arena, &got, &err), ST_CORRUPT);
        heap_free(cut);
    }
    for (size_t max = 0; max < 600; max += 16) {
        struct arena small;
        enum status st;

        arena_init(&small, max);
        st = fe_decode(buf_view(&item), &small, &got, &err);
        assert_true(st == ST_OK || st == ST_LIMIT);
        assert_true(max > 100 || st == ST_LIMIT);
        arena_fini(&small);
    }
    buf_fini(&item);
    arena_fini(&arena);
}

static void what_an_item_cannot_hold_is_not_written(void **state)
{
    struct row rows[2];
    struct value v = sample_value(rows), s = {.kind = VALUE_STRING, .string = SV("x")};
    struct hist h = {0};
    const struct hist *hs[5] = {&h};
    struct buf item;

    (void)state;
    buf_init(&item, 1 << 20);
    rows[0].h = hs;
    assert_false(fe_encode(&item, &v, INT64_MIN, INT64_MAX));
    assert_false(fe_encode(&item, &s, INT64_MIN, INT64_MAX));
    buf_fini(&item);
    buf_init(&item, 40); /* over its ceiling */
    rows[0].h = NULL;
    assert_false(fe_encode(&item, &v, INT64_MIN, INT64_MAX));
    buf_fini(&item);
}

static void infos_belong_to_one_spelling(void **state)
{
    struct row rows[2];
    struct value v = sample_value(rows);
    struct arena arena;

    (void)state;
    arena_init(&arena, 1 << 16);
    assert_true(fe_infos_sign(&v, &arena, SV("rate(m[5m])")));
    assert_int_equal(v.infos_n, 2);
    assert_true(fe_infos_check(&v, SV("rate(m[5m])")));
    assert_int_equal(v.infos_n, 1);
    assert_true(fe_infos_sign(&v, &arena, SV("rate(m[5m])")));
    assert_false(fe_infos_check(&v, SV("rate( m[5m])")));
    v.infos_n = 0;
    assert_true(fe_infos_sign(&v, &arena, SV("m")));
    assert_true(fe_infos_check(&v, SV("any")));
    arena_fini(&arena);
}

/* --- merging --- */

static void rows_are_joined_in_time_and_sorted_by_labels(void **state)
{
    static const int64_t early[] = {10, 20, 30}, late[] = {30, 40};
    static const double one[] = {1, 2, 3}, two[] = {4, 5};
    struct row r1[] = {{{lb, 2}, early, one, NULL, 3}};
    struct row r2[] = {{{la, 2}, late, two, NULL, 2}, {{lb, 2}, late, two, NULL, 2}};
    struct value v1 = {.kind = VALUE_MATRIX, .rows = r1, .rows_n = 1, .complete = true};
    struct value v2 = {.kind = VALUE_MATRIX, .rows = r2, .rows_n = 2, .complete = true,
                       .warnings = words, .warnings_n = 1};
    struct fe_part parts[] = {{&v1, 15, 29}, {&v2, 30, 40}};
    struct arena arena;
    struct value *v;
    struct err err = ERR_INIT;

    (void)state;
    arena_init(&arena, 1 << 16);
    OK(fe_merge(&arena, parts, 2, &v, &err));
    assert_int_equal(v->rows_n, 2);
    assert_true(labels_eq(v->rows[0].labels, (struct labels){la, 2}));
    assert_int_equal(v->rows[1].n, 3);
    assert_int_equal(v->rows[1].t_ms[0], 20);
    assert_true(v->rows[1].f[0] == 2 && v->rows[1].f[1] == 4 && v->rows[1].f[2] == 5);
    assert_int_equal(v->warnings_n, 1);
    assert_true(v->complete);
    v2.complete = false;
    OK(fe_merge(&arena, parts, 2, &v, &err));
    assert_false(v->complete);
    arena_fini(&arena);
    arena_init(&arena, 200);
    assert_int_equal(fe_merge(&arena, parts, 2, &v, &err), ST_LIMIT);
    arena_fini(&arena);
}

/* --- the grid --- */

static void the_grid_holds_before_1970_too(void **state)
{
    static const int64_t steps[] = {1, 999, 15000, 60000, 61000, 7200000, 7200001, 30 * DAY};
    static const int64_t starts[] = {0, -1, 1, -7200000, 59999, -86400001, INT64_C(1700000000123)};

    (void)state;
    for (size_t s = 0; s < 8; s++)
        for (size_t i = 0; i < 7; i++) {
            struct fe_grid g = fe_grid_of(starts[i], steps[s]);
            int64_t at = fe_grid_index(&g, starts[i]), k = fe_grid_bucket(&g, at);

            assert_true(g.phase_ms >= 0 && g.phase_ms < steps[s]);
            assert_int_equal(fe_grid_ms(&g, at), starts[i]);
            assert_int_equal(fe_grid_index(&g, starts[i] - 1), at - 1);
            assert_int_equal(fe_grid_index(&g, starts[i] + steps[s] - 1), at);
            assert_true(k * g.bucket_steps <= at && at < (k + 1) * g.bucket_steps);
            assert_in_range(g.bucket_steps, 1, 512);
            assert_true(g.bucket_steps == 1 || g.bucket_steps * steps[s] <= 7200000);
        }
}

static void pieces_end_with_the_day(void **state)
{
    struct fe_grid g = fe_grid_of(-3 * DAY + 7, 61000);
    struct fe_pieces ps = {0};
    int64_t from = fe_grid_index(&g, -3 * DAY + 7), to = fe_grid_index(&g, 2 * DAY), next = from;

    (void)state;
    fe_pieces_add(&ps, &g, from, to);
    fe_pieces_add(&ps, &g, 5, 4); /* nothing */
    assert_int_equal(ps.n, 5); /* the last step is in the second day */
    for (size_t i = 0; i < ps.n; i++) {
        int64_t a = fe_grid_ms(&g, ps.p[i].from), b = fe_grid_ms(&g, ps.p[i].to);

        assert_int_equal(ps.p[i].from, next);
        assert_true(ps.p[i].from <= ps.p[i].to);
        assert_int_equal((a + 10 * DAY) / DAY, (b + 10 * DAY) / DAY);
        next = ps.p[i].to + 1;
    }
    assert_int_equal(next, to + 1);
    fe_pieces_free(&ps);
}

/* --- the queue --- */

struct gate {
    _Atomic bool open;
    _Atomic unsigned done;
    char order[64];
};

struct turn {
    struct gate *gate;
    char name;
};

static void wait_at_gate(void *arg)
{
    struct gate *g = arg;

    while (!g->open)
        pause_ms(1);
}

static void take_turn(void *arg)
{
    struct turn *t = arg;

    t->gate->order[t->gate->done++] = t->name;
}

static void tenants_take_turns(void **state)
{
    struct gate gate = {0};
    struct fe_queue *q = fe_queue_new(1, NULL);
    struct turn a = {&gate, 'a'}, b = {&gate, 'b'}, c = {&gate, 'c'};
    struct err err = ERR_INIT;

    (void)state;
    OK(fe_queue_put(q, SV("z"), 0, wait_at_gate, &gate, &err));
    for (int i = 0; i < 10; i++)
        OK(fe_queue_put(q, SV("many"), 0, take_turn, &a, &err));
    for (int i = 0; i < 2; i++)
        OK(fe_queue_put(q, SV("two"), 0, take_turn, &b, &err));
    OK(fe_queue_put(q, SV("one"), 0, take_turn, &c, &err));
    gate.open = true;
    fe_queue_free(q); /* runs what waits */
    assert_string_equal(gate.order, "abcabaaaaaaaa");
}

static void a_long_line_is_refused_by_name(void **state)
{
    struct gate gate = {0};
    struct fe_queue *q = fe_queue_new(1, NULL);
    struct turn a = {&gate, 'a'};
    struct err err = ERR_INIT;

    (void)state;
    OK(fe_queue_put(q, SV("z"), 0, wait_at_gate, &gate, &err));
    for (int i = 0; i < 3; i++) {
        OK(fe_queue_put(q, SV("t"), 3, take_turn, &a, &err));
        OK(fe_queue_put(q, SV("t"), 0, take_turn, &a, &err)); /* further pieces don't count */
    }
    assert_int_equal(fe_queue_put(q, SV("t"), 3, take_turn, &a, &err), ST_RATE);
    assert_non_null(strstr(err.msg, "max_outstanding_requests_per_tenant is 3"));
    assert_non_null(strstr(err.msg, "tenant t"));
    OK(fe_queue_put(q, SV("other"), 3, take_turn, &a, &err));
    gate.open = true;
    fe_queue_free(q);
    assert_int_equal(gate.done, 7);
}

/* --- flights --- */

struct passenger {
    struct fe_flights *flights;
    struct fe_flight *flight;
    _Atomic bool canceled;
    struct arena arena;
    struct value *value;
    bool alone;
    enum status st;
    struct err err;
    struct fe_stats stats;
    pthread_t thread;
};

static void *fly(void *arg)
{
    struct passenger *p = arg;
    struct query_ctx ctx = {.clk = clk_system(), .canceled = &p->canceled, .arena = &p->arena};

    p->st = fe_flight_wait(p->flights, p->flight, &ctx, &p->value, &p->alone, &p->stats, &p->err);
    return NULL;
}

static void board(struct passenger *p, struct fe_flights *flights)
{
    bool leader;

    memset(p, 0, sizeof(*p));
    arena_init(&p->arena, 1 << 20);
    p->flights = flights;
    p->flight = fe_flight_join(flights, SV("key"), 0, 0, &leader);
    assert_false(leader);
    assert_int_equal(pthread_create(&p->thread, NULL, fly, p), 0);
}

#define PASSENGERS 6

/* Leads a flight with passengers; `value`, or st and a message, is its outcome. */
static void lead(struct passenger ps[PASSENGERS], const struct value *value, enum status st)
{
    struct fe_flights *flights = fe_flights_new();
    struct fe_stats stats = {.hit = 3};
    struct err err = {st, 0, "sorry"};
    bool leader;
    struct fe_flight *flight = fe_flight_join(flights, SV("key"), 0, 0, &leader);

    assert_true(leader);
    for (int i = 0; i < PASSENGERS; i++)
        board(&ps[i], flights);
    ps[0].canceled = true;
    pthread_join(ps[0].thread, NULL); /* leaves alone, the flight goes on */
    assert_int_equal(ps[0].st, ST_CANCELED);
    fe_flight_land(flights, flight, value, st, &err, &stats);
    for (int i = 1; i < PASSENGERS; i++)
        pthread_join(ps[i].thread, NULL);
    fe_flights_free(flights); /* asserts that nothing is left */
}

static void done(struct passenger ps[PASSENGERS])
{
    for (int i = 0; i < PASSENGERS; i++)
        arena_fini(&ps[i].arena);
}

static void a_flight_shares_its_outcome(void **state)
{
    struct passenger ps[PASSENGERS];
    struct row rows[2];
    struct value v = sample_value(rows);
    struct hist h = {0};
    const struct hist *hs[5] = {&h};

    (void)state;
    lead(ps, &v, ST_OK);
    for (int i = 1; i < PASSENGERS; i++) {
        assert_int_equal(ps[i].st, ST_OK);
        assert_true(ps[i].value && value_eq(ps[i].value, &v));
        assert_int_equal(ps[i].stats.hit, 3);
    }
    done(ps);
    lead(ps, NULL, ST_EXEC); /* an error is as good for all */
    for (int i = 1; i < PASSENGERS; i++) {
        assert_int_equal(ps[i].st, ST_EXEC);
        assert_string_equal(ps[i].err.msg, "sorry");
    }
    done(ps);
    lead(ps, NULL, ST_CANCELED); /* its client left: the others ask again */
    for (int i = 1; i < PASSENGERS; i++)
        assert_true(ps[i].st == ST_OK && !ps[i].value && !ps[i].alone);
    done(ps);
    rows[0].h = hs; /* can't be written as bytes: each for itself, but at once */
    lead(ps, &v, ST_OK);
    for (int i = 1; i < PASSENGERS; i++)
        assert_true(ps[i].st == ST_OK && !ps[i].value && ps[i].alone);
    done(ps);
}

static void an_old_flight_is_not_joined(void **state)
{
    struct fe_flights *flights = fe_flights_new();
    struct fe_stats stats = {0};
    struct err err = {ST_EXEC, 0, "x"};
    bool leader;
    struct fe_flight *first = fe_flight_join(flights, SV("key"), 1000, 50, &leader), *second;

    (void)state;
    assert_true(leader);
    second = fe_flight_join(flights, SV("key"), 1051, 50, &leader);
    assert_true(leader);
    assert_ptr_not_equal(first, second);
    fe_flight_land(flights, first, NULL, ST_EXEC, &err, &stats); /* leaves the second where it is */
    fe_flight_older(flights, second, 1060); /* it is older already */
    {
        struct passenger p = {.flights = flights};

        p.flight = fe_flight_join(flights, SV("key"), 1101, 50, &leader);
        assert_false(leader);
        assert_ptr_equal(p.flight, second);
        fe_flight_land(flights, second, NULL, ST_EXEC, &err, &stats);
        fly(&p);
        assert_int_equal(p.st, ST_EXEC);
    }
    /* A flight that shares an old tail is as old as that. */
    first = fe_flight_join(flights, SV("key"), 2000, 50, &leader);
    assert_true(leader);
    fe_flight_older(flights, first, 1951);
    second = fe_flight_join(flights, SV("key"), 2002, 50, &leader);
    assert_true(leader);
    fe_flight_land(flights, first, NULL, ST_EXEC, &err, &stats);
    fe_flight_land(flights, second, NULL, ST_EXEC, &err, &stats);
    fe_flights_free(flights);
}

/* --- the whole --- */

struct rig {
    struct fake f;
    struct cache *cache;
    struct fe *fe;
    struct limits limits;
    struct who who;
    struct promql_opts promql;
    struct metrics *metrics;
    _Atomic bool canceled;
};

static void rig_start(struct rig *r)
{
    struct label room[2] = {{SV("__name__"), SV("m_total")}, {SV("a"), SV("")}};
    static const char *const as[] = {"0", "1", "2", "3"};

    fake_init(&r->f);
    for (int s = 0; s < 4; s++)
        for (int64_t t = 60000; t < 4 * DAY; t += 300000) {
            room[1].value = sv_of(as[s]);
            fake_write(&r->f, (struct labels){room, 2}, t, (double)(t / 1000 * (s + 1)));
        }
    r->f.wall_ms = 4 * DAY;
    r->f.edge_ms = 4 * DAY - 3600000;
    r->cache = cache_lru_new(16 << 20, NULL, &r->f.clk, NULL, "t");
    limits_defaults(&r->limits);
    r->who = (struct who){.tenant = SV("t"), .limits = &r->limits};
    struct fe_opts o = {.storage = &r->f.base,
                        .cache = r->cache,
                        .clk = &r->f.clk,
                        .metrics = r->metrics = metrics_new(),
                        .promql = r->promql,
                        .timeout_ms = 60000,
                        .max_samples = 50000000,
                        .workers = 3,
                        .default_query_memory = 64 << 20};
    r->fe = fe_new(&o);
}

static void rig_stop(struct rig *r)
{
    fe_free(r->fe);
    r->cache->ops->close(r->cache);
    metrics_free(r->metrics);
    fake_fini(&r->f);
}

struct answer {
    struct arena arena;
    struct value *v;
    struct fe_stats stats;
    enum status st;
    struct err err;
};

static struct fe_query range_query(const char *text, int64_t start, int64_t end, int64_t step)
{
    return (struct fe_query){.text = sv_of(text), .range = true, .start_ms = start, .end_ms = end,
                             .step_ms = step};
}

static void ask_as(struct rig *r, const struct who *who, struct fe_query q, struct answer *a)
{
    struct query_ctx ctx = {.who = who, .clk = &r->f.clk, .canceled = &r->canceled, .arena = &a->arena};

    memset(a, 0, sizeof(*a));
    arena_init(&a->arena, 64 << 20);
    a->st = fe_run(r->fe, &ctx, &q, &a->v, &a->stats, &a->err);
}

static void ask(struct rig *r, struct fe_query q, struct answer *a)
{
    ask_as(r, &r->who, q, a);
}

/* Asks and expects an error with a text. */
static void refused(struct rig *r, struct fe_query q, enum status st, const char *text)
{
    struct answer a;

    ask(r, q, &a);
    if (a.st != st || !strstr(a.err.msg, text))
        fail_msg("%s: got %s \"%s\", wanted %s \"%s\"", q.text.p, status_name(a.st), a.err.msg,
                 status_name(st), text);
    arena_fini(&a.arena);
}

static void limits_are_held_and_named(void **state)
{
    struct rig r = {0};
    struct fe_query q = range_query("m_total", DAY, DAY + 3600000, 60000);

    (void)state;
    rig_start(&r);
    refused(&r, range_query("m_total[5m]", DAY, 2 * DAY, 60000), ST_INVALID, "range vector");
    refused(&r, range_query("sum(", DAY, 2 * DAY, 60000), ST_INVALID, "parse error");
    refused(&r, range_query("m_total", DAY, 2 * DAY, 0), ST_INVALID, "step");
    refused(&r, range_query("m_total", DAY, DAY - 1, 1000), ST_INVALID, "end");
    r.limits.max_query_length = 3599000;
    refused(&r, q, ST_INVALID, "max_query_length: 3599s");
    r.limits.max_query_length = 3600000;
    r.limits.max_fetched_series_per_query = 3;
    refused(&r, q, ST_LIMIT, "max_fetched_series_per_query: 3, tenant t");
    r.limits.max_fetched_series_per_query = 4;
    r.limits.max_query_memory = 1000;
    refused(&r, q, ST_LIMIT, "");
    r.limits.max_query_memory = 0;
    q.timeout_ms = 1;
    r.f.mono_ns += 1;
    r.canceled = true;
    refused(&r, q, ST_CANCELED, "");
    r.canceled = false;
    /* Nothing of all this was stored. */
    {
        struct answer a;

        ask(&r, q, &a);
        assert_int_equal(a.st, ST_OK);
        assert_int_equal(a.stats.hit, 0);
        assert_int_equal(a.v->rows_n, 4);
        arena_fini(&a.arena);
    }
    rig_stop(&r);
}

static void rows_beyond_the_limit_go_after_the_cache(void **state)
{
    struct rig r = {0};
    struct fe_query q = range_query("m_total", DAY, DAY + 3600000, 60000);
    struct answer a;

    (void)state;
    rig_start(&r);
    for (int i = 0; i < 3; i++) {
        q.limit = i == 2 ? 0 : 2;
        ask(&r, q, &a);
        assert_int_equal(a.st, ST_OK);
        assert_int_equal(a.v->rows_n, i == 2 ? 4 : 2);
        assert_int_equal(a.v->warnings_n, i == 2 ? 0 : 1);
        assert_true(i == 0 ? a.stats.miss > 0 : a.stats.hit > 0 && !a.stats.miss);
        arena_fini(&a.arena);
    }
    q.range = false;
    q.limit = 3;
    ask(&r, q, &a);
    assert_int_equal(a.v->kind, VALUE_VECTOR);
    assert_int_equal(a.v->rows_n, 3);
    assert_string_equal(a.v->warnings[0].p, "results truncated due to limit");
    arena_fini(&a.arena);
    rig_stop(&r);
}

static void an_incomplete_answer_is_given_but_not_kept(void **state)
{
    struct rig r = {0};
    struct fe_query q = range_query("m_total", DAY, DAY + 3600000, 60000);

    (void)state;
    rig_start(&r);
    for (int i = 0; i < 8; i++) {
        struct answer a;

        q.range = i < 4;
        r.f.incomplete = i % 4 < 2;
        ask(&r, q, &a);
        assert_int_equal(a.st, ST_OK);
        assert_int_equal(a.v->complete, !r.f.incomplete);
        assert_true(i % 4 == 3 ? a.stats.hit > 0 : a.stats.hit == 0);
        arena_fini(&a.arena);
    }
    rig_stop(&r);
}

static void write_late(struct fake *f)
{
    struct label room[2] = {{SV("__name__"), SV("m_total")}, {SV("a"), SV("0")}};

    fake_write(f, (struct labels){room, 2}, 4 * DAY - 7200000 - 1, -5);
}

static void write_then_settle(struct fake *f)
{
    write_late(f);
    f->edge_ms = 4 * DAY - 3600000;
}

static void what_changes_during_an_evaluation_is_not_kept(void **state)
{
    struct rig r = {0};
    struct fe_query q = range_query("m_total", 4 * DAY - 10800000, 4 * DAY - 7200000, 60000);

    (void)state;
    for (int pass = 0; pass < 4; pass++) {
        struct answer a, b;
        double stored;

        rig_start(&r);
        q.range = pass < 2;
        q.start_ms = q.range ? 4 * DAY - 10800000 : q.end_ms;
        if (pass % 2)
            r.f.edge_ms = 4 * DAY - 10800000; /* it settles while it is evaluated, uncounted */
        r.f.during = pass % 2 ? write_then_settle : write_late;
        stored = metric_get(r.fe->m_stored);
        ask(&r, q, &a);
        assert_int_equal(a.st, ST_OK);
        assert_null(r.f.during);
        assert_true(metric_get(r.fe->m_stored) == stored);
        arena_fini(&a.arena);
        ask(&r, q, &a);
        q.no_cache = true;
        ask(&r, q, &b);
        q.no_cache = false;
        assert_true(value_eq(a.v, b.v));
        assert_true(a.v->rows[0].f[a.v->rows[0].n - 1] == -5);
        arena_fini(&a.arena);
        arena_fini(&b.arena);
        rig_stop(&r);
    }
}

static double last_point(struct rig *r, struct fe_query q)
{
    struct answer a;
    double v;

    ask(r, q, &a);
    assert_int_equal(a.st, ST_OK);
    v = a.v->rows[0].f[a.v->rows[0].n - 1];
    arena_fini(&a.arena);
    return v;
}

static void the_tail_is_shared_for_a_moment_and_no_longer(void **state)
{
    struct rig r = {0};
    struct label room[2] = {{SV("__name__"), SV("m_total")}, {SV("a"), SV("0")}};
    struct labels ls = {room, 2};
    struct fe_query q = range_query("m_total", 4 * DAY - 7200000, 4 * DAY, 15000), now = q;
    double before;

    (void)state;
    rig_start(&r);
    now.no_cache = true;
    before = last_point(&r, q);
    fake_write(&r.f, ls, 4 * DAY, -1);
    assert_true(last_point(&r, q) == before); /* 0 s old */
    assert_true(last_point(&r, now) == -1);   /* no-store: the present */
    r.f.mono_ns += INT64_C(7400000000);
    assert_true(last_point(&r, q) == before);
    r.f.mono_ns += INT64_C(200000000); /* min(step / 2, 10 s) is over */
    assert_true(last_point(&r, q) == -1);
    /* What settles is not taken from a tail that was evaluated before. */
    q.end_ms -= 151000; /* its bucket goes on to 4 * DAY - 1000 and stays open */
    q.start_ms -= 151000;
    before = last_point(&r, q);
    fake_write(&r.f, ls, 4 * DAY - 152000, -3); /* above the edge: nobody counts it */
    assert_true(last_point(&r, q) == before);
    r.f.edge_ms = 4 * DAY - 100000;
    assert_true(last_point(&r, q) == -3);
    rig_stop(&r);
}

static void pieces_mean_what_the_whole_means(void **state)
{
    static const char *const texts[] = {"count_over_time(m_total[range()])", "m_total offset range() / 2",
                                        "m_total @ start()", "sum(m_total @ end())",
                                        "sum_over_time(m_total[step() * 3])"};
    struct rig r = {.promql = {.duration_expr = true}};

    (void)state;
    rig_start(&r);
    for (size_t i = 0; i < 5; i++) {
        struct fe_query q = range_query(texts[i], DAY / 2, 3 * DAY + 5, 600000);
        struct promql_params p = {q.start_ms, q.end_ms, q.step_ms, 300000, 0, r.promql};
        struct arena arena;
        struct query_ctx ctx = {.who = &r.who, .clk = &r.f.clk, .arena = &arena};
        struct expr *e;
        struct value *want;
        struct answer a;
        struct err err = ERR_INIT;

        arena_init(&arena, 64 << 20);
        OK(promql_parse(&arena, q.text, &r.promql, &e, &err));
        OK(promql_durations(e, &p, &err));
        OK(promql_eval(&r.f.base, &ctx, e, &p, &want, NULL, &err));
        for (int pass = 0; pass < 3; pass++) {
            q.no_cache = pass == 2;
            ask(&r, q, &a);
            assert_int_equal(a.st, ST_OK);
            assert_true(want->rows_n > 0 && value_eq(a.v, want));
            assert_true(pass != 1 || a.stats.hit > 20);
            arena_fini(&a.arena);
        }
        expr_free(e);
        arena_fini(&arena);
    }
    rig_stop(&r);
}

struct asker {
    struct rig *rig;
    struct fe_query q;
    struct answer answer;
    pthread_t thread;
};

static void *ask_thread(void *arg)
{
    struct asker *k = arg;

    ask(k->rig, k->q, &k->answer);
    return NULL;
}

static void who_asks_the_same_waits_for_one_evaluation(void **state)
{
    struct rig r = {0};
    struct asker askers[12];

    (void)state;
    rig_start(&r);
    r.f.slow_ms = 100;
    for (int i = 0; i < 12; i++) {
        askers[i] = (struct asker){&r, range_query("m_total", DAY, DAY + 3600000, 60000)};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_thread, &askers[i]), 0);
    }
    for (int i = 0; i < 12; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_int_equal(askers[i].answer.st, ST_OK);
        assert_true(value_eq(askers[i].answer.v, askers[0].answer.v));
    }
    for (int i = 0; i < 12; i++)
        arena_fini(&askers[i].answer.arena);
    /* A thread that came when the first had landed hit the cache. */
    assert_int_equal(r.f.selects, 1);
    rig_stop(&r);
}

static void enforced_matchers_share_nothing(void **state)
{
    struct rig r = {0};
    struct asker k = {&r, range_query("m_total", DAY, DAY + 3600000, 60000)};
    const struct matcher *m = NULL;
    struct who limited;
    struct answer a;

    (void)state;
    rig_start(&r);
    limited = r.who;
    limited.enforced = &m;
    limited.enforced_n = 1; /* the fake does not look at them */
    r.f.slow_ms = 200;
    assert_int_equal(pthread_create(&k.thread, NULL, ask_thread, &k), 0);
    while (!r.f.selects) /* the other's flight is on its way */
        pause_ms(1);
    for (int i = 0; i < 2; i++) { /* beside the flight, and behind it */
        ask_as(&r, &limited, k.q, &a);
        assert_true(a.stats.hit == 0 && a.stats.miss == 0 && a.stats.bypass > 0);
        assert_int_equal(r.f.selects, 2 + i);
        arena_fini(&a.arena);
    }
    pthread_join(k.thread, NULL);
    arena_fini(&k.answer.arena);
    rig_stop(&r);
}

static void many_askers_of_different_things_get_their_own(void **state)
{
    struct rig r = {0};
    struct asker askers[24];

    (void)state;
    rig_start(&r);
    for (int i = 0; i < 24; i++) {
        int64_t start = DAY + i % 4 * 7200000;

        askers[i] = (struct asker){&r, range_query(i % 3 ? "sum(m_total)" : "m_total", start,
                                                   start + DAY, 60000 * (1 + i % 2))};
        askers[i].q.no_cache = i % 5 == 0;
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_thread, &askers[i]), 0);
    }
    for (int i = 0; i < 24; i++)
        pthread_join(askers[i].thread, NULL);
    for (int i = 0; i < 24; i++) {
        struct answer again;
        struct fe_query q = askers[i].q;

        q.no_cache = true;
        ask(&r, q, &again);
        assert_int_equal(askers[i].answer.st, ST_OK);
        assert_true(value_eq(askers[i].answer.v, again.v));
        arena_fini(&again.arena);
        arena_fini(&askers[i].answer.arena);
    }
    rig_stop(&r);
}

static void too_many_waiting_is_429(void **state)
{
    struct rig r = {0};
    struct asker askers[10];
    int refusals = 0;

    (void)state;
    rig_start(&r);
    r.limits.max_outstanding_requests_per_tenant = 2;
    r.f.slow_ms = 900; /* long enough for all ten to have asked */
    for (int i = 0; i < 10; i++) {
        int64_t start = DAY + i * 3600000;

        askers[i] = (struct asker){&r, range_query("m_total", start, start, 60000)};
        askers[i].q.no_cache = true;
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_thread, &askers[i]), 0);
    }
    for (int i = 0; i < 10; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_true(askers[i].answer.st == ST_OK || askers[i].answer.st == ST_RATE);
        refusals += askers[i].answer.st == ST_RATE;
        arena_fini(&askers[i].answer.arena);
    }
    assert_in_range(refusals, 1, 8); /* three run, two wait */
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_gives_back_every_bit),
        cmocka_unit_test(a_damaged_item_is_refused),
        cmocka_unit_test(what_an_item_cannot_hold_is_not_written),
        cmocka_unit_test(infos_belong_to_one_spelling),
        cmocka_unit_test(rows_are_joined_in_time_and_sorted_by_labels),
        cmocka_unit_test(the_grid_holds_before_1970_too),
        cmocka_unit_test(pieces_end_with_the_day),
        cmocka_unit_test(tenants_take_turns),
        cmocka_unit_test(a_long_line_is_refused_by_name),
        cmocka_unit_test(a_flight_shares_its_outcome),
        cmocka_unit_test(an_old_flight_is_not_joined),
        cmocka_unit_test(limits_are_held_and_named),
        cmocka_unit_test(rows_beyond_the_limit_go_after_the_cache),
        cmocka_unit_test(an_incomplete_answer_is_given_but_not_kept),
        cmocka_unit_test(enforced_matchers_share_nothing),
        cmocka_unit_test(what_changes_during_an_evaluation_is_not_kept),
        cmocka_unit_test(the_tail_is_shared_for_a_moment_and_no_longer),
        cmocka_unit_test(pieces_mean_what_the_whole_means),
        cmocka_unit_test(who_asks_the_same_waits_for_one_evaluation),
        cmocka_unit_test(many_askers_of_different_things_get_their_own),
        cmocka_unit_test(too_many_waiting_is_429),
    };

    return RUN(tests);
}
