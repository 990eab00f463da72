/* The memory cache: shards of a hash table whose entries also stand in a list by last use. Bounded by
 * bytes, keys and bookkeeping included, and charged to the memory budget: when the budget refuses
 * or is nearly used up the oldest entries go, so that caches shrink before anything else suffers.
 */
#include "base/codec.h"
#include "base/heap.h"
#include "base/lock.h"
#include "cache/cache.h"

#include <stdio.h>

#define SHARDS 16u
#define FIRST_BUCKETS 64u
#define TIGHT_PERCENT 85u   /* of the budget: from here on the cache gives back */
#define TIGHT_EVICTIONS 8u  /* entries a set gives back then */

struct entry {
    struct entry *chain;          /* same bucket */
    struct entry *newer, *older;  /* list by use */
    uint64_t hash;
    int64_t dies_ns;              /* monotonic; 0: never */
    uint32_t key_n, value_n;
    char bytes[];                 /* key, then value */
};

struct shard {
    struct lock lock; /* guards all below */
    struct entry **buckets;
    size_t buckets_n, n;
    struct entry *newest, *oldest;
    uint64_t bytes, max_bytes;
};

struct lru {
    struct cache base;
    struct shard shards[SHARDS];
    uint64_t seed;
    struct budget *budget;
    const struct clk *clk;
    struct metric *hits, *misses, *evictions, *bytes, *entries;
};

static size_t entry_bytes(const struct entry *e)
{
    return sizeof(*e) + e->key_n + e->value_n + 16; /* 16: the allocator's own */
}

static struct shard *shard_of(struct lru *l, uint64_t hash)
{
    return &l->shards[hash >> 60];
}

static struct entry **find(struct shard *s, uint64_t hash, struct sv key)
{
    struct entry **at = &s->buckets[hash & (s->buckets_n - 1)];

    while (*at && !((*at)->hash == hash && sv_eq(sv_make((*at)->bytes, (*at)->key_n), key)))
        at = &(*at)->chain;
    return at;
}

static void unlist(struct shard *s, struct entry *e)
{
    *(e->newer ? &e->newer->older : &s->newest) = e->older;
    *(e->older ? &e->older->newer : &s->oldest) = e->newer;
}

static void list_newest(struct shard *s, struct entry *e)
{
    e->newer = NULL;
    e->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = e;
    s->newest = e;
}

/* at: what find() gave. */
static void drop(struct lru *l, struct shard *s, struct entry **at)
{
    struct entry *e = *at;
    int64_t bytes = (int64_t)entry_bytes(e);

    *at = e->chain;
    unlist(s, e);
    s->n--;
    s->bytes -= (uint64_t)bytes;
    if (l->budget)
        budget_release(l->budget, BUDGET_CACHE, bytes);
    metric_add(l->bytes, (double)-bytes);
    metric_add(l->entries, -1);
    heap_free(e);
}

static bool evict_oldest(struct lru *l, struct shard *s)
{
    struct entry *e = s->oldest;

    if (!e)
        return false;
    drop(l, s, find(s, e->hash, sv_make(e->bytes, e->key_n)));
    metric_inc(l->evictions);
    return true;
}

static void grow(struct shard *s)
{
    size_t n = s->buckets_n * 2;
    struct entry **to = heap_array(n, sizeof(*to));

    for (size_t i = 0; i < s->buckets_n; i++)
        for (struct entry *e = s->buckets[i], *next; e; e = next) {
            next = e->chain;
            e->chain = to[e->hash & (n - 1)];
            to[e->hash & (n - 1)] = e;
        }
    heap_free(s->buckets);
    s->buckets = to;
    s->buckets_n = n;
}

static void lru_get_one(struct lru *l, struct cache_get *g)
{
    uint64_t hash = hash64(g->key.p, g->key.n, l->seed);
    struct shard *s = shard_of(l, hash);
    struct entry **at, *e;

    buf_clear(g->value);
    LOCK_SCOPE(&s->lock);
    at = find(s, hash, g->key);
    e = *at;
    if (e && e->dies_ns && clk_mono_ns(l->clk) >= e->dies_ns) {
        drop(l, s, at);
        e = NULL;
    }
    if (!e)
        return;
    buf_put(g->value, e->bytes + e->key_n, e->value_n);
    g->hit = buf_ok(g->value);
    unlist(s, e);
    list_newest(s, e);
}

static void lru_get(struct cache *c, struct cache_get *gets, size_t n)
{
    struct lru *l = (struct lru *)c;

    for (size_t i = 0; i < n; i++) {
        gets[i].hit = false;
        lru_get_one(l, &gets[i]);
        metric_inc(gets[i].hit ? l->hits : l->misses);
    }
}

/* Room for an entry in its shard and in the budget; false when it can't be had. */
static bool make_room(struct lru *l, struct shard *s, uint64_t bytes)
{
    if (bytes > s->max_bytes)
        return false;
    while (s->bytes + bytes > s->max_bytes)
        evict_oldest(l, s);
    if (!l->budget)
        return true;
    if (budget_above(l->budget, TIGHT_PERCENT))
        for (unsigned i = 0; i < TIGHT_EVICTIONS && evict_oldest(l, s); i++)
            ;
    while (!budget_charge(l->budget, BUDGET_CACHE, (int64_t)bytes))
        if (!evict_oldest(l, s))
            return false;
    return true;
}

static void lru_set(struct cache *c, struct sv key, struct sv value, int64_t ttl_ms)
{
    struct lru *l = (struct lru *)c;
    uint64_t hash = hash64(key.p, key.n, l->seed), bytes = sizeof(struct entry) + key.n + value.n + 16;
    struct shard *s = shard_of(l, hash);
    struct entry *e, **at;

    if (key.n > UINT32_MAX || value.n > UINT32_MAX)
        return;
    LOCK_SCOPE(&s->lock);
    at = find(s, hash, key);
    if (*at)
        drop(l, s, at);
    if (!make_room(l, s, bytes))
        return;
    if (s->n >= s->buckets_n)
        grow(s);
    e = heap_alloc(sizeof(*e) + key.n + value.n);
    *e = (struct entry){.hash = hash,
                        .dies_ns = ttl_ms ? clk_mono_ns(l->clk) + ttl_ms * 1000000 : 0,
                        .key_n = (uint32_t)key.n,
                        .value_n = (uint32_t)value.n};
    memcpy(e->bytes, key.p, key.n);
    if (value.n)
        memcpy(e->bytes + key.n, value.p, value.n);
    at = &s->buckets[hash & (s->buckets_n - 1)];
    e->chain = *at;
    *at = e;
    list_newest(s, e);
    s->n++;
    s->bytes += bytes;
    metric_add(l->bytes, (double)bytes);
    metric_add(l->entries, 1);
}

static void lru_del(struct cache *c, struct sv key)
{
    struct lru *l = (struct lru *)c;
    uint64_t hash = hash64(key.p, key.n, l->seed);
    struct shard *s = shard_of(l, hash);
    struct entry **at;

    LOCK_SCOPE(&s->lock);
    at = find(s, hash, key);
    if (*at)
        drop(l, s, at);
}

static void lru_close(struct cache *own_c)
{
    struct lru *l = (struct lru *)own_c;

    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &l->shards[i];

        while (s->oldest)
            drop(l, s, find(s, s->oldest->hash, sv_make(s->oldest->bytes, s->oldest->key_n)));
        heap_free(s->buckets);
        lock_fini(&s->lock);
    }
    heap_free(l);
}

struct cache *cache_lru_new(uint64_t max_bytes, struct budget *budget, const struct clk *clk,
                            struct metrics *m, const char *name)
{
    static const struct cache_ops ops = {lru_get, lru_set, lru_del, lru_close};
    struct lru *l = heap_new(struct lru);
    char label[64];

    l->base.ops = &ops;
    l->seed = random_u64();
    l->budget = budget;
    l->clk = clk;
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &l->shards[i];

        lock_init(&s->lock, LOCK_cache_shard);
        s->max_bytes = max_bytes / SHARDS;
        s->buckets_n = FIRST_BUCKETS;
        s->buckets = heap_array(s->buckets_n, sizeof(*s->buckets));
    }
    if (!m)
        return &l->base;
    snprintf(label, sizeof(label), "cache=\"%s\"", name);
    l->hits = metric_counter(m, "engram_cache_hits_total", label, "Look-ups that found an item.");
    l->misses = metric_counter(m, "engram_cache_misses_total", label, "Look-ups that did not.");
    l->evictions =
        metric_counter(m, "engram_cache_evictions_total", label, "Items that made room for others.");
    l->bytes = metric_gauge(m, "engram_cache_bytes", label, "Memory of the items.");
    l->entries = metric_gauge(m, "engram_cache_items", label, "Items held.");
    return &l->base;
}
