/* The data of one series: closed chunks, the open chunk, late samples; and the slabs they live in.
 *
 * A chunk never crosses the border of a window (a multiple of block_range), so cutting a window
 * gives away whole chunks. Closed chunks are immutable but for their cut number; a reader copies
 * their bytes under the stripe and decodes outside.
 *
 * Late samples (older than the newest) gather in a small sorted array. When it is full they become
 * chunks of their own, which then overlap others in time: readers sort. A timestamp is in the head
 * once only, head_append.c has looked before.
 */
#include "head_int.h"

#include <assert.h>

#define SLAB_BLOCK_MIN ((size_t)4096)
#define SLAB_BLOCK_MAX ((size_t)256 << 10)
#define OPEN_FIRST     64u /* bytes of a chunk's first buffer: about twenty quiet samples */
#define LATE_FIRST     4u

struct head_slab_block {
    struct head_slab_block *next;
    size_t bytes;
    char data[] __attribute__((aligned(16)));
};

void head_slab_init(struct head_slab *m, struct budget *budget)
{
    memset(m, 0, sizeof(*m));
    lock_init(&m->lock, LOCK_symbols);
    m->budget = budget;
}

static void slab_free(struct head_slab *m)
{
    while (m->blocks) {
        struct head_slab_block *b = m->blocks;

        m->blocks = b->next;
        heap_free(b);
    }
    budget_release(m->budget, BUDGET_HEAD, (int64_t)m->block_bytes);
    m->block_bytes = 0;
    m->at = m->end = NULL;
    memset(m->free, 0, sizeof(m->free));
}

void head_slab_fini(struct head_slab *m)
{
    slab_free(m);
    lock_fini(&m->lock);
}

void head_slab_trim(struct head_slab *m)
{
    LOCK_SCOPE(&m->lock);
    if (atomic_load_explicit(&m->used_bytes, memory_order_relaxed) == 0)
        slab_free(m);
}

static void slab_more(struct head_slab *m)
{
    size_t bytes = m->blocks ? m->blocks->bytes * 2 : SLAB_BLOCK_MIN;
    struct head_slab_block *b;

    if (bytes > SLAB_BLOCK_MAX)
        bytes = SLAB_BLOCK_MAX;
    /* The rest of the old block goes to the free lists: no step is lost. */
    for (; (size_t)(m->end - m->at) >= HEAD_SLAB_STEP; m->at += HEAD_SLAB_STEP) {
        *(void **)(void *)m->at = m->free[0];
        m->free[0] = m->at;
    }
    b = heap_alloc(sizeof(*b) + bytes);
    b->next = m->blocks;
    b->bytes = bytes;
    m->blocks = b;
    m->at = b->data;
    m->end = b->data + bytes;
    m->block_bytes += sizeof(*b) + bytes;
    budget_force(m->budget, BUDGET_HEAD, (int64_t)(sizeof(*b) + bytes));
}

static size_t slab_class(size_t bytes)
{
    return (bytes + HEAD_SLAB_STEP - 1) / HEAD_SLAB_STEP - 1;
}

void *head_slab_get(struct head_slab *m, size_t bytes)
{
    size_t c = slab_class(bytes), size = (c + 1) * HEAD_SLAB_STEP;
    void *p;

    assert(bytes > 0);
    atomic_fetch_add_explicit(&m->used_bytes, size, memory_order_relaxed);
    if (c >= HEAD_SLAB_CLASSES) {
        budget_force(m->budget, BUDGET_HEAD, (int64_t)size);
        return heap_alloc(size);
    }
    LOCK_SCOPE(&m->lock);
    p = m->free[c];
    if (p) {
        m->free[c] = *(void **)p;
        return p;
    }
    if ((size_t)(m->end - m->at) < size)
        slab_more(m);
    p = m->at;
    m->at += size;
    return p;
}

void head_slab_put(struct head_slab *m, void *p, size_t bytes)
{
    size_t c = slab_class(bytes), size = (c + 1) * HEAD_SLAB_STEP;

    if (!p)
        return;
    atomic_fetch_sub_explicit(&m->used_bytes, size, memory_order_relaxed);
    if (c >= HEAD_SLAB_CLASSES) {
        budget_release(m->budget, BUDGET_HEAD, (int64_t)size);
        heap_free(p);
        return;
    }
    LOCK_SCOPE(&m->lock);
    *(void **)p = m->free[c];
    m->free[c] = p;
}

static void *data_get(struct head *h, size_t bytes)
{
    atomic_fetch_add_explicit(&h->chunk_bytes, bytes, memory_order_relaxed);
    return head_slab_get(&h->slab, bytes);
}

static void data_put(struct head *h, void *p, size_t bytes)
{
    if (p)
        atomic_fetch_sub_explicit(&h->chunk_bytes, bytes, memory_order_relaxed);
    head_slab_put(&h->slab, p, bytes);
}

static size_t chunk_size(size_t n_bytes)
{
    return offsetof(struct head_chunk, data) + n_bytes;
}

static size_t late_size(uint32_t cap)
{
    return sizeof(struct head_late) + cap * sizeof(((struct head_late *)NULL)->s[0]);
}

static void push_chunk(struct head *h, struct head_series *s, const struct chunk_xor *x,
                       int64_t first_ms, bool late)
{
    struct head_chunk *c = data_get(h, chunk_size(x->n_bytes));

    assert(x->count > 0 && x->t_ms >= first_ms && x->t_ms - first_ms <= UINT32_MAX);
    *c = (struct head_chunk){.next = s->chunks,
                             .first_ms = first_ms,
                             .span_ms = (uint32_t)(x->t_ms - first_ms),
                             .n_bytes = x->n_bytes,
                             .count = x->count,
                             .late = late};
    memcpy(c->data, x->p, x->n_bytes);
    s->chunks = c;
    if (late && s->late_chunks < UINT16_MAX)
        s->late_chunks++;
}

static void close_open(struct head *h, struct head_series *s)
{
    push_chunk(h, s, &s->open, s->first_ms, false);
    data_put(h, s->open.p, s->open.cap);
    s->open.p = NULL;
    s->open.n_bytes = s->open.cap = s->open.count = 0;
}

static void grow_open(struct head *h, struct head_series *s)
{
    uint16_t cap = (uint16_t)(s->open.cap < 256 ? s->open.cap + 64 : s->open.cap * 3 / 2);
    uint8_t *p = data_get(h, cap);

    memcpy(p, s->open.p, s->open.n_bytes);
    data_put(h, s->open.p, s->open.cap);
    s->open.p = p;
    s->open.cap = cap;
}

static void append_open(struct head *h, struct head_series *s, int64_t t_ms, double f)
{
    if (s->open.p && (s->open.count >= CHUNK_SAMPLES ||
                      head_window_of(h, s->first_ms) != head_window_of(h, t_ms)))
        close_open(h, s);
    if (!s->open.p) {
        chunk_xor_begin(&s->open, data_get(h, OPEN_FIRST), OPEN_FIRST);
        s->first_ms = t_ms;
    } else if (s->open.cap - s->open.n_bytes < CHUNK_XOR_NEED) {
        grow_open(h, s);
    }
    chunk_xor_append(&s->open, t_ms, f);
    s->has_newest = true;
}

/* Late samples [from, to) of one window as a chunk. */
static void late_chunk(struct head *h, struct head_series *s, uint32_t from, uint32_t to)
{
    uint8_t bytes[CHUNK_XOR_MAX_BYTES + CHUNK_XOR_NEED];
    struct chunk_xor x;

    assert(to > from && to - from <= CHUNK_SAMPLES);
    chunk_xor_begin(&x, bytes, sizeof(bytes));
    for (uint32_t i = from; i < to; i++)
        chunk_xor_append(&x, s->late->s[i].t_ms, s->late->s[i].f);
    push_chunk(h, s, &x, s->late->s[from].t_ms, true);
}

/* The late samples of `window`, or of all windows, become chunks. */
static void spill_late(struct head *h, struct head_series *s, bool all, int64_t window)
{
    struct head_late *l = s->late;
    uint32_t kept = 0, from = 0;

    if (!l)
        return;
    while (from < l->n) {
        int64_t w = head_window_of(h, l->s[from].t_ms);
        uint32_t to = from;

        while (to < l->n && head_window_of(h, l->s[to].t_ms) == w)
            to++;
        if (all || w == window) {
            late_chunk(h, s, from, to);
        } else {
            memmove(&l->s[kept], &l->s[from], (to - from) * sizeof(l->s[0]));
            kept += to - from;
        }
        from = to;
    }
    l->n = kept;
    if (kept == 0) {
        data_put(h, l, late_size(l->cap));
        s->late = NULL;
    }
}

static uint32_t late_seek(const struct head_late *l, int64_t t_ms)
{
    uint32_t lo = 0, hi = l->n;

    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;

        if (l->s[mid].t_ms < t_ms)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void insert_late(struct head *h, struct head_series *s, int64_t t_ms, double f)
{
    struct head_late *l;
    uint32_t at;

    if (s->late && s->late->n >= HEAD_LATE_MAX)
        spill_late(h, s, true, 0);
    l = s->late;
    if (!l || l->n == l->cap) {
        uint32_t cap = l ? l->cap * 2 : LATE_FIRST;
        struct head_late *more = data_get(h, late_size(cap));

        more->n = l ? l->n : 0;
        more->cap = cap;
        if (l) {
            memcpy(more->s, l->s, l->n * sizeof(l->s[0]));
            data_put(h, l, late_size(l->cap));
        }
        s->late = l = more;
    }
    at = late_seek(l, t_ms);
    assert(at == l->n || l->s[at].t_ms != t_ms);
    memmove(&l->s[at + 1], &l->s[at], (l->n - at) * sizeof(l->s[0]));
    l->s[at].t_ms = t_ms;
    l->s[at].f = f;
    l->n++;
}

void head_series_put(struct head *h, struct head_series *s, int64_t t_ms, double f)
{
    if (!s->has_newest || t_ms > s->open.t_ms)
        append_open(h, s, t_ms, f);
    else
        insert_late(h, s, t_ms, f);
}

static bool find_in(struct sv bytes, int64_t t_ms, double *ret)
{
    struct samples one;
    bool found;

    samples_init(&one);
    found = chunk_xor_decode(bytes, (struct trange){t_ms, t_ms + 1}, &one, NULL) == ST_OK && one.n;
    if (found)
        *ret = one.f[0];
    samples_fini(&one);
    return found;
}

bool head_series_find(const struct head_series *s, int64_t t_ms, double *ret)
{
    if (s->has_newest && s->open.t_ms == t_ms) {
        *ret = s->open.v;
        return true;
    }
    if (s->late) {
        uint32_t at = late_seek(s->late, t_ms);

        if (at < s->late->n && s->late->s[at].t_ms == t_ms) {
            *ret = s->late->s[at].f;
            return true;
        }
    }
    if (s->open.p && t_ms >= s->first_ms && t_ms <= s->open.t_ms)
        if (find_in(sv_make(s->open.p, s->open.n_bytes), t_ms, ret))
            return true;
    for (const struct head_chunk *c = s->chunks; c; c = c->next)
        if (t_ms >= c->first_ms && t_ms <= head_chunk_last(c) &&
            find_in(sv_make(c->data, c->n_bytes), t_ms, ret))
            return true;
    return false;
}

bool head_series_empty(const struct head_series *s)
{
    return !s->chunks && !s->open.p && !s->late;
}

static bool chunk_in(const struct head_chunk *c, struct trange r)
{
    return c->first_ms < r.to_ms && head_chunk_last(c) >= r.from_ms;
}

bool head_series_overlaps(const struct head_series *s, struct trange r)
{
    if (s->open.p && s->first_ms < r.to_ms && s->open.t_ms >= r.from_ms)
        return true;
    for (const struct head_chunk *c = s->chunks; c; c = c->next)
        if (chunk_in(c, r))
            return true;
    if (s->late)
        for (uint32_t at = late_seek(s->late, r.from_ms); at < s->late->n;)
            return s->late->s[at].t_ms < r.to_ms;
    return false;
}

static size_t padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

static void copy_one(struct buf *out, struct head_copy head, const void *p)
{
    size_t n = padded(head.n_bytes);

    if (!buf_reserve(out, sizeof(head) + n)) {
        out->over = true;
        return;
    }
    memcpy(out->p + out->n, &head, sizeof(head));
    memcpy(out->p + out->n + sizeof(head), p, head.n_bytes);
    memset(out->p + out->n + sizeof(head) + head.n_bytes, 0, n - head.n_bytes);
    out->n += sizeof(head) + n;
}

/* The list is newest first; the copy is oldest first, which is mostly ascending in time. The depth
 * is a few; late chunks have a ceiling. */
static void copy_chunks(const struct head_series *s, struct trange r, bool cut_only, uint32_t cut,
                        struct buf *out)
{
    const struct head_chunk *few[32], *c;
    size_t n = 0, skip = 0;

    for (c = s->chunks; c; c = c->next)
        n += cut_only ? c->cut == cut : chunk_in(c, r);
    while (n > 0) {
        size_t at = 0, take = n < 32 ? n : 32;

        skip = n - take;
        for (c = s->chunks; c && at < n; c = c->next)
            if (cut_only ? c->cut == cut : chunk_in(c, r)) {
                if (at >= skip)
                    few[at - skip] = c;
                at++;
            }
        for (size_t i = take; i-- > 0;)
            copy_one(out,
                     (struct head_copy){few[i]->first_ms, head_chunk_last(few[i]), few[i]->n_bytes,
                                        few[i]->count},
                     few[i]->data);
        n = skip;
    }
}

void head_series_copy(const struct head_series *s, struct trange range, bool cut_only, uint32_t cut,
                      struct buf *out)
{
    copy_chunks(s, range, cut_only, cut, out);
    if (cut_only)
        return;
    if (s->open.p && s->first_ms < range.to_ms && s->open.t_ms >= range.from_ms)
        copy_one(out, (struct head_copy){s->first_ms, s->open.t_ms, s->open.n_bytes, s->open.count},
                 s->open.p);
    if (s->late)
        copy_one(out,
                 (struct head_copy){s->late->s[0].t_ms, s->late->s[s->late->n - 1].t_ms,
                                    (uint32_t)(s->late->n * sizeof(s->late->s[0])), 0},
                 s->late->s);
}

enum status head_copy_decode(struct sv copied, struct trange range, struct samples *out,
                             struct err *err)
{
    while (copied.n) {
        struct head_copy head;
        const char *p = copied.p + sizeof(head);

        assert(copied.n >= sizeof(head));
        memcpy(&head, copied.p, sizeof(head));
        if (head.count) {
            TRY(chunk_xor_decode(sv_make(p, head.n_bytes), range, out, err));
        } else {
            for (size_t i = 0; i < head.n_bytes; i += 16) {
                int64_t t_ms;
                double f;

                memcpy(&t_ms, p + i, 8);
                memcpy(&f, p + i + 8, 8);
                if (trange_has(range, t_ms))
                    samples_push(out, t_ms, f);
            }
        }
        copied = sv_sub(copied, sizeof(head) + padded(head.n_bytes), copied.n);
    }
    samples_sort(out);
    return ST_OK;
}

uint64_t head_series_seal(struct head *h, struct head_series *s, int64_t window_ms, uint32_t cut)
{
    uint64_t samples = 0;

    if (s->open.p && head_window_of(h, s->first_ms) == window_ms)
        close_open(h, s);
    spill_late(h, s, false, window_ms);
    for (struct head_chunk *c = s->chunks; c; c = c->next)
        if (!c->cut && head_window_of(h, c->first_ms) == window_ms) {
            c->cut = cut;
            samples += c->count;
        }
    return samples;
}

void head_series_forget(struct head *h, struct head_series *s, uint32_t done,
                        struct head_tallies *gone)
{
    struct head_chunk **at = &s->chunks;
    uint16_t late = 0;

    while (*at) {
        struct head_chunk *c = *at;

        if (c->cut && c->cut <= done) {
            *at = c->next;
            head_tally_add(gone, head_window_of(h, c->first_ms), c->first_ms, c->count);
            data_put(h, c, chunk_size(c->n_bytes));
        } else {
            if (c->late && late < UINT16_MAX)
                late++;
            at = &c->next;
        }
    }
    s->late_chunks = late;
}

void head_series_unmark(struct head_series *s, uint32_t cut)
{
    for (struct head_chunk *c = s->chunks; c; c = c->next)
        if (c->cut == cut)
            c->cut = 0;
}

void head_series_free(struct head *h, struct head_series *s)
{
    while (s->chunks) {
        struct head_chunk *c = s->chunks;

        s->chunks = c->next;
        data_put(h, c, chunk_size(c->n_bytes));
    }
    if (s->late)
        data_put(h, s->late, late_size(s->late->cap));
    if (s->open.p)
        data_put(h, s->open.p, s->open.cap);
    head_slab_put(&h->slab, s, head_series_bytes(s->labels_n));
}

void head_tally_add(struct head_tallies *t, int64_t window_ms, int64_t t_ms, uint64_t samples)
{
    /* Mostly the window of the sample before; a bisection finds the others. */
    size_t lo = 0, hi = t->n;

    if (hi && t->p[hi - 1].from_ms <= window_ms)
        lo = t->p[hi - 1].from_ms == window_ms ? hi - 1 : hi;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (t->p[mid].from_ms < window_ms)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == t->n || t->p[lo].from_ms != window_ms) {
        vec_add(t);
        memmove(&t->p[lo + 1], &t->p[lo], (t->n - 1 - lo) * sizeof(*t->p));
        t->p[lo] = (struct head_tally){window_ms, t_ms, t_ms, 0};
    }
    t->p[lo].samples += samples;
    if (t_ms < t->p[lo].min_ms)
        t->p[lo].min_ms = t_ms;
    if (t_ms > t->p[lo].max_ms)
        t->p[lo].max_ms = t_ms;
}

static enum status check_data(struct sv bytes, int64_t first_ms, int64_t last_ms, unsigned count,
                              uint32_t id, struct err *err)
{
    int64_t first, last;
    unsigned n;

    TRY(chunk_xor_check(bytes, &first, &last, &n, err));
    if (first != first_ms || last != last_ms || n != count)
        return err_set(err, ST_CORRUPT, "head: series %u: a chunk says %u samples, holds %u", id,
                       count, n);
    return ST_OK;
}

enum status head_series_check(const struct head *h, const struct head_series *s, struct err *err)
{
    unsigned late = 0;

    for (const struct head_chunk *c = s->chunks; c; c = c->next) {
        TRY(check_data(sv_make(c->data, c->n_bytes), c->first_ms, head_chunk_last(c), c->count,
                       s->id, err));
        if (head_window_of(h, c->first_ms) != head_window_of(h, head_chunk_last(c)))
            return err_set(err, ST_CORRUPT, "head: series %u: a chunk in two windows", s->id);
        if (!s->has_newest || head_chunk_last(c) > s->open.t_ms)
            return err_set(err, ST_CORRUPT, "head: series %u: a chunk newer than the newest",
                           s->id);
        late += c->late;
    }
    if (s->open.p)
        TRY(check_data(sv_make(s->open.p, s->open.n_bytes), s->first_ms, s->open.t_ms,
                       s->open.count, s->id, err));
    if (late < UINT16_MAX && late != s->late_chunks)
        return err_set(err, ST_CORRUPT, "head: series %u: %u late chunks, counted %u", s->id, late,
                       s->late_chunks);
    for (uint32_t i = 0; s->late && i < s->late->n; i++)
        if (s->late->s[i].t_ms >= s->open.t_ms ||
            (i && s->late->s[i].t_ms <= s->late->s[i - 1].t_ms))
            return err_set(err, ST_CORRUPT, "head: series %u: late samples not in order", s->id);
    if (s->in_batch)
        return err_set(err, ST_CORRUPT, "head: series %u: held by no batch", s->id);
    return ST_OK;
}
