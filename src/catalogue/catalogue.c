/* The catalogue in LMDB: one file, data.mdb, that several threads read while one writes.
 *
 *   database "meta"    "format" -> be32 version, be64 feature bits
 *   database "blocks"  tenant 0x00 ULID -> a row:
 *
 *     offset  size
 *          0     1  where, bits of enum catalogue_where
 *          1     8  range from, ms   (be, two's complement)
 *          9     8  range to, ms
 *         17     8  cut_seq
 *         25     8  series
 *         33     8  samples
 *         41     4  CRC-32C of the key and the 41 bytes before
 *
 * Nothing here is the only copy of anything, so any doubt ends the same way: the file is removed
 * and begun anew, and its users fill it from folders and bucket. That also goes for a file of a
 * newer program. LMDB trusts its pages, so catalogue_open() looks at them first
 * (catalogue_pages.c) and then reads every row once.
 *
 * LMDB's rules, kept here: values are copied out before a transaction ends; read transactions are
 * short (no visitor runs inside one); an environment is opened once a process, never over fork and
 * not on a network file system.
 */
#include "catalogue/catalogue.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/vec.h"
#include "catalogue_int.h"

#include <errno.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdlib.h>

#define FORMAT_VERSION  1u
#define FEATURES_KNOWN  UINT64_C(0)
#define MAP_BYTES       ((size_t)1 << 30) /* address space; some millions of rows */
#define READERS_MAX     512u
#define TENANT_MAX      160u
#define ROW_BYTES       45u
#define KEY_MAX         (TENANT_MAX + 1 + ULID_LEN)

struct catalogue {
    MDB_env *env;
    MDB_dbi meta, blocks;
    _Atomic uint64_t generation;
};

struct catalogue_found {
    char tenant[TENANT_MAX + 1];
    struct catalogue_row row;
};
struct catalogue_list {
    struct catalogue_found *p;
    size_t n, cap;
};

static enum status failed(struct err *err, int rc, const char *what)
{
    enum status st = ST_IO;

    if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID || rc == MDB_PANIC ||
        rc == MDB_VERSION_MISMATCH || rc == MDB_INCOMPATIBLE || rc == MDB_BAD_VALSIZE)
        st = ST_CORRUPT;
    else if (rc == ENOSPC || rc == MDB_MAP_FULL)
        st = ST_FULL;
    return err_set(err, st, "catalogue: %s: %s", what, mdb_strerror(rc));
}

static bool make_key(char out[KEY_MAX], struct sv tenant, struct sv ulid, MDB_val *ret)
{
    if (tenant.n == 0 || tenant.n > TENANT_MAX || sv_find(tenant, 0) != SIZE_MAX ||
        ulid.n != ULID_LEN)
        return false;
    memcpy(out, tenant.p, tenant.n);
    out[tenant.n] = 0;
    memcpy(out + tenant.n + 1, ulid.p, ULID_LEN);
    *ret = (MDB_val){tenant.n + 1 + ULID_LEN, out};
    return true;
}

static uint32_t row_crc(const MDB_val *key, const char *row)
{
    return crc32c(crc32c(0, key->mv_data, key->mv_size), row, ROW_BYTES - 4);
}

static void encode_row(struct buf *b, const MDB_val *key, const struct catalogue_row *row)
{
    buf_u8(b, (uint8_t)row->where);
    buf_be64(b, (uint64_t)row->range.from_ms);
    buf_be64(b, (uint64_t)row->range.to_ms);
    buf_be64(b, row->cut_seq);
    buf_be64(b, row->num_series);
    buf_be64(b, row->num_samples);
    buf_be32(b, row_crc(key, b->p));
}

static bool decode_row(const MDB_val *key, const MDB_val *val, struct catalogue_found *ret)
{
    struct sv k = {key->mv_data, key->mv_size};
    struct cur c = cur_of(sv_make(val->mv_data, val->mv_size));
    size_t tenant_n = sv_find(k, 0);

    if (val->mv_size != ROW_BYTES || tenant_n > TENANT_MAX || k.n != tenant_n + 1 + ULID_LEN)
        return false;
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->tenant, k.p, tenant_n);
    memcpy(ret->row.ulid, k.p + tenant_n + 1, ULID_LEN);
    ret->row.where = cur_u8(&c);
    ret->row.range.from_ms = (int64_t)cur_be64(&c);
    ret->row.range.to_ms = (int64_t)cur_be64(&c);
    ret->row.cut_seq = cur_be64(&c);
    ret->row.num_series = cur_be64(&c);
    ret->row.num_samples = cur_be64(&c);
    return cur_be32(&c) == row_crc(key, val->mv_data) && !c.bad;
}

static int open_databases(struct catalogue *c)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(c->env, NULL, 0, &txn);

    if (rc)
        return rc;
    rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &c->meta);
    if (!rc)
        rc = mdb_dbi_open(txn, "blocks", MDB_CREATE, &c->blocks);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

/* Sets the format of a new file, or judges that of an old one. */
static enum status check_format(struct catalogue *c, bool *ret_new, struct err *err)
{
    MDB_val key = {6, (void *)(uintptr_t) "format"}, val;
    MDB_txn *txn;
    struct buf b;
    int rc = mdb_txn_begin(c->env, NULL, 0, &txn);

    if (rc)
        return failed(err, rc, "begin");
    rc = mdb_get(txn, c->meta, &key, &val);
    if (rc == 0) {
        struct cur cur = cur_of(sv_make(val.mv_data, val.mv_size));
        uint32_t version = cur_be32(&cur);
        uint64_t features = cur_be64(&cur);

        mdb_txn_abort(txn);
        if (cur.bad)
            return err_set(err, ST_CORRUPT, "catalogue: its format can't be read");
        if (version != FORMAT_VERSION || (features & ~FEATURES_KNOWN))
            return err_set(err, ST_CORRUPT, "catalogue: format %u with features %llx is not known",
                           version, (unsigned long long)features);
        *ret_new = false;
        return ST_OK;
    }
    if (rc != MDB_NOTFOUND) {
        mdb_txn_abort(txn);
        return failed(err, rc, "format");
    }
    buf_init(&b, 12);
    buf_be32(&b, FORMAT_VERSION);
    buf_be64(&b, FEATURES_KNOWN);
    val = (MDB_val){b.n, b.p};
    rc = mdb_put(txn, c->meta, &key, &val, 0);
    buf_fini(&b);
    if (rc)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    *ret_new = true;
    return rc ? failed(err, rc, "format") : ST_OK;
}

static enum status collect(struct catalogue *c, struct sv tenant, struct trange range,
                           struct catalogue_list *list, struct err *err);

static enum status open_once(const char *dir, struct catalogue **ret, bool *ret_new,
                             struct err *err)
{
    struct catalogue *c = heap_new(struct catalogue);
    struct catalogue_list all = {0};
    char file[FS_PATH_MAX];
    enum status st;
    int rc;

    atomic_store(&c->generation, 1);
    st = fs_join(file, dir, "data.mdb") ? catalogue_pages_check(file, err)
                                        : err_set(err, ST_INVALID, "path too long: %s", dir);
    if (st != ST_OK)
        goto out;
    rc = mdb_env_create(&c->env);
    if (!rc)
        rc = mdb_env_set_mapsize(c->env, MAP_BYTES);
    if (!rc)
        rc = mdb_env_set_maxdbs(c->env, 2);
    if (!rc)
        rc = mdb_env_set_maxreaders(c->env, READERS_MAX);
    if (!rc) /* a lost last row is found again by looking: one sync a commit is enough */
        rc = mdb_env_open(c->env, dir, MDB_NOTLS | MDB_NOMETASYNC, 0644);
    if (!rc)
        rc = open_databases(c);
    if (rc) {
        st = failed(err, rc, dir);
        goto out;
    }
    TRY_GOTO(check_format(c, ret_new, err));
    TRY_GOTO(collect(c, (struct sv){NULL, 0}, (struct trange){INT64_MIN, INT64_MAX}, &all, err));
    *ret = c;
out:
    vec_free(&all);
    if (st != ST_OK)
        catalogue_close(c);
    return st;
}

enum status catalogue_open(const char *dir, struct catalogue **ret, bool *ret_fresh,
                           struct err *err)
{
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    const struct fs *fs = fs_posix();
    char path[FS_PATH_MAX];
    bool fresh = false;
    enum status st;

    TRY(fs_mkdirs(fs, dir, err));
    st = open_once(dir, ret, &fresh, err);
    if (st == ST_CORRUPT) {
        log_warn("catalogue", "unsound, begun anew", "error=%s", log_q(sv_of(err->msg)));
        for (size_t i = 0; i < 2; i++)
            if (fs_join(path, dir, files[i]))
                TRY(fs_unlink(fs, path, err));
        st = open_once(dir, ret, &fresh, err);
    }
    if (st == ST_OK)
        *ret_fresh = fresh;
    return st;
}

void catalogue_close(struct catalogue *own_c)
{
    if (!own_c)
        return;
    if (own_c->env)
        mdb_env_close(own_c->env);
    heap_free(own_c);
}

/* One row is changed in one transaction: `row` set (bits or-ed), or bits of `drop` taken away. */
static enum status change(struct catalogue *c, struct sv tenant, struct sv ulid,
                          const struct catalogue_row *row, unsigned drop, struct err *err)
{
    char key_bytes[KEY_MAX];
    struct catalogue_found old;
    struct catalogue_row now = {0};
    MDB_val key, val;
    MDB_txn *txn;
    struct buf b;
    bool had;
    int rc;

    if (!make_key(key_bytes, tenant, ulid, &key))
        return err_set(err, ST_INVALID, "catalogue: not a block's name: " SV_FMT "/" SV_FMT,
                       SV_ARG(tenant), SV_ARG(ulid));
    rc = mdb_txn_begin(c->env, NULL, 0, &txn);
    if (rc)
        return failed(err, rc, "begin");
    buf_init(&b, ROW_BYTES);
    rc = mdb_get(txn, c->blocks, &key, &val);
    had = rc == 0 && decode_row(&key, &val, &old);
    if (rc == MDB_NOTFOUND || (rc == 0 && !had))
        rc = 0;
    if (rc == 0) {
        now = row ? *row : had ? old.row : now;
        now.where = ((had ? old.row.where : 0) | (row ? row->where : 0)) & ~drop;
        encode_row(&b, &key, &now);
        if ((had && val.mv_size == b.n && memcmp(val.mv_data, b.p, b.n) == 0) ||
            (!had && !now.where)) {
            mdb_txn_abort(txn); /* nothing changes: no write, no new generation */
            buf_fini(&b);
            return ST_OK;
        }
        val = (MDB_val){b.n, b.p};
        rc = now.where ? mdb_put(txn, c->blocks, &key, &val, 0)
                       : mdb_del(txn, c->blocks, &key, NULL);
    }
    if (rc)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    buf_fini(&b);
    if (rc)
        return failed(err, rc, row ? "add" : "remove");
    atomic_fetch_add(&c->generation, 1);
    return ST_OK;
}

enum status catalogue_add(struct catalogue *c, struct sv tenant, const struct catalogue_row *row,
                          struct err *err)
{
    return change(c, tenant, sv_of(row->ulid), row, 0, err);
}

enum status catalogue_remove(struct catalogue *c, struct sv tenant, struct sv ulid, unsigned where,
                             struct err *err)
{
    return change(c, tenant, ulid, NULL, where, err);
}

static enum status collect(struct catalogue *c, struct sv tenant, struct trange range,
                           struct catalogue_list *list, struct err *err)
{
    char from[TENANT_MAX + 1] = {0};
    MDB_val key = {tenant.n + 1, from}, val;
    enum status st = ST_OK;
    MDB_cursor *cursor;
    MDB_txn *txn;
    int rc;

    if (tenant.n > TENANT_MAX)
        return ST_OK; /* no such tenant */
    if (tenant.n)
        memcpy(from, tenant.p, tenant.n);
    rc = mdb_txn_begin(c->env, NULL, MDB_RDONLY, &txn);
    if (rc)
        return failed(err, rc, "begin");
    rc = mdb_cursor_open(txn, c->blocks, &cursor);
    if (rc) {
        mdb_txn_abort(txn);
        return failed(err, rc, "cursor");
    }
    rc = mdb_cursor_get(cursor, &key, &val, tenant.p ? MDB_SET_RANGE : MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) {
        struct catalogue_found f;

        if (!decode_row(&key, &val, &f)) {
            st = err_set(err, ST_CORRUPT, "catalogue: a row can't be read");
            break;
        }
        if (tenant.p && !sv_is(tenant, f.tenant))
            break;
        if (trange_overlaps(f.row.range, range))
            vec_push(list, f);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    if (st == ST_OK && rc != 0 && rc != MDB_NOTFOUND)
        st = failed(err, rc, "read");
    return st;
}

static int by_age(const void *a, const void *b)
{
    const struct catalogue_found *x = a, *y = b;

    if (x->row.range.from_ms != y->row.range.from_ms)
        return x->row.range.from_ms < y->row.range.from_ms ? -1 : 1;
    return strcmp(x->row.ulid, y->row.ulid);
}

enum status catalogue_each(struct catalogue *c, struct sv tenant, struct trange range,
                           catalogue_visit visit, void *arg, struct err *err)
{
    struct catalogue_list list = {0};
    enum status st = collect(c, tenant, range, &list, err);

    if (st == ST_OK && list.n)
        qsort(list.p, list.n, sizeof(*list.p), by_age);
    for (size_t i = 0; i < list.n && st == ST_OK; i++)
        st = visit(arg, sv_of(list.p[i].tenant), &list.p[i].row, err);
    vec_free(&list);
    return st;
}

uint64_t catalogue_generation(struct catalogue *c)
{
    return atomic_load(&c->generation);
}
