/* Linear probing over a power of two, at most 3/4 full, deleted slots included. */
#include "base/hmap.h"

#include "base/codec.h"
#include "base/heap.h"

#define CAP_MIN 16
#define EMPTY   0
#define DELETED 1

void hmap_init(struct hmap *m)
{
    memset(m, 0, sizeof(*m));
    m->seed = random_u64();
}

void hmap_fini(struct hmap *m)
{
    for (size_t i = 0; i < m->cap; i++)
        heap_free(m->slots[i].key);
    heap_free(m->slots);
    m->slots = NULL;
    m->cap = m->n = m->used = 0;
}

static uint64_t hash_of(const struct hmap *m, struct sv key)
{
    uint64_t h = hash64(key.p, key.n, m->seed);

    return h <= DELETED ? h + 2 : h;
}

static struct hmap_slot *find(const struct hmap *m, struct sv key, uint64_t hash)
{
    if (m->cap == 0)
        return NULL;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct hmap_slot *s = &m->slots[i];

        if (s->hash == EMPTY)
            return NULL;
        if (s->hash == hash && sv_eq(sv_make(s->key, s->key_n), key))
            return s;
    }
}

static void place(struct hmap *m, struct hmap_slot slot)
{
    size_t i = slot.hash & (m->cap - 1);

    while (m->slots[i].hash > DELETED)
        i = (i + 1) & (m->cap - 1);
    if (m->slots[i].hash == EMPTY)
        m->used++;
    m->slots[i] = slot;
    m->n++;
}

static void rehash(struct hmap *m)
{
    struct hmap_slot *old = m->slots;
    size_t old_cap = m->cap, cap = CAP_MIN;

    while (cap < m->n * 2 + 2)
        cap *= 2;
    m->slots = heap_array(cap, sizeof(*m->slots));
    m->cap = cap;
    m->n = m->used = 0;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].hash > DELETED)
            place(m, old[i]);
    heap_free(old);
}

void *hmap_get(const struct hmap *m, struct sv key)
{
    struct hmap_slot *s = find(m, key, hash_of(m, key));

    return s ? s->value : NULL;
}

void *hmap_set(struct hmap *m, struct sv key, void *value)
{
    uint64_t hash = hash_of(m, key);
    struct hmap_slot *s = find(m, key, hash);

    if (s) {
        void *old = s->value;
        s->value = value;
        return old;
    }
    if ((m->used + 1) * 4 > m->cap * 3)
        rehash(m);
    place(m, (struct hmap_slot){hash, heap_strn(key.p, key.n), key.n, value});
    return NULL;
}

void *hmap_del(struct hmap *m, struct sv key)
{
    struct hmap_slot *s = find(m, key, hash_of(m, key));
    void *old;

    if (!s)
        return NULL;
    old = s->value;
    heap_free(s->key);
    *s = (struct hmap_slot){DELETED, NULL, 0, NULL};
    m->n--;
    return old;
}

struct hmap_slot *hmap_next(const struct hmap *m, struct hmap_slot *after)
{
    for (size_t i = after ? (size_t)(after - m->slots) + 1 : 0; i < m->cap; i++)
        if (m->slots[i].hash > DELETED)
            return &m->slots[i];
    return NULL;
}
