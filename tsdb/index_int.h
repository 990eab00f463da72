/* tsdb/index_int.h
 *
 * Reading an index through a struct block_source. What an open index holds: the offset of every
 * 32nd symbol, and for each label name every 32nd of its values with its place in the postings
 * offset table. The rest is read when asked.
 *
 * Threads: immutable once open. Scans and series are values of the caller.
 * Errors:  ST_CORRUPT with section and offset.
 */
#ifndef ENGRAM_TSDB_INDEX_INT_H
#define ENGRAM_TSDB_INDEX_INT_H

#include "block_int.h"

struct index_toc {
    uint64_t symbols, series, label_indices, label_table, postings, postings_table;
};

/* A value whose row is remembered. */
struct index_sparse {
    uint32_t row_off;          /* from the table's first row */
    uint32_t text_off, text_n; /* the value, in text */
};

struct index_name {
    uint32_t text_off, text_n;
    uint32_t sparse_off, sparse_n; /* in sparse */
    uint32_t rows_from, rows_to;   /* bytes, from the table's first row */
    uint32_t values;               /* how many */
};

struct index {
    struct block_source *src; /* borrowed: the block's */
    uint64_t size;
    bool trust;               /* don't verify checksums: for fuzzing alone */
    struct index_toc toc;
    uint64_t series_end;      /* no series from here on */
    uint64_t symbols_at;      /* of the first symbol */
    uint32_t symbols_n, symbols_bytes;
    uint64_t rows_at;         /* of the first row of the postings table */
    VEC(uint32_t) symbols;    /* offset of every 32nd, from symbols_at */
    VEC(struct index_name) names;
    VEC(struct index_sparse) sparse;
    VEC(char) text;
};

enum status index_open(struct index *ix, struct block_source *src, bool trust, struct err *err);
void index_close(struct index *ix);
static inline struct sv index_text(const struct index *ix, uint32_t off, uint32_t n)
{
    return sv_make(ix->text.p + off, n);
}
/* NULL when no series has the label. */
const struct index_name *index_name_find(const struct index *ix, struct sv name);

/* A walk over variable-length entries, window by window. */
struct index_scan {
    const struct index *ix;
    uint64_t at, end;      /* in the file */
    uint64_t view_at;
    struct sv view;
    struct block_lease lease;
    bool leased;
    uint32_t crc;          /* of everything passed */
};
void index_scan_begin(struct index_scan *s, const struct index *ix, uint64_t from, uint64_t to);
void index_scan_end(struct index_scan *s);
/* Views are valid until the next call. */
enum status index_scan_symbol(struct index_scan *s, struct sv *ret, struct err *err);
enum status index_scan_row(struct index_scan *s, struct sv *ret_name, struct sv *ret_value,
                           uint64_t *ret_off, struct err *err);

/* Rows of one name from the first value >= from on (which can lie before it). */
void index_values_begin(struct index_scan *s, const struct index *ix,
                        const struct index_name *name, struct sv from);
/* *ret_off 0: no series has it. */
enum status index_value_find(const struct index *ix, struct sv name, struct sv value,
                             uint64_t *ret_off, struct err *err);

/* The number of ids, by the list's head. */
enum status index_postings_n(const struct index *ix, uint64_t off, uint32_t *ret, struct err *err);
/* p has room for n, as index_postings_n() said. */
enum status index_postings_read(const struct index *ix, uint64_t off, uint32_t n, uint32_t *p,
                                struct err *err);

/* A view of symbol i, valid until the lease is released. */
enum status index_symbol(const struct index *ix, uint32_t i, struct sv *ret,
                         struct block_lease *ret_lease, struct err *err);

struct index_pair {
    uint32_t name, value; /* numbers of symbols */
};
struct index_series {
    VEC(struct index_pair) pairs;
    VEC(struct index_chunk) chunks;
    uint64_t end; /* of its bytes in the file, checksum included */
};
/* Replaces what *ret held. */
enum status index_series_read(const struct index *ix, uint32_t id, struct index_series *ret,
                              struct err *err);
void index_series_fini(struct index_series *s);

#endif
