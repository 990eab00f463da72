/* The log's syncer: one thread that takes whatever has gathered, writes it, makes it durable and tells
 * those who wait. While it is at it, the next group gathers: group commit.
 */
#include "base/log.h"
#include "wal_int.h"

#include <inttypes.h>
#include <string.h>

#define RETRY_NS INT64_C(250000000)
#define KEEP_BYTES (4u << 20) /* buffers larger than this are given back after use */

/* Takes the waiters at or below pos (all of them when the group failed) out of the list. */
static size_t take_waiters(struct wal *w, uint64_t pos, bool all, struct wal_waiter **ret)
{
    size_t n = 0, left = 0;

    *ret = w->waiters.n ? heap_array(w->waiters.n, sizeof(**ret)) : NULL;
    for (size_t i = 0; i < w->waiters.n; i++) {
        if (all || w->waiters.p[i].pos <= pos)
            (*ret)[n++] = w->waiters.p[i];
        else
            w->waiters.p[left++] = w->waiters.p[i];
    }
    w->waiters.n = left;
    return n;
}

static void tell(struct wal_waiter *waiters, size_t n, enum status st, const struct err *err)
{
    for (size_t i = 0; i < n; i++)
        waiters[i].fn(waiters[i].arg, st, st == ST_OK ? NULL : err);
    heap_free(waiters);
}

static void shrink(struct buf *b)
{
    size_t max = b->max;

    if (b->cap <= KEEP_BYTES) {
        buf_clear(b);
        return;
    }
    buf_fini(b);
    buf_init(b, max);
}

/* With the lock: pending becomes the group. What came while the group failed joins it. */
static void take_pending(struct wal *w)
{
    struct buf empty = w->group;

    if (w->group.n || !w->pending.n)
        return;
    w->group = w->pending;
    w->pending = empty;
    w->group_pos = w->position;
    metric_add(w->m_records, (double)w->pending_records);
    w->pending_records = 0;
}

static void group_done(struct wal *w, enum status st, const struct err *err)
{
    struct wal_waiter *waiters;
    size_t n;

    if (st == ST_OK)
        shrink(&w->group);
    lock_take(&w->lock);
    if (st == ST_OK) {
        w->segments.p[w->segments.n - 1].last = w->group_pos;
        w->segments.p[w->segments.n - 1].bytes = w->file_bytes;
        atomic_store_explicit(&w->durable, w->group_pos, memory_order_release);
        if (w->failing != ST_OK)
            log_info("wal", "the log can be written again", "position=%" PRIu64, w->group_pos);
        w->failing = ST_OK;
    } else {
        metric_inc(w->m_failures);
        if (w->failing == ST_OK)
            log_error("wal", "the log can't be written: pushes are refused until it can", "error=%s",
                      log_q(sv_of(err->msg)));
        w->failing = st;
        w->failure = *err;
    }
    n = take_waiters(w, w->group_pos, st != ST_OK, &waiters);
    cond_broadcast(&w->done);
    lock_drop(&w->lock);
    tell(waiters, n, st, err);
}

/* Time for a new segment? Only between groups. */
static void roll(struct wal *w, bool asked)
{
    struct err err = ERR_INIT;

    if (w->fd < 0 || (!asked && w->file_bytes < w->opts.segment_bytes))
        return;
    if (w->dirty && w->opts.sync != WAL_SYNC_OFF && fs_sync(w->opts.fs, w->fd, &err) != ST_OK)
        log_error("wal", "segment could not be synced", "error=%s", log_q(sv_of(err.msg)));
    w->dirty = false;
    wal_seal(w);
    /* Its last page is complete and on disk: nothing of it needs repeating. */
    buf_clear(&w->tail);
}

static void sync_late(struct wal *w)
{
    struct err err = ERR_INIT;

    if (!w->dirty || w->fd < 0 || w->opts.sync != WAL_SYNC_INTERVAL)
        return;
    if (fs_sync(w->opts.fs, w->fd, &err) != ST_OK)
        log_error("wal", "the log could not be synced", "error=%s", log_q(sv_of(err.msg)));
    w->dirty = false;
    w->synced_ns = clk_mono_ns(w->opts.clk);
}

/* Waits for work; true: there is a group to write. */
static bool next_group(struct wal *w, bool *ret_roll, bool *ret_stop)
{
    LOCK_SCOPE(&w->lock);
    for (;;) {
        bool late = w->dirty && w->opts.sync == WAL_SYNC_INTERVAL;

        *ret_roll = w->roll;
        *ret_stop = w->stop;
        if (w->failing != ST_OK && !w->stop)
            cond_wait_ns(&w->work, &w->lock, RETRY_NS);
        take_pending(w);
        if (w->group.n || w->stop || w->roll)
            break;
        if (late) {
            if (!cond_wait_ns(&w->work, &w->lock, w->opts.sync_interval_ms * 1000000))
                break;
        } else {
            cond_wait(&w->work, &w->lock);
        }
    }
    *ret_roll = w->roll;
    *ret_stop = w->stop;
    metric_set(w->m_pending, (double)w->group.n);
    return w->group.n > 0;
}

static void roll_done(struct wal *w)
{
    LOCK_SCOPE(&w->lock);
    w->roll = false;
    cond_broadcast(&w->done);
}

static void *syncer(void *arg)
{
    struct wal *w = arg;
    bool want_roll, stop = false;

    pthread_setname_np(pthread_self(), "wal");
    while (!stop) {
        bool group = next_group(w, &want_roll, &stop);
        struct err err = ERR_INIT;

        if (group) {
            int64_t began_ns = clk_mono_ns(w->opts.clk);
            enum status st;

            roll(w, false);
            st = wal_write_group(w, &err);
            group_done(w, st, &err);
            metric_observe(w->m_group, (double)(clk_mono_ns(w->opts.clk) - began_ns) / 1e9);
            /* Stopping: one more try for what came meanwhile, none for what fails. */
            if (stop && st == ST_OK) {
                LOCK_SCOPE(&w->lock);
                stop = !w->pending.n;
            }
            if (stop && st != ST_OK)
                log_error("wal", "stopped with records that could not be written; nobody was told "
                                 "that they are stored", "bytes=%zu", w->group.n + w->pending.n);
        } else {
            sync_late(w);
        }
        if (want_roll) {
            roll(w, true);
            roll_done(w);
        }
    }
    return NULL;
}

enum status wal_syncer_start(struct wal *w, struct err *err)
{
    int e = pthread_create(&w->syncer, NULL, syncer, w);

    if (e)
        return err_set(err, ST_IO, "thread of the log: %s", strerror(e));
    w->started = true;
    return ST_OK;
}

void wal_syncer_stop(struct wal *w)
{
    if (!w->started)
        return;
    lock_take(&w->lock);
    w->stop = true;
    cond_signal(&w->work);
    lock_drop(&w->lock);
    pthread_join(w->syncer, NULL);
    w->started = false;
}

void wal_notify(struct wal *w, uint64_t pos, wal_done fn, void *arg)
{
    struct err err = ERR_INIT;
    enum status st = ST_OK;

    lock_take(&w->lock);
    if (atomic_load_explicit(&w->durable, memory_order_relaxed) < pos) {
        if (w->failing == ST_OK) {
            vec_push(&w->waiters, ((struct wal_waiter){pos, fn, arg}));
            lock_drop(&w->lock);
            return;
        }
        st = w->failing;
        err = w->failure;
    }
    lock_drop(&w->lock);
    fn(arg, st, st == ST_OK ? NULL : &err);
}

enum status wal_wait(struct wal *w, uint64_t pos, struct err *err)
{
    LOCK_SCOPE(&w->lock);
    while (atomic_load_explicit(&w->durable, memory_order_relaxed) < pos) {
        if (w->failing != ST_OK)
            return err_set(err, w->failing, "%s", w->failure.msg);
        if (w->stop)
            return err_set(err, ST_UNAVAIL, "shutting down");
        cond_wait(&w->done, &w->lock);
    }
    return ST_OK;
}

enum status wal_roll(struct wal *w, struct err *err)
{
    LOCK_SCOPE(&w->lock);
    if (!w->open_is_last || w->segments.p[w->segments.n - 1].last ==
                                w->segments.p[w->segments.n - 1].base)
        return ST_OK;
    w->roll = true;
    cond_signal(&w->work);
    while (w->roll) {
        if (w->stop)
            return err_set(err, ST_UNAVAIL, "shutting down");
        if (w->failing != ST_OK)
            return err_set(err, w->failing, "%s", w->failure.msg);
        cond_wait(&w->done, &w->lock);
    }
    return ST_OK;
}
