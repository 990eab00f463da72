/* include/cache/cache.h
 *
 * Byte caches behind one table: memory (bounded by bytes), memcached, and both as tiers. Keys are
 * bytes; the full key is stored beside the value and compared, so a hash collision is a miss.
 *
 * Threads: any. Memory: get() appends to the caller's buf. An error of any kind is a miss.
 */
#ifndef ENGRAM_CACHE_CACHE_H
#define ENGRAM_CACHE_CACHE_H

#include "base/budget.h"
#include "base/buf.h"
#include "base/clk.h"
#include "base/metric.h"

struct cache;

struct cache_get {
    struct sv key;
    struct buf *value; /* cleared and filled on a hit */
    bool hit;
};

struct cache_ops {
    void (*get)(struct cache *c, struct cache_get *gets, size_t n); /* one round trip */
    /* ttl_ms 0: for as long as it stays. May drop silently. */
    void (*set)(struct cache *c, struct sv key, struct sv value, int64_t ttl_ms);
    void (*del)(struct cache *c, struct sv key);
    void (*close)(struct cache *own_c); /* writes what is queued, within a second */
};
struct cache {
    const struct cache_ops *ops;
};

/* name goes into the metrics' label. */
struct cache *cache_lru_new(uint64_t max_bytes, struct budget *budget, const struct clk *clk,
                            struct metrics *m, const char *name);
struct cache_memcached_opts {
    const char *const *servers; /* "host:port" */
    size_t servers_n;
    int64_t timeout_ms;         /* of one call; 0: 50 */
    size_t queue_max_bytes;     /* of writes that wait; 0: 8 MiB */
    size_t value_max_bytes;     /* 0: 512 KiB */
    const struct clk *clk;
    struct metrics *metrics;
};
enum status cache_memcached_new(const struct cache_memcached_opts *opts, struct cache **ret,
                                struct err *err);
/* near first, then far; a far hit is put into near. Takes both; far may be NULL. */
struct cache *cache_tier_new(struct cache *own_near, struct cache *own_far);

#endif
