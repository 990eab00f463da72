/* The book: which windows of sample time the head holds and from which log position on, and how
 * often what lies below the sealed edge was changed.
 *
 * Windows and epochs. A batch enters before its records are appended: it learns the epoch, and its
 * samples are registered with their windows. An epoch (wal_record.h) begins when a sample of a
 * newer window arrives or after a cut, so that the log is held as long as its oldest uncut window
 * wants it and no longer. Registered before appended: whoever reads the log's position first and
 * asks for log_needed_from second can't miss records that are on their way.
 *
 * The sealed edge. db_settle() proposes "newest sample - 60 s" together with the log's position,
 * and once the log is durable up to there the edge moves. A batch leaves after its samples are in
 * place and bumps the granules of all that lie below the edge *or the proposal* as they stand then:
 *   - it left before the edge was proposed: the proposal's position covers it;
 *   - it leaves later: it bumps. A reader who did not see its samples has the counter from before
 * the bump in its mark, and its answer is never found again. Until such late samples are durable,
 * the mark's settled_ms stays below them.
 */
#include "head_int.h"

#include <assert.h>

#define GRANULES_MAX 65536u /* then all are forgotten, and every mark changes */
#define WIDE_MAX     1024   /* granules that one bump from outside counts singly */

void head_book_init(struct head_book *b)
{
    memset(b, 0, sizeof(*b));
    lock_init(&b->lock, LOCK_symbols);
    b->epoch_window = b->settled_ms = b->proposed_ms = INT64_MIN;
    b->late_min_ms = INT64_MAX;
}

void head_book_fini(struct head_book *b)
{
    vec_free(&b->windows);
    vec_free(&b->granules);
    lock_fini(&b->lock);
}

/* First window at or after from_ms. */
static size_t window_seek(const struct head_book *b, int64_t from_ms)
{
    size_t lo = 0, hi = b->windows.n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (b->windows.p[mid].from_ms < from_ms)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void register_windows(struct head_book *b, const struct head_tallies *t, uint64_t epoch)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct head_tally *x = &t->p[i];
        size_t at = window_seek(b, x->from_ms);
        struct head_window *w;

        if (at == b->windows.n || b->windows.p[at].from_ms != x->from_ms) {
            vec_add(&b->windows);
            memmove(&b->windows.p[at + 1], &b->windows.p[at],
                    (b->windows.n - 1 - at) * sizeof(*b->windows.p));
            b->windows.p[at] = (struct head_window){x->from_ms, x->min_ms, x->max_ms, 0, epoch};
        }
        w = &b->windows.p[at];
        w->samples += x->samples;
        w->epoch = epoch < w->epoch ? epoch : w->epoch;
        w->min_ms = x->min_ms < w->min_ms ? x->min_ms : w->min_ms;
        w->max_ms = x->max_ms > w->max_ms ? x->max_ms : w->max_ms;
    }
}

static void unregister_windows(struct head_book *b, const struct head_tallies *t)
{
    size_t kept = 0;

    for (size_t i = 0; i < t->n; i++) {
        size_t at = window_seek(b, t->p[i].from_ms);

        assert(at < b->windows.n && b->windows.p[at].from_ms == t->p[i].from_ms);
        assert(b->windows.p[at].samples >= t->p[i].samples);
        b->windows.p[at].samples -= t->p[i].samples;
    }
    for (size_t i = 0; i < b->windows.n; i++)
        if (b->windows.p[i].samples)
            b->windows.p[kept++] = b->windows.p[i];
    b->windows.n = kept;
}

void head_book_enter(struct head *h, const struct head_tallies *t, uint64_t *ret_epoch,
                     uint32_t *ret_gen)
{
    struct head_book *b = &h->book;

    LOCK_SCOPE(&b->lock);
    if (!b->epoch_open || (t->n && t->p[t->n - 1].from_ms > b->epoch_window)) {
        b->epoch = wal_position(h->wal);
        b->gen++;
        b->epoch_open = true;
        if (t->n && t->p[t->n - 1].from_ms > b->epoch_window)
            b->epoch_window = t->p[t->n - 1].from_ms;
    }
    register_windows(b, t, b->epoch);
    *ret_epoch = b->epoch;
    *ret_gen = b->gen;
}

void head_book_undo(struct head *h, const struct head_tallies *t)
{
    LOCK_SCOPE(&h->book.lock);
    unregister_windows(&h->book, t);
}

void head_book_gone(struct head *h, const struct head_tallies *t)
{
    LOCK_SCOPE(&h->book.lock);
    unregister_windows(&h->book, t);
}

static int64_t granule_of(int64_t t_ms)
{
    int64_t g = t_ms / HEAD_GRANULE_MS;

    return (t_ms % HEAD_GRANULE_MS < 0 ? g - 1 : g) * HEAD_GRANULE_MS;
}

static size_t granule_seek(const struct head_book *b, int64_t from_ms)
{
    size_t lo = 0, hi = b->granules.n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (b->granules.p[mid].from_ms < from_ms)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void bump(struct head_book *b, int64_t granule)
{
    size_t at = granule_seek(b, granule);

    if (at < b->granules.n && b->granules.p[at].from_ms == granule) {
        b->granules.p[at].count++;
        return;
    }
    if (b->granules.n >= GRANULES_MAX) {
        vec_free(&b->granules);
        b->all_count++;
        at = 0;
    }
    vec_add(&b->granules);
    memmove(&b->granules.p[at + 1], &b->granules.p[at],
            (b->granules.n - 1 - at) * sizeof(*b->granules.p));
    b->granules.p[at] = (struct head_granule){granule, 1};
}

static int64_t edge(const struct head_book *b)
{
    return b->proposed && b->proposed_ms > b->settled_ms ? b->proposed_ms : b->settled_ms;
}

/* A granule is bumped once per run of samples in it: equal marks are what counts, not sums. */
static void bump_late(struct head_book *b, const struct head_pend *pends, size_t n, uint64_t pos)
{
    int64_t below = edge(b), last = INT64_MIN;

    for (size_t i = 0; i < n; i++) {
        int64_t t_ms = pends[i].sample.t_ms, g;

        if (t_ms >= below)
            continue;
        g = granule_of(t_ms);
        if (g != last)
            bump(b, g);
        last = g;
        if (t_ms < b->late_min_ms)
            b->late_min_ms = t_ms;
        b->late_pos = pos;
    }
}

void head_book_leave(struct head *h, const struct head_tallies *t, const struct head_pend *pends,
                     size_t n, uint64_t pos)
{
    struct head_book *b = &h->book;
    int64_t max_ms;

    if (!t->n)
        return;
    LOCK_SCOPE(&b->lock);
    max_ms = t->p[t->n - 1].max_ms;
    if (!b->has_newest || max_ms > b->newest_ms)
        b->newest_ms = max_ms;
    b->has_newest = true;
    if (t->p[0].min_ms < edge(b))
        bump_late(b, pends, n, pos);
}

uint64_t head_book_barrier(struct head *h)
{
    uint64_t pos = h->wal ? wal_position(h->wal) : 0;

    LOCK_SCOPE(&h->book.lock);
    h->book.epoch_open = false;
    return pos;
}

void head_book_rebase(struct head *h, int64_t window_ms, uint64_t epoch)
{
    struct head_book *b = &h->book;
    size_t at;

    LOCK_SCOPE(&b->lock);
    at = window_seek(b, window_ms);
    if (at < b->windows.n && b->windows.p[at].from_ms == window_ms &&
        b->windows.p[at].epoch < epoch)
        b->windows.p[at].epoch = epoch;
}

void head_book_replayed(struct head *h, const struct head_tallies *t, uint64_t epoch)
{
    struct head_book *b = &h->book;

    if (!t->n)
        return;
    LOCK_SCOPE(&b->lock);
    register_windows(b, t, epoch);
    if (!b->has_newest || t->p[t->n - 1].max_ms > b->newest_ms)
        b->newest_ms = t->p[t->n - 1].max_ms;
    b->has_newest = true;
}

bool head_book_newest(struct head *h, int64_t *ret_ms)
{
    LOCK_SCOPE(&h->book.lock);
    *ret_ms = h->book.newest_ms;
    return h->book.has_newest;
}

void head_book_bump(struct head *h, struct trange range)
{
    struct head_book *b = &h->book;
    int64_t from, to;

    if (trange_empty(range))
        return;
    LOCK_SCOPE(&b->lock);
    if (range.from_ms < -HEAD_TIME_MAX || range.to_ms > HEAD_TIME_MAX ||
        range.to_ms - range.from_ms > WIDE_MAX * HEAD_GRANULE_MS) {
        b->all_count++;
        return;
    }
    from = granule_of(range.from_ms);
    to = range.to_ms;
    for (; from < to; from += HEAD_GRANULE_MS)
        bump(b, from);
}

/* Late samples that the log now has need no care any more. */
static void late_durable(struct head *h)
{
    struct head_book *b = &h->book;

    if (b->late_pos && h->wal && wal_durable(h->wal) >= b->late_pos) {
        b->late_pos = 0;
        b->late_min_ms = INT64_MAX;
    }
}

void head_book_mark(struct head *h, struct trange range, struct change_mark *ret)
{
    struct head_book *b = &h->book;
    size_t from, to;

    LOCK_SCOPE(&b->lock);
    late_durable(h);
    from = granule_seek(b, range.from_ms < -HEAD_TIME_MAX ? INT64_MIN : granule_of(range.from_ms));
    to = granule_seek(b, range.to_ms);
    if (to < from)
        to = from;
    /* A head that never had a sample has settled: its first one changes the digest of every range.
     * So what blocks alone hold may be cached after a restart. */
    *ret = (struct change_mark){.boot = h->opts.boot,
                                .settled_ms = b->has_newest ? b->settled_ms : INT64_MAX};
    ret->counters = hash128(b->granules.p + from, (to - from) * sizeof(*b->granules.p),
                            b->all_count * 2 + b->has_newest);
    if (b->late_min_ms < ret->settled_ms)
        ret->settled_ms = b->late_min_ms;
}

static void seal_edge(struct head *h)
{
    struct head_book *b = &h->book;

    if (!b->proposed || wal_durable(h->wal) < b->proposed_pos)
        return;
    if (b->proposed_ms > b->settled_ms)
        b->settled_ms = b->proposed_ms;
    b->proposed = false;
}

void head_book_settle(struct head *h)
{
    struct head_book *b = &h->book;
    int64_t now_ms = clk_wall_ms(h->opts.clk), top;

    if (!h->wal)
        return;
    LOCK_SCOPE(&b->lock);
    late_durable(h);
    seal_edge(h);
    if (b->proposed || !b->has_newest)
        return;
    top = (b->newest_ms < now_ms ? b->newest_ms : now_ms) - HEAD_SLACK_MS;
    if (top <= b->settled_ms)
        return;
    b->proposed = true;
    b->proposed_ms = top;
    b->proposed_pos = wal_position(h->wal);
    seal_edge(h);
}
