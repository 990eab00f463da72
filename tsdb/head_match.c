/* Matchers against the index of a head: which series they all match, and the label names and values of
 * those. Runs under the head lock, held for reading.
 *
 * A matcher that can't match an absent label is a union of postings; one that can is what is left
 * when the values that it refuses are taken away. The first kind comes first, so that the second
 * subtracts from something small.
 */
#include "head_int.h"

#include <assert.h>
#include <stdlib.h>

#define ALIVE_EVERY 4096u /* values looked at between two looks at the query's deadline */

struct found_lists {
    VEC(struct postings) lists;
};

static struct postings of_pair(const struct head_pair *p)
{
    return (struct postings){(uint32_t *)(uintptr_t)head_pair_ids(p), p->n};
}

/* Lists of the values that m matches (want) or refuses (!want). */
static enum status each_value(const struct head *h, const struct query_ctx *ctx,
                              const struct matcher *m, bool want, struct found_lists *ret,
                              struct err *err)
{
    const struct head_name *name = hmap_get(&h->name_of, m->name);

    if (!name)
        return ST_OK;
    if (want && (m->op == MATCH_EQ || (m->op == MATCH_RE && m->set_n))) {
        for (size_t i = 0; i < (m->op == MATCH_EQ ? 1 : m->set_n); i++) {
            struct head_pair *p = head_pair_find(h, name, m->op == MATCH_EQ ? m->value : m->set[i]);

            if (p && p->n)
                vec_push(&ret->lists, of_pair(p));
        }
        return ST_OK;
    }
    for (size_t i = 0; i < name->pairs.n; i++) {
        const struct head_pair *p = head_pair_at(h, name->pairs.p[i]);

        if (i % ALIVE_EVERY == 0)
            TRY(query_alive(ctx, err));
        if (p->n && matcher_matches(m, sv_make(p->value, p->value_n)) == want)
            vec_push(&ret->lists, of_pair(p));
    }
    return ST_OK;
}

static enum status union_of(const struct head *h, const struct query_ctx *ctx,
                            const struct matcher *m, bool want, struct arena *arena,
                            struct postings *ret, struct err *err)
{
    struct found_lists f = {0};
    enum status st = each_value(h, ctx, m, want, &f, err);

    if (st == ST_OK)
        *ret = postings_or(arena, f.lists.p, f.lists.n);
    vec_free(&f.lists);
    return st;
}

static enum status over(struct arena *arena, struct err *err)
{
    if (!arena_over(arena))
        return ST_OK;
    return err_set(err, ST_LIMIT, "the selector needs more than %zu bytes for lists of series",
                   arena->max_bytes);
}

enum status head_index_match(const struct head *h, const struct query_ctx *ctx,
                             const struct matcher *const *m, size_t n, struct arena *arena,
                             struct postings *ret, struct err *err)
{
    struct postings at = h->all, x = {0};

    for (size_t i = 0; i < n && at.n; i++)
        if (!matcher_matches_empty(m[i])) {
            TRY(union_of(h, ctx, m[i], true, arena, &x, err));
            at = postings_and(arena, at, x);
            TRY(over(arena, err));
        }
    for (size_t i = 0; i < n && at.n; i++)
        if (matcher_matches_empty(m[i])) {
            TRY(union_of(h, ctx, m[i], false, arena, &x, err));
            at = postings_minus(arena, at, x);
            TRY(over(arena, err));
        }
    *ret = at;
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

/* Calls visit for the pairs of every series that matches and has samples in the range. */
static enum status visit_pairs(struct head *h, const struct query_ctx *ctx,
                               const struct select_req *req,
                               void (*visit)(void *arg, uint32_t pair), void *arg,
                               struct err *err)
{
    struct arena arena;
    struct postings ids = {0};
    enum status st;

    arena_init(&arena, (size_t)1 << 30);
    rwlock_read(&h->lock);
    st = head_index_match(h, ctx, req->matchers, req->matchers_n, &arena, &ids, err);
    for (size_t i = 0; i < ids.n && st == ST_OK; i++) {
        const struct head_series *s = head_series_at(h, ids.p[i]);
        bool in;

        if (i % ALIVE_EVERY == 0)
            st = query_alive(ctx, err);
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
