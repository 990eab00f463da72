/* The life of a head, the pins of open selects, figures and the check. The whole picture: HEAD.md.
 */
#include "head_int.h"

#include <assert.h>

struct head *head_new(const struct head_opts *opts)
{
    struct head *h = heap_new(struct head);

    h->opts = *opts;
    rwlock_init(&h->lock, LOCK_head);
    for (unsigned i = 0; i < HEAD_WRITERS; i++)
        lock_init(&h->writers[i], LOCK_series_stripe);
    for (unsigned i = 0; i < HEAD_STRIPES; i++)
        lock_init(&h->stripes[i], LOCK_series);
    head_slab_init(&h->slab, opts->budget);
    head_book_init(&h->book);
    lock_init(&h->pins.lock, LOCK_alias);
    h->pins.graves_end = &h->pins.graves;
    hmap_init(&h->name_of);
    h->hash_key = random_u64();
    atomic_store_explicit(&h->touched_ns, clk_mono_ns(opts->clk), memory_order_relaxed);
    return h;
}

void head_free(struct head *own_h)
{
    struct head *h = own_h;

    if (!h)
        return;
    assert(!h->pins.oldest);
    head_bury_due(h);
    assert(!h->pins.graves);
    while (h->scratch) {
        struct head_scratch *s = h->scratch;

        h->scratch = s->next;
        head_scratch_free(s);
    }
    head_index_fini(h);
    heap_free(h->replay.refs);
    heap_free(h->replay.lost.p);
    head_book_fini(&h->book);
    head_slab_fini(&h->slab);
    lock_fini(&h->pins.lock);
    for (unsigned i = 0; i < HEAD_STRIPES; i++)
        lock_fini(&h->stripes[i]);
    for (unsigned i = 0; i < HEAD_WRITERS; i++)
        lock_fini(&h->writers[i]);
    rwlock_fini(&h->lock);
    heap_free(h);
}

void head_pin(struct head *h, struct head_pin *pin)
{
    LOCK_SCOPE(&h->pins.lock);
    *pin = (struct head_pin){.prev = h->pins.newest, .gen = h->pins.gen};
    if (pin->prev)
        pin->prev->next = pin;
    else
        h->pins.oldest = pin;
    h->pins.newest = pin;
}

void head_unpin(struct head *h, struct head_pin *pin)
{
    LOCK_SCOPE(&h->pins.lock);
    if (pin->prev)
        pin->prev->next = pin->next;
    else
        h->pins.oldest = pin->next;
    if (pin->next)
        pin->next->prev = pin->prev;
    else
        h->pins.newest = pin->prev;
}

uint64_t head_pins_next(struct head *h)
{
    LOCK_SCOPE(&h->pins.lock);
    return ++h->pins.gen;
}

bool head_pins_passed(struct head *h, uint64_t gen)
{
    LOCK_SCOPE(&h->pins.lock);
    return !h->pins.oldest || h->pins.oldest->gen >= gen;
}

void head_bury(struct head *h, void (*bury)(struct head *h, void *what), void *what)
{
    struct head_grave *g = heap_new(struct head_grave);

    g->bury = bury;
    g->what = what;
    LOCK_SCOPE(&h->pins.lock);
    g->gen = ++h->pins.gen;
    *h->pins.graves_end = g;
    h->pins.graves_end = &g->next;
}

static struct head_grave *due_grave(struct head *h)
{
    struct head_grave *g;

    LOCK_SCOPE(&h->pins.lock);
    g = h->pins.graves;
    if (!g || (h->pins.oldest && h->pins.oldest->gen < g->gen))
        return NULL;
    h->pins.graves = g->next;
    if (!g->next)
        h->pins.graves_end = &h->pins.graves;
    return g;
}

void head_bury_due(struct head *h)
{
    struct head_grave *g;

    while ((g = due_grave(h))) {
        g->bury(h, g->what);
        heap_free(g);
    }
}

static bool has_due_grave(struct head *h)
{
    LOCK_SCOPE(&h->pins.lock);
    return h->pins.graves && (!h->pins.oldest || h->pins.oldest->gen >= h->pins.graves->gen);
}

/* No select is open and nothing waits to be buried. */
static bool is_quiet(struct head *h)
{
    LOCK_SCOPE(&h->pins.lock);
    return !h->pins.oldest && !h->pins.graves;
}

static void drop_scratch(struct head *h)
{
    struct head_scratch *s;

    lock_take(&h->pins.lock);
    s = h->scratch;
    h->scratch = NULL;
    h->scratch_n = 0;
    lock_drop(&h->pins.lock);
    while (s) {
        struct head_scratch *next = s->next;

        head_scratch_free(s);
        s = next;
    }
}

void head_tidy(struct head *h)
{
    bool trim;

    rwlock_read(&h->lock);
    trim = !h->live && h->all.p;
    rwlock_drop(&h->lock);
    if (!has_due_grave(h) && !(trim && is_quiet(h)))
        return;
    rwlock_write(&h->lock);
    head_bury_due(h);
    /* A select that pins from here on gets the lock later, and finds an empty index. */
    if (!h->live && is_quiet(h)) {
        head_index_trim(h);
        head_slab_trim(&h->slab);
        drop_scratch(h);
    }
    head_index_charge(h);
    rwlock_drop(&h->lock);
}

static void book_stats(struct head *h, struct db_stats *ret)
{
    struct head_book *b = &h->book;

    LOCK_SCOPE(&b->lock);
    ret->min_ms = INT64_MAX;
    ret->max_ms = INT64_MIN;
    ret->log_needed_from = b->epoch_open ? b->epoch + 1 : UINT64_MAX;
    for (size_t i = 0; i < b->windows.n; i++) {
        const struct head_window *w = &b->windows.p[i];

        if (w->epoch + 1 < ret->log_needed_from)
            ret->log_needed_from = w->epoch + 1;
        if (w->min_ms < ret->min_ms)
            ret->min_ms = w->min_ms;
        if (w->max_ms > ret->max_ms)
            ret->max_ms = w->max_ms;
    }
}

void head_stats(struct head *h, struct db_stats *ret)
{
    *ret = (struct db_stats){0};
    book_stats(h, ret);
    rwlock_read(&h->lock);
    ret->series = h->live;
    rwlock_drop(&h->lock);
    ret->samples = atomic_load_explicit(&h->samples, memory_order_relaxed);
    ret->chunk_bytes = atomic_load_explicit(&h->chunk_bytes, memory_order_relaxed);
    ret->index_bytes = atomic_load_explicit(&h->index_bytes, memory_order_relaxed) +
                       atomic_load_explicit(&h->slab.used_bytes, memory_order_relaxed) -
                       ret->chunk_bytes;
    lock_take(&h->slab.lock);
    ret->head_bytes = h->slab.block_bytes;
    lock_drop(&h->slab.lock);
    ret->head_bytes += atomic_load_explicit(&h->index_bytes, memory_order_relaxed);
}

static uint64_t samples_of(const struct head_series *s)
{
    uint64_t n = s->open.count + (s->late ? s->late->n : 0);

    for (const struct head_chunk *c = s->chunks; c; c = c->next)
        n += c->count;
    return n;
}

/* Holding the head for writing, no append is under way: everything must add up. */
static enum status check_all(struct head *h, struct err *err)
{
    uint64_t samples = 0, in_windows = 0;

    TRY(head_index_check(h, err));
    for (size_t i = 0; i < h->all.n; i++) {
        const struct head_series *s = head_series_at(h, h->all.p[i]);

        TRY(head_series_check(h, s, err));
        samples += samples_of(s);
    }
    LOCK_SCOPE(&h->book.lock);
    for (size_t i = 0; i < h->book.windows.n; i++) {
        in_windows += h->book.windows.p[i].samples;
        if (i && h->book.windows.p[i - 1].from_ms >= h->book.windows.p[i].from_ms)
            return err_set(err, ST_CORRUPT, "head: windows not in order");
    }
    if (samples != in_windows || samples != atomic_load(&h->samples))
        return err_set(err, ST_CORRUPT,
                       "head: series hold %llu samples, windows %llu, counted %llu",
                       (unsigned long long)samples, (unsigned long long)in_windows,
                       (unsigned long long)atomic_load(&h->samples));
    return ST_OK;
}

enum status head_check(struct head *h, struct err *err)
{
    enum status st;

    rwlock_write(&h->lock);
    st = check_all(h, err);
    rwlock_drop(&h->lock);
    return st;
}
