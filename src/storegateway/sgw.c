/* Answers from bucket blocks: which ones (catalogue), opening them, merging them.
 *
 * Open blocks are kept, the least recently used one goes when there are too many; a select holds a
 * reference of its own. Opening happens without a lock: of two who open the same block at once the
 * second one's is dropped.
 *
 * A damaged block is quarantined: the query that finds the damage fails (it may have handed out
 * part of it), later ones are answered without the block, marked incomplete with a warning, so
 * nothing of it is cached. It stays so until it leaves the bucket or the process ends.
 */
#include "base/heap.h"
#include "base/log.h"
#include "base/vec.h"
#include "model/merge.h"
#include "sgw_int.h"

#include <stdio.h>
#include <stdlib.h>

#define OPEN_MAX   256u
#define BLOCKS_MAX 10000u /* of one query */
#define META_MAX   ((size_t)16 << 20)
#define KEEP_MIN   ((uint64_t)4 << 20)
#define KEEP_MAX   ((uint64_t)128 << 20)

struct sgw_open {
    struct block *block; /* NULL: quarantined */
    uint64_t used;
};

/* --- life --- */

static void register_metrics(struct sgw *s, struct metrics *m)
{
    struct sgw_fetch *f = &s->fetch;

    if (!m)
        return;
    s->m_blocks = metric_gauge(m, "engram_storegateway_blocks", "", "Blocks in the bucket.");
    s->m_open = metric_gauge(m, "engram_storegateway_open_blocks", "", "Blocks open for reading.");
    s->m_bad = metric_gauge(m, "engram_storegateway_quarantined_blocks", "",
                            "Damaged blocks that answers leave out.");
    s->m_syncs = metric_counter(m, "engram_storegateway_syncs_total", "", "Listings of the bucket.");
    s->m_sync_failures = metric_counter(m, "engram_storegateway_sync_failures_total", "",
                                        "Listings of the bucket that failed.");
    s->m_sync_seconds = metric_seconds(m, "engram_storegateway_sync_seconds", "",
                                       "Duration of a listing of the bucket.");
    f->m_bytes = metric_counter(m, "engram_storegateway_fetched_bytes_total", "",
                                "Bytes of blocks read from the bucket.");
    f->m_requests = metric_counter(m, "engram_storegateway_fetches_total", "",
                                   "Reads of blocks in the bucket.");
    f->m_hits = metric_counter(m, "engram_storegateway_page_hits_total", "",
                               "Pages of blocks that the byte cache had.");
    f->m_misses = metric_counter(m, "engram_storegateway_page_misses_total", "",
                                 "Pages of blocks that the byte cache had not.");
}

/* What all sources together may keep of what they fetched. */
static int64_t keep_max(const struct budget *b)
{
    uint64_t part = b ? b->total_max / 16 : KEEP_MAX;

    return (int64_t)(part < KEEP_MIN ? KEEP_MIN : part > KEEP_MAX ? KEEP_MAX : part);
}

struct sgw *sgw_new(const struct sgw_opts *opts)
{
    struct sgw *s = heap_new(struct sgw);

    s->opts = *opts;
    s->fetch.bucket = opts->bucket;
    s->fetch.cache = opts->cache;
    s->fetch.budget = opts->budget;
    s->fetch.keep_max = keep_max(opts->budget);
    s->changes = sgw_changes_new();
    lock_init(&s->lock, LOCK_catalogue);
    hmap_init(&s->open);
    hmap_init(&s->own);
    register_metrics(s, opts->metrics);
    return s;
}

void sgw_free(struct sgw *s)
{
    if (!s)
        return;
    for (struct hmap_slot *e = NULL; (e = hmap_next(&s->open, e));) {
        struct sgw_open *o = e->value;

        block_unref(o->block);
        heap_free(o);
    }
    hmap_fini(&s->open);
    hmap_fini(&s->own);
    lock_fini(&s->lock);
    sgw_changes_free(s->changes);
    heap_free(s);
}

void sgw_shipped(struct sgw *s, struct sv tenant, struct sv ulid)
{
    struct sgw_name name = sgw_name_of(tenant, ulid);

    LOCK_SCOPE(&s->lock);
    hmap_set(&s->own, sv_of(name.z), s);
}

/* --- open blocks --- */

static void count(struct sgw *s)
{
    metric_set(s->m_open, (double)s->open_n);
    metric_set(s->m_bad, (double)(s->open.n - s->open_n));
}

/* With the lock held: takes an entry out; its block is the caller's to unref, without the lock. */
static struct block *take_out(struct sgw *s, struct sv name)
{
    struct sgw_open *o = hmap_del(&s->open, name);
    struct block *b = o ? o->block : NULL;

    s->open_n -= b != NULL;
    heap_free(o);
    return b;
}

void sgw_forget(struct sgw *s, struct sv tenant, struct sv ulid)
{
    struct sgw_name name = sgw_name_of(tenant, ulid);
    struct block *b;

    lock_take(&s->lock);
    b = take_out(s, sv_of(name.z));
    count(s);
    lock_drop(&s->lock);
    block_unref(b);
}

void sgw_quarantine(struct sgw *s, struct sv tenant, struct sv ulid, const char *why)
{
    struct sgw_name name = sgw_name_of(tenant, ulid);
    struct block *b = NULL;
    struct sgw_open *o;
    bool first;

    lock_take(&s->lock);
    o = hmap_get(&s->open, sv_of(name.z));
    first = !o || o->block;
    if (first) {
        b = take_out(s, sv_of(name.z));
        hmap_set(&s->open, sv_of(name.z), heap_new(struct sgw_open));
        count(s);
    }
    lock_drop(&s->lock);
    block_unref(b);
    if (first)
        log_error("storegateway", "damaged block is left out of answers", "block=%s error=%s",
                  name.z, log_q(sv_of(why)));
}

/* The least recently used one, taken out, when there are too many; else NULL. */
static struct block *evict(struct sgw *s)
{
    struct hmap_slot *oldest = NULL;
    struct sgw_name name;

    if (s->open_n <= OPEN_MAX)
        return NULL;
    for (struct hmap_slot *e = NULL; (e = hmap_next(&s->open, e));) {
        const struct sgw_open *o = e->value, *old = oldest ? oldest->value : NULL;

        if (o->block && (!old || o->used < old->used))
            oldest = e;
    }
    snprintf(name.z, sizeof(name.z), SV_FMT, (int)oldest->key_n, oldest->key);
    return take_out(s, sv_of(name.z)); /* by a copy: the key goes with the entry */
}

static enum status open_remote(struct sgw *s, struct sv tenant, struct sv ulid,
                               struct block **ret, struct err *err)
{
    struct sgw_name name = sgw_name_of(tenant, ulid);
    struct block_meta *m = heap_new(struct block_meta);
    char key[FS_PATH_MAX];
    struct buf json;
    enum status st;

    buf_init(&json, META_MAX);
    fs_join(key, name.z, "meta.json");
    TRY_GOTO(s->opts.bucket->ops->get(s->opts.bucket, sv_of(key), 0, SIZE_MAX, &json, err));
    TRY_GOTO(block_meta_read(buf_view(&json), m, err));
    TRY_GOTO(block_open(sgw_source_new(&s->fetch, tenant, m->ulid), m, ret, err));
out:
    buf_fini(&json);
    heap_free(m);
    return st;
}

static enum status open_any(struct sgw *s, struct sv tenant, struct sv ulid, struct block **ret,
                            struct err *err)
{
    struct sgw_name name = sgw_name_of(tenant, ulid);
    char key[FS_PATH_MAX], path[FS_PATH_MAX];
    enum status st;

    if (!fs_join(key, name.z, "meta.json"))
        return err_set(err, ST_INVALID, "block %s: name too long", name.z);
    if (s->opts.bucket->ops->local_path(s->opts.bucket, sv_of(key), path)) {
        *strrchr(path, '/') = 0;
        st = block_open_dir(s->opts.fs, path, ret, err);
    } else {
        st = open_remote(s, tenant, ulid, ret, err);
    }
    if (st == ST_OK)
        return ST_OK;
    err_wrap(err, "block %s", name.z);
    return sgw_source_error(&s->fetch, st, &name, err);
}

/* A referenced block; NULL when it is (or now gets) quarantined. */
static enum status get_block(struct sgw *s, struct sv tenant, struct sv ulid, struct block **ret,
                             struct err *err)
{
    struct sgw_name name = sgw_name_of(tenant, ulid);
    struct block *mine = NULL, *gone = NULL;
    struct sgw_open *o;
    enum status st;

    for (;;) {
        lock_take(&s->lock);
        o = hmap_get(&s->open, sv_of(name.z));
        if (!o && mine) {
            o = heap_new(struct sgw_open);
            o->block = mine;
            mine = NULL;
            hmap_set(&s->open, sv_of(name.z), o);
            s->open_n++;
        }
        if (o) {
            o->used = ++s->use;
            *ret = o->block ? block_ref(o->block) : NULL;
            gone = evict(s);
            count(s);
        }
        lock_drop(&s->lock);
        if (o) {
            block_unref(mine);
            block_unref(gone);
            return ST_OK;
        }
        st = open_any(s, tenant, ulid, &mine, err);
        if (st == ST_CORRUPT) {
            sgw_quarantine(s, tenant, ulid, err->msg);
            *ret = NULL;
            return ST_OK;
        }
        if (st != ST_OK)
            return st;
    }
}

/* --- which blocks --- */

struct sgw_rows {
    struct catalogue_row *p;
    size_t n, cap;
    const struct names *skip;
};

static enum status see_row(void *arg, struct sv tenant, const struct catalogue_row *row,
                           struct err *err)
{
    struct sgw_rows *rows = arg;

    if (!(row->where & CATALOGUE_BUCKET))
        return ST_OK;
    for (size_t i = 0; rows->skip && i < rows->skip->n; i++)
        if (sv_is(rows->skip->p[i], row->ulid))
            return ST_OK;
    if (rows->n == BLOCKS_MAX)
        return err_set(err, ST_LIMIT, "query of tenant " SV_FMT " reads more than %u blocks",
                       SV_ARG(tenant), BLOCKS_MAX);
    vec_push(rows, *row);
    return ST_OK;
}

/* Order of writing: of two blocks with the same timestamp the one cut first had it first. */
static int by_writing(const void *a, const void *b)
{
    const struct catalogue_row *x = a, *y = b;

    if (x->cut_seq != y->cut_seq)
        return x->cut_seq < y->cut_seq ? -1 : 1;
    return strcmp(x->ulid, y->ulid);
}

static enum status find_rows(struct sgw *s, const struct query_ctx *ctx, struct trange range,
                             const struct names *skip, struct sgw_rows *ret, struct err *err)
{
    enum status st;

    *ret = (struct sgw_rows){.skip = skip};
    st = catalogue_each(s->opts.catalogue, ctx->who->tenant, range, see_row, ret, err);
    if (st != ST_OK) {
        vec_free(ret);
        return st;
    }
    if (ret->n)
        qsort(ret->p, ret->n, sizeof(*ret->p), by_writing);
    return ST_OK;
}

/* --- one block's part of an answer --- */

struct sgw_set { /* passes on, and quarantines the block when it turns out damaged */
    struct series_set base;
    struct series_set *inner;
    struct sgw *s;
    struct sv tenant; /* of the query's who */
    char ulid[ULID_LEN + 1];
};

/* What a failure while reading a block means; a damaged one gets quarantined. */
static enum status judge(struct sgw *s, struct sv tenant, const char *ulid, enum status st,
                         struct err *err)
{
    struct sgw_name name;

    if (st == ST_OK)
        return ST_OK;
    name = sgw_name_of(tenant, sv_of(ulid));
    st = sgw_source_error(&s->fetch, st, &name, err);
    if (st == ST_CORRUPT)
        sgw_quarantine(s, tenant, sv_of(ulid), err->msg);
    return st;
}

static enum status set_next(struct series_set *base, bool *ret_more, struct err *err)
{
    struct sgw_set *w = (struct sgw_set *)base;

    TRY(judge(w->s, w->tenant, w->ulid, series_set_next(w->inner, ret_more, err), err));
    base->labels = w->inner->labels;
    if (!*ret_more && !base->outcome.warnings.n) {
        base->outcome.complete = w->inner->outcome.complete;
        for (size_t i = 0; i < w->inner->outcome.warnings.n; i++)
            vec_push(&base->outcome.warnings, w->inner->outcome.warnings.p[i]);
    }
    return ST_OK;
}

static enum status set_read(struct series_set *base, struct samples *out, struct err *err)
{
    struct sgw_set *w = (struct sgw_set *)base;

    return judge(w->s, w->tenant, w->ulid, series_set_read(w->inner, out, err), err);
}

static void set_close(struct series_set *own_base)
{
    struct sgw_set *w = (struct sgw_set *)own_base;

    series_set_close(w->inner);
    vec_free(&w->base.outcome.warnings);
    heap_free(w);
}

/* Stands for what is left out: no series, not complete, a warning that says what. */
static enum status missing_next(struct series_set *base, bool *ret_more, struct err *err)
{
    (void)base;
    (void)err;
    *ret_more = false;
    return ST_OK;
}

static enum status missing_read(struct series_set *base, struct samples *out, struct err *err)
{
    (void)base;
    (void)out;
    return err_set(err, ST_BUG, "read from a set without series");
}

static void missing_close(struct series_set *own_base)
{
    vec_free(&own_base->outcome.warnings);
    heap_free(own_base);
}

#define NOT_LISTED "the bucket has not been listed yet: older blocks may be missing from this answer"

static struct series_set *missing(const char *text)
{
    static const struct series_set_ops ops = {missing_next, missing_read, missing_close};
    struct series_set *set = heap_new(struct series_set);

    set->ops = &ops;
    if (text)
        vec_push(&set->outcome.warnings, text);
    return set;
}

static enum status select_one(struct sgw *s, const struct query_ctx *ctx,
                              const struct select_req *req, const char *ulid,
                              struct series_set **ret, struct err *err)
{
    static const struct series_set_ops ops = {set_next, set_read, set_close};
    struct series_set *inner;
    struct sgw_set *w;
    struct block *b;
    enum status st;

    TRY(query_alive(ctx, err));
    TRY(get_block(s, ctx->who->tenant, sv_of(ulid), &b, err));
    if (!b) {
        *ret = missing(
            arena_printf(ctx->arena, "block %s is damaged and left out of this answer", ulid));
        return ST_OK;
    }
    st = judge(s, ctx->who->tenant, ulid, block_select(b, ctx, req, &inner, err), err);
    block_unref(b);
    if (st == ST_CORRUPT) {
        *ret = missing(
            arena_printf(ctx->arena, "block %s is damaged and left out of this answer", ulid));
        return ST_OK;
    }
    if (st != ST_OK)
        return st;
    w = heap_new(struct sgw_set);
    w->base.ops = &ops;
    w->inner = inner;
    w->s = s;
    w->tenant = ctx->who->tenant;
    memcpy(w->ulid, ulid, sizeof(w->ulid));
    *ret = &w->base;
    return ST_OK;
}

enum status sgw_select(struct sgw *s, const struct query_ctx *ctx, const struct select_req *req,
                       const struct names *skip, struct series_set **ret, struct err *err)
{
    struct series_set **sets = NULL;
    struct sgw_rows rows;
    enum status st = ST_OK;
    size_t n = 0;

    TRY(find_rows(s, ctx, req->range, skip, &rows, err));
    sets = heap_array(rows.n + 1, sizeof(*sets));
    if (!atomic_load(&s->synced))
        sets[n++] = missing(NOT_LISTED);
    for (size_t i = 0; i < rows.n && st == ST_OK; i++) {
        st = select_one(s, ctx, req, rows.p[i].ulid, &sets[n], err);
        n += st == ST_OK;
    }
    if (st == ST_OK)
        st = merge_sets(ctx, sets, n, ret, err);
    else
        while (n)
            series_set_close(sets[--n]);
    heap_free(sets);
    vec_free(&rows);
    return st;
}

/* --- labels --- */

static enum status names_of_block(struct sgw *s, const struct query_ctx *ctx,
                                  const struct sv *name, const struct select_req *req,
                                  const char *ulid, struct names *ret, struct err *err)
{
    struct block *b;
    enum status st;

    *ret = (struct names){0};
    TRY(query_alive(ctx, err));
    TRY(get_block(s, ctx->who->tenant, sv_of(ulid), &b, err));
    if (!b)
        return ST_OK; /* complete stays false */
    st = name ? block_label_values(b, ctx, *name, req, ret, err)
              : block_label_names(b, ctx, req, ret, err);
    st = judge(s, ctx->who->tenant, ulid, st, err);
    block_unref(b);
    if (st == ST_CORRUPT) {
        *ret = (struct names){0};
        return ST_OK;
    }
    return st;
}

static enum status gather_names(struct sgw *s, const struct query_ctx *ctx, const struct sv *name,
                                const struct select_req *req, struct names *ret, struct err *err)
{
    struct sgw_rows rows;
    struct names *lists;
    enum status st = ST_OK;

    TRY(find_rows(s, ctx, req->range, NULL, &rows, err));
    lists = heap_array(rows.n ? rows.n : 1, sizeof(*lists));
    for (size_t i = 0; i < rows.n && st == ST_OK; i++)
        st = names_of_block(s, ctx, name, req, rows.p[i].ulid, &lists[i], err);
    if (st == ST_OK)
        st = merge_names(ctx, lists, rows.n, req->hints.limit, ret, err);
    if (st == ST_OK && !atomic_load(&s->synced))
        ret->complete = false;
    heap_free(lists);
    vec_free(&rows);
    return st;
}

enum status sgw_label_names(struct sgw *s, const struct query_ctx *ctx,
                            const struct select_req *req, struct names *ret, struct err *err)
{
    return gather_names(s, ctx, NULL, req, ret, err);
}

enum status sgw_label_values(struct sgw *s, const struct query_ctx *ctx, struct sv name,
                             const struct select_req *req, struct names *ret, struct err *err)
{
    return gather_names(s, ctx, &name, req, ret, err);
}

/* Blocks are immutable and durable: all of them is settled, once the bucket has been seen. */
void sgw_mark(struct sgw *s, const struct who *who, struct trange range, struct change_mark *ret)
{
    *ret = (struct change_mark){
        .boot = s->opts.boot,
        .counters = sgw_changes_digest(s->changes, who->tenant, range),
        .settled_ms = atomic_load(&s->synced) ? INT64_MAX : INT64_MIN,
    };
}
