/* The base room's contracts, a case a sentence. */
#include "unit.h"

#include "base/arena.h"
#include "base/budget.h"
#include "base/buf.h"
#include "base/codec.h"
#include "base/dtoa.h"
#include "base/fs.h"
#include "base/hmap.h"
#include "base/json.h"
#include "base/metric.h"
#include "base/regex.h"
#include "base/workq.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static void an_arena_stops_at_its_ceiling_and_starts_over(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 10000);
    assert_non_null(arena_alloc(&a, 9000));
    assert_null(arena_alloc(&a, 2000));
    assert_true(arena_over(&a));
    arena_reset(&a);
    assert_false(arena_over(&a));
    struct arena_mark m = arena_mark(&a);
    for (int i = 0; i < 100; i++)
        assert_non_null(arena_alloc(&a, 64));
    arena_back(&a, m);
    assert_int_equal(a.used_bytes, 0);
    assert_null(arena_array(&a, SIZE_MAX / 2, 16));
    arena_fini(&a);
}

static void a_buf_over_its_ceiling_says_so_and_keeps_what_it_has(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    buf_str(&b, "0123456789");
    assert_true(buf_ok(&b));
    buf_ch(&b, 'x');
    assert_false(buf_ok(&b));
    assert_int_equal(b.n, 10);
    buf_fini(&b);
}

static void varints_round_trip_and_truncation_is_noticed(void **state)
{
    struct buf b;
    int64_t cases[] = {0, 1, -1, 63, 64, -64, INT64_MAX, INT64_MIN, 1234567890123};

    (void)state;
    buf_init(&b, 1000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&b);
        buf_varint(&b, cases[i]);
        struct cur c = cur_of(buf_view(&b));
        assert_int_equal(cur_varint(&c), cases[i]);
        assert_false(c.bad);
        c = cur_of(sv_sub(buf_view(&b), 0, b.n - 1));
        cur_varint(&c);
        assert_true(c.bad);
    }
    buf_fini(&b);
    struct cur c = cur_of(SV("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    cur_uvarint(&c);
    assert_true(c.bad);
}

static void crc32c_matches_its_published_check_value(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void ulids_keep_their_time_and_sort_by_it(void **state)
{
    char a[ULID_LEN + 1], b[ULID_LEN + 1];

    (void)state;
    ulid_make(a, 1700000000000);
    ulid_make(b, 1700000000001);
    assert_true(strcmp(a, b) < 0);
    assert_true(ulid_valid(sv_of(a)));
    assert_int_equal(ulid_ms(sv_of(a)), 1700000000000);
    assert_false(ulid_valid(SV("8ZZZZZZZZZZZZZZZZZZZZZZZZZ")));
    assert_false(ulid_valid(SV("01ARZ3NDEKTSV4RRFFQ69G5FAU")));
}

static void check_number(double v, const char *f, const char *json, const char *g)
{
    char out[DTOA_MAX + 1];

    out[dtoa_f(out, v)] = 0;
    assert_string_equal(out, f);
    out[dtoa_json(out, v)] = 0;
    assert_string_equal(out, json);
    out[dtoa_g(out, v)] = 0;
    assert_string_equal(out, g);
}

static void numbers_print_as_go_prints_them(void **state)
{
    (void)state;
    check_number(0, "0", "0", "0");
    check_number(-0.0, "-0", "-0", "-0");
    check_number(1, "1", "1", "1");
    check_number(0.1, "0.1", "0.1", "0.1");
    check_number(1e21, "1000000000000000000000", "1e+21", "1e+21");
    check_number(123456789012345680000.0, "123456789012345680000", "123456789012345680000",
                 "123456789012345680000");
    check_number(1e-7, "0.0000001", "1e-07", "1e-07");
    check_number(0.00001, "0.00001", "0.00001", "1e-05");
    check_number(NAN, "NaN", "NaN", "NaN");
    check_number(-INFINITY, "-Inf", "-Inf", "-Inf");
}

static void numbers_read_as_go_reads_them(void **state)
{
    double v;

    (void)state;
    assert_true(dtoa_parse(SV("1e3"), &v) && v == 1000);
    assert_true(dtoa_parse(SV("+.5"), &v) && v == 0.5);
    assert_true(dtoa_parse(SV("-Inf"), &v) && isinf(v) && v < 0);
    assert_true(dtoa_parse(SV("0x1p4"), &v) && v == 16);
    assert_true(dtoa_parse(SV("1e999"), &v) && isinf(v));
    assert_true(dtoa_parse(SV("nan"), &v) && isnan(v));
    assert_false(dtoa_parse(SV("1 "), &v));
    assert_false(dtoa_parse(SV(""), &v));
    assert_false(dtoa_parse(SV("--1"), &v));
    assert_false(dtoa_parse(SV("1e"), &v));
}

static void views_parse_sizes_durations_and_utf8(void **state)
{
    uint64_t u;
    int64_t ms;

    (void)state;
    assert_true(sv_bytes(SV("256MiB"), &u) && u == 268435456);
    assert_true(sv_bytes(SV("1.5GB"), &u) && u == 1500000000);
    assert_false(sv_bytes(SV("12Q"), &u));
    assert_true(sv_duration_ms(SV("1h30m"), &ms) && ms == 5400000);
    assert_true(sv_duration_ms(SV("100ms"), &ms) && ms == 100);
    assert_false(sv_duration_ms(SV("30m1h"), &ms));
    assert_false(sv_duration_ms(SV("5"), &ms));
    assert_true(sv_utf8(SV("h\xc3\xa4ll\xc3\xb6 \xf0\x9f\x99\x82")));
    assert_false(sv_utf8(SV("\xc0\xaf")));
    assert_false(sv_utf8(SV("\xed\xa0\x80")));
    assert_false(sv_utf8(SV("\xc3")));
}

static void a_map_finds_what_was_set_and_not_what_was_deleted(void **state)
{
    struct hmap m;
    char key[16];

    (void)state;
    hmap_init(&m);
    for (intptr_t i = 1; i <= 5000; i++) {
        snprintf(key, sizeof(key), "key%d", (int)i);
        assert_null(hmap_set(&m, sv_of(key), (void *)i));
    }
    for (intptr_t i = 1; i <= 5000; i += 2) {
        snprintf(key, sizeof(key), "key%d", (int)i);
        assert_ptr_equal(hmap_del(&m, sv_of(key)), (void *)i);
    }
    for (intptr_t i = 1; i <= 5000; i++) {
        snprintf(key, sizeof(key), "key%d", (int)i);
        assert_ptr_equal(hmap_get(&m, sv_of(key)), i % 2 ? NULL : (void *)i);
    }
    assert_int_equal(m.n, 2500);
    hmap_fini(&m);
}

static void regular_expressions_are_anchored_and_refuse_what_re2_refuses(void **state)
{
    struct regex *re;
    struct err err;
    struct sv groups[2];

    (void)state;
    OK(regex_new(SV("a(.*)c"), &re, &err));
    assert_true(regex_match(re, SV("abc")));
    assert_true(regex_match(re, SV("a\nc")));
    assert_false(regex_match(re, SV("xabc")));
    assert_true(regex_match_groups(re, SV("abbc"), groups, 2));
    assert_true(sv_is(groups[1], "bb"));
    regex_free(re);
    assert_int_equal(regex_new(SV("a(?=b)"), &re, &err), ST_INVALID);
}

static void json_escapes_and_reads_strictly(void **state)
{
    struct buf b;
    struct json_doc *d;
    struct err err;
    int64_t v;

    (void)state;
    buf_init(&b, 1000);
    json_str(&b, SV("a\"b\\\n\x01<\xff\xc3\xa4"));
    buf_ch(&b, 0);
    assert_string_equal(b.p, "\"a\\\"b\\\\\\n\\u0001<\\ufffd\xc3\xa4\"");
    buf_fini(&b);
    assert_int_equal(json_parse(SV("{\"a\":1,\"a\":2}"), &d, &err), ST_INVALID);
    OK(json_parse(SV("{\"a\":[1,2]}"), &d, &err));
    assert_true(json_i64(json_at(json_get(json_root(d), "a"), 1), &v) && v == 2);
    json_free(d);
}

static void a_file_is_replaced_whole(void **state)
{
    char dir[] = "/tmp/engram-base-XXXXXX", path[FS_PATH_MAX], sub[FS_PATH_MAX];
    const struct fs *fs = fs_posix();
    struct err err;
    char *p;
    size_t n;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_true(fs_join(sub, dir, "a/b/c"));
    OK(fs_mkdirs(fs, sub, &err));
    assert_true(fs_join(path, sub, "f"));
    OK(fs_write_file(fs, path, SV("one"), &err));
    OK(fs_write_file(fs, path, SV("two!"), &err));
    OK(fs_read_file(fs, path, 100, &p, &n, &err));
    assert_string_equal(p, "two!");
    heap_free(p);
    assert_int_equal(fs_read_file(fs, path, 3, &p, &n, &err), ST_LIMIT);
    OK(fs_rmtree(fs, dir, &err));
    assert_false(fs_exists(fs, dir));
    assert_int_equal(fs_size(fs, path, (uint64_t *)&n, &err), ST_NOTFOUND);
}

static void metrics_render_in_the_text_format(void **state)
{
    struct metrics *m = metrics_new();
    struct buf b;

    (void)state;
    metric_add(metric_counter(m, "engram_x_total", "a=\"b\"", "help"), 2);
    metric_observe(metric_seconds(m, "engram_y_seconds", "", "help"), 0.02);
    buf_init(&b, 100000);
    metrics_render(m, &b);
    buf_ch(&b, 0);
    assert_non_null(strstr(b.p, "# TYPE engram_x_total counter\nengram_x_total{a=\"b\"} 2\n"));
    assert_non_null(strstr(b.p, "engram_y_seconds_bucket{le=\"0.01\"} 0\n"));
    assert_non_null(strstr(b.p, "engram_y_seconds_bucket{le=\"+Inf\"} 1\n"));
    assert_non_null(strstr(b.p, "engram_y_seconds_count 1\n"));
    buf_fini(&b);
    metrics_free(m);
}

static void bump(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

static void a_queue_runs_all_it_took_and_refuses_when_full(void **state)
{
    _Atomic int ran = 0;
    int took = 0;
    struct workq *q = workq_start("test", 2, 50);

    (void)state;
    for (int i = 0; i < 1000; i++)
        took += workq_put(q, bump, &ran);
    workq_stop(q);
    assert_int_equal(ran, took);
    assert_true(took >= 50);
}

static void an_account_names_its_limit(void **state)
{
    struct budget b;
    struct account a;
    struct err err;

    (void)state;
    budget_init(&b, 1000000);
    account_init(&a, &b, BUDGET_QUERY, 200000);
    OK(account_charge(&a, 100000, &err));
    assert_true(budget_used(&b, BUDGET_QUERY) >= 100000);
    assert_int_equal(account_charge(&a, 100001, &err), ST_LIMIT);
    assert_non_null(strstr(err.msg, "200000"));
    account_fini(&a);
    assert_int_equal(budget_used(&b, BUDGET_QUERY), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_stops_at_its_ceiling_and_starts_over),
        cmocka_unit_test(a_buf_over_its_ceiling_says_so_and_keeps_what_it_has),
        cmocka_unit_test(varints_round_trip_and_truncation_is_noticed),
        cmocka_unit_test(crc32c_matches_its_published_check_value),
        cmocka_unit_test(ulids_keep_their_time_and_sort_by_it),
        cmocka_unit_test(numbers_print_as_go_prints_them),
        cmocka_unit_test(numbers_read_as_go_reads_them),
        cmocka_unit_test(views_parse_sizes_durations_and_utf8),
        cmocka_unit_test(a_map_finds_what_was_set_and_not_what_was_deleted),
        cmocka_unit_test(regular_expressions_are_anchored_and_refuse_what_re2_refuses),
        cmocka_unit_test(json_escapes_and_reads_strictly),
        cmocka_unit_test(a_file_is_replaced_whole),
        cmocka_unit_test(metrics_render_in_the_text_format),
        cmocka_unit_test(a_queue_runs_all_it_took_and_refuses_when_full),
        cmocka_unit_test(an_account_names_its_limit),
    };

    return RUN(tests);
}
