/* The db: windows become blocks and leave the head, at whatever point it is killed; the log is let
 * go of no sooner than that; selects see everything all the while. */
#include "db_world.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#define ALL ((struct trange){INT64_MIN, INT64_MAX})

static int setup(void **state)
{
    struct world *w = heap_new(struct world);

    world_init(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_fini(*state);
    heap_free(*state);
    return 0;
}

/* Samples every 10 minutes over `hours`, series a..a+n; a segment of the log for each hour. */
static void fill(struct world *w, int series, int hours)
{
    struct err err = ERR_INIT;

    for (int k = 0; k < hours * 6; k++) {
        if (k % 6 == 0) {
            OK(wal_wait(w->wal, w->res.log_pos, &err));
            OK(wal_roll(w->wal, &err));
        }
        for (int s = 0; s < series; s++) {
            char i[2] = {(char)('a' + s), 0};

            assert_int_equal(world_put(w, i, T0 + k * 600000, k + s * 1000), VERDICT_STORED);
        }
    }
}

static size_t cut(struct world *w, bool all)
{
    struct err err = ERR_INIT;
    size_t n;

    OK(db_cut(w->db, all, &n, &err));
    OK(db_check(w->db, &err));
    return n;
}

static void complete_windows_leave_the_head_and_nothing_changes(void **state)
{
    struct world *w = *state;
    struct db_stats s;
    char *want;

    fill(w, 3, 2);
    assert_false(db_wants_cut(w->db, INT64_MAX));
    assert_int_equal(cut(w, false), 0);
    for (int k = 12; k < 5 * 6; k++)
        world_put(w, "a", T0 + k * 600000, k);
    want = world_dump(w, ALL);
    assert_true(db_wants_cut(w->db, INT64_MAX));
    assert_int_equal(cut(w, false), 1);
    assert_false(db_wants_cut(w->db, INT64_MAX));
    world_expect(w, want);
    db_stats(w->db, &s);
    assert_int_equal(s.blocks, 1);
    assert_int_equal(s.series, 1); /* b and c had nothing left */
    assert_int_equal(s.samples, 18);
    assert_int_equal(s.min_ms, T0 + WINDOW);
    world_restart(w);
    world_expect(w, want);
    db_stats(w->db, &s);
    assert_int_equal(s.samples, 18);
    assert_int_equal(cut(w, true), 2);
    assert_int_equal(cut(w, true), 0); /* an empty head makes no block */
    world_expect(w, want);
    db_stats(w->db, &s);
    assert_int_equal(s.series, 0);
    assert_true(s.log_needed_from == UINT64_MAX);
    assert_true(s.min_ms > s.max_ms);
    world_restart(w);
    world_expect(w, want);
    db_stats(w->db, &s);
    assert_int_equal(s.samples, 0);
    heap_free(want);
}

static void say_nothing(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

static void the_blocks_are_sound_and_say_who_made_them(void **state)
{
    struct world *w = *state;
    struct db_blocks blocks;
    char dir[FS_PATH_MAX];
    struct err err = ERR_INIT;

    fill(w, 2, 5);
    assert_int_equal(cut(w, true), 3);
    db_blocks(w->db, &blocks);
    assert_int_equal(blocks.n, 3);
    for (size_t i = 0; i < blocks.n; i++) {
        const struct block_meta *m = block_meta_of(blocks.p[i]);

        assert_string_equal(m->tenant, "t");
        assert_string_equal(m->ingester, "i-1");
        assert_int_equal(m->level, 1);
        assert_int_equal(m->num_series, 2);
        assert_true(m->log_to > 0 && m->log_from <= m->log_to);
        assert_true(m->range.from_ms >= T0 + (int64_t)i * WINDOW);
        assert_true(m->range.to_ms <= T0 + (int64_t)(i + 1) * WINDOW);
        fs_join(dir, w->blocks_dir, m->ulid);
        OK(block_check(fs_posix(), dir, say_nothing, NULL, &err));
        if (i)
            assert_true(m->cut_seq > block_meta_of(blocks.p[i - 1])->cut_seq);
    }
    OK(db_drop_block(w->db, sv_of(block_meta_of(blocks.p[0])->ulid), &err));
    db_blocks_free(&blocks);
    db_blocks(w->db, &blocks);
    assert_int_equal(blocks.n, 2);
    db_blocks_free(&blocks);
}

static void what_comes_late_after_a_cut_makes_a_block_beside_it(void **state)
{
    struct world *w = *state;
    char *want;

    fill(w, 1, 5);
    assert_int_equal(cut(w, false), 1);
    w->rules.ooo_window_ms = 10 * WINDOW;
    assert_int_equal(world_put(w, "a", T0 + 5, 77), VERDICT_STORED);
    /* another value for a time that is in the block: it was not seen, but the first one stays */
    world_put(w, "a", T0 + 600000, 99);
    want = world_dump(w, ALL);
    assert_non_null(strstr(want, " 5:"));
    assert_null(strstr(want, " 600000:4058c")); /* 99 */
    assert_int_equal(cut(w, true), 3);
    world_expect(w, want);
    world_restart(w);
    world_expect(w, want);
    heap_free(want);
}

/* The trap: series are defined once, in front, and the front of the log goes. */
static void a_log_without_its_front_still_knows_every_series(void **state)
{
    struct world *w = *state;
    uint64_t before;
    char *want;

    fill(w, 20, 5);
    want = world_dump(w, ALL);
    assert_int_equal(cut(w, false), 1);
    before = wal_bytes(w->wal);
    world_trim(w);
    assert_true(wal_bytes(w->wal) < before);
    world_expect(w, want);
    world_restart(w);
    world_expect(w, want);
    /* and once more: what the second process wrote must stand without the first's definitions */
    heap_free(want);
    for (int s = 0; s < 20; s++) {
        char i[2] = {(char)('a' + s), 0};

        for (int k = 30; k < 54; k++)
            assert_int_equal(world_put(w, i, T0 + k * 600000, k), VERDICT_STORED);
    }
    want = world_dump(w, ALL);
    assert_int_equal(cut(w, false), 2);
    world_trim(w);
    world_restart(w);
    world_expect(w, want);
    assert_int_equal(cut(w, true), 2);
    world_trim(w);
    world_restart(w);
    world_expect(w, want);
    heap_free(want);
}

static void an_idle_head_is_cut_and_lets_the_log_go(void **state)
{
    struct world *w = *state;
    struct db_stats s;

    assert_false(db_wants_cut(w->db, 5)); /* nothing there: not even idle */
    fill(w, 1, 1);
    assert_false(db_wants_cut(w->db, 1000));
    atomic_fetch_add(&w->clk.mono_ns, 1000);
    assert_true(db_wants_cut(w->db, 1000));
    assert_int_equal(cut(w, false), 1);
    db_stats(w->db, &s);
    assert_true(s.log_needed_from == UINT64_MAX);
    assert_int_equal(s.series, 0);
    assert_false(db_wants_cut(w->db, 0));
}

static void an_empty_head_gives_its_memory_back(void **state)
{
    struct world *w = *state;
    struct arena arena;
    const struct query_ctx ctx = {.clk = clk_system(), .arena = &arena};
    struct series_set *set;
    struct err err = ERR_INIT;
    char i[16];
    char *want;

    arena_init(&arena, 64 << 20);
    for (int round = 0; round < 3; round++) {
        for (int k = 0; k < 2000; k++) {
            snprintf(i, sizeof(i), "%d-%d", round, k);
            assert_int_equal(world_put(w, i, T0 + round, k), VERDICT_STORED);
        }
        assert_true(budget_used(&w->budget, BUDGET_HEAD) > 200 * 2000);
        want = world_dump(w, ALL);
        set = world_select(w, &ctx, ALL);
        assert_int_equal(cut(w, true), 1);
        assert_true(budget_used(&w->budget, BUDGET_HEAD) > 100 * 2000); /* the select looks on */
        series_set_close(set);
        db_settle(w->db); /* forgets, evicts */
        db_settle(w->db);
        OK(db_check(w->db, &err));
        assert_true(budget_used(&w->budget, BUDGET_HEAD) < 8192);
        assert_true(sizeof(struct db) + sizeof(struct head) < 16384);
        heap_free(world_dump(w, (struct trange){T0 + WINDOW, INT64_MAX})); /* of nothing */
        world_expect(w, want);
        heap_free(want);
    }
    arena_fini(&arena);
}

static void a_select_that_began_before_a_cut_misses_nothing(void **state)
{
    struct world *w = *state;
    struct arena arena;
    const struct query_ctx ctx = {.clk = clk_system(), .arena = &arena};
    struct series_set *set;
    struct buf out;
    struct db_stats s;
    char *want;

    arena_init(&arena, 64 << 20);
    fill(w, 3, 4);
    want = world_dump(w, ALL);
    set = world_select(w, &ctx, ALL);
    assert_int_equal(cut(w, true), 2);
    db_stats(w->db, &s);
    assert_true(s.samples > 0); /* the set still needs them */
    world_expect(w, want);
    buf_init(&out, 1 << 20);
    world_print(set, &out);
    buf_ch(&out, 0);
    assert_string_equal(out.p, want);
    db_settle(w->db);
    db_stats(w->db, &s);
    assert_int_equal(s.samples, 0);
    assert_int_equal(s.series, 0);
    world_expect(w, want);
    buf_fini(&out);
    arena_fini(&arena);
    heap_free(want);
}

static void damaged_blocks_are_set_aside_and_leftovers_removed(void **state)
{
    struct world *w = *state;
    struct fs_names names;
    struct db_blocks blocks;
    char cmd[512];
    struct err err = ERR_INIT;

    fill(w, 1, 5);
    assert_int_equal(cut(w, true), 3);
    db_blocks(w->db, &blocks);
    snprintf(cmd, sizeof(cmd), "printf x > %s/%s/meta.json; mkdir %s/%s.tmp %s/mine", w->blocks_dir,
             block_meta_of(blocks.p[1])->ulid, w->blocks_dir, "01ARZ3NDEKTSV4RRFFQ69G5FAV",
             w->blocks_dir);
    db_blocks_free(&blocks);
    assert_int_equal(system(cmd), 0);
    log_set_level(LOG_ERROR + 1);
    world_restart(w);
    log_set_level(LOG_ERROR);
    db_blocks(w->db, &blocks);
    assert_int_equal(blocks.n, 2);
    db_blocks_free(&blocks);
    OK(fs_list(fs_posix(), w->blocks_dir, &names, &err));
    assert_int_equal(names.n, 4); /* two blocks, one .bad, and what is not ours */
    fs_names_free(&names);
}

/* --- a disk that stops the cut, or the world, at its n-th call --- */
struct nth_fs {
    struct fs fs;
    struct world *w;
    int calls, at; /* acts at this call; -1 never */
    bool fails;    /* that call and all after it fail, else the disk is copied */
    struct world crashed;
    bool did;
};
static struct nth_fs nth; /* the test's disk */

static bool hit(void)
{
    int call = nth.calls++;

    if (nth.at < 0 || call < nth.at)
        return false;
    if (nth.fails) {
        errno = ENOSPC;
        return true;
    }
    if (call == nth.at) {
        world_copy(nth.w, &nth.crashed);
        nth.did = true;
    }
    return false;
}
#define PASS(call) (hit() ? -1 : fs_posix()->ops->call)
static int n_open(const struct fs *fs, const char *path, int flags, mode_t mode)
{
    return PASS(open(fs, path, flags, mode));
}
static ssize_t n_write(const struct fs *fs, int fd, const void *p, size_t n)
{
    return PASS(write(fs, fd, p, n));
}
static int n_sync(const struct fs *fs, int fd)
{
    return PASS(fdatasync(fs, fd));
}
static int n_rename(const struct fs *fs, const char *from, const char *to)
{
    return PASS(rename(fs, from, to));
}
static int n_mkdir(const struct fs *fs, const char *path, mode_t mode)
{
    return PASS(mkdir(fs, path, mode));
}

static const struct fs *nth_disk(struct world *w, int at, bool fails, struct fs_ops *ops)
{
    *ops = *fs_posix()->ops;
    ops->open = n_open;
    ops->write = n_write;
    ops->fdatasync = n_sync;
    ops->rename = n_rename;
    ops->mkdir = n_mkdir;
    nth = (struct nth_fs){.fs = {ops}, .w = w, .at = at, .fails = fails};
    return &nth.fs;
}

static void a_kill_at_any_call_of_a_cut_loses_nothing(void **state)
{
    struct world *w = *state;
    struct fs_ops ops;
    struct err err = ERR_INIT;
    int points = 0;

    for (int at = 0;; at++, points++) {
        struct world run;
        char *want;

        world_init(&run);
        fill(&run, 3, 5);
        OK(wal_wait(run.wal, run.res.log_pos, &err));
        want = world_dump(&run, ALL);
        run.db->opts.fs = nth_disk(&run, at, false, &ops);
        assert_int_equal(cut(&run, true), 3);
        run.db->opts.fs = fs_posix();
        if (nth.did) {
            struct world *c = &nth.crashed;

            world_up(c);
            world_expect(c, want);
            /* and it can be cut, dropped from the log, and opened again */
            cut(c, true);
            world_trim(c);
            world_restart(c);
            world_expect(c, want);
            world_fini(c);
        }
        world_fini(&run);
        heap_free(want);
        if (!nth.did)
            break;
    }
    assert_true(points > 20);
    (void)w;
}

static void a_full_disk_stops_a_cut_and_nothing_else(void **state)
{
    struct world *w = *state;
    struct fs_ops ops;
    struct err err = ERR_INIT;
    struct db_stats s;
    char *want;
    size_t n, k = 0;
    bool failed = true;

    fill(w, 3, 2);
    want = world_dump(w, ALL);
    for (int at = 0; failed; at++, k++) {
        w->db->opts.fs = nth_disk(w, at, true, &ops);
        failed = db_cut(w->db, true, &n, &err) != ST_OK;
        w->db->opts.fs = fs_posix();
        OK(db_check(w->db, &err));
        world_expect(w, want);
        if (failed) {
            assert_true(err.st == ST_FULL || err.st == ST_IO);
            db_stats(w->db, &s);
            assert_int_equal(s.samples, 36);
            assert_true(s.log_needed_from < UINT64_MAX);
        }
    }
    assert_true(k > 8);
    assert_int_equal(n, 1);
    world_restart(w);
    world_expect(w, want);
    heap_free(want);
}

/* --- a disk that forgets at a power cut what was not synced --- */
struct forgetful {
    struct fs fs;
    pthread_mutex_t mutex; /* the syncer and the test */
    struct {
        char path[256];
        int fd;
        off_t synced;
    } file[1024];
    size_t n;
};
static struct forgetful forgetful; /* the test's disk */

static int f_open(const struct fs *fs, const char *path, int flags, mode_t mode)
{
    struct forgetful *f = &forgetful;
    int fd = fs_posix()->ops->open(fs, path, flags, mode);
    size_t i = 0;

    if (fd < 0 || !(flags & (O_WRONLY | O_RDWR)))
        return fd;
    pthread_mutex_lock(&f->mutex);
    while (i < f->n && strcmp(f->file[i].path, path) != 0)
        i++;
    if (i == f->n) {
        if (i == sizeof(f->file) / sizeof(f->file[0]) || strlen(path) >= sizeof(f->file[i].path))
            abort();
        memcpy(f->file[i].path, path, strlen(path) + 1);
        f->file[i].synced = 0;
        f->n++;
    }
    f->file[i].fd = fd;
    pthread_mutex_unlock(&f->mutex);
    return fd;
}

static int f_close(const struct fs *fs, int fd)
{
    struct forgetful *f = &forgetful;

    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->n; i++)
        if (f->file[i].fd == fd)
            f->file[i].fd = -1;
    pthread_mutex_unlock(&f->mutex);
    return fs_posix()->ops->close(fs, fd);
}

static int f_sync(const struct fs *fs, int fd)
{
    struct forgetful *f = &forgetful;
    off_t end = lseek(fd, 0, SEEK_END);

    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->n; i++)
        if (f->file[i].fd == fd)
            f->file[i].synced = end;
    pthread_mutex_unlock(&f->mutex);
    (void)fs;
    return 0;
}

static int f_rename(const struct fs *fs, const char *from, const char *to)
{
    struct forgetful *f = &forgetful;
    size_t n = strlen(from);

    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->n; i++)
        if (strncmp(f->file[i].path, from, n) == 0) { /* a file, or all of a folder */
            char rest[256], *path = f->file[i].path;

            snprintf(rest, sizeof(rest), "%s", path + n);
            snprintf(path, sizeof(f->file[i].path), "%s%s", to, rest);
        }
    pthread_mutex_unlock(&f->mutex);
    return fs_posix()->ops->rename(fs, from, to);
}

static void power_cut(struct world *w, struct world *ret)
{
    struct forgetful *f = &forgetful;

    pthread_mutex_lock(&f->mutex); /* nothing is synced while it is copied */
    world_copy(w, ret);
    for (size_t i = 0; i < f->n; i++) {
        char path[512];

        snprintf(path, sizeof(path), "%s%s", ret->dir, f->file[i].path + strlen(w->dir));
        if (access(path, F_OK) == 0)
            assert_int_equal(truncate(path, f->file[i].synced), 0);
    }
    pthread_mutex_unlock(&f->mutex);
}

/* Samples of one series, a minute apart: what is there after a power cut is a beginning of what was
 * sent, at least as long as what was acknowledged. */
static void what_was_acknowledged_survives_a_power_cut(void **state)
{
    struct fs_ops ops = *fs_posix()->ops;
    struct err err = ERR_INIT;
    size_t n;

    (void)state;
    ops.open = f_open;
    ops.close = f_close;
    ops.fdatasync = f_sync;
    ops.rename = f_rename;
    for (int round = 0; round < 12; round++) {
        struct world w, after;
        int sent = 0, acked = 0, there = 0;
        char *have;

        memset(&forgetful, 0, sizeof(forgetful));
        forgetful.fs.ops = &ops;
        pthread_mutex_init(&forgetful.mutex, NULL);
        world_init(&w);
        world_down(&w);
        w.fs = w.wal_fs = &forgetful.fs;
        w.sync = WAL_SYNC_ALWAYS;
        world_up(&w);
        for (; sent < 300 + round * 20; sent++) {
            assert_int_equal(world_put(&w, "a", T0 + sent * 60000, 0), VERDICT_STORED);
            if (sent % 13 == round) {
                OK(wal_wait(w.wal, w.res.log_pos, &err));
                acked = sent + 1;
            }
            if (sent % 100 == 99 && round % 3) {
                OK(db_cut(w.db, round % 3 == 2, &n, &err));
                world_trim(&w);
            }
        }
        power_cut(&w, &after);
        world_up(&after);
        have = world_dump(&after, ALL);
        for (const char *at = have; (at = strchr(at, ' ')); at++, there++)
            assert_int_equal(atoll(at), there * 60000);
        assert_in_range(there, acked, sent);
        heap_free(have);
        world_fini(&after);
        world_fini(&w);
        pthread_mutex_destroy(&forgetful.mutex);
    }
}

static void names_and_values_come_from_head_and_blocks(void **state)
{
    struct world *w = *state;
    struct arena arena;
    const struct query_ctx ctx = {.clk = clk_system(), .arena = &arena};
    struct matcher *m;
    struct select_req req = {
        .matchers = (const struct matcher *const *)&m, .matchers_n = 1, .range = ALL};
    struct names names;
    struct err err = ERR_INIT;

    arena_init(&arena, 1 << 20);
    fill(w, 3, 1);
    cut(w, true);
    world_put(w, "z", T0 + 3 * WINDOW, 1);
    OK(db_label_names(w->db, &ctx, NULL, &names, &err));
    assert_int_equal(names.n, 2);
    assert_true(sv_is(names.p[0], LABEL_NAME) && sv_is(names.p[1], "i") && names.complete);
    OK(db_label_values(w->db, &ctx, SV("i"), NULL, &names, &err));
    assert_int_equal(names.n, 4);
    assert_true(sv_is(names.p[3], "z"));
    OK(matcher_new(MATCH_RE, SV("i"), SV("[bcz]"), &m, &err));
    OK(db_label_values(w->db, &ctx, SV("i"), &req, &names, &err));
    assert_int_equal(names.n, 3);
    req.range = (struct trange){T0 + WINDOW, INT64_MAX};
    OK(db_label_values(w->db, &ctx, SV("i"), &req, &names, &err));
    assert_int_equal(names.n, 1);
    OK(db_label_names(w->db, &ctx, &req, &names, &err));
    assert_int_equal(names.n, 2);
    matcher_free(m);
    arena_fini(&arena);
}

/* --- threads --- */
struct party {
    struct world *w;
    int id;
    _Atomic bool *stop;
};

static void *pusher(void *arg)
{
    struct party *p = arg;

    for (int k = 0; k < 240; k++) {
        struct arena arena;
        struct batch b;
        struct append_result res;
        struct err err = ERR_INIT;

        arena_init(&arena, 1 << 20);
        batch_init(&b, &arena, 99);
        for (int s = 0; s < 10; s++) {
            char i[8];
            struct label ls[2] = {{SV(LABEL_NAME), SV("m")}, {SV("i"), {i, 0}}};

            snprintf(i, sizeof(i), "%d-%d", p->id, s);
            ls[1].value = sv_of(i);
            if (batch_put(&b, (struct labels){ls, 2}, T0 + k * 300000, k, &err) != ST_OK)
                abort();
        }
        if (db_append(p->w->db, &b, &p->w->rules, &res, &err) != ST_OK ||
            res.samples[VERDICT_STORED] != 10)
            abort();
        arena_fini(&arena);
    }
    return NULL;
}

static void *looker(void *arg)
{
    struct party *p = arg;

    while (!atomic_load(p->stop)) {
        struct arena arena;
        const struct query_ctx ctx = {.clk = clk_system(), .arena = &arena};
        struct series_set *set;
        struct samples s;
        struct err err = ERR_INIT;
        bool more = true;

        arena_init(&arena, 64 << 20);
        set = world_select(p->w, &ctx, ALL);
        samples_init(&s);
        while (series_set_next(set, &more, &err) == ST_OK && more) {
            if (series_set_read(set, &s, &err) != ST_OK)
                abort();
            for (size_t k = 0; k < s.n; k++) /* always a prefix, whatever is cut meanwhile */
                if (s.t_ms[k] != T0 + (int64_t)k * 300000 || s.f[k] != (double)k)
                    abort();
        }
        series_set_close(set);
        samples_fini(&s);
        arena_fini(&arena);
    }
    return NULL;
}

static void *cutter(void *arg)
{
    struct party *p = arg;

    while (!atomic_load(p->stop)) {
        struct err err = ERR_INIT;
        size_t n;

        if (db_cut(p->w->db, false, &n, &err) != ST_OK)
            abort();
        db_settle(p->w->db);
        if (n)
            world_trim(p->w);
    }
    return NULL;
}

static void appends_selects_and_cuts_run_beside_each_other(void **state)
{
    struct world *w = *state;
    void *(*const roles[])(void *) = {pusher, pusher, looker, cutter};
    struct party p[4];
    pthread_t t[4];
    _Atomic bool stop = false;
    struct err err = ERR_INIT;
    char *want;
    int ends = 0;

    for (int k = 0; k < 4; k++) {
        p[k] = (struct party){w, k, &stop};
        pthread_create(&t[k], NULL, roles[k], &p[k]);
    }
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    atomic_store(&stop, true);
    pthread_join(t[2], NULL);
    pthread_join(t[3], NULL);
    OK(db_check(w->db, &err));
    want = world_dump(w, ALL);
    for (const char *at = want; (at = strstr(at, " 71700000:")); at++)
        ends++;
    assert_int_equal(ends, 20); /* the last sample of every series */
    cut(w, false);
    world_trim(w);
    world_restart(w);
    world_expect(w, want);
    heap_free(want);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(complete_windows_leave_the_head_and_nothing_changes),
        T(the_blocks_are_sound_and_say_who_made_them),
        T(what_comes_late_after_a_cut_makes_a_block_beside_it),
        T(a_log_without_its_front_still_knows_every_series),
        T(an_idle_head_is_cut_and_lets_the_log_go),
        T(an_empty_head_gives_its_memory_back),
        T(a_select_that_began_before_a_cut_misses_nothing),
        T(damaged_blocks_are_set_aside_and_leftovers_removed),
        T(a_kill_at_any_call_of_a_cut_loses_nothing),
        T(a_full_disk_stops_a_cut_and_nothing_else),
        T(what_was_acknowledged_survives_a_power_cut),
        T(names_and_values_come_from_head_and_blocks),
        T(appends_selects_and_cuts_run_beside_each_other),
    };
    return RUN(tests);
}
