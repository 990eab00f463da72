/* The log's bytes: appending records to the pending group, framing a group into a segment.
 *
 * A folder holds segments `<base>.wal`, base in 16 hexadecimal digits. Numbers are little-endian.
 *
 *   segment   +----------------+--------------------------------------------------- - -
 *             | header, 32     | frames, none crosses a page of 32 KiB (page 0 begins
 *             |                | with the header)
 *             +----------------+--------------------------------------------------- - -
 *   header    magic "ENGRMWAL" 8 | version u32 | features u32 | base u64 | 0 u32 | crc32c u32 of
 *             all before it
 *   frame     crc32c u32 of what follows, seeded with the base | length u16 | kind u8 | bytes
 *             kind: 1 a whole record, 2 first, 3 middle, 4 last part; 0: nothing more in this page
 *   record    length u32 of what follows it | position u64 | type u8 | tenant's length u8 |
 *             tenant | body
 *
 * A reader that meets a bad frame goes on at the next page: damage costs a page and the record that
 * runs over its border. Positions stand in the records, so what follows keeps its own.
 *
 * The records of a group are kept raw until they are durable; framing happens on the way to
 * write(), because a group that failed may have to go to another place in another file.
 */
#include "base/log.h"
#include "wal_int.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define TAIL_BYTES 8192u        /* more than what two neighbouring disk pages can hold */
#define WRITE_BYTES (256u << 10) /* one write() */

uint32_t wal_seed(uint64_t base)
{
    uint8_t b[8];

    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(base >> (8 * i));
    return crc32c(0, b, sizeof(b));
}

bool wal_segment_path(const char *dir, uint64_t base, char out[FS_PATH_MAX])
{
    char name[WAL_NAME_LEN + 1];

    snprintf(name, sizeof(name), "%016" PRIx64 ".wal", base);
    return fs_join(out, dir, name);
}

enum status wal_append(struct wal *w, uint8_t type, struct sv tenant, struct sv body,
                       uint64_t *ret_pos, struct err *err)
{
    size_t need = WAL_RAW_BYTES + tenant.n + body.n;

    assert(tenant.n <= UINT8_MAX);
    if (body.n > WAL_RECORD_MAX)
        return err_set(err, ST_TOOBIG, "log record of %zu bytes is over %zu", body.n,
                       WAL_RECORD_MAX);
    LOCK_SCOPE(&w->lock);
    if (w->failing != ST_OK)
        return err_set(err, w->failing, "%s", w->failure.msg);
    if (w->stop)
        return err_set(err, ST_UNAVAIL, "shutting down");
    /* A record larger than the ceiling passes when it is alone. */
    if (w->pending.n && w->pending.n + need > w->opts.pending_max)
        return err_set(err, ST_UNAVAIL,
                       "the log's queue is full: %zu bytes wait for the disk, limit %" PRIu64,
                       w->pending.n, w->opts.pending_max);
    buf_reserve(&w->pending, need);
    buf_le32(&w->pending, (uint32_t)(need - 4));
    w->position += need;
    buf_le64(&w->pending, w->position);
    buf_u8(&w->pending, type);
    buf_u8(&w->pending, (uint8_t)tenant.n);
    buf_sv(&w->pending, tenant);
    buf_sv(&w->pending, body);
    w->pending_records++;
    *ret_pos = w->position;
    cond_signal(&w->work);
    return ST_OK;
}

/* --- segments --- */

void wal_seal(struct wal *w)
{
    fs_close(w->opts.fs, w->fd);
    w->fd = -1;
    LOCK_SCOPE(&w->lock);
    w->open_is_last = false;
}

static enum status open_segment(struct wal *w, uint64_t base, struct err *err)
{
    char path[FS_PATH_MAX];
    struct buf h;
    enum status st;
    int fd = -1;

    if (!wal_segment_path(w->dir, base, path))
        return err_set(err, ST_INVALID, "path too long: %s", w->dir);
    buf_init(&h, WAL_HEADER_BYTES);
    buf_str(&h, WAL_MAGIC);
    buf_le32(&h, WAL_VERSION);
    buf_le32(&h, 0);
    buf_le64(&h, base);
    buf_le32(&h, 0);
    buf_le32(&h, crc32c(0, h.p, h.n));
    /* Truncating: a file of this name can only be one whose first group never became durable. */
    TRY_GOTO(fs_open(w->opts.fs, path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, &fd, err));
    TRY_GOTO(fs_write_all(w->opts.fs, fd, buf_view(&h), err));
    TRY_GOTO(fs_sync(w->opts.fs, fd, err));
    TRY_GOTO(fs_sync_dir(w->opts.fs, w->dir, err));
    w->fd = fd;
    w->file_bytes = WAL_HEADER_BYTES;
    w->holds_durable = false;
    {
        LOCK_SCOPE(&w->lock);
        if (!w->segments.n || w->segments.p[w->segments.n - 1].base != base)
            vec_push(&w->segments, ((struct wal_segment){base, base, 0}));
        w->segments.p[w->segments.n - 1].bytes = w->file_bytes;
        w->open_is_last = true;
        metric_set(w->m_segments, (double)w->segments.n);
    }
out:
    if (st != ST_OK && fd >= 0) {
        fs_close(w->opts.fs, fd);
        w->opts.fs->ops->unlink(w->opts.fs, path);
    }
    buf_fini(&h);
    return st == ST_OK ? ST_OK : err_wrap(err, "beginning a log segment");
}

/* A segment that never held anything durable is of no use to anybody. */
static void forget_open_segment(struct wal *w)
{
    char path[FS_PATH_MAX];
    uint64_t base;

    fs_close(w->opts.fs, w->fd);
    w->fd = -1;
    {
        LOCK_SCOPE(&w->lock);
        base = w->segments.p[w->segments.n - 1].base;
        w->segments.n--;
        w->open_is_last = false;
    }
    if (wal_segment_path(w->dir, base, path))
        w->opts.fs->ops->unlink(w->opts.fs, path);
}

/* --- framing --- */

static enum status flush_page(struct wal *w, uint64_t *written, struct err *err)
{
    TRY(fs_write_all(w->opts.fs, w->fd, buf_view(&w->page), err));
    *written += w->page.n;
    buf_clear(&w->page);
    return ST_OK;
}

static void frame(struct buf *out, uint32_t seed, enum wal_frame kind, struct sv part)
{
    size_t at = out->n;
    uint32_t crc;

    buf_le32(out, 0);
    buf_u8(out, (uint8_t)part.n);
    buf_u8(out, (uint8_t)(part.n >> 8));
    buf_u8(out, (uint8_t)kind);
    buf_sv(out, part);
    crc = crc32c(seed, out->p + at + 4, out->n - at - 4);
    for (int i = 0; i < 4; i++)
        out->p[at + (size_t)i] = (char)(crc >> (8 * i));
}

/* Frames raw records into the open segment. *written counts what reached the file, also on failure
 * of a later write. */
static enum status write_records(struct wal *w, uint32_t seed, struct sv raw, uint64_t *written,
                                 struct err *err)
{
    while (raw.n) {
        struct cur c = cur_of(raw);
        struct sv rec = sv_sub(raw, 0, 4 + (size_t)cur_le32(&c));
        bool first = true;

        raw = sv_sub(raw, rec.n, raw.n);
        do {
            uint64_t at = (w->file_bytes + *written + w->page.n) % WAL_PAGE_BYTES;
            size_t room = (size_t)(WAL_PAGE_BYTES - at), n;
            static const char zeros[WAL_FRAME_BYTES + 1];

            if (room <= WAL_FRAME_BYTES) {
                buf_put(&w->page, zeros, room);
                continue;
            }
            n = rec.n < room - WAL_FRAME_BYTES ? rec.n : room - WAL_FRAME_BYTES;
            frame(&w->page, seed,
                  n == rec.n ? (first ? WAL_FRAME_FULL : WAL_FRAME_LAST)
                             : (first ? WAL_FRAME_FIRST : WAL_FRAME_MIDDLE),
                  sv_sub(rec, 0, n));
            rec = sv_sub(rec, n, rec.n);
            first = false;
            if (w->page.n >= WRITE_BYTES)
                TRY(flush_page(w, written, err));
        } while (rec.n);
    }
    return ST_OK;
}

/* Keeps the newest records, TAIL_BYTES of them or a little more. */
static void keep_tail(struct wal *w)
{
    struct sv raw = buf_view(&w->group);

    while (raw.n > TAIL_BYTES) {
        struct cur c = cur_of(raw);
        size_t n = 4 + (size_t)cur_le32(&c);

        if (raw.n - n < TAIL_BYTES)
            break;
        raw = sv_sub(raw, n, raw.n);
    }
    if (raw.n >= TAIL_BYTES) {
        buf_clear(&w->tail);
    } else {
        struct sv old = buf_view(&w->tail);

        while (old.n && old.n + raw.n > 4 * TAIL_BYTES) {
            struct cur c = cur_of(old);

            old = sv_sub(old, 4 + (size_t)cur_le32(&c), old.n);
        }
        if (old.n)
            memmove(w->tail.p, old.p, old.n);
        w->tail.n = old.n;
    }
    buf_sv(&w->tail, raw);
}

static uint64_t first_position(struct sv raw)
{
    struct cur c = cur_of(raw);
    uint64_t n = cur_le32(&c), pos = cur_le64(&c);

    return pos - n - 4;
}

/* After a failed write: what came of it goes away again, or the file is given up. */
static void take_back(struct wal *w)
{
    struct err err = ERR_INIT;

    buf_clear(&w->page);
    if (w->holds_durable) {
        if (fs_truncate(w->opts.fs, w->fd, w->file_bytes, &err) == ST_OK)
            return;
        log_warn("wal", "segment sealed: what failed can't be cut off", "error=%s",
                 log_q(sv_of(err.msg)));
        wal_seal(w);
    } else {
        forget_open_segment(w);
    }
}

static enum status sync_group(struct wal *w, struct err *err)
{
    int64_t began_ns = clk_mono_ns(w->opts.clk);

    w->dirty = true;
    if (w->opts.sync == WAL_SYNC_OFF ||
        (w->opts.sync == WAL_SYNC_INTERVAL &&
         began_ns - w->synced_ns < w->opts.sync_interval_ms * 1000000))
        return ST_OK;
    TRY(fs_sync(w->opts.fs, w->fd, err));
    w->synced_ns = clk_mono_ns(w->opts.clk);
    w->dirty = false;
    metric_observe(w->m_sync, (double)(w->synced_ns - began_ns) / 1e9);
    return ST_OK;
}

/* Writes w->group and makes it durable. On failure the group stays for another try. */
enum status wal_write_group(struct wal *w, struct err *err)
{
    struct sv tail = {NULL, 0};
    uint64_t written = 0, base;
    enum status st;

    if (w->fd < 0) {
        bool follows = w->tail.n > 0;

        base = follows ? first_position(buf_view(&w->tail)) : first_position(buf_view(&w->group));
        /* A sealed segment may carry that very name when its first records are the tail. */
        LOCK_SCOPE(&w->lock);
        if (w->segments.n && base <= w->segments.p[w->segments.n - 1].base)
            base = w->segments.p[w->segments.n - 1].base + 1;
        tail = buf_view(&w->tail);
    } else {
        LOCK_SCOPE(&w->lock);
        base = w->segments.p[w->segments.n - 1].base;
    }
    if (w->fd < 0)
        TRY(open_segment(w, base, err));
    st = write_records(w, wal_seed(base), tail, &written, err);
    if (st == ST_OK)
        st = write_records(w, wal_seed(base), buf_view(&w->group), &written, err);
    if (st == ST_OK && w->page.n)
        st = flush_page(w, &written, err);
    if (st != ST_OK) {
        take_back(w);
        return err_wrap(err, "log");
    }
    st = sync_group(w, err);
    if (st != ST_OK) {
        /* The kernel may have dropped those pages and called them clean: a second fdatasync would
         * lie. */
        if (w->holds_durable)
            wal_seal(w);
        else
            forget_open_segment(w);
        return err_wrap(err, "log, segment given up");
    }
    w->file_bytes += written;
    w->holds_durable = true;
    metric_add(w->m_bytes, (double)written);
    keep_tail(w);
    return ST_OK;
}
