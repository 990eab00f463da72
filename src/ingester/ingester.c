/* The tenants' databases of this node and what they share: the log.
 *
 * A tenant's entry is made on its first write, or at start when the log or a folder of blocks names
 * it, and stays until the end: an entry without a head costs little (include/tsdb/db.h).
 *
 * The way of a block: db_cut() makes it locally; ship_block() uploads it, meta.json last, and
 * confirms it; on_shipped() tells the store gateway that no data changed; the catalogue says
 * "bucket"; the local copy goes. A reader asks the ingester first and the gateway second, so it
 * meets each sample at least once on the way, and equal samples merge away.
 *
 * The log is dropped up to the oldest position that any head still needs.
 */
#include "ingester/ingester.h"

#include "base/heap.h"
#include "base/hmap.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/vec.h"
#include "ingester/ship.h"
#include "model/merge.h"
#include "tenant/tenant.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define TENANTS_MAX 100000u /* entries; more is a clear error, not a full memory */

struct ingester_tenant {
    char *name;
    struct db *db;
};

struct ingester {
    struct ingester_opts opts;
    char *wal_dir, *blocks_dir, *id;
    uint64_t boot, alias_key;
    struct wal *wal;
    struct rwlock lock; /* guards tenants and list; entries live until close */
    struct hmap tenants;
    VEC(struct ingester_tenant *) list;
    struct lock upkeep; /* one cut, ship or flush at a time; held over their I/O on purpose */
    size_t ship_next;   /* where the last shipping stopped; with upkeep held */
    struct metric *m_series, *m_samples, *m_head_bytes, *m_tenants, *m_wal_bytes, *m_local_blocks;
    struct metric *m_cuts, *m_cut_failures, *m_shipped, *m_ship_failures;
};

static struct ingester_tenant *find(struct ingester *i, struct sv tenant)
{
    struct ingester_tenant *t;

    rwlock_read(&i->lock);
    t = hmap_get(&i->tenants, tenant);
    rwlock_drop(&i->lock);
    return t;
}

static enum status open_tenant(struct ingester *i, struct sv tenant, struct ingester_tenant **ret,
                               struct err *err)
{
    struct ingester_tenant *t = heap_new(struct ingester_tenant);
    char dir[FS_PATH_MAX];
    struct db_opts o = {.fs = i->opts.fs,
                        .clk = i->opts.clk,
                        .wal = i->wal,
                        .budget = i->opts.budget,
                        .ingester = i->id,
                        .block_range_ms = i->opts.block_range_ms,
                        .boot = i->boot};
    enum status st;

    t->name = heap_strn(tenant.p, tenant.n);
    o.tenant = t->name;
    o.blocks_dir = dir;
    st = fs_join(dir, i->blocks_dir, t->name) ? db_open(&o, &t->db, err)
                                              : err_set(err, ST_INVALID, "path too long");
    if (st != ST_OK) {
        heap_free(t->name);
        heap_free(t);
        return err_wrap(err, "tenant " SV_FMT, SV_ARG(tenant));
    }
    *ret = t;
    return ST_OK;
}

/* The tenant's entry, made when it is not there. */
static enum status tenant_of(struct ingester *i, struct sv tenant, struct ingester_tenant **ret,
                             struct err *err)
{
    struct ingester_tenant *t = find(i, tenant);
    enum status st = ST_OK;

    if (t) {
        *ret = t;
        return ST_OK;
    }
    rwlock_write(&i->lock);
    t = hmap_get(&i->tenants, tenant);
    if (!t && i->list.n >= i->opts.tenants_max)
        st = err_set(err, ST_UNAVAIL, "more than %zu tenants on one node", i->opts.tenants_max);
    else if (!t)
        st = open_tenant(i, tenant, &t, err);
    if (st == ST_OK && !hmap_get(&i->tenants, tenant)) {
        hmap_set(&i->tenants, tenant, t);
        vec_push(&i->list, t);
    }
    rwlock_drop(&i->lock);
    *ret = t;
    return st;
}

static size_t tenants_n(struct ingester *i)
{
    size_t n;

    rwlock_read(&i->lock);
    n = i->list.n;
    rwlock_drop(&i->lock);
    return n;
}

/* Entries never go and the list only grows, so walking by index needs the lock for a look only. */
static struct ingester_tenant *tenant_at(struct ingester *i, size_t at)
{
    struct ingester_tenant *t;

    rwlock_read(&i->lock);
    t = at < i->list.n ? i->list.p[at] : NULL;
    rwlock_drop(&i->lock);
    return t;
}

static enum status replay_record(void *arg, const struct wal_record *rec, struct err *err)
{
    struct ingester *i = arg;
    struct ingester_tenant *t;

    TRY(tenant_of(i, rec->tenant, &t, err));
    return db_replay(t->db, rec, err);
}

/* Rows of the catalogue for every local block of a tenant. */
static enum status catalogue_local(struct ingester *i, struct ingester_tenant *t, struct err *err)
{
    struct db_blocks blocks;
    enum status st = ST_OK;

    if (!i->opts.catalogue)
        return ST_OK;
    db_blocks(t->db, &blocks);
    for (size_t b = 0; b < blocks.n && st == ST_OK; b++) {
        const struct block_meta *m = block_meta_of(blocks.p[b]);
        struct catalogue_row row = {.range = m->range,
                                    .cut_seq = m->cut_seq,
                                    .num_series = m->num_series,
                                    .num_samples = m->num_samples,
                                    .where = CATALOGUE_LOCAL};

        memcpy(row.ulid, m->ulid, sizeof(row.ulid));
        st = catalogue_add(i->opts.catalogue, sv_of(t->name), &row, err);
    }
    db_blocks_free(&blocks);
    return st;
}

/* What lies among the tenants' folders but is none (lost+found, a stray file) is no reason not to
 * start. It is left where it is. */
static enum status open_folder(struct ingester *i, const char *name, struct err *err)
{
    struct ingester_tenant *t;
    enum status st;

    if (!tenant_id_valid(sv_of(name))) {
        log_warn("ingester", "not a tenant's folder", "name=%s", log_q(sv_of(name)));
        return ST_OK;
    }
    st = tenant_of(i, sv_of(name), &t, err);
    if (st != ST_OK && err->os == ENOTDIR) {
        log_warn("ingester", "not a tenant's folder", "name=%s", log_q(sv_of(name)));
        return ST_OK;
    }
    return st == ST_OK ? catalogue_local(i, t, err) : st;
}

static enum status open_folders(struct ingester *i, struct err *err)
{
    struct fs_names names;
    enum status st = fs_list(i->opts.fs, i->blocks_dir, &names, err);

    if (st == ST_NOTFOUND)
        return ST_OK;
    if (st != ST_OK)
        return st;
    for (size_t n = 0; n < names.n && st == ST_OK; n++)
        st = open_folder(i, names.p[n], err);
    fs_names_free(&names);
    return st;
}

static void register_metrics(struct ingester *i)
{
    struct metrics *m = i->opts.metrics;

    i->m_series = metric_gauge(m, "engram_ingester_head_series", "", "Series in the heads.");
    i->m_samples = metric_gauge(m, "engram_ingester_head_samples", "", "Samples in the heads.");
    i->m_head_bytes = metric_gauge(m, "engram_ingester_head_bytes", "", "Memory of the heads.");
    i->m_tenants = metric_gauge(m, "engram_ingester_tenants", "", "Tenants known to this node.");
    i->m_wal_bytes = metric_gauge(m, "engram_ingester_log_bytes", "", "Bytes of the log on disk.");
    i->m_local_blocks =
        metric_gauge(m, "engram_ingester_local_blocks", "", "Blocks not yet only in the bucket.");
    i->m_cuts = metric_counter(m, "engram_ingester_blocks_cut_total", "", "Blocks cut from heads.");
    i->m_cut_failures =
        metric_counter(m, "engram_ingester_cut_failures_total", "", "Cuts that failed.");
    i->m_shipped = metric_counter(m, "engram_ingester_blocks_shipped_total", "",
                                  "Blocks put into the bucket.");
    i->m_ship_failures =
        metric_counter(m, "engram_ingester_ship_failures_total", "", "Uploads that failed.");
}

static enum status open_log(struct ingester *i, struct err *err)
{
    struct wal_opts o = i->opts.wal;
    int64_t began_ns = clk_mono_ns(i->opts.clk);
    struct db_stats s;
    uint64_t series = 0, samples = 0;

    o.fs = i->opts.fs;
    o.clk = i->opts.clk;
    o.dir = i->wal_dir;
    o.metrics = i->opts.metrics;
    TRY(wal_open(&o, replay_record, i, &i->wal, err));
    for (size_t n = 0; n < i->list.n; n++) {
        db_set_wal(i->list.p[n]->db, i->wal);
        db_stats(i->list.p[n]->db, &s);
        series += s.series;
        samples += s.samples;
    }
    log_info("ingester", "log replayed", "tenants=%zu series=%llu samples=%llu seconds=%.3f",
             i->list.n, (unsigned long long)series, (unsigned long long)samples,
             (double)(clk_mono_ns(i->opts.clk) - began_ns) / 1e9);
    return ST_OK;
}

enum status ingester_open(const struct ingester_opts *opts, struct ingester **ret, struct err *err)
{
    char wal_dir[FS_PATH_MAX], blocks_dir[FS_PATH_MAX];
    struct ingester *i;
    enum status st;

    if (!fs_join(wal_dir, opts->data_dir, "wal") || !fs_join(blocks_dir, opts->data_dir, "blocks"))
        return err_set(err, ST_INVALID, "path too long: %.100s...", opts->data_dir);
    i = heap_new(struct ingester);
    i->opts = *opts;
    i->opts.tenants_max = opts->tenants_max ? opts->tenants_max : TENANTS_MAX;
    i->id = heap_strn(opts->id, strlen(opts->id));
    i->boot = random_u64();
    i->alias_key = random_u64();
    rwlock_init(&i->lock, LOCK_tenants);
    lock_init(&i->upkeep, LOCK_app);
    hmap_init(&i->tenants);
    i->wal_dir = heap_strn(wal_dir, strlen(wal_dir));
    i->blocks_dir = heap_strn(blocks_dir, strlen(blocks_dir));
    register_metrics(i);
    TRY_GOTO(open_folders(i, err));
    TRY_GOTO(open_log(i, err));
    *ret = i;
    return ST_OK;
out:
    ingester_close(i);
    return st;
}

void ingester_close(struct ingester *own_i)
{
    struct ingester *i = own_i;

    if (!i)
        return;
    wal_close(i->wal);
    for (size_t n = 0; n < i->list.n; n++) {
        db_close(i->list.p[n]->db);
        heap_free(i->list.p[n]->name);
        heap_free(i->list.p[n]);
    }
    vec_free(&i->list);
    hmap_fini(&i->tenants);
    lock_fini(&i->upkeep);
    rwlock_fini(&i->lock);
    heap_free(i->wal_dir);
    heap_free(i->blocks_dir);
    heap_free(i->id);
    heap_free(i);
}

enum status ingester_append(struct ingester *i, struct sv tenant, const struct batch *batch,
                            const struct append_rules *rules, struct append_result *ret,
                            struct err *err)
{
    struct ingester_tenant *t;

    TRY(tenant_of(i, tenant, &t, err));
    return db_append(t->db, batch, rules, ret, err);
}

void ingester_durable(struct ingester *i, uint64_t log_pos, wal_done fn, void *arg)
{
    wal_notify(i->wal, log_pos, fn, arg);
}

uint64_t ingester_alias_key(const struct ingester *i)
{
    return i->alias_key;
}

enum status ingester_select(struct ingester *i, const struct query_ctx *ctx,
                            const struct select_req *req, struct series_set **ret, struct err *err)
{
    struct ingester_tenant *t = find(i, ctx->who->tenant);

    if (!t) {
        *ret = merge_empty();
        return ST_OK;
    }
    return db_select(t->db, ctx, req, ret, err);
}

enum status ingester_label_names(struct ingester *i, const struct query_ctx *ctx,
                                 const struct select_req *req, struct names *ret, struct err *err)
{
    struct ingester_tenant *t = find(i, ctx->who->tenant);

    if (!t) {
        *ret = (struct names){.complete = true};
        return ST_OK;
    }
    return db_label_names(t->db, ctx, req, ret, err);
}

enum status ingester_label_values(struct ingester *i, const struct query_ctx *ctx, struct sv name,
                                  const struct select_req *req, struct names *ret, struct err *err)
{
    struct ingester_tenant *t = find(i, ctx->who->tenant);

    if (!t) {
        *ret = (struct names){.complete = true};
        return ST_OK;
    }
    return db_label_values(t->db, ctx, name, req, ret, err);
}

enum status ingester_local_blocks(struct ingester *i, const struct query_ctx *ctx,
                                  struct names *ret, struct err *err)
{
    struct ingester_tenant *t = find(i, ctx->who->tenant);
    struct db_blocks blocks;

    *ret = (struct names){.complete = true};
    if (!t)
        return ST_OK;
    db_blocks(t->db, &blocks);
    ret->p = arena_array(ctx->arena, blocks.n ? blocks.n : 1, sizeof(*ret->p));
    for (size_t b = 0; ret->p && b < blocks.n; b++)
        ret->p[ret->n++] = arena_sv(ctx->arena, sv_of(block_meta_of(blocks.p[b])->ulid));
    db_blocks_free(&blocks);
    if (arena_over(ctx->arena))
        return err_set(err, ST_LIMIT, "query needs more than %zu bytes", ctx->arena->max_bytes);
    return ST_OK;
}

void ingester_mark(struct ingester *i, const struct who *who, struct trange range,
                   struct change_mark *ret)
{
    struct ingester_tenant *t = find(i, who->tenant);

    /* Of an unknown tenant there is nothing, and its first write makes an entry, which changes the
     * digest of every range: so what the bucket alone holds may be cached. */
    *ret = (struct change_mark){.boot = i->boot, .settled_ms = INT64_MAX};
    if (t) {
        db_mark(t->db, range, ret);
        ret->counters = hash128(&ret->counters, sizeof(ret->counters), 1);
    }
}

/* Drops the part of the log that no head needs any more. */
static void trim_log(struct ingester *i)
{
    /* Taken first: what is appended from now on lies above it. */
    uint64_t pos = wal_position(i->wal);
    struct err err = ERR_INIT;

    for (size_t n = 0; n < tenants_n(i); n++) {
        struct db_stats s;

        db_stats(tenant_at(i, n)->db, &s);
        if (s.log_needed_from <= pos)
            pos = s.log_needed_from ? s.log_needed_from - 1 : 0;
    }
    if (pos == wal_position(i->wal) && wal_roll(i->wal, &err) != ST_OK)
        log_warn("ingester", "log segment not sealed", "error=%s", log_q(sv_of(err.msg)));
    if (wal_drop_until(i->wal, pos, &err) != ST_OK)
        log_warn("ingester", "log not trimmed, tried again later", "error=%s",
                 log_q(sv_of(err.msg)));
}

static enum status cut(struct ingester *i, struct ingester_tenant *t, bool all, size_t *ret_n,
                       struct err *err)
{
    int64_t began_ns = clk_mono_ns(i->opts.clk);
    enum status st = db_cut(t->db, all, ret_n, err);

    if (st == ST_OK)
        st = catalogue_local(i, t, err);
    if (st != ST_OK) {
        metric_inc(i->m_cut_failures);
        return err_wrap(err, "cutting the head of tenant %s", t->name);
    }
    metric_add(i->m_cuts, (double)*ret_n);
    if (*ret_n)
        log_info("ingester", "head cut", "tenant=%s blocks=%zu seconds=%.3f", t->name, *ret_n,
                 (double)(clk_mono_ns(i->opts.clk) - began_ns) / 1e9);
    return ST_OK;
}

/* Over its ceiling the log is freed by cutting the head that holds its oldest part. */
static struct ingester_tenant *log_holder(struct ingester *i)
{
    struct ingester_tenant *oldest = NULL;
    uint64_t from = UINT64_MAX;

    if (!i->opts.log_max_bytes || wal_bytes(i->wal) <= i->opts.log_max_bytes)
        return NULL;
    for (size_t n = 0; n < tenants_n(i); n++) {
        struct ingester_tenant *t = tenant_at(i, n);
        struct db_stats s;

        db_stats(t->db, &s);
        if (s.log_needed_from < from) {
            from = s.log_needed_from;
            oldest = t;
        }
    }
    return oldest;
}

void ingester_step_cut(struct ingester *i)
{
    struct ingester_tenant *holder;
    struct err err = ERR_INIT;
    size_t n;

    LOCK_SCOPE(&i->upkeep);
    for (size_t k = 0; k < tenants_n(i); k++) {
        struct ingester_tenant *t = tenant_at(i, k);

        if (!db_wants_cut(t->db, i->opts.idle_cut_ms * 1000000))
            continue;
        if (cut(i, t, false, &n, &err) != ST_OK)
            log_error("ingester", "cut failed, tried again later", "error=%s",
                      log_q(sv_of(err.msg)));
    }
    holder = log_holder(i);
    if (holder) {
        log_info("ingester", "log over its ceiling", "bytes=%llu cutting=%s",
                 (unsigned long long)wal_bytes(i->wal), holder->name);
        if (cut(i, holder, true, &n, &err) != ST_OK)
            log_error("ingester", "cut failed, tried again later", "error=%s",
                      log_q(sv_of(err.msg)));
    }
    /* Not only after a cut: a query may have kept samples, and so the log, past their cut. */
    trim_log(i);
}

static enum status in_bucket(void *arg, struct sv tenant, const struct catalogue_row *row,
                             struct err *err)
{
    struct hmap *shipped = arg;

    (void)tenant;
    (void)err;
    if (row->where & CATALOGUE_BUCKET)
        hmap_set(shipped, sv_of(row->ulid), shipped);
    return ST_OK;
}

static enum status ship_one(struct ingester *i, struct ingester_tenant *t,
                            const struct block_meta *m, struct err *err)
{
    char tenant_dir[FS_PATH_MAX], dir[FS_PATH_MAX];
    struct catalogue_row row = {.range = m->range,
                                .cut_seq = m->cut_seq,
                                .num_series = m->num_series,
                                .num_samples = m->num_samples,
                                .where = CATALOGUE_BUCKET};

    if (!fs_join(tenant_dir, i->blocks_dir, t->name) || !fs_join(dir, tenant_dir, m->ulid))
        return err_set(err, ST_INVALID, "path too long");
    if (i->opts.on_shipped)
        i->opts.on_shipped(i->opts.on_shipped_arg, sv_of(t->name), sv_of(m->ulid));
    TRY(ship_block(i->opts.bucket, i->opts.fs, dir, sv_of(t->name), m, err));
    memcpy(row.ulid, m->ulid, sizeof(row.ulid));
    TRY(catalogue_add(i->opts.catalogue, sv_of(t->name), &row, err));
    metric_inc(i->m_shipped);
    log_info("ingester", "block shipped", "tenant=%s block=%s series=%llu samples=%llu", t->name,
             m->ulid, (unsigned long long)m->num_series, (unsigned long long)m->num_samples);
    return ST_OK;
}

/* Ships what is not in the bucket yet, then lets local copies go whose row says "bucket". */
static enum status ship_tenant(struct ingester *i, struct ingester_tenant *t,
                               ingester_block_visit visit, void *arg, struct err *err)
{
    struct db_blocks blocks;
    struct hmap shipped;
    enum status st;

    hmap_init(&shipped);
    db_blocks(t->db, &blocks);
    st = blocks.n ? catalogue_each(i->opts.catalogue, sv_of(t->name),
                                   (struct trange){INT64_MIN, INT64_MAX}, in_bucket, &shipped, err)
                  : ST_OK;
    for (size_t b = 0; b < blocks.n && st == ST_OK; b++) {
        const struct block_meta *m = block_meta_of(blocks.p[b]);

        if (!hmap_get(&shipped, sv_of(m->ulid)))
            st = ship_one(i, t, m, err);
        if (st == ST_OK && visit)
            visit(arg, m);
        if (st == ST_OK)
            st = catalogue_remove(i->opts.catalogue, sv_of(t->name), sv_of(m->ulid),
                                  CATALOGUE_LOCAL, err);
        if (st == ST_OK)
            st = db_drop_block(t->db, sv_of(m->ulid), err);
    }
    db_blocks_free(&blocks);
    hmap_fini(&shipped);
    if (st != ST_OK) {
        metric_inc(i->m_ship_failures);
        return err_wrap(err, "shipping blocks of tenant %s", t->name);
    }
    return ST_OK;
}

/* A bucket that can't be reached takes its time to say so, and cuts wait meanwhile. So the first
 * tenant that meets one ends the step, and the next step begins behind it: should it be this
 * tenant's blocks alone, the others are not kept back. */
void ingester_step_ship(struct ingester *i)
{
    struct err err = ERR_INIT;
    size_t all = tenants_n(i);

    if (!i->opts.bucket)
        return;
    for (size_t n = 0; n < all; n++) {
        enum status st;

        LOCK_SCOPE(&i->upkeep); /* a tenant at a time: cuts get their turn */
        i->ship_next = i->ship_next + 1 < all ? i->ship_next + 1 : 0;
        st = ship_tenant(i, tenant_at(i, i->ship_next), NULL, NULL, &err);
        if (st != ST_OK)
            log_error("ingester", "upload failed, tried again later", "error=%s",
                      log_q(sv_of(err.msg)));
        if (st == ST_UNAVAIL || st == ST_TIMEOUT)
            return;
    }
}

void ingester_step_settle(struct ingester *i)
{
    double series = 0, samples = 0, bytes = 0, blocks = 0;
    size_t n;

    for (n = 0; n < tenants_n(i); n++) {
        struct db_stats s;

        db_settle(tenant_at(i, n)->db);
        db_stats(tenant_at(i, n)->db, &s);
        series += (double)s.series;
        samples += (double)s.samples;
        bytes += (double)s.head_bytes;
        blocks += (double)s.blocks;
    }
    metric_set(i->m_series, series);
    metric_set(i->m_samples, samples);
    metric_set(i->m_head_bytes, bytes);
    metric_set(i->m_local_blocks, blocks);
    metric_set(i->m_tenants, (double)n);
    metric_set(i->m_wal_bytes, (double)wal_bytes(i->wal));
}

enum status ingester_flush(struct ingester *i, struct sv tenant, ingester_block_visit visit,
                           void *arg, struct err *err)
{
    enum status st = ST_OK;
    size_t made;

    if (!i->opts.bucket)
        return err_set(err, ST_UNAVAIL, "no bucket is configured");
    LOCK_SCOPE(&i->upkeep);
    for (size_t n = 0; n < tenants_n(i) && st == ST_OK; n++) {
        struct ingester_tenant *t = tenant_at(i, n);

        if (tenant.p && !sv_is(tenant, t->name))
            continue;
        st = cut(i, t, true, &made, err);
        if (st == ST_OK)
            st = ship_tenant(i, t, visit, arg, err);
    }
    trim_log(i);
    return st;
}

void ingester_each(struct ingester *i, ingester_visit visit, void *arg)
{
    for (size_t n = 0; n < tenants_n(i); n++) {
        struct ingester_tenant *t = tenant_at(i, n);
        struct ingester_tenant_stats s = {.tenant = sv_of(t->name)};

        db_stats(t->db, &s.db);
        visit(arg, &s);
    }
}
