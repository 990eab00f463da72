/* Head, local blocks and bucket as one storage: nothing twice, nothing missed, first written wins,
 * while blocks travel. */
#include "node.h"

#include "ingester/ship.h"
#include "querier/querier.h"

#include <pthread.h>

struct world {
    struct node *n;
    struct sgw *sgw;
    struct storage *both, *head_only, *bucket_only;
};

static void tell_gateway(void *arg, struct sv tenant, struct sv ulid)
{
    sgw_shipped(((struct world *)arg)->sgw, tenant, ulid);
}

static int set_up(void **state)
{
    struct world *w = heap_new(struct world);
    struct node *n = w->n = node_new();
    struct sgw_opts o = {.fs = fs_posix(),
                         .clk = &n->clk.clk,
                         .bucket = &n->bucket.base,
                         .catalogue = n->catalogue,
                         .metrics = n->metrics,
                         .boot = 7};
    struct err err = ERR_INIT;

    n->opts.on_shipped = tell_gateway;
    n->opts.on_shipped_arg = w;
    w->sgw = sgw_new(&o);
    OK(sgw_sync(w->sgw, &err)); /* before the first listing no answer is complete */
    node_up(n);
    w->both = querier_new(n->ing, w->sgw);
    w->head_only = querier_new(n->ing, NULL);
    w->bucket_only = querier_new(NULL, w->sgw);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    querier_free(w->both);
    querier_free(w->head_only);
    querier_free(w->bucket_only);
    sgw_free(w->sgw);
    node_free(w->n);
    heap_free(w);
    return 0;
}

static void expect(struct world *w, const struct storage *s, const char *want)
{
    struct who who;
    struct query_ctx ctx = node_ctx(w->n, &who, "t");
    struct select_req req = {.range = ALL};
    struct series_set *set;
    struct err err = ERR_INIT;
    struct buf out;

    buf_init(&out, 1 << 20);
    OK(s->ops->select(s, &ctx, &req, &set, &err));
    node_print(set, &out);
    if (strcmp(out.p, want) != 0)
        fail_msg("have:\n%.2000s\nwant:\n%.2000s", out.p, want);
    buf_fini(&out);
}

/* The whole head into local blocks. */
static void cut(struct world *w)
{
    atomic_fetch_add(&w->n->clk.mono_ns, INT64_C(3600000000000));
    ingester_step_cut(w->n->ing);
    ingester_step_settle(w->n->ing); /* and out of the head */
    assert_int_equal(node_stats(w->n, "t").samples, 0);
}

static void an_answer_is_the_same_wherever_the_block_is(void **state)
{
    struct world *w = *state;

    expect(w, w->both, "");
    node_put(w->n, "t", "a", T0, 1);
    node_put(w->n, "t", "b", T0, 2);
    expect(w, w->both, "a 0=1;b 0=2;");
    cut(w);
    expect(w, w->both, "a 0=1;b 0=2;");
    ingester_step_ship(w->n->ing);
    expect(w, w->both, "a 0=1;b 0=2;");
    expect(w, w->head_only, "");
    expect(w, w->bucket_only, "a 0=1;b 0=2;");
    /* one series in all three places */
    node_put(w->n, "t", "a", T0 + WINDOW, 3);
    cut(w);
    node_put(w->n, "t", "a", T0 + 2 * WINDOW, 4);
    node_put(w->n, "t", "c", T0 + 2 * WINDOW, 5);
    expect(w, w->both, "a 0=1 120=3 240=4;b 0=2;c 240=5;");
    expect(w, w->head_only, "a 120=3 240=4;c 240=5;");
}

/* Each block also starts earlier than the one before, so that order of time is not order of
 * writing. */
static void the_first_written_wins_across_all_tiers(void **state)
{
    struct world *w = *state;

    node_put(w->n, "t", "a", T0 + 20 * MINUTE, 1);
    cut(w);
    ingester_step_ship(w->n->ing);
    node_put(w->n, "t", "a", T0 + 20 * MINUTE, 99);
    node_put(w->n, "t", "a", T0 + 10 * MINUTE, 2);
    expect(w, w->both, "a 10=2 20=1;"); /* bucket, head */
    cut(w);
    expect(w, w->both, "a 10=2 20=1;"); /* bucket, local */
    node_put(w->n, "t", "a", T0 + 20 * MINUTE, 98);
    node_put(w->n, "t", "a", T0 + 10 * MINUTE, 97);
    node_put(w->n, "t", "a", T0, 3);
    expect(w, w->both, "a 0=3 10=2 20=1;"); /* bucket, local, head */
    cut(w);
    expect(w, w->both, "a 0=3 10=2 20=1;"); /* bucket, two local */
    ingester_step_ship(w->n->ing);
    expect(w, w->both, "a 0=3 10=2 20=1;"); /* three in the bucket */
    assert_int_equal(node_stats(w->n, "t").blocks, 0);
}

/* As when a process ended after an upload: the block is here and there. */
static void upload_and_keep(struct world *w)
{
    struct who who;
    struct query_ctx ctx = node_ctx(w->n, &who, "t");
    struct block_meta *m = heap_new(struct block_meta);
    struct names local;
    char blocks[FS_PATH_MAX], tenant[FS_PATH_MAX], dir[FS_PATH_MAX];
    struct err err = ERR_INIT;

    OK(ingester_local_blocks(w->n->ing, &ctx, &local, &err));
    assert_int_equal(local.n, 1);
    memcpy(m->ulid, local.p[0].p, ULID_LEN);
    node_path(w->n, "blocks", blocks);
    assert_true(fs_join(tenant, blocks, "t") && fs_join(dir, tenant, m->ulid));
    sgw_shipped(w->sgw, SV("t"), local.p[0]);
    OK(ship_block(&w->n->bucket.base, fs_posix(), dir, SV("t"), m, &err));
    OK(sgw_sync(w->sgw, &err));
    heap_free(m);
}

static double open_blocks(struct world *w)
{
    return metric_get(metric_gauge(w->n->metrics, "engram_storegateway_open_blocks", "", ""));
}

static void a_block_here_and_there_is_read_here(void **state)
{
    struct world *w = *state;

    node_put(w->n, "t", "a", T0, 1);
    cut(w);
    upload_and_keep(w);
    expect(w, w->both, "a 0=1;");
    assert_true(open_blocks(w) == 0); /* the gateway did not touch it */
    expect(w, w->bucket_only, "a 0=1;");
    assert_true(open_blocks(w) == 1);
    ingester_step_ship(w->n->ing);
    assert_int_equal(node_stats(w->n, "t").blocks, 0);
    expect(w, w->both, "a 0=1;");
}

static void a_select_that_began_before_the_block_left_misses_nothing(void **state)
{
    struct world *w = *state;
    struct who who;
    struct query_ctx ctx = node_ctx(w->n, &who, "t");
    struct select_req req = {.range = ALL};
    struct series_set *sets[3];
    struct err err = ERR_INIT;
    struct buf out;

    node_put(w->n, "t", "a", T0, 1);
    OK(w->both->ops->select(w->both, &ctx, &req, &sets[0], &err));
    atomic_fetch_add(&w->n->clk.mono_ns, INT64_C(3600000000000));
    ingester_step_cut(w->n->ing);
    OK(w->both->ops->select(w->both, &ctx, &req, &sets[1], &err));
    ingester_step_ship(w->n->ing);
    OK(w->both->ops->select(w->both, &ctx, &req, &sets[2], &err));
    for (int i = 0; i < 3; i++) {
        buf_init(&out, 1000);
        node_print(sets[i], &out);
        assert_string_equal(out.p, "a 0=1;");
        buf_fini(&out);
    }
}

/* A clock that lets the shipper run, once, in the middle of the ingester's select: after the head
 * was looked at and before the local blocks are. */
struct moment {
    struct clk clk;
    struct world *w;
    bool over;
};

static void *ship(void *arg)
{
    ingester_step_ship(((struct world *)arg)->n->ing);
    return NULL;
}

static int64_t moment_ns(const struct clk *c)
{
    struct moment *m = (struct moment *)(uintptr_t)c;
    pthread_t t;

    if (!m->over) {
        m->over = true;
        pthread_create(&t, NULL, ship, m->w);
        pthread_join(t, NULL);
        assert_int_equal(node_stats(m->w->n, "t").blocks, 0);
    }
    return 0;
}

static void a_block_that_leaves_during_the_select_is_not_missed(void **state)
{
    struct world *w = *state;
    struct moment moment = {.clk = {node_wall, moment_ns}, .w = w};
    struct who who;
    struct query_ctx ctx = node_ctx(w->n, &who, "t");
    struct matcher *m;
    struct select_req req = {
        .matchers = (const struct matcher *const *)&m, .matchers_n = 1, .range = ALL};
    struct series_set *set;
    struct err err = ERR_INIT;
    struct buf out;

    node_put(w->n, "t", "a1", T0, 1);
    cut(w);
    node_put(w->n, "t", "b1", T0 + WINDOW, 2);
    OK(matcher_new(MATCH_RE, SV("i"), SV("[ab][0-9]"), &m, &err)); /* looks at every value */
    ctx.clk = &moment.clk;
    ctx.deadline_ns = 1;
    OK(w->both->ops->select(w->both, &ctx, &req, &set, &err));
    assert_true(moment.over);
    buf_init(&out, 1000);
    node_print(set, &out);
    assert_string_equal(out.p, "a1 0=1;b1 120=2;");
    buf_fini(&out);
    matcher_free(m);
}

static void names_and_values_are_those_of_both(void **state)
{
    struct world *w = *state;
    struct who who;
    struct query_ctx ctx = node_ctx(w->n, &who, "t");
    const struct storage *s = w->both;
    struct matcher *a, *z;
    struct select_req reqs[2] = {
        {.matchers = (const struct matcher *const *)&a, .matchers_n = 1},
        {.matchers = (const struct matcher *const *)&z, .matchers_n = 1}};
    struct trange late = {T0 + WINDOW, INT64_MAX};
    struct names names;
    struct err err = ERR_INIT;

    OK(matcher_new(MATCH_EQ, SV("i"), SV("a"), &a, &err));
    OK(matcher_new(MATCH_EQ, SV("i"), SV("z"), &z, &err));
    node_put(w->n, "t", "a", T0, 1);
    node_put(w->n, "t", "c", T0, 1);
    cut(w);
    ingester_step_ship(w->n->ing);
    node_put(w->n, "t", "b", T0 + WINDOW, 1);
    node_put(w->n, "t", "c", T0 + WINDOW, 1);
    node_put(w->n, "t", "z", T0 + WINDOW, 1);
    OK(s->ops->label_names(s, &ctx, NULL, 0, ALL, 0, &names, &err));
    assert_int_equal(names.n, 2);
    assert_true(sv_is(names.p[0], LABEL_NAME) && sv_is(names.p[1], "i"));
    assert_true(names.complete && !names.truncated);
    OK(s->ops->label_names(s, &ctx, NULL, 0, ALL, 1, &names, &err));
    assert_true(names.n == 1 && names.truncated);
    OK(s->ops->label_values(s, &ctx, SV("i"), NULL, 0, ALL, 0, &names, &err));
    assert_int_equal(names.n, 4);
    assert_true(sv_is(names.p[0], "a") && sv_is(names.p[1], "b") && sv_is(names.p[2], "c") &&
                sv_is(names.p[3], "z"));
    OK(s->ops->label_values(s, &ctx, SV("i"), NULL, 0, ALL, 3, &names, &err));
    assert_true(names.n == 3 && names.truncated && sv_is(names.p[2], "c"));
    OK(s->ops->label_values(s, &ctx, SV("i"), NULL, 0, ALL, 4, &names, &err));
    assert_true(names.n == 4 && !names.truncated);
    OK(s->ops->label_values(s, &ctx, SV("i"), reqs, 2, ALL, 0, &names, &err)); /* any of them */
    assert_int_equal(names.n, 2);
    assert_true(sv_is(names.p[0], "a") && sv_is(names.p[1], "z"));
    OK(s->ops->label_values(s, &ctx, SV("i"), reqs, 2, late, 0, &names, &err));
    assert_true(names.n == 1 && sv_is(names.p[0], "z"));
    OK(s->ops->label_values(s, &ctx, SV("nothing"), NULL, 0, ALL, 0, &names, &err));
    assert_true(names.n == 0 && names.complete);
    matcher_free(a);
    matcher_free(z);
}

static struct change_mark mark_of(const struct world *w, const struct storage *s)
{
    struct who who;
    struct change_mark m;

    node_ctx(w->n, &who, "t");
    s->ops->mark(s, &who, (struct trange){T0, T0 + WINDOW}, &m);
    return m;
}

static bool same(struct change_mark a, struct change_mark b)
{
    return a.boot == b.boot && memcmp(&a.counters, &b.counters, sizeof(a.counters)) == 0;
}

static void a_mark_changes_with_either_side(void **state)
{
    struct world *w = *state;
    struct change_mark first, before, after;
    struct err err = ERR_INIT;
    char path[FS_PATH_MAX];

    first = mark_of(w, w->both);
    assert_true(same(first, mark_of(w, w->both)));
    assert_true(first.settled_ms == INT64_MAX);
    assert_true(first.boot != mark_of(w, w->head_only).boot);
    assert_true(first.boot != mark_of(w, w->bucket_only).boot);
    node_put(w->n, "t", "a", T0 + WINDOW / 2, 1);
    before = mark_of(w, w->both);
    assert_false(same(first, before)); /* there is a head */
    assert_true(before.settled_ms <= T0 + WINDOW / 2);
    assert_true(before.settled_ms == mark_of(w, w->head_only).settled_ms); /* the lesser one */
    /* The way of a block is no change. */
    cut(w);
    ingester_step_ship(w->n->ing);
    OK(sgw_sync(w->sgw, &err));
    after = mark_of(w, w->both);
    assert_true(same(before, after));
    /* A block that somebody takes away is one. */
    OK(fs_rmtree(fs_posix(), node_path(w->n, "bucket/t", path), &err));
    OK(sgw_sync(w->sgw, &err));
    assert_false(same(after, mark_of(w, w->both)));
    assert_true(same(mark_of(w, w->head_only), mark_of(w, w->head_only)));
    expect(w, w->both, "");
}

/* --- threads: a query sees all that was appended before it, wherever it travels --- */
#define SAMPLES 400

struct party {
    struct world *w;
    _Atomic int *pushed;
    _Atomic bool *stop;
};

static void *pusher(void *arg)
{
    struct party *p = arg;

    for (int k = 0; k < SAMPLES; k++) {
        node_put(p->w->n, "t", "a", T0 + k * 10 * MINUTE, k);
        atomic_store(p->pushed, k + 1);
    }
    return NULL;
}

static void *looker(void *arg)
{
    struct party *p = arg;

    while (!atomic_load(p->stop)) {
        const struct storage *q = p->w->both;
        struct arena arena;
        struct who who = {.tenant = SV("t")};
        struct query_ctx ctx = {.who = &who, .clk = clk_system(), .arena = &arena};
        struct select_req req = {.range = ALL};
        size_t least = (size_t)atomic_load(p->pushed), seen = 0;
        struct series_set *set;
        struct samples s;
        struct err err = ERR_INIT;
        bool more = true;

        arena_init(&arena, 64 << 20);
        samples_init(&s);
        if (q->ops->select(q, &ctx, &req, &set, &err) != ST_OK)
            abort();
        while (series_set_next(set, &more, &err) == ST_OK && more) {
            if (series_set_read(set, &s, &err) != ST_OK)
                abort();
            for (size_t k = 0; k < s.n; k++)
                if (s.t_ms[k] != T0 + (int64_t)k * 10 * MINUTE || s.f[k] != (double)k)
                    abort();
            seen = s.n;
        }
        if (err.st != ST_OK || seen < least)
            abort();
        series_set_close(set);
        samples_fini(&s);
        arena_fini(&arena);
    }
    return NULL;
}

static void *keeper(void *arg)
{
    struct party *p = arg;

    while (!atomic_load(p->stop)) {
        ingester_step_cut(p->w->n->ing);
        ingester_step_settle(p->w->n->ing);
    }
    return NULL;
}

static void *shipper(void *arg)
{
    struct party *p = arg;

    while (!atomic_load(p->stop)) {
        struct err err = ERR_INIT;

        ingester_step_ship(p->w->n->ing);
        if (sgw_sync(p->w->sgw, &err) != ST_OK)
            abort();
    }
    return NULL;
}

static void a_query_misses_nothing_while_blocks_travel(void **state)
{
    struct world *w = *state;
    void *(*const roles[])(void *) = {pusher, looker, keeper, shipper};
    _Atomic int pushed = 0;
    _Atomic bool stop = false;
    struct party p = {w, &pushed, &stop};
    pthread_t t[4];

    for (int k = 0; k < 4; k++)
        pthread_create(&t[k], NULL, roles[k], &p);
    pthread_join(t[0], NULL);
    atomic_store(&stop, true);
    for (int k = 1; k < 4; k++)
        pthread_join(t[k], NULL);
    assert_true(atomic_load(&w->n->bucket.puts) > 0);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_answer_is_the_same_wherever_the_block_is),
        CASE(the_first_written_wins_across_all_tiers),
        CASE(a_block_here_and_there_is_read_here),
        CASE(a_select_that_began_before_the_block_left_misses_nothing),
        CASE(a_block_that_leaves_during_the_select_is_not_missed),
        CASE(names_and_values_are_those_of_both),
        CASE(a_mark_changes_with_either_side),
        CASE(a_query_misses_nothing_while_blocks_travel),
    };

    return RUN(tests);
}
