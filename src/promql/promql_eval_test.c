/* Evaluation over a small storage: what scripts can't ask. Limits, cancelling, accounting, how often
 * a sample is read, incomplete answers, default options, bits. The language's meaning is in
 * tests/promql and in upstream's scripts. */
#include "unit.h"

#include "promql/promql.h"

#include "base/heap.h"

#include <math.h>

#define SERIES_MAX 64

struct fake {
    struct storage storage;
    struct label labels[SERIES_MAX][3];
    size_t n, points;
    double (*value)(size_t series, size_t point);
    bool incomplete;
    const struct hist *hist; /* every sample, when set */
    unsigned selects, reads, closes;
    struct trange asked;
};

struct fake_set {
    struct series_set set;
    struct fake *f;
    size_t at;
    struct trange range;
};

static double count_up(size_t series, size_t point)
{
    return (double)(series + 1) * (double)point;
}

static enum status fake_next(struct series_set *set, bool *ret_more, struct err *err)
{
    struct fake_set *s = (struct fake_set *)set;

    *ret_more = s->at < s->f->n;
    if (*ret_more)
        set->labels = (struct labels){s->f->labels[s->at++], 3};
    else
        set->outcome.complete = !s->f->incomplete;
    return ST_OK;
}

static enum status fake_read(struct series_set *set, struct samples *out, struct err *err)
{
    struct fake_set *s = (struct fake_set *)set;

    s->f->reads++;
    samples_clear(out);
    for (size_t i = 0; i < s->f->points; i++) {
        int64_t t = (int64_t)i * 60000;

        if (!trange_has(s->range, t))
            continue;
        if (s->f->hist)
            samples_push_hist(out, t, s->f->hist);
        else
            samples_push(out, t, s->f->value(s->at - 1, i));
    }
    return ST_OK;
}

static void fake_close(struct series_set *set)
{
    ((struct fake_set *)set)->f->closes++;
    heap_free(set);
}

static enum status fake_select(const struct storage *storage, const struct query_ctx *ctx,
                               const struct select_req *req, struct series_set **ret,
                               struct err *err)
{
    static const struct series_set_ops ops = {fake_next, fake_read, fake_close};
    struct fake *f = (struct fake *)(uintptr_t)storage;
    struct fake_set *s = heap_new(struct fake_set);

    s->set.ops = &ops;
    s->f = f;
    s->range = req->range;
    f->asked = req->range;
    f->selects++;
    *ret = &s->set;
    return ST_OK;
}

static struct fake make(size_t series, size_t points)
{
    static const struct storage_ops ops = {.select = fake_select};
    static const char *const ids[] = {"00", "01", "02", "03", "04", "05", "06", "07"};
    struct fake f = {.storage = {&ops}, .n = series, .points = points, .value = count_up};

    assert_true(series <= 8);
    for (size_t i = 0; i < series; i++) {
        f.labels[i][0] = (struct label){SV("__name__"), SV("m_total")};
        f.labels[i][1] = (struct label){SV("i"), sv_of(ids[i])};
        f.labels[i][2] = (struct label){SV("par"), i % 2 ? SV("odd") : SV("even")};
    }
    return f;
}

struct run {
    struct arena arena;
    struct account mem;
    struct query_ctx ctx;
    struct promql_params params;
    struct promql_stats stats;
    struct expr *e;
    struct value *v;
    struct err err;
    enum status st;
};

static void begin(struct run *r)
{
    *r = (struct run){0};
    arena_init(&r->arena, 64 << 20);
    account_init(&r->mem, NULL, BUDGET_QUERY, 0);
    r->ctx = (struct query_ctx){.arena = &r->arena, .mem = &r->mem};
    r->params = (struct promql_params){.end_ms = 600000, .step_ms = 60000, .lookback_ms = 300000};
}

static void eval(struct run *r, struct fake *f, const char *text)
{
    struct err err = ERR_INIT;

    OK(promql_parse(&r->arena, sv_of(text), &r->params.opts, &r->e, &err));
    r->st = promql_eval(&f->storage, &r->ctx, r->e, &r->params, &r->v, &r->stats, &r->err);
    assert_int_equal(f->selects, f->closes);
    assert_int_equal(r->mem.used, 0); /* working memory is given back, whatever happened */
}

static void end(struct run *r)
{
    expr_free(r->e);
    account_fini(&r->mem);
    arena_fini(&r->arena);
}

static void a_sample_is_read_once_for_all_steps(void **state)
{
    struct fake f = make(4, 11);
    struct run r;

    begin(&r);
    eval(&r, &f, "sum by (par) (rate(m_total[5m]))");
    assert_int_equal(r.st, ST_OK);
    assert_int_equal(f.selects, 1);
    assert_int_equal(f.reads, 4);
    assert_int_equal(r.v->rows_n, 2);
    assert_int_equal(r.stats.series, 4);
    assert_int_equal(r.stats.samples, 44);
    /* Open on the left: a window of the first step begins after -5m. */
    assert_int_equal(f.asked.from_ms, -300000 + 1);
    assert_int_equal(f.asked.to_ms, 600000 + 1);
    end(&r);
}

static void an_aggregation_holds_its_groups_not_the_series(void **state)
{
    struct fake few = make(2, 11), many = make(8, 11);
    struct run a, b;

    begin(&a);
    eval(&a, &few, "sum(m_total)");
    begin(&b);
    eval(&b, &many, "sum(m_total)");
    assert_int_equal(a.stats.peak_samples, b.stats.peak_samples);
    assert_true(a.mem.peak == b.mem.peak);
    end(&a);
    end(&b);
}

static void an_at_modifier_is_evaluated_once(void **state)
{
    struct fake f = make(2, 11);
    struct run r;

    begin(&r);
    eval(&r, &f, "sum(m_total @ 120)");
    assert_int_equal(f.reads, 2);
    assert_int_equal(f.asked.to_ms, 120000 + 1);
    assert_int_equal(r.v->rows_n, 1);
    assert_int_equal(r.v->rows[0].n, 11);
    assert_true(r.v->rows[0].f[10] == 6);
    end(&r);
}

static void too_many_samples_have_prometheus_text(void **state)
{
    struct fake f = make(8, 11);
    struct run r;

    begin(&r);
    r.params.max_samples = 50;
    eval(&r, &f, "m_total");
    assert_int_equal(r.st, ST_LIMIT);
    assert_string_equal(r.err.msg, "query processing would load too many samples into memory in "
                                   "query execution");
    end(&r);
    begin(&r);
    r.params.max_samples = 50;
    eval(&r, &f, "sum(m_total)");
    assert_int_equal(r.st, ST_OK);
    end(&r);
}

static void memory_is_charged_and_its_ceiling_kept(void **state)
{
    struct fake f = make(8, 11);
    struct run r;

    begin(&r);
    r.mem.max = 2048;
    eval(&r, &f, "sort(m_total)");
    assert_int_equal(r.st, ST_LIMIT);
    end(&r);
}

static void a_canceled_query_stops(void **state)
{
    struct fake f = make(8, 11);
    _Atomic bool canceled = true;
    struct run r;

    begin(&r);
    r.ctx.canceled = &canceled;
    eval(&r, &f, "sum(m_total)");
    assert_int_equal(r.st, ST_CANCELED);
    end(&r);
}

static void an_incomplete_leaf_makes_an_incomplete_value(void **state)
{
    struct fake f = make(2, 11);
    struct run r;

    begin(&r);
    eval(&r, &f, "sum(m_total) + sum(m_total)");
    assert_true(r.v->complete);
    end(&r);
    f.incomplete = true;
    begin(&r);
    eval(&r, &f, "sum(m_total) + sum(m_total)");
    assert_int_equal(r.st, ST_OK);
    assert_false(r.v->complete);
    end(&r);
}

static void annotations_tell_line_and_column(void **state)
{
    struct fake f = make(2, 11);
    struct run r;

    f.labels[0][0].value = f.labels[1][0].value = SV("gauge");
    begin(&r);
    r.params.text = SV("sum(\n  rate(gauge[5m]))");
    eval(&r, &f, "sum(\n  rate(gauge[5m]))");
    assert_int_equal(r.v->infos_n, 1);
    assert_true(sv_is(r.v->infos[0],
                      "PromQL info: metric might not be a counter, name does not end in "
                      "_total/_sum/_count/_bucket: \"gauge\" (2:8)"));
    end(&r);
}

static void names_go_at_once_or_late(void **state)
{
    struct fake f = make(2, 11);
    struct run r;

    begin(&r);
    eval(&r, &f, "sum by (__name__) (-m_total)");
    assert_int_equal(r.v->rows[0].labels.n, 0);
    end(&r);
    begin(&r);
    r.params.opts.delayed_name_removal = true;
    eval(&r, &f, "sum by (__name__) (-m_total)");
    assert_int_equal(r.v->rows[0].labels.n, 0); /* of the group the name goes, too, at the end */
    end(&r);
    begin(&r);
    r.params.opts.delayed_name_removal = true;
    eval(&r, &f, "label_replace(-m_total, \"was\", \"$1\", \"__name__\", \"(.*)\")");
    assert_true(sv_is(labels_get(r.v->rows[0].labels, SV("was")), "m_total"));
    assert_int_equal(labels_get(r.v->rows[0].labels, SV("__name__")).n, 0);
    end(&r);
}

static void kinds_follow_the_expression_and_the_step(void **state)
{
    static const struct {
        const char *text;
        enum value_kind instant;
    } cases[] = {{"1", VALUE_SCALAR},           {"m_total", VALUE_VECTOR},
                 {"m_total[5m]", VALUE_MATRIX}, {"\"x\"", VALUE_STRING},
                 {"m_total[5m:1m]", VALUE_MATRIX}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct fake f = make(2, 11);
        struct run r;

        begin(&r);
        r.params.step_ms = 0;
        r.params.start_ms = 300000;
        eval(&r, &f, cases[i].text);
        assert_int_equal(r.st, ST_OK);
        assert_int_equal(r.v->kind, cases[i].instant);
        end(&r);
        begin(&r);
        eval(&r, &f, cases[i].text);
        if (i < 2)
            assert_int_equal(r.v->kind, VALUE_MATRIX);
        else
            assert_int_equal(r.st, ST_INVALID);
        end(&r);
    }
}

static void the_same_data_give_the_same_bits(void **state)
{
    struct fake f = make(8, 11);
    struct run a, b;

    begin(&a);
    eval(&a, &f, "avg by (par) (stddev_over_time(m_total[3m]) / 3)");
    begin(&b);
    eval(&b, &f, "avg by (par) (stddev_over_time(m_total[3m]) / 3)");
    assert_true(value_eq(a.v, b.v));
    end(&a);
    end(&b);
}

static double odd_values(size_t series, size_t point)
{
    static const uint64_t bits[] = {UINT64_C(0x7ff8000000000001), UINT64_C(0x7ff8000000abcdef),
                                    UINT64_C(0x8000000000000000), UINT64_C(0xfff8000000000001)};

    return f64_of_bits(bits[point % 4]);
}

static void nan_payloads_and_negative_zero_pass(void **state)
{
    struct fake f = make(1, 4);
    struct run r;

    f.value = odd_values;
    begin(&r);
    r.params.end_ms = 180000;
    eval(&r, &f, "m_total");
    for (size_t i = 0; i < 4; i++)
        assert_true(f64_bits(r.v->rows[0].f[i]) == f64_bits(odd_values(0, i)));
    end(&r);
}

static void native_histograms_are_passed_or_refused_never_misread(void **state)
{
    static const char *const refused[] = {"rate(m_total[5m])", "sum(m_total)", "m_total * 2",
                                          "avg_over_time(m_total[5m])",
                                          "histogram_quantile(0.5, m_total)"};
    static const char *const empty[] = {"abs(m_total)", "m_total + 1", "max(m_total)",
                                        "sort(m_total)", "max_over_time(m_total[5m])"};
    struct hist h = {.sum = 12, .count = 4, .schema = 1};
    struct fake f = make(2, 11);
    struct run r;

    f.hist = &h;
    begin(&r);
    eval(&r, &f, "m_total");
    assert_int_equal(r.v->rows_n, 2);
    assert_non_null(r.v->rows[0].h[3]);
    assert_true(r.v->rows[0].h[3] != &h); /* a copy of the value's own */
    end(&r);
    begin(&r);
    eval(&r, &f, "histogram_avg(m_total)");
    assert_true(r.v->rows[0].f[0] == 3);
    end(&r);
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        begin(&r);
        eval(&r, &f, refused[i]);
        assert_int_equal(r.st, ST_EXEC);
        end(&r);
    }
    for (size_t i = 0; i < sizeof(empty) / sizeof(*empty); i++) {
        begin(&r);
        eval(&r, &f, empty[i]);
        assert_int_equal(r.st, ST_OK);
        assert_int_equal(r.v->rows_n, 0);
        end(&r);
    }
}

static void calls_of_the_request_s_times_survive_splitting(void **state)
{
    struct fake f = make(1, 11);
    struct err err = ERR_INIT;
    struct run r;

    begin(&r);
    r.params.opts.experimental_functions = true;
    OK(promql_parse(&r.arena, SV("start() + 10 * end() + 100 * range() + 1000 * step()"),
                    &r.params.opts, &r.e, &err));
    OK(promql_durations(r.e, &r.params, &err));
    r.params.start_ms = 120000;
    r.params.end_ms = 120000; /* a piece of one step */
    r.st = promql_eval(&f.storage, &r.ctx, r.e, &r.params, &r.v, NULL, &r.err);
    assert_int_equal(r.st, ST_OK);
    assert_true(r.v->rows[0].f[0] == 0 + 6000 + 60000 + 60000);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sample_is_read_once_for_all_steps),
        cmocka_unit_test(an_aggregation_holds_its_groups_not_the_series),
        cmocka_unit_test(an_at_modifier_is_evaluated_once),
        cmocka_unit_test(too_many_samples_have_prometheus_text),
        cmocka_unit_test(memory_is_charged_and_its_ceiling_kept),
        cmocka_unit_test(a_canceled_query_stops),
        cmocka_unit_test(an_incomplete_leaf_makes_an_incomplete_value),
        cmocka_unit_test(annotations_tell_line_and_column),
        cmocka_unit_test(names_go_at_once_or_late),
        cmocka_unit_test(kinds_follow_the_expression_and_the_step),
        cmocka_unit_test(the_same_data_give_the_same_bits),
        cmocka_unit_test(nan_payloads_and_negative_zero_pass),
        cmocka_unit_test(native_histograms_are_passed_or_refused_never_misread),
        cmocka_unit_test(calls_of_the_request_s_times_survive_splitting),
    };

    return RUN(tests);
}
