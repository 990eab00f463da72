/* include/base/hmap.h
 *
 * Open-addressing map from bytes to a pointer. Keys are copied in; values are the caller's.
 *
 * Threads: one at a time (lock outside). Memory: hmap_fini() frees keys, not values.
 */
#ifndef ENGRAM_BASE_HMAP_H
#define ENGRAM_BASE_HMAP_H

#include "base/sv.h"

struct hmap_slot {
    uint64_t hash; /* 0: empty, 1: deleted */
    char *key;
    size_t key_n;
    void *value;
};

struct hmap {
    struct hmap_slot *slots;
    size_t cap, n, used; /* cap is a power of two; used counts deleted slots too */
    uint64_t seed;
};

void hmap_init(struct hmap *m);
void hmap_fini(struct hmap *m);
void *hmap_get(const struct hmap *m, struct sv key);           /* NULL when absent */
void *hmap_set(struct hmap *m, struct sv key, void *value);    /* the old value or NULL */
void *hmap_del(struct hmap *m, struct sv key);                 /* the old value or NULL */
/* for (struct hmap_slot *s = NULL; (s = hmap_next(&m, s));) ...; no change of the map inside. */
struct hmap_slot *hmap_next(const struct hmap *m, struct hmap_slot *after);

#endif
