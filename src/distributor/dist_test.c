/* Rate before storing, rules out of limits, counting and wording of refusals; a fake ingester. */
#include "unit.h"

#include "base/heap.h"
#include "distributor/dist.h"

#include <stdio.h>

static struct fake {
    unsigned appends;
    struct append_rules rules;
    struct append_result result;
    enum status st;
    char tenant[64];
} fake;

enum status ingester_append(struct ingester *i, struct sv tenant, const struct batch *batch,
                            const struct append_rules *rules, struct append_result *ret,
                            struct err *err)
{
    fake.appends++;
    fake.rules = *rules;
    snprintf(fake.tenant, sizeof(fake.tenant), SV_FMT, SV_ARG(tenant));
    if (fake.st != ST_OK)
        return err_set(err, fake.st, "no");
    *ret = fake.result;
    return ST_OK;
}

void ingester_durable(struct ingester *i, uint64_t log_pos, wal_done fn, void *arg)
{
    fn(arg, log_pos == 77 ? ST_OK : ST_IO, NULL);
}

uint64_t ingester_alias_key(const struct ingester *i)
{
    return 4711;
}

static int64_t fake_wall(const struct clk *c)
{
    return 1700000000000;
}

static int64_t fake_mono(const struct clk *c)
{
    return 1000;
}

static const struct clk clock_ = {fake_wall, fake_mono};

struct house {
    struct tenants *tenants;
    struct metrics *metrics;
    struct budget budget;
    struct dist *dist;
    struct arena arena;
    struct batch batch;
    struct who who;
};

static void build(struct house *h, const char *overrides)
{
    struct tenants_opts to = {.mode = AUTH_HEADER, .clk = &clock_};
    struct err err = ERR_INIT;

    memset(h, 0, sizeof(*h));
    memset(&fake, 0, sizeof(fake));
    limits_defaults(&to.defaults);
    h->tenants = tenants_new(&to);
    OK(tenants_load_overrides(h->tenants, sv_of(overrides), NULL, &err));
    h->metrics = metrics_new();
    budget_init(&h->budget, 1000);
    h->dist = dist_new(&(struct dist_opts){.tenants = h->tenants,
                                           .clk = &clock_,
                                           .budget = &h->budget,
                                           .metrics = h->metrics});
    arena_init(&h->arena, 1 << 20);
    batch_init(&h->batch, &h->arena, dist_alias_key(h->dist));
    OK(tenant_who(h->tenants, SV("team"), SV("r"), &h->arena, &h->who, &err));
}

static void pull_down(struct house *h)
{
    tenant_done(&h->who);
    dist_free(h->dist);
    metrics_free(h->metrics);
    tenants_free(h->tenants);
    arena_fini(&h->arena);
}

static void counted(struct house *h, const char *line)
{
    struct buf page;

    buf_init(&page, 1 << 20);
    metrics_render(h->metrics, &page);
    buf_ch(&page, 0);
    if (!strstr(page.p, line))
        fail_msg("no line \"%s\" in:\n%s", line, page.p);
    buf_fini(&page);
}

static void rules_are_the_tenants_limits(void **state)
{
    struct append_result r;
    struct err err = ERR_INIT;
    struct house h;

    (void)state;
    build(&h, "overrides: {team: {max_label_names_per_series: 3, max_label_name_length: 4,\n"
              "  max_label_value_length: 5, max_labels_size_bytes: 99999999999,\n"
              "  out_of_order_time_window: 1m, max_age_behind: 2m, creation_grace_period: 3m,\n"
              "  max_global_series_per_user: 6}}");
    OK(dist_push(h.dist, &h.who, &h.batch, &r, &err));
    assert_string_equal(fake.tenant, "team");
    assert_int_equal(fake.rules.labels.max_names, 3);
    assert_int_equal(fake.rules.labels.max_name_bytes, 4);
    assert_int_equal(fake.rules.labels.max_value_bytes, 5);
    assert_int_equal(fake.rules.labels.max_total_bytes, UINT32_MAX);
    assert_int_equal(fake.rules.ooo_window_ms, 60000);
    assert_int_equal(fake.rules.max_age_behind_ms, 120000);
    assert_int_equal(fake.rules.now_ms, 1700000000000);
    assert_int_equal(fake.rules.max_ahead_ms, 180000);
    assert_int_equal(fake.rules.max_series, 6);
    assert_false(fake.rules.refuse_new_series);
    pull_down(&h);
    build(&h, "overrides: {team: {creation_grace_period: 0s}}");
    OK(dist_push(h.dist, &h.who, &h.batch, &r, &err));
    assert_true(fake.rules.now_ms + fake.rules.max_ahead_ms > INT64_MAX / 8);
    pull_down(&h);
}

static void short_memory_refuses_new_series(void **state)
{
    struct append_result r;
    struct err err = ERR_INIT;
    struct house h;

    (void)state;
    build(&h, "");
    budget_force(&h.budget, BUDGET_HEAD, 899);
    OK(dist_push(h.dist, &h.who, &h.batch, &r, &err));
    assert_false(fake.rules.refuse_new_series);
    budget_force(&h.budget, BUDGET_HEAD, 1);
    OK(dist_push(h.dist, &h.who, &h.batch, &r, &err));
    assert_true(fake.rules.refuse_new_series);
    pull_down(&h);
}

static void over_the_rate_nothing_reaches_the_ingester(void **state)
{
    struct append_result r;
    struct err err = ERR_INIT;
    struct house h;

    (void)state;
    build(&h, "overrides: {team: {ingestion_rate: 1, ingestion_burst_size: 4}}");
    for (int i = 0; i < 3; i++)
        batch_add_sample(&h.batch);
    batch_add_hist(&h.batch);
    OK(dist_push(h.dist, &h.who, &h.batch, &r, &err));
    batch_add_exemplar(&h.batch);
    batch_add_metadata(&h.batch);
    assert_int_equal(dist_push(h.dist, &h.who, &h.batch, &r, &err), ST_RATE);
    assert_non_null(strstr(
        err.msg, "ingestion rate limit (1) exceeded while adding 5 samples and 1 metadata"));
    assert_int_equal(fake.appends, 1);
    counted(&h, "engram_distributor_received_samples_total 8\n");
    counted(&h, "engram_distributor_received_exemplars_total 1\n");
    counted(&h, "engram_distributor_received_metadata_total 1\n");
    counted(&h, "engram_distributor_discarded_samples_total{reason=\"rate_limited\"} 4\n");
    counted(&h, "engram_distributor_requests_total{outcome=\"rate_limited\"} 1\n");
    counted(&h, "engram_distributor_requests_total{outcome=\"stored\"} 1\n");
    pull_down(&h);
}

static void refusals_are_counted_by_reason_and_worded(void **state)
{
    struct append_result r;
    struct err err = ERR_INIT;
    struct house h;
    struct buf text;

    (void)state;
    build(&h, "");
    buf_init(&text, 4096);
    fake.result.samples[VERDICT_STORED] = 90;
    fake.result.samples[VERDICT_DUPLICATE] = 5;
    OK(dist_push(h.dist, &h.who, &h.batch, &r, &err));
    dist_refusal_text(&r, SV("team"), &text);
    assert_int_equal(text.n, 0);
    fake.result.samples[VERDICT_OUT_OF_ORDER] = 3;
    fake.result.hists[VERDICT_BAD_HIST] = 2;
    fake.result.series_refused = 1;
    fake.result.first = VERDICT_OUT_OF_ORDER;
    snprintf(fake.result.why, sizeof(fake.result.why),
             "out of order sample. timestamp=2026-01-01T00:00:00Z, series=up{a=\"\n\"}");
    OK(dist_push(h.dist, &h.who, &h.batch, &r, &err));
    dist_refusal_text(&r, SV("team"), &text);
    buf_ch(&text, 0);
    assert_string_equal(text.p,
                        "user=team: err: out of order sample. timestamp=2026-01-01T00:00:00Z, "
                        "series=up{a=\" \"} (5 of 100 samples refused, 1 series: 3 "
                        "sample_out_of_order, 2 histogram_invalid; the others are stored)");
    counted(&h, "engram_distributor_discarded_samples_total{reason=\"sample_out_of_order\"} 3\n");
    counted(&h, "engram_distributor_discarded_samples_total{reason=\"histogram_invalid\"} 2\n");
    counted(&h, "engram_distributor_duplicate_samples_total 10\n");
    counted(&h, "engram_distributor_requests_total{outcome=\"partly_refused\"} 1\n");
    buf_fini(&text);
    pull_down(&h);
}

static void done(void *arg, enum status st, const struct err *err)
{
    *(enum status *)arg = st;
}

static void failures_and_durability_pass_through(void **state)
{
    enum status st = ST_BUG;
    struct append_result r;
    struct err err = ERR_INIT;
    struct house h;

    (void)state;
    build(&h, "");
    fake.st = ST_FULL;
    assert_int_equal(dist_push(h.dist, &h.who, &h.batch, &r, &err), ST_FULL);
    counted(&h, "engram_distributor_requests_total{outcome=\"failed\"} 1\n");
    dist_durable(h.dist, 77, done, &st);
    assert_int_equal(st, ST_OK);
    assert_int_equal(dist_alias_key(h.dist), 4711);
    pull_down(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_the_tenants_limits),
        cmocka_unit_test(short_memory_refuses_new_series),
        cmocka_unit_test(over_the_rate_nothing_reaches_the_ingester),
        cmocka_unit_test(refusals_are_counted_by_reason_and_worded),
        cmocka_unit_test(failures_and_durability_pass_through),
    };

    return RUN(tests);
}
