/* Fuzz target: PromQL text. What parses must print to text that parses again and prints the same;
 * JSON, prettified text (which must parse to the same too), time ranges, binding and duration
 * values run on every tree. */
#include "promql/promql.h"

#include <assert.h>
#include <stdlib.h>

#define ARENA_MAX ((size_t)64 << 20)
#define OUT_MAX   ((size_t)32 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const struct promql_opts plain, all_features = {true, true, true, true, true, true};

static bool holds(const struct buf *b, struct sv what)
{
    return sv_search(buf_view(b), what) != SIZE_MAX;
}

/* Not all comes back as it went: times with more digits than a double has, "+Inf" whose plus becomes
 * a sign, durations that need parentheses. */
static bool same_tree(const struct buf *text, const struct buf *a, const struct buf *b)
{
    return holds(text, SV(" @ ")) || holds(text, SV("Inf")) || holds(a, SV("durationExpr")) ||
           sv_eq(buf_view(a), buf_view(b));
}

/* text, which came from a tree that prints as `want` and `json`, makes the same tree. */
static void again(const struct buf *text, const struct buf *want, const struct buf *json)
{
    struct arena arena;
    struct err err = ERR_INIT;
    struct expr *e;
    struct buf out, tree;

    if (text->n > PROMQL_TEXT_MAX)
        return;
    arena_init(&arena, ARENA_MAX);
    buf_init(&out, OUT_MAX);
    buf_init(&tree, OUT_MAX);
    if (promql_parse(&arena, buf_view(text), &all_features, &e, &err) != ST_OK)
        abort();
    promql_print(&out, e);
    promql_json(&tree, e);
    if (!holds(want, SV(" @ ")) && !sv_eq(buf_view(&out), buf_view(want)))
        abort();
    if (buf_ok(json) && !same_tree(want, json, &tree))
        abort();
    expr_free(e);
    buf_fini(&out);
    buf_fini(&tree);
    arena_fini(&arena);
}

static void walk(struct expr *e, struct arena *arena)
{
    struct promql_params params = {
        .start_ms = 1000000, .end_ms = 5000000, .step_ms = 15000, .lookback_ms = 300000};
    struct promql_reads reads;
    struct buf one, many, json;
    struct err err = ERR_INIT;

    buf_init(&one, OUT_MAX);
    buf_init(&many, OUT_MAX);
    buf_init(&json, OUT_MAX);
    promql_print(&one, e);
    promql_pretty(&many, e);
    promql_json(&json, e);
    if (buf_ok(&one))
        again(&one, &one, &json);
    if (buf_ok(&many))
        again(&many, &one, &json);
    promql_reads(e, &params, arena, &reads);
    for (size_t i = 1; i < reads.n; i++)
        assert(reads.p[i - 1].to_ms < reads.p[i].from_ms);
    if (promql_durations(e, &params, &err) != ST_OK)
        assert(err.st == ST_EXEC);
    promql_bind(e, params.start_ms, params.end_ms);
    buf_fini(&one);
    buf_fini(&many);
    buf_fini(&json);
}

static void parse(struct sv text, const struct promql_opts *opts)
{
    struct arena arena;
    struct err err = ERR_INIT;
    struct expr *e;

    arena_init(&arena, ARENA_MAX);
    if (promql_parse(&arena, text, opts, &e, &err) == ST_OK) {
        walk(e, &arena);
        expr_free(e);
    } else {
        assert(err.st == ST_INVALID || err.st == ST_LIMIT);
        assert(err.msg[0]);
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct sv text = sv_make(p ? (const char *)p : "", n);
    struct arena arena;
    struct err err = ERR_INIT;
    struct expr *e;

    parse(text, &plain);
    parse(text, &all_features);
    arena_init(&arena, ARENA_MAX);
    if (promql_parse_selector(&arena, text, &e, &err) == ST_OK)
        expr_free(e);
    arena_fini(&arena);
    return 0;
}
