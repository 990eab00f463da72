/* Parameters and networks: what Prometheus accepts, its texts for the rest. */
#include "unit.h"

#include "api_int.h"
#include "base/heap.h"

#include <stdio.h>

static void times_are_floats_or_rfc3339(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {{"0", 0},
                 {"1435781451.781", 1435781451781},
                 {"1.5e3", 1500000},
                 {"-1.5", -1500},
                 {"-0.0004", 0},
                 {"0.0006", 1},
                 {"1543578564.705", 1543578564705},
                 {"2015-07-01T20:10:51.781Z", 1435781451781},
                 {"2015-07-01T20:10:51+02:00", 1435774251000},
                 {"1970-01-01T00:00:00-00:30", 1800000},
                 {"2024-02-29T00:00:00Z", 1709164800000},
                 {"0001-01-01T00:00:00Z", INT64_C(-62135596800000)},
                 {"9999-12-31T23:59:59.999999999Z", INT64_C(253402300799999)},
                 {"-292273086-05-16T16:47:06Z", API_TIME_MIN_MS},
                 {"292277025-08-18T07:12:54.999999999Z", API_TIME_MAX_MS},
                 {"9223309901257974", INT64_C(9223309901257974000)}};
    struct err err = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ms = 42;

        OK(api_parse_time(sv_of(cases[i].text), &ms, &err));
        if (ms != cases[i].ms)
            fail_msg("%s: %lld, not %lld", cases[i].text, (long long)ms, (long long)cases[i].ms);
    }
}

static void what_is_no_time_is_told(void **state)
{
    static const char *const bad[] = {"", "x", "30s", "NaN", "Inf", "1e300", "9223372036854775807",
                                      "-9223372036854775808", "2015-07-01", "2015-02-29T00:00:00Z",
                                      "2015-13-01T00:00:00Z", "2015-07-01T24:00:00Z",
                                      "2015-07-01t20:10:51z", "2015-07-01T20:10:51",
                                      "2015-07-01T20:10:51.Z", "2015-07-01T20:10:51Zx"};
    struct err err = ERR_INIT;
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (api_parse_time(sv_of(bad[i]), &ms, &err) != ST_INVALID)
            fail_msg("%s was taken", bad[i]);
    assert_int_equal(api_parse_time(SV("a\"b"), &ms, &err), ST_INVALID);
    assert_string_equal(err.msg, "cannot parse \"a\\\"b\" to a valid timestamp");
    assert_int_equal(api_parse_time(SV("\xff"), &ms, &err), ST_INVALID);
    assert_string_equal(err.msg, "cannot parse \"\\xff\" to a valid timestamp");
}

static void durations_are_floats_or_prometheus_durations(void **state)
{
    struct err err = ERR_INIT;
    int64_t ns;

    (void)state;
    OK(api_parse_duration(SV("15"), &ns, &err));
    assert_int_equal(ns, INT64_C(15000000000));
    OK(api_parse_duration(SV("0.5"), &ns, &err));
    assert_int_equal(ns, 500000000);
    OK(api_parse_duration(SV("1h30m"), &ns, &err));
    assert_int_equal(ns, INT64_C(5400000000000));
    assert_int_equal(api_parse_duration(SV("1e30"), &ns, &err), ST_INVALID);
    assert_string_equal(err.msg, "cannot parse \"1e30\" to a valid duration. It overflows int64");
    assert_int_equal(api_parse_duration(SV("5 m"), &ns, &err), ST_INVALID);
    assert_string_equal(err.msg, "cannot parse \"5 m\" to a valid duration");
    assert_int_equal(api_parse_duration(SV("NaN"), &ns, &err), ST_INVALID);
}

static void ranges_have_prometheuss_rules_and_texts(void **state)
{
    static const struct {
        const char *start, *end, *step, *text;
    } bad[] = {
        {"x", "1", "1", "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp"},
        {"1", "", "1", "invalid parameter \"end\": cannot parse \"\" to a valid timestamp"},
        {"2", "1", "1",
         "invalid parameter \"end\": end timestamp must not be before start time"},
        {"1", "2", "x", "invalid parameter \"step\": cannot parse \"x\" to a valid duration"},
        {"1", "2", "0",
         "invalid parameter \"step\": zero or negative query resolution step widths are not "
         "accepted. Try a positive integer"},
        {"1", "2", "-1",
         "invalid parameter \"step\": zero or negative query resolution step widths are not "
         "accepted. Try a positive integer"},
        {"0", "11001", "1",
         "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query "
         "resolution (?step=XX)"},
        {"-9223309901257974", "9223309901257974", "1y",
         "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query "
         "resolution (?step=XX)"}};
    struct err err = ERR_INIT;
    struct api_range g;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(api_check_range(sv_of(bad[i].start), sv_of(bad[i].end),
                                         sv_of(bad[i].step), &g, &err), ST_INVALID);
        assert_string_equal(err.msg, bad[i].text);
    }
    OK(api_check_range(SV("0"), SV("11000"), SV("1"), &g, &err));
    assert_int_equal(g.step_ms, 1000);
    OK(api_check_range(SV("1"), SV("1"), SV("5m"), &g, &err));
    assert_int_equal(g.end_ms, 1000);
    assert_int_equal(g.step_ms, 300000);
}

static void networks_are_told_apart(void **state)
{
    static const char *const texts[] = {"10.0.0.0/8", "192.0.2.7", "fd00::/9", "::1", "198.51.100.128/25"};
    static const char *const in[] = {"10.1.2.3", "192.0.2.7", "fd00::1", "fd7f::1", "::1",
                                     "198.51.100.200"};
    static const char *const out[] = {"11.0.0.1", "192.0.2.8", "fd80::1", "::2", "198.51.100.1",
                                      "", "x", "a00::", "10.1.2"};
    struct api_networks *n = NULL;
    struct err err = ERR_INIT;

    (void)state;
    OK(api_networks_parse(texts, 5, &n, &err));
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
        if (!api_networks_have(n, sv_of(in[i])))
            fail_msg("%s is not in", in[i]);
    for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++)
        if (api_networks_have(n, sv_of(out[i])))
            fail_msg("%s is in", out[i]);
    api_networks_free(n);
}

static void a_network_of_everybody_has_no_bits(void **state)
{
    static const char *const all[] = {"0.0.0.0/0"};
    struct api_networks *n = NULL;
    struct err err = ERR_INIT;

    (void)state;
    OK(api_networks_parse(all, 1, &n, &err));
    assert_true(api_networks_have(n, SV("203.0.113.9")));
    assert_false(api_networks_have(n, SV("2001:db8::1")));
    api_networks_free(n);
}

static void what_is_no_network_is_named(void **state)
{
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0/8", "fd00::/129", "host", "",
                                      "10.0.0.0/", "10.0.0.0/x", "fe80::1%eth0"};
    struct api_networks *n;
    struct err err = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char want[64];

        snprintf(want, sizeof(want), "\"%s\" is not a network", bad[i]);
        assert_int_equal(api_networks_parse(&bad[i], 1, &n, &err), ST_INVALID);
        assert_non_null(strstr(err.msg, want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_floats_or_rfc3339),
        cmocka_unit_test(what_is_no_time_is_told),
        cmocka_unit_test(durations_are_floats_or_prometheus_durations),
        cmocka_unit_test(ranges_have_prometheuss_rules_and_texts),
        cmocka_unit_test(networks_are_told_apart),
        cmocka_unit_test(a_network_of_everybody_has_no_bits),
        cmocka_unit_test(what_is_no_network_is_named),
    };
    return RUN(tests);
}
