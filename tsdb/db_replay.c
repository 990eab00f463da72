/* Reading a tenant's records back from the log into its head.
 *
 * What an append did is done again in the same order, so every sample finds the place it had: the
 * open chunk, or the late buffer. Cuts are done again too: at CUT_BEGIN everything of its window is
 * given to the cut, at CUT it is in a block and leaves. Without its CUT (the crash came between)
 * a cut is undone by the end.
 *
 * References are resolved by definitions of the record's own epoch (wal_record.h); series get new
 * ids in the order in which they are met. What is malformed, or has lost its definition to damage,
 * is counted and logged, and does not keep the server from starting; a record of a newer version
 * does.
 */
#include "base/log.h"
#include "head_int.h"

#include <assert.h>

#define PARSE_MAX ((size_t)1 << 20) /* labels of one series */

/* The slot of ref, or the empty one where it belongs. The table is as large as the log has series,
 * not as its references are high. */
static struct head_ref *slot_of(const struct head *h, uint32_t ref)
{
    size_t mask = h->replay.refs_cap - 1, i = (ref * UINT32_C(0x9e3779b1)) & mask;

    while (h->replay.refs[i].epoch && h->replay.refs[i].ref != ref)
        i = (i + 1) & mask;
    return &h->replay.refs[i];
}

static struct head_series *series_of(struct head *h, uint32_t ref, uint64_t epoch)
{
    const struct head_ref *r = h->replay.refs_cap ? slot_of(h, ref) : NULL;

    return r && r->epoch == epoch + 1 ? head_series_at(h, r->id) : NULL;
}

static void refs_grow(struct head *h)
{
    struct head_ref *old = h->replay.refs;
    size_t old_cap = h->replay.refs_cap;

    h->replay.refs_cap = old_cap ? old_cap * 2 : 64;
    h->replay.refs = heap_array(h->replay.refs_cap, sizeof(*old));
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].epoch)
            *slot_of(h, old[i].ref) = old[i];
    heap_free(old);
}

/* A definition replaces the one before it: an older process may have used the reference. */
static void remember(struct head *h, uint32_t ref, uint64_t epoch, uint32_t id)
{
    struct head_ref *r;

    if ((h->replay.refs_n + 1) * 4 > h->replay.refs_cap * 3)
        refs_grow(h);
    r = slot_of(h, ref);
    h->replay.refs_n += r->epoch == 0;
    *r = (struct head_ref){epoch + 1, ref, id};
}

static enum status define(struct head *h, struct arena *arena, const struct wal_item *item,
                          uint64_t epoch, struct err *err)
{
    struct head_series *s;
    struct labels ls;
    struct sv dup;
    uint32_t hash;

    arena_reset(arena);
    TRY(labels_from_wire(item->labels, WAL_LABELS_MAX, arena, &ls, err));
    if (!labels_canonical(&ls, &dup) || epoch == UINT64_MAX)
        return err_set(err, ST_CORRUPT, "log: a definition that no head writes");
    hash = head_index_hash(h, ls);
    s = head_index_find(h, ls, hash);
    if (!s)
        s = head_index_add(h, ls, hash);
    remember(h, item->ref, epoch, s->id);
    return ST_OK;
}

static void put(struct head *h, const struct wal_item *item, uint64_t epoch, struct head_tallies *t)
{
    struct head_series *s = series_of(h, item->ref, epoch);
    int64_t t_ms = item->sample.t_ms;
    double have;

    if (t_ms < -HEAD_TIME_MAX || t_ms > HEAD_TIME_MAX)
        return; /* no head logs such a time */
    if (!s) {
        head_tally_add(&h->replay.lost, head_window_of(h, t_ms), t_ms, 1);
        return;
    }
    if (s->has_newest && t_ms <= s->open.t_ms && head_series_find(s, t_ms, &have))
        return;
    head_series_put(h, s, t_ms, item->sample.f);
    head_tally_add(t, head_window_of(h, t_ms), t_ms, 1);
    atomic_fetch_add_explicit(&h->samples, 1, memory_order_relaxed);
}

/* Where the front of the log was dropped, samples can stand that are in blocks already and whose
 * definitions went: only what no cut covers is lost. */
static uint64_t *lost_of(struct head *h, int64_t window_ms)
{
    for (size_t i = 0; i < h->replay.lost.n; i++)
        if (h->replay.lost.p[i].from_ms == window_ms)
            return &h->replay.lost.p[i].samples;
    return NULL;
}

static void unmark_all(struct head *h)
{
    for (size_t i = 0; i < h->all.n; i++)
        for (struct head_chunk *c = head_series_at(h, h->all.p[i])->chunks; c; c = c->next)
            c->cut = 0;
}

static void begin_cut(struct head *h, const struct wal_cut *cut, uint64_t pos)
{
    const uint64_t *lost;

    unmark_all(h); /* a cut before it that has not ended by now never did */
    h->cut++;
    for (size_t i = 0; i < h->all.n; i++)
        head_series_seal(h, head_series_at(h, h->all.p[i]), cut->window.from_ms, h->cut);
    lost = lost_of(h, cut->window.from_ms);
    h->replay.begin_lost = lost ? *lost : 0;
    h->replay.begin_pos = pos;
    h->replay.begin_cut = h->cut;
}

static void end_cut(struct head *h, const struct wal_cut *cut)
{
    struct head_tallies gone = {0};
    uint64_t *lost = lost_of(h, cut->window.from_ms);

    if (h->replay.begin_pos != cut->begin_pos || !h->replay.begin_cut)
        return; /* its beginning was dropped with all that it covers, or lost: merging copes */
    if (lost)
        *lost -= h->replay.begin_lost;
    for (size_t i = 0; i < h->all.n; i++)
        head_series_forget(h, head_series_at(h, h->all.p[i]), h->cut, &gone);
    for (size_t i = 0; i < gone.n; i++)
        atomic_fetch_sub_explicit(&h->samples, gone.p[i].samples, memory_order_relaxed);
    head_book_gone(h, &gone);
    head_book_rebase(h, cut->window.from_ms, cut->begin_pos);
    heap_free(gone.p);
    h->cut_done = h->cut;
    h->replay.begin_cut = 0;
}

static enum status apply(struct head *h, struct wal_reader *r, const struct wal_item *item,
                         struct arena *arena, struct head_tallies *t, uint64_t pos, struct err *err)
{
    switch ((enum wal_record_type)r->type) {
    case WAL_SERIES: return define(h, arena, item, r->epoch, err);
    case WAL_SAMPLES: put(h, item, r->epoch, t); return ST_OK;
    case WAL_CUT_BEGIN: begin_cut(h, &item->cut, pos); return ST_OK;
    case WAL_CUT: end_cut(h, &item->cut); return ST_OK;
    case WAL_HISTS:
    case WAL_EXEMPLARS:
    case WAL_METADATA: return ST_OK; /* kept by the log; not yet held in memory */
    }
    return ST_OK;
}

static enum status replay(struct head *h, const struct wal_record *rec, struct err *err)
{
    struct head_tallies t = {0};
    struct wal_reader r;
    struct wal_item item;
    struct arena arena;
    bool more = true;
    enum status st;

    TRY(wal_read_open(&r, rec->type, rec->body, err));
    arena_init(&arena, PARSE_MAX);
    while ((st = wal_read_next(&r, &item, &more, err)) == ST_OK && more) {
        st = apply(h, &r, &item, &arena, &t, rec->pos, err);
        if (st != ST_OK)
            break;
    }
    arena_fini(&arena);
    head_book_replayed(h, &t, r.epoch);
    heap_free(t.p);
    return st;
}

enum status db_replay(struct db *d, const struct wal_record *rec, struct err *err)
{
    struct head *h = d->head;
    enum status st;

    assert(!h->wal);
    rwlock_write(&h->lock);
    st = replay(h, rec, err);
    head_index_charge(h);
    rwlock_drop(&h->lock);
    if (st == ST_OK || (rec->body.n && (uint8_t)rec->body.p[0] > WAL_RECORD_VERSION))
        return st;
    log_error("db", "log record skipped", "tenant=%s position=%llu error=%s", d->opts.tenant,
              (unsigned long long)rec->pos, log_q(sv_of(err->msg)));
    return ST_OK;
}

void db_replay_done(struct db *d)
{
    struct head *h = d->head;
    uint64_t lost = 0;

    for (size_t i = 0; i < h->replay.lost.n; i++)
        lost += h->replay.lost.p[i].samples;
    rwlock_write(&h->lock);
    unmark_all(h);
    /* Not before: a definition may stand before the CUT and its samples behind it. */
    head_index_evict(h);
    heap_free(h->replay.refs);
    heap_free(h->replay.lost.p);
    h->replay.refs = NULL;
    h->replay.refs_cap = h->replay.refs_n = 0;
    h->replay.lost = (struct head_tallies){0};
    h->replay.begin_cut = 0;
    rwlock_drop(&h->lock);
    if (lost)
        log_error("db", "samples lost: the log is damaged where their series were defined",
                  "tenant=%s samples=%llu", d->opts.tenant, (unsigned long long)lost);
}
