/* One tenant's storage on this node: the head, and the local blocks beside it. */
#include "base/log.h"
#include "head_int.h"
#include "model/merge.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static char *copy_of(const char *z)
{
    return heap_strn(z ? z : "", z ? strlen(z) : 0);
}

static void free_opts(struct db_opts *o)
{
    heap_free((void *)(uintptr_t)o->tenant);
    heap_free((void *)(uintptr_t)o->ingester);
    heap_free((void *)(uintptr_t)o->blocks_dir);
}

static int by_cut(const void *a, const void *b)
{
    const struct block_meta *x = block_meta_of(*(struct block *const *)a);
    const struct block_meta *y = block_meta_of(*(struct block *const *)b);

    if (x->cut_seq != y->cut_seq)
        return x->cut_seq < y->cut_seq ? -1 : 1;
    return strcmp(x->ulid, y->ulid);
}

static void quarantine(struct db *d, const char *name, const struct err *why)
{
    char from[FS_PATH_MAX], to[FS_PATH_MAX], bad[64];
    struct err err = ERR_INIT;

    snprintf(bad, sizeof(bad), "%.40s.bad", name);
    log_error("db", "damaged block set aside", "tenant=%s block=%s error=%s", d->opts.tenant, name,
              log_q(sv_of(why->msg)));
    if (fs_join(from, d->opts.blocks_dir, name) && fs_join(to, d->opts.blocks_dir, bad) &&
        fs_rename(d->opts.fs, from, to, &err) != ST_OK)
        log_error("db", "it could not be renamed", "tenant=%s error=%s", d->opts.tenant,
                  log_q(sv_of(err.msg)));
}

/* A whole block is opened, a damaged one set aside, what an unfinished cut left is removed. What
 * is not ours stays untouched. */
static enum status open_one(struct db *d, const char *name, struct err *err)
{
    char dir[FS_PATH_MAX];
    struct block *b;
    struct err why = ERR_INIT;
    enum status st;

    if (!fs_join(dir, d->opts.blocks_dir, name))
        return err_set(err, ST_INVALID, "path too long: %s", d->opts.blocks_dir);
    if (sv_ends(sv_of(name), SV(".tmp")) && ulid_valid(sv_make(name, strlen(name) - 4)))
        return fs_rmtree(d->opts.fs, dir, err);
    if (!ulid_valid(sv_of(name)))
        return ST_OK;
    st = block_open_dir(d->opts.fs, dir, &b, &why);
    if (st == ST_OK)
        vec_push(&d->blocks, b);
    else if (st == ST_CORRUPT || st == ST_NOTFOUND || st == ST_INVALID)
        quarantine(d, name, &why);
    else
        return err_set(err, st, "%s", why.msg);
    return ST_OK;
}

static enum status open_blocks(struct db *d, struct err *err)
{
    struct fs_names names;
    enum status st = fs_list(d->opts.fs, d->opts.blocks_dir, &names, err);

    if (st == ST_NOTFOUND)
        return ST_OK;
    TRY(st);
    for (size_t i = 0; i < names.n && st == ST_OK; i++)
        st = open_one(d, names.p[i], err);
    fs_names_free(&names);
    if (d->blocks.n)
        qsort(d->blocks.p, d->blocks.n, sizeof(struct block *), by_cut);
    for (size_t i = 0; i < d->blocks.n; i++) {
        struct head_book *b = &d->head->book;
        int64_t last_ms = block_meta_of(d->blocks.p[i])->range.to_ms - 1;

        if (!b->has_newest || last_ms > b->newest_ms)
            b->newest_ms = last_ms;
        b->has_newest = true;
    }
    return st;
}

enum status db_open(const struct db_opts *opts, struct db **ret, struct err *err)
{
    struct db *d = heap_new(struct db);
    struct head_opts ho = {.clk = opts->clk,
                           .budget = opts->budget,
                           .window_ms = opts->block_range_ms,
                           .boot = opts->boot};
    enum status st;

    assert(opts->block_range_ms > 0 && opts->block_range_ms <= UINT32_MAX);
    d->opts = *opts;
    d->opts.tenant = copy_of(opts->tenant);
    d->opts.ingester = copy_of(opts->ingester);
    d->opts.blocks_dir = copy_of(opts->blocks_dir);
    ho.tenant = d->opts.tenant;
    lock_init(&d->lock, LOCK_db);
    d->head = head_new(&ho);
    d->head->wal = opts->wal;
    st = open_blocks(d, err);
    if (st != ST_OK) {
        db_close(d);
        return st;
    }
    *ret = d;
    return ST_OK;
}

void db_close(struct db *own_d)
{
    struct db *d = own_d;

    if (!d)
        return;
    head_free(d->head);
    for (size_t i = 0; i < d->blocks.n; i++)
        block_unref(d->blocks.p[i]);
    vec_free(&d->blocks);
    lock_fini(&d->lock);
    free_opts(&d->opts);
    heap_free(d);
}

void db_set_wal(struct db *d, struct wal *wal)
{
    db_replay_done(d);
    d->opts.wal = wal;
    d->head->wal = wal;
}

enum status db_append(struct db *d, const struct batch *batch, const struct append_rules *rules,
                      struct append_result *ret, struct err *err)
{
    return head_append(d->head, batch, rules, ret, err);
}

/* --- reading: older blocks first, the head last, so that the first written wins --- */
void db_blocks(struct db *d, struct db_blocks *ret)
{
    LOCK_SCOPE(&d->lock);
    *ret = (struct db_blocks){heap_array(d->blocks.n ? d->blocks.n : 1, sizeof(struct block *)),
                              d->blocks.n};
    for (size_t i = 0; i < ret->n; i++)
        ret->p[i] = block_ref(d->blocks.p[i]);
}

void db_blocks_free(struct db_blocks *b)
{
    for (size_t i = 0; i < b->n; i++)
        block_unref(b->p[i]);
    heap_free(b->p);
    *b = (struct db_blocks){NULL, 0};
}

/* Sets of the blocks that the range touches, into sets from index 0. */
static enum status select_blocks(const struct db_blocks *blocks, const struct query_ctx *ctx,
                                 const struct select_req *req, struct series_set **sets,
                                 size_t *ret_n, struct err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < blocks->n; i++) {
        enum status st;

        if (!trange_overlaps(block_meta_of(blocks->p[i])->range, req->range))
            continue;
        st = block_select(blocks->p[i], ctx, req, &sets[n], err);
        if (st != ST_OK) {
            while (n > 0)
                series_set_close(sets[--n]);
            return st;
        }
        n++;
    }
    *ret_n = n;
    return ST_OK;
}

enum status db_select(struct db *d, const struct query_ctx *ctx, const struct select_req *req,
                      struct series_set **ret, struct err *err)
{
    struct series_set *head, **sets;
    struct db_blocks blocks;
    size_t n = 0;
    enum status st;

    /* The head first: what leaves it from now on is in a block that the list has, or stays until
     * the set is closed (db_cut.c). */
    TRY(head_select(d->head, ctx, req, &head, err));
    db_blocks(d, &blocks);
    sets = heap_array(blocks.n + 1, sizeof(struct series_set *));
    st = select_blocks(&blocks, ctx, req, sets, &n, err);
    if (st == ST_OK) {
        sets[n++] = head;
        st = merge_sets(ctx, sets, n, ret, err);
    } else {
        series_set_close(head);
    }
    db_blocks_free(&blocks);
    heap_free(sets);
    return st;
}

enum status db_label_names(struct db *d, const struct query_ctx *ctx, const struct select_req *req,
                           struct names *ret, struct err *err)
{
    struct db_blocks blocks;
    struct names *lists, head;
    size_t n = 0;
    enum status st = head_label_names(d->head, ctx, req, &head, err);

    TRY(st);
    db_blocks(d, &blocks);
    lists = heap_array(blocks.n + 1, sizeof(*lists));
    lists[n++] = head;
    for (size_t i = 0; i < blocks.n && st == ST_OK; i++)
        if (!req || trange_overlaps(block_meta_of(blocks.p[i])->range, req->range))
            st = block_label_names(blocks.p[i], ctx, req, &lists[n++], err);
    if (st == ST_OK)
        st = merge_names(ctx, lists, n, req ? req->hints.limit : 0, ret, err);
    db_blocks_free(&blocks);
    heap_free(lists);
    return st;
}

enum status db_label_values(struct db *d, const struct query_ctx *ctx, struct sv name,
                            const struct select_req *req, struct names *ret, struct err *err)
{
    struct db_blocks blocks;
    struct names *lists, head;
    size_t n = 0;
    enum status st = head_label_values(d->head, ctx, name, req, &head, err);

    TRY(st);
    db_blocks(d, &blocks);
    lists = heap_array(blocks.n + 1, sizeof(*lists));
    lists[n++] = head;
    for (size_t i = 0; i < blocks.n && st == ST_OK; i++)
        if (!req || trange_overlaps(block_meta_of(blocks.p[i])->range, req->range))
            st = block_label_values(blocks.p[i], ctx, name, req, &lists[n++], err);
    if (st == ST_OK)
        st = merge_names(ctx, lists, n, req ? req->hints.limit : 0, ret, err);
    db_blocks_free(&blocks);
    heap_free(lists);
    return st;
}

enum status db_drop_block(struct db *d, struct sv ulid, struct err *err)
{
    struct block *b = NULL;
    char name[ULID_LEN + 1] = "", dir[FS_PATH_MAX];

    if (!ulid_valid(ulid))
        return err_set(err, ST_INVALID, "not a block: " SV_FMT, SV_ARG(ulid));
    memcpy(name, ulid.p, ULID_LEN);
    lock_take(&d->lock);
    for (size_t i = 0; i < d->blocks.n; i++)
        if (strcmp(block_meta_of(d->blocks.p[i])->ulid, name) == 0) {
            b = d->blocks.p[i];
            memmove(&d->blocks.p[i], &d->blocks.p[i + 1],
                    (d->blocks.n - i - 1) * sizeof(struct block *));
            d->blocks.n--;
            break;
        }
    lock_drop(&d->lock);
    block_unref(b); /* open selects keep it; its mapped files outlive their names */
    if (!fs_join(dir, d->opts.blocks_dir, name))
        return err_set(err, ST_INVALID, "path too long: %s", d->opts.blocks_dir);
    return fs_rmtree(d->opts.fs, dir, err);
}

/* --- changes --- */
void db_mark(struct db *d, struct trange range, struct change_mark *ret)
{
    head_book_mark(d->head, range, ret);
}

void db_settle(struct db *d)
{
    db_forget(d);
    head_tidy(d->head);
    head_book_settle(d->head);
}

void db_bump(struct db *d, struct trange range)
{
    head_book_bump(d->head, range);
}
