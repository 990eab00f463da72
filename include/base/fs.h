/* include/base/fs.h
 *
 * The disk, behind a table so that tests can fail the n-th call, write short, or forget what was
 * not synced. Durable writing goes through here, all of it.
 *
 * Threads: any; a file descriptor belongs to its opener.
 * Errors:  ST_NOTFOUND, ST_FULL, ST_IO, with the path in the text.
 */
#ifndef ENGRAM_BASE_FS_H
#define ENGRAM_BASE_FS_H

#include "base/err.h"
#include "base/sv.h"
#include "base/vec.h"

#include <sys/types.h>

struct fs;

struct fs_ops {
    int (*open)(const struct fs *fs, const char *path, int flags, mode_t mode); /* fd or -1, errno */
    int (*close)(const struct fs *fs, int fd);
    ssize_t (*pread)(const struct fs *fs, int fd, void *p, size_t n, off_t off);
    ssize_t (*write)(const struct fs *fs, int fd, const void *p, size_t n);
    int (*fdatasync)(const struct fs *fs, int fd);
    int (*ftruncate)(const struct fs *fs, int fd, off_t n);
    int (*rename)(const struct fs *fs, const char *from, const char *to);
    int (*unlink)(const struct fs *fs, const char *path);
    int (*mkdir)(const struct fs *fs, const char *path, mode_t mode);
    int (*rmdir)(const struct fs *fs, const char *path);
};

struct fs {
    const struct fs_ops *ops;
};

const struct fs *fs_posix(void);

enum status fs_open(const struct fs *fs, const char *path, int flags, int *ret_fd, struct err *err);
void fs_close(const struct fs *fs, int fd); /* takes -1 */
enum status fs_write_all(const struct fs *fs, int fd, struct sv bytes, struct err *err);
enum status fs_sync(const struct fs *fs, int fd, struct err *err); /* fdatasync */
enum status fs_sync_dir(const struct fs *fs, const char *dir, struct err *err);
enum status fs_truncate(const struct fs *fs, int fd, uint64_t n, struct err *err);
enum status fs_rename(const struct fs *fs, const char *from, const char *to, struct err *err);
enum status fs_unlink(const struct fs *fs, const char *path, struct err *err); /* absent is fine */
enum status fs_mkdirs(const struct fs *fs, const char *path, struct err *err); /* and its parents */
enum status fs_rmtree(const struct fs *fs, const char *path, struct err *err); /* absent is fine */
enum status fs_size(const struct fs *fs, const char *path, uint64_t *ret, struct err *err);
bool fs_exists(const struct fs *fs, const char *path);

/* The whole file into heap memory (heap_free it). ST_LIMIT above max_bytes. */
enum status fs_read_file(const struct fs *fs, const char *path, size_t max_bytes, char **ret_p,
                         size_t *ret_n, struct err *err);
/* Writes path.tmp, syncs, renames, syncs the folder: readers see the old or the new content. */
enum status fs_write_file(const struct fs *fs, const char *path, struct sv bytes, struct err *err);

/* Names in a folder, sorted, without . and ..; free with fs_names_free(). Absent: ST_NOTFOUND. */
struct fs_names {
    char **p;
    size_t n, cap;
};
enum status fs_list(const struct fs *fs, const char *dir, struct fs_names *ret, struct err *err);
void fs_names_free(struct fs_names *names);

/* A read-only mapping of a whole immutable file. Empty files map to p NULL, n 0. */
struct fs_map {
    const char *p;
    size_t n;
};
enum status fs_map(const struct fs *fs, const char *path, struct fs_map *ret, struct err *err);
void fs_unmap(struct fs_map *m);

/* "a/b" into a fixed buffer; false when it does not fit. */
#define FS_PATH_MAX 4096
bool fs_join(char out[FS_PATH_MAX], const char *dir, const char *name);

#endif
