/* A range query through the results cache. Rules and reasons: README.md.
 *
 *   buckets   settled ones are asked of the cache; those it lacks are evaluated whole
 *   open      the bucket that has not settled: its settled beginning ("prefix") is kept in memory and
 *             grows; what is behind it ("tail") is shared for a moment
 *
 *   1 marks before   2 look up   3 evaluate what is missing   4 merge   5 marks after, store
 *
 * What has settled is decided before the evaluation: what settles while it runs may have been read
 * before its last sample came.
 */
#include "base/heap.h"
#include "base/vec.h"
#include "fe_int.h"

#include <stdlib.h>

#define KEY_MAX ((size_t)2 << 20)
#define ITEM_MAX ((size_t)64 << 20)
#define BUCKETS_MAX 20000

struct bucket {
    int64_t k;
    int64_t first, last; /* its steps */
    int64_t from, to;    /* those of them that were asked for */
    struct fe_mark mark;
    struct buf key, item;
    struct value *value; /* a hit */
};

struct range {
    struct fe_run *run;
    struct fe_grid g;
    int64_t from, to; /* steps asked for, inclusive */
    struct bucket *b;
    size_t n;
    struct arena items; /* decoded hits */
    size_t open;        /* the first bucket that has not settled; n: none */
    int64_t settled_to; /* last step of the open bucket that had settled before the evaluation */
    int64_t began_ns;
    /* The open bucket's kept beginning; value NULL: none. */
    struct buf prefix_key;
    int64_t prefix_from, prefix_to;
    struct value *prefix;
    /* From here on nothing is known; value set: the shared tail. > to: nothing left. */
    int64_t tail_from;
    struct buf tail_key;
    struct value *tail;
    struct fe_pieces pieces;
    bool widened; /* pieces hold steps that nobody asked for */
};

static bool same_digest(const struct fe_mark *a, const struct fe_mark *b)
{
    return a->digest.lo == b->digest.lo && a->digest.hi == b->digest.hi;
}

static struct fe_mark mark_steps(const struct range *x, int64_t from, int64_t to)
{
    return fe_mark_of(x->run, fe_grid_ms(&x->g, from), fe_grid_ms(&x->g, to), x->g.step_ms);
}

/* --- 1, 2: marks and look-ups --- */

static void plan_buckets(struct range *x)
{
    int64_t k0 = fe_grid_bucket(&x->g, x->from), k1 = fe_grid_bucket(&x->g, x->to);

    x->n = (size_t)(k1 - k0 + 1);
    x->b = heap_array(x->n, sizeof(*x->b));
    x->open = x->n;
    for (size_t i = 0; i < x->n; i++) {
        struct bucket *b = &x->b[i];

        b->k = k0 + (int64_t)i;
        b->first = b->k * x->g.bucket_steps;
        b->last = b->first + x->g.bucket_steps - 1;
        b->from = b->first > x->from ? b->first : x->from;
        b->to = b->last < x->to ? b->last : x->to;
        b->mark = mark_steps(x, b->first, b->last);
        buf_init(&b->key, KEY_MAX);
        buf_init(&b->item, ITEM_MAX);
        /* Buckets behind an open one count as open: a tail is one stretch. */
        if (x->open < x->n)
            b->mark.settled = false;
        else if (!b->mark.settled)
            x->open = i;
        if (b->mark.settled)
            fe_key(&b->key, x->run, &x->g, 'B', b->k, 0, &b->mark);
    }
}

/* The last step of the open bucket, of which all that is read has settled;
 * before the first: none. */
static int64_t last_settled(const struct range *x, int64_t first, int64_t last)
{
    int64_t lo = first - 1, hi = last;

    while (lo < hi) {
        int64_t mid = lo + (hi - lo + 1) / 2;

        if (mark_steps(x, first, mid).settled)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

/* NULL: damaged, or with infos that speak of another spelling of the query. */
static struct value *item_read(struct range *x, struct sv item)
{
    struct value *v;
    struct err err = ERR_INIT;

    if (fe_decode(item, &x->items, &v, &err) != ST_OK)
        return NULL;
    return fe_infos_check(v, x->run->q->text) ? v : NULL;
}

static void look_up_buckets(struct range *x)
{
    struct cache *c = x->run->fe->opts.cache;
    struct cache_get *gets = heap_array(x->n, sizeof(*gets));

    for (size_t i = 0; i < x->open; i++)
        gets[i] = (struct cache_get){.key = buf_view(&x->b[i].key), .value = &x->b[i].item};
    if (x->open)
        c->ops->get(c, gets, x->open);
    for (size_t i = 0; i < x->open; i++) {
        /* An item that can't be decoded is a miss like any other. */
        if (gets[i].hit)
            x->b[i].value = item_read(x, buf_view(&x->b[i].item));
        buf_fini(&x->b[i].item);
        *(x->b[i].value ? &x->run->stats->hit : &x->run->stats->miss) += 1;
    }
    heap_free(gets);
}

static bool get_fresh(struct range *x, struct buf *key, struct buf *item)
{
    struct cache *c = x->run->fe->fresh;
    struct cache_get get = {.key = buf_view(key), .value = item};

    c->ops->get(c, &get, 1);
    return get.hit;
}

/* The kept beginning of the open bucket, when it meets what is asked. */
static void look_up_prefix(struct range *x)
{
    struct bucket *b = &x->b[x->open];
    struct buf item;

    fe_key(&x->prefix_key, x->run, &x->g, 'P', b->k, 0, &b->mark);
    buf_init(&item, ITEM_MAX);
    if (get_fresh(x, &x->prefix_key, &item)) {
        struct cur c = cur_of(buf_view(&item));
        int64_t from = cur_varint(&c), to = cur_varint(&c);

        if (!c.bad && from <= b->from && to >= b->from)
            x->prefix = item_read(x, sv_make(c.p, cur_left(&c)));
        if (x->prefix) {
            x->prefix_from = from;
            x->prefix_to = to;
            x->tail_from = to + 1;
        }
    }
    buf_fini(&item);
}

/* A shared tail holds steps that had not settled when it was evaluated. As soon as one of them has,
 * it may differ from what is final. */
static void look_up_tail(struct range *x)
{
    struct buf item;

    if (x->tail_from > x->to || x->settled_to >= x->tail_from)
        return;
    fe_key(&x->tail_key, x->run, &x->g, 'T', x->tail_from, x->to, NULL);
    buf_init(&item, ITEM_MAX);
    if (get_fresh(x, &x->tail_key, &item)) {
        struct cur c = cur_of(buf_view(&item));
        int64_t began_ns = cur_varint(&c);

        if (!c.bad)
            x->tail = item_read(x, sv_make(c.p, cur_left(&c)));
        if (x->tail && x->run->flight)
            fe_flight_older(x->run->fe->flights, x->run->flight, began_ns);
    }
    buf_fini(&item);
}

static void look_up_open(struct range *x)
{
    if (x->open == x->n) {
        x->tail_from = x->to + 1;
        return;
    }
    x->tail_from = x->b[x->open].from;
    x->settled_to = last_settled(x, x->b[x->open].from, x->b[x->open].to);
    look_up_prefix(x);
    look_up_tail(x);
    for (size_t i = x->open; i < x->n; i++) {
        bool known = x->tail || x->b[i].to < x->tail_from;

        *(known ? &x->run->stats->hit : &x->run->stats->bypass) += 1;
    }
}

/* --- 3: what is missing --- */

static void plan_pieces(struct range *x)
{
    int64_t from = 0, to = -1; /* a stretch being gathered; empty: to < from */

    for (size_t i = 0; i < x->open; i++) {
        struct bucket *b = &x->b[i];

        if (b->value)
            continue;
        x->widened |= b->first < b->from || b->last > b->to;
        if (to >= from && to + 1 == b->first) {
            to = b->last;
            continue;
        }
        fe_pieces_add(&x->pieces, &x->g, from, to);
        from = b->first;
        to = b->last;
    }
    if (x->tail_from <= x->to && !x->tail) {
        if (to >= from && to + 1 == x->tail_from) {
            fe_pieces_add(&x->pieces, &x->g, from, x->to);
            return;
        }
        fe_pieces_add(&x->pieces, &x->g, from, to);
        from = x->tail_from;
        to = x->to;
    }
    fe_pieces_add(&x->pieces, &x->g, from, to);
}

/* --- 4: merging --- */

typedef VEC(struct fe_part) part_list;

static void add_part(struct range *x, part_list *ps, const struct value *v, int64_t from, int64_t to)
{
    struct fe_part p = {v, fe_grid_ms(&x->g, from), fe_grid_ms(&x->g, to)};

    if (v && from <= to)
        vec_push(ps, p);
}

static int by_time(const void *a, const void *b)
{
    const struct fe_part *x = a, *y = b;

    return (x->from_ms > y->from_ms) - (x->from_ms < y->from_ms);
}

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* All that is known of the steps from .. to, as one value in arena. */
static enum status gather(struct range *x, int64_t from, int64_t to, struct arena *arena,
                          struct value **ret, struct err *err)
{
    part_list parts = {0};
    enum status st;

    for (size_t i = 0; i < x->open; i++)
        add_part(x, &parts, x->b[i].value, max_of(from, x->b[i].first), min_of(to, x->b[i].last));
    add_part(x, &parts, x->prefix, max_of(from, x->prefix_from), min_of(to, x->prefix_to));
    add_part(x, &parts, x->tail, max_of(from, x->tail_from), to);
    for (size_t i = 0; i < x->pieces.n; i++)
        add_part(x, &parts, x->pieces.p[i].value, max_of(from, x->pieces.p[i].from),
                 min_of(to, x->pieces.p[i].to));
    if (parts.n)
        qsort(parts.p, parts.n, sizeof(*parts.p), by_time);
    st = fe_merge(arena, parts.p, parts.n, ret, err);
    vec_free(&parts);
    return st;
}

/* --- 5: storing --- */

/* Appends the steps from .. to as an item; false when they are not to be stored. */
static bool item_of(struct range *x, int64_t from, int64_t to, struct buf *out)
{
    struct arena arena;
    struct value *v = NULL;
    struct err err = ERR_INIT;
    bool good;

    arena_init(&arena, ITEM_MAX * 2);
    good = gather(x, from, to, &arena, &v, &err) == ST_OK && v->complete && !v->warnings_n &&
           fe_infos_sign(v, &arena, x->run->q->text) && fe_encode(out, v, INT64_MIN, INT64_MAX);
    arena_fini(&arena);
    return good;
}

static bool incomplete(const struct range *x)
{
    bool any = false;

    for (size_t i = 0; i < x->pieces.n; i++)
        any |= !x->pieces.p[i].value->complete;
    return any;
}

static bool warned(const struct range *x)
{
    bool any = false;

    for (size_t i = 0; i < x->pieces.n; i++)
        any |= x->pieces.p[i].value->warnings_n > 0;
    return any;
}

static void store_buckets(struct range *x)
{
    struct fe *f = x->run->fe;
    const struct limits *l = x->run->ctx->who->limits;

    for (size_t i = 0; i < x->open; i++) {
        struct bucket *b = &x->b[i];
        struct fe_mark after;
        struct buf item;

        if (b->value)
            continue;
        after = mark_steps(x, b->first, b->last);
        if (!same_digest(&after, &b->mark)) {
            metric_inc(f->m_refused);
            continue;
        }
        buf_init(&item, ITEM_MAX);
        if (item_of(x, b->first, b->last, &item)) {
            f->opts.cache->ops->set(f->opts.cache, buf_view(&b->key), buf_view(&item),
                                    l ? l->results_cache_ttl : 0);
            metric_inc(f->m_stored);
        }
        buf_fini(&item);
    }
}

static void store_prefix(struct range *x)
{
    struct bucket *b = &x->b[x->open];
    int64_t from = x->prefix ? x->prefix_from : b->from, to = x->settled_to;
    struct fe_mark after;
    struct buf item;

    if (to < from || (x->prefix && to <= x->prefix_to))
        return;
    after = mark_steps(x, b->first, b->last);
    if (!same_digest(&after, &b->mark))
        return;
    buf_init(&item, ITEM_MAX);
    buf_varint(&item, from);
    buf_varint(&item, to);
    if (item_of(x, from, to, &item))
        x->run->fe->fresh->ops->set(x->run->fe->fresh, buf_view(&x->prefix_key), buf_view(&item), 0);
    buf_fini(&item);
}

static void store_tail(struct range *x)
{
    const struct fe *f = x->run->fe;
    int64_t age_ms = (clk_mono_ns(f->opts.clk) - x->began_ns) / 1000000;
    int64_t ttl_ms = min_of(x->g.step_ms / 2, FE_FRESH_MS) - age_ms;
    struct buf item;

    x->tail_from = max_of(x->tail_from, x->settled_to + 1);
    if (ttl_ms < 1 || x->tail_from > x->to)
        return;
    buf_clear(&x->tail_key);
    fe_key(&x->tail_key, x->run, &x->g, 'T', x->tail_from, x->to, NULL);
    buf_init(&item, ITEM_MAX);
    buf_varint(&item, x->began_ns);
    if (item_of(x, x->tail_from, x->to, &item))
        x->run->fe->fresh->ops->set(x->run->fe->fresh, buf_view(&x->tail_key), buf_view(&item), ttl_ms);
    buf_fini(&item);
}

static void store(struct range *x)
{
    if (incomplete(x) || warned(x)) {
        metric_inc(x->run->fe->m_refused);
        return;
    }
    store_buckets(x);
    if (x->open == x->n || x->tail || x->tail_from > x->to)
        return;
    store_prefix(x);
    store_tail(x);
}

/* --- the way through --- */

static enum status past_the_cache(struct range *x, struct value **ret, struct err *err)
{
    struct fe_stats *s = x->run->stats;

    fe_pieces_free(&x->pieces);
    s->bypass += s->hit + s->miss;
    s->hit = s->miss = 0;
    if (!s->bypass)
        s->bypass = (uint32_t)(fe_grid_bucket(&x->g, x->to) - fe_grid_bucket(&x->g, x->from) + 1);
    x->n = x->open = 0;
    x->prefix = x->tail = NULL;
    fe_pieces_add(&x->pieces, &x->g, x->from, x->to);
    TRY(fe_evaluate(x->run, &x->g, &x->pieces, err));
    return gather(x, x->from, x->to, x->run->ctx->arena, ret, err);
}

static enum status through_the_cache(struct range *x, struct value **ret, struct err *err)
{
    enum status st;

    x->began_ns = clk_mono_ns(x->run->fe->opts.clk);
    plan_buckets(x);
    look_up_buckets(x);
    look_up_open(x);
    plan_pieces(x);
    st = fe_evaluate(x->run, &x->g, &x->pieces, err);
    /* Steps that nobody asked for must not spoil the answer to those asked for. */
    if (x->widened && (st == ST_EXEC || st == ST_LIMIT || (st == ST_OK && warned(x))))
        return past_the_cache(x, ret, err);
    if (st == ST_OK)
        st = gather(x, x->from, x->to, x->run->ctx->arena, ret, err);
    if (st == ST_OK)
        store(x);
    return st;
}

enum status fe_range(struct fe_run *r, struct value **ret, struct err *err)
{
    const struct fe_query *q = r->q;
    struct range x = {.run = r, .g = fe_grid_of(q->start_ms, q->step_ms)};
    struct bucket *buckets;
    size_t buckets_n;
    bool cache;
    enum status st;

    x.from = fe_grid_index(&x.g, q->start_ms);
    x.to = fe_grid_index(&x.g, q->end_ms);
    cache = r->fe->opts.cache && !q->no_cache && !r->ctx->who->enforced_n &&
            fe_grid_bucket(&x.g, x.to) - fe_grid_bucket(&x.g, x.from) < BUCKETS_MAX;
    arena_init(&x.items, r->ctx->arena->max_bytes);
    buf_init(&x.prefix_key, KEY_MAX);
    buf_init(&x.tail_key, KEY_MAX);
    st = cache ? through_the_cache(&x, ret, err) : past_the_cache(&x, ret, err);
    buckets = x.b;
    buckets_n = buckets ? (size_t)(fe_grid_bucket(&x.g, x.to) - fe_grid_bucket(&x.g, x.from) + 1) : 0;
    for (size_t i = 0; i < buckets_n; i++) {
        buf_fini(&buckets[i].key);
        buf_fini(&buckets[i].item);
    }
    heap_free(buckets);
    buf_fini(&x.prefix_key);
    buf_fini(&x.tail_key);
    fe_pieces_free(&x.pieces);
    arena_fini(&x.items);
    return st;
}
