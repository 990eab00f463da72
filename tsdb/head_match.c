/* Matchers against the index of a head: which series they all match, and the label names and values
 * of those.
 *
 * A matcher that can't match an absent label is a union of postings; one that can is what is left
 * when the values that it refuses are taken away. The first kind comes first, so that the second
 * subtracts from something small.
 *
 * A regular expression over a million values takes long, so it runs without the head lock: values
 * never change, and the caller's pin keeps them. Their lists are then copied, and joined without
 * the lock too. Series made meanwhile have ids from `limit` on and are left out of everything, or
 * a value too new to have been looked at would count as matching.
 */
#include "head_int.h"

#include <assert.h>
#include <stdlib.h>

#define ALIVE_EVERY 4096u /* values or series between two looks at the query's deadline */

struct term { /* one matcher */
    const struct matcher *m;
    bool want; /* union of what it matches; else what it refuses is subtracted */
    bool scan; /* every value has to be looked at */
    const struct head_pair **pairs;
    size_t n;
    struct postings ids; /* of a scan */
};

static struct postings of_pair(const struct head_pair *p)
{
    return (struct postings){(uint32_t *)(uintptr_t)head_pair_ids(p), p->n};
}

/* Step 1, under the lock: the pair of a literal, or all values to look at. */
static void take_pairs(const struct head *h, struct term *t, struct arena *arena)
{
    const struct head_name *name = hmap_get(&h->name_of, t->m->name);
    bool set = t->m->op == MATCH_RE && t->m->set_n;
    size_t n = t->m->op == MATCH_EQ ? 1 : t->m->set_n;

    if (!name)
        return;
    t->scan = !t->want || (t->m->op != MATCH_EQ && !set);
    if (t->scan)
        n = name->pairs.n;
    t->pairs = arena_array(arena, n ? n : 1, sizeof(*t->pairs));
    for (size_t i = 0; t->pairs && i < n; i++) {
        const struct head_pair *p = t->scan
                                        ? head_pair_at(h, name->pairs.p[i])
                                        : head_pair_find(h, name, set ? t->m->set[i] : t->m->value);

        if (p)
            t->pairs[t->n++] = p;
    }
}

/* Step 2, without it: which values match, or are refused. */
static enum status look(const struct query_ctx *ctx, struct term *t, struct err *err)
{
    size_t kept = 0;

    for (size_t i = 0; t->scan && i < t->n; i++) {
        const struct head_pair *p = t->pairs[i];

        if (i % ALIVE_EVERY == 0)
            TRY(query_alive(ctx, err));
        if (matcher_matches(t->m, sv_make(p->value, p->value_n)) == t->want)
            t->pairs[kept++] = p;
    }
    if (t->scan)
        t->n = kept;
    return ST_OK;
}

/* Step 3: their lists, copied under the lock, joined outside. */
static void join(struct head *h, struct term *t, struct arena *arena)
{
    struct postings *lists = arena_array(arena, t->n ? t->n : 1, sizeof(*lists));

    rwlock_read(&h->lock);
    for (size_t i = 0; lists && i < t->n; i++) {
        struct postings x = of_pair(t->pairs[i]);

        lists[i].p = arena_alloc(arena, x.n * sizeof(*x.p));
        if (!lists[i].p)
            break;
        if (x.n)
            memcpy(lists[i].p, x.p, x.n * sizeof(*x.p));
        lists[i].n = x.n;
    }
    rwlock_drop(&h->lock);
    if (lists && !arena_over(arena))
        t->ids = postings_or(arena, lists, t->n);
}

/* The union of a term; of literals under the lock, where a single list needs no copy. */
static struct postings ids_of(struct term *t, struct arena *arena)
{
    struct postings *lists;

    if (t->scan)
        return t->ids;
    if (t->n == 1)
        return of_pair(t->pairs[0]);
    lists = arena_array(arena, t->n ? t->n : 1, sizeof(*lists));
    for (size_t i = 0; lists && i < t->n; i++)
        lists[i] = of_pair(t->pairs[i]);
    return lists ? postings_or(arena, lists, t->n) : (struct postings){NULL, 0};
}

/* Step 4, under the lock: everything together, and out of the head's own lists. */
static struct postings combine(const struct head *h, struct term *terms, size_t n, uint32_t limit,
                               struct arena *arena)
{
    struct postings at = h->all, own;

    for (size_t i = 0; i < n; i++)
        if (terms[i].want)
            at = postings_and(arena, at, ids_of(&terms[i], arena));
    for (size_t i = 0; i < n; i++)
        if (!terms[i].want)
            at = postings_minus(arena, at, ids_of(&terms[i], arena));
    while (at.n && at.p[at.n - 1] >= limit)
        at.n--;
    if (at.p != h->all.p)
        return at;
    own = (struct postings){arena_alloc(arena, at.n * sizeof(*at.p)), at.n};
    if (own.p && at.n)
        memcpy(own.p, at.p, at.n * sizeof(*at.p));
    return own;
}

enum status head_index_match(struct head *h, const struct query_ctx *ctx,
                             const struct matcher *const *m, size_t n, struct arena *arena,
                             struct postings *ret, struct err *err)
{
    struct term *terms = arena_array(arena, n ? n : 1, sizeof(*terms));
    uint32_t limit;

    rwlock_read(&h->lock);
    limit = h->series.n;
    for (size_t i = 0; terms && i < n; i++) {
        terms[i].m = m[i];
        terms[i].want = !matcher_matches_empty(m[i]);
        take_pairs(h, &terms[i], arena);
    }
    rwlock_drop(&h->lock);
    for (size_t i = 0; i < n && !arena_over(arena); i++) {
        TRY(look(ctx, &terms[i], err));
        if (terms[i].scan)
            join(h, &terms[i], arena);
    }
    if (!arena_over(arena)) {
        rwlock_read(&h->lock);
        *ret = combine(h, terms, n, limit, arena);
        rwlock_drop(&h->lock);
    }
    if (arena_over(arena))
        return err_set(err, ST_LIMIT, "the selector needs more than %zu bytes for lists of series",
                       arena->max_bytes);
    return ST_OK;
}

static int by_bytes(const void *a, const void *b)
{
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

struct sv_list {
    VEC(struct sv) names;
};

/* Sorted and distinct, copied into the query's arena; its limit is the req's. */
static enum status give(const struct query_ctx *ctx, struct sv_list *l, size_t limit,
                        struct names *ret, struct err *err)
{
    size_t n = 0;

    if (l->names.n)
        qsort(l->names.p, l->names.n, sizeof(*l->names.p), by_bytes);
    for (size_t i = 0; i < l->names.n; i++)
        if (i == 0 || !sv_eq(l->names.p[i], l->names.p[n - 1]))
            l->names.p[n++] = l->names.p[i];
    *ret = (struct names){.complete = true, .truncated = limit && n > limit};
    if (ret->truncated)
        n = limit;
    ret->p = arena_array(ctx->arena, n ? n : 1, sizeof(*ret->p));
    for (size_t i = 0; ret->p && i < n; i++)
        ret->p[ret->n++] = arena_sv(ctx->arena, l->names.p[i]);
    if (arena_over(ctx->arena))
        return err_set(err, ST_LIMIT, "query needs more than %zu bytes", ctx->arena->max_bytes);
    return ST_OK;
}

/* A request asks about the whole head when it names no matchers and a range that covers it. */
static bool asks_all(struct head *h, const struct select_req *req)
{
    struct db_stats s;

    if (!req)
        return true;
    if (req->matchers_n)
        return false;
    head_stats(h, &s);
    return s.min_ms >= req->range.from_ms && s.max_ms < req->range.to_ms;
}

/* Calls visit for the pairs of every series that matches and has samples in the range. Pinned. */
static enum status visit_pairs(struct head *h, const struct query_ctx *ctx,
                               const struct select_req *req,
                               void (*visit)(void *arg, uint32_t pair), void *arg, struct err *err)
{
    struct arena arena;
    struct postings ids = {0};
    enum status st;

    arena_init(&arena, (size_t)1 << 30);
    st = head_index_match(h, ctx, req->matchers, req->matchers_n, &arena, &ids, err);
    rwlock_read(&h->lock);
    for (size_t i = 0; i < ids.n && st == ST_OK; i++) {
        const struct head_series *s = head_series_at(h, ids.p[i]);
        bool in;

        if (!s)
            continue; /* evicted since: it had no samples */
        lock_take(head_stripe(h, s->id));
        in = head_series_overlaps(s, req->range);
        lock_drop(head_stripe(h, s->id));
        for (unsigned k = 0; in && k < s->labels_n; k++)
            visit(arg, s->pairs[k]);
    }
    rwlock_drop(&h->lock);
    arena_fini(&arena);
    return st;
}

/* Pairs seen, as bits: a pair is looked at once however many series have it. */
struct pair_bits {
    const struct head *h;
    uint64_t *bits;
    size_t words;
    struct sv name; /* values of this name; n 0: names */
    struct sv_list *out;
};

static void see_pair(void *arg, uint32_t pair)
{
    struct pair_bits *b = arg;
    const struct head_pair *p;

    if (pair / 64 >= b->words || (b->bits[pair / 64] >> (pair % 64)) & 1)
        return;
    b->bits[pair / 64] |= UINT64_C(1) << (pair % 64);
    p = head_pair_at(b->h, pair);
    if (!b->name.n)
        vec_push(&b->out->names, p->name->name);
    else if (sv_eq(p->name->name, b->name))
        vec_push(&b->out->names, sv_make(p->value, p->value_n));
}

static enum status seen_pairs(struct head *h, const struct query_ctx *ctx, struct sv name,
                              const struct select_req *req, struct sv_list *out, struct err *err)
{
    struct pair_bits b = {.h = h, .name = name, .out = out};
    enum status st;

    rwlock_read(&h->lock);
    b.words = h->pairs.n / 64 + 1;
    rwlock_drop(&h->lock);
    b.bits = heap_array(b.words, sizeof(*b.bits));
    st = visit_pairs(h, ctx, req, see_pair, &b, err);
    heap_free(b.bits);
    return st;
}

enum status head_label_names(struct head *h, const struct query_ctx *ctx,
                             const struct select_req *req, struct names *ret, struct err *err)
{
    struct sv_list l = {0};
    struct head_pin pin;
    enum status st = ST_OK;

    head_pin(h, &pin); /* the views stay until they are copied */
    if (!asks_all(h, req)) {
        st = seen_pairs(h, ctx, (struct sv){NULL, 0}, req, &l, err);
    } else {
        rwlock_read(&h->lock);
        for (size_t i = 0; i < h->names.n; i++)
            vec_push(&l.names, h->names.p[i]->name);
        rwlock_drop(&h->lock);
    }
    if (st == ST_OK)
        st = give(ctx, &l, req ? req->hints.limit : 0, ret, err);
    head_unpin(h, &pin);
    vec_free(&l.names);
    return st;
}

enum status head_label_values(struct head *h, const struct query_ctx *ctx, struct sv name,
                              const struct select_req *req, struct names *ret, struct err *err)
{
    struct sv_list l = {0};
    struct head_pin pin;
    enum status st = ST_OK;

    head_pin(h, &pin);
    if (!asks_all(h, req)) {
        if (name.n)
            st = seen_pairs(h, ctx, name, req, &l, err);
    } else {
        const struct head_name *n;

        rwlock_read(&h->lock);
        n = hmap_get(&h->name_of, name);
        for (size_t i = 0; n && i < n->pairs.n; i++) {
            const struct head_pair *p = head_pair_at(h, n->pairs.p[i]);

            vec_push(&l.names, sv_make(p->value, p->value_n));
        }
        rwlock_drop(&h->lock);
    }
    if (st == ST_OK)
        st = give(ctx, &l, req ? req->hints.limit : 0, ret, err);
    head_unpin(h, &pin);
    vec_free(&l.names);
    return st;
}
