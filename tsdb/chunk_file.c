/* Chunk files: chunks/000001, 000002, ... of at most 512 MiB, as Prometheus writes them.
 *
 *   +-----------------------+-----------+--------------+
 *   | magic 0x85bd40dd be32 | version 1 | 3 zero bytes |
 *   +-----------------------+-----------+--------------+
 *   | uvarint length of data | encoding u8 | data | CRC-32C be32 over encoding and data |  ...
 *
 * A chunk's reference is (number of the file, from 0) << 32 | offset of its length. */
#include "block_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

const char *chunk_enc_name(unsigned enc)
{
    static const char *const names[] = {"none", "XOR", "histogram", "floathistogram", "XOR2"};

    return enc < sizeof(names) / sizeof(*names) ? names[enc] : "unknown";
}

void chunk_file_name(char out[BLOCK_FILE_NAME], uint64_t ref)
{
    snprintf(out, BLOCK_FILE_NAME, BLOCK_CHUNKS "/%06" PRIu64, (ref >> 32) + 1);
}

void chunk_file_begin(struct chunk_file_writer *w, const struct fs *fs, const char *dir)
{
    memset(w, 0, sizeof(*w));
    w->fs = fs;
    w->file_max = CHUNK_FILE_BYTES;
    w->out.fd = -1;
    snprintf(w->dir, sizeof(w->dir), "%s", dir);
}

static enum status next_file(struct chunk_file_writer *w, struct err *err)
{
    char name[BLOCK_FILE_NAME], path[FS_PATH_MAX];
    uint8_t head[CHUNK_FILE_HEADER] = {0x85, 0xbd, 0x40, 0xdd, CHUNK_VERSION};

    chunk_file_name(name, (uint64_t)w->files << 32);
    if (!fs_join(path, w->dir, name))
        return err_set(err, ST_INVALID, "path is too long: %s", w->dir);
    TRY(block_out_open(&w->out, w->fs, path, err));
    w->files++;
    return block_out_put(&w->out, sv_make(head, sizeof(head)), err);
}

enum status chunk_file_put(struct chunk_file_writer *w, const struct chunk *c, uint64_t *ret_ref,
                           struct err *err)
{
    char frame[16];
    struct buf head = {frame, 0, sizeof(frame), sizeof(frame), false};

    if (c->data.n > CHUNK_DATA_MAX)
        return err_set(err, ST_LIMIT, "chunk of %zu bytes", c->data.n);
    if (w->out.fs && w->out.off + CHUNK_FRAME_MAX + c->data.n > w->file_max) {
        TRY(block_out_finish(&w->out, err));
        block_out_fini(&w->out);
    }
    if (!w->out.fs)
        TRY(next_file(w, err));
    *ret_ref = (uint64_t)(w->files - 1) << 32 | w->out.off;
    buf_uvarint(&head, c->data.n);
    assert(buf_ok(&head));
    TRY(block_out_put(&w->out, buf_view(&head), err));
    block_out_crc_begin(&w->out);
    TRY(block_out_put(&w->out, sv_make(&(uint8_t){(uint8_t)c->enc}, 1), err));
    TRY(block_out_put(&w->out, c->data, err));
    return block_out_crc_end(&w->out, err);
}

enum status chunk_file_finish(struct chunk_file_writer *w, struct err *err)
{
    if (!w->out.fs)
        return ST_OK;
    TRY(block_out_finish(&w->out, err));
    block_out_fini(&w->out);
    return ST_OK;
}

void chunk_file_fini(struct chunk_file_writer *w)
{
    block_out_fini(&w->out);
}

enum status chunk_file_parse(struct sv s, enum chunk_enc *ret_enc, struct sv *ret_data,
                             size_t *ret_need, bool verify, struct err *err)
{
    struct cur c = cur_of(s);
    uint64_t n = cur_uvarint(&c);
    size_t head = s.n - cur_left(&c);
    const char *p = s.p + head;
    struct cur tail;

    if (c.bad || n > CHUNK_DATA_MAX)
        return err_set(err, ST_CORRUPT, "no sound chunk length");
    *ret_need = head + 1 + n + 4;
    if (*ret_need > s.n)
        return ST_OK;
    tail = cur_of(sv_make(p + 1 + n, 4));
    if (verify && crc32c(0, p, 1 + n) != cur_be32(&tail))
        return err_set(err, ST_CORRUPT, "wrong checksum");
    *ret_enc = (enum chunk_enc)(uint8_t)*p;
    *ret_data = sv_make(p + 1, n);
    return ST_OK;
}
