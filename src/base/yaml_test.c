/* The settings' YAML: what is taken, what is refused, and that each refusal names its line. */
#include "unit.h"

#include "base/buf.h"
#include "base/clk.h"
#include "base/yaml.h"

static const struct yaml *at(const struct yaml *list, size_t i)
{
    const struct yaml *y = list->child;

    while (y && i--)
        y = y->next;
    return y;
}

static void maps_lists_and_scalars_keep_their_order_and_lines(void **state)
{
    struct err err = ERR_INIT;
    struct yaml_tree *t;
    const struct yaml *y;
    bool b = false;

    (void)state;
    OK(yaml_tree_parse(SV("listen: 127.0.0.1:9009\n"
                          "# a comment\n"
                          "cache:\n"
                          "  memcached: [a:1, 'b:2']\n"
                          "  memory: 64MiB\n"
                          "open: yes\n"
                          "none:\n"
                          "text: \"null\"\n"),
                       &t, &err));
    y = yaml_root(t);
    assert_int_equal(y->kind, YAML_MAP);
    assert_int_equal(y->n, 5);
    assert_string_equal(yaml_get(y, "listen")->text.p, "127.0.0.1:9009");
    assert_int_equal(yaml_get(y, "open")->key_line, 6);
    assert_true(yaml_bool(yaml_get(y, "open"), &b) && b);
    assert_true(yaml_is_null(yaml_get(y, "none")));
    assert_false(yaml_is_null(yaml_get(y, "text")));
    assert_null(yaml_get(y, "absent"));
    y = yaml_get(yaml_get(y, "cache"), "memcached");
    assert_int_equal(y->kind, YAML_LIST);
    assert_int_equal(y->n, 2);
    assert_int_equal(y->line, 4);
    assert_string_equal(at(y, 1)->text.p, "b:2");
    assert_true(at(y, 1)->quoted);
    assert_null(at(y, 2));
    yaml_tree_free(t);
}

static void an_empty_file_is_an_empty_map(void **state)
{
    static const char *const texts[] = {"", "\n\n", "# nothing\n", "---\n", "~\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct err err = ERR_INIT;
        struct yaml_tree *t;

        OK(yaml_tree_parse(sv_of(texts[i]), &t, &err));
        assert_int_equal(yaml_root(t)->kind, YAML_MAP);
        assert_int_equal(yaml_root(t)->n, 0);
        yaml_tree_free(t);
    }
}

static void what_is_refused_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "line 3: key \"a\" is there twice, first on line 1"},
        {"a: &x 1\n", "line 1: anchors (&x)"},
        {"a: 1\nb: *x\n", "line 2: aliases (*x)"},
        {"a: !!str 1\n", "line 1: tags"},
        {"a: 1\n---\nb: 2\n", "second document"},
        {"? [1, 2]\n: x\n", "line 1: a key must be a plain text"},
        {"a: 1\n b: 2\n", "line 2:"},
        {"a: [1, 2\n", "line"},
        {"a: \"x\\0y\"\n", "line 1: a NUL character"},
        {"a: \xff\xfe\n", "UTF-8"},
        {"\"\": 1\n", "line 1: empty key"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = ERR_INIT;
        struct yaml_tree *t;

        assert_int_equal(yaml_tree_parse(sv_of(cases[i].text), &t, &err), ST_INVALID);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("case %zu says \"%s\", not \"%s\"", i, err.msg, cases[i].says);
    }
}

/* libyaml alone would need half a minute for the last of these. */
static void depth_and_size_have_ceilings_that_are_met_early(void **state)
{
    struct err err = ERR_INIT;
    struct yaml_tree *t;
    struct buf b;
    int64_t from = clk_mono_ns(clk_system());

    (void)state;
    buf_init(&b, YAML_MAX_BYTES + 1);
    for (int i = 0; i < YAML_MAX_DEPTH; i++)
        buf_ch(&b, '[');
    for (int i = 0; i < YAML_MAX_DEPTH; i++)
        buf_ch(&b, ']');
    OK(yaml_tree_parse(buf_view(&b), &t, &err));
    yaml_tree_free(t);
    buf_clear(&b);
    while (b.n < YAML_MAX_BYTES)
        buf_ch(&b, '[');
    assert_int_equal(yaml_tree_parse(buf_view(&b), &t, &err), ST_LIMIT);
    assert_non_null(strstr(err.msg, "deeper than 32"));
    buf_clear(&b);
    for (int i = 0; b.n < YAML_MAX_BYTES - 2000; i++) {
        buf_printf(&b, "%*s- \n", i, "");
    }
    assert_int_equal(yaml_tree_parse(buf_view(&b), &t, &err), ST_LIMIT);
    buf_clear(&b);
    while (b.n <= YAML_MAX_BYTES)
        buf_ch(&b, '\n');
    assert_int_equal(yaml_tree_parse(buf_view(&b), &t, &err), ST_LIMIT);
    buf_fini(&b);
    assert_true(clk_mono_ns(clk_system()) - from < 5000000000);
}

static void a_map_of_many_keys_is_read_in_linear_time(void **state)
{
    struct err err = ERR_INIT;
    struct yaml_tree *t;
    struct buf b;

    (void)state;
    buf_init(&b, YAML_MAX_BYTES);
    for (int i = 0; i < 50000; i++)
        buf_printf(&b, "t%d: {a: %d}\n", i, i);
    OK(yaml_tree_parse(buf_view(&b), &t, &err));
    assert_int_equal(yaml_root(t)->n, 50000);
    assert_string_equal(yaml_get(yaml_get(yaml_root(t), "t49999"), "a")->text.p, "49999");
    yaml_tree_free(t);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_lists_and_scalars_keep_their_order_and_lines),
        cmocka_unit_test(an_empty_file_is_an_empty_map),
        cmocka_unit_test(what_is_refused_is_named_with_its_line),
        cmocka_unit_test(depth_and_size_have_ceilings_that_are_met_early),
        cmocka_unit_test(a_map_of_many_keys_is_read_in_linear_time),
    };

    return RUN(tests);
}
