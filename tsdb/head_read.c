/* Selecting from the head.
 *
 * The set is resolved at once: the ids that match, sorted by labels, pinned so that eviction leaves
 * what they point to. Samples are read series by series, when asked: the bytes of the chunks are
 * copied under the stripe, decoded outside. Appends go on meanwhile; a set sees each series as it
 * is when it is read, and nothing that was there when it was opened leaves before it is closed.
 */
#include "head_int.h"

#include <assert.h>
#include <stdlib.h>

#define MATCH_MAX ((size_t)1 << 30)   /* lists of ids of one select */
#define COPY_MAX  ((size_t)256 << 20) /* chunk bytes of one series */

struct head_set {
    struct series_set base;
    struct head *h;
    const struct query_ctx *ctx; /* borrowed: outlives the set */
    struct head_pin pin;
    struct trange range;
    struct head_series **series; /* in label order */
    size_t n, at, given, limit;
    struct head_series *current;
    struct label *room;
    struct buf copy;
    int64_t charged;
};

static enum status charge(struct head_set *s, int64_t bytes, struct err *err)
{
    TRY(account_charge(s->ctx->mem, bytes, err));
    s->charged += bytes;
    return ST_OK;
}

static bool has_samples(struct head_set *s, struct head_series *x)
{
    LOCK_SCOPE(head_stripe(s->h, x->id));
    return head_series_overlaps(x, s->range);
}

static enum status set_next(struct series_set *base, bool *ret_more, struct err *err)
{
    struct head_set *s = (struct head_set *)base;

    TRY(query_alive(s->ctx, err));
    *ret_more = false;
    while (s->at < s->n && !(s->limit && s->given >= s->limit)) {
        s->current = s->series[s->at++];
        if (!has_samples(s, s->current))
            continue;
        s->base.labels = head_series_labels(s->h, s->current, s->room);
        s->given++;
        *ret_more = true;
        return ST_OK;
    }
    s->current = NULL;
    s->base.outcome.complete = true;
    return ST_OK;
}

static enum status set_read(struct series_set *base, struct samples *out, struct err *err)
{
    struct head_set *s = (struct head_set *)base;
    size_t cap = s->copy.cap;
    struct head_series *x = s->current;

    assert(x);
    samples_clear(out);
    buf_clear(&s->copy);
    lock_take(head_stripe(s->h, x->id));
    head_series_copy(x, s->range, false, 0, &s->copy);
    lock_drop(head_stripe(s->h, x->id));
    if (!buf_ok(&s->copy))
        return err_set(err, ST_LIMIT, "chunks of one series take more than %zu bytes", COPY_MAX);
    if (s->copy.cap > cap)
        TRY(charge(s, (int64_t)(s->copy.cap - cap), err));
    return head_copy_decode(buf_view(&s->copy), s->range, out, err);
}

static void set_close(struct series_set *own_base)
{
    struct head_set *s = (struct head_set *)own_base;

    head_unpin(s->h, &s->pin);
    account_release(s->ctx->mem, s->charged);
    buf_fini(&s->copy);
    vec_free(&s->base.outcome.warnings);
    heap_free(s->series);
    heap_free(s->room);
    heap_free(s);
}

static int by_labels(const void *a, const void *b, void *head)
{
    return head_series_cmp(head, *(struct head_series *const *)a, *(struct head_series *const *)b);
}

/* The series behind the ids that are in the wanted shard. Head lock held for reading. */
static enum status take_series(struct head_set *s, const struct select_hints *hints,
                               struct postings ids, struct err *err)
{
    unsigned labels_max = 1;

    TRY(charge(s, (int64_t)(ids.n * sizeof(*s->series)), err));
    s->series = heap_array(ids.n ? ids.n : 1, sizeof(*s->series));
    for (size_t i = 0; i < ids.n; i++) {
        struct head_series *x = head_series_at(s->h, ids.p[i]);

        if (!x)
            continue; /* evicted since: it had no samples */
        if (hints->shards > 1 && x->shard_hash % hints->shards != hints->shard)
            continue;
        if (x->labels_n > labels_max)
            labels_max = x->labels_n;
        s->series[s->n++] = x;
    }
    s->room = heap_array(labels_max, sizeof(*s->room));
    return ST_OK;
}

static enum status resolve(struct head_set *s, const struct select_req *req, struct err *err)
{
    struct arena arena;
    struct postings ids;
    enum status st;

    arena_init(&arena, MATCH_MAX);
    st = head_index_match(s->h, s->ctx, req->matchers, req->matchers_n, &arena, &ids, err);
    if (st == ST_OK) {
        rwlock_read(&s->h->lock);
        st = take_series(s, &req->hints, ids, err);
        rwlock_drop(&s->h->lock);
    }
    arena_fini(&arena);
    if (st == ST_OK && s->n > 1)
        qsort_r(s->series, s->n, sizeof(*s->series), by_labels, s->h);
    return st;
}

enum status head_select(struct head *h, const struct query_ctx *ctx, const struct select_req *req,
                        struct series_set **ret, struct err *err)
{
    static const struct series_set_ops ops = {set_next, set_read, set_close};
    struct head_set *s = heap_new(struct head_set);
    enum status st;

    s->base.ops = &ops;
    s->h = h;
    s->ctx = ctx;
    s->range = req->range;
    s->limit = req->hints.limit;
    buf_init(&s->copy, COPY_MAX);
    head_pin(h, &s->pin);
    st = resolve(s, req, err);
    if (st != ST_OK) {
        set_close(&s->base);
        return st;
    }
    *ret = &s->base;
    return ST_OK;
}
