/* An open block: life, and the reading of single chunks. */
#include "block_read_int.h"

#include <assert.h>
#include <inttypes.h>

#define CHUNK_STEP_MAX ((size_t)64 << 10) /* farther away the next one says nothing */

/* --- life --- */

enum status block_wrap(const struct block *b, struct err *err)
{
    return err ? err_wrap(err, "block %s", b->meta.ulid) : ST_CORRUPT;
}

static enum status open_block(struct block_source *src, const struct block_meta *meta, bool trust,
                              struct block **ret, struct err *err)
{
    struct block *b = heap_new(struct block);
    enum status st;

    b->magic = BLOCK_MAGIC;
    b->src = src;
    b->meta = *meta;
    atomic_init(&b->refs, 1);
    st = index_open(&b->index, src, trust, err);
    if (st != ST_OK) {
        block_wrap(b, err);
        block_unref(b);
        return st;
    }
    *ret = b;
    return ST_OK;
}

enum status block_open(struct block_source *own_source, const struct block_meta *meta,
                       struct block **ret, struct err *err)
{
    return open_block(own_source, meta, false, ret, err);
}

enum status block_open_trusting(struct block_source *own_source, const struct block_meta *meta,
                                struct block **ret, struct err *err)
{
    return open_block(own_source, meta, true, ret, err);
}

enum status block_tombstones_check(const struct fs *fs, const char *block_dir, struct err *err)
{
    char path[FS_PATH_MAX], *p;
    enum status st;
    struct cur c;
    size_t n;

    if (!fs_join(path, block_dir, BLOCK_TOMBSTONES))
        return err_set(err, ST_INVALID, "path is too long: %s", block_dir);
    if (!fs_exists(fs, path))
        return ST_OK; /* buckets do without */
    TRY(fs_read_file(fs, path, BLOCK_META_MAX, &p, &n, err));
    c = cur_of(sv_make(p, n));
    if (n < 9 || cur_be32(&c) != TOMBSTONES_MAGIC || cur_u8(&c) != TOMBSTONES_VERSION)
        st = err_set(err, ST_CORRUPT, "%s: no tombstones of version %d", path, TOMBSTONES_VERSION);
    else if (n > 9)
        st = err_set(err, ST_INVALID, "%s: deletions inside a block aren't supported", path);
    else
        st = cur_be32(&c) == 0 ? ST_OK : err_set(err, ST_CORRUPT, "%s: wrong checksum", path);
    heap_free(p);
    return st;
}

enum status block_open_dir(const struct fs *fs, const char *block_dir, struct block **ret,
                           struct err *err)
{
    char path[FS_PATH_MAX], *p;
    struct block_source *src;
    struct block_meta meta;
    enum status st;
    size_t n;

    if (!fs_join(path, block_dir, BLOCK_META))
        return err_set(err, ST_INVALID, "path is too long: %s", block_dir);
    TRY(fs_read_file(fs, path, BLOCK_META_MAX, &p, &n, err));
    st = block_meta_read(sv_make(p, n), &meta, err);
    heap_free(p);
    if (st != ST_OK)
        return err ? err_wrap(err, "%s", block_dir) : st;
    TRY(block_tombstones_check(fs, block_dir, err));
    TRY(block_source_local(fs, block_dir, &src, err));
    return block_open(src, &meta, ret, err);
}

struct block *block_ref(struct block *b)
{
    assert(b->magic == BLOCK_MAGIC);
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void block_unref(struct block *b)
{
    if (!b)
        return;
    assert(b->magic == BLOCK_MAGIC);
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    index_close(&b->index);
    b->src->ops->close(b->src);
    b->magic = 0;
    heap_free(b);
}

const struct block_meta *block_meta_of(const struct block *b)
{
    return &b->meta;
}

/* --- chunks --- */

/* How much to ask for: up to the next chunk when it is known, else enough for a usual one. */
static enum status chunk_bytes(struct block *b, const char *file, const struct index_chunk *c,
                               const struct index_chunk *next, size_t *ret, struct err *err)
{
    uint64_t off = (uint32_t)c->ref, size;

    if (next && next->ref >> 32 == c->ref >> 32 && next->ref > c->ref &&
        next->ref - c->ref <= CHUNK_STEP_MAX) {
        *ret = (size_t)(next->ref - c->ref);
        return ST_OK;
    }
    TRY(b->src->ops->size(b->src, file, &size, err));
    if (off < CHUNK_FILE_HEADER || off >= size)
        return err_set(err, ST_CORRUPT, "no chunk there");
    *ret = size - off < BLOCK_CHUNK_GUESS ? (size_t)(size - off) : BLOCK_CHUNK_GUESS;
    return ST_OK;
}

static enum status decode(const struct block *b, struct sv framed, struct trange range,
                          struct samples *out, size_t *ret_need, struct err *err)
{
    enum chunk_enc enc = CHUNK_NONE;
    struct sv data;

    TRY(chunk_file_parse(framed, &enc, &data, ret_need, !b->index.trust, err));
    if (*ret_need > framed.n)
        return ST_OK;
    if (enc != CHUNK_XOR)
        return err_set(err, ST_EXEC, "chunks of encoding %u (%s) can't be read yet", enc,
                       chunk_enc_name(enc));
    return chunk_xor_decode(data, range, out, err);
}

enum status block_chunk_read(struct block *b, const struct index_chunk *c,
                             const struct index_chunk *next, struct trange range,
                             struct samples *out, struct err *err)
{
    char file[BLOCK_FILE_NAME];
    struct block_lease lease;
    enum status st;
    size_t n = 0, need;
    struct sv v;

    chunk_file_name(file, c->ref);
    TRY_GOTO(chunk_bytes(b, file, c, next, &n, err));
    for (int round = 0; round < 2; round++, n = need) {
        TRY_GOTO(b->src->ops->get(b->src, file, (uint32_t)c->ref, n, &v, &lease, err));
        st = decode(b, v, range, out, &need, err);
        b->src->ops->release(b->src, &lease);
        if (st != ST_OK)
            goto out;
        if (need <= n)
            return ST_OK;
    }
    st = err_set(err, ST_CORRUPT, "no sound chunk length");
out:
    return err ? err_wrap(err, "%s at %" PRIu32, file, (uint32_t)c->ref) : st;
}
