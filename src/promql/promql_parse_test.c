/* From text to a checked tree, and the errors on the way. What a real Prometheus says to hundreds of
 * expressions is compared in tests/e2e; here are the rules by name. */
#include "unit.h"

#include "promql/fn.h"
#include "promql/promql.h"

#include <math.h>
#include <stdio.h>

#define ARENA_MAX ((size_t)64 << 20)

struct parsed {
    struct arena arena;
    struct expr *e;
    struct err err;
    enum status st;
};

static const struct promql_opts all_features = {true, true, true, true, true, true};

static void parse(struct parsed *r, struct sv text, const struct promql_opts *opts)
{
    *r = (struct parsed){.err = ERR_INIT};
    arena_init(&r->arena, ARENA_MAX);
    r->st = promql_parse(&r->arena, text, opts, &r->e, &r->err);
}

static void drop(struct parsed *r)
{
    if (r->st == ST_OK)
        expr_free(r->e);
    arena_fini(&r->arena);
}

static struct expr *good(struct parsed *r, const char *text)
{
    parse(r, sv_of(text), &all_features);
    if (r->st != ST_OK)
        fail_msg("%s: %s", text, r->err.msg);
    return r->e;
}

static void bad(const char *text, const char *message, const struct promql_opts *opts)
{
    struct parsed r;

    parse(&r, sv_of(text), opts);
    if (r.st != ST_INVALID)
        fail_msg("%s: status %d, %s expected", text, (int)r.st, message);
    assert_string_equal(r.err.msg, message);
    drop(&r);
}

static void the_power_groups_from_the_right_and_all_else_from_the_left(void **state)
{
    struct parsed r;
    struct expr *e = good(&r, "1 ^ 2 ^ 3");

    (void)state;
    assert_int_equal(e->binary.r->kind, EXPR_BINARY);
    drop(&r);
    e = good(&r, "1 - 2 - 3");
    assert_int_equal(e->binary.l->kind, EXPR_BINARY);
    drop(&r);
    e = good(&r, "a or b and c == d + e * f ^ g");
    for (enum binop want[] = {OP_OR, OP_AND, OP_EQ, OP_ADD, OP_MUL, OP_POW}, *w = want;
         w < want + 6; w++, e = e->binary.r) {
        assert_int_equal(e->kind, EXPR_BINARY);
        assert_int_equal(e->binary.op, *w);
    }
    drop(&r);
}

static void a_sign_binds_weaker_than_the_power_and_folds_into_numbers(void **state)
{
    struct parsed r;
    struct expr *e = good(&r, "-2 ^ 2");

    (void)state;
    assert_int_equal(e->kind, EXPR_UNARY);
    drop(&r);
    e = good(&r, "-5m");
    assert_int_equal(e->kind, EXPR_NUMBER);
    assert_true(e->number.duration && e->number.v == -300 && e->number.duration_ms == -300000);
    drop(&r);
    e = good(&r, "-a * b");
    assert_int_equal(e->kind, EXPR_BINARY);
    drop(&r);
}

static void numbers_are_read_in_every_notation(void **state)
{
    static const struct {
        const char *text;
        double v;
    } cases[] = {
        {"1", 1},           {"010", 8},        {"0x1F", 31},       {"1_000", 1000},
        {"0x_ff", 255},     {".5", .5},        {"5.", 5},          {"1e3", 1000},
        {"1E-3", .001},     {"Inf", INFINITY}, {"+iNf", INFINITY}, {"-Inf", -INFINITY},
        {"08", 8},          {"1h30m", 5400},   {"1500ms", 1.5},    {"1y2w3d", 33004800},
        {"99999999999999999999", 1e20},
    };
    struct parsed r;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct expr *e = good(&r, cases[i].text);

        if (e->kind != EXPR_NUMBER || e->number.v != cases[i].v)
            fail_msg("%s is %g", cases[i].text, e->number.v);
        drop(&r);
    }
    assert_true(isnan(good(&r, "nan")->number.v));
    drop(&r);
    bad("1..2", "1:1: parse error: bad number or duration syntax: \"1..\"", NULL);
    bad("1_", "1:1: parse error: bad number or duration syntax: \"1_\"", NULL);
    bad("1e400",
        "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e400\": value out "
        "of range",
        NULL);
    bad("5mm", "1:1: parse error: bad number or duration syntax: \"5mm\"", NULL);
    bad("1m1h", "1:1: parse error: not a valid duration string: \"1m1h\"", NULL);
}

static void strings_are_unescaped(void **state)
{
    struct parsed r;
    struct expr *e = good(&r, "\"a\\n\\x41\\102\\u00e9\\U0001F600\\\"'\"");

    (void)state;
    assert_true(sv_is(e->string.v, "a\nAB\xc3\xa9\xf0\x9f\x98\x80\"'"));
    drop(&r);
    e = good(&r, "`a\\n\"`");
    assert_true(sv_is(e->string.v, "a\\n\""));
    drop(&r);
    bad("\"\\q\"", "1:1: parse error: unknown escape sequence U+0071 'q'", NULL);
    bad("\"a", "1:1: parse error: unterminated quoted string", NULL);
    bad("\"\\ud800\"", "1:1: parse error: escape sequence is an invalid Unicode code point", NULL);
}

static void selectors_take_quoted_names(void **state)
{
    struct parsed r;
    struct expr *e = good(&r, "{\"my.metric\", \"a.b\"=~\"c|d\", x!=''}");

    (void)state;
    assert_int_equal(e->vector.matchers_n, 3);
    assert_true(sv_is(e->vector.matchers[0]->name, "__name__"));
    assert_true(sv_is(e->vector.matchers[0]->value, "my.metric"));
    assert_true(sv_is(e->vector.matchers[1]->name, "a.b"));
    assert_int_equal(e->vector.matchers[1]->op, MATCH_RE);
    drop(&r);
    e = good(&r, "up{job='x',}");
    assert_int_equal(e->vector.matchers_n, 2);
    assert_true(sv_is(e->vector.name, "up"));
    drop(&r);
    bad("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher", NULL);
    bad("a{__name__='b'}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"",
        NULL);
}

static void modifiers_are_kept_as_written(void **state)
{
    struct parsed r;
    struct expr *e = good(&r, "rate(a[5m] @ 1.5 offset -1h)");
    const struct expr *m = e->call.args.p[0];

    (void)state;
    assert_int_equal(m->matrix.range_ms, 300000);
    assert_int_equal(m->matrix.selector->vector.time.offset_ms, -3600000);
    assert_int_equal(m->matrix.selector->vector.time.at, AT_TIME);
    assert_int_equal(m->matrix.selector->vector.time.at_ms, 1500);
    drop(&r);
    e = good(&r, "min_over_time((a + b)[1h:5m] @ end() offset 1d)");
    m = e->call.args.p[0];
    assert_int_equal(m->kind, EXPR_SUBQUERY);
    assert_int_equal(m->subquery.step_ms, 300000);
    assert_int_equal(m->subquery.time.at, AT_END);
    drop(&r);
    bad("a offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times", NULL);
    bad("(a)[5m]", "1:4: parse error: ranges only allowed for vector selectors", NULL);
    bad("a[0s]", "1:3: parse error: duration must be greater than 0", NULL);
}

static void features_must_be_switched_on(void **state)
{
    struct parsed r;

    (void)state;
    bad("limitk(1, a)",
        "1:1: parse error: limitk() is experimental and must be enabled with "
        "--enable-feature=promql-experimental-functions",
        NULL);
    bad("mad_over_time(a[5m])", "1:1: parse error: function \"mad_over_time\" is not enabled", NULL);
    bad("a[5m + 1m]", "1:3: parse error: experimental duration expression is not enabled", NULL);
    bad("a + fill(1) b", "1:1: parse error: binop fill modifiers are experimental and not enabled",
        NULL);
    bad("a[5m] anchored", "1:1: parse error: anchored modifier is experimental and not enabled",
        NULL);
    (void)good(&r, "limitk(1, a) + fill_left(-1) fill_right(2) rate(b[5m * 2] smoothed)");
    drop(&r);
}

static void types_are_checked(void **state)
{
    (void)state;
    bad("rate(a)",
        "1:6: parse error: expected type range vector in call to function \"rate\", got instant "
        "vector",
        NULL);
    bad("1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier", NULL);
    bad("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators",
        NULL);
    bad("a and on(b) group_left c", "1:1: parse error: no grouping allowed for \"and\" operation",
        NULL);
    bad("a + on(b) group_left(b) c",
        "1:3: parse error: label \"b\" must not occur in ON and GROUP clause at once", NULL);
    bad("topk(a)",
        "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, "
        "got 1",
        NULL);
    bad("-a[5m]",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant "
        "vector, got \"range vector\"",
        NULL);
}

static void errors_name_line_and_column(void **state)
{
    (void)state;
    bad("", "unknown position: parse error: no expression found in input", NULL);
    bad(" # nothing", "1:1: parse error: no expression found in input", NULL);
    bad("sum(a)\n  by (x,, y)", "2:9: parse error: unexpected \",\" in grouping opts, expected label",
        NULL);
    bad("sum(foo bar)", "1:9: parse error: unexpected identifier \"bar\" in aggregation", NULL);
    bad("a +", "1:4: parse error: unexpected end of input", NULL);
    bad("a{b=}", "1:5: parse error: unexpected \"}\" in label matching, expected string", NULL);
    bad("a b", "1:3: parse error: unexpected identifier \"b\"", NULL);
    bad("a)", "1:3: parse error: unexpected right parenthesis ')'", NULL);
}

static void deep_nesting_is_refused_not_followed(void **state)
{
    static const char *const parts[] = {"(", "-", "abs(", "a+", "a^", "a[", "sum("};
    struct parsed r;
    struct buf b;

    (void)state;
    buf_init(&b, PROMQL_TEXT_MAX);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buf_clear(&b);
        for (unsigned k = 0; k < 10000; k++)
            buf_str(&b, parts[i]);
        parse(&r, buf_view(&b), NULL);
        assert_int_equal(r.st, ST_INVALID);
        drop(&r);
    }
    buf_clear(&b);
    for (unsigned k = 0; k < 10000; k++)
        buf_str(&b, "a+");
    buf_str(&b, "a");
    parse(&r, buf_view(&b), NULL);
    assert_string_equal(r.err.msg, "1:1: parse error: expression is nested deeper than 1000");
    drop(&r);
    buf_fini(&b);
}

/* Each part is repeated to the greatest length of a query; anything quadratic takes minutes here. */
static void long_lists_are_walked_in_step_with_their_length(void **state)
{
    static const char *const cases[][3] = {
        {"label_join(a, 'x', ','", ",'b'", ")"},
        {"a{b='c'", ",b='c'", "}"},
        {"sum by (a", ",a", ") (b)"},
        {"a + on (x", ",x", ") group_left (y) b"},
        {"a + on (x) group_left (y", ",y", ") b"},
        {"a", " # comment\n", ""},
        {"'", "\\n", "'"},
        {"a offset 1", "0", ""},
    };
    struct parsed r;
    struct promql_reads reads;
    struct buf b, out;

    (void)state;
    buf_init(&b, PROMQL_TEXT_MAX);
    buf_init(&out, ARENA_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&b);
        buf_str(&b, cases[i][0]);
        while (b.n + strlen(cases[i][1]) + strlen(cases[i][2]) <= PROMQL_TEXT_MAX)
            buf_str(&b, cases[i][1]);
        buf_str(&b, cases[i][2]);
        r = (struct parsed){.err = ERR_INIT};
        arena_init(&r.arena, 16 * ARENA_MAX);
        r.st = promql_parse(&r.arena, buf_view(&b), NULL, &r.e, &r.err);
        if (r.st == ST_OK) {
            buf_clear(&out);
            promql_print(&out, r.e);
            promql_pretty(&out, r.e);
            promql_json(&out, r.e);
            promql_reads(r.e, &(struct promql_params){.lookback_ms = 1}, &r.arena, &reads);
            promql_bind(r.e, 1, 2);
        }
        assert_int_equal(r.st == ST_OK, i + 1 < sizeof(cases) / sizeof(cases[0]));
        drop(&r);
    }
    buf_fini(&b);
    buf_fini(&out);
}

static void too_much_text_or_memory_is_refused(void **state)
{
    static const char *const cases[] = {
        "sum by (a) (rate(b{c=\"d\\n\",'e'=~`f`}[5m])) + on (x, 'y') group_left (z) c",
        "max_over_time((-a ^ 2)[5m + -step():max_of(1m, range())] offset -(1m) @ 5)",
        "label_join(topk(scalar(a), b) without (c), '\\x41', ',', 'd', \"e\", `f`)",
    };
    struct parsed r;
    struct buf b;

    (void)state;
    buf_init(&b, 2 * PROMQL_TEXT_MAX);
    for (unsigned k = 0; k <= PROMQL_TEXT_MAX; k++)
        buf_ch(&b, ' ');
    parse(&r, buf_view(&b), NULL);
    assert_int_equal(r.st, ST_INVALID);
    drop(&r);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t max = 0; max < 8000; max += 40) {
            r = (struct parsed){.err = ERR_INIT};
            arena_init(&r.arena, max);
            r.st = promql_parse(&r.arena, sv_of(cases[i]), &all_features, &r.e, &r.err);
            assert_true(r.st == ST_LIMIT || (r.st == ST_OK && max > 1000));
            drop(&r);
        }
    buf_fini(&b);
}

static void the_table_of_functions_is_sorted_and_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FN_COUNT; i++) {
        const struct promql_fn *fn = promql_fn_by_id((enum fn_id)i);

        assert_ptr_equal(promql_fn_find(sv_of(fn->name)), fn);
        if (i)
            assert_true(strcmp(promql_fn_by_id((enum fn_id)(i - 1))->name, fn->name) < 0);
    }
    assert_null(promql_fn_find(SV("nope")));
}

static void a_selector_alone_is_parsed(void **state)
{
    struct arena a;
    struct expr *e;
    struct err err = ERR_INIT;

    (void)state;
    arena_init(&a, ARENA_MAX);
    OK(promql_parse_selector(&a, SV("up{job=\"x\"}"), &e, &err));
    assert_int_equal(e->vector.matchers_n, 2);
    expr_free(e);
    OK(promql_parse_selector(&a, SV("sum"), &e, &err));
    expr_free(e);
    assert_int_equal(promql_parse_selector(&a, SV("rate(a[5m])"), &e, &err), ST_INVALID);
    assert_string_equal(err.msg, "1:5: parse error: unexpected \"(\"");
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_power_groups_from_the_right_and_all_else_from_the_left),
        cmocka_unit_test(a_sign_binds_weaker_than_the_power_and_folds_into_numbers),
        cmocka_unit_test(numbers_are_read_in_every_notation),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(selectors_take_quoted_names),
        cmocka_unit_test(modifiers_are_kept_as_written),
        cmocka_unit_test(features_must_be_switched_on),
        cmocka_unit_test(types_are_checked),
        cmocka_unit_test(errors_name_line_and_column),
        cmocka_unit_test(deep_nesting_is_refused_not_followed),
        cmocka_unit_test(long_lists_are_walked_in_step_with_their_length),
        cmocka_unit_test(too_much_text_or_memory_is_refused),
        cmocka_unit_test(the_table_of_functions_is_sorted_and_whole),
        cmocka_unit_test(a_selector_alone_is_parsed),
    };

    return RUN(tests);
}
