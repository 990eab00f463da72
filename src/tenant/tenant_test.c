/* Ids, limits by settings and overrides, the token bucket, and reloads under use. */
#include "unit.h"

#include "base/buf.h"
#include "base/heap.h"
#include "tenant/tenant.h"

#include <pthread.h>
#include <stdio.h>

struct fake_clk {
    struct clk clk;
    int64_t ns;
};

static int64_t fake_wall(const struct clk *c)
{
    return ((const struct fake_clk *)c)->ns / 1000000;
}

static int64_t fake_mono(const struct clk *c)
{
    return ((const struct fake_clk *)c)->ns;
}

static struct fake_clk now = {{fake_wall, fake_mono}, 1000};

static struct tenants *made(enum auth_mode mode, const char *limits)
{
    struct tenants_opts o = {.mode = mode, .clk = &now.clk};
    struct sv rest = sv_of(limits);
    struct err err = ERR_INIT;

    limits_defaults(&o.defaults);
    while (rest.n) {
        struct sv one = sv_cut(rest, ',', &rest), value, key = sv_cut(one, '=', &value);

        OK(limits_set(&o.defaults, key, value, &err));
        o.rate_given |= sv_is(key, "ingestion_rate");
        o.series_given |= sv_is(key, "max_global_series_per_user");
    }
    return tenants_new(&o);
}

static void every_limit_is_known_and_takes_its_own_kind(void **state)
{
    static const struct {
        const char *key, *value;
        bool good;
    } cases[] = {
        {"ingestion_rate", "1e3", true},          {"ingestion_rate", "-1", false},
        {"ingestion_rate", "nan", false},         {"ingestion_rate", "fast", false},
        {"ingestion_burst_size", "100", true},    {"ingestion_burst_size", "1.5", false},
        {"max_label_value_length", "2KiB", true}, {"max_label_value_length", "2x", false},
        {"creation_grace_period", "15m", true},   {"creation_grace_period", "15", false},
        {"creation_grace_period", "-15m", false}, {"max_sereis", "1", false},
    };
    struct limits l;
    struct err err = ERR_INIT;

    (void)state;
    limits_defaults(&l);
    assert_true(l.ingestion_rate == 250000);
    assert_int_equal(l.max_age_behind, 12 * 3600 * 1000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum status st = limits_set(&l, sv_of(cases[i].key), sv_of(cases[i].value), &err);

        if ((st == ST_OK) != cases[i].good)
            fail_msg("%s=%s", cases[i].key, cases[i].value);
        if (!cases[i].good)
            assert_non_null(strstr(err.msg, cases[i].key));
    }
    assert_true(l.ingestion_rate == 1000);
    assert_int_equal(l.max_label_value_length, 2048);
    assert_int_equal(l.creation_grace_period, 900000);
    assert_true(limits_known(SV("max_query_length")));
    assert_false(limits_known(SV("max_query_lengths")));
}

static void tenant_ids_are_held_to_cortex_rules(void **state)
{
    char longest[151];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    assert_true(tenant_id_valid(sv_make(longest, 150)));
    assert_false(tenant_id_valid(sv_make(longest, 151)));
    assert_true(tenant_id_valid(SV("Team-1_x.!*'()")));
    assert_false(tenant_id_valid(SV("")));
    assert_false(tenant_id_valid(SV(".")));
    assert_false(tenant_id_valid(SV("..")));
    assert_false(tenant_id_valid(SV("__markers__")));
    assert_false(tenant_id_valid(SV("user-index.json.gz")));
    assert_false(tenant_id_valid(SV("a/b")));
    assert_false(tenant_id_valid(SV("a\0b")));
    assert_false(tenant_id_valid(SV("a|b")));
}

static void a_header_names_the_tenant_only_in_header_mode(void **state)
{
    struct tenants *none = made(AUTH_NONE, ""), *header = made(AUTH_HEADER, "");
    struct err err = ERR_INIT;
    struct arena a;
    struct who w;

    (void)state;
    arena_init(&a, 10000);
    OK(tenant_who(none, SV("team-a"), SV("r1"), &a, &w, &err));
    assert_true(sv_is(w.tenant, "anonymous"));
    assert_true(sv_is(w.request_id, "r1"));
    tenant_done(&w);
    OK(tenant_who(header, SV("team-a"), SV("r1"), &a, &w, &err));
    assert_true(sv_is(w.tenant, "team-a"));
    tenant_done(&w);
    assert_int_equal(tenant_who(header, (struct sv){NULL, 0}, SV("r1"), &a, &w, &err), ST_UNAUTH);
    assert_string_equal(err.msg, "no org id");
    assert_int_equal(tenant_who(header, SV(""), SV("r1"), &a, &w, &err), ST_UNAUTH);
    assert_int_equal(tenant_who(header, SV("a|b"), SV("r1"), &a, &w, &err), ST_INVALID);
    assert_int_equal(tenant_who(header, SV("a/b"), SV("r1"), &a, &w, &err), ST_INVALID);
    arena_fini(&a);
    tenants_free(none);
    tenants_free(header);
}

static void limit_is(struct tenants *t, const char *tenant, double rate, uint64_t series)
{
    struct limits *l = tenant_limits(t, sv_of(tenant));

    if (l->ingestion_rate != rate || l->max_global_series_per_user != series)
        fail_msg("%s has rate %g and %llu series", tenant, l->ingestion_rate,
                 (unsigned long long)l->max_global_series_per_user);
    limits_unref(l);
}

static void anonymous_is_unlimited_unless_somebody_said_otherwise(void **state)
{
    struct err err = ERR_INIT;
    struct tenants *t = made(AUTH_NONE, "");

    (void)state;
    limit_is(t, "anonymous", 0, 0);
    limit_is(t, "engram", 250000, 1000000);
    OK(tenants_load_overrides(t, SV("overrides: {anonymous: {ingestion_rate: 7}}"), NULL, &err));
    limit_is(t, "anonymous", 7, 0);
    tenants_free(t);
    t = made(AUTH_NONE, "max_global_series_per_user=5");
    limit_is(t, "anonymous", 0, 5);
    tenants_free(t);
    t = made(AUTH_NONE, "ingestion_rate=250000");
    limit_is(t, "anonymous", 250000, 0);
    tenants_free(t);
    t = made(AUTH_HEADER, "");
    limit_is(t, "anonymous", 250000, 1000000);
    tenants_free(t);
}

static void overrides_are_replaced_whole_or_not_at_all(void **state)
{
    static const char *const bad[] = {"overrides: {a/b: {}}", "overrides: {a: {ingestion_rate: x}}",
                                      "overrides: [a]",       "overrides: {a: 3}",
                                      "- overrides",          "overrides: {a: {ingestion_rate: [1]}}",
                                      "overrides: {a: {}, a: {}}"};
    struct tenants *t = made(AUTH_HEADER, "ingestion_rate=10,max_global_series_per_user=20");
    struct err err = ERR_INIT;
    struct buf warnings;

    (void)state;
    buf_init(&warnings, 1000);
    OK(tenants_load_overrides(t,
                              SV("overrides:\n  a:\n    ingestion_rate: 5\n    ingestion_rat: 6\n"
                                 "  b:\n    max_global_series_per_user: 0\n  c:\nmulti: 1\n"),
                              &warnings, &err));
    limit_is(t, "a", 5, 20);
    limit_is(t, "b", 10, 0);
    limit_is(t, "c", 10, 20);
    buf_ch(&warnings, 0);
    assert_non_null(strstr(warnings.p, "line 4: unknown limit \"ingestion_rat\""));
    assert_non_null(strstr(warnings.p, "unknown key \"multi\""));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(tenants_load_overrides(t, sv_of(bad[i]), NULL, &err), ST_INVALID);
        limit_is(t, "a", 5, 20);
    }
    OK(tenants_load_overrides(t, SV(""), NULL, &err));
    limit_is(t, "a", 10, 20);
    tenants_free(t);
    buf_fini(&warnings);
}

static enum status take(struct tenants *t, const char *tenant, uint64_t samples, uint64_t metadata,
                        struct err *err)
{
    struct who w = {.tenant = sv_of(tenant), .limits = tenant_limits(t, sv_of(tenant))};
    enum status st = tenant_rate(t, &w, samples, metadata, err);

    tenant_done(&w);
    return st;
}

static void the_bucket_gives_all_or_nothing_and_fills_with_time(void **state)
{
    struct tenants *t = made(AUTH_HEADER, "ingestion_rate=100,ingestion_burst_size=200");
    struct err err = ERR_INIT;

    (void)state;
    OK(take(t, "a", 150, 50, &err));
    assert_int_equal(take(t, "a", 1, 2, &err), ST_RATE);
    assert_non_null(strstr(
        err.msg, "ingestion rate limit (100) exceeded while adding 1 samples and 2 metadata"));
    assert_non_null(strstr(err.msg, "tenant: a"));
    assert_null(strstr(err.msg, "can't pass"));
    OK(take(t, "b", 200, 0, &err)); /* another tenant's bucket */
    now.ns += 500000000;
    assert_int_equal(take(t, "a", 51, 0, &err), ST_RATE);
    OK(take(t, "a", 50, 0, &err)); /* the refusal took nothing */
    now.ns += 3600 * INT64_C(1000000000);
    assert_int_equal(take(t, "a", 201, 0, &err), ST_RATE); /* never more than the burst */
    assert_non_null(strstr(err.msg, "can't pass"));
    OK(take(t, "a", 200, 0, &err));
    OK(take(t, "a", 0, 0, &err));
    OK(tenants_load_overrides(t, SV("overrides: {a: {ingestion_rate: 0}}"), NULL, &err));
    OK(take(t, "a", 1000000, 0, &err));
    tenants_free(t);
    t = made(AUTH_HEADER, "ingestion_rate=0.5,ingestion_burst_size=0");
    OK(take(t, "a", 5, 0, &err));
    assert_int_equal(take(t, "a", 1, 0, &err), ST_RATE);
    assert_non_null(strstr(err.msg, "limit (0.5) exceeded"));
    tenants_free(t);
}

static void a_limit_snapshot_outlives_a_reload(void **state)
{
    struct tenants *t = made(AUTH_HEADER, "");
    struct err err = ERR_INIT;
    struct limits *l;

    (void)state;
    OK(tenants_load_overrides(t, SV("overrides: {a: {ingestion_rate: 5}}"), NULL, &err));
    l = tenant_limits(t, SV("a"));
    OK(tenants_load_overrides(t, SV("overrides: {a: {ingestion_rate: 6}}"), NULL, &err));
    assert_true(l->ingestion_rate == 5);
    limits_unref(l);
    limit_is(t, "a", 6, 1000000);
    tenants_free(t);
}

/* Names can be made up faster than rates fill: the table of buckets stays bounded. */
static void made_up_tenants_do_not_pile_up(void **state)
{
    struct tenants *t = made(AUTH_HEADER, "ingestion_rate=1000000,ingestion_burst_size=10");
    struct err err = ERR_INIT;
    char name[32];

    (void)state;
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        OK(take(t, name, 5, 0, &err));
    }
    assert_int_equal(take(t, "one-more", 5, 0, &err), ST_UNAVAIL);
    now.ns += 1000000000;
    OK(take(t, "one-more", 5, 0, &err));
    tenants_free(t);
}

static void *asks(void *arg)
{
    struct tenants *t = arg;

    for (int i = 0; i < 2000; i++) {
        struct limits *l = tenant_limits(t, SV("a"));
        struct who w = {.tenant = SV("a"), .limits = l};

        if (tenant_rate(t, &w, 1, 0, NULL) != ST_OK && l->ingestion_rate == 0)
            abort();
        tenant_done(&w);
    }
    return NULL;
}

static void reloads_and_requests_run_side_by_side(void **state)
{
    struct tenants *t = made(AUTH_HEADER, "");
    struct err err = ERR_INIT;
    pthread_t p[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&p[i], NULL, asks, t), 0);
    for (int i = 0; i < 100; i++) {
        OK(tenants_load_overrides(t, SV("overrides: {a: {ingestion_rate: 5}}"), NULL, &err));
        OK(tenants_load_overrides(t, SV("overrides: {}"), NULL, &err));
    }
    for (int i = 0; i < 3; i++)
        pthread_join(p[i], NULL);
    tenants_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_limit_is_known_and_takes_its_own_kind),
        cmocka_unit_test(tenant_ids_are_held_to_cortex_rules),
        cmocka_unit_test(a_header_names_the_tenant_only_in_header_mode),
        cmocka_unit_test(anonymous_is_unlimited_unless_somebody_said_otherwise),
        cmocka_unit_test(overrides_are_replaced_whole_or_not_at_all),
        cmocka_unit_test(the_bucket_gives_all_or_nothing_and_fills_with_time),
        cmocka_unit_test(a_limit_snapshot_outlives_a_reload),
        cmocka_unit_test(made_up_tenants_do_not_pile_up),
        cmocka_unit_test(reloads_and_requests_run_side_by_side),
    };

    return RUN(tests);
}
