/* Appending a batch.
 *
 *   find or make its series          head lock for reading; for writing while some are made
 *   judge every sample               writer locks of all its series, ascending
 *   enter the book, log, apply       still under them: log order is apply order, for every series
 *   leave the book
 *
 * Why writer locks per run of ids, all at once, and not one lock per series in turn: a batch must
 * be stored whole or not at all when the log refuses it, so its verdicts have to hold until the log
 * has taken the record, and that is only so while nobody else appends to these series. A sender's
 * series were made together, so their ids are neighbours and a batch takes one or two of the 32
 * locks; senders run beside each other. Readers are not kept waiting: they share only the stripes,
 * which are taken for the moment in which a sample goes into its chunk.
 *
 * A duplicate may be a sample that is not durable yet: its answer waits for the log like the first.
 */
#include "head_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define CREATE_GROUP  256u                /* series parsed before the head is locked for them */
#define PARSE_MAX     ((size_t)64 << 20)  /* of one group */
#define RECORD_MAX    ((size_t)1 << 30)   /* of one batch; the log's own ceiling is lower */
#define KEEP_BYTES    ((size_t)512 << 10) /* a pooled scratch holds no more than this */
#define SCRATCHES_MAX 4u

struct appending {
    struct head *h;
    const struct batch *batch;
    const struct append_rules *rules;
    struct append_result *ret;
    struct head_scratch *s;
    bool has_newest;
    int64_t newest_ms; /* of the tenant, with what this batch adds */
    bool st;           /* a start timestamp is among the samples */
    size_t others;     /* histograms and exemplars to be logged */
};

void head_scratch_free(struct head_scratch *own_s)
{
    struct head_scratch *s = own_s;

    arena_fini(&s->arena);
    buf_fini(&s->record);
    buf_fini(&s->text);
    heap_free(s->tallies.p);
    vec_free(&s->rows);
    vec_free(&s->pends);
    vec_free(&s->gather);
    vec_free(&s->missing);
    heap_free(s);
}

static struct head_scratch *scratch_take(struct head *h)
{
    struct head_scratch *s;

    lock_take(&h->pins.lock);
    s = h->scratch;
    if (s) {
        h->scratch = s->next;
        h->scratch_n--;
    }
    lock_drop(&h->pins.lock);
    if (!s) {
        s = heap_new(struct head_scratch);
        arena_init(&s->arena, PARSE_MAX);
        buf_init(&s->record, RECORD_MAX);
        buf_init(&s->text, 4096);
    }
    return s;
}

static void scratch_give(struct head *h, struct head_scratch *s)
{
    bool keep = s->record.cap + s->rows.cap * sizeof(*s->rows.p) +
                    s->pends.cap * sizeof(*s->pends.p) + s->gather.cap * sizeof(*s->gather.p) <=
                KEEP_BYTES;

    arena_fini(&s->arena);
    s->rows.n = s->pends.n = s->gather.n = s->missing.n = s->tallies.n = 0;
    lock_take(&h->pins.lock);
    if (keep && h->scratch_n < SCRATCHES_MAX) {
        s->next = h->scratch;
        h->scratch = s;
        h->scratch_n++;
        s = NULL;
    }
    lock_drop(&h->pins.lock);
    if (s)
        head_scratch_free(s);
}

/* --- refusals --- */
static void first_refusal(struct appending *a, enum verdict v, const char *text,
                          const int64_t *t_ms, struct labels ls)
{
    char at[40] = "";

    if (a->ret->why[0])
        return;
    a->ret->first = v;
    buf_clear(&a->s->text);
    labels_print(&a->s->text, ls);
    if (t_ms)
        snprintf(at, sizeof(at), ", timestamp %lld", (long long)*t_ms);
    snprintf(a->ret->why, sizeof(a->ret->why), "%.200s%s, series %.*s", text, at,
             (int)(a->s->text.n < 160 ? a->s->text.n : 160), a->s->text.p ? a->s->text.p : "");
}

static void refuse_row(struct appending *a, uint32_t row, enum verdict v, const char *why,
                       struct labels ls)
{
    const struct batch_series *b = &a->batch->series[row];

    a->s->rows.p[row].verdict = (uint8_t)v;
    a->ret->samples[v] += b->sample_n;
    a->ret->hists[v] += b->hist_n;
    a->ret->series_refused++;
    first_refusal(a, v, why, NULL, ls);
}

/* --- finding and making series --- */
static void resolve(struct appending *a)
{
    struct head *h = a->h;
    struct head_scratch *s = a->s;

    s->missing.n = 0;
    for (size_t i = 0; i < a->batch->series_n; i++) {
        struct head_row *row = &s->rows.p[i];

        if (row->verdict != VERDICT_STORED)
            continue;
        if (row->id == HEAD_NONE && a->batch->alias_key == h->alias_key)
            row->id = head_alias_get(h, a->batch->series[i].alias);
        if (row->id != HEAD_NONE && !head_series_at(h, row->id))
            row->id = HEAD_NONE; /* evicted since */
        if (row->id == HEAD_NONE)
            vec_push(&s->missing, (uint32_t)i);
    }
}

struct newcomer {
    struct labels ls;
    uint32_t row, hash;
};

/* Reads and checks labels; a refused one leaves no newcomer. */
static enum status parse(struct appending *a, uint32_t row, struct newcomer *ret, bool *ret_ok,
                         struct err *err)
{
    struct sv raw = a->batch->series[row].raw;
    struct err why_err = ERR_INIT;
    char why[256];
    struct labels ls = {0};
    enum status st = labels_from_wire(raw, WAL_LABELS_MAX, &a->s->arena, &ls, &why_err);
    enum verdict v;

    *ret_ok = false;
    if (arena_over(&a->s->arena))
        return err_set(err, ST_TOOBIG, "labels of %u series take more than %zu bytes", CREATE_GROUP,
                       PARSE_MAX);
    if (st != ST_OK) {
        refuse_row(a, row, st == ST_LIMIT ? VERDICT_MANY_LABELS : VERDICT_BAD_LABEL, why_err.msg,
                   (struct labels){0});
        return ST_OK;
    }
    v = labels_check(&ls, &a->rules->labels, why, sizeof(why));
    if (v != VERDICT_STORED) {
        refuse_row(a, row, v, why, ls);
        return ST_OK;
    }
    *ret = (struct newcomer){ls, row, head_index_hash(a->h, ls)};
    *ret_ok = true;
    return ST_OK;
}

/* Head lock held for writing. */
static void make(struct appending *a, const struct newcomer *n)
{
    struct head *h = a->h;
    struct head_series *s = head_index_find(h, n->ls, n->hash);
    char why[128];

    if (!s && a->rules->max_series && h->live >= a->rules->max_series) {
        snprintf(why, sizeof(why),
                 "per-user series limit of %llu exceeded (limit name: max_series_per_user)",
                 (unsigned long long)a->rules->max_series);
        refuse_row(a, n->row, VERDICT_SERIES_LIMIT, why, n->ls);
        return;
    }
    if (!s && (a->rules->refuse_new_series || h->series.n >= HEAD_NONE - 1)) {
        refuse_row(a, n->row, VERDICT_MEMORY, verdict_text(VERDICT_MEMORY), n->ls);
        return;
    }
    if (!s)
        s = head_index_add(h, n->ls, n->hash);
    a->s->rows.p[n->row].id = s->id;
    head_alias_put(h, a->batch->series[n->row].alias, s->id);
}

static enum status make_missing(struct appending *a, struct err *err)
{
    struct newcomer group[CREATE_GROUP];
    size_t at = 0;

    while (at < a->s->missing.n) {
        size_t n = 0;

        arena_reset(&a->s->arena);
        for (; at < a->s->missing.n && n < CREATE_GROUP; at++) {
            bool ok;

            TRY(parse(a, a->s->missing.p[at], &group[n], &ok, err));
            n += ok;
        }
        rwlock_write(&a->h->lock);
        head_alias_key(a->h, a->batch->alias_key);
        for (size_t i = 0; i < n; i++)
            make(a, &group[i]);
        head_index_charge(a->h);
        rwlock_drop(&a->h->lock);
    }
    return ST_OK;
}

/* Every row has its series or its refusal. Returns with the head lock held for reading, but not on
 * failure. */
static enum status find_series(struct appending *a, struct err *err)
{
    struct head_scratch *s = a->s;

    vec_reserve(&s->rows, a->batch->series_n + 1);
    s->rows.n = a->batch->series_n;
    for (size_t i = 0; i < s->rows.n; i++)
        s->rows.p[i] = (struct head_row){.id = HEAD_NONE, .verdict = VERDICT_STORED};
    for (;;) {
        rwlock_read(&a->h->lock);
        resolve(a);
        if (!s->missing.n)
            return ST_OK;
        rwlock_drop(&a->h->lock);
        TRY(make_missing(a, err));
    }
}

/* --- verdicts --- */
struct judging {
    struct head_series *series;
    bool has; /* the newest sample, this batch's included */
    int64_t last_ms;
    double last_f;
    bool has_late; /* the last late sample of this batch */
    int64_t late_ms;
    double late_f;
    uint32_t late_n;
};

static enum verdict same(double have, double f)
{
    return f64_bits(have) == f64_bits(f) ? VERDICT_DUPLICATE : VERDICT_CONFLICT;
}

static enum verdict in_bounds(const struct append_rules *r, int64_t t_ms)
{
    if (t_ms < -HEAD_TIME_MAX || t_ms > HEAD_TIME_MAX)
        return VERDICT_OUT_OF_BOUNDS;
    return t_ms > r->now_ms + r->max_ahead_ms ? VERDICT_TOO_NEW : VERDICT_STORED;
}

static enum verdict judge_late(const struct appending *a, struct judging *j, int64_t t_ms, double f)
{
    double have;

    if (t_ms == j->last_ms)
        return same(j->last_f, f);
    if (j->has_late && t_ms == j->late_ms)
        return same(j->late_f, f);
    if (head_series_find(j->series, t_ms, &have))
        return same(have, f);
    if (j->last_ms - t_ms > a->rules->ooo_window_ms)
        return a->rules->ooo_window_ms ? VERDICT_TOO_OLD : VERDICT_OUT_OF_ORDER;
    if (j->series->late_chunks + j->late_n / HEAD_LATE_MAX >= HEAD_LATE_CHUNKS)
        return VERDICT_OUT_OF_ORDER;
    j->has_late = true;
    j->late_ms = t_ms;
    j->late_f = f;
    j->late_n++;
    return VERDICT_STORED;
}

static enum verdict judge_sample(struct appending *a, struct judging *j,
                                 const struct batch_sample *x)
{
    enum verdict v = in_bounds(a->rules, x->t_ms);

    if (v != VERDICT_STORED)
        return v;
    if (j->has && x->t_ms <= j->last_ms)
        return judge_late(a, j, x->t_ms, x->f);
    if (a->has_newest && a->rules->max_age_behind_ms &&
        a->newest_ms - x->t_ms > a->rules->max_age_behind_ms)
        return VERDICT_TOO_OLD;
    j->has = true;
    j->last_ms = x->t_ms;
    j->last_f = x->f;
    if (!a->has_newest || x->t_ms > a->newest_ms)
        a->newest_ms = x->t_ms;
    a->has_newest = true;
    return VERDICT_STORED;
}

static void note_sample(struct appending *a, const struct judging *j, const struct batch_sample *x,
                        enum verdict v)
{
    struct label room[WAL_LABELS_MAX];
    struct head_pend *p;

    a->ret->samples[v]++;
    if (v == VERDICT_STORED) {
        vec_reserve(&a->s->pends, a->s->pends.n + 1);
        p = &a->s->pends.p[a->s->pends.n++];
        p->series = j->series;
        p->sample = *x;
        a->st |= x->st_ms != 0;
        head_tally_add(&a->s->tallies, head_window_of(a->h, x->t_ms), x->t_ms, 1);
    } else if (v != VERDICT_DUPLICATE && !a->ret->why[0]) {
        first_refusal(a, v, verdict_text(v), &x->t_ms, head_series_labels(a->h, j->series, room));
    }
}

static int by_time(const void *a, const void *b)
{
    const struct head_gather *x = a, *y = b;

    if (x->sample.t_ms != y->sample.t_ms)
        return x->sample.t_ms < y->sample.t_ms ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

/* The samples of all rows of one series, in time and, at the same time, in the batch's order. */
static void gather(struct appending *a, uint32_t row)
{
    struct head_scratch *s = a->s;
    bool sorted = true;

    s->gather.n = 0;
    for (uint32_t next = row + 1; next; next = s->rows.p[next - 1].next) {
        const struct batch_series *b = &a->batch->series[next - 1];

        for (uint32_t k = 0; k < b->sample_n; k++) {
            const struct batch_sample *x = &a->batch->samples[b->sample_off + k];

            if (s->gather.n && s->gather.p[s->gather.n - 1].sample.t_ms > x->t_ms)
                sorted = false;
            vec_push(&s->gather, ((struct head_gather){*x, (uint32_t)s->gather.n}));
        }
    }
    if (!sorted)
        qsort(s->gather.p, s->gather.n, sizeof(*s->gather.p), by_time);
}

static void judge_series(struct appending *a, uint32_t row)
{
    const struct batch_series *b = &a->batch->series[row];
    struct head_series *s = head_series_at(a->h, a->s->rows.p[row].id);
    struct judging j = {.series = s, .has = s->has_newest};

    if (j.has) {
        j.last_ms = s->open.t_ms;
        j.last_f = s->open.v;
    }
    if (b->sample_n == 1 && !a->s->rows.p[row].next) { /* a scrape */
        const struct batch_sample *x = &a->batch->samples[b->sample_off];

        note_sample(a, &j, x, judge_sample(a, &j, x));
        return;
    }
    gather(a, row);
    for (size_t i = 0; i < a->s->gather.n; i++) {
        const struct batch_sample *x = &a->s->gather.p[i].sample;

        note_sample(a, &j, x, judge_sample(a, &j, x));
    }
}

/* Native histograms and exemplars are logged; see HEAD.md for what becomes of them. */
/* A well-formed histogram that breaks Prometheus's rules comes without its decoded form. */
static enum verdict judge_hist(const struct appending *a, const struct batch_hist *x)
{
    return x->h ? in_bounds(a->rules, x->t_ms) : VERDICT_BAD_HIST;
}

static void judge_others(struct appending *a, uint32_t row)
{
    const struct batch_series *b = &a->batch->series[row];
    struct label room[WAL_LABELS_MAX];

    for (uint32_t k = 0; k < b->hist_n; k++) {
        const struct batch_hist *x = &a->batch->hists[b->hist_off + k];
        enum verdict v = judge_hist(a, x);

        a->ret->hists[v]++;
        if (v != VERDICT_STORED)
            first_refusal(a, v, verdict_text(v), &x->t_ms,
                          head_series_labels(a->h, head_series_at(a->h, a->s->rows.p[row].id), room));
        a->others += v == VERDICT_STORED;
    }
    a->others += b->exemplar_n;
    a->ret->exemplars_stored += b->exemplar_n;
}

/* Chains rows of the same series, then judges series by series. Writers held. */
static void judge(struct appending *a)
{
    struct head_scratch *s = a->s;

    for (size_t i = 0; i < s->rows.n; i++) {
        struct head_series *x;

        if (s->rows.p[i].verdict != VERDICT_STORED)
            continue;
        x = head_series_at(a->h, s->rows.p[i].id);
        s->rows.p[i].first = x->in_batch == 0;
        if (x->in_batch)
            s->rows.p[x->in_batch - 1].next = (uint32_t)i + 1;
        x->in_batch = (uint32_t)i + 1;
    }
    for (size_t i = 0; i < s->rows.n; i++) {
        if (s->rows.p[i].verdict != VERDICT_STORED)
            continue;
        if (s->rows.p[i].first)
            judge_series(a, (uint32_t)i);
        judge_others(a, (uint32_t)i);
    }
    a->ret->metadata_stored = a->batch->metadata_n;
}

/* --- the log --- */
static enum status log_record(struct appending *a, uint8_t type, struct err *err)
{
    if (!buf_ok(&a->s->record))
        return err_set(err, ST_TOOBIG, "a batch takes more than %zu bytes of log", RECORD_MAX);
    return wal_append(a->h->wal, type, sv_of(a->h->opts.tenant), buf_view(&a->s->record),
                      &a->ret->log_pos, err);
}

static enum status log_series(struct appending *a, uint64_t epoch, uint32_t gen, struct err *err)
{
    struct head_scratch *s = a->s;
    struct label room[WAL_LABELS_MAX];
    struct wal_coder c;
    size_t n = 0;

    buf_clear(&s->record);
    wal_code_begin(&c, &s->record, epoch, false);
    for (size_t i = 0; i < s->rows.n; i++) {
        const struct head_series *x =
            s->rows.p[i].first ? head_series_at(a->h, s->rows.p[i].id) : NULL;

        if (!x || x->def_gen == gen)
            continue;
        wal_code_series(&c, x->id, head_series_labels(a->h, x, room));
        n++;
    }
    if (!n)
        return ST_OK;
    TRY(log_record(a, WAL_SERIES, err));
    for (size_t i = 0; i < s->rows.n; i++)
        if (s->rows.p[i].first)
            head_series_at(a->h, s->rows.p[i].id)->def_gen = gen;
    return ST_OK;
}

static enum status log_samples(struct appending *a, uint64_t epoch, struct err *err)
{
    const struct head_pend *p = a->s->pends.p;
    size_t n = a->s->pends.n;
    struct wal_coder c;

    if (!n)
        return ST_OK;
    buf_clear(&a->s->record);
    wal_code_begin(&c, &a->s->record, epoch, a->st);
    for (size_t i = 0, to; i < n; i = to) {
        for (to = i + 1; to < n && p[to].series == p[i].series; to++)
            ;
        wal_code_group(&c, p[i].series->id, to - i);
        for (size_t k = i; k < to; k++)
            wal_code_sample(&c, &p[k].sample);
    }
    return log_record(a, WAL_SAMPLES, err);
}

/* Histograms or exemplars of all rows. */
static enum status log_others(struct appending *a, uint8_t type, uint64_t epoch, struct err *err)
{
    struct wal_coder c;
    size_t n = 0;

    buf_clear(&a->s->record);
    wal_code_begin(&c, &a->s->record, epoch, false);
    for (size_t i = 0; i < a->s->rows.n; i++) {
        const struct batch_series *b = &a->batch->series[i];
        uint32_t ref = a->s->rows.p[i].id;

        if (a->s->rows.p[i].verdict != VERDICT_STORED)
            continue;
        for (uint32_t k = 0; type == WAL_HISTS && k < b->hist_n; k++) {
            const struct batch_hist *x = &a->batch->hists[b->hist_off + k];

            if (judge_hist(a, x) != VERDICT_STORED)
                continue;
            wal_code_hist(&c, ref, x);
            n++;
        }
        for (uint32_t k = 0; type == WAL_EXEMPLARS && k < b->exemplar_n; k++, n++)
            wal_code_exemplar(&c, ref, &a->batch->exemplars[b->exemplar_off + k]);
    }
    return n ? log_record(a, type, err) : ST_OK;
}

static enum status log_metadata(struct appending *a, uint64_t epoch, struct err *err)
{
    struct wal_coder c;

    if (!a->batch->metadata_n)
        return ST_OK;
    buf_clear(&a->s->record);
    wal_code_begin(&c, &a->s->record, epoch, false);
    for (size_t i = 0; i < a->batch->metadata_n; i++)
        wal_code_metadata(&c, &a->batch->metadata[i]);
    return log_record(a, WAL_METADATA, err);
}

/* The samples come last: what is logged before them changes nothing if they are refused. */
static enum status log_all(struct appending *a, uint64_t epoch, uint32_t gen, struct err *err)
{
    TRY(log_series(a, epoch, gen, err));
    TRY(log_metadata(a, epoch, err));
    if (a->others) {
        TRY(log_others(a, WAL_HISTS, epoch, err));
        TRY(log_others(a, WAL_EXEMPLARS, epoch, err));
    }
    return log_samples(a, epoch, err);
}

/* --- applying --- */
static void apply(struct appending *a)
{
    struct head *h = a->h;
    const struct head_pend *p = a->s->pends.p;
    struct lock *held = NULL;

    for (size_t i = 0; i < a->s->pends.n; i++) {
        struct lock *stripe = head_stripe(h, p[i].series->id);

        if (i + 4 < a->s->pends.n)
            __builtin_prefetch(p[i + 4].series->open.p);
        if (stripe != held) {
            if (held)
                lock_drop(held);
            lock_take(stripe);
            held = stripe;
        }
        head_series_put(h, p[i].series, p[i].sample.t_ms, p[i].sample.f);
    }
    if (held)
        lock_drop(held);
    atomic_fetch_add_explicit(&h->samples, a->s->pends.n, memory_order_relaxed);
}

static enum status store(struct appending *a, struct err *err)
{
    struct head *h = a->h;
    struct head_scratch *s = a->s;
    uint64_t epoch;
    uint32_t gen;
    enum status st;

    if (!s->pends.n && !a->others && !a->batch->metadata_n) {
        if (a->ret->samples[VERDICT_DUPLICATE])
            a->ret->log_pos = wal_position(h->wal);
        return ST_OK;
    }
    head_book_enter(h, &s->tallies, &epoch, &gen);
    st = log_all(a, epoch, gen, err);
    if (st != ST_OK) {
        head_book_undo(h, &s->tallies);
        return st;
    }
    apply(a);
    head_book_leave(h, &s->tallies, s->pends.p, s->pends.n, a->ret->log_pos);
    atomic_store_explicit(&h->touched_ns, clk_mono_ns(h->opts.clk), memory_order_relaxed);
    return ST_OK;
}

/* Head lock held for reading. */
static enum status judge_and_store(struct appending *a, struct err *err)
{
    struct head_scratch *s = a->s;
    uint32_t writers = 0;
    enum status st;

    for (size_t i = 0; i < s->rows.n; i++)
        if (s->rows.p[i].verdict == VERDICT_STORED)
            writers |= UINT32_C(1) << head_writer_of(s->rows.p[i].id);
    for (unsigned i = 0; i < HEAD_WRITERS; i++)
        if (writers >> i & 1)
            lock_take_same(&a->h->writers[i]);
    a->has_newest = head_book_newest(a->h, &a->newest_ms);
    judge(a);
    st = store(a, err);
    for (size_t i = 0; i < s->rows.n; i++)
        if (s->rows.p[i].first)
            head_series_at(a->h, s->rows.p[i].id)->in_batch = 0;
    for (unsigned i = HEAD_WRITERS; i-- > 0;)
        if (writers >> i & 1)
            lock_drop(&a->h->writers[i]);
    return st;
}

enum status head_append(struct head *h, const struct batch *batch, const struct append_rules *rules,
                        struct append_result *ret, struct err *err)
{
    struct appending a = {.h = h, .batch = batch, .rules = rules, .ret = ret};
    enum status st;

    memset(ret, 0, sizeof(*ret));
    if (!h->wal)
        return err_set(err, ST_UNAVAIL, "the log is not open yet");
    a.s = scratch_take(h);
    st = find_series(&a, err);
    if (st == ST_OK) {
        st = judge_and_store(&a, err);
        rwlock_drop(&h->lock);
    }
    scratch_give(h, a.s);
    if (st != ST_OK)
        memset(ret, 0, sizeof(*ret)); /* verdicts without a log count for nothing */
    return st;
}
