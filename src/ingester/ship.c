/* Uploading a block: everything but meta.json, confirmed; then meta.json, confirmed. */
#include "ingester/ship.h"

#include "base/heap.h"

#include <stdio.h>

#define FILES_MAX 100000u /* chunk files of one block; they have 512 MiB each */

struct ship_files { /* names inside the block's folder; meta.json is not among them */
    char **p;
    size_t n, cap;
};

static void add_file(struct ship_files *files, const char *dir, const char *name)
{
    char path[FS_PATH_MAX];

    snprintf(path, sizeof(path), "%s%s%s", dir, dir[0] ? "/" : "", name);
    vec_push(files, heap_strn(path, strlen(path)));
}

static void files_free(struct ship_files *files)
{
    for (size_t i = 0; i < files->n; i++)
        heap_free(files->p[i]);
    vec_free(files);
}

static enum status gather(const struct fs *fs, const char *block_dir, struct ship_files *ret,
                          struct err *err)
{
    char path[FS_PATH_MAX];
    struct fs_names chunks;

    if (!fs_join(path, block_dir, "tombstones"))
        return err_set(err, ST_INVALID, "path too long: %s", block_dir);
    if (fs_exists(fs, path))
        add_file(ret, "", "tombstones");
    fs_join(path, block_dir, "chunks");
    TRY(fs_list(fs, path, &chunks, err));
    for (size_t i = 0; i < chunks.n && i < FILES_MAX; i++)
        add_file(ret, "chunks", chunks.p[i]);
    fs_names_free(&chunks);
    add_file(ret, "", "index");
    return ret->n < FILES_MAX ? ST_OK : err_set(err, ST_LIMIT, "%s: too many files", block_dir);
}

struct ship {
    struct obj *bucket;
    const struct fs *fs;
    const char *block_dir;
    struct sv tenant;
    const char *ulid;
};

/* Where one file of the block lies here and there. */
static enum status names_of(const struct ship *s, const char *file, char path[FS_PATH_MAX],
                            char key[FS_PATH_MAX], struct err *err)
{
    if (!fs_join(path, s->block_dir, file) ||
        (size_t)snprintf(key, FS_PATH_MAX, SV_FMT "/%s/%s", SV_ARG(s->tenant), s->ulid, file) >=
            FS_PATH_MAX)
        return err_set(err, ST_INVALID, "path too long: %s", file);
    return ST_OK;
}

static enum status confirm(const struct ship *s, const char *file, struct err *err)
{
    char path[FS_PATH_MAX], key[FS_PATH_MAX];
    uint64_t here, there;

    TRY(names_of(s, file, path, key, err));
    TRY(fs_size(s->fs, path, &here, err));
    TRY(s->bucket->ops->size(s->bucket, sv_of(key), &there, err));
    if (here != there)
        return err_set(err, ST_IO, "%s has %llu bytes in the bucket, %llu here", key,
                       (unsigned long long)there, (unsigned long long)here);
    return ST_OK;
}

static enum status upload(const struct ship *s, const char *file, struct err *err)
{
    char path[FS_PATH_MAX], key[FS_PATH_MAX];

    TRY(names_of(s, file, path, key, err));
    TRY(s->bucket->ops->put_file(s->bucket, sv_of(key), path, err));
    return confirm(s, file, err);
}

/* Is all of it there already, from an upload whose end was not written down? */
static bool whole(const struct ship *s, const struct ship_files *files)
{
    if (confirm(s, "meta.json", NULL) != ST_OK)
        return false;
    for (size_t i = 0; i < files->n; i++)
        if (confirm(s, files->p[i], NULL) != ST_OK)
            return false;
    return true;
}

enum status ship_block(struct obj *bucket, const struct fs *fs, const char *block_dir,
                       struct sv tenant, const struct block_meta *m, struct err *err)
{
    struct ship s = {bucket, fs, block_dir, tenant, m->ulid};
    struct ship_files files = {0};
    enum status st;

    TRY_GOTO(gather(fs, block_dir, &files, err));
    if (whole(&s, &files))
        goto out;
    for (size_t i = 0; i < files.n && st == ST_OK; i++)
        st = upload(&s, files.p[i], err);
    if (st == ST_OK)
        st = upload(&s, "meta.json", err);
out:
    files_free(&files);
    return st == ST_OK ? ST_OK
                       : err_wrap(err, "block " SV_FMT "/%s", SV_ARG(tenant), m->ulid);
}
