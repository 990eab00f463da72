/* Writing a block: chunk files, index, tombstones, and last meta.json, in `<ULID>.tmp`; each file and
 * folder is synced before what refers to it, and the rename to `<ULID>` is what makes it a block. A
 * crash leaves a folder that no reader takes for one, and that the next writer of the ULID removes. */
#include "block_int.h"

#include <assert.h>
#include <stdio.h>

struct block_writer {
    const struct fs *fs;
    char dir[FS_PATH_MAX], tmp[FS_PATH_MAX], final[FS_PATH_MAX];
    struct block_meta meta;
    struct chunk_file_writer chunks;
    struct index_writer *index;
    VEC(struct index_chunk) scratch;
    int64_t first_ms, last_ms;
    bool failed; /* after a failed call only abort makes sense */
};

static void writer_free(struct block_writer *w)
{
    chunk_file_fini(&w->chunks);
    index_writer_free(w->index);
    vec_free(&w->scratch);
    heap_free(w);
}

void block_writer_abort(struct block_writer *own_w)
{
    struct block_writer *w = own_w;

    if (!w)
        return;
    chunk_file_fini(&w->chunks);
    index_writer_free(w->index);
    w->index = NULL;
    (void)fs_rmtree(w->fs, w->tmp, NULL);
    writer_free(w);
}

static enum status prepare(struct block_writer *w, struct err *err)
{
    char chunks[FS_PATH_MAX], name[ULID_LEN + 5];

    snprintf(name, sizeof(name), "%s.tmp", w->meta.ulid);
    if (!ulid_valid(sv_of(w->meta.ulid)))
        return err_set(err, ST_INVALID, "a block without a valid ULID");
    if (!fs_join(w->tmp, w->dir, name) || !fs_join(w->final, w->dir, w->meta.ulid) ||
        !fs_join(chunks, w->tmp, BLOCK_CHUNKS))
        return err_set(err, ST_INVALID, "path is too long: %s", w->dir);
    if (fs_exists(w->fs, w->final))
        return err_set(err, ST_CONFLICT, "block %s exists", w->final);
    TRY(fs_rmtree(w->fs, w->tmp, err));
    TRY(fs_mkdirs(w->fs, chunks, err));
    chunk_file_begin(&w->chunks, w->fs, w->tmp);
    return index_writer_open(w->fs, w->tmp, &w->index, err);
}

enum status block_writer_open(const struct fs *fs, const char *dir, const struct block_meta *meta,
                              struct block_writer **ret, struct err *err)
{
    struct block_writer *w = heap_new(struct block_writer);
    enum status st;

    w->fs = fs;
    w->meta = *meta;
    w->meta.num_chunks = w->meta.num_samples = w->meta.num_series = 0;
    w->first_ms = INT64_MAX;
    w->last_ms = INT64_MIN;
    if ((size_t)snprintf(w->dir, sizeof(w->dir), "%s", dir) >= sizeof(w->dir))
        st = err_set(err, ST_INVALID, "path is too long: %s", dir);
    else
        st = prepare(w, err);
    if (st != ST_OK) {
        writer_free(w);
        return st;
    }
    *ret = w;
    return ST_OK;
}

static enum status check_chunks(const struct chunk *c, size_t n, struct err *err)
{
    if (n == 0)
        return err_set(err, ST_INVALID, "series without chunks");
    for (size_t i = 0; i < n; i++) {
        if (c[i].enc == CHUNK_NONE || c[i].data.n < 2)
            return err_set(err, ST_INVALID, "empty chunk");
        if (c[i].first_ms > c[i].last_ms || (i && c[i].first_ms <= c[i - 1].last_ms))
            return err_set(err, ST_INVALID, "chunks of a series overlap or don't ascend");
    }
    return ST_OK;
}

static enum status put_series(struct block_writer *w, struct labels labels,
                              const struct chunk *chunks, size_t n, struct err *err)
{
    TRY(check_chunks(chunks, n, err));
    w->scratch.n = 0;
    for (size_t i = 0; i < n; i++) {
        struct index_chunk c = {chunks[i].first_ms, chunks[i].last_ms, 0};

        TRY(chunk_file_put(&w->chunks, &chunks[i], &c.ref, err));
        vec_push(&w->scratch, c);
    }
    return index_writer_series(w->index, labels, w->scratch.p, n, err);
}

enum status block_writer_series(struct block_writer *w, struct labels labels,
                                const struct chunk *chunks, size_t chunks_n, uint64_t samples,
                                struct err *err)
{
    enum status st;

    if (w->failed)
        return err_set(err, ST_BUG, "a block writer was used after it failed");
    st = put_series(w, labels, chunks, chunks_n, err);
    if (st != ST_OK) {
        w->failed = true;
        return err ? err_wrap(err, "block %s", w->meta.ulid) : st;
    }
    w->meta.num_series++;
    w->meta.num_chunks += chunks_n;
    w->meta.num_samples += samples;
    if (chunks[0].first_ms < w->first_ms)
        w->first_ms = chunks[0].first_ms;
    if (chunks[chunks_n - 1].last_ms > w->last_ms)
        w->last_ms = chunks[chunks_n - 1].last_ms;
    return ST_OK;
}

static enum status put_tombstones(struct block_writer *w, struct err *err)
{
    /* magic, version, no stones, and their checksum: that of nothing is 0 */
    static const uint8_t none[] = {0x01, 0x30, 0xba, 0x30, TOMBSTONES_VERSION, 0, 0, 0, 0};
    char path[FS_PATH_MAX];

    if (!fs_join(path, w->tmp, BLOCK_TOMBSTONES))
        return err_set(err, ST_INVALID, "path is too long: %s", w->tmp);
    return fs_write_file(w->fs, path, sv_make(none, sizeof(none)), err);
}

static enum status put_meta(struct block_writer *w, struct err *err)
{
    char path[FS_PATH_MAX];
    enum status st;
    struct buf b;

    if (!fs_join(path, w->tmp, BLOCK_META))
        return err_set(err, ST_INVALID, "path is too long: %s", w->tmp);
    buf_init(&b, BLOCK_META_MAX);
    block_meta_write(&b, &w->meta);
    assert(buf_ok(&b));
    st = fs_write_file(w->fs, path, buf_view(&b), err);
    buf_fini(&b);
    return st;
}

static enum status finish(struct block_writer *w, struct err *err)
{
    char chunks[FS_PATH_MAX];

    if (w->failed)
        return err_set(err, ST_BUG, "a block writer was finished after it failed");
    if (w->meta.num_series == 0)
        return err_set(err, ST_INVALID, "a block without series");
    w->meta.range = trange_closed(w->first_ms, w->last_ms);
    if (!fs_join(chunks, w->tmp, BLOCK_CHUNKS))
        return err_set(err, ST_INVALID, "path is too long: %s", w->tmp);
    TRY(chunk_file_finish(&w->chunks, err));
    TRY(fs_sync_dir(w->fs, chunks, err));
    TRY(index_writer_finish(w->index, err));
    TRY(put_tombstones(w, err));
    TRY(put_meta(w, err)); /* syncs the folder too */
    TRY(fs_rename(w->fs, w->tmp, w->final, err));
    if (fs_sync_dir(w->fs, w->dir, err) == ST_OK)
        return ST_OK;
    /* Whether the name is on disk is unknown, and the caller will keep its data: no block, then. */
    (void)fs_rmtree(w->fs, w->final, NULL);
    return err ? err->st : ST_IO;
}

enum status block_writer_finish(struct block_writer *own_w, struct block_meta *ret_meta,
                                struct err *err)
{
    struct block_writer *w = own_w;
    enum status st = finish(w, err);

    if (st != ST_OK) {
        if (err)
            err_wrap(err, "block %s", w->meta.ulid);
        block_writer_abort(w);
        return st;
    }
    if (ret_meta) {
        *ret_meta = w->meta;
        if (w->meta.sources_n == 0) {
            memcpy(ret_meta->sources[0], w->meta.ulid, sizeof(w->meta.ulid));
            ret_meta->sources_n = 1;
        }
    }
    writer_free(w);
    return ST_OK;
}
