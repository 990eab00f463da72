/* JSON against texts that Prometheus 3 wrote for the same values. */
#include "unit.h"

#include "api_int.h"
#include "base/heap.h"

#include <stdio.h>

#include <math.h>

static struct label name_only[] = {{SV("__name__"), SV("up")}};
static struct label odd[] = {{SV("__name__"), SV("up")}, {SV("a"), SV("<\"\n\\\xc3\xa4>")}};

static void is(struct buf *b, const char *want)
{
    buf_ch(b, '\0');
    assert_string_equal(b->p, want);
    buf_fini(b);
}

static struct buf encode(const struct value *v)
{
    struct err err = ERR_INIT;
    struct buf b;

    buf_init(&b, 1 << 20);
    OK(api_json_value(&b, v, NULL, &err));
    return b;
}

static void a_matrix_is_written_to_the_letter(void **state)
{
    const int64_t t[] = {0, 1500, 1435781451781, -1};
    const double f[] = {1, 0.1, 1e21, -0.0};
    const int64_t t2[] = {60000};
    const double f2[] = {NAN};
    struct row rows[] = {{.labels = {name_only, 1}, .t_ms = t, .f = f, .n = 4},
                         {.labels = {odd, 2}, .t_ms = t2, .f = f2, .n = 1}};
    struct value v = {.kind = VALUE_MATRIX, .rows = rows, .rows_n = 2};
    struct buf b = encode(&v);

    (void)state;
    is(&b, "{\"resultType\":\"matrix\",\"result\":["
           "{\"metric\":{\"__name__\":\"up\"},\"values\":[[0,\"1\"],[1.500,\"0.1\"],"
           "[1435781451.781,\"1e+21\"],[-0.001,\"-0\"]]},"
           "{\"metric\":{\"__name__\":\"up\",\"a\":\"<\\\"\\n\\\\\xc3\xa4>\"},"
           "\"values\":[[60,\"NaN\"]]}]}");
}

static void values_have_an_exponent_only_far_out(void **state)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {{0, "0"}, {1e-6, "0.000001"}, {9.999e-7, "9.999e-07"}, {123456789, "123456789"},
                 {1e20, "100000000000000000000"}, {INFINITY, "+Inf"}, {-INFINITY, "-Inf"},
                 {0.1 + 0.2, "0.30000000000000004"}, {-1.5e300, "-1.5e+300"},
                 {5e-324, "5e-324"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const int64_t t = 4000;
        struct row row = {.t_ms = &t, .f = &cases[i].v, .n = 1};
        struct value v = {.kind = VALUE_VECTOR, .rows = &row, .rows_n = 1};
        struct buf b = encode(&v);
        char want[256];

        snprintf(want, sizeof(want),
                 "{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[4,\"%s\"]}]}",
                 cases[i].text);
        is(&b, want);
    }
}

static void scalars_and_strings_have_their_own_way(void **state)
{
    const int64_t t = 1500;
    const double f = 1e21;
    struct row row = {.t_ms = &t, .f = &f, .n = 1};
    struct value v = {.kind = VALUE_SCALAR, .rows = &row, .rows_n = 1};
    struct buf b = encode(&v);

    (void)state;
    is(&b, "{\"resultType\":\"scalar\",\"result\":[1.5,\"1000000000000000000000\"]}");
    v = (struct value){.kind = VALUE_STRING, .string = SV("a<b>&\"c\""), .t_ms = 1435781451781};
    b = encode(&v);
    is(&b, "{\"resultType\":\"string\",\"result\":[1435781451.781,"
           "\"a\\u003cb\\u003e\\u0026\\\"c\\\"\"]}");
}

static void an_empty_result_is_a_list(void **state)
{
    struct value v = {.kind = VALUE_VECTOR};
    struct buf b = encode(&v);

    (void)state;
    is(&b, "{\"resultType\":\"vector\",\"result\":[]}");
    v.kind = VALUE_MATRIX;
    b = encode(&v);
    is(&b, "{\"resultType\":\"matrix\",\"result\":[]}");
}

/* Prometheus's own example of a histogram with both sides and a zero bucket. */
static void histograms_show_the_bounds_of_their_buckets(void **state)
{
    const struct hist_span spans[] = {{0, 2}, {1, 2}};
    const uint64_t pos[] = {1, 2, 0, 1}, neg[] = {1, 2, 1, 1};
    struct hist h = {.schema = 1, .zero_threshold = 0.001, .sum = 18.4, .count = 10,
                     .zero_count = 2,
                     .pos = {.spans = spans, .spans_n = 2, .counts = pos, .buckets_n = 4},
                     .neg = {.spans = spans, .spans_n = 2, .counts = neg, .buckets_n = 4}};
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    api_json_hist(&b, &h);
    is(&b, "{\"count\":\"10\",\"sum\":\"18.4\",\"buckets\":["
           "[1,\"-4\",\"-2.82842712474619\",\"1\"],"
           "[1,\"-2.82842712474619\",\"-2\",\"1\"],"
           "[1,\"-1.414213562373095\",\"-1\",\"2\"],"
           "[1,\"-1\",\"-0.7071067811865475\",\"1\"],"
           "[3,\"-0.001\",\"0.001\",\"2\"],"
           "[0,\"0.7071067811865475\",\"1\",\"1\"],"
           "[0,\"1\",\"1.414213562373095\",\"2\"],"
           "[0,\"2.82842712474619\",\"4\",\"1\"]]}");
}

static void custom_buckets_begin_at_minus_infinity(void **state)
{
    const struct hist_span span = {0, 3};
    const double counts[] = {1.5, 0, 2}, bounds[] = {5, 10};
    struct hist h = {.schema = HIST_CUSTOM_SCHEMA, .is_float = true, .fcount = 3.5, .sum = 1,
                     .custom = bounds, .custom_n = 2,
                     .pos = {.spans = &span, .spans_n = 1, .fcounts = counts, .buckets_n = 3}};
    const struct hist *hp = &h, *const hs[] = {NULL, hp};
    const int64_t t[] = {1000, 2000};
    const double f[] = {7, 0};
    struct row row = {.t_ms = t, .f = f, .h = hs, .n = 2};
    struct value v = {.kind = VALUE_MATRIX, .rows = &row, .rows_n = 1};
    struct buf b = encode(&v);

    (void)state;
    is(&b, "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{},\"values\":[[1,\"7\"]],"
           "\"histograms\":[[2,{\"count\":\"3.5\",\"sum\":\"1\",\"buckets\":["
           "[3,\"-Inf\",\"5\",\"1.5\"],[0,\"10\",\"+Inf\",\"2\"]]}]]}]}");
}

/* The last bucket of numbers, and finer schemas: digits as Prometheus's table has them. */
static void bounds_have_the_digits_of_prometheus(void **state)
{
    const struct hist_span spans[] = {{0, 1}, {250, 1}, {261892, 1}};
    const uint64_t counts[] = {1, 1, 1};
    struct hist h = {.schema = 8,
                     .pos = {.spans = spans, .spans_n = 3, .counts = counts, .buckets_n = 3}};
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    api_json_hist(&b, &h);
    is(&b, "{\"count\":\"0\",\"sum\":\"0\",\"buckets\":["
           "[0,\"0.9972960560854698\",\"1\",\"1\"],"
           "[0,\"1.967771223233175\",\"1.9731063922552337\",\"1\"],"
           "[0,\"1.7928322734501122e+308\",\"1.7976931348623157e+308\",\"1\"]]}");
}

static void an_empty_histogram_has_no_buckets(void **state)
{
    struct hist h = {.schema = 3};
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    api_json_hist(&b, &h);
    is(&b, "{\"count\":\"0\",\"sum\":\"0\"}");
}

static void warnings_and_infos_follow_the_data(void **state)
{
    const struct sv w[] = {SV("a<b"), SV("c")}, i[] = {SV("d")};
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    api_json_begin(&b);
    buf_str(&b, "[]");
    api_json_end(&b, w, 2, i, 1);
    is(&b, "{\"status\":\"success\",\"data\":[],\"warnings\":[\"a\\u003cb\",\"c\"],"
           "\"infos\":[\"d\"]}");
}

static void a_long_answer_is_charged_as_it_grows(void **state)
{
    enum { N = 20000 };
    int64_t *t = heap_array(N, sizeof(*t));
    double *f = heap_array(N, sizeof(*f));
    struct row row = {.t_ms = t, .f = f, .n = N};
    struct value v = {.kind = VALUE_MATRIX, .rows = &row, .rows_n = 1};
    struct account mem;
    struct err err = ERR_INIT;
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    account_init(&mem, NULL, BUDGET_HTTP, 65536);
    assert_int_equal(api_json_value(&b, &v, &mem, &err), ST_LIMIT);
    account_fini(&mem);
    buf_fini(&b);
    buf_init(&b, 1000); /* and the ceiling of bytes ends it early */
    assert_int_equal(api_json_value(&b, &v, NULL, &err), ST_OK);
    assert_false(buf_ok(&b));
    buf_fini(&b);
    heap_free(t);
    heap_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_matrix_is_written_to_the_letter),
        cmocka_unit_test(values_have_an_exponent_only_far_out),
        cmocka_unit_test(scalars_and_strings_have_their_own_way),
        cmocka_unit_test(an_empty_result_is_a_list),
        cmocka_unit_test(histograms_show_the_bounds_of_their_buckets),
        cmocka_unit_test(custom_buckets_begin_at_minus_infinity),
        cmocka_unit_test(bounds_have_the_digits_of_prometheus),
        cmocka_unit_test(an_empty_histogram_has_no_buckets),
        cmocka_unit_test(warnings_and_infos_follow_the_data),
        cmocka_unit_test(a_long_answer_is_charged_as_it_grows),
    };
    return RUN(tests);
}
