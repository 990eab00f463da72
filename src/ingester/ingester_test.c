/* The ingester: tenants, one log, cuts and their reasons, the way of a block into the bucket, and
 * what stays true while the disk or the bucket fails. */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

static int set_up(void **state)
{
    *state = node_new();
    node_up(*state);
    return 0;
}

static int tear_down(void **state)
{
    node_free(*state);
    return 0;
}

/* --- the log --- */
struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
    enum status st;
};

static void told(void *arg, enum status st, const struct err *err)
{
    struct waiter *w = arg;

    (void)err;
    pthread_mutex_lock(&w->mutex);
    w->done = true;
    w->st = st;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static enum status durable(struct node *n, uint64_t pos)
{
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, ST_OK};

    ingester_durable(n->ing, pos, told, &w);
    pthread_mutex_lock(&w.mutex);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    return w.st;
}

static void what_is_durable_is_there_after_a_restart(void **state)
{
    struct node *n = *state;
    uint64_t key = ingester_alias_key(n->ing);

    node_put(n, "t", "a", T0, 1);
    node_put(n, "t", "a", T0 + MINUTE, 2);
    node_put(n, "t", "b", T0, 3);
    assert_true(n->res.log_pos > 0);
    assert_int_equal(durable(n, n->res.log_pos), ST_OK);
    node_expect(n, "t", "a 0=1 1=2;b 0=3;");
    node_restart(n);
    node_expect(n, "t", "a 0=1 1=2;b 0=3;");
    assert_true(ingester_alias_key(n->ing) != key);
    node_put(n, "t", "a", T0 + 2 * MINUTE, 4); /* the replayed series goes on */
    node_restart(n);
    node_expect(n, "t", "a 0=1 1=2 2=4;b 0=3;");
    assert_int_equal(node_stats(n, "t").series, 2);
}

static void tenants_are_kept_apart(void **state)
{
    struct node *n = *state;

    node_put(n, "one", "a", T0, 1);
    node_put(n, "two", "a", T0, 2);
    node_put(n, "two", "b", T0, 3);
    for (int round = 0; round < 3; round++) {
        node_expect(n, "one", "a 0=1;");
        node_expect(n, "two", "a 0=2;b 0=3;");
        node_expect(n, "three", "");
        if (round == 0)
            node_restart(n);
        if (round == 1) { /* and as blocks */
            atomic_fetch_add(&n->clk.mono_ns, INT64_C(3600000000000));
            ingester_step_cut(n->ing);
            assert_int_equal(node_local_folders(n, "one"), 1);
            assert_int_equal(node_local_folders(n, "two"), 1);
            node_restart(n);
        }
    }
}

static void an_unknown_tenant_has_an_empty_complete_answer(void **state)
{
    struct node *n = *state;
    struct who who;
    struct query_ctx ctx = node_ctx(n, &who, "nobody");
    struct select_req req = {.range = ALL};
    struct names names = {.n = 9};
    struct change_mark mark, later;
    struct err err = ERR_INIT;

    node_put(n, "t", "a", T0, 1);
    node_expect(n, "nobody", ""); /* asserts that it is complete */
    OK(ingester_label_names(n->ing, &ctx, &req, &names, &err));
    assert_true(names.n == 0 && names.complete && !names.truncated);
    names.n = 9;
    OK(ingester_label_values(n->ing, &ctx, SV("i"), &req, &names, &err));
    assert_true(names.n == 0 && names.complete);
    names.n = 9;
    OK(ingester_local_blocks(n->ing, &ctx, &names, &err));
    assert_true(names.n == 0 && names.complete);
    ingester_mark(n->ing, &who, ALL, &mark);
    assert_true(mark.settled_ms == INT64_MAX);
    /* asking makes no entry; writing does, and changes the mark */
    ingester_mark(n->ing, &who, ALL, &later);
    assert_memory_equal(&mark, &later, sizeof(mark));
    node_put(n, "nobody", "a", T0, 1);
    ingester_mark(n->ing, &who, ALL, &later);
    assert_true(memcmp(&mark.counters, &later.counters, sizeof(mark.counters)) != 0);
}

static void more_tenants_than_allowed_are_refused(void **state)
{
    struct node *n = *state;
    struct err err = ERR_INIT;

    node_down(n);
    n->opts.tenants_max = 2;
    node_up(n);
    node_put(n, "one", "a", T0, 1);
    node_put(n, "two", "a", T0, 1);
    assert_int_equal(node_try(n, "three", "a", T0, 1, &err), ST_UNAVAIL);
    assert_non_null(strstr(err.msg, "2 tenants"));
    node_put(n, "one", "a", T0 + MINUTE, 2);
    node_expect(n, "three", "");
    node_restart(n);
    node_expect(n, "one", "a 0=1 1=2;");
}

/* --- why a head is cut --- */
static void a_span_of_one_and_a_half_block_ranges_is_cut(void **state)
{
    struct node *n = *state;
    char *want;

    node_fill(n, "t", "a", T0, T0 + 3 * WINDOW / 2);
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, "t").blocks, 0);
    node_put(n, "t", "a", T0 + 3 * WINDOW / 2, 180);
    want = node_dump(n, "t");
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, "t").blocks, 1);
    assert_int_equal(node_stats(n, "t").samples, 7); /* from the next window on */
    node_rows_are(n, "t", 1, 0);
    node_expect(n, "t", want);
    ingester_step_cut(n->ing); /* that was all */
    assert_int_equal(node_stats(n, "t").blocks, 1);
    node_restart(n);
    node_expect(n, "t", want);
    node_rows_are(n, "t", 1, 0);
    heap_free(want);
}

static void an_idle_head_is_cut_by_the_monotonic_clock(void **state)
{
    struct node *n = *state;

    node_put(n, "idle", "a", T0, 1);
    atomic_fetch_add(&n->clk.wall_ms, 1000 * WINDOW); /* the wall clock may jump */
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, "idle").blocks, 0);
    atomic_fetch_add(&n->clk.mono_ns, INT64_C(3600000000000) - 1);
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, "idle").blocks, 0);
    node_put(n, "busy", "a", T0, 1);
    atomic_fetch_add(&n->clk.mono_ns, 1);
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, "idle").blocks, 1);
    assert_int_equal(node_stats(n, "idle").series, 0);
    assert_int_equal(node_stats(n, "busy").blocks, 0);
    node_expect(n, "idle", "a 0=1;");
}

/* Counts what the log has on disk. */
static size_t segments(struct node *n)
{
    char path[FS_PATH_MAX];
    struct fs_names names;
    struct err err = ERR_INIT;
    size_t count;

    OK(fs_list(fs_posix(), node_path(n, "wal", path), &names, &err));
    count = names.n;
    fs_names_free(&names);
    return count;
}

static double log_bytes(struct node *n)
{
    ingester_step_settle(n->ing);
    return metric_get(metric_gauge(n->metrics, "engram_ingester_log_bytes", "", ""));
}

static void the_head_with_the_oldest_part_of_a_full_log_is_cut(void **state)
{
    struct node *n = *state;

    node_put(n, "sleeper", "a", T0, 1);
    for (int k = 0; log_bytes(n) < 100000; k++) {
        node_put(n, "busy", "a", T0 + k, k);
        if (k % 64 == 0)
            assert_int_equal(durable(n, n->res.log_pos), ST_OK);
    }
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, "sleeper").blocks, 0); /* no ceiling is set */
    assert_true(log_bytes(n) >= 100000);
    node_down(n);
    n->opts.log_max_bytes = 50000;
    node_up(n);
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, "sleeper").blocks, 1);
    assert_int_equal(node_stats(n, "busy").blocks, 0);
    assert_true(log_bytes(n) > 50000); /* now busy holds it */
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, "busy").blocks, 1);
    assert_true(log_bytes(n) < 50000);
    node_expect(n, "sleeper", "a 0=1;");
}

static void the_log_goes_once_all_is_cut(void **state)
{
    struct node *n = *state;
    char *one, *two;

    for (int k = 0; segments(n) < 4; k++) {
        node_put(n, "one", "a", T0 + k, k);
        node_put(n, "two", "a", T0 + k, k);
        if (k % 64 == 0)
            assert_int_equal(durable(n, n->res.log_pos), ST_OK);
    }
    one = node_dump(n, "one");
    two = node_dump(n, "two");
    ingester_step_cut(n->ing);
    assert_true(segments(n) >= 4); /* nothing was due */
    atomic_fetch_add(&n->clk.mono_ns, INT64_C(3600000000000));
    ingester_step_cut(n->ing);
    assert_true(segments(n) <= 1);
    node_restart(n);
    assert_int_equal(node_stats(n, "one").samples, 0);
    node_expect(n, "one", one);
    node_expect(n, "two", two);
    heap_free(one);
    heap_free(two);
}

/* A query that was open during the cut keeps samples in the head, and so the log; nobody may have
 * to write anything for the log to go afterwards. */
static void the_log_goes_too_when_a_query_was_in_the_way(void **state)
{
    struct node *n = *state;
    struct who who;
    struct query_ctx ctx = node_ctx(n, &who, "t");
    struct select_req req = {.range = ALL};
    struct series_set *set;
    struct buf out;
    struct err err = ERR_INIT;

    node_put(n, "t", "a", T0, 1);
    OK(ingester_select(n->ing, &ctx, &req, &set, &err));
    atomic_fetch_add(&n->clk.mono_ns, INT64_C(3600000000000));
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, "t").blocks, 1);
    assert_true(node_stats(n, "t").log_needed_from < UINT64_MAX);
    buf_init(&out, 1000);
    node_print(set, &out);
    assert_string_equal(out.p, "a 0=1;");
    buf_fini(&out);
    ingester_step_settle(n->ing);
    ingester_step_cut(n->ing);
    assert_true(node_stats(n, "t").log_needed_from == UINT64_MAX);
    assert_true(log_bytes(n) < 200); /* of an empty segment */
    node_expect(n, "t", "a 0=1;");
}

/* --- into the bucket --- */
struct shipped {
    struct node *n;
    int calls;
    char ulid[ULID_LEN + 1];
};

static void on_shipped(void *arg, struct sv tenant, struct sv ulid)
{
    struct shipped *s = arg;

    s->calls++;
    snprintf(s->ulid, sizeof(s->ulid), SV_FMT, SV_ARG(ulid));
    assert_true(sv_is(tenant, "t"));
    /* Neither the catalogue nor the folder has moved on. */
    node_rows_are(s->n, "t", 1, 0);
    assert_int_equal(node_local_folders(s->n, "t"), 1);
    assert_int_equal(node_stats(s->n, "t").blocks, 1);
}

static void make_block(struct node *n, const char *tenant)
{
    node_put(n, tenant, "a", T0, 1);
    atomic_fetch_add(&n->clk.mono_ns, INT64_C(3600000000000));
    ingester_step_cut(n->ing);
    assert_int_equal(node_stats(n, tenant).blocks, 1);
}

static void a_block_is_announced_shipped_noted_and_let_go(void **state)
{
    struct node *n = *state;
    struct shipped s = {.n = n};

    node_down(n);
    n->opts.on_shipped = on_shipped;
    n->opts.on_shipped_arg = &s;
    node_up(n);
    make_block(n, "t");
    assert_int_equal(s.calls, 0);
    ingester_step_ship(n->ing);
    assert_int_equal(s.calls, 1);
    assert_true(node_bucket_has(n, "t", s.ulid, "meta.json"));
    assert_true(node_bucket_has(n, "t", s.ulid, "index"));
    node_rows_are(n, "t", 0, 1);
    assert_int_equal(node_local_folders(n, "t"), 0);
    assert_int_equal(node_stats(n, "t").blocks, 0);
    node_expect(n, "t", ""); /* the store gateway has it now */
    ingester_step_ship(n->ing);
    assert_int_equal(s.calls, 1);
    node_restart(n);
    node_rows_are(n, "t", 0, 1);
}

static void a_bucket_that_fails_keeps_the_block_here(void **state)
{
    struct node *n = *state;

    make_block(n, "t");
    log_set_level(LOG_ERROR + 1);
    for (int fails_at = 0; fails_at < 3; fails_at++) { /* of chunks, index, meta.json */
        atomic_store(&n->bucket.puts_left, fails_at);
        ingester_step_ship(n->ing);
        node_rows_are(n, "t", 1, 0);
        assert_int_equal(node_local_folders(n, "t"), 1);
        node_expect(n, "t", "a 0=1;");
    }
    log_set_level(LOG_ERROR);
    assert_true(metric_get(metric_counter(n->metrics, "engram_ingester_ship_failures_total", "",
                                          "")) == 3);
    node_restart(n);
    node_expect(n, "t", "a 0=1;");
    atomic_store(&n->bucket.puts_left, -1);
    ingester_step_ship(n->ing);
    node_rows_are(n, "t", 0, 1);
    assert_int_equal(node_local_folders(n, "t"), 0);
}

/* An upload to a bucket that hangs takes long, and cuts wait for it. So one is enough a step; and the
 * next step begins with another tenant. */
static void a_bucket_that_is_down_is_asked_once_a_step(void **state)
{
    struct node *n = *state;

    node_put(n, "one", "a", T0, 1);
    node_put(n, "two", "a", T0, 1);
    make_block(n, "three");
    log_set_level(LOG_ERROR + 1);
    atomic_store(&n->bucket.puts_left, 0);
    for (int step = 1; step <= 4; step++) {
        ingester_step_ship(n->ing);
        assert_int_equal(atomic_load(&n->bucket.refused), step);
    }
    atomic_store(&n->bucket.puts_left, -1);
    n->bucket.fails_for = "one/"; /* it alone must not keep the others back */
    ingester_step_ship(n->ing);
    ingester_step_ship(n->ing);
    log_set_level(LOG_ERROR);
    node_rows_are(n, "one", 1, 0);
    node_rows_are(n, "two", 0, 1);
    node_rows_are(n, "three", 0, 1);
    n->bucket.fails_for = NULL;
    ingester_step_ship(n->ing);
    node_rows_are(n, "one", 0, 1);
}

/* The upload is whole, its row says so, and then the process ended: only the local copy goes. */
static void a_local_copy_that_outlived_its_upload_goes(void **state)
{
    struct node *n = *state;
    struct catalogue_row row = {.range = {T0, T0 + 1}, .where = CATALOGUE_BUCKET};
    struct who who;
    struct query_ctx ctx = node_ctx(n, &who, "t");
    struct names local;
    struct err err = ERR_INIT;

    make_block(n, "t");
    OK(ingester_local_blocks(n->ing, &ctx, &local, &err));
    assert_int_equal(local.n, 1);
    assert_int_equal(local.p[0].n, ULID_LEN);
    memcpy(row.ulid, local.p[0].p, ULID_LEN);
    OK(catalogue_add(n->catalogue, SV("t"), &row, &err));
    node_restart(n);
    ingester_step_ship(n->ing);
    assert_int_equal(atomic_load(&n->bucket.puts), 0);
    node_rows_are(n, "t", 0, 1);
    assert_int_equal(node_local_folders(n, "t"), 0);
}

/* --- flush --- */
static void count_block(void *arg, const struct block_meta *m)
{
    assert_int_equal(m->num_samples, 1);
    ++*(int *)arg;
}

static void a_flush_visits_what_is_in_the_bucket(void **state)
{
    struct node *n = *state;
    struct err err = ERR_INIT;
    int visits = 0;

    OK(ingester_flush(n->ing, (struct sv){NULL, 0}, count_block, &visits, &err));
    assert_int_equal(visits, 0); /* nobody there */
    node_put(n, "one", "a", T0, 1);
    node_put(n, "one", "a", T0 + WINDOW, 2);
    node_put(n, "two", "a", T0, 3);
    OK(ingester_flush(n->ing, SV("one"), count_block, &visits, &err));
    assert_int_equal(visits, 2);
    node_rows_are(n, "one", 0, 2);
    node_rows_are(n, "two", 0, 0); /* the others are left alone */
    node_expect(n, "two", "a 0=3;");
    assert_int_equal(node_stats(n, "two").samples, 1);
    OK(ingester_flush(n->ing, SV("one"), count_block, &visits, &err));
    assert_int_equal(visits, 2); /* an empty head makes no block */
    node_rows_are(n, "one", 0, 2);
    OK(ingester_flush(n->ing, SV("nobody"), count_block, &visits, &err));
    assert_int_equal(visits, 2);
    node_put(n, "one", "a", T0 + MINUTE, 4); /* late samples are still accepted */
    OK(ingester_flush(n->ing, (struct sv){NULL, 0}, count_block, &visits, &err));
    assert_int_equal(visits, 4);
    node_rows_are(n, "one", 0, 3);
    node_rows_are(n, "two", 0, 1);
}

static void a_flush_without_bucket_loses_nothing(void **state)
{
    struct node *n = *state;
    struct err err = ERR_INIT;
    int visits = 0;

    node_put(n, "t", "a", T0, 1);
    atomic_store(&n->bucket.puts_left, 0);
    assert_int_equal(ingester_flush(n->ing, SV("t"), count_block, &visits, &err), ST_UNAVAIL);
    assert_int_equal(visits, 0);
    node_expect(n, "t", "a 0=1;");
    node_rows_are(n, "t", 1, 0);
    node_restart(n);
    node_expect(n, "t", "a 0=1;");
    atomic_store(&n->bucket.puts_left, -1);
    OK(ingester_flush(n->ing, SV("t"), count_block, &visits, &err));
    assert_int_equal(visits, 1);
    node_down(n);
    n->opts.bucket = NULL;
    node_up(n);
    node_put(n, "t", "a", T0 + MINUTE, 2);
    assert_int_equal(ingester_flush(n->ing, SV("t"), count_block, &visits, &err), ST_UNAVAIL);
    ingester_step_ship(n->ing);
    node_expect(n, "t", "a 1=2;");
}

/* --- the disk --- */
struct full_fs {
    struct fs fs;
    struct fs_ops ops;
    _Atomic bool full;
};
static struct full_fs *full_of(const struct fs *fs)
{
    return (struct full_fs *)(uintptr_t)fs;
}
static bool no_room(const struct fs *fs)
{
    if (atomic_load(&full_of(fs)->full))
        errno = ENOSPC;
    return atomic_load(&full_of(fs)->full);
}
static ssize_t full_write(const struct fs *fs, int fd, const void *p, size_t n)
{
    return no_room(fs) ? -1 : fs_posix()->ops->write(fs, fd, p, n);
}
static int full_mkdir(const struct fs *fs, const char *path, mode_t mode)
{
    return no_room(fs) ? -1 : fs_posix()->ops->mkdir(fs, path, mode);
}

static void a_full_disk_acknowledges_nothing_and_recovers(void **state)
{
    struct node *n = *state;
    struct full_fs disk = {.ops = *fs_posix()->ops};
    struct err err = ERR_INIT;

    disk.ops.write = full_write;
    disk.ops.mkdir = full_mkdir;
    disk.fs.ops = &disk.ops;
    node_down(n);
    n->opts.fs = &disk.fs;
    node_up(n);
    node_put(n, "t", "a", T0, 1);
    assert_int_equal(durable(n, n->res.log_pos), ST_OK);
    log_set_level(LOG_ERROR + 1);
    atomic_store(&disk.full, true);
    node_put(n, "t", "a", T0 + MINUTE, 2);
    assert_int_equal(durable(n, n->res.log_pos), ST_FULL);
    assert_int_equal(node_try(n, "t", "a", T0 + 2 * MINUTE, 3, &err), ST_FULL);
    atomic_fetch_add(&n->clk.mono_ns, INT64_C(3600000000000));
    ingester_step_cut(n->ing);
    assert_true(metric_get(metric_counter(n->metrics, "engram_ingester_cut_failures_total", "",
                                          "")) == 1);
    atomic_store(&disk.full, false);
    while (node_try(n, "t", "a", T0 + 3 * MINUTE, 4, &err) != ST_OK) /* four tries a second */
        usleep(10000);
    log_set_level(LOG_ERROR);
    assert_int_equal(durable(n, n->res.log_pos), ST_OK);
    node_expect(n, "t", "a 0=1 1=2 3=4;");
    node_restart(n);
    node_expect(n, "t", "a 0=1 1=2 3=4;");
    node_down(n);
    n->opts.fs = fs_posix();
}

static void what_is_no_tenants_folder_does_not_stop_the_start(void **state)
{
    struct node *n = *state;
    char path[FS_PATH_MAX], blocks[FS_PATH_MAX];
    struct err err = ERR_INIT;

    make_block(n, "t");
    node_down(n);
    node_path(n, "blocks", blocks);
    assert_true(fs_join(path, blocks, "lost+found"));
    OK(fs_mkdirs(fs_posix(), path, &err));
    assert_true(fs_join(path, blocks, "notes.txt"));
    OK(fs_write_file(fs_posix(), path, SV("mine"), &err));
    log_set_level(LOG_ERROR + 1);
    node_up(n);
    log_set_level(LOG_ERROR);
    node_expect(n, "t", "a 0=1;");
    ingester_step_settle(n->ing);
    assert_true(metric_get(metric_gauge(n->metrics, "engram_ingester_tenants", "", "")) == 1);
    assert_true(fs_exists(fs_posix(), path));
}

static void a_data_folder_with_too_long_a_name_is_refused(void **state)
{
    struct node *n = *state;
    char *dir = heap_array(FS_PATH_MAX, 1);
    struct err err = ERR_INIT;

    node_down(n);
    memset(dir, 'x', FS_PATH_MAX - 3);
    n->opts.data_dir = dir;
    assert_int_equal(node_open(n, &err), ST_INVALID);
    assert_null(n->ing);
    n->opts.data_dir = n->dir;
    heap_free(dir);
}

/* --- threads --- */
#define SERIES  4
#define SAMPLES 150

struct party {
    struct node *n;
    int id;
    _Atomic bool *stop;
};

/* Ten minutes apart, each sample twice with another value the second time. */
static void *pusher(void *arg)
{
    struct party *p = arg;

    for (int k = 0; k < SAMPLES; k++)
        for (int again = 0; again < 2; again++) {
            struct arena arena;
            struct batch b;
            struct append_result res;
            struct err err = ERR_INIT;

            arena_init(&arena, 1 << 20);
            batch_init(&b, &arena, ingester_alias_key(p->n->ing));
            for (int s = 0; s < SERIES; s++) {
                char i[8];
                struct label ls[2] = {{SV(LABEL_NAME), SV("m")}, {SV("i"), {i, 0}}};

                snprintf(i, sizeof(i), "%d-%d", p->id, s);
                ls[1].value = sv_of(i);
                if (batch_put(&b, (struct labels){ls, 2}, T0 + k * 10 * MINUTE, k + again * 1000,
                              &err) != ST_OK)
                    abort();
            }
            if (ingester_append(p->n->ing, p->id ? SV("one") : SV("two"), &b, &p->n->rules, &res,
                                &err) != ST_OK ||
                (!again && res.samples[VERDICT_STORED] != SERIES))
                abort();
            arena_fini(&arena);
        }
    return NULL;
}

/* Nothing ships in its way: what the ingester answers is always a beginning. */
static void *looker(void *arg)
{
    struct party *p = arg;

    while (!atomic_load(p->stop)) {
        struct arena arena;
        struct who who = {.tenant = SV("two")};
        struct query_ctx ctx = {.who = &who, .clk = clk_system(), .arena = &arena};
        struct select_req req = {.range = ALL};
        struct series_set *set;
        struct samples s;
        struct names names;
        struct err err = ERR_INIT;
        bool more = true;

        arena_init(&arena, 64 << 20);
        samples_init(&s);
        if (ingester_select(p->n->ing, &ctx, &req, &set, &err) != ST_OK ||
            ingester_local_blocks(p->n->ing, &ctx, &names, &err) != ST_OK)
            abort();
        while (series_set_next(set, &more, &err) == ST_OK && more) {
            if (series_set_read(set, &s, &err) != ST_OK)
                abort();
            for (size_t k = 0; k < s.n; k++) /* some may be in the bucket alone by now */
                if (s.f[k] != (double)((s.t_ms[k] - T0) / (10 * MINUTE)) ||
                    (k && s.t_ms[k] != s.t_ms[k - 1] + 10 * MINUTE))
                    abort();
        }
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
        ingester_step_cut(p->n->ing);
        ingester_step_settle(p->n->ing);
    }
    return NULL;
}

static void *shipper(void *arg)
{
    struct party *p = arg;

    while (!atomic_load(p->stop))
        ingester_step_ship(p->n->ing);
    return NULL;
}

struct tally {
    struct node *n;
    const char *tenant;
    uint64_t seen[SERIES][SAMPLES]; /* how often a sample with its first value was met */
    int other;
};

static void tally_set(struct tally *t, struct series_set *set)
{
    struct samples s;
    struct err err = ERR_INIT;
    bool more;

    samples_init(&s);
    for (;;) {
        OK(series_set_next(set, &more, &err));
        if (!more)
            break;
        OK(series_set_read(set, &s, &err));
        for (size_t k = 0; k < s.n; k++) {
            int64_t at = (s.t_ms[k] - T0) / (10 * MINUTE);
            unsigned i = (unsigned)labels_get(set->labels, SV("i")).p[2] - '0';

            assert_in_range(at, 0, SAMPLES - 1);
            assert_in_range(i, 0, SERIES - 1);
            if (s.f[k] == (double)at)
                t->seen[i][at]++;
            else
                t->other++;
        }
    }
    series_set_close(set);
    samples_fini(&s);
}

static enum status tally_block(void *arg, struct sv tenant, const struct catalogue_row *row,
                               struct err *err)
{
    struct tally *t = arg;
    struct who who;
    struct query_ctx ctx = node_ctx(t->n, &who, t->tenant);
    struct select_req req = {.range = ALL};
    struct series_set *set;
    struct block *b;
    char key[256], path[FS_PATH_MAX];

    if (!(row->where & CATALOGUE_BUCKET))
        return ST_OK;
    snprintf(key, sizeof(key), SV_FMT "/%s/meta.json", SV_ARG(tenant), row->ulid);
    assert_true(t->n->bucket.folder->ops->local_path(t->n->bucket.folder, sv_of(key), path));
    *strrchr(path, '/') = 0;
    TRY(block_open_dir(fs_posix(), path, &b, err));
    TRY(block_select(b, &ctx, &req, &set, err));
    tally_set(t, set);
    block_unref(b);
    return ST_OK;
}

/* What heads, local blocks and bucket have together. */
static void nothing_is_lost(struct node *n, const char *tenant)
{
    struct tally *t = heap_new(struct tally);
    struct who who;
    struct query_ctx ctx = node_ctx(n, &who, tenant);
    struct select_req req = {.range = ALL};
    struct series_set *set;
    struct err err = ERR_INIT;

    t->n = n;
    t->tenant = tenant;
    OK(ingester_select(n->ing, &ctx, &req, &set, &err));
    tally_set(t, set);
    OK(catalogue_each(n->catalogue, sv_of(tenant), ALL, tally_block, t, &err));
    for (int i = 0; i < SERIES; i++)
        for (int k = 0; k < SAMPLES; k++)
            if (!t->seen[i][k])
                fail_msg("%s: sample %d of series %d is lost", tenant, k, i);
    heap_free(t);
}

static void all_of_it_runs_beside_each_other(void **state)
{
    struct node *n = *state;
    void *(*const roles[])(void *) = {pusher, pusher, looker, keeper, shipper};
    struct party p[5];
    pthread_t t[5];
    _Atomic bool stop = false;

    for (int k = 0; k < 5; k++) {
        p[k] = (struct party){n, k, &stop};
        pthread_create(&t[k], NULL, roles[k], &p[k]);
    }
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    atomic_store(&stop, true);
    for (int k = 2; k < 5; k++)
        pthread_join(t[k], NULL);
    nothing_is_lost(n, "one");
    nothing_is_lost(n, "two");
    ingester_step_cut(n->ing);
    node_restart(n);
    nothing_is_lost(n, "one");
    nothing_is_lost(n, "two");
    assert_true(atomic_load(&n->bucket.puts) > 0 || node_stats(n, "one").blocks > 0);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_durable_is_there_after_a_restart),
        CASE(tenants_are_kept_apart),
        CASE(an_unknown_tenant_has_an_empty_complete_answer),
        CASE(more_tenants_than_allowed_are_refused),
        CASE(a_span_of_one_and_a_half_block_ranges_is_cut),
        CASE(an_idle_head_is_cut_by_the_monotonic_clock),
        CASE(the_head_with_the_oldest_part_of_a_full_log_is_cut),
        CASE(the_log_goes_once_all_is_cut),
        CASE(the_log_goes_too_when_a_query_was_in_the_way),
        CASE(a_block_is_announced_shipped_noted_and_let_go),
        CASE(a_bucket_that_fails_keeps_the_block_here),
        CASE(a_bucket_that_is_down_is_asked_once_a_step),
        CASE(a_local_copy_that_outlived_its_upload_goes),
        CASE(a_flush_visits_what_is_in_the_bucket),
        CASE(a_flush_without_bucket_loses_nothing),
        CASE(a_full_disk_acknowledges_nothing_and_recovers),
        CASE(what_is_no_tenants_folder_does_not_stop_the_start),
        CASE(a_data_folder_with_too_long_a_name_is_refused),
        CASE(all_of_it_runs_beside_each_other),
    };

    return RUN(tests);
}
