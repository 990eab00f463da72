/* The log's life: opened with a replay, closed, measured, trimmed. Bytes are in wal_write.c, reading in
 * wal_read.c, the syncer in wal_sync.c.
 */
#include "base/log.h"
#include "wal_int.h"

#include <inttypes.h>

static void register_metrics(struct wal *w)
{
    struct metrics *m = w->opts.metrics;

    if (!m)
        return;
    w->m_records = metric_counter(m, "engram_wal_records_total", "", "Records written to the log.");
    w->m_bytes = metric_counter(m, "engram_wal_written_bytes_total", "", "Bytes written to the log.");
    w->m_failures = metric_counter(m, "engram_wal_failures_total", "",
                                   "Groups that could not be written or synced; each is retried.");
    w->m_damaged = metric_counter(m, "engram_wal_lost_ranges_total", "",
                                  "Places in the log whose records were found lost at start.");
    w->m_pending = metric_gauge(m, "engram_wal_group_bytes", "", "Size of the newest group.");
    w->m_segments = metric_gauge(m, "engram_wal_segments", "", "Segment files of the log.");
    w->m_sync = metric_seconds(m, "engram_wal_fsync_seconds", "", "Duration of fdatasync.");
    w->m_group = metric_seconds(m, "engram_wal_group_seconds", "", "Writing and syncing a group.");
}

static void say_lost(void *arg, const char *text)
{
    struct wal *w = arg;

    metric_inc(w->m_damaged);
    log_error("wal", "damage found", "what=%s", log_q(sv_of(text)));
}

static enum status replay(struct wal *w, wal_visit visit, void *arg, struct err *err)
{
    struct wal_reading r = {.fs = w->opts.fs, .dir = w->dir, .visit = visit, .arg = arg,
                            .say = say_lost, .say_arg = w};
    enum status st = wal_read_all(&r, err);

    for (size_t i = 0; i < r.segments.n; i++)
        vec_push(&w->segments, r.segments.p[i]);
    vec_free(&r.segments);
    w->position = r.position ? r.position : (uint64_t)clk_wall_ms(w->opts.clk) * 1000000;
    w->group_pos = w->position;
    atomic_store(&w->durable, w->position);
    metric_set(w->m_segments, (double)w->segments.n);
    return st;
}

enum status wal_open(const struct wal_opts *opts, wal_visit visit, void *arg, struct wal **ret,
                     struct err *err)
{
    struct wal *w = heap_new(struct wal);
    enum status st;

    w->opts = *opts;
    if (!w->opts.segment_bytes)
        w->opts.segment_bytes = (uint64_t)64 << 20;
    if (!w->opts.pending_max)
        w->opts.pending_max = (uint64_t)64 << 20;
    if (!w->opts.sync_interval_ms)
        w->opts.sync_interval_ms = 1000;
    w->dir = heap_strn(opts->dir, strlen(opts->dir));
    w->fd = -1;
    lock_init(&w->lock, LOCK_wal);
    cond_init(&w->work);
    cond_init(&w->done);
    buf_init(&w->pending, SIZE_MAX);
    buf_init(&w->group, SIZE_MAX);
    buf_init(&w->tail, SIZE_MAX);
    buf_init(&w->page, SIZE_MAX);
    register_metrics(w);
    TRY_GOTO(fs_mkdirs(w->opts.fs, w->dir, err));
    TRY_GOTO(replay(w, visit, arg, err));
    TRY_GOTO(wal_syncer_start(w, err));
    *ret = w;
    return ST_OK;
out:
    wal_close(w);
    return st;
}

void wal_close(struct wal *own_w)
{
    struct wal *w = own_w;
    struct err err = ERR_INIT;

    if (!w)
        return;
    wal_syncer_stop(w);
    if (w->fd >= 0 && w->dirty && fs_sync(w->opts.fs, w->fd, &err) != ST_OK)
        log_error("wal", "last sync failed", "error=%s", log_q(sv_of(err.msg)));
    for (size_t i = 0; i < w->waiters.n; i++) {
        err_set(&err, ST_UNAVAIL, "shutting down");
        w->waiters.p[i].fn(w->waiters.p[i].arg, ST_UNAVAIL, &err);
    }
    fs_close(w->opts.fs, w->fd);
    buf_fini(&w->pending);
    buf_fini(&w->group);
    buf_fini(&w->tail);
    buf_fini(&w->page);
    vec_free(&w->waiters);
    vec_free(&w->segments);
    cond_fini(&w->work);
    cond_fini(&w->done);
    lock_fini(&w->lock);
    heap_free(w->dir);
    heap_free(w);
}

uint64_t wal_position(struct wal *w)
{
    LOCK_SCOPE(&w->lock);
    return w->position;
}

uint64_t wal_durable(struct wal *w)
{
    return atomic_load_explicit(&w->durable, memory_order_acquire);
}

uint64_t wal_bytes(struct wal *w)
{
    uint64_t n = 0;

    LOCK_SCOPE(&w->lock);
    for (size_t i = 0; i < w->segments.n; i++)
        n += w->segments.p[i].bytes;
    return n;
}

/* The oldest segment when it is sealed and holds nothing above pos. */
static bool droppable(struct wal *w, uint64_t pos, uint64_t *ret_base)
{
    LOCK_SCOPE(&w->lock);
    if (!w->segments.n || (w->segments.n == 1 && w->open_is_last) || w->segments.p[0].last > pos)
        return false;
    *ret_base = w->segments.p[0].base;
    return true;
}

enum status wal_drop_until(struct wal *w, uint64_t pos, struct err *err)
{
    char path[FS_PATH_MAX];
    uint64_t base;
    size_t dropped = 0;

    while (droppable(w, pos, &base)) {
        if (!wal_segment_path(w->dir, base, path))
            return err_set(err, ST_INVALID, "path too long: %s", w->dir);
        TRY(fs_unlink(w->opts.fs, path, err));
        LOCK_SCOPE(&w->lock);
        w->segments.n--;
        memmove(w->segments.p, w->segments.p + 1, w->segments.n * sizeof(*w->segments.p));
        metric_set(w->m_segments, (double)w->segments.n);
        dropped++;
    }
    return dropped ? fs_sync_dir(w->opts.fs, w->dir, err) : ST_OK;
}
