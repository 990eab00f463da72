/* A folder as a bucket.
 *
 * An object is written into the bucket's own folder .engram-tmp, synced, and renamed (or linked,
 * when it must not exist yet) to its place, whose folder is synced too: readers see it whole or not
 * at all, also after a power cut. What a process that died leaves in .engram-tmp is removed a day
 * later by the next one that opens the bucket.
 *
 * Folders are made as keys need them, each synced into its parent, and go when their last object
 * is deleted: as in S3, only objects make a prefix. Symbolic links are not listed.
 */
#include "base/codec.h"
#include "base/heap.h"
#include "obj_int.h"
#include "objstore/obj.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TMP_DIR      ".engram-tmp"
#define TMP_OLD_S    (24 * 3600)
#define COPY_BYTES   ((size_t)1 << 20)
#define DEPTH_MAX    32u /* folders below the bucket */
#define MKDIRS_TRIES 5u  /* a folder may go (del) while one is put into it */

struct obj_fs {
    struct obj base;
    const struct fs *fs;
    char dir[FS_PATH_MAX];
};

static struct obj_fs *self(struct obj *o)
{
    return (struct obj_fs *)o;
}

static enum status path_of(const struct obj_fs *o, struct sv key, char out[FS_PATH_MAX],
                           struct err *err)
{
    char name[OBJ_KEY_MAX + 1];

    TRY(obj_key_check(key, err));
    if (sv_is(key, TMP_DIR) || sv_starts(key, SV(TMP_DIR "/")))
        return err_set(err, ST_INVALID, "object key " SV_FMT " is the bucket's own", SV_ARG(key));
    memcpy(name, key.p, key.n);
    name[key.n] = 0;
    if (!fs_join(out, o->dir, name))
        return err_set(err, ST_INVALID, "object key " SV_FMT ": path too long", SV_ARG(key));
    return ST_OK;
}

static enum status not_there(struct sv key, struct err *err)
{
    return err_set(err, ST_NOTFOUND, "object " SV_FMT " is not there", SV_ARG(key));
}

/* An open file and its size; folders are no objects. */
static enum status open_object(const struct obj_fs *o, struct sv key, int *ret_fd, uint64_t *ret_n,
                               struct err *err)
{
    char path[FS_PATH_MAX];
    struct stat sb;
    int fd;

    TRY(path_of(o, key, path, err));
    fd = o->fs->ops->open(o->fs, path, O_RDONLY, 0);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return not_there(key, err);
    if (fd < 0)
        return err_os(err, "open %s", path);
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode)) {
        fs_close(o->fs, fd);
        return not_there(key, err);
    }
    *ret_fd = fd;
    *ret_n = (uint64_t)sb.st_size;
    return ST_OK;
}

static enum status read_range(const struct obj_fs *o, int fd, uint64_t off, size_t n,
                              struct buf *out, struct err *err)
{
    if (!buf_reserve(out, n)) {
        out->over = true;
        return err_set(err, ST_LIMIT, "%zu bytes are more than the %zu asked for at most", n,
                       out->max);
    }
    while (n) {
        ssize_t got = o->fs->ops->pread(o->fs, fd, out->p + out->n, n, (off_t)off);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_os(err, "read");
        if (got == 0)
            return err_set(err, ST_IO, "shorter than it was");
        out->n += (size_t)got;
        off += (uint64_t)got;
        n -= (size_t)got;
    }
    return ST_OK;
}

static enum status fs_get(struct obj *base, struct sv key, uint64_t off, size_t n, struct buf *out,
                          struct err *err)
{
    struct obj_fs *o = self(base);
    enum status st = ST_OK;
    uint64_t size;
    int fd;

    TRY(open_object(o, key, &fd, &size, err));
    if (off >= size && (off || n != SIZE_MAX))
        st = err_set(err, ST_INVALID, "object " SV_FMT ": offset %llu of %llu bytes", SV_ARG(key),
                     (unsigned long long)off, (unsigned long long)size);
    else if (size) {
        if (n > size - off)
            n = (size_t)(size - off);
        st = read_range(o, fd, off, n, out, err);
        if (st != ST_OK)
            err_wrap(err, "object " SV_FMT, SV_ARG(key));
    }
    fs_close(o->fs, fd);
    return st;
}

static enum status fs_object_size(struct obj *base, struct sv key, uint64_t *ret, struct err *err)
{
    int fd;

    TRY(open_object(self(base), key, &fd, ret, err));
    fs_close(self(base)->fs, fd);
    return ST_OK;
}

static void parent_of(const char *path, char out[FS_PATH_MAX])
{
    size_t n = (size_t)(strrchr(path, '/') - path);

    memcpy(out, path, n);
    out[n] = 0;
}

/* The folders of an object, each made durable in its parent. */
static enum status make_parents(const struct obj_fs *o, const char *path, struct err *err)
{
    char dir[FS_PATH_MAX], parent[FS_PATH_MAX];
    size_t root_n = strlen(o->dir);

    for (size_t i = root_n + 1; path[i]; i++) {
        if (path[i] != '/')
            continue;
        memcpy(dir, path, i);
        dir[i] = 0;
        if (o->fs->ops->mkdir(o->fs, dir, 0755) == 0) {
            parent_of(dir, parent);
            TRY(fs_sync_dir(o->fs, parent, err));
        } else if (errno != EEXIST) {
            return err_os(err, "mkdir %s", dir);
        }
    }
    return ST_OK;
}

/* The last step of a put: the temporary file becomes the object. */
static enum status place(const struct obj_fs *o, const char *tmp, const char *path, bool if_absent,
                         struct err *err)
{
    char parent[FS_PATH_MAX];
    int rc = -1;

    for (unsigned i = 0; i < MKDIRS_TRIES && rc; i++) {
        TRY(make_parents(o, path, err));
        /* rename() replaces; link() is the call that refuses, atomically, what exists. */
        rc = if_absent ? link(tmp, path) : o->fs->ops->rename(o->fs, tmp, path);
        if (rc && errno != ENOENT)
            break;
    }
    if (rc && errno == EEXIST && if_absent)
        return err_set(err, ST_CONFLICT, "object %s exists already", path);
    if (rc)
        return err_os(err, "placing %s", path);
    parent_of(path, parent);
    return fs_sync_dir(o->fs, parent, err);
}

static enum status open_tmp(const struct obj_fs *o, char tmp[FS_PATH_MAX], int *ret_fd,
                            struct err *err)
{
    char dir[FS_PATH_MAX], name[24];

    snprintf(name, sizeof(name), "%016llx", (unsigned long long)random_u64());
    if (!fs_join(dir, o->dir, TMP_DIR) || !fs_join(tmp, dir, name))
        return err_set(err, ST_INVALID, "bucket path too long");
    TRY(fs_mkdirs(o->fs, dir, err));
    return fs_open(o->fs, tmp, O_WRONLY | O_CREAT | O_EXCL, ret_fd, err);
}

static enum status copy_in(const struct obj_fs *o, int to, const char *from_path, struct err *err)
{
    char *p = NULL;
    uint64_t off = 0;
    enum status st;
    int from = -1;

    TRY(fs_open(o->fs, from_path, O_RDONLY, &from, err));
    p = heap_alloc(COPY_BYTES);
    for (;;) {
        ssize_t got = o->fs->ops->pread(o->fs, from, p, COPY_BYTES, (off_t)off);

        if (got < 0 && errno == EINTR)
            continue;
        st = got < 0 ? err_os(err, "read %s", from_path) : ST_OK;
        if (got <= 0)
            break;
        TRY_GOTO(fs_write_all(o->fs, to, sv_make(p, (size_t)got), err));
        off += (uint64_t)got;
    }
out:
    heap_free(p);
    fs_close(o->fs, from);
    return st;
}

static enum status put_either(struct obj_fs *o, struct sv key, struct sv bytes,
                              const char *from_path, bool if_absent, struct err *err)
{
    char path[FS_PATH_MAX], tmp[FS_PATH_MAX];
    enum status st;
    int fd = -1;

    TRY(path_of(o, key, path, err));
    TRY(open_tmp(o, tmp, &fd, err));
    TRY_GOTO(from_path ? copy_in(o, fd, from_path, err) : fs_write_all(o->fs, fd, bytes, err));
    TRY_GOTO(fs_sync(o->fs, fd, err));
    TRY_GOTO(place(o, tmp, path, if_absent, err));
out:
    fs_close(o->fs, fd);
    if (st != ST_OK || if_absent)
        o->fs->ops->unlink(o->fs, tmp);
    return st == ST_OK ? ST_OK : err_wrap(err, "put of " SV_FMT, SV_ARG(key));
}

static enum status fs_put(struct obj *base, struct sv key, struct sv bytes, bool if_absent,
                          struct err *err)
{
    return put_either(self(base), key, bytes, NULL, if_absent, err);
}

static enum status fs_put_file(struct obj *base, struct sv key, const char *path, struct err *err)
{
    return put_either(self(base), key, (struct sv){NULL, 0}, path, false, err);
}

static enum status fs_del(struct obj *base, struct sv key, struct err *err)
{
    struct obj_fs *o = self(base);
    char path[FS_PATH_MAX], dir[FS_PATH_MAX];

    TRY(path_of(o, key, path, err));
    if (o->fs->ops->unlink(o->fs, path) != 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == EISDIR)
            return ST_OK;
        return err_os(err, "delete of " SV_FMT, SV_ARG(key));
    }
    parent_of(path, dir);
    TRY(fs_sync_dir(o->fs, dir, err));
    while (strlen(dir) > strlen(o->dir) && o->fs->ops->rmdir(o->fs, dir) == 0) {
        parent_of(dir, path);
        memcpy(dir, path, sizeof(dir));
    }
    return ST_OK;
}

/* --- listing --- */

struct obj_fs_list {
    struct obj_fs *o;
    bool delimiter;
    obj_visit visit;
    void *arg;
    char key[OBJ_KEY_MAX + 2]; /* of the folder being listed, ending in '/'; or empty */
    size_t key_n;
};
struct obj_fs_entry {
    char *name; /* a folder's ends in '/': so names sort as keys do */
    uint64_t bytes;
    bool is_dir;
};
struct obj_fs_entries {
    struct obj_fs_entry *p;
    size_t n, cap;
};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct obj_fs_entry *)a)->name, ((const struct obj_fs_entry *)b)->name);
}

static void entries_free(struct obj_fs_entries *e)
{
    for (size_t i = 0; i < e->n; i++)
        heap_free(e->p[i].name);
    vec_free(e);
}

/* What is in a folder and begins with `part`, sorted as keys. A folder that went meanwhile, or never
 * was one, is empty. */
static enum status read_folder(struct obj_fs_list *l, struct sv part, struct obj_fs_entries *ret,
                               struct err *err)
{
    char dir[FS_PATH_MAX], path[FS_PATH_MAX];
    struct fs_names names;
    enum status st;

    if ((size_t)snprintf(dir, sizeof(dir), "%s/" SV_FMT, l->o->dir, (int)l->key_n, l->key) >=
        sizeof(dir))
        return err_set(err, ST_INVALID, "listing: path too long");
    st = fs_list(l->o->fs, dir, &names, err);
    if (st != ST_OK)
        return st == ST_NOTFOUND || (err && err->os == ENOTDIR) ? ST_OK : st;
    for (size_t i = 0; i < names.n; i++) {
        struct stat sb;
        struct obj_fs_entry *e;

        if (!sv_starts(sv_of(names.p[i]), part) || !fs_join(path, dir, names.p[i]) ||
            (l->key_n == 0 && strcmp(names.p[i], TMP_DIR) == 0) || lstat(path, &sb) != 0 ||
            !(S_ISREG(sb.st_mode) || S_ISDIR(sb.st_mode)))
            continue;
        e = vec_add(ret);
        e->is_dir = S_ISDIR(sb.st_mode);
        e->bytes = (uint64_t)sb.st_size;
        snprintf(path, sizeof(path), "%s%s", names.p[i], e->is_dir ? "/" : "");
        e->name = heap_strn(path, strlen(path));
    }
    fs_names_free(&names);
    if (ret->n)
        qsort(ret->p, ret->n, sizeof(*ret->p), by_key);
    return ST_OK;
}

static enum status list_folder(struct obj_fs_list *l, struct sv part, unsigned depth,
                               struct err *err)
{
    struct obj_fs_entries entries = {0};
    size_t key_n = l->key_n;
    enum status st;

    if (depth > DEPTH_MAX)
        return err_set(err, ST_LIMIT, "bucket %s: folders nested over %u deep at " SV_FMT,
                       l->o->dir, DEPTH_MAX, (int)l->key_n, l->key);
    st = read_folder(l, part, &entries, err);
    for (size_t i = 0; i < entries.n && st == ST_OK; i++) {
        const struct obj_fs_entry *e = &entries.p[i];
        size_t n = strlen(e->name);

        if (key_n + n > OBJ_KEY_MAX)
            continue; /* no key can name it */
        memcpy(l->key + key_n, e->name, n);
        l->key_n = key_n + n;
        if (e->is_dir && !l->delimiter)
            st = list_folder(l, (struct sv){NULL, 0}, depth + 1, err);
        else
            st = l->visit(l->arg, sv_make(l->key, l->key_n), e->is_dir ? 0 : e->bytes, e->is_dir,
                          err);
    }
    l->key_n = key_n;
    entries_free(&entries);
    return st;
}

static enum status fs_list_objects(struct obj *base, struct sv prefix, bool delimiter,
                                   obj_visit visit, void *arg, struct err *err)
{
    struct obj_fs_list l = {.o = self(base), .delimiter = delimiter, .visit = visit, .arg = arg};
    size_t slash = prefix.n;

    TRY(obj_prefix_check(prefix, err));
    while (slash && prefix.p[slash - 1] != '/')
        slash--;
    if (slash)
        memcpy(l.key, prefix.p, slash);
    l.key_n = slash;
    return list_folder(&l, sv_sub(prefix, slash, prefix.n), 0, err);
}

static bool fs_local_path(struct obj *base, struct sv key, char out[FS_PATH_MAX])
{
    return path_of(self(base), key, out, NULL) == ST_OK && fs_exists(self(base)->fs, out);
}

static void fs_close_bucket(struct obj *own_o)
{
    heap_free(own_o);
}

/* What died uploads left. Only old ones: another process may be at work in the same folder. */
static void sweep_tmp(const struct obj_fs *o)
{
    char dir[FS_PATH_MAX], path[FS_PATH_MAX];
    struct fs_names names;
    struct stat sb;

    if (!fs_join(dir, o->dir, TMP_DIR) || fs_list(o->fs, dir, &names, NULL) != ST_OK)
        return;
    for (size_t i = 0; i < names.n; i++)
        if (fs_join(path, dir, names.p[i]) && lstat(path, &sb) == 0 &&
            sb.st_mtim.tv_sec + TMP_OLD_S < time(NULL))
            fs_unlink(o->fs, path, NULL);
    fs_names_free(&names);
}

enum status obj_fs_open(const struct fs *fs, const char *dir, struct obj **ret, struct err *err)
{
    static const struct obj_ops ops = {fs_get,          fs_object_size, fs_put,
                                       fs_put_file,     fs_del,         fs_list_objects,
                                       fs_local_path,   fs_close_bucket};
    struct obj_fs *o;
    size_t n = strlen(dir);

    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n == 0 || n + OBJ_KEY_MAX + 32 > FS_PATH_MAX)
        return err_set(err, ST_INVALID, "bucket path of %zu bytes", n);
    TRY(fs_mkdirs(fs, dir, err));
    o = heap_new(struct obj_fs);
    o->base.ops = &ops;
    o->fs = fs;
    memcpy(o->dir, dir, n);
    sweep_tmp(o);
    *ret = &o->base;
    return ST_OK;
}
