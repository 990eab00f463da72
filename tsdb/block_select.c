/* A select on one block: matched series in order of reference, which is order of labels, decoded in
 * batches. A batch first says which index ranges it will read, then which chunks, so that a source
 * that is far away fetches each in one go; batches grow, because many selects want few series.
 *
 * Labels and chunk tables of a batch, and a cache of symbols (label names and many values repeat from
 * series to series), live in one arena. It is emptied between batches once it has grown large. */
#include "block_read_int.h"

#include <assert.h>

#define BATCH_FIRST   8
#define BATCH_MAX     256
#define SERIES_BYTES  512              /* of the index, announced for a series */
#define CACHE_SLOTS   4096             /* power of two */
#define ARENA_KEEP    ((size_t)4 << 20) /* a fuller arena is emptied before the next batch */
#define ARENA_MAX     ((size_t)1 << 30) /* one batch; the account is met long before */

struct sym_slot {
    uint32_t i; /* symbol + 1, 0 empty */
    struct sv text;
};

struct row {
    struct labels labels;
    struct index_chunk *chunks; /* those that overlap the range */
    size_t chunks_n;
};

struct block_set {
    struct series_set base;
    struct block *block;          /* a reference */
    const struct query_ctx *ctx;  /* borrowed: outlives the set */
    struct trange range;
    struct select_hints hints;
    struct block_ids ids;
    size_t at;                    /* next id to decode */
    size_t given;                 /* series handed out */
    struct arena arena;
    int64_t arena_charged;
    struct sym_slot *cache;
    struct index_series scratch;
    struct row rows[BATCH_MAX];
    size_t rows_n, row;           /* row: 1 + that of the current series */
    size_t batch;
    VEC(struct block_range) ahead;
};

static enum status symbol(struct block_set *s, uint32_t i, struct sv *ret, struct err *err)
{
    struct sym_slot *slot = &s->cache[i & (CACHE_SLOTS - 1)];
    struct block_lease lease;
    struct sv v;

    if (slot->i != i + 1) {
        TRY(index_symbol(&s->block->index, i, &v, &lease, err));
        v = arena_sv(&s->arena, v);
        s->block->src->ops->release(s->block->src, &lease);
        if (!v.p)
            return err_set(err, ST_LIMIT, "labels of a batch of series need more than 1 GiB");
        *slot = (struct sym_slot){i + 1, v};
    }
    *ret = slot->text;
    return ST_OK;
}

static enum status row_labels(struct block_set *s, struct labels *ret, struct err *err)
{
    size_t n = s->scratch.pairs.n;

    *ret = (struct labels){arena_array(&s->arena, n ? n : 1, sizeof(*ret->p)), n};
    if (!ret->p)
        return err_set(err, ST_LIMIT, "labels of a batch of series need more than 1 GiB");
    for (size_t i = 0; i < n; i++) {
        TRY(symbol(s, s->scratch.pairs.p[i].name, &ret->p[i].name, err));
        TRY(symbol(s, s->scratch.pairs.p[i].value, &ret->p[i].value, err));
    }
    return ST_OK;
}

static bool chunk_overlaps(const struct index_chunk *c, struct trange r)
{
    return c->first_ms < r.to_ms && c->last_ms >= r.from_ms;
}

/* The series in s->scratch becomes a row, if anything of it is wanted. */
static enum status add_row(struct block_set *s, struct err *err)
{
    const struct index_chunk *c = s->scratch.chunks.p;
    size_t from = 0, to = s->scratch.chunks.n;
    struct row *r = &s->rows[s->rows_n];

    while (from < to && !chunk_overlaps(&c[from], s->range))
        from++;
    while (to > from && !chunk_overlaps(&c[to - 1], s->range))
        to--;
    if (from == to)
        return ST_OK;
    TRY(row_labels(s, &r->labels, err));
    if (s->hints.shards > 1 && labels_hash(r->labels, 0).lo % s->hints.shards != s->hints.shard)
        return ST_OK;
    r->chunks_n = to - from;
    r->chunks = arena_alloc(&s->arena, r->chunks_n * sizeof(*c));
    if (!r->chunks)
        return err_set(err, ST_LIMIT, "chunk tables of a batch of series need more than 1 GiB");
    memcpy(r->chunks, c + from, r->chunks_n * sizeof(*c));
    s->rows_n++;
    return ST_OK;
}

static enum status announce_series(struct block_set *s, size_t n, struct err *err)
{
    const struct index *ix = &s->block->index;

    s->ahead.n = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t off = (uint64_t)s->ids.list.p[s->at + i] * INDEX_ALIGN;
        uint64_t left = off < ix->series_end ? ix->series_end - off : 0;
        struct block_range r = {BLOCK_INDEX, off, left < SERIES_BYTES ? left : SERIES_BYTES};

        if (left)
            vec_push(&s->ahead, r);
    }
    return s->block->src->ops->prefetch(s->block->src, s->ahead.p, s->ahead.n, err);
}

/* Chunks of a batch, one range for each series and chunk file. */
static enum status announce_chunks(struct block_set *s, struct err *err)
{
    char *file = NULL;
    uint64_t seg = UINT64_MAX;

    s->ahead.n = 0;
    for (size_t i = 0; i < s->rows_n; i++) {
        const struct row *r = &s->rows[i];

        for (size_t k = 0, end; k < r->chunks_n; k = end) {
            uint64_t from = r->chunks[k].ref, last = from;

            for (end = k + 1; end < r->chunks_n && r->chunks[end].ref >> 32 == from >> 32; end++)
                last = r->chunks[end].ref > last ? r->chunks[end].ref : last;
            if (from >> 32 != seg) {
                seg = from >> 32;
                file = arena_alloc(&s->arena, BLOCK_FILE_NAME);
                if (!file)
                    return err_set(err, ST_LIMIT, "names of chunk files need more than 1 GiB");
                chunk_file_name(file, from);
            }
            vec_push(&s->ahead, ((struct block_range){file, (uint32_t)from,
                                                      (size_t)(last - from) + BLOCK_CHUNK_GUESS}));
        }
    }
    return s->block->src->ops->prefetch(s->block->src, s->ahead.p, s->ahead.n, err);
}

static enum status settle_arena(struct block_set *s, struct err *err)
{
    int64_t now = (int64_t)s->arena.used_bytes;

    TRY(account_charge(s->ctx->mem, now - s->arena_charged, err));
    s->arena_charged = now;
    return ST_OK;
}

static enum status fill(struct block_set *s, struct err *err)
{
    size_t left = s->ids.list.n - s->at, n = left < s->batch ? left : s->batch;

    s->rows_n = s->row = 0;
    s->batch = s->batch * 2 < BATCH_MAX ? s->batch * 2 : BATCH_MAX;
    if (s->arena.used_bytes > ARENA_KEEP) {
        arena_reset(&s->arena);
        memset(s->cache, 0, CACHE_SLOTS * sizeof(*s->cache));
    }
    TRY(announce_series(s, n, err));
    for (; n; n--, s->at++) {
        TRY(index_series_read(&s->block->index, s->ids.list.p[s->at], &s->scratch, err));
        TRY(add_row(s, err));
    }
    if (!s->hints.labels_only && s->rows_n)
        TRY(announce_chunks(s, err));
    return settle_arena(s, err);
}

static enum status set_next(struct series_set *base, bool *ret_more, struct err *err)
{
    struct block_set *s = (struct block_set *)base;
    enum status st;

    TRY(query_alive(s->ctx, err));
    while (s->row == s->rows_n && s->at < s->ids.list.n &&
           (s->hints.limit == 0 || s->given < s->hints.limit)) {
        TRY(query_alive(s->ctx, err));
        st = fill(s, err);
        if (st != ST_OK)
            return err && st == ST_CORRUPT ? block_wrap(s->block, err) : st;
    }
    if (s->row == s->rows_n || (s->hints.limit && s->given >= s->hints.limit)) {
        s->base.labels = (struct labels){NULL, 0};
        s->base.outcome.complete = true;
        *ret_more = false;
        return ST_OK;
    }
    s->base.labels = s->rows[s->row++].labels;
    s->given++;
    *ret_more = true;
    return ST_OK;
}

static enum status set_read(struct series_set *base, struct samples *out, struct err *err)
{
    struct block_set *s = (struct block_set *)base;
    const struct row *r = &s->rows[s->row - 1];

    assert(s->row > 0);
    samples_clear(out);
    for (size_t i = 0; i < r->chunks_n; i++) {
        const struct index_chunk *next = i + 1 < r->chunks_n ? &r->chunks[i + 1] : NULL;
        size_t before = out->n;
        enum status st = block_chunk_read(s->block, &r->chunks[i], next, s->range, out, err);

        if (st == ST_OK && out->n > before &&
            (out->t_ms[before] < r->chunks[i].first_ms || out->t_ms[out->n - 1] > r->chunks[i].last_ms))
            st = err_set(err, ST_CORRUPT, "a chunk with samples outside the time the index gives it");
        if (st != ST_OK)
            return err ? block_wrap(s->block, err) : st;
    }
    return ST_OK;
}

static void set_close(struct series_set *own_base)
{
    struct block_set *s = (struct block_set *)own_base;

    block_ids_fini(&s->ids, s->ctx);
    account_release(s->ctx->mem, s->arena_charged);
    arena_fini(&s->arena);
    index_series_fini(&s->scratch);
    vec_free(&s->ahead);
    vec_free(&s->base.outcome.warnings);
    heap_free(s->cache);
    block_unref(s->block);
    heap_free(s);
}

enum status block_select(struct block *b, const struct query_ctx *ctx, const struct select_req *req,
                         struct series_set **ret, struct err *err)
{
    static const struct series_set_ops ops = {set_next, set_read, set_close};
    struct block_set *s;
    struct block_ids ids;
    enum status st;

    assert(b->magic == BLOCK_MAGIC);
    st = block_match(b, ctx, req->matchers, req->matchers_n, &ids, err);
    if (st != ST_OK)
        return err && st == ST_CORRUPT ? block_wrap(b, err) : st;
    s = heap_new(struct block_set);
    s->base.ops = &ops;
    s->block = block_ref(b);
    s->ctx = ctx;
    s->range = req->range;
    s->hints = req->hints;
    s->ids = ids;
    s->batch = BATCH_FIRST;
    s->cache = heap_array(CACHE_SLOTS, sizeof(*s->cache));
    arena_init(&s->arena, ARENA_MAX);
    *ret = &s->base;
    return ST_OK;
}
