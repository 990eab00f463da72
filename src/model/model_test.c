/* Labels, matchers, columns, batches, merging. */
#include "unit.h"

#include "base/regex.h"
#include "model/batch.h"
#include "model/merge.h"
#include "model/value.h"

#include <stdio.h>

static void labels_become_canonical_and_survive_the_wire(void **state)
{
    struct label in[] = {{SV("z"), SV("1")}, {SV("a"), SV("")}, {SV("__name__"), SV("up")}};
    struct labels ls = {in, 3}, back;
    struct arena a;
    struct buf b;
    struct err err;
    struct sv dup;

    (void)state;
    arena_init(&a, 100000);
    buf_init(&b, 10000);
    assert_true(labels_canonical(&ls, &dup));
    assert_int_equal(ls.n, 2);
    assert_true(sv_is(ls.p[0].name, "__name__"));
    labels_to_wire(&b, ls);
    OK(labels_from_wire(buf_view(&b), 10, &a, &back, &err));
    assert_true(labels_eq(ls, back));
    for (size_t n = 1; n < b.n; n++)
        if (labels_from_wire(sv_sub(buf_view(&b), 0, n), 10, &a, &back, &err) == ST_OK)
            assert_int_equal(back.n, 1); /* only a cut at the border of a label is whole */
    assert_int_equal(labels_from_wire(buf_view(&b), 1, &a, &back, &err), ST_LIMIT);
    buf_clear(&b);
    labels_print(&b, ls);
    buf_ch(&b, 0);
    assert_string_equal(b.p, "up{z=\"1\"}");
    buf_fini(&b);
    arena_fini(&a);
}

static void duplicate_names_are_refused(void **state)
{
    struct label in[] = {{SV("b"), SV("1")}, {SV("a"), SV("1")}, {SV("b"), SV("2")}};
    struct labels ls = {in, 3};
    struct sv dup;

    (void)state;
    assert_false(labels_canonical(&ls, &dup));
    assert_true(sv_is(dup, "b"));
}

static void duplicate_names_are_refused_also_when_already_sorted(void **state)
{
    struct label in[] = {{SV("a"), SV("1")}, {SV("b"), SV("1")}, {SV("b"), SV("2")}};
    struct labels ls = {in, 3};
    struct sv dup;

    (void)state;
    assert_false(labels_canonical(&ls, &dup));
}

static void check_match(enum matcher_op op, const char *re, const char *value, bool want)
{
    struct matcher *m;
    struct err err;

    OK(matcher_new(op, SV("l"), sv_of(re), &m, &err));
    if (matcher_matches(m, sv_of(value)) != want)
        fail_msg("%s against \"%s\": want %d", re, value, want);
    matcher_free(m);
}

static void matchers_agree_with_the_engine_on_every_shape(void **state)
{
    static const char *const patterns[] = {
        "",      "a",      "a|b",     "(a|b)",  "(?:a|bc)", ".*",    ".+",     "a.*",
        ".*a",   ".*a.*",  "a.+",     "a\\.b",  "a\\.b|c",  "[ab]c", "a?b",    "ab*",
        "a|",    "|a",     "(a)|(b)", "(?i)ab", "a.b",      "x{2}",  "ab.*|c", ".*b|c",
        "a\\d+", "(a|b)c", "a(b|c)",  "^a$",    "(a|b)(c)", "a||b"};
    static const char *const values[] = {"",    "a",   "b",    "ab", "abc", "bc",
                                         "a.b", "axb", "c",    "ac", "AB",  "xx",
                                         "aa",  "ba",  "b\na", "a1", "cab", "a|b"};

    (void)state;
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
        for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
            struct regex *re;
            struct err err;
            bool want;

            OK(regex_new(sv_of(patterns[i]), &re, &err));
            want = regex_match(re, sv_of(values[j]));
            regex_free(re);
            check_match(MATCH_RE, patterns[i], values[j], want);
            check_match(MATCH_NRE, patterns[i], values[j], !want);
        }
}

static void columns_sort_and_merge_with_the_first_written_winning(void **state)
{
    struct samples a, b;

    (void)state;
    samples_init(&a);
    samples_init(&b);
    samples_push(&a, 30, 3);
    samples_push(&a, 10, 1);
    samples_push(&a, 30, 99);
    samples_sort(&a);
    assert_int_equal(a.n, 2);
    assert_true(a.t_ms[0] == 10 && a.t_ms[1] == 30 && a.f[1] == 3);
    samples_push(&b, 20, 2);
    samples_push(&b, 30, 77);
    samples_push(&b, 40, 4);
    samples_merge(&a, &b);
    assert_int_equal(a.n, 4);
    assert_true(a.t_ms[1] == 20 && a.f[2] == 3 && a.t_ms[3] == 40);
    samples_fini(&a);
    samples_fini(&b);
}

static void label_rules_give_the_reason(void **state)
{
    struct label_rules r = {3, 8, 8, 20};
    char why[200];
    struct {
        struct label l[4];
        size_t n;
        enum verdict want;
    } cases[] = {
        {{{SV("__name__"), SV("up")}}, 1, VERDICT_STORED},
        {{{SV("a"), SV("up")}}, 1, VERDICT_NO_NAME},
        {{{SV("__name__"), SV("a\xff")}}, 1, VERDICT_BAD_NAME},
        {{{SV("__name__"), SV("up")}, {SV("a"), SV("\xff")}}, 2, VERDICT_BAD_LABEL},
        {{{SV("__name__"), SV("up")}, {SV("123456789"), SV("x")}}, 2, VERDICT_LONG_NAME},
        {{{SV("__name__"), SV("up")}, {SV("a"), SV("123456789")}}, 2, VERDICT_LONG_VALUE},
        {{{SV("__name__"), SV("up")}, {SV("a"), SV("1")}, {SV("b"), SV("1")}, {SV("c"), SV("1")}},
         4,
         VERDICT_MANY_LABELS},
        {{{SV("__name__"), SV("up")}, {SV("abcdef"), SV("1234567")}}, 2, VERDICT_LABELS_SIZE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct labels ls = {cases[i].l, cases[i].n};

        assert_int_equal(labels_check(&ls, &r, why, sizeof(why)), cases[i].want);
    }
}

static void merging_nothing_is_empty_and_complete(void **state)
{
    struct series_set *s;
    struct err err;
    bool more = true;

    (void)state;
    OK(merge_sets(NULL, NULL, 0, &s, &err));
    OK(series_set_next(s, &more, &err));
    assert_false(more);
    assert_true(s->outcome.complete);
    series_set_close(s);
}

struct fake {
    struct series_set base;
    const char *const *names;
    size_t n, at;
    double f;
    struct label label;
};

static enum status fake_next(struct series_set *s, bool *ret_more, struct err *err)
{
    struct fake *f = (struct fake *)s;

    (void)err;
    *ret_more = f->at < f->n;
    if (!*ret_more) {
        s->outcome.complete = true;
        return ST_OK;
    }
    f->label = (struct label){SV("__name__"), sv_of(f->names[f->at++])};
    s->labels = (struct labels){&f->label, 1};
    return ST_OK;
}

static enum status fake_read(struct series_set *s, struct samples *out, struct err *err)
{
    (void)err;
    samples_clear(out);
    samples_push(out, 1, ((struct fake *)s)->f);
    samples_push(out, (int64_t)((struct fake *)s)->f + 10, ((struct fake *)s)->f);
    return ST_OK;
}

static void fake_close(struct series_set *s)
{
    (void)s;
}

static void sets_merge_by_labels_and_the_lowest_index_wins(void **state)
{
    static const struct series_set_ops ops = {fake_next, fake_read, fake_close};
    static const char *const one[] = {"a", "c"}, *const two[] = {"b", "c"};
    struct fake x = {{.ops = &ops}, one, 2, 0, 1, {{0}, {0}}},
                y = {{.ops = &ops}, two, 2, 0, 2, {{0}, {0}}};
    struct series_set *sets[] = {&x.base, &y.base}, *s;
    struct samples out;
    struct err err;
    bool more;
    char seen[8] = "";

    (void)state;
    samples_init(&out);
    OK(merge_sets(NULL, sets, 2, &s, &err));
    for (;;) {
        OK(series_set_next(s, &more, &err));
        if (!more)
            break;
        OK(series_set_read(s, &out, &err));
        snprintf(seen + strlen(seen), 3, SV_FMT, SV_ARG(s->labels.p[0].value));
        if (sv_is(s->labels.p[0].value, "c")) {
            assert_int_equal(out.n, 3);
            assert_true(out.f[0] == 1);
        }
    }
    assert_string_equal(seen, "abc");
    assert_true(s->outcome.complete);
    series_set_close(s);
    samples_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_become_canonical_and_survive_the_wire),
        cmocka_unit_test(duplicate_names_are_refused),
        cmocka_unit_test(duplicate_names_are_refused_also_when_already_sorted),
        cmocka_unit_test(matchers_agree_with_the_engine_on_every_shape),
        cmocka_unit_test(columns_sort_and_merge_with_the_first_written_winning),
        cmocka_unit_test(label_rules_give_the_reason),
        cmocka_unit_test(merging_nothing_is_empty_and_complete),
        cmocka_unit_test(sets_merge_by_labels_and_the_lowest_index_wins),
    };

    return RUN(tests);
}
