/* The disk through a table of calls; the rest is built on them, so that a test's table sees it all.
 * Listing, stat and mapping read the system directly: they can't lose data. */
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int posix_open(const struct fs *fs, const char *path, int flags, mode_t mode)
{
    (void)fs;
    return open(path, flags | O_CLOEXEC, mode);
}
static int posix_close(const struct fs *fs, int fd)
{
    (void)fs;
    return close(fd);
}
static ssize_t posix_pread(const struct fs *fs, int fd, void *p, size_t n, off_t off)
{
    (void)fs;
    return pread(fd, p, n, off);
}
static ssize_t posix_write(const struct fs *fs, int fd, const void *p, size_t n)
{
    (void)fs;
    return write(fd, p, n);
}
static int posix_fdatasync(const struct fs *fs, int fd)
{
    (void)fs;
    return fdatasync(fd);
}
static int posix_ftruncate(const struct fs *fs, int fd, off_t n)
{
    (void)fs;
    return ftruncate(fd, n);
}
static int posix_rename(const struct fs *fs, const char *from, const char *to)
{
    (void)fs;
    return rename(from, to);
}
static int posix_unlink(const struct fs *fs, const char *path)
{
    (void)fs;
    return unlink(path);
}
static int posix_mkdir(const struct fs *fs, const char *path, mode_t mode)
{
    (void)fs;
    return mkdir(path, mode);
}
static int posix_rmdir(const struct fs *fs, const char *path)
{
    (void)fs;
    return rmdir(path);
}

const struct fs *fs_posix(void)
{
    static const struct fs_ops ops = {posix_open,      posix_close,     posix_pread,  posix_write,
                                      posix_fdatasync, posix_ftruncate, posix_rename, posix_unlink,
                                      posix_mkdir,     posix_rmdir};
    static const struct fs posix = {&ops};

    return &posix;
}

enum status fs_open(const struct fs *fs, const char *path, int flags, int *ret_fd, struct err *err)
{
    int fd = fs->ops->open(fs, path, flags, 0644);

    if (fd < 0)
        return err_os(err, "open %s", path);
    *ret_fd = fd;
    return ST_OK;
}

void fs_close(const struct fs *fs, int fd)
{
    if (fd >= 0)
        fs->ops->close(fs, fd);
}

enum status fs_write_all(const struct fs *fs, int fd, struct sv bytes, struct err *err)
{
    while (bytes.n) {
        ssize_t n = fs->ops->write(fs, fd, bytes.p, bytes.n);

        if (n < 0) {
            if (errno == EINTR)
                continue;
            return err_os(err, "write of %zu bytes", bytes.n);
        }
        bytes = sv_sub(bytes, (size_t)n, bytes.n);
    }
    return ST_OK;
}

enum status fs_sync(const struct fs *fs, int fd, struct err *err)
{
    return fs->ops->fdatasync(fs, fd) == 0 ? ST_OK : err_os(err, "fdatasync");
}

enum status fs_sync_dir(const struct fs *fs, const char *dir, struct err *err)
{
    int fd;
    enum status st;

    TRY(fs_open(fs, dir, O_RDONLY | O_DIRECTORY, &fd, err));
    st = fs->ops->fdatasync(fs, fd) == 0 ? ST_OK : err_os(err, "fdatasync of folder %s", dir);
    fs_close(fs, fd);
    return st;
}

enum status fs_truncate(const struct fs *fs, int fd, uint64_t n, struct err *err)
{
    return fs->ops->ftruncate(fs, fd, (off_t)n) == 0 ? ST_OK : err_os(err, "ftruncate");
}

enum status fs_rename(const struct fs *fs, const char *from, const char *to, struct err *err)
{
    return fs->ops->rename(fs, from, to) == 0 ? ST_OK : err_os(err, "rename %s to %s", from, to);
}

enum status fs_unlink(const struct fs *fs, const char *path, struct err *err)
{
    if (fs->ops->unlink(fs, path) == 0 || errno == ENOENT)
        return ST_OK;
    return err_os(err, "unlink %s", path);
}

static enum status sync_parent(const struct fs *fs, const char *path, struct err *err)
{
    char dir[FS_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;

    if (n >= sizeof(dir))
        return err_set(err, ST_INVALID, "path too long: %s", path);
    if (!slash)
        return fs_sync_dir(fs, ".", err);
    memcpy(dir, path, n);
    dir[n] = 0;
    return fs_sync_dir(fs, n ? dir : "/", err);
}

/* A new folder's name lasts once its parent is synced: else a power cut takes it with all it holds.
 * A parent that may not be read (EACCES) can't be synced, and is its owner's matter. */
static enum status keep_name(const struct fs *fs, const char *path, struct err *err)
{
    struct err why = ERR_INIT;
    enum status st = sync_parent(fs, path, &why);

    if (st == ST_OK || why.os == EACCES)
        return ST_OK;
    return err_set(err, st, "%s", why.msg);
}

enum status fs_mkdirs(const struct fs *fs, const char *path, struct err *err)
{
    char part[FS_PATH_MAX];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof(part))
        return err_set(err, ST_INVALID, "mkdir: path of %zu bytes", n);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (fs->ops->mkdir(fs, part, 0755) == 0)
            TRY(keep_name(fs, part, err));
        else if (errno != EEXIST)
            return err_os(err, "mkdir %s", part);
    }
    return ST_OK;
}

enum status fs_rmtree(const struct fs *fs, const char *path, struct err *err)
{
    struct fs_names names = {0};
    struct stat sb;
    enum status st = ST_OK;

    if (lstat(path, &sb) != 0)
        return errno == ENOENT ? ST_OK : err_os(err, "stat %s", path);
    if (!S_ISDIR(sb.st_mode))
        return fs_unlink(fs, path, err);
    TRY(fs_list(fs, path, &names, err));
    for (size_t i = 0; i < names.n && st == ST_OK; i++) {
        char child[FS_PATH_MAX];

        st = fs_join(child, path, names.p[i]) ? fs_rmtree(fs, child, err)
                                              : err_set(err, ST_INVALID, "path too long: %s", path);
    }
    fs_names_free(&names);
    if (st == ST_OK && fs->ops->rmdir(fs, path) != 0)
        st = err_os(err, "rmdir %s", path);
    return st;
}

enum status fs_size(const struct fs *fs, const char *path, uint64_t *ret, struct err *err)
{
    struct stat sb;

    (void)fs;
    if (stat(path, &sb) != 0)
        return err_os(err, "stat %s", path);
    *ret = (uint64_t)sb.st_size;
    return ST_OK;
}

bool fs_exists(const struct fs *fs, const char *path)
{
    struct stat sb;

    (void)fs;
    return stat(path, &sb) == 0;
}

enum status fs_read_file(const struct fs *fs, const char *path, size_t max_bytes, char **ret_p,
                         size_t *ret_n, struct err *err)
{
    int fd = -1;
    char *p = NULL;
    size_t n = 0;
    struct stat sb;
    enum status st;

    TRY(fs_open(fs, path, O_RDONLY, &fd, err));
    if (fstat(fd, &sb) != 0) {
        st = err_os(err, "stat %s", path);
        goto out;
    }
    if ((uint64_t)sb.st_size > max_bytes) {
        st = err_set(err, ST_LIMIT, "%s: %lld bytes are more than %zu", path, (long long)sb.st_size,
                     max_bytes);
        goto out;
    }
    p = heap_alloc((size_t)sb.st_size + 1);
    while (n < (size_t)sb.st_size) {
        ssize_t got = fs->ops->pread(fs, fd, p + n, (size_t)sb.st_size - n, (off_t)n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            st = err_os(err, "read %s", path);
            goto out;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    p[n] = 0;
    *ret_p = p;
    *ret_n = n;
    p = NULL;
    st = ST_OK;
out:
    heap_free(p);
    fs_close(fs, fd);
    return st;
}

enum status fs_write_file(const struct fs *fs, const char *path, struct sv bytes, struct err *err)
{
    char tmp[FS_PATH_MAX];
    int fd = -1;
    enum status st;

    if ((size_t)snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= sizeof(tmp))
        return err_set(err, ST_INVALID, "path too long: %s", path);
    TRY(fs_open(fs, tmp, O_WRONLY | O_CREAT | O_TRUNC, &fd, err));
    TRY_GOTO(fs_write_all(fs, fd, bytes, err));
    TRY_GOTO(fs_sync(fs, fd, err));
    TRY_GOTO(fs_rename(fs, tmp, path, err));
    TRY_GOTO(sync_parent(fs, path, err));
out:
    fs_close(fs, fd);
    if (st != ST_OK)
        fs->ops->unlink(fs, tmp);
    return st == ST_OK ? ST_OK : err_wrap(err, "writing %s", path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum status fs_list(const struct fs *fs, const char *dir, struct fs_names *ret, struct err *err)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    (void)fs;
    memset(ret, 0, sizeof(*ret));
    if (!d)
        return err_os(err, "open folder %s", dir);
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            vec_push(ret, heap_strn(e->d_name, strlen(e->d_name)));
    closedir(d);
    if (ret->n)
        qsort(ret->p, ret->n, sizeof(*ret->p), by_name);
    return ST_OK;
}

void fs_names_free(struct fs_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        heap_free(names->p[i]);
    vec_free(names);
}

enum status fs_map(const struct fs *fs, const char *path, struct fs_map *ret, struct err *err)
{
    int fd;
    struct stat sb;
    void *p = NULL;

    TRY(fs_open(fs, path, O_RDONLY, &fd, err));
    if (fstat(fd, &sb) != 0) {
        fs_close(fs, fd);
        return err_os(err, "stat %s", path);
    }
    if (sb.st_size > 0)
        p = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_SHARED, fd, 0);
    fs_close(fs, fd);
    if (p == MAP_FAILED)
        return err_os(err, "map %s", path);
    *ret = (struct fs_map){p, (size_t)sb.st_size};
    return ST_OK;
}

void fs_unmap(struct fs_map *m)
{
    if (m->p)
        munmap((void *)(uintptr_t)m->p, m->n);
    *m = (struct fs_map){NULL, 0};
}

bool fs_join(char out[FS_PATH_MAX], const char *dir, const char *name)
{
    return (size_t)snprintf(out, FS_PATH_MAX, "%s/%s", dir, name) < FS_PATH_MAX;
}
