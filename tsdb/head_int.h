/* tsdb/head_int.h
 *
 * What the files of the live half share: the head (the newest samples of one tenant, in memory),
 * and the db around it. How it fits together, locks and failures: tsdb/HEAD.md.
 *
 * Locks, outermost first, with what they guard:
 *   db       struct db: blocks, the state of the running cut. Never held over I/O.
 *   head     struct head: the tables, index and alias cache. An append holds it for reading from
 *            its first look-up to its end, so whoever holds it for writing sees no append half
 * done. alias    struct head_pins, scratch pool series_stripe (writers[])  who may append to a
 * series, or cut it: a batch takes all it needs, in ascending order series (stripes[])  the data of
 * a series against its readers: taken for moments, one at a time symbols  the slabs, and the book;
 * never both
 */
#ifndef ENGRAM_TSDB_HEAD_INT_H
#define ENGRAM_TSDB_HEAD_INT_H

#include "base/arena.h"
#include "base/heap.h"
#include "base/hmap.h"
#include "base/lock.h"
#include "base/vec.h"
#include "model/batch.h"
#include "tsdb/chunk.h"
#include "tsdb/db.h"
#include "tsdb/postings.h"
#include "wal_record.h"

#include <stdatomic.h>

#define HEAD_WRITERS      32u /* runs of HEAD_WRITER_RUN ids */
#define HEAD_WRITER_SHIFT 10
#define HEAD_STRIPES      64u /* runs of 64 ids: a batch in order of creation changes rarely */
#define HEAD_STRIPE_SHIFT 6
#define HEAD_NONE         UINT32_MAX
#define HEAD_LATE_MAX     120u            /* late samples of a series before they become a chunk */
#define HEAD_LATE_CHUNKS  1024u           /* late chunks of a series: its ceiling */
#define HEAD_TIME_MAX     (INT64_MAX / 4) /* beyond, windows and differences could overflow */
#define HEAD_GRANULE_MS   INT64_C(7200000)
#define HEAD_SLACK_MS     60000 /* the sealed edge stays this far behind the newest sample */

/* --- memory: size classes out of blocks that are charged to the budget (head_series.c) --- */
#define HEAD_SLAB_STEP    32u
#define HEAD_SLAB_CLASSES 128u /* up to 4 KiB; larger things come from the heap */
struct head_slab {
    struct lock lock; /* symbols */
    struct budget *budget;
    void *free[HEAD_SLAB_CLASSES];
    struct head_slab_block *blocks;
    char *at, *end;
    _Atomic uint64_t used_bytes; /* handed out */
    uint64_t block_bytes;        /* of the blocks, charged */
};
void head_slab_init(struct head_slab *m, struct budget *budget);
void head_slab_fini(struct head_slab *m);
void head_slab_trim(struct head_slab *m); /* nothing handed out: gives the blocks back */
void *head_slab_get(struct head_slab *m, size_t bytes);
void head_slab_put(struct head_slab *m, void *p, size_t bytes); /* the same size; takes NULL */

/* --- one series --- */
struct head_chunk {          /* closed: never changes but for `cut` */
    struct head_chunk *next; /* older */
    int64_t first_ms;
    uint32_t span_ms; /* last - first: a chunk never leaves its window */
    uint32_t cut;     /* number of the cut that took it; 0 none */
    uint16_t n_bytes, count;
    bool late;
    uint8_t data[];
};
static inline int64_t head_chunk_last(const struct head_chunk *c)
{
    return c->first_ms + c->span_ms;
}
struct head_late { /* ascending by time */
    uint32_t n, cap;
    struct {
        int64_t t_ms;
        double f;
    } s[];
};
struct head_series {
    uint64_t shard_hash;       /* labels_hash(labels, 0).lo, for select_hints.shard */
    struct head_chunk *chunks; /* newest first; late ones overlap others in time */
    struct head_late *late;
    struct chunk_xor open; /* p NULL: none; t_ms and v stay those of the newest sample */
    int64_t first_ms;      /* of the open chunk */
    uint32_t id, hash;     /* hash: in the series table */
    uint32_t def_gen;      /* generation of the epoch that has its definition; 0 none */
    uint32_t in_batch;     /* while a batch is judged: 1 + its last row of this series */
    uint16_t labels_n, late_chunks;
    bool has_newest;
    uint32_t pairs[]; /* in label order */
};

/* --- the index --- */
struct head_name;
struct head_pair { /* one name="value", shared by its series */
    struct head_name *name;
    uint32_t id;
    uint32_t n, cap; /* cap 0: the ids are in `few` */
    union {
        uint32_t *ids; /* ascending; evicted series are filtered out */
        uint32_t few[2];
    };
    uint32_t value_n;
    char value[];
};
struct head_name {
    uint32_t id; /* for hashing alone */
    struct sv name;
    VEC(uint32_t) pairs; /* live ones, any order */
};
/* id -> pointer, in segments; the directory is replaced, never moved: readers need no lock. */
#define HEAD_SEG 256u
struct head_seg {
    _Atomic(void *) p[HEAD_SEG];
    uint32_t live;
};
struct head_table {
    _Atomic(struct head_dir *) dir;
    uint32_t n; /* ids given out */
};
struct head_dir {
    uint32_t cap;
    _Atomic(struct head_seg *) seg[];
};
struct head_slots { /* open addressing, hash -> id; cap a power of two */
    struct {
        uint32_t hash, id; /* id HEAD_NONE: empty */
    } * p;
    uint32_t cap, n;
};
struct head_aliases { /* alias -> series id; forgets everything when full */
    struct hash128 *key;
    uint32_t *id; /* HEAD_NONE: empty */
    uint32_t cap, n;
};

struct head;
/* --- what outlives its place in the index: an open select may still look at it --- */
struct head_grave {
    struct head_grave *next;
    uint64_t gen;
    void (*bury)(struct head *h, void *what);
    void *what;
};
struct head_pin { /* an open select */
    struct head_pin *prev, *next;
    uint64_t gen;
};
struct head_pins {
    struct lock lock; /* alias */
    struct head_pin *oldest, *newest;
    struct head_grave *graves, **graves_end; /* ascending gen */
    uint64_t gen;
};

/* --- the book: windows, epochs and change counters (head_book.c) --- */
struct head_window { /* block_range of sample time that has samples in the head */
    int64_t from_ms, min_ms, max_ms;
    uint64_t samples;
    uint64_t epoch; /* the log is needed from after this position on */
};
struct head_granule {
    int64_t from_ms;
    uint64_t count;
};
struct head_book {
    struct lock lock;                  /* symbols */
    VEC(struct head_window) windows;   /* ascending */
    VEC(struct head_granule) granules; /* ascending */
    uint64_t epoch;                    /* of new records */
    uint32_t gen;                      /* number of the epoch in this process, from 1 */
    bool epoch_open;                   /* false: the next append begins a new one */
    int64_t epoch_window;              /* newest window that the epoch has seen */
    bool has_newest;
    int64_t newest_ms; /* of all samples ever applied */
    int64_t settled_ms, proposed_ms;
    uint64_t proposed_pos;
    bool proposed;
    uint64_t late_pos;   /* newest write below the edge, and the oldest time of such that is */
    int64_t late_min_ms; /* perhaps not durable yet */
    uint64_t all_count;  /* of changes too wide for single granules */
};
/* Samples of one batch by window: gathered before the book is opened. */
struct head_tally {
    int64_t from_ms, min_ms, max_ms;
    uint64_t samples;
};
struct head_tallies {
    struct head_tally *p;
    size_t n, cap;
};

/* What an append needs beside the batch; pooled, so that a steady state allocates nothing. */
struct head_pend {
    struct head_series *series;
    struct batch_sample sample;
};
struct head_row {  /* one batch_series */
    uint32_t id;   /* HEAD_NONE: not known yet, or refused */
    uint32_t next; /* 1 + the next row of the same series */
    uint8_t verdict;
    bool first; /* the first row of its series */
};
struct head_gather {
    struct batch_sample sample;
    uint32_t order;
};
struct head_scratch {
    struct head_scratch *next;
    struct arena arena; /* parsing new series */
    struct buf record, text;
    struct head_tallies tallies;
    VEC(struct head_row) rows;
    VEC(struct head_pend) pends;
    VEC(struct head_gather) gather;
    VEC(uint32_t) missing;
};

struct head_opts {
    const struct clk *clk;
    struct budget *budget;
    const char *tenant;
    int64_t window_ms;
    uint64_t boot;
};
struct head {
    struct head_opts opts;
    struct wal *wal;    /* borrowed; NULL during replay */
    struct rwlock lock; /* head: tables, index, aliases */
    struct head_table series, pairs;
    struct head_slots series_slots, pair_slots;
    VEC(struct head_name *) names;
    struct hmap name_of; /* name -> struct head_name */
    uint32_t names_made;
    VEC(uint32_t) free_pairs;
    struct postings all; /* ids of live series, ascending */
    size_t all_cap;
    uint64_t hash_key;
    uint32_t live; /* series */
    struct head_aliases aliases;
    uint64_t alias_key;           /* of the batches seen; another one empties the cache */
    _Atomic uint64_t index_bytes; /* heap memory of all of the above */
    uint64_t index_charged;

    struct lock writers[HEAD_WRITERS];
    struct lock stripes[HEAD_STRIPES];
    struct head_slab slab;
    struct head_book book;
    struct head_pins pins;
    struct head_scratch *scratch; /* guarded by pins.lock */
    unsigned scratch_n;
    _Atomic uint64_t samples, chunk_bytes; /* floats held; bytes of closed and open chunks */
    _Atomic int64_t touched_ns;            /* monotonic: the last append */

    struct {              /* replay only: one thread */
        struct head_ref { /* open addressing; epoch 1 + the record's, 0: empty */
            uint64_t epoch;
            uint32_t ref, id;
        } * refs;
        size_t refs_cap, refs_n;
        struct head_tallies lost; /* samples whose definition is not there, by window */
        uint64_t begin_pos, begin_lost;
        uint32_t begin_cut;
    } replay;

    uint32_t cut,
        cut_done; /* number of the running or last cut; all up to cut_done are in blocks */
};

/* head.c: life cycle, pins and graves, stats, check */
struct head *head_new(const struct head_opts *opts);
void head_free(struct head *own_h); /* takes NULL; no select may be open */
void head_pin(struct head *h, struct head_pin *pin);
void head_unpin(struct head *h, struct head_pin *pin);
uint64_t head_pins_next(struct head *h); /* a new generation: selects from now on see what is now */
bool head_pins_passed(struct head *h, uint64_t gen); /* no select older than gen is open */
/* `what` is handed to bury() once no select that is open now can see it any more. */
void head_bury(struct head *h, void (*bury)(struct head *h, void *what), void *what);
void head_bury_due(struct head *h); /* head lock for writing */
/* Buries what is due and, when the head is empty, gives its memory back. Stepped, no lock held. */
void head_tidy(struct head *h);
void head_stats(struct head *h, struct db_stats *ret);
enum status head_check(struct head *h, struct err *err);

/* head_series.c: data of one series. The caller holds its writer lock; those that change data take
 * the stripe themselves where it says so. */
struct head_series *head_series_at(const struct head *h, uint32_t id); /* NULL: not there */
static inline struct lock *head_stripe(struct head *h, uint32_t id)
{
    return &h->stripes[(id >> HEAD_STRIPE_SHIFT) % HEAD_STRIPES];
}
static inline uint32_t head_writer_of(uint32_t id)
{
    return (id >> HEAD_WRITER_SHIFT) % HEAD_WRITERS;
}
static inline int64_t head_window_of(const struct head *h, int64_t t_ms)
{
    int64_t w = t_ms / h->opts.window_ms;

    return (t_ms % h->opts.window_ms < 0 ? w - 1 : w) * h->opts.window_ms;
}
static inline size_t head_series_bytes(size_t labels_n)
{
    return sizeof(struct head_series) + labels_n * sizeof(uint32_t);
}
/* Puts a judged sample, not there yet, in its place. Stripe held. */
void head_series_put(struct head *h, struct head_series *s, int64_t t_ms, double f);
/* The sample at t_ms, if the head has one. */
bool head_series_find(const struct head_series *s, int64_t t_ms, double *ret);
bool head_series_empty(const struct head_series *s);
bool head_series_overlaps(const struct head_series *s, struct trange range); /* stripe held */
/* Copies the chunks that overlap the range into out, each as struct head_copy, its bytes and
 * padding; late samples last, as one more with count HEAD_COPY_RAW. Stripe held. */
struct head_copy {
    int64_t first_ms, last_ms;
    uint32_t n_bytes, count; /* count 0: n_bytes of {time, value} pairs */
};
void head_series_copy(const struct head_series *s, struct trange range, bool cut_only, uint32_t cut,
                      struct buf *out);
/* What head_series_copy() wrote, appended to *out and sorted. */
enum status head_copy_decode(struct sv copied, struct trange range, struct samples *out,
                             struct err *err);
/* Gives all of a window to cut number `cut`: closes the open chunk, makes chunks of late samples.
 * Stripe held. Returns the number of samples that the cut has of this series. */
uint64_t head_series_seal(struct head *h, struct head_series *s, int64_t window_ms, uint32_t cut);
/* Drops the chunks of cuts up to `done`, adding them to the tally. Stripe held. */
void head_series_forget(struct head *h, struct head_series *s, uint32_t done,
                        struct head_tallies *gone);
void head_series_unmark(struct head_series *s, uint32_t cut); /* a cut that failed; stripe held */
void head_series_free(struct head *h, struct head_series *s); /* memory alone */
void head_tally_add(struct head_tallies *t, int64_t window_ms, int64_t t_ms, uint64_t samples);
enum status head_series_check(const struct head *h, const struct head_series *s, struct err *err);

/* head_index.c: look-up, creation, eviction. Head lock for reading, or writing where it changes. */
void *head_table_at(const struct head_table *t, uint32_t id);
struct head_series *head_index_find(const struct head *h, struct labels ls, uint32_t hash);
struct head_series *head_index_add(struct head *h, struct labels ls, uint32_t hash); /* write */
uint32_t head_index_hash(const struct head *h, struct labels ls);
uint32_t head_alias_get(const struct head *h, struct hash128 alias);    /* HEAD_NONE: not known */
void head_alias_put(struct head *h, struct hash128 alias, uint32_t id); /* write */
void head_alias_key(struct head *h, uint64_t key);                      /* write */
/* Evicts every series without samples and what only they used. Write. */
size_t head_index_evict(struct head *h);
void head_index_trim(struct head *h); /* write; no series, no pair, no select: gives memory back */
void head_index_fini(struct head *h);
/* Views into pairs, which live as long as the series. out has room for labels_n. */
struct labels head_series_labels(const struct head *h, const struct head_series *s,
                                 struct label *out);
int head_series_cmp(const struct head *h, const struct head_series *a,
                    const struct head_series *b); /* labels_cmp */
struct head_pair *head_pair_at(const struct head *h, uint32_t id);
static inline const uint32_t *head_pair_ids(const struct head_pair *p)
{
    return p->cap ? p->ids : p->few;
}
struct head_pair *head_pair_find(const struct head *h, const struct head_name *name,
                                 struct sv value);
/* head_match.c: ids of the series that all matchers match, ascending, in arena. The caller has a
 * pin and no lock. */
enum status head_index_match(struct head *h, const struct query_ctx *ctx,
                             const struct matcher *const *m, size_t n, struct arena *arena,
                             struct postings *ret, struct err *err);
void head_index_charge(struct head *h);
enum status head_index_check(const struct head *h, struct err *err);

/* head_book.c */
void head_book_init(struct head_book *b);
void head_book_fini(struct head_book *b);
/* Before a batch's records are appended: registers its samples and gives the epoch. */
void head_book_enter(struct head *h, const struct head_tallies *t, uint64_t *ret_epoch,
                     uint32_t *ret_gen);
/* The records did not get into the log. */
void head_book_undo(struct head *h, const struct head_tallies *t);
/* After the samples are in place: newest time, change counters. */
void head_book_leave(struct head *h, const struct head_tallies *t, const struct head_pend *pends,
                     size_t n, uint64_t pos);
void head_book_gone(struct head *h, const struct head_tallies *t);
/* All later records are of a new epoch; samples that stay in a window were logged after it. */
uint64_t head_book_barrier(struct head *h);
void head_book_rebase(struct head *h, int64_t window_ms, uint64_t epoch);
void head_book_replayed(struct head *h, const struct head_tallies *t, uint64_t epoch);
bool head_book_newest(struct head *h, int64_t *ret_ms);
void head_book_bump(struct head *h, struct trange range);
void head_book_mark(struct head *h, struct trange range, struct change_mark *ret);
void head_book_settle(struct head *h);

/* head_append.c */
enum status head_append(struct head *h, const struct batch *batch, const struct append_rules *rules,
                        struct append_result *ret, struct err *err);
void head_scratch_free(struct head_scratch *own_s);

/* head_read.c */
enum status head_select(struct head *h, const struct query_ctx *ctx, const struct select_req *req,
                        struct series_set **ret, struct err *err);
enum status head_label_names(struct head *h, const struct query_ctx *ctx,
                             const struct select_req *req, struct names *ret, struct err *err);
enum status head_label_values(struct head *h, const struct query_ctx *ctx, struct sv name,
                              const struct select_req *req, struct names *ret, struct err *err);

/* --- the db around it --- */
struct db {
    struct db_opts opts; /* strings are own copies */
    struct head *head;
    struct lock lock;           /* db: all below */
    VEC(struct block *) blocks; /* ascending cut_seq */
    bool cutting;
    bool idle;           /* db_wants_cut() found the head idle */
    uint64_t forget_gen; /* cuts up to head.cut_done leave the head once this has passed; 0 none */
};
/* db_cut.c: samples of finished cuts leave the head when no older select is open. */
void db_forget(struct db *d);
/* db_replay.c */
void db_replay_done(struct db *d);

#endif
