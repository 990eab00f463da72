/* Cutting windows of the head into blocks.
 *
 *   barrier    head locked for writing for a moment: no append is half done. CUT_BEGIN is logged; a
 *              new epoch will begin after it.
 *   seal       series by series, beside appends: what a series has of the window goes to this cut.
 *              Samples that arrive afterwards gather anew and belong to a later cut.
 *   write      sealed chunks, in label order, into <ULID>.tmp, synced, renamed.
 *   log        CUT: from now on a replay takes these samples out of the head again.
 *   publish    the block serves selects that begin from now on.
 *   forget     the samples leave the head, once every select that began before has ended.
 *
 * A crash before CUT is durable leaves a block whose samples are in the log as well: equal samples
 * merge away. After it, nothing is twice. At no point is a sample nowhere.
 *
 * Samples between barrier and seal get into the block and are replayed too: again equal ones.
 */
#include "base/log.h"
#include "head_int.h"

#include <stdio.h>
#include <stdlib.h>

#define ARENA_MAX ((size_t)256 << 20) /* one series' chunks, merged with late ones */
#define COPY_MAX  ((size_t)256 << 20)

struct cutting {
    struct db *d;
    struct head *h;
    int64_t window_ms;
    uint32_t number;    /* of the cut */
    uint64_t begin_pos; /* of CUT_BEGIN */
    uint64_t needed_from;
    struct head_series **series; /* that have something; pinned */
    size_t n, cap;
    struct head_pin pin;
};

static enum status log_cut(struct cutting *c, uint8_t type, struct sv ulid, uint64_t *ret_pos,
                           struct err *err)
{
    struct wal_cut cut = {{c->window_ms, c->window_ms + c->h->opts.window_ms}, c->begin_pos, ulid};
    struct buf body;
    enum status st;

    buf_init(&body, 4096);
    /* A cut names no series, so that it belongs to no epoch. */
    wal_code_cut(&body, 0, &cut);
    st = wal_append(c->h->wal, type, sv_of(c->h->opts.tenant), buf_view(&body), ret_pos, err);
    buf_fini(&body);
    return st;
}

/* The ids that there are; series made later have nothing that this cut must have. */
static enum status barrier(struct cutting *c, struct postings *ret, struct err *err)
{
    struct head *h = c->h;
    enum status st;

    rwlock_write(&h->lock);
    st = log_cut(c, WAL_CUT_BEGIN, (struct sv){NULL, 0}, &c->begin_pos, err);
    if (st == ST_OK) {
        head_book_barrier(h);
        c->number = ++h->cut;
        ret->n = h->all.n;
        ret->p = heap_dup(h->all.p, h->all.n * sizeof(*h->all.p));
    }
    rwlock_drop(&h->lock);
    return st;
}

static void seal_one(struct cutting *c, uint32_t id)
{
    struct head *h = c->h;
    struct head_series *s;
    uint64_t samples = 0;

    rwlock_read(&h->lock);
    s = head_series_at(h, id);
    if (s) {
        lock_take(&h->writers[head_writer_of(id)]);
        lock_take(head_stripe(h, id));
        samples = head_series_seal(h, s, c->window_ms, c->number);
        lock_drop(head_stripe(h, id));
        lock_drop(&h->writers[head_writer_of(id)]);
    }
    rwlock_drop(&h->lock);
    if (!samples)
        return;
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 256;
        c->series = heap_realloc(c->series, c->cap * sizeof(*c->series));
    }
    c->series[c->n++] = s;
}

static void unseal(struct cutting *c)
{
    struct head *h = c->h;

    for (size_t i = 0; i < c->n; i++) {
        uint32_t id = c->series[i]->id;

        lock_take(&h->writers[head_writer_of(id)]);
        lock_take(head_stripe(h, id));
        head_series_unmark(c->series[i], c->number);
        lock_drop(head_stripe(h, id));
        lock_drop(&h->writers[head_writer_of(id)]);
    }
}

static int by_labels(const void *a, const void *b, void *head)
{
    return head_series_cmp(head, *(struct head_series *const *)a, *(struct head_series *const *)b);
}

/* Copied chunks as the writer wants them: as they are when ascending and disjoint, else merged. */
static enum status chunks_of(struct sv copied, struct arena *arena, struct chunk_list *ret,
                             uint64_t *ret_samples, struct err *err)
{
    struct samples all;
    struct sv at = copied;
    enum status st;
    size_t n = 0;
    bool disjoint = true;

    *ret = (struct chunk_list){
        .p = arena_array(arena, copied.n / sizeof(struct head_copy) + 1, sizeof(struct chunk))};
    *ret_samples = 0;
    while (at.n && ret->p) {
        struct head_copy head;

        memcpy(&head, at.p, sizeof(head));
        disjoint &= !n || ret->p[n - 1].last_ms < head.first_ms;
        ret->p[n++] = (struct chunk){head.first_ms, head.last_ms, CHUNK_XOR,
                                     sv_make(at.p + sizeof(head), head.n_bytes)};
        *ret_samples += head.count;
        at = sv_sub(at, sizeof(head) + ((head.n_bytes + 7) & ~(size_t)7), at.n);
    }
    ret->n = n;
    if (arena_over(arena))
        return err_set(err, ST_LIMIT, "chunks of one series take more than %zu bytes", ARENA_MAX);
    if (disjoint)
        return ST_OK;
    samples_init(&all);
    st = head_copy_decode(copied, (struct trange){INT64_MIN, INT64_MAX}, &all, err);
    if (st == ST_OK) {
        *ret_samples = all.n;
        st = chunk_encode(&all, arena, ret, err);
    }
    samples_fini(&all);
    return st;
}

static enum status write_series(struct cutting *c, struct block_writer *w, struct err *err)
{
    struct label room[WAL_LABELS_MAX];
    struct arena arena;
    struct buf copy;
    enum status st = ST_OK;

    arena_init(&arena, ARENA_MAX);
    buf_init(&copy, COPY_MAX);
    for (size_t i = 0; i < c->n && st == ST_OK; i++) {
        struct head_series *s = c->series[i];
        struct chunk_list chunks;
        uint64_t samples = 0;

        buf_clear(&copy);
        arena_reset(&arena);
        lock_take(head_stripe(c->h, s->id));
        head_series_copy(s, (struct trange){0, 0}, true, c->number, &copy);
        lock_drop(head_stripe(c->h, s->id));
        st = buf_ok(&copy)
                 ? chunks_of(buf_view(&copy), &arena, &chunks, &samples, err)
                 : err_set(err, ST_LIMIT, "chunks of one series over %zu bytes", COPY_MAX);
        if (st == ST_OK)
            st = block_writer_series(w, head_series_labels(c->h, s, room), chunks.p, chunks.n,
                                     samples, err);
    }
    buf_fini(&copy);
    arena_fini(&arena);
    return st;
}

static enum status write_block(struct cutting *c, struct block_meta *meta, struct err *err)
{
    const struct db_opts *o = &c->d->opts;
    struct block_writer *w;
    enum status st;

    ulid_make(meta->ulid, (uint64_t)clk_wall_ms(o->clk));
    meta->level = 1;
    meta->sources_n = 1;
    memcpy(meta->sources[0], meta->ulid, sizeof(meta->ulid));
    snprintf(meta->tenant, sizeof(meta->tenant), "%s", o->tenant);
    snprintf(meta->ingester, sizeof(meta->ingester), "%s", o->ingester);
    meta->log_from = c->needed_from;
    meta->log_to = c->begin_pos;
    meta->cut_seq = c->begin_pos; /* positions only grow, over restarts too */
    TRY(fs_mkdirs(o->fs, o->blocks_dir, err));
    TRY(block_writer_open(o->fs, o->blocks_dir, meta, &w, err));
    st = write_series(c, w, err);
    if (st != ST_OK) {
        block_writer_abort(w);
        return st;
    }
    return block_writer_finish(w, meta, err);
}

/* The block is on disk: open it, log that, durably, and let it serve. */
static enum status publish(struct cutting *c, const struct block_meta *meta, struct err *err)
{
    struct db *d = c->d;
    char dir[FS_PATH_MAX];
    struct err late = ERR_INIT;
    struct block *b;
    uint64_t pos;
    enum status st;

    if (!fs_join(dir, d->opts.blocks_dir, meta->ulid))
        return err_set(err, ST_INVALID, "path too long: %s", d->opts.blocks_dir);
    TRY(block_open_dir(d->opts.fs, dir, &b, err));
    st = log_cut(c, WAL_CUT, sv_of(meta->ulid), &pos, err);
    if (st != ST_OK) {
        block_unref(b);
        return st;
    }
    /* Once appended, CUT may reach the disk at any time: from here on the block stays, and it is
     * durable itself. Should CUT get lost, a replay brings equal samples. */
    if (wal_wait(c->h->wal, pos, &late) != ST_OK)
        log_warn("db", "the end of a cut is not yet durable", "tenant=%s block=%s error=%s",
                 d->opts.tenant, meta->ulid, log_q(sv_of(late.msg)));
    lock_take(&d->lock);
    vec_push(&d->blocks, b);
    c->h->cut_done = c->number;
    d->forget_gen = head_pins_next(c->h);
    lock_drop(&d->lock);
    head_book_rebase(c->h, c->window_ms, c->begin_pos);
    return ST_OK;
}

static void drop_folder(struct db *d, const char *ulid)
{
    char dir[FS_PATH_MAX];
    struct err err = ERR_INIT;

    if (fs_join(dir, d->opts.blocks_dir, ulid) && fs_rmtree(d->opts.fs, dir, &err) != ST_OK)
        log_warn("db", "a block whose cut failed stays; its samples are in the log too",
                 "tenant=%s block=%s error=%s", d->opts.tenant, ulid, log_q(sv_of(err.msg)));
}

/* One window into one block. *ret_made is false when it had no samples. */
static enum status cut_window(struct db *d, int64_t window_ms, bool *ret_made, struct err *err)
{
    struct cutting c = {.d = d, .h = d->head, .window_ms = window_ms};
    struct block_meta *meta = heap_new(struct block_meta);
    struct postings ids = {0};
    struct db_stats stats;
    enum status st;

    *ret_made = false;
    head_stats(d->head, &stats);
    c.needed_from = stats.log_needed_from == UINT64_MAX ? 0 : stats.log_needed_from;
    head_pin(c.h, &c.pin);
    TRY_GOTO(barrier(&c, &ids, err));
    for (size_t i = 0; i < ids.n; i++)
        seal_one(&c, ids.p[i]);
    if (c.n) {
        qsort_r(c.series, c.n, sizeof(*c.series), by_labels, c.h);
        TRY_GOTO(write_block(&c, meta, err));
        st = publish(&c, meta, err);
        if (st != ST_OK)
            drop_folder(d, meta->ulid);
        else
            *ret_made = true;
    }
out:
    if (st != ST_OK)
        unseal(&c);
    head_unpin(c.h, &c.pin);
    heap_free(ids.p);
    heap_free(c.series);
    heap_free(meta);
    return st;
}

/* Cuts whose samples no open select needs any more; 0 none. */
static uint32_t due_cut(struct db *d)
{
    LOCK_SCOPE(&d->lock);
    if (!d->forget_gen || !head_pins_passed(d->head, d->forget_gen))
        return 0;
    d->forget_gen = 0;
    return d->head->cut_done;
}

static void forget_series(struct head *h, struct head_series *s, uint32_t done,
                          struct head_tallies *gone)
{
    lock_take(&h->writers[head_writer_of(s->id)]);
    lock_take(head_stripe(h, s->id));
    head_series_forget(h, s, done, gone);
    lock_drop(head_stripe(h, s->id));
    lock_drop(&h->writers[head_writer_of(s->id)]);
}

void db_forget(struct db *d)
{
    struct head *h = d->head;
    struct head_tallies gone = {0};
    uint32_t done = due_cut(d);
    struct postings ids;

    if (!done)
        return;
    rwlock_read(&h->lock);
    ids = (struct postings){heap_dup(h->all.p, h->all.n * sizeof(*h->all.p)), h->all.n};
    rwlock_drop(&h->lock);
    for (size_t i = 0; i < ids.n; i++) {
        struct head_series *s;

        rwlock_read(&h->lock);
        s = head_series_at(h, ids.p[i]);
        if (s)
            forget_series(h, s, done, &gone);
        rwlock_drop(&h->lock);
    }
    for (size_t i = 0; i < gone.n; i++)
        atomic_fetch_sub_explicit(&h->samples, gone.p[i].samples, memory_order_relaxed);
    head_book_gone(h, &gone);
    heap_free(gone.p);
    heap_free(ids.p);
    rwlock_write(&h->lock);
    head_index_evict(h);
    rwlock_drop(&h->lock);
}

/* The span of the head in whole windows; false: it has no samples. */
static bool span(struct head *h, struct db_stats *ret)
{
    head_stats(h, ret);
    return ret->min_ms <= ret->max_ms;
}

/* A window is complete when the newest sample is half a window past its end. */
static bool complete(const struct head *h, int64_t window_ms, int64_t newest_ms)
{
    return newest_ms - window_ms >= h->opts.window_ms + h->opts.window_ms / 2;
}

static bool is_idle(struct db *d, int64_t idle_ns)
{
    return clk_mono_ns(d->opts.clk) -
               atomic_load_explicit(&d->head->touched_ns, memory_order_relaxed) >=
           idle_ns;
}

bool db_wants_cut(struct db *d, int64_t idle_ns)
{
    struct db_stats s;
    bool idle = is_idle(d, idle_ns), any = span(d->head, &s);

    if (!any && !s.series && s.log_needed_from == UINT64_MAX)
        return false;
    lock_take(&d->lock);
    d->idle = idle;
    lock_drop(&d->lock);
    return idle || (any && complete(d->head, head_window_of(d->head, s.min_ms), s.max_ms));
}

/* Windows to cut now, oldest first; those made meanwhile wait for the next cut. */
static void plan(struct db *d, bool all, int64_t **ret, size_t *ret_n)
{
    struct head *h = d->head;
    struct head_book *b = &h->book;
    int64_t newest_ms = INT64_MIN;
    size_t n = 0;

    LOCK_SCOPE(&b->lock);
    *ret = heap_array(b->windows.n ? b->windows.n : 1, sizeof(**ret));
    for (size_t i = 0; i < b->windows.n; i++)
        if (b->windows.p[i].max_ms > newest_ms)
            newest_ms = b->windows.p[i].max_ms;
    for (size_t i = 0; i < b->windows.n; i++)
        if (all || complete(h, b->windows.p[i].from_ms, newest_ms))
            (*ret)[n++] = b->windows.p[i].from_ms;
    *ret_n = n;
}

/* A head without samples may still hold series and a place in the log (histograms alone, refused
 * samples): a whole cut gives both up. */
static void give_up_rest(struct db *d)
{
    struct head *h = d->head;

    rwlock_write(&h->lock);
    head_book_barrier(h);
    head_index_evict(h);
    rwlock_drop(&h->lock);
}

enum status db_cut(struct db *d, bool all, size_t *ret_n, struct err *err)
{
    int64_t *windows;
    size_t n, made_n = 0;
    enum status st = ST_OK;
    bool busy;

    lock_take(&d->lock);
    busy = d->cutting;
    d->cutting = true;
    all |= d->idle && !busy;
    d->idle = false;
    lock_drop(&d->lock);
    if (busy)
        return err_set(err, ST_UNAVAIL, "another cut of this head is under way");
    if (!d->head->wal)
        st = err_set(err, ST_UNAVAIL, "the log is not open yet");
    db_forget(d);
    plan(d, all, &windows, &n);
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        bool made = false;

        st = cut_window(d, windows[i], &made, err);
        made_n += made;
    }
    heap_free(windows);
    db_forget(d);
    if (st == ST_OK && all)
        give_up_rest(d);
    head_tidy(d->head);
    lock_take(&d->lock);
    d->cutting = false;
    lock_drop(&d->lock);
    *ret_n = made_n;
    return st;
}
