/* tsdb/db_world.h
 *
 * For the tests of the db alone: a database in a folder of its own with its log and an injected
 * clock, that can be closed, copied as a crash would leave it, and opened again.
 */
#ifndef ENGRAM_TSDB_DB_WORLD_H
#define ENGRAM_TSDB_DB_WORLD_H

#include "unit.h"

#include "base/budget.h"
#include "base/log.h"
#include "head_int.h"

#include <stdio.h>
#include <unistd.h>

#define WINDOW INT64_C(7200000)
#define T0     (INT64_C(1700000000000) / WINDOW * WINDOW)

struct world_clk {
    struct clk clk;
    _Atomic int64_t wall_ms, mono_ns;
};

struct world {
    struct world_clk clk;
    struct budget budget;
    const struct fs *fs, *wal_fs; /* real ones unless a test says otherwise */
    enum wal_sync sync;           /* WAL_SYNC_OFF: a kill keeps what was written */
    char dir[64], wal_dir[80], blocks_dir[80];
    uint64_t segment_bytes;
    struct wal *wal;
    struct db *db;
    struct append_rules rules;
    struct append_result res;
};

static inline int64_t world_wall(const struct clk *c)
{
    return atomic_load(&((struct world_clk *)(uintptr_t)c)->wall_ms);
}
static inline int64_t world_mono(const struct clk *c)
{
    return atomic_load(&((struct world_clk *)(uintptr_t)c)->mono_ns);
}

static inline enum status world_visit(void *arg, const struct wal_record *rec, struct err *err)
{
    return db_replay(((struct world *)arg)->db, rec, err);
}

static inline void world_up(struct world *w)
{
    struct wal_opts o = {.fs = w->wal_fs ? w->wal_fs : fs_posix(),
                         .clk = clk_system(),
                         .dir = w->wal_dir,
                         .sync = w->sync,
                         .segment_bytes = w->segment_bytes};
    struct db_opts d = {.fs = w->fs,
                        .clk = &w->clk.clk,
                        .budget = &w->budget,
                        .tenant = "t",
                        .ingester = "i-1",
                        .blocks_dir = w->blocks_dir,
                        .block_range_ms = WINDOW,
                        .boot = 7};
    struct err err = ERR_INIT;

    OK(db_open(&d, &w->db, &err));
    OK(wal_open(&o, world_visit, w, &w->wal, &err));
    db_set_wal(w->db, w->wal);
    OK(db_check(w->db, &err));
}

static inline void world_down(struct world *w)
{
    struct err err = ERR_INIT;

    OK(db_check(w->db, &err));
    wal_close(w->wal);
    db_close(w->db);
    w->wal = NULL;
    w->db = NULL;
    assert_int_equal(budget_used(&w->budget, BUDGET_HEAD), 0);
}

static inline void world_restart(struct world *w)
{
    world_down(w);
    world_up(w);
}

static inline void world_dirs(struct world *w, const char *dir)
{
    snprintf(w->dir, sizeof(w->dir), "%s", dir);
    snprintf(w->wal_dir, sizeof(w->wal_dir), "%s/wal", dir);
    snprintf(w->blocks_dir, sizeof(w->blocks_dir), "%s/blocks", dir);
}

/* A folder in memory where there is one: a kill, unlike a power cut, forgets nothing written. */
static inline void world_folder(char *out, size_t n)
{
    snprintf(out, n, "%s/engram-db-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(out));
}

static inline void world_init(struct world *w)
{
    char dir[64];

    log_set_level(LOG_ERROR);
    memset(w, 0, sizeof(*w));
    w->clk.clk = (struct clk){world_wall, world_mono};
    w->clk.wall_ms = T0 + 1000 * WINDOW;
    w->clk.mono_ns = 1;
    budget_init(&w->budget, 0);
    w->fs = fs_posix();
    w->sync = WAL_SYNC_OFF;
    w->segment_bytes = 16384;
    world_folder(dir, sizeof(dir));
    world_dirs(w, dir);
    w->rules = (struct append_rules){
        .ooo_window_ms = 1800000, .now_ms = T0 + 1000 * WINDOW, .max_ahead_ms = 600000};
    world_up(w);
}

static inline void world_fini(struct world *w)
{
    struct err err = ERR_INIT;

    world_down(w);
    OK(fs_rmtree(fs_posix(), w->dir, &err));
}

/* Everything on disk as it is now, as a world of its own: what a kill would leave. */
static inline void world_copy(const struct world *w, struct world *ret)
{
    char dir[64], cmd[256];

    memset(ret, 0, sizeof(*ret));
    ret->clk.clk = w->clk.clk;
    ret->clk.wall_ms = T0 + 1000 * WINDOW;
    budget_init(&ret->budget, 0);
    ret->fs = fs_posix();
    ret->sync = WAL_SYNC_OFF;
    ret->segment_bytes = w->segment_bytes;
    ret->rules = w->rules;
    world_folder(dir, sizeof(dir));
    snprintf(cmd, sizeof(cmd), "cp -a %s/. %s/", w->dir, dir);
    assert_int_equal(system(cmd), 0);
    world_dirs(ret, dir);
}

static inline void world_append(struct world *w, struct batch *b)
{
    struct err err = ERR_INIT;

    OK(db_append(w->db, b, &w->rules, &w->res, &err));
}

/* One sample of m{i="<i>"}. */
static inline enum verdict world_put(struct world *w, const char *i, int64_t t_ms, double f)
{
    struct label ls[2] = {{SV(LABEL_NAME), SV("m")}, {SV("i"), sv_of(i)}};
    struct arena arena;
    struct batch b;
    struct err err = ERR_INIT;

    arena_init(&arena, 1 << 20);
    batch_init(&b, &arena, 99);
    OK(batch_put(&b, (struct labels){ls, 2}, t_ms, f, &err));
    world_append(w, &b);
    arena_fini(&arena);
    for (int v = 0; v < VERDICT_N; v++)
        if (w->res.samples[v])
            return (enum verdict)v;
    fail_msg("no verdict");
    return VERDICT_STORED;
}

static inline struct series_set *world_select(struct world *w, const struct query_ctx *ctx,
                                              struct trange range)
{
    struct matcher *m;
    struct select_req req = {
        .matchers = (const struct matcher *const *)&m, .matchers_n = 1, .range = range};
    struct series_set *set;
    struct err err = ERR_INIT;

    OK(matcher_new(MATCH_EQ, SV(LABEL_NAME), SV("m"), &m, &err));
    OK(db_select(w->db, ctx, &req, &set, &err));
    matcher_free(m);
    return set;
}

/* A set as lines "<i> t:v t:v", times relative to T0, values as bits; closes it. */
static inline void world_print(struct series_set *set, struct buf *out)
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
        if (!s.n)
            continue;
        buf_sv(out, labels_get(set->labels, SV("i")));
        for (size_t k = 0; k < s.n; k++)
            buf_printf(out, " %lld:%llx", (long long)(s.t_ms[k] - T0),
                       (unsigned long long)f64_bits(s.f[k]));
        buf_ch(out, '\n');
    }
    assert_true(set->outcome.complete);
    series_set_close(set);
    samples_fini(&s);
}

static inline char *world_dump(struct world *w, struct trange range)
{
    struct arena arena;
    const struct query_ctx ctx = {.clk = clk_system(), .arena = &arena};
    struct buf out;
    size_t n;

    arena_init(&arena, 64 << 20);
    buf_init(&out, 64 << 20);
    world_print(world_select(w, &ctx, range), &out);
    buf_ch(&out, 0);
    arena_fini(&arena);
    return buf_detach(&out, &n);
}

static inline void world_expect(struct world *w, const char *want)
{
    char *have = world_dump(w, (struct trange){INT64_MIN, INT64_MAX});

    if (strcmp(have, want) != 0)
        fail_msg("have:\n%.2000s\nwant:\n%.2000s", have, want);
    heap_free(have);
}

/* What the ingester does after a cut. */
static inline void world_trim(struct world *w)
{
    uint64_t pos = wal_position(w->wal);
    struct db_stats s;
    struct err err = ERR_INIT;

    OK(wal_wait(w->wal, pos, &err));
    db_stats(w->db, &s);
    if (s.log_needed_from <= pos)
        pos = s.log_needed_from ? s.log_needed_from - 1 : 0;
    if (pos == wal_position(w->wal))
        OK(wal_roll(w->wal, &err));
    OK(wal_drop_until(w->wal, pos, &err));
}

#endif
