/* Change marks of bucket data: a list of events (range, number) by tenant. The digest of a range is
 * a hash over the events that overlap it, so it changes when and only when one more did. A list that
 * grows too long is folded into one event over all of it, under a new number: every digest it
 * touches changes once more, which costs a few cached answers and can't bring back an old one. */
#include "base/heap.h"
#include "base/vec.h"
#include "sgw_int.h"

#define EVENTS_MAX 512u

struct sgw_event {
    struct trange range;
    uint64_t no;
};
struct sgw_events {
    VEC(struct sgw_event) list;
};
struct sgw_changes {
    struct lock lock;
    struct hmap tenants; /* -> struct sgw_events */
    uint64_t last_no;
};

struct sgw_changes *sgw_changes_new(void)
{
    struct sgw_changes *c = heap_new(struct sgw_changes);

    lock_init(&c->lock, LOCK_catalogue);
    hmap_init(&c->tenants);
    return c;
}

void sgw_changes_free(struct sgw_changes *c)
{
    if (!c)
        return;
    for (struct hmap_slot *s = NULL; (s = hmap_next(&c->tenants, s));) {
        struct sgw_events *e = s->value;

        vec_free(&e->list);
        heap_free(e);
    }
    hmap_fini(&c->tenants);
    lock_fini(&c->lock);
    heap_free(c);
}

static void fold(struct sgw_events *e)
{
    struct trange hull = e->list.p[0].range;

    for (size_t i = 1; i < e->list.n; i++) {
        struct trange r = e->list.p[i].range;

        hull.from_ms = r.from_ms < hull.from_ms ? r.from_ms : hull.from_ms;
        hull.to_ms = r.to_ms > hull.to_ms ? r.to_ms : hull.to_ms;
    }
    e->list.p[0].range = hull;
    e->list.n = 1;
}

void sgw_changes_bump(struct sgw_changes *c, struct sv tenant, struct trange range)
{
    struct sgw_events *e;

    LOCK_SCOPE(&c->lock);
    e = hmap_get(&c->tenants, tenant);
    if (!e) {
        e = heap_new(struct sgw_events);
        hmap_set(&c->tenants, tenant, e);
    }
    if (e->list.n == EVENTS_MAX) {
        fold(e);
        e->list.p[0].no = ++c->last_no;
    }
    vec_push(&e->list, ((struct sgw_event){range, ++c->last_no}));
}

struct hash128 sgw_changes_digest(struct sgw_changes *c, struct sv tenant, struct trange range)
{
    struct hash128 digest = {0, 0};
    struct sgw_events *e;

    LOCK_SCOPE(&c->lock);
    e = hmap_get(&c->tenants, tenant);
    for (size_t i = 0; e && i < e->list.n; i++) {
        struct {
            struct hash128 before;
            uint64_t no;
        } link = {digest, e->list.p[i].no};

        if (trange_overlaps(e->list.p[i].range, range))
            digest = hash128(&link, sizeof(link), 0);
    }
    return digest;
}
