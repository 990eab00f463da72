/* Reading the log: segments in order, page by page, records put together from their frames.
 *
 * Positions are without gaps, so what is missing shows by itself: a record that does not begin where
 * the one before it ended is a finding, "lost between". Bad bytes without such a gap are what a
 * power cut leaves of a group that nobody was told is stored, or of one that was written again
 * into the next segment.
 */
#include "base/log.h"
#include "wal_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define READ_PAGES 16u

struct segment_read {
    struct wal_reading *r;
    struct wal_segment *seg;
    uint32_t seed;
    struct buf record;   /* a record that runs over pages, as far as it was read */
    bool inside;
    uint64_t bad_pages;
};

static void finding(struct wal_reading *r, const char *fmt, ...) PRINTF(2, 3);
static void finding(struct wal_reading *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    r->findings++;
    if (r->say)
        r->say(r->say_arg, text);
}

/* A whole record: checks it, tells of a gap before it, hands it on. False: not sound. */
static bool take_record(struct segment_read *s, struct sv raw, enum status *ret_st, struct err *err)
{
    struct wal_reading *r = s->r;
    struct cur c = cur_of(raw);
    uint32_t n = cur_le32(&c);
    struct wal_record rec = {.pos = cur_le64(&c)};
    size_t tenant_n;

    rec.type = cur_u8(&c);
    tenant_n = cur_u8(&c);
    rec.tenant = cur_bytes(&c, tenant_n);
    if (c.bad || (size_t)n + 4 != raw.n || rec.pos < raw.n)
        return false;
    rec.body = cur_bytes(&c, cur_left(&c));
    if (r->any && rec.pos - raw.n > r->position)
        finding(r, "%s/%016" PRIx64 ".wal: %" PRIu64 " bytes of records are lost, positions %" PRIu64
                   " to %" PRIu64,
                r->dir, s->seg->base, rec.pos - raw.n - r->position, r->position, rec.pos - raw.n);
    r->any = true;
    if (rec.pos > r->position)
        r->position = rec.pos;
    if (rec.pos > s->seg->last)
        s->seg->last = rec.pos;
    r->records++;
    if (r->visit)
        *ret_st = r->visit(r->arg, &rec, err);
    return true;
}

static bool all_zero(struct sv s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i])
            return false;
    return true;
}

/* One frame's bytes: false when they make no sense where they stand. */
static bool take_frame(struct segment_read *s, unsigned kind, struct sv part, enum status *ret_st,
                       struct err *err)
{
    switch (kind) {
    case WAL_FRAME_FULL:
        s->inside = false;
        return take_record(s, part, ret_st, err);
    case WAL_FRAME_FIRST:
        buf_clear(&s->record);
        s->record.over = false;
        buf_sv(&s->record, part);
        s->inside = true;
        return true;
    case WAL_FRAME_MIDDLE:
    case WAL_FRAME_LAST:
        if (!s->inside)
            return true; /* its beginning was lost: the gap will tell */
        buf_sv(&s->record, part);
        if (kind == WAL_FRAME_MIDDLE)
            return buf_ok(&s->record);
        s->inside = false;
        return buf_ok(&s->record) && take_record(s, buf_view(&s->record), ret_st, err);
    default:
        return false;
    }
}

static enum status take_page(struct segment_read *s, struct sv page, struct err *err)
{
    enum status st = ST_OK;

    while (page.n > WAL_FRAME_BYTES && st == ST_OK) {
        struct cur c = cur_of(page);
        uint32_t crc = cur_le32(&c);
        size_t n = cur_u8(&c);
        unsigned kind;

        n |= (size_t)cur_u8(&c) << 8;
        kind = cur_u8(&c);
        if (kind == WAL_FRAME_NONE && !crc && !n && all_zero(page))
            return ST_OK;
        if (n > page.n - WAL_FRAME_BYTES || crc32c(s->seed, page.p + 4, n + 3) != crc ||
            !take_frame(s, kind, sv_sub(page, WAL_FRAME_BYTES, n), &st, err)) {
            s->inside = false;
            s->bad_pages++;
            return ST_OK;
        }
        page = sv_sub(page, WAL_FRAME_BYTES + n, page.n);
    }
    return st;
}

/* The header names a base and a version; a damaged one is told and the file's name believed. */
static enum status take_header(struct segment_read *s, struct sv page, const char *path,
                               struct err *err)
{
    struct cur c = cur_of(page);
    struct sv magic = cur_bytes(&c, 8);
    uint32_t version = cur_le32(&c), features = cur_le32(&c);
    uint64_t base = cur_le64(&c);

    cur_le32(&c);
    if (cur_le32(&c) != crc32c(0, page.p, WAL_HEADER_BYTES - 4) || c.bad ||
        !sv_is(magic, WAL_MAGIC) || base != s->seg->base) {
        if (!all_zero(page))
            finding(s->r, "%s: damaged header", path);
        return ST_OK;
    }
    if (version != WAL_VERSION || features)
        return err_set(err, ST_INVALID,
                       "%s: log version %u, features %x: written by a newer engram; this one reads "
                       "version %u", path, version, features, WAL_VERSION);
    return ST_OK;
}

static enum status read_pages(struct segment_read *s, int fd, const char *path, char *p,
                              struct err *err)
{
    const struct fs *fs = s->r->fs;
    uint64_t off = 0;

    for (;;) {
        size_t n = 0;

        while (n < READ_PAGES * WAL_PAGE_BYTES) {
            ssize_t got = fs->ops->pread(fs, fd, p + n, READ_PAGES * WAL_PAGE_BYTES - n,
                                         (off_t)(off + n));

            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0) {
                /* Bad sectors: this stretch is lost, as if its bytes were wrong. */
                finding(s->r, "%s: can't be read at %" PRIu64 ": %s", path, off + n,
                        strerror(errno));
                s->inside = false;
                return ST_OK;
            }
            if (got == 0)
                break;
            n += (size_t)got;
        }
        for (size_t at = 0; at < n; at += WAL_PAGE_BYTES) {
            struct sv page = sv_sub(sv_make(p, n), at, WAL_PAGE_BYTES);

            if (off + at == 0) {
                if (page.n < WAL_HEADER_BYTES)
                    return ST_OK; /* died while it was begun */
                TRY(take_header(s, sv_sub(page, 0, WAL_HEADER_BYTES), path, err));
                page = sv_sub(page, WAL_HEADER_BYTES, page.n);
            }
            TRY(take_page(s, page, err));
        }
        off += n;
        s->seg->bytes = off;
        if (n < READ_PAGES * WAL_PAGE_BYTES)
            return ST_OK;
    }
}

static enum status read_segment(struct wal_reading *r, struct wal_segment *seg, struct err *err)
{
    struct segment_read s = {.r = r, .seg = seg, .seed = wal_seed(seg->base)};
    char path[FS_PATH_MAX], *p;
    int fd = -1;
    enum status st;

    if (!wal_segment_path(r->dir, seg->base, path))
        return err_set(err, ST_INVALID, "path too long: %s", r->dir);
    buf_init(&s.record, WAL_RECORD_MAX + WAL_RAW_BYTES + UINT8_MAX);
    p = heap_alloc((size_t)READ_PAGES * WAL_PAGE_BYTES);
    st = fs_open(r->fs, path, O_RDONLY, &fd, err);
    if (st == ST_OK)
        st = read_pages(&s, fd, path, p, err);
    fs_close(r->fs, fd);
    heap_free(p);
    buf_fini(&s.record);
    if (s.bad_pages)
        log_info("wal", "bytes that are no records", "segment=%s pages=%" PRIu64, path, s.bad_pages);
    return st;
}

static bool segment_name(const char *name, uint64_t *ret_base)
{
    uint64_t base = 0;

    if (strlen(name) != WAL_NAME_LEN || strcmp(name + 16, ".wal") != 0)
        return false;
    for (int i = 0; i < 16; i++) {
        char c = name[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        base = base << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret_base = base;
    return true;
}

enum status wal_read_all(struct wal_reading *r, struct err *err)
{
    struct fs_names names;
    enum status st = fs_list(r->fs, r->dir, &names, err);
    uint64_t base;

    if (st != ST_OK)
        return st;
    for (size_t i = 0; i < names.n && st == ST_OK; i++) {
        struct wal_segment seg;

        if (!segment_name(names.p[i], &base))
            continue;
        seg = (struct wal_segment){.base = base, .last = base};
        if (!r->any && base > r->position)
            r->position = base;
        st = read_segment(r, &seg, err);
        vec_push(&r->segments, seg);
    }
    fs_names_free(&names);
    return st;
}

enum status wal_check(const struct fs *fs, const char *dir, void (*say)(void *arg, const char *text),
                      void *arg, struct err *err)
{
    struct wal_reading r = {.fs = fs, .dir = dir, .say = say, .say_arg = arg};
    enum status st = wal_read_all(&r, err);

    vec_free(&r.segments);
    if (st == ST_OK && r.findings)
        st = err_set(err, ST_CORRUPT, "%s: %" PRIu64 " findings", dir, r.findings);
    return st;
}
