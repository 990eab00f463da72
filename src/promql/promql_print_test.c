/* One line, many lines, JSON; and the words for bad patterns. */
#include "unit.h"

#include "promql/promql.h"

#include <stdio.h>

#define ARENA_MAX ((size_t)16 << 20)
#define OUT_MAX   ((size_t)1 << 20)

static const struct promql_opts all_features = {true, true, true, true, true, true};

typedef void (*writer)(struct buf *, const struct expr *);

static void written(writer write, const char *text, const char *want)
{
    struct arena arena;
    struct err err = ERR_INIT;
    struct expr *e;
    struct buf b;

    arena_init(&arena, ARENA_MAX);
    buf_init(&b, OUT_MAX);
    if (promql_parse(&arena, sv_of(text), &all_features, &e, &err) != ST_OK)
        fail_msg("%s: %s", text, err.msg);
    write(&b, e);
    assert_true(buf_ok(&b));
    buf_ch(&b, 0);
    if (strcmp(b.p, want))
        fail_msg("%s\n  gives %s\n  not   %s", text, b.p, want);
    buf_fini(&b);
    expr_free(e);
    arena_fini(&arena);
}

static void same(const char *text)
{
    written(promql_print, text, text);
}

static void what_is_canonical_stays(void **state)
{
    static const char *const cases[] = {
        "sum by (a, \"b.c\") (rate(x{d=\"e\",f=~\"g|h\"}[5m] @ 1.500 offset -1h30m))",
        "sum without () (a)",
        "topk(5, a)",
        "a + on (x) group_left (y) b",
        "a == bool ignoring (x) group_right () b",
        "a and on () b",
        "-a ^ -2",
        "max_over_time((a + b)[1h:5m] @ end() offset 1d)",
        "{\"my metric\"=~\"\\n\\\"\\u200b\\x01\"}",
        "a + fill (1) b",
        "a + on (x) fill_left (-1) fill_right (+Inf) b",
        "rate(a[5m] anchored @ start())",
        "a smoothed offset 5m",
        "a[5m + step() * -(2 ^ 3)]",
        "a[max_of(step(), 5m):range() / 2] offset -step()",
        "a offset (5m)",
        "a </ b >/ 2",
        "max_of(1, step())",
        "1 / -0s",
        "a offset +(5m) * 2",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        same(cases[i]);
}

static void what_is_not_becomes_so(void **state)
{
    static const char *const cases[][2] = {
        {" SUM ( a ) BY ( x , ) ", "sum by (x) (a)"},
        {"a{z='1',b=`2`}", "a{b=\"2\",z=\"1\"}"},
        {"{__name__='a',b='c'}", "{__name__=\"a\",b=\"c\"}"},
        {"{'a'}", "{__name__=\"a\"}"},
        {"a @ start ( ) offset 60s", "a @ start() offset 1m"},
        {"0x10 + 1e3 + .5 + inf", "16 + 1000 + 0.5 + +Inf"},
        {"1 + on() 2", "1 + 2"},
        {"a[((5m))]", "a[(5m)]"},
        {"a[+(5m + 1m)]", "a[(5m + 1m)]"},
        {"a + # comment\n b", "a + b"},
        {"90d + 52w + 1y + 90s5ms", "90d + 52w + 1y + 1m30s5ms"},
        {"a offset --5m + 1m", "a offset (5m + 1m)"},
        {"a offset -+2 ^ 2", "a offset (-2 ^ 2)"},
        {"a offset (5m) @ 1 + 2", "(a @ 1.000 offset (5m)) + 2"},
        {"-a offset (5m) smoothed ^ 2", "-(a smoothed offset (5m)) ^ 2"},
        {"a offset (5m) and b", "a offset (5m) and b"},
        {"a offset 0s", "a"},
        {"a @ 1.0005", "a @ 1.001"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        written(promql_print, cases[i][0], cases[i][1]);
}

static void what_is_long_gets_lines(void **state)
{
#define LONG_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    (void)state;
    written(promql_pretty, "a+b", "a + b");
    written(promql_pretty, "sum by(x)(" LONG_A "+on(y)" LONG_B ")",
            "sum by (x) (\n    " LONG_A "\n  + on (y)\n    " LONG_B "\n)");
    written(promql_pretty, "-(" LONG_A "+on(y)" LONG_B ")",
            "-(\n    " LONG_A "\n  + on (y)\n    " LONG_B "\n)");
    written(promql_pretty, "clamp(" LONG_A " + " LONG_B ", 1, 2)",
            "clamp(\n    " LONG_A "\n  +\n    " LONG_B ",\n  1,\n  2\n)");
    written(promql_pretty, "topk(3, " LONG_A " + " LONG_B ")",
            "topk(\n  3,\n    " LONG_A "\n  +\n    " LONG_B "\n)");
    written(promql_pretty, "(" LONG_A " + " LONG_B ")[5m:] @ end()",
            "(\n    " LONG_A "\n  +\n    " LONG_B "\n)[5m:] @ end()");
}

static void json_has_sorted_keys_and_escapes(void **state)
{
    (void)state;
    written(promql_json, "-a{b=\"<\"} @ end()",
            "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"b\",\"type\":\"=\",\"value\":"
            "\"\\u003c\"},{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"a\"}],\"name\":\"a\","
            "\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":\"end\","
            "\"timestamp\":null,\"type\":\"vectorSelector\"},\"op\":\"-\",\"type\":\"unaryExpr\"}");
    written(promql_json, "a[5m + (1)]" /* a number in parentheses is a sum of one */,
            "{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":"
            "\"a\"}],\"name\":\"a\",\"offset\":0,\"offsetExpr\":null,\"range\":0,\"rangeExpr\":{"
            "\"lhs\":{\"duration\":true,\"type\":\"numberLiteral\",\"val\":\"300\"},\"op\":\"+\","
            "\"rhs\":{\"lhs\":null,\"op\":\"+\",\"rhs\":{\"duration\":false,\"type\":"
            "\"numberLiteral\",\"val\":\"1\"},\"type\":\"durationExpr\",\"wrapped\":true},\"type\":"
            "\"durationExpr\",\"wrapped\":false},\"smoothed\":false,\"startOrEnd\":null,"
            "\"timestamp\":null,\"type\":\"matrixSelector\"}");
}

static void a_full_buffer_says_so(void **state)
{
    struct arena arena;
    struct err err = ERR_INIT;
    struct expr *e;
    static const writer writers[] = {promql_print, promql_pretty, promql_json};

    (void)state;
    arena_init(&arena, ARENA_MAX);
    OK(promql_parse(&arena, SV("sum by (a) (rate(b{c=\"d\"}[5m])) / 2"), NULL, &e, &err));
    for (size_t w = 0; w < 3; w++)
        for (size_t max = 0; max < 30; max++) {
            struct buf b;

            buf_init(&b, max);
            writers[w](&b, e);
            assert_false(buf_ok(&b));
            buf_fini(&b);
        }
    expr_free(e);
    arena_fini(&arena);
}

static void bad_patterns_are_named_as_go_names_them(void **state)
{
    static const char *const cases[][2] = {
        {"a{b=~\"[\"}", "missing closing ]: `[`"},
        {"a{b=~\"(x\"}", "missing closing ): `(x`"},
        {"a{b=~\"x)\"}", "unexpected ): `x)`"},
        {"a{b=~\"*\"}", "missing argument to repetition operator: `*`"},
        {"a{b=~\"x**\"}", "invalid nested repetition operator: `**`"},
        {"a{b=~\"x{1001}\"}", "invalid repeat count: `{1001}`"},
        {"a{b=~\"\\\\q\"}", "invalid escape sequence: `\\q`"},
        {"a{b=~\"x\\\\\"}", "trailing backslash at end of expression: ``"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena arena;
        struct err err = ERR_INIT;
        struct expr *e;
        char want[128];

        arena_init(&arena, ARENA_MAX);
        assert_int_equal(promql_parse(&arena, sv_of(cases[i][0]), NULL, &e, &err), ST_INVALID);
        snprintf(want, sizeof(want), "1:3: parse error: error parsing regexp: %s", cases[i][1]);
        assert_string_equal(err.msg, want);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_canonical_stays),
        cmocka_unit_test(what_is_not_becomes_so),
        cmocka_unit_test(what_is_long_gets_lines),
        cmocka_unit_test(json_has_sorted_keys_and_escapes),
        cmocka_unit_test(a_full_buffer_says_so),
        cmocka_unit_test(bad_patterns_are_named_as_go_names_them),
    };

    return RUN(tests);
}
