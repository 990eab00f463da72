/* A file being written in large pieces. The checksum is taken over the buffer when a piece leaves
 * or a section ends, not byte by byte. */
#include "block_int.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

#define OUT_BYTES ((size_t)256 << 10)

enum status block_out_open(struct block_out *o, const struct fs *fs, const char *path,
                           struct err *err)
{
    memset(o, 0, sizeof(*o));
    o->fs = fs;
    o->fd = -1;
    buf_init(&o->buf, OUT_BYTES);
    if ((size_t)snprintf(o->path, sizeof(o->path), "%s", path) >= sizeof(o->path))
        return err_set(err, ST_INVALID, "path is too long: %s", path);
    return fs_open(fs, path, O_WRONLY | O_CREAT | O_TRUNC, &o->fd, err);
}

static void sum(struct block_out *o)
{
    o->crc = crc32c(o->crc, o->buf.p + o->crc_from, o->buf.n - o->crc_from);
    o->crc_from = o->buf.n;
}

enum status block_out_flush(struct block_out *o, struct err *err)
{
    if (o->buf.n == 0)
        return ST_OK;
    sum(o);
    TRY(fs_write_all(o->fs, o->fd, buf_view(&o->buf), err));
    buf_clear(&o->buf);
    o->crc_from = 0;
    return ST_OK;
}

enum status block_out_put(struct block_out *o, struct sv bytes, struct err *err)
{
    assert(o->fd >= 0);
    while (bytes.n) {
        size_t n = OUT_BYTES - o->buf.n;

        if (n > bytes.n)
            n = bytes.n;
        buf_put(&o->buf, bytes.p, n);
        o->off += n;
        bytes = sv_sub(bytes, n, bytes.n);
        if (o->buf.n == OUT_BYTES)
            TRY(block_out_flush(o, err));
    }
    return ST_OK;
}

enum status block_out_pad(struct block_out *o, unsigned align, struct err *err)
{
    static const char zeros[64];

    assert(align <= sizeof(zeros));
    return block_out_put(o, sv_make(zeros, -o->off & (align - 1)), err);
}

void block_out_crc_begin(struct block_out *o)
{
    o->crc = 0;
    o->crc_from = o->buf.n;
}

enum status block_out_crc_end(struct block_out *o, struct err *err)
{
    uint8_t be[4];

    if (o->buf.n > o->crc_from)
        sum(o);
    for (int i = 0; i < 4; i++)
        be[i] = (uint8_t)(o->crc >> (24 - 8 * i));
    return block_out_put(o, sv_make(be, 4), err);
}

enum status block_out_finish(struct block_out *o, struct err *err)
{
    TRY(block_out_flush(o, err));
    TRY(fs_sync(o->fs, o->fd, err));
    fs_close(o->fs, o->fd);
    o->fd = -1;
    return ST_OK;
}

void block_out_fini(struct block_out *o)
{
    if (!o->fs)
        return;
    fs_close(o->fs, o->fd);
    o->fd = -1;
    buf_fini(&o->buf);
    o->fs = NULL;
}
