/* include/objstore/obj.h
 *
 * Object storage behind one table: a folder, or S3 (Ceph RGW first).
 *
 * Keys are relative, '/'-separated, without "." and ".." parts. An object appears whole or not at
 * all. put_file() streams a local file (multipart for S3 above 64 MiB, 16 MiB parts).
 *
 * Threads: any, in parallel. Every request has its own time limit.
 * Errors:  ST_NOTFOUND, ST_CONFLICT (if_absent), ST_UNAVAIL (unreachable, 5xx after retries),
 *          ST_TIMEOUT, ST_FULL, ST_IO, ST_INVALID (refused credentials, bad key).
 */
#ifndef ENGRAM_OBJSTORE_OBJ_H
#define ENGRAM_OBJSTORE_OBJ_H

#include "base/buf.h"
#include "base/clk.h"
#include "base/fs.h"
#include "base/metric.h"

struct obj;

/* Called once an object, in key order; prefixes (with delimiter) end in '/'. */
typedef enum status (*obj_visit)(void *arg, struct sv key, uint64_t bytes, bool is_prefix,
                                 struct err *err);

struct obj_ops {
    /* n SIZE_MAX: to the end. Appends to *out, whose ceiling holds. Past the end: ST_INVALID. */
    enum status (*get)(struct obj *o, struct sv key, uint64_t off, size_t n, struct buf *out,
                       struct err *err);
    enum status (*size)(struct obj *o, struct sv key, uint64_t *ret, struct err *err); /* HEAD */
    enum status (*put)(struct obj *o, struct sv key, struct sv bytes, bool if_absent,
                       struct err *err);
    enum status (*put_file)(struct obj *o, struct sv key, const char *path, struct err *err);
    enum status (*del)(struct obj *o, struct sv key, struct err *err); /* absent is fine */
    enum status (*list)(struct obj *o, struct sv prefix, bool delimiter, obj_visit visit, void *arg,
                        struct err *err);
    /* A local path of an object when there is one (the folder backend: map it), else false. */
    bool (*local_path)(struct obj *o, struct sv key, char out[FS_PATH_MAX]);
    void (*close)(struct obj *own_o);
};
struct obj {
    const struct obj_ops *ops;
};

enum status obj_fs_open(const struct fs *fs, const char *dir, struct obj **ret, struct err *err);

struct net; /* include/net/net.h */
struct obj_s3_opts {
    struct net *net;     /* borrowed */
    const struct clk *clk;
    const char *endpoint; /* http://host:port */
    const char *bucket, *access_key, *secret_key, *region;
    bool path_style;
    uint64_t part_bytes, multipart_from_bytes; /* 0: 16 MiB, 64 MiB */
    int64_t timeout_ms;                        /* of one request; 0: 30 s */
    struct metrics *metrics;
};
enum status obj_s3_open(const struct obj_s3_opts *opts, struct obj **ret, struct err *err);

#endif
