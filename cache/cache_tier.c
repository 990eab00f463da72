/* Two caches as one: near is asked first, far only for what near misses; what far has, near keeps. */
#include "base/heap.h"
#include "cache/cache.h"

struct tier {
    struct cache base;
    struct cache *near, *far;
};

static void tier_get(struct cache *c, struct cache_get *gets, size_t n)
{
    struct tier *t = (struct tier *)c;
    struct cache_get *missed;
    size_t *at, k = 0;

    t->near->ops->get(t->near, gets, n);
    if (!t->far)
        return;
    missed = heap_array(n ? n : 1, sizeof(*missed));
    at = heap_array(n ? n : 1, sizeof(*at));
    for (size_t i = 0; i < n; i++)
        if (!gets[i].hit) {
            at[k] = i;
            missed[k++] = gets[i];
        }
    if (k)
        t->far->ops->get(t->far, missed, k);
    for (size_t i = 0; i < k; i++) {
        gets[at[i]].hit = missed[i].hit;
        if (missed[i].hit)
            t->near->ops->set(t->near, missed[i].key, buf_view(missed[i].value), 0);
    }
    heap_free(missed);
    heap_free(at);
}

static void tier_set(struct cache *c, struct sv key, struct sv value, int64_t ttl_ms)
{
    struct tier *t = (struct tier *)c;

    t->near->ops->set(t->near, key, value, ttl_ms);
    if (t->far)
        t->far->ops->set(t->far, key, value, ttl_ms);
}

static void tier_del(struct cache *c, struct sv key)
{
    struct tier *t = (struct tier *)c;

    t->near->ops->del(t->near, key);
    if (t->far)
        t->far->ops->del(t->far, key);
}

static void tier_close(struct cache *own_c)
{
    struct tier *t = (struct tier *)own_c;

    t->near->ops->close(t->near);
    if (t->far)
        t->far->ops->close(t->far);
    heap_free(t);
}

struct cache *cache_tier_new(struct cache *own_near, struct cache *own_far)
{
    static const struct cache_ops ops = {tier_get, tier_set, tier_del, tier_close};
    struct tier *t = heap_new(struct tier);

    t->base.ops = &ops;
    t->near = own_near;
    t->far = own_far;
    return &t->base;
}
