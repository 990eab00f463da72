/* The index of a head: canonical labels -> series, name="value" -> series, alias -> series.
 *
 * A pair (one name="value") exists once; a series holds the ids of its pairs, a pair the ids of its
 * series. So a pair is symbol table, postings list and reference count in one. Ids of series ascend
 * for ever and new ones are appended, so every list is sorted without work.
 *
 * Eviction takes whole series, when a cut left nothing of them; what it unlinks stays readable for
 * selects that are open (head_bury).
 */
#include "head_int.h"

#include <assert.h>
#include <stdlib.h>

#define SLOTS_MIN   16u
#define ALIASES_MIN 64u

static void counted(struct head *h, int64_t bytes)
{
    atomic_fetch_add_explicit(&h->index_bytes, (uint64_t)bytes, memory_order_relaxed);
}

void head_index_charge(struct head *h)
{
    uint64_t now = atomic_load_explicit(&h->index_bytes, memory_order_relaxed);

    budget_force(h->opts.budget, BUDGET_HEAD, (int64_t)(now - h->index_charged));
    h->index_charged = now;
}

/* --- tables --- */
static struct head_seg *seg_at(const struct head_table *t, uint32_t id)
{
    struct head_dir *d = atomic_load_explicit(&t->dir, memory_order_acquire);

    if (!d || id / HEAD_SEG >= d->cap)
        return NULL;
    return atomic_load_explicit(&d->seg[id / HEAD_SEG], memory_order_acquire);
}

void *head_table_at(const struct head_table *t, uint32_t id)
{
    struct head_seg *seg = seg_at(t, id);

    return seg ? atomic_load_explicit(&seg->p[id % HEAD_SEG], memory_order_acquire) : NULL;
}

static void bury_heap(struct head *h, void *what)
{
    (void)h;
    heap_free(what);
}

static void grow_dir(struct head *h, struct head_table *t, uint32_t want)
{
    struct head_dir *old = atomic_load_explicit(&t->dir, memory_order_relaxed), *d;
    uint32_t cap = old ? old->cap : 4;

    while (cap <= want)
        cap *= 2;
    d = heap_zalloc(sizeof(*d) + cap * sizeof(d->seg[0]));
    d->cap = cap;
    for (uint32_t i = 0; old && i < old->cap; i++)
        atomic_store_explicit(&d->seg[i], atomic_load_explicit(&old->seg[i], memory_order_relaxed),
                              memory_order_relaxed);
    atomic_store_explicit(&t->dir, d, memory_order_release);
    counted(h, (int64_t)((cap - (old ? old->cap : 0)) * sizeof(d->seg[0])));
    if (old)
        head_bury(h, bury_heap, old);
}

static void table_set(struct head *h, struct head_table *t, uint32_t id, void *p)
{
    struct head_dir *d = atomic_load_explicit(&t->dir, memory_order_relaxed);
    struct head_seg *seg;

    if (!d || id / HEAD_SEG >= d->cap)
        grow_dir(h, t, id / HEAD_SEG);
    d = atomic_load_explicit(&t->dir, memory_order_relaxed);
    seg = atomic_load_explicit(&d->seg[id / HEAD_SEG], memory_order_relaxed);
    if (!seg) {
        seg = heap_new(struct head_seg);
        atomic_store_explicit(&d->seg[id / HEAD_SEG], seg, memory_order_release);
        counted(h, sizeof(*seg));
    }
    seg->live++;
    atomic_store_explicit(&seg->p[id % HEAD_SEG], p, memory_order_release);
}

/* The slot becomes empty. Segments stay for their next ids, but a full one that is empty goes. */
static void table_clear(struct head *h, struct head_table *t, uint32_t id)
{
    struct head_dir *d = atomic_load_explicit(&t->dir, memory_order_relaxed);
    struct head_seg *seg = seg_at(t, id);

    atomic_store_explicit(&seg->p[id % HEAD_SEG], NULL, memory_order_release);
    if (--seg->live == 0 && t == &h->series && id / HEAD_SEG != t->n / HEAD_SEG) {
        atomic_store_explicit(&d->seg[id / HEAD_SEG], NULL, memory_order_release);
        counted(h, -(int64_t)sizeof(*seg));
        heap_free(seg);
    }
}

static uint64_t table_bytes(const struct head_table *t)
{
    struct head_dir *d = atomic_load_explicit(&t->dir, memory_order_relaxed);
    uint64_t n = d ? d->cap * sizeof(d->seg[0]) : 0;

    for (uint32_t i = 0; d && i < d->cap; i++)
        if (atomic_load_explicit(&d->seg[i], memory_order_relaxed))
            n += sizeof(struct head_seg);
    return n;
}

static void table_fini(struct head_table *t)
{
    struct head_dir *d = atomic_load_explicit(&t->dir, memory_order_relaxed);

    for (uint32_t i = 0; d && i < d->cap; i++)
        heap_free(atomic_load_explicit(&d->seg[i], memory_order_relaxed));
    heap_free(d);
}

struct head_series *head_series_at(const struct head *h, uint32_t id)
{
    return head_table_at(&h->series, id);
}

struct head_pair *head_pair_at(const struct head *h, uint32_t id)
{
    return head_table_at(&h->pairs, id);
}

/* --- hash slots --- */
static void slot_place(struct head_slots *t, uint32_t hash, uint32_t id)
{
    uint32_t i = hash & (t->cap - 1);

    while (t->p[i].id != HEAD_NONE)
        i = (i + 1) & (t->cap - 1);
    t->p[i].hash = hash;
    t->p[i].id = id;
    t->n++;
}

static void slots_resize(struct head *h, struct head_slots *t, uint32_t cap)
{
    struct head_slots old = *t;

    t->p = heap_alloc(cap * sizeof(*t->p));
    memset(t->p, 0xff, cap * sizeof(*t->p));
    t->cap = cap;
    t->n = 0;
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.p[i].id != HEAD_NONE)
            slot_place(t, old.p[i].hash, old.p[i].id);
    counted(h, ((int64_t)cap - old.cap) * (int64_t)sizeof(*t->p));
    heap_free(old.p);
}

static void slot_add(struct head *h, struct head_slots *t, uint32_t hash, uint32_t id)
{
    if ((uint64_t)(t->n + 1) * 4 > (uint64_t)t->cap * 3)
        slots_resize(h, t, t->cap ? t->cap * 2 : SLOTS_MIN);
    slot_place(t, hash, id);
}

/* Takes an id out; the run behind it moves up, so that no marks are needed. */
static void slot_del(struct head_slots *t, uint32_t hash, uint32_t id)
{
    uint32_t mask = t->cap - 1, i = hash & mask, j;

    while (t->p[i].id != id) {
        assert(t->p[i].id != HEAD_NONE);
        i = (i + 1) & mask;
    }
    for (j = (i + 1) & mask; t->p[j].id != HEAD_NONE; j = (j + 1) & mask) {
        uint32_t home = t->p[j].hash & mask;

        if (((j - home) & mask) >= ((j - i) & mask)) {
            t->p[i] = t->p[j];
            i = j;
        }
    }
    t->p[i].id = HEAD_NONE;
    t->n--;
}

/* --- pairs --- */
static uint32_t pair_hash(const struct head *h, const struct head_name *name, struct sv value)
{
    uint64_t x = hash64(value.p, value.n, h->hash_key + name->id * UINT64_C(0x9e3779b97f4a7c15));

    return (uint32_t)(x ^ (x >> 32));
}

static uint32_t *pair_ids(struct head_pair *p)
{
    return p->cap ? p->ids : p->few;
}

struct head_pair *head_pair_find(const struct head *h, const struct head_name *name,
                                 struct sv value)
{
    const struct head_slots *t = &h->pair_slots;
    uint32_t hash = pair_hash(h, name, value);

    if (!t->cap)
        return NULL;
    for (uint32_t i = hash & (t->cap - 1); t->p[i].id != HEAD_NONE; i = (i + 1) & (t->cap - 1)) {
        struct head_pair *p;

        if (t->p[i].hash != hash)
            continue;
        p = head_pair_at(h, t->p[i].id);
        if (p->name == name && sv_eq(sv_make(p->value, p->value_n), value))
            return p;
    }
    return NULL;
}

static size_t name_bytes(const struct head_name *n)
{
    return sizeof(*n) + 2 * n->name.n + sizeof(struct hmap_slot);
}

static struct head_name *name_add(struct head *h, struct sv name)
{
    struct head_name *n = hmap_get(&h->name_of, name);

    if (n)
        return n;
    n = heap_new(struct head_name);
    n->id = h->names_made++;
    n->name = sv_make(heap_strn(name.p, name.n), name.n);
    vec_push(&h->names, n);
    hmap_set(&h->name_of, name, n);
    counted(h, (int64_t)name_bytes(n));
    return n;
}

static struct head_pair *pair_add(struct head *h, struct label l)
{
    struct head_name *name = name_add(h, l.name);
    struct head_pair *p = head_pair_find(h, name, l.value);

    if (p)
        return p;
    p = heap_alloc(sizeof(*p) + l.value.n);
    *p = (struct head_pair){.name = name, .value_n = (uint32_t)l.value.n};
    p->id = h->free_pairs.n ? h->free_pairs.p[--h->free_pairs.n] : h->pairs.n++;
    memcpy(p->value, l.value.p, l.value.n);
    table_set(h, &h->pairs, p->id, p);
    slot_add(h, &h->pair_slots, pair_hash(h, name, l.value), p->id);
    vec_push(&name->pairs, p->id);
    counted(h, (int64_t)(sizeof(*p) + l.value.n + sizeof(uint32_t)));
    return p;
}

static void pair_push(struct head *h, struct head_pair *p, uint32_t id)
{
    uint32_t cap = p->cap ? p->cap : 2;

    assert(p->n == 0 || pair_ids(p)[p->n - 1] < id);
    if (p->n == cap) {
        uint32_t more = cap < 8 ? 8 : cap + cap / 2;
        uint32_t *ids = heap_alloc(more * sizeof(*ids));

        memcpy(ids, pair_ids(p), p->n * sizeof(*ids));
        if (p->cap)
            heap_free(p->ids);
        counted(h, (int64_t)(more - p->cap) * (int64_t)sizeof(*ids));
        p->ids = ids;
        p->cap = more;
    }
    pair_ids(p)[p->n++] = id;
}

/* --- series --- */
uint32_t head_index_hash(const struct head *h, struct labels ls)
{
    return (uint32_t)labels_hash(ls, h->hash_key).lo;
}

struct labels head_series_labels(const struct head *h, const struct head_series *s,
                                 struct label *out)
{
    for (unsigned i = 0; i < s->labels_n; i++) {
        const struct head_pair *p = head_pair_at(h, s->pairs[i]);

        out[i].name = p->name->name;
        out[i].value = sv_make(p->value, p->value_n);
    }
    return (struct labels){out, s->labels_n};
}

int head_series_cmp(const struct head *h, const struct head_series *a, const struct head_series *b)
{
    unsigned n = a->labels_n < b->labels_n ? a->labels_n : b->labels_n;

    for (unsigned i = 0; i < n; i++) {
        const struct head_pair *x, *y;
        int c;

        if (a->pairs[i] == b->pairs[i])
            continue;
        x = head_pair_at(h, a->pairs[i]);
        y = head_pair_at(h, b->pairs[i]);
        c = x->name == y->name ? 0 : sv_cmp(x->name->name, y->name->name);
        return c ? c : sv_cmp(sv_make(x->value, x->value_n), sv_make(y->value, y->value_n));
    }
    return (a->labels_n > b->labels_n) - (a->labels_n < b->labels_n);
}

static bool series_is(const struct head *h, const struct head_series *s, struct labels ls)
{
    if (s->labels_n != ls.n)
        return false;
    for (unsigned i = 0; i < s->labels_n; i++) {
        const struct head_pair *p = head_pair_at(h, s->pairs[i]);

        if (!sv_eq(sv_make(p->value, p->value_n), ls.p[i].value) ||
            !sv_eq(p->name->name, ls.p[i].name))
            return false;
    }
    return true;
}

struct head_series *head_index_find(const struct head *h, struct labels ls, uint32_t hash)
{
    const struct head_slots *t = &h->series_slots;

    if (!t->cap)
        return NULL;
    for (uint32_t i = hash & (t->cap - 1); t->p[i].id != HEAD_NONE; i = (i + 1) & (t->cap - 1))
        if (t->p[i].hash == hash) {
            struct head_series *s = head_series_at(h, t->p[i].id);

            if (series_is(h, s, ls))
                return s;
        }
    return NULL;
}

static void all_push(struct head *h, uint32_t id)
{
    if (h->all.n == h->all_cap) {
        size_t cap = h->all_cap ? h->all_cap + h->all_cap / 2 : 16;

        h->all.p = heap_realloc(h->all.p, cap * sizeof(*h->all.p));
        counted(h, (int64_t)((cap - h->all_cap) * sizeof(*h->all.p)));
        h->all_cap = cap;
    }
    h->all.p[h->all.n++] = id;
}

struct head_series *head_index_add(struct head *h, struct labels ls, uint32_t hash)
{
    struct head_series *s = head_slab_get(&h->slab, head_series_bytes(ls.n));

    assert(ls.n <= WAL_LABELS_MAX && h->series.n < HEAD_NONE - 1);
    memset(s, 0, head_series_bytes(ls.n));
    s->id = h->series.n++;
    s->hash = hash;
    s->shard_hash = labels_hash(ls, 0).lo;
    s->labels_n = (uint16_t)ls.n;
    for (size_t i = 0; i < ls.n; i++) {
        struct head_pair *p = pair_add(h, ls.p[i]);

        pair_push(h, p, s->id);
        s->pairs[i] = p->id;
    }
    table_set(h, &h->series, s->id, s);
    slot_add(h, &h->series_slots, hash, s->id);
    all_push(h, s->id);
    h->live++;
    return s;
}

/* --- aliases --- */
static uint32_t alias_slot(const struct head_aliases *a, struct hash128 key)
{
    uint32_t i = (uint32_t)key.lo & (a->cap - 1);

    while (a->id[i] != HEAD_NONE && (a->key[i].lo != key.lo || a->key[i].hi != key.hi))
        i = (i + 1) & (a->cap - 1);
    return i;
}

uint32_t head_alias_get(const struct head *h, struct hash128 alias)
{
    return h->aliases.cap ? h->aliases.id[alias_slot(&h->aliases, alias)] : HEAD_NONE;
}

/* Entries of evicted series die here. */
static void aliases_resize(struct head *h, uint32_t cap, bool keep)
{
    struct head_aliases *a = &h->aliases, old = *a;

    a->key = cap ? heap_alloc(cap * sizeof(*a->key)) : NULL;
    a->id = cap ? heap_alloc(cap * sizeof(*a->id)) : NULL;
    a->cap = cap;
    a->n = 0;
    if (cap)
        memset(a->id, 0xff, cap * sizeof(*a->id));
    for (uint32_t i = 0; keep && i < old.cap; i++)
        if (old.id[i] != HEAD_NONE && head_series_at(h, old.id[i])) {
            uint32_t at = alias_slot(a, old.key[i]);

            a->key[at] = old.key[i];
            a->id[at] = old.id[i];
            a->n++;
        }
    counted(h, ((int64_t)cap - old.cap) * (int64_t)(sizeof(*a->key) + sizeof(*a->id)));
    heap_free(old.key);
    heap_free(old.id);
}

/* Senders spell a series one way, perhaps two; who spells it in many only forgets its own. */
static uint32_t aliases_max(const struct head *h)
{
    return h->live < 512 ? 1024 : h->live > UINT32_MAX / 8 ? UINT32_MAX / 4 : h->live * 2;
}

void head_alias_put(struct head *h, struct hash128 alias, uint32_t id)
{
    struct head_aliases *a = &h->aliases;
    uint32_t at;

    if (a->n >= aliases_max(h))
        aliases_resize(h, a->cap, false);
    else if ((uint64_t)(a->n + 1) * 4 > (uint64_t)a->cap * 3)
        aliases_resize(h, a->cap ? a->cap * 2 : ALIASES_MIN, true);
    at = alias_slot(a, alias);
    if (a->id[at] == HEAD_NONE)
        a->n++;
    a->key[at] = alias;
    a->id[at] = id;
}

void head_alias_key(struct head *h, uint64_t key)
{
    if (h->alias_key == key)
        return;
    h->alias_key = key;
    aliases_resize(h, 0, false);
}

/* --- eviction --- */
static void bury_series(struct head *h, void *what)
{
    head_series_free(h, what);
}

static void bury_pair(struct head *h, void *what)
{
    struct head_pair *p = what;

    table_clear(h, &h->pairs, p->id);
    vec_push(&h->free_pairs, p->id);
    counted(h, -(int64_t)(sizeof(*p) + p->value_n + sizeof(uint32_t) + p->cap * sizeof(uint32_t)));
    if (p->cap)
        heap_free(p->ids);
    heap_free(p);
}

static void keep_live(const struct head *h, uint32_t *ids, uint32_t *n)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < *n; i++)
        if (head_series_at(h, ids[i]))
            ids[kept++] = ids[i];
    *n = kept;
}

static bool dead_pair(struct head *h, uint32_t id)
{
    struct head_pair *p = head_pair_at(h, id);

    keep_live(h, pair_ids(p), &p->n);
    if (p->n)
        return false;
    slot_del(&h->pair_slots, pair_hash(h, p->name, sv_make(p->value, p->value_n)), id);
    head_bury(h, bury_pair, p);
    return true;
}

static void bury_name(struct head *h, void *what)
{
    struct head_name *n = what;

    counted(h, -(int64_t)name_bytes(n));
    heap_free((void *)(uintptr_t)n->name.p);
    vec_free(&n->pairs);
    heap_free(n);
}

/* Every list is filtered once: one pass over the postings, whatever the number of dead series. */
static void purge_pairs(struct head *h)
{
    size_t names = 0;

    for (size_t i = 0; i < h->names.n; i++) {
        struct head_name *n = h->names.p[i];
        size_t kept = 0;

        for (size_t k = 0; k < n->pairs.n; k++)
            if (!dead_pair(h, n->pairs.p[k]))
                n->pairs.p[kept++] = n->pairs.p[k];
        n->pairs.n = kept;
        if (kept) {
            h->names.p[names++] = n;
        } else {
            hmap_del(&h->name_of, n->name);
            head_bury(h, bury_name, n);
        }
    }
    h->names.n = names;
}

size_t head_index_evict(struct head *h)
{
    size_t gone = 0;
    uint32_t left;

    for (size_t i = 0; i < h->all.n; i++) {
        struct head_series *s = head_series_at(h, h->all.p[i]);

        if (!head_series_empty(s))
            continue;
        assert(!s->in_batch);
        slot_del(&h->series_slots, s->hash, s->id);
        table_clear(h, &h->series, s->id);
        head_bury(h, bury_series, s);
        h->live--;
        gone++;
    }
    if (gone) {
        left = (uint32_t)h->all.n;
        keep_live(h, h->all.p, &left);
        h->all.n = left;
        purge_pairs(h);
        aliases_resize(h, h->live ? h->aliases.cap : 0, true);
    }
    head_bury_due(h);
    head_index_charge(h);
    return gone;
}

void head_index_trim(struct head *h)
{
    /* Ids of pairs may begin anew; those of series never do: an append on its way may hold one. */
    assert(!h->live && !h->names.n);
    aliases_resize(h, 0, false);
    table_fini(&h->pairs);
    h->pairs = (struct head_table){0};
    heap_free(h->series_slots.p);
    heap_free(h->pair_slots.p);
    heap_free(h->all.p);
    vec_free(&h->names);
    vec_free(&h->free_pairs);
    hmap_fini(&h->name_of);
    hmap_init(&h->name_of);
    h->series_slots = h->pair_slots = (struct head_slots){0};
    h->all = (struct postings){0};
    h->all_cap = 0;
    atomic_store_explicit(&h->index_bytes, table_bytes(&h->series), memory_order_relaxed);
    head_index_charge(h);
}

void head_index_fini(struct head *h)
{
    for (size_t i = 0; i < h->all.n; i++)
        head_series_free(h, head_series_at(h, h->all.p[i]));
    for (uint32_t i = 0; i < h->pairs.n; i++) {
        struct head_pair *p = head_pair_at(h, i);

        if (p && p->cap)
            heap_free(p->ids);
        heap_free(p);
    }
    for (size_t i = 0; i < h->names.n; i++)
        bury_name(h, h->names.p[i]);
    vec_free(&h->names);
    vec_free(&h->free_pairs);
    hmap_fini(&h->name_of);
    table_fini(&h->series);
    table_fini(&h->pairs);
    heap_free(h->series_slots.p);
    heap_free(h->pair_slots.p);
    heap_free(h->aliases.key);
    heap_free(h->aliases.id);
    heap_free(h->all.p);
    budget_release(h->opts.budget, BUDGET_HEAD, (int64_t)h->index_charged);
}

static enum status check_series(const struct head *h, const struct head_series *s, struct err *err)
{
    if (!s)
        return err_set(err, ST_CORRUPT, "head: a listed series is not in the table");
    for (unsigned i = 0; i < s->labels_n; i++) {
        const struct head_pair *p = head_pair_at(h, s->pairs[i]);
        uint32_t lo = 0, hi = p ? p->n : 0;

        while (lo < hi) {
            uint32_t mid = (lo + hi) / 2;

            if (head_pair_ids(p)[mid] < s->id)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (!p || lo == p->n || head_pair_ids(p)[lo] != s->id)
            return err_set(err, ST_CORRUPT, "head: series %u is not in the list of its label %u",
                           s->id, i);
        if (i && sv_cmp(head_pair_at(h, s->pairs[i - 1])->name->name, p->name->name) >= 0)
            return err_set(err, ST_CORRUPT, "head: labels of series %u not in order", s->id);
    }
    return ST_OK;
}

enum status head_index_check(const struct head *h, struct err *err)
{
    uint64_t listed = 0, held = 0;

    if (h->all.n != h->live || h->series_slots.n != h->live)
        return err_set(err, ST_CORRUPT, "head: %u series, %zu listed, %u in the table", h->live,
                       h->all.n, h->series_slots.n);
    for (size_t i = 0; i < h->all.n; i++) {
        const struct head_series *s = head_series_at(h, h->all.p[i]);
        struct label room[WAL_LABELS_MAX];

        TRY(check_series(h, s, err));
        if (head_index_find(h, head_series_labels(h, s, room), s->hash) != s)
            return err_set(err, ST_CORRUPT, "head: series %u is not found by its labels", s->id);
        held += s->labels_n;
    }
    for (size_t i = 0; i < h->names.n; i++)
        for (size_t k = 0; k < h->names.p[i]->pairs.n; k++) {
            const struct head_pair *p = head_pair_at(h, h->names.p[i]->pairs.p[k]);

            if (!p || !p->n || head_pair_find(h, p->name, sv_make(p->value, p->value_n)) != p)
                return err_set(err, ST_CORRUPT, "head: a value of " SV_FMT " is not found",
                               SV_ARG(h->names.p[i]->name));
            listed += p->n;
        }
    if (listed != held)
        return err_set(err, ST_CORRUPT, "head: series have %llu labels, lists hold %llu",
                       (unsigned long long)held, (unsigned long long)listed);
    return ST_OK;
}
