/* Strings, and pairs of strings, by number. What an index writer must keep of a million series, so
 * it is kept small: a string costs its bytes, 8 for its place and about 8 for its slot; a pair costs
 * 12 and about 8. Numbers are handed out in order of coming; nothing is ever removed. */
#include "block_int.h"

#include <assert.h>

#define SLOTS_MIN 1024

static size_t slot_of(uint64_t hash, size_t slots_n)
{
    return hash & (slots_n - 1);
}

void index_intern_init(struct index_intern *t)
{
    memset(t, 0, sizeof(*t));
    t->slots_n = SLOTS_MIN;
    t->slots = heap_array(t->slots_n, sizeof(*t->slots));
    vec_reserve(&t->bytes, 256);
    vec_push(&t->off, 0);
}

void index_intern_fini(struct index_intern *t)
{
    vec_free(&t->bytes);
    vec_free(&t->off);
    heap_free(t->slots);
    t->slots = NULL;
}

size_t index_intern_n(const struct index_intern *t)
{
    return t->off.n - 1;
}

struct sv index_intern_get(const struct index_intern *t, uint32_t i)
{
    assert(i < index_intern_n(t));
    return sv_make(t->bytes.p + t->off.p[i], t->off.p[i + 1] - t->off.p[i]);
}

static void intern_grow(struct index_intern *t)
{
    heap_free(t->slots);
    t->slots_n *= 2;
    t->slots = heap_array(t->slots_n, sizeof(*t->slots));
    for (uint32_t i = 0; i < index_intern_n(t); i++) {
        struct sv s = index_intern_get(t, i);
        size_t at = slot_of(hash64(s.p, s.n, 0), t->slots_n);

        while (t->slots[at])
            at = slot_of(at + 1, t->slots_n);
        t->slots[at] = i + 1;
    }
}

uint32_t index_intern_put(struct index_intern *t, struct sv s)
{
    size_t at = slot_of(hash64(s.p, s.n, 0), t->slots_n), n = index_intern_n(t);

    for (; t->slots[at]; at = slot_of(at + 1, t->slots_n))
        if (sv_eq(index_intern_get(t, t->slots[at] - 1), s))
            return t->slots[at] - 1;
    assert(n < UINT32_MAX - 1);
    t->slots[at] = (uint32_t)n + 1;
    vec_reserve(&t->bytes, t->bytes.n + s.n);
    if (s.n)
        memcpy(t->bytes.p + t->bytes.n, s.p, s.n);
    t->bytes.n += s.n;
    vec_push(&t->off, t->bytes.n);
    if (n + 1 > t->slots_n / 4 * 3)
        intern_grow(t);
    return (uint32_t)n;
}

void index_pairs_init(struct index_pairs *t)
{
    memset(t, 0, sizeof(*t));
    t->slots_n = SLOTS_MIN;
    t->slots = heap_array(t->slots_n, sizeof(*t->slots));
}

void index_pairs_fini(struct index_pairs *t)
{
    vec_free(&t->key);
    vec_free(&t->count);
    heap_free(t->slots);
    t->slots = NULL;
}

static uint64_t pair_hash(uint64_t key)
{
    key *= UINT64_C(0x9e3779b97f4a7c15);
    key ^= key >> 29;
    key *= UINT64_C(0xbf58476d1ce4e5b9);
    return key ^ key >> 32;
}

static void pairs_grow(struct index_pairs *t)
{
    heap_free(t->slots);
    t->slots_n *= 2;
    t->slots = heap_array(t->slots_n, sizeof(*t->slots));
    for (size_t i = 0; i < t->key.n; i++) {
        size_t at = slot_of(pair_hash(t->key.p[i]), t->slots_n);

        while (t->slots[at])
            at = slot_of(at + 1, t->slots_n);
        t->slots[at] = (uint32_t)i + 1;
    }
}

uint32_t index_pairs_put(struct index_pairs *t, uint32_t name, uint32_t value)
{
    uint64_t key = (uint64_t)name << 32 | value;
    size_t at = slot_of(pair_hash(key), t->slots_n);

    for (; t->slots[at]; at = slot_of(at + 1, t->slots_n))
        if (t->key.p[t->slots[at] - 1] == key) {
            t->count.p[t->slots[at] - 1]++;
            return t->slots[at] - 1;
        }
    assert(t->key.n < UINT32_MAX - 1);
    t->slots[at] = (uint32_t)t->key.n + 1;
    vec_push(&t->key, key);
    vec_push(&t->count, 1);
    if (t->key.n > t->slots_n / 4 * 3)
        pairs_grow(t);
    return (uint32_t)t->key.n - 1;
}
