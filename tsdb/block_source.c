/* A block in a local folder: every file is mapped when the source is opened, so getting bytes is
 * arithmetic and takes no lock. Maps of a removed block stay good until it is closed.
 *
 * A medium that fails under a map ends the process (SIGBUS), as it does any reader of maps. */
#include "block_int.h"

#include <inttypes.h>
#include <stdio.h>

#define FILES_MAX 100000 /* chunk files: 50 TiB of them */

struct local_source {
    struct block_source base;
    struct fs_map index;
    VEC(struct fs_map) chunks;
};

static const struct fs_map *file_of(const struct local_source *s, const char *file)
{
    struct sv name = sv_of(file), prefix = SV(BLOCK_CHUNKS "/");
    uint64_t n;

    if (sv_is(name, BLOCK_INDEX))
        return &s->index;
    if (!sv_starts(name, prefix) || !sv_u64(sv_sub(name, prefix.n, name.n), &n) || n == 0 ||
        n > s->chunks.n)
        return NULL;
    return &s->chunks.p[n - 1];
}

static enum status local_size(struct block_source *base, const char *file, uint64_t *ret,
                              struct err *err)
{
    const struct fs_map *m = file_of((struct local_source *)base, file);

    if (!m)
        return err_set(err, ST_CORRUPT, "the block has no file %s", file);
    *ret = m->n;
    return ST_OK;
}

static enum status local_get(struct block_source *base, const char *file, uint64_t off, size_t n,
                             struct sv *ret, struct block_lease *ret_lease, struct err *err)
{
    const struct fs_map *m = file_of((struct local_source *)base, file);

    if (!m)
        return err_set(err, ST_CORRUPT, "the block has no file %s", file);
    if (off > m->n || n > m->n - off)
        return err_set(err, ST_CORRUPT, "%s: %zu bytes at %" PRIu64 " pass its end at %zu", file, n,
                       off, m->n);
    *ret = sv_make(m->p + off, n);
    *ret_lease = (struct block_lease){{NULL, NULL}};
    return ST_OK;
}

static void local_release(struct block_source *base, struct block_lease *lease)
{
    (void)base;
    (void)lease;
}

static enum status local_prefetch(struct block_source *base, const struct block_range *ranges,
                                  size_t n, struct err *err)
{
    (void)base; /* the page cache knows better */
    (void)ranges;
    (void)n;
    (void)err;
    return ST_OK;
}

static void local_close(struct block_source *own_base)
{
    struct local_source *s = (struct local_source *)own_base;

    fs_unmap(&s->index);
    for (size_t i = 0; i < s->chunks.n; i++)
        fs_unmap(&s->chunks.p[i]);
    vec_free(&s->chunks);
    heap_free(s);
}

static enum status map_chunks(struct local_source *s, const struct fs *fs, const char *dir,
                              struct err *err)
{
    for (uint64_t i = 0; i < FILES_MAX; i++) {
        char name[BLOCK_FILE_NAME], path[FS_PATH_MAX];
        struct fs_map m;

        chunk_file_name(name, i << 32);
        if (!fs_join(path, dir, name))
            return err_set(err, ST_INVALID, "path is too long: %s", dir);
        if (!fs_exists(fs, path))
            return ST_OK;
        TRY(fs_map(fs, path, &m, err));
        vec_push(&s->chunks, m);
    }
    return err_set(err, ST_LIMIT, "%s: more than %d chunk files", dir, FILES_MAX);
}

enum status block_source_local(const struct fs *fs, const char *block_dir,
                               struct block_source **ret, struct err *err)
{
    static const struct block_source_ops ops = {local_size, local_get, local_release, local_prefetch,
                                                local_close};
    struct local_source *s = heap_new(struct local_source);
    char path[FS_PATH_MAX];
    enum status st;

    s->base.ops = &ops;
    if (!fs_join(path, block_dir, BLOCK_INDEX))
        st = err_set(err, ST_INVALID, "path is too long: %s", block_dir);
    else
        st = fs_map(fs, path, &s->index, err);
    if (st == ST_OK)
        st = map_chunks(s, fs, block_dir, err);
    if (st != ST_OK) {
        local_close(&s->base);
        return st;
    }
    *ret = &s->base;
    return ST_OK;
}
