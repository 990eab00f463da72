/* One flight per key: who asks what is being evaluated already waits for it and gets a copy.
 *
 * A flight whose leader was cancelled (its client left) tells the others to ask again: one of them
 * becomes the leader. */
#include "base/heap.h"
#include "base/hmap.h"
#include "fe_int.h"

#include <assert.h>

#define LOOK_NS INT64_C(50000000) /* how often a follower looks whether it should stop waiting */
#define SHARE_MAX ((size_t)256 << 20)

struct fe_flight {
    unsigned refs, followers;
    bool landed, shared;
    int64_t began_ns;
    struct buf bytes;
    enum status st;
    struct err err;
    struct fe_stats stats;
    size_t key_n;
    char key[];
};

struct fe_flights {
    struct lock lock; /* guards the map and every flight's fields until it has landed */
    struct cond landed;
    struct hmap map;
};

struct fe_flights *fe_flights_new(void)
{
    struct fe_flights *f = heap_new(struct fe_flights);

    lock_init(&f->lock, LOCK_frontend);
    cond_init(&f->landed);
    hmap_init(&f->map);
    return f;
}

void fe_flights_free(struct fe_flights *own_f)
{
    if (!own_f)
        return;
    assert(own_f->map.n == 0);
    hmap_fini(&own_f->map);
    cond_fini(&own_f->landed);
    lock_fini(&own_f->lock);
    heap_free(own_f);
}

/* With the lock. */
static void unref(struct fe_flight *own_flight)
{
    if (--own_flight->refs)
        return;
    buf_fini(&own_flight->bytes);
    heap_free(own_flight);
}

struct fe_flight *fe_flight_join(struct fe_flights *f, struct sv key, int64_t now_ns,
                                 int64_t max_age_ns, bool *ret_leader)
{
    struct fe_flight *flight;

    LOCK_SCOPE(&f->lock);
    flight = hmap_get(&f->map, key);
    if (flight && now_ns - flight->began_ns > max_age_ns)
        flight = NULL; /* its followers keep it; the map gets the new one */
    *ret_leader = !flight;
    if (!flight) {
        flight = heap_zalloc(sizeof(*flight) + key.n);
        buf_init(&flight->bytes, SHARE_MAX);
        flight->began_ns = now_ns;
        flight->key_n = key.n;
        memcpy(flight->key, key.p, key.n);
        hmap_set(&f->map, key, flight);
    } else {
        flight->followers++;
    }
    flight->refs++;
    return flight;
}

void fe_flight_older(struct fe_flights *f, struct fe_flight *flight, int64_t began_ns)
{
    LOCK_SCOPE(&f->lock);
    if (began_ns < flight->began_ns)
        flight->began_ns = began_ns;
}

void fe_flight_land(struct fe_flights *f, struct fe_flight *own_flight, const struct value *value,
                    enum status st, const struct err *err, const struct fe_stats *stats)
{
    struct fe_flight *flight = own_flight;
    bool wanted, shared = false;

    {
        LOCK_SCOPE(&f->lock);
        /* From here on nobody joins: what they ask is newer than this answer. */
        if (hmap_get(&f->map, sv_make(flight->key, flight->key_n)) == flight)
            hmap_del(&f->map, sv_make(flight->key, flight->key_n));
        wanted = flight->followers > 0;
    }
    if (st == ST_OK && wanted)
        shared = fe_encode(&flight->bytes, value, INT64_MIN, INT64_MAX) && buf_ok(&flight->bytes);
    else if (st != ST_OK)
        shared = st != ST_CANCELED;
    LOCK_SCOPE(&f->lock);
    flight->landed = true;
    flight->shared = shared;
    flight->st = st;
    if (st != ST_OK)
        flight->err = *err;
    flight->stats = *stats;
    cond_broadcast(&f->landed);
    unref(flight);
}

enum status fe_flight_wait(struct fe_flights *f, struct fe_flight *own_flight,
                           const struct query_ctx *ctx, struct value **ret, bool *ret_alone,
                           struct fe_stats *ret_stats, struct err *err)
{
    struct fe_flight *flight = own_flight;
    enum status st = ST_OK;

    *ret = NULL;
    *ret_alone = false;
    lock_take(&f->lock);
    while (!flight->landed && st == ST_OK) {
        cond_wait_ns(&f->landed, &f->lock, LOOK_NS);
        st = query_alive(ctx, err);
    }
    if (st != ST_OK || !flight->shared) {
        *ret_alone = flight->landed && flight->st == ST_OK;
        flight->followers--;
        unref(flight);
        lock_drop(&f->lock);
        return st;
    }
    lock_drop(&f->lock);
    /* Landed: nothing changes any more, and the reference keeps it. */
    if (flight->st == ST_OK) {
        st = fe_decode(buf_view(&flight->bytes), ctx->arena, ret, err);
        *ret_stats = flight->stats;
    } else {
        st = err_set(err, flight->st, "%s", flight->err.msg);
    }
    LOCK_SCOPE(&f->lock);
    unref(flight);
    return st;
}
