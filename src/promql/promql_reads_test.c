/* Time ranges a query reads, @ start() and end() bound, duration expressions evaluated. */
#include "unit.h"

#include "promql/promql.h"

#include <stdio.h>

#define ARENA_MAX ((size_t)16 << 20)
#define LOOKBACK  300000

static const struct promql_opts all_features = {true, true, true, true, true, true};
static const struct promql_params params = {
    .start_ms = 10000000, .end_ms = 20000000, .step_ms = 60000, .lookback_ms = LOOKBACK};

struct fixture {
    struct arena arena;
    struct expr *e;
    struct err err;
};

static void set_up(struct fixture *f, const char *text)
{
    f->err = (struct err)ERR_INIT;
    arena_init(&f->arena, ARENA_MAX);
    if (promql_parse(&f->arena, sv_of(text), &all_features, &f->e, &f->err) != ST_OK)
        fail_msg("%s: %s", text, f->err.msg);
}

static void tear_down(struct fixture *f)
{
    expr_free(f->e);
    arena_fini(&f->arena);
}

/* want: "from..last from..last", both ends included. */
static void reads(const char *text, const struct promql_params *p, const char *want)
{
    struct fixture f;
    struct promql_reads r;
    struct buf b;

    set_up(&f, text);
    buf_init(&b, 4096);
    promql_reads(f.e, p, &f.arena, &r);
    for (size_t i = 0; i < r.n; i++)
        buf_printf(&b, "%s%lld..%lld", i ? " " : "", (long long)r.p[i].from_ms,
                   (long long)r.p[i].to_ms - 1);
    buf_ch(&b, 0);
    if (strcmp(b.p, want))
        fail_msg("%s reads %s, not %s", text, b.p, want);
    buf_fini(&b);
    tear_down(&f);
}

static void a_selector_reads_its_lookback(void **state)
{
    struct promql_params instant = {.start_ms = 10000000, .lookback_ms = LOOKBACK};

    (void)state;
    reads("a", &params, "9700000..20000000");
    reads("a", &instant, "9700000..10000000");
    reads("1 + time()", &params, "");
    reads("a offset 1h", &params, "6100000..16400000");
    reads("a offset -1h", &params, "13300000..23600000");
}

static void a_range_reads_its_range_without_the_lookback(void **state)
{
    (void)state;
    reads("rate(a[10m])", &params, "9400000..20000000");
    reads("rate(a[10m] anchored)", &params, "9100000..20000000");
    reads("rate(a[10m] smoothed)", &params, "9100000..20300000");
    reads("rate(a[10m] offset 10m)", &params, "8800000..19400000");
    reads("rate(a[5m * 2])", &params, "9400000..20000000");
    reads("rate(a[step() * 10])", &params, "9400000..20000000");
    reads("a offset range()", &params, "-300000..10000000");
}

static void subqueries_add_up(void **state)
{
    (void)state;
    reads("max_over_time(a[10m:1m])", &params, "9100000..20000000");
    reads("max_over_time(rate(a[10m])[10m:1m] offset 10m)", &params, "8200000..19400000");
    reads("max_over_time(max_over_time(a[10m:])[10m:])", &params, "8500000..20000000");
    reads("max_over_time((a offset 1h)[10m:] @ 50000)", &params, "45500000..46400000");
    reads("max_over_time((a @ 1000)[10m:])", &params, "700000..1000000");
}

static void at_pins_the_time(void **state)
{
    struct promql_params instant = {.start_ms = 10000000, .lookback_ms = LOOKBACK};

    (void)state;
    reads("a @ 1000", &params, "700000..1000000");
    reads("a @ start()", &params, "9700000..10000000");
    reads("a @ end() offset 5m", &params, "19400000..19700000");
    reads("a @ end()", &instant, "9700000..10000000");
    reads("rate(a[10m] @ 1000)", &params, "400000..1000000");
}

static void ranges_are_merged_and_ascend(void **state)
{
    (void)state;
    reads("a + b offset 1d + c offset 1h", &params,
          "-76700000..-66400000 6100000..20000000");
    reads("a @ 3000 + b @ 1000 + c @ 3100", &params, "700000..1000000 2700000..3100000");
    reads("topk(scalar(p @ 1000), a)", &params, "700000..1000000 9700000..20000000");
    reads("info(a @ 1000)", &params, "700000..1000000 9700000..20000000");
}

static void the_ends_of_time_do_not_overflow(void **state)
{
    struct fixture f;
    struct promql_reads r;

    (void)state;
    set_up(&f, "a @ 9223372036854775 offset -290y + b @ -9223372036854775 offset 290y");
    promql_reads(f.e, &params, &f.arena, &r);
    assert_int_equal(r.n, 2);
    assert_true(r.p[0].from_ms == INT64_MIN && r.p[1].to_ms == INT64_MAX);
    tear_down(&f);
}

static void without_memory_everything_is_read(void **state)
{
    struct fixture f;
    struct promql_reads r;
    struct arena none;

    (void)state;
    set_up(&f, "a");
    arena_init(&none, 0);
    promql_reads(f.e, &params, &none, &r);
    assert_int_equal(r.n, 1);
    assert_true(r.p[0].from_ms == INT64_MIN && r.p[0].to_ms == INT64_MAX);
    arena_fini(&none);
    tear_down(&f);
}

static void binding_makes_start_and_end_constant(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    set_up(&f, "a @ start() + max_over_time(rate(b[5m] @ end())[1h:] @ end()) + c @ 5");
    promql_bind(f.e, 1500, 2000);
    buf_init(&b, 4096);
    promql_print(&b, f.e);
    buf_ch(&b, 0);
    assert_string_equal(b.p, "a @ 1.500 + max_over_time(rate(b[5m] @ 2.000)[1h:] @ 2.000) + c @ "
                             "5.000");
    buf_fini(&b);
    tear_down(&f);
}

static void duration_expressions_get_their_values(void **state)
{
    static const struct {
        const char *text;
        int64_t range_ms;
    } cases[] = {
        {"a[5m + 1m]", 360000},          {"a[5m - 1m * 2]", 180000},   {"a[2 ^ 3 ^ 2]", 512000},
        {"a[(5m + 1m) * 2]", 720000},    {"a[-(-5m)]", 300000},        {"a[step()]", 60000},
        {"a[range()]", 10000000},        {"a[10m % 7m]", 180000},      {"a[1m / 8]", 7500},
        {"a[max_of(step(), 5m)]", 300000}, {"a[min_of(step(), 5m)]", 60000},
        {"a[-step() + 5m]", 240000},     {"a[2 * -step() + 5m]", 180000},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_up(&f, cases[i].text);
        if (promql_durations(f.e, &params, &f.err) != ST_OK)
            fail_msg("%s: %s", cases[i].text, f.err.msg);
        if (f.e->matrix.range_ms != cases[i].range_ms)
            fail_msg("%s is %lld ms", cases[i].text, (long long)f.e->matrix.range_ms);
        tear_down(&f);
    }
}

static void what_asks_for_the_request_becomes_constant(void **state)
{
    struct promql_params instant = {.start_ms = -1500}, one_step = {.start_ms = 1000,
                                                                   .end_ms = 1000,
                                                                   .step_ms = 5000};
    const struct {
        const char *text, *want;
        const struct promql_params *params;
    } cases[] = {
        {"start() + end() * range() - step()", "10000 + 20000 * 10000 - 60", &params},
        {"start() ^ 2 + end() + range() + step()", "(-1.5) ^ 2 + -1.5 + 0 + 0", &instant},
        {"vector(step()) + range()", "vector(0) + 0", &one_step},
        {"rate(a[range()] offset -step())", "rate(a[2h46m40s] offset -1m)", &params},
        {"max_over_time(a[step() * 2:step()] offset range())",
         "max_over_time(a[2m:1m] offset 2h46m40s)", &params},
        {"max_over_time(a[step() * 2:step()])", "max_over_time(a[10s:5s])", &one_step},
    };
    struct fixture f;
    struct buf b;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_up(&f, cases[i].text);
        assert_int_equal(promql_durations(f.e, cases[i].params, &f.err), ST_OK);
        buf_init(&b, 4096);
        promql_print(&b, f.e);
        buf_ch(&b, 0);
        assert_string_equal(b.p, cases[i].want);
        buf_fini(&b);
        tear_down(&f);
    }
}

static void durations_that_mean_nothing_are_refused(void **state)
{
    static const char *const cases[][2] = {
        {"a[5m - 5m]", "2:9: duration must be greater than 0"},
        {"a[5m / (1m - 1m)]", "2:15: division by zero"},
        {"a[5m % (1m - 1m)]", "2:15: modulo by zero"},
        {"a[(1m - 2m) ^ 0.5]", "3:17: duration is NaN or infinite"},
        {"a[1y * 1y]", "2:9: duration is out of range"},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_up(&f, cases[i][0]);
        assert_int_equal(promql_durations(f.e, &params, &f.err), ST_EXEC);
        assert_string_equal(f.err.msg, cases[i][1]);
        tear_down(&f);
    }
    set_up(&f, "a offset (5m - 10m)");
    assert_int_equal(promql_durations(f.e, &params, &f.err), ST_OK);
    assert_int_equal(f.e->vector.time.offset_ms, -300000);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_selector_reads_its_lookback),
        cmocka_unit_test(a_range_reads_its_range_without_the_lookback),
        cmocka_unit_test(subqueries_add_up),
        cmocka_unit_test(at_pins_the_time),
        cmocka_unit_test(ranges_are_merged_and_ascend),
        cmocka_unit_test(the_ends_of_time_do_not_overflow),
        cmocka_unit_test(without_memory_everything_is_read),
        cmocka_unit_test(binding_makes_start_and_end_constant),
        cmocka_unit_test(duration_expressions_get_their_values),
        cmocka_unit_test(what_asks_for_the_request_becomes_constant),
        cmocka_unit_test(durations_that_mean_nothing_are_refused),
    };

    return RUN(tests);
}
