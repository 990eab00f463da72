/* A block in a bucket that is no folder, as a source of bytes.
 *
 * What is fetched are spans: whole pages of 64 KiB of one file, side by side. A span is looked up
 * page by page in the byte cache; what is missing there is read from the bucket in as few ranged
 * reads as runs of missing pages, and put into the cache. A source keeps its newest spans (an index
 * is read in small bites, over and over the same pages), within a ceiling of its own and one for
 * all sources together, which leaves each two pages at least; a view that is leased holds its span.
 *
 *   cache key    "range" 0x00 version tenant/ULID/file 0x00 be64 page number
 *   cache value  the page's bytes, be32 CRC-32C of them
 */
#include "base/codec.h"
#include "base/heap.h"
#include "base/vec.h"
#include "sgw_int.h"

#include <stdio.h>

#define PAGE_BYTES     ((uint64_t)64 << 10)
#define GAP_BYTES      ((uint64_t)128 << 10) /* read on over a gap this small: cheaper than asking twice */
#define READ_MAX       ((uint64_t)8 << 20)   /* of one prefetched span */
#define GET_MAX        ((uint64_t)1 << 30)   /* of one view; an index section */
#define KEEP_SPANS     64u
#define KEEP_BYTES     ((int64_t)8 << 20)   /* by one source */
#define KEEP_ALWAYS    2u /* small spans: a page of the index and one of the chunks */
#define SMALL_BYTES    (2 * PAGE_BYTES)
#define FILES_MAX      10000u
#define CACHE_VERSION  1
#define BATCH_PAGES    64u /* asked of the cache at once */

struct sgw_span {
    _Atomic unsigned refs;
    struct sgw_fetch *fetch;
    unsigned file; /* index in the source's files */
    bool kept;
    uint64_t off, n;
    char *p;
};
struct sgw_file {
    char *name;
    uint64_t bytes;
};
struct sgw_source {
    struct block_source base;
    struct sgw_fetch *fetch;
    struct sgw_name name;
    struct lock lock; /* guards what follows */
    VEC(struct sgw_file) files;
    struct sgw_span *kept[KEEP_SPANS]; /* newest last */
    unsigned kept_n;
    int64_t kept_bytes;
};

static struct sgw_source *self(struct block_source *s)
{
    return (struct sgw_source *)s;
}

/* --- spans --- */

static void span_unref(struct sgw_span *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    if (s->fetch->budget)
        budget_release(s->fetch->budget, BUDGET_CACHE, (int64_t)s->n);
    heap_free(s->p);
    heap_free(s);
}

static struct sgw_span *span_new(struct sgw_fetch *f, unsigned file, uint64_t off, uint64_t n)
{
    struct sgw_span *s = heap_new(struct sgw_span);

    atomic_store(&s->refs, 1);
    s->fetch = f;
    s->file = file;
    s->off = off;
    s->n = n;
    s->p = heap_alloc((size_t)n);
    if (f->budget)
        budget_force(f->budget, BUDGET_CACHE, (int64_t)n);
    return s;
}

/* Takes the oldest kept span out; the caller unrefs it without the lock. */
static struct sgw_span *unkeep_oldest(struct sgw_source *s)
{
    struct sgw_span *old = s->kept[0];

    memmove(s->kept, s->kept + 1, --s->kept_n * sizeof(*s->kept));
    s->kept_bytes -= (int64_t)old->n;
    atomic_fetch_sub(&s->fetch->kept_bytes, (int64_t)old->n);
    return old;
}

static bool over(const struct sgw_source *s, const struct sgw_span *span)
{
    return atomic_load(&s->fetch->kept_bytes) + (int64_t)span->n > s->fetch->keep_max;
}

static void keep(struct sgw_source *s, struct sgw_span *span)
{
    struct sgw_span *gone[KEEP_SPANS + 1];
    unsigned gone_n = 0;

    if ((int64_t)span->n > KEEP_BYTES)
        return;
    lock_take(&s->lock);
    while (s->kept_n && (s->kept_n == KEEP_SPANS || s->kept_bytes + (int64_t)span->n > KEEP_BYTES ||
                         (over(s, span) && s->kept_n >= KEEP_ALWAYS)))
        gone[gone_n++] = unkeep_oldest(s);
    if (!over(s, span) || (span->n <= SMALL_BYTES && s->kept_n < KEEP_ALWAYS)) {
        atomic_fetch_add(&span->refs, 1);
        s->kept[s->kept_n++] = span;
        s->kept_bytes += (int64_t)span->n;
        atomic_fetch_add(&s->fetch->kept_bytes, (int64_t)span->n);
    }
    lock_drop(&s->lock);
    while (gone_n)
        span_unref(gone[--gone_n]);
}

/* A kept span that covers the range, referenced; NULL none. */
static struct sgw_span *find_kept(struct sgw_source *s, unsigned file, uint64_t off, uint64_t n)
{
    struct sgw_span *found = NULL;

    lock_take(&s->lock);
    for (unsigned i = s->kept_n; i-- > 0 && !found;) {
        struct sgw_span *k = s->kept[i];

        if (k->file == file && k->off <= off && off + n <= k->off + k->n) {
            atomic_fetch_add(&k->refs, 1);
            memmove(s->kept + i, s->kept + i + 1, (s->kept_n - 1 - i) * sizeof(*s->kept));
            s->kept[s->kept_n - 1] = found = k;
        }
    }
    lock_drop(&s->lock);
    return found;
}

/* --- files --- */

static enum status key_of(const struct sgw_source *s, const char *file, char out[FS_PATH_MAX],
                          struct err *err)
{
    return fs_join(out, s->name.z, file)
               ? ST_OK
               : err_set(err, ST_INVALID, "block %s: name too long", s->name.z);
}

enum status sgw_source_error(struct sgw_fetch *f, enum status st, const struct sgw_name *name,
                             struct err *err)
{
    char meta[FS_PATH_MAX];
    uint64_t n;

    if (st == ST_INVALID && err)
        err->st = ST_UNAVAIL;
    if (st == ST_INVALID)
        return ST_UNAVAIL;
    if (st != ST_NOTFOUND || !fs_join(meta, name->z, "meta.json"))
        return st;
    st = f->bucket->ops->size(f->bucket, sv_of(meta), &n, NULL);
    if (st == ST_OK)
        return err_set(err, ST_CORRUPT, "block %s: a file of it is missing", name->z);
    return err_set(err, ST_UNAVAIL, "block %s has left the bucket: ask again", name->z);
}

/* Number and size of a file, asked of the bucket once. */
static enum status file_of(struct sgw_source *s, const char *name, unsigned *ret_no,
                           uint64_t *ret_bytes, struct err *err)
{
    char key[FS_PATH_MAX];
    uint64_t bytes = 0;
    bool have = false;

    for (int asked = 0; asked < 2; asked++) {
        lock_take(&s->lock);
        for (size_t i = 0; i < s->files.n && !have; i++)
            if (strcmp(s->files.p[i].name, name) == 0) {
                *ret_no = (unsigned)i;
                *ret_bytes = s->files.p[i].bytes;
                have = true;
            }
        if (!have && asked && s->files.n < FILES_MAX) {
            *ret_no = (unsigned)s->files.n;
            *ret_bytes = bytes;
            vec_push(&s->files, ((struct sgw_file){heap_strn(name, strlen(name)), bytes}));
            have = true;
        }
        lock_drop(&s->lock);
        if (have)
            return ST_OK;
        if (!asked) {
            TRY(key_of(s, name, key, err));
            metric_inc(s->fetch->m_requests);
            TRY(sgw_source_error(
                s->fetch, s->fetch->bucket->ops->size(s->fetch->bucket, sv_of(key), &bytes, err),
                &s->name, err));
        }
    }
    return err_set(err, ST_LIMIT, "block %s: more than %u files", s->name.z, FILES_MAX);
}

static enum status source_size(struct block_source *base, const char *file, uint64_t *ret,
                               struct err *err)
{
    unsigned no;

    return file_of(self(base), file, &no, ret, err);
}

/* --- fetching --- */

struct sgw_pages { /* a span being filled */
    struct sgw_source *source;
    const char *file;
    struct sgw_span *span;
    uint64_t pages;
    bool *have; /* by page */
};

static uint64_t page_n(const struct sgw_span *s, uint64_t page)
{
    uint64_t left = s->n - page * PAGE_BYTES;

    return left < PAGE_BYTES ? left : PAGE_BYTES;
}

static void cache_key(const struct sgw_pages *g, uint64_t page, struct buf *out)
{
    buf_clear(out);
    buf_put(out, "range", 6);
    buf_u8(out, CACHE_VERSION);
    buf_str(out, g->source->name.z);
    buf_ch(out, '/');
    buf_str(out, g->file);
    buf_ch(out, 0);
    buf_be64(out, g->span->off / PAGE_BYTES + page);
}

/* Copies a cached page to its place; false when it is not what it should be. */
static bool take_page(struct sgw_pages *g, uint64_t page, const struct buf *value)
{
    uint64_t n = page_n(g->span, page);
    struct cur tail = cur_of(sv_sub(buf_view(value), (size_t)n, 4));

    if (value->n != n + 4 || cur_be32(&tail) != crc32c(0, value->p, (size_t)n))
        return false;
    memcpy(g->span->p + page * PAGE_BYTES, value->p, (size_t)n);
    return true;
}

static void from_cache(struct sgw_pages *g)
{
    struct cache *cache = g->source->fetch->cache;
    struct cache_get gets[BATCH_PAGES];
    struct buf keys[BATCH_PAGES], values[BATCH_PAGES];

    for (uint64_t at = 0; cache && at < g->pages; at += BATCH_PAGES) {
        size_t n = g->pages - at < BATCH_PAGES ? (size_t)(g->pages - at) : BATCH_PAGES;

        for (size_t i = 0; i < n; i++) {
            buf_init(&keys[i], 512);
            buf_init(&values[i], PAGE_BYTES + 4);
            cache_key(g, at + i, &keys[i]);
            gets[i] = (struct cache_get){.key = buf_view(&keys[i]), .value = &values[i]};
        }
        cache->ops->get(cache, gets, n);
        for (size_t i = 0; i < n; i++) {
            g->have[at + i] = gets[i].hit && take_page(g, at + i, &values[i]);
            metric_inc(g->have[at + i] ? g->source->fetch->m_hits : g->source->fetch->m_misses);
            buf_fini(&keys[i]);
            buf_fini(&values[i]);
        }
    }
}

static void into_cache(struct sgw_pages *g, uint64_t page)
{
    struct cache *cache = g->source->fetch->cache;
    const char *p = g->span->p + page * PAGE_BYTES;
    size_t n = (size_t)page_n(g->span, page);
    struct buf key, value;

    if (!cache)
        return;
    buf_init(&key, 512);
    buf_init(&value, PAGE_BYTES + 4);
    cache_key(g, page, &key);
    buf_put(&value, p, n);
    buf_be32(&value, crc32c(0, p, n));
    cache->ops->set(cache, buf_view(&key), buf_view(&value), 0);
    buf_fini(&key);
    buf_fini(&value);
}

/* Pages [from, to) by one ranged read. */
static enum status from_bucket(struct sgw_pages *g, uint64_t from, uint64_t to, struct err *err)
{
    struct sgw_fetch *f = g->source->fetch;
    uint64_t at = from * PAGE_BYTES, end = to * PAGE_BYTES;
    char key[FS_PATH_MAX];
    struct buf out;
    enum status st;

    end = end < g->span->n ? end : g->span->n;
    TRY(key_of(g->source, g->file, key, err));
    buf_init(&out, (size_t)(end - at));
    st = f->bucket->ops->get(f->bucket, sv_of(key), g->span->off + at, (size_t)(end - at), &out,
                             err);
    metric_inc(f->m_requests);
    if (st == ST_OK && out.n != end - at)
        st = err_set(err, ST_CORRUPT, "%s: cut off at %llu", key,
                     (unsigned long long)(g->span->off + at + out.n));
    if (st == ST_OK) {
        memcpy(g->span->p + at, out.p, out.n);
        metric_add(f->m_bytes, (double)out.n);
        for (uint64_t i = from; i < to; i++)
            into_cache(g, i);
    }
    buf_fini(&out);
    return sgw_source_error(f, st, &g->source->name, err);
}

/* The span of whole pages around [off, off+n) of a file of `bytes`; one reference is the caller's. */
static enum status fetch_span(struct sgw_source *s, unsigned no, const char *file, uint64_t bytes,
                              uint64_t off, uint64_t n, struct sgw_span **ret, struct err *err)
{
    uint64_t from = off / PAGE_BYTES * PAGE_BYTES;
    uint64_t to = (off + n + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    struct sgw_pages g = {.source = s, .file = file};
    enum status st = ST_OK;

    to = to < bytes ? to : bytes;
    g.span = span_new(s->fetch, no, from, to - from);
    g.pages = (to - from + PAGE_BYTES - 1) / PAGE_BYTES;
    g.have = heap_array((size_t)g.pages, sizeof(*g.have));
    from_cache(&g);
    for (uint64_t i = 0, end; i < g.pages && st == ST_OK; i = end) {
        for (end = i; end < g.pages && g.have[end] == g.have[i]; end++)
            ;
        if (!g.have[i])
            st = from_bucket(&g, i, end, err);
    }
    heap_free(g.have);
    if (st != ST_OK) {
        span_unref(g.span);
        return st;
    }
    keep(s, g.span);
    *ret = g.span;
    return ST_OK;
}

static enum status source_get(struct block_source *base, const char *file, uint64_t off, size_t n,
                              struct sv *ret, struct block_lease *ret_lease, struct err *err)
{
    struct sgw_source *s = self(base);
    struct sgw_span *span;
    uint64_t bytes;
    unsigned no;

    TRY(file_of(s, file, &no, &bytes, err));
    if (off > bytes || n > bytes - off)
        return err_set(err, ST_CORRUPT, "%s/%s: %zu bytes at %llu are past its end", s->name.z,
                       file, n, (unsigned long long)off);
    if (n > GET_MAX)
        return err_set(err, ST_LIMIT, "%s/%s: %zu bytes asked for at once", s->name.z, file, n);
    *ret_lease = (struct block_lease){{NULL, NULL}};
    *ret = (struct sv){"", 0};
    if (n == 0)
        return ST_OK;
    span = find_kept(s, no, off, n);
    if (!span)
        TRY(fetch_span(s, no, file, bytes, off, n, &span, err));
    ret_lease->own[0] = span;
    *ret = (struct sv){span->p + (off - span->off), n};
    return ST_OK;
}

static void source_release(struct block_source *base, struct block_lease *lease)
{
    (void)base;
    span_unref(lease->own[0]);
    lease->own[0] = NULL;
}

/* Ranges come in the order in which they will be read; neighbours with small gaps become one read.
 * More than a source may keep is left to get(). */
static enum status source_prefetch(struct block_source *base, const struct block_range *ranges,
                                   size_t n, struct err *err)
{
    struct sgw_source *s = self(base);
    int64_t room = s->fetch->keep_max - atomic_load(&s->fetch->kept_bytes);

    /* What could not be kept would be fetched twice. */
    room = room < KEEP_BYTES / 2 ? room : KEEP_BYTES / 2;
    for (size_t i = 0, next; i < n; i = next) {
        uint64_t from = ranges[i].off, to = from + ranges[i].n, bytes;
        struct sgw_span *span;
        unsigned no;

        for (next = i + 1; next < n; next++) {
            const struct block_range *r = &ranges[next];

            if (strcmp(r->file, ranges[i].file) != 0 || r->off < from || r->off > to + GAP_BYTES ||
                r->off + r->n - from > READ_MAX)
                break;
            to = r->off + r->n > to ? r->off + r->n : to;
        }
        room -= (int64_t)(to - from + 2 * PAGE_BYTES);
        if (room < 0)
            break;
        TRY(file_of(s, ranges[i].file, &no, &bytes, err));
        if (to > bytes || from >= to)
            continue; /* get() will say what is wrong */
        span = find_kept(s, no, from, to - from);
        if (!span)
            TRY(fetch_span(s, no, ranges[i].file, bytes, from, to - from, &span, err));
        span_unref(span);
    }
    return ST_OK;
}

static void source_close(struct block_source *own_s)
{
    struct sgw_source *s = self(own_s);

    while (s->kept_n)
        span_unref(unkeep_oldest(s));
    for (size_t i = 0; i < s->files.n; i++)
        heap_free(s->files.p[i].name);
    vec_free(&s->files);
    lock_fini(&s->lock);
    heap_free(s);
}

struct block_source *sgw_source_new(struct sgw_fetch *f, struct sv tenant, const char *ulid)
{
    static const struct block_source_ops ops = {source_size, source_get, source_release,
                                                source_prefetch, source_close};
    struct sgw_source *s = heap_new(struct sgw_source);

    s->base.ops = &ops;
    s->fetch = f;
    s->name = sgw_name_of(tenant, sv_of(ulid));
    lock_init(&s->lock, LOCK_catalogue);
    return &s->base;
}
