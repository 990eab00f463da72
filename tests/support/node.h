/* tests/support/node.h
 *
 * For tests of ingester and querier: one node in a folder of its own, with an injected clock, a
 * folder bucket that can fail, the real catalogue and the real ingester; it can be closed and
 * opened again. A query's answer is printed as text.
 */
#ifndef ENGRAM_TESTS_NODE_H
#define ENGRAM_TESTS_NODE_H

#include "unit.h"

#include "base/heap.h"
#include "base/log.h"
#include "ingester/ingester.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define WINDOW INT64_C(7200000)
#define MINUTE INT64_C(60000)
#define T0     (INT64_C(1700000000000) / WINDOW * WINDOW)
#define ALL    ((struct trange){INT64_MIN, INT64_MAX})

struct node_clk {
    struct clk clk;
    _Atomic int64_t wall_ms, mono_ns;
};

/* The bucket: a folder, unless it is told to fail. */
struct node_bucket {
    struct obj base;
    struct obj *folder;
    struct obj_ops ops;
    _Atomic int puts_left; /* so many put_file() still work; negative: all */
    _Atomic int puts;      /* that worked */
    _Atomic int refused;   /* that did not */
    const char *fails_for; /* keys that begin so can't be put; NULL: none */
};

struct node {
    char dir[64];
    struct node_clk clk;
    const struct fs *fs;
    struct node_bucket bucket;
    struct catalogue *catalogue;
    struct metrics *metrics;
    struct budget budget;
    struct ingester_opts opts; /* changed before node_up() */
    struct append_rules rules;
    struct ingester *ing;
    struct arena arena;
    struct append_result res;
};

static inline int64_t node_wall(const struct clk *c)
{
    return atomic_load(&((struct node_clk *)(uintptr_t)c)->wall_ms);
}
static inline int64_t node_mono(const struct clk *c)
{
    return atomic_load(&((struct node_clk *)(uintptr_t)c)->mono_ns);
}

static inline enum status node_put_file(struct obj *o, struct sv key, const char *path,
                                        struct err *err)
{
    struct node_bucket *b = (struct node_bucket *)o;

    if (atomic_load(&b->puts_left) == 0 ||
        (b->fails_for && sv_starts(key, sv_of(b->fails_for)))) {
        atomic_fetch_add(&b->refused, 1);
        return err_set(err, ST_UNAVAIL, "the bucket is down");
    }
    if (atomic_load(&b->puts_left) > 0)
        atomic_fetch_sub(&b->puts_left, 1);
    atomic_fetch_add(&b->puts, 1);
    return b->folder->ops->put_file(b->folder, key, path, err);
}
static inline enum status node_size(struct obj *o, struct sv key, uint64_t *ret, struct err *err)
{
    struct node_bucket *b = (struct node_bucket *)o;

    return b->folder->ops->size(b->folder, key, ret, err);
}
static inline enum status node_get(struct obj *o, struct sv key, uint64_t off, size_t n,
                                   struct buf *out, struct err *err)
{
    struct node_bucket *b = (struct node_bucket *)o;

    return b->folder->ops->get(b->folder, key, off, n, out, err);
}
static inline enum status node_list(struct obj *o, struct sv prefix, bool delimiter,
                                    obj_visit visit, void *arg, struct err *err)
{
    struct node_bucket *b = (struct node_bucket *)o;

    return b->folder->ops->list(b->folder, prefix, delimiter, visit, arg, err);
}
static inline bool node_local_path(struct obj *o, struct sv key, char out[FS_PATH_MAX])
{
    struct node_bucket *b = (struct node_bucket *)o;

    return b->folder->ops->local_path(b->folder, key, out);
}

static inline const char *node_path(const struct node *n, const char *name, char out[FS_PATH_MAX])
{
    assert_true(fs_join(out, n->dir, name));
    return out;
}

static inline enum status node_open(struct node *n, struct err *err)
{
    return ingester_open(&n->opts, &n->ing, err);
}

static inline void node_up(struct node *n)
{
    struct err err = ERR_INIT;

    OK(node_open(n, &err));
}

static inline void node_down(struct node *n)
{
    ingester_close(n->ing);
    n->ing = NULL;
    assert_int_equal(budget_used(&n->budget, BUDGET_HEAD), 0);
}

static inline void node_restart(struct node *n)
{
    node_down(n);
    node_up(n);
}

/* Everything but the ingester itself. */
static inline struct node *node_new(void)
{
    struct node *n = heap_new(struct node);
    char path[FS_PATH_MAX];
    struct err err = ERR_INIT;
    bool fresh;

    log_set_level(LOG_ERROR);
    snprintf(n->dir, sizeof(n->dir), "%s/engram-node-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(n->dir));
    n->clk.clk = (struct clk){node_wall, node_mono};
    n->clk.wall_ms = T0 + 1000 * WINDOW;
    n->clk.mono_ns = 1;
    n->fs = fs_posix();
    OK(obj_fs_open(fs_posix(), node_path(n, "bucket", path), &n->bucket.folder, &err));
    n->bucket.ops = *n->bucket.folder->ops;
    n->bucket.ops.put_file = node_put_file;
    n->bucket.ops.size = node_size;
    n->bucket.ops.get = node_get;
    n->bucket.ops.list = node_list;
    n->bucket.ops.local_path = node_local_path;
    n->bucket.base.ops = &n->bucket.ops;
    n->bucket.puts_left = -1;
    OK(catalogue_open(node_path(n, "catalogue", path), &n->catalogue, &fresh, &err));
    n->metrics = metrics_new();
    budget_init(&n->budget, 0);
    n->opts = (struct ingester_opts){.fs = n->fs,
                                     .clk = &n->clk.clk,
                                     .data_dir = n->dir,
                                     .id = "i-1",
                                     .block_range_ms = WINDOW,
                                     .idle_cut_ms = 3600000,
                                     .wal = {.segment_bytes = 16384, .sync = WAL_SYNC_ALWAYS},
                                     .budget = &n->budget,
                                     .bucket = &n->bucket.base,
                                     .catalogue = n->catalogue,
                                     .metrics = n->metrics};
    n->rules = (struct append_rules){
        .ooo_window_ms = 100 * WINDOW, .now_ms = T0 + 1000 * WINDOW, .max_ahead_ms = 600000};
    arena_init(&n->arena, 64 << 20);
    return n;
}

static inline void node_free(struct node *n)
{
    node_down(n);
    catalogue_close(n->catalogue);
    n->bucket.folder->ops->close(n->bucket.folder);
    metrics_free(n->metrics);
    arena_fini(&n->arena);
    fs_rmtree(fs_posix(), n->dir, NULL);
    heap_free(n);
}

/* One sample of m{i="<i>"}; its verdict in n->res. */
static inline enum status node_try(struct node *n, const char *tenant, const char *i, int64_t t_ms,
                                   double f, struct err *err)
{
    struct label ls[2] = {{SV(LABEL_NAME), SV("m")}, {SV("i"), sv_of(i)}};
    struct arena arena;
    struct batch b;
    enum status st;

    arena_init(&arena, 1 << 20);
    batch_init(&b, &arena, ingester_alias_key(n->ing));
    st = batch_put(&b, (struct labels){ls, 2}, t_ms, f, err);
    if (st == ST_OK)
        st = ingester_append(n->ing, sv_of(tenant), &b, &n->rules, &n->res, err);
    arena_fini(&arena);
    return st;
}

static inline void node_put(struct node *n, const char *tenant, const char *i, int64_t t_ms,
                            double f)
{
    struct err err = ERR_INIT;

    OK(node_try(n, tenant, i, t_ms, f, &err));
    if (!n->res.samples[VERDICT_STORED])
        fail_msg("%s", n->res.why);
}

/* Every ten minutes in [from_ms, to_ms); the value is the minute since T0. */
static inline void node_fill(struct node *n, const char *tenant, const char *i, int64_t from_ms,
                             int64_t to_ms)
{
    for (int64_t t = from_ms; t < to_ms; t += 10 * MINUTE)
        node_put(n, tenant, i, t, (double)((t - T0) / MINUTE));
}

/* A set as "<i> minute=value minute=value;"; closes it. */
static inline void node_print(struct series_set *set, struct buf *out)
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
            buf_printf(out, " %g=%g", (double)(s.t_ms[k] - T0) / (double)MINUTE, s.f[k]);
        buf_ch(out, ';');
    }
    assert_true(set->outcome.complete);
    series_set_close(set);
    samples_fini(&s);
    buf_ch(out, 0);
}

static inline struct query_ctx node_ctx(struct node *n, struct who *who, const char *tenant)
{
    *who = (struct who){.tenant = sv_of(tenant)};
    return (struct query_ctx){.who = who, .clk = clk_system(), .arena = &n->arena};
}

/* Everything of a tenant that the ingester has; heap_free() it. */
static inline char *node_dump(struct node *n, const char *tenant)
{
    struct who who;
    struct query_ctx ctx = node_ctx(n, &who, tenant);
    struct select_req req = {.range = ALL};
    struct series_set *set;
    struct err err = ERR_INIT;
    struct buf out;
    size_t len;

    buf_init(&out, 64 << 20);
    OK(ingester_select(n->ing, &ctx, &req, &set, &err));
    node_print(set, &out);
    return buf_detach(&out, &len);
}

static inline void node_expect(struct node *n, const char *tenant, const char *want)
{
    char *have = node_dump(n, tenant);

    if (strcmp(have, want) != 0)
        fail_msg("%s has:\n%.2000s\nwant:\n%.2000s", tenant, have, want);
    heap_free(have);
}

struct node_stat_of {
    const char *tenant;
    struct db_stats stats;
    bool found;
};
static inline void node_stat_visit(void *arg, const struct ingester_tenant_stats *s)
{
    struct node_stat_of *x = arg;

    if (sv_is(s->tenant, x->tenant)) {
        x->stats = s->db;
        x->found = true;
    }
}
static inline struct db_stats node_stats(struct node *n, const char *tenant)
{
    struct node_stat_of x = {.tenant = tenant};

    ingester_each(n->ing, node_stat_visit, &x);
    assert_true(x.found);
    return x.stats;
}

struct node_rows {
    size_t local, bucket, both;
};
static inline enum status node_row_visit(void *arg, struct sv tenant,
                                         const struct catalogue_row *row, struct err *err)
{
    struct node_rows *r = arg;

    (void)tenant;
    (void)err;
    r->local += row->where == CATALOGUE_LOCAL;
    r->bucket += row->where == CATALOGUE_BUCKET;
    r->both += row->where == (CATALOGUE_LOCAL | CATALOGUE_BUCKET);
    return ST_OK;
}
/* What the catalogue says of a tenant. */
static inline void node_rows_are(struct node *n, const char *tenant, size_t local, size_t bucket)
{
    struct node_rows r = {0};
    struct err err = ERR_INIT;

    OK(catalogue_each(n->catalogue, sv_of(tenant), ALL, node_row_visit, &r, &err));
    assert_int_equal(r.local, local);
    assert_int_equal(r.bucket, bucket);
    assert_int_equal(r.both, 0);
}

static inline bool node_bucket_has(struct node *n, const char *tenant, const char *ulid,
                                   const char *file)
{
    char key[256];
    uint64_t bytes;

    snprintf(key, sizeof(key), "%s/%s/%s", tenant, ulid, file);
    return n->bucket.folder->ops->size(n->bucket.folder, sv_of(key), &bytes, NULL) == ST_OK;
}

/* Folders below data/blocks/<tenant>. */
static inline size_t node_local_folders(struct node *n, const char *tenant)
{
    char blocks[FS_PATH_MAX], path[FS_PATH_MAX];
    struct fs_names names;
    struct err err = ERR_INIT;
    enum status st;
    size_t count;

    node_path(n, "blocks", blocks);
    assert_true(fs_join(path, blocks, tenant));
    st = fs_list(fs_posix(), path, &names, &err);
    if (st == ST_NOTFOUND)
        return 0;
    OK(st);
    count = names.n;
    fs_names_free(&names);
    return count;
}

#endif
