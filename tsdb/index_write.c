/* Writing an index, version 2, byte for byte as Prometheus 3.5 writes it.
 *
 *   +------------------------------+---------------------------------------------+
 *   | magic 0xbaaad700 be32 | 2 u8 |                                             |
 *   +------------------------------+                                             |
 *   | symbols        len be32, n be32, n x (uvarint len, bytes), crc; sorted     |
 *   | series         each at 16: uvarint len, payload, crc of the payload        |
 *   | label indices  each at 4: len, 1 be32, n be32, n x value's symbol, crc     |
 *   | postings       each at 4: len, n be32, n x series reference be32, crc      |
 *   | label index offsets   len, n, n x (1, name, uvarint offset), crc           |
 *   | postings offsets      len, n, n x (2, name, value, uvarint offset), crc    |
 *   | table of contents     6 x be64: the offsets above (labels' table before    |
 *   |                       the postings), crc                                   |
 *   +----------------------------------------------------------------------------+
 *
 *   series payload   uvarint n, n x (uvarint name, uvarint value): numbers of sorted symbols
 *                    uvarint m, m chunks: first: varint first_ms, uvarint last - first, uvarint ref
 *                               others: uvarint first - last', uvarint last - first, varint ref - ref'
 *
 * A series' reference is its offset / 16. The first list is of all series, under the pair ("", "").
 *
 * Symbols stand before the series but are known only after the last of them. So series go to a
 * temporary part, with numbers of label pairs instead of symbols and with their chunks as they will
 * stand; finish() sorts the symbols and copies the part into its place. Posting lists are gathered
 * by reading the part again, a window of lists at a time.
 *
 * Memory: for a million series of ten labels, of which one is unique to the series: 1.2 million
 * strings (bytes + 16 each, + 8 when sorting), as many pairs (20 each, + 8), 4 bytes a series, and
 * the window of 16 MiB: about 120 MiB with strings of 30 bytes. The rest is on disk. */
#include "block_int.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW_IDS   ((size_t)4 << 20)
#define RECORD_MAX   ((size_t)256 << 20) /* one series' labels and chunk table */
#define READ_BYTES   ((size_t)256 << 10)
#define NOWHERE      UINT32_MAX

struct toc {
    uint64_t symbols, series, label_indices, label_table, postings, postings_table;
};

struct index_writer {
    const struct fs *fs;
    char part_path[FS_PATH_MAX], path[FS_PATH_MAX];
    struct block_out part, out;
    struct index_intern strings;
    struct index_pairs pairs; /* once sorted, their keys hold ranks instead of numbers */
    VEC(uint32_t) last;       /* pairs of the last series */
    VEC(uint32_t) refs;       /* of the series written, in order */
    VEC(uint64_t) label_off;  /* of the label indices, in order of name */
    struct buf scratch;
    uint32_t *rank;           /* of string i among the sorted */
    uint32_t *strings_sorted, *pairs_sorted;
    uint64_t series_n;
    size_t window;
    struct toc toc;
};

enum status index_writer_open(const struct fs *fs, const char *dir, struct index_writer **ret,
                              struct err *err)
{
    struct index_writer *w = heap_new(struct index_writer);
    enum status st;

    w->fs = fs;
    w->window = WINDOW_IDS;
    w->part.fd = w->out.fd = -1;
    index_intern_init(&w->strings);
    index_pairs_init(&w->pairs);
    buf_init(&w->scratch, RECORD_MAX);
    index_intern_put(&w->strings, SV(""));
    if (!fs_join(w->path, dir, BLOCK_INDEX) || !fs_join(w->part_path, dir, "index.part"))
        st = err_set(err, ST_INVALID, "path is too long: %s", dir);
    else
        st = block_out_open(&w->part, fs, w->part_path, err);
    if (st != ST_OK) {
        index_writer_free(w);
        return st;
    }
    *ret = w;
    return ST_OK;
}

void index_writer_free(struct index_writer *w)
{
    if (!w)
        return;
    block_out_fini(&w->part);
    block_out_fini(&w->out);
    index_intern_fini(&w->strings);
    index_pairs_fini(&w->pairs);
    vec_free(&w->last);
    vec_free(&w->refs);
    vec_free(&w->label_off);
    buf_fini(&w->scratch);
    heap_free(w->rank);
    heap_free(w->strings_sorted);
    heap_free(w->pairs_sorted);
    heap_free(w);
}

void index_writer_window(struct index_writer *w, size_t ids)
{
    w->window = ids;
}

/* --- taking series --- */

static enum status check_labels(const struct index_writer *w, struct labels ls, struct err *err)
{
    int c = 0;

    for (size_t i = 0; i < ls.n; i++) {
        if (ls.p[i].value.n == 0 || ls.p[i].name.n == 0)
            return err_set(err, ST_INVALID, "series with an empty label name or value");
        if (i && sv_cmp(ls.p[i - 1].name, ls.p[i].name) >= 0)
            return err_set(err, ST_INVALID, "label names of a series don't ascend");
    }
    if (ls.n == 0)
        return err_set(err, ST_INVALID, "series without labels");
    for (size_t i = 0; i < ls.n && i < w->last.n && c == 0; i++) {
        uint64_t key = w->pairs.key.p[w->last.p[i]];

        c = sv_cmp(ls.p[i].name, index_intern_get(&w->strings, (uint32_t)(key >> 32)));
        if (c == 0)
            c = sv_cmp(ls.p[i].value, index_intern_get(&w->strings, (uint32_t)key));
    }
    if (w->series_n && (c < 0 || (c == 0 && ls.n <= w->last.n)))
        return err_set(err, ST_INVALID, "series don't ascend");
    return ST_OK;
}

static void put_chunks(struct buf *b, const struct index_chunk *c, size_t n)
{
    buf_uvarint(b, n);
    for (size_t i = 0; i < n; i++) {
        if (i == 0)
            buf_varint(b, c[i].first_ms);
        else
            buf_uvarint(b, (uint64_t)c[i].first_ms - (uint64_t)c[i - 1].last_ms);
        buf_uvarint(b, (uint64_t)c[i].last_ms - (uint64_t)c[i].first_ms);
        if (i == 0)
            buf_uvarint(b, c[i].ref);
        else
            buf_varint(b, (int64_t)(c[i].ref - c[i - 1].ref));
    }
}

enum status index_writer_series(struct index_writer *w, struct labels labels,
                                const struct index_chunk *chunks, size_t n, struct err *err)
{
    struct buf *b = &w->scratch;
    char head[4];
    struct buf len = {head, 0, 4, 4, false};

    TRY(check_labels(w, labels, err));
    buf_clear(b);
    buf_uvarint(b, labels.n);
    w->last.n = 0;
    for (size_t i = 0; i < labels.n; i++) {
        uint32_t name = index_intern_put(&w->strings, labels.p[i].name);
        uint32_t value = index_intern_put(&w->strings, labels.p[i].value);
        uint32_t pair = index_pairs_put(&w->pairs, name, value);

        vec_push(&w->last, pair);
        buf_uvarint(b, pair);
    }
    put_chunks(b, chunks, n);
    if (!buf_ok(b))
        return err_set(err, ST_LIMIT, "series with %zu chunks", n);
    w->series_n++;
    buf_be32(&len, (uint32_t)b->n);
    TRY(block_out_put(&w->part, buf_view(&len), err));
    return block_out_put(&w->part, buf_view(b), err);
}

/* --- reading the part again --- */

struct part_in {
    const struct index_writer *w;
    int fd;
    uint64_t off, left; /* of the file: what is not in the buffer */
    char *p;
    size_t at, n, cap;
};

static enum status part_open(struct part_in *in, const struct index_writer *w, struct err *err)
{
    *in = (struct part_in){.w = w, .fd = -1, .left = w->part.off, .cap = READ_BYTES};
    TRY(fs_open(w->fs, w->part_path, O_RDONLY, &in->fd, err));
    in->p = heap_alloc(in->cap);
    return ST_OK;
}

static void part_close(struct part_in *in)
{
    fs_close(in->w->fs, in->fd);
    heap_free(in->p);
}

/* At least n bytes from in->at on. */
static enum status part_need(struct part_in *in, size_t n, struct err *err)
{
    if (in->n - in->at >= n)
        return ST_OK;
    memmove(in->p, in->p + in->at, in->n - in->at);
    in->n -= in->at;
    in->at = 0;
    if (n > in->cap) {
        in->p = heap_realloc(in->p, n);
        in->cap = n;
    }
    while (in->n < n) {
        const struct fs *fs = in->w->fs;
        ssize_t got = fs->ops->pread(fs, in->fd, in->p + in->n, in->cap - in->n, (off_t)in->off);

        if (got < 0)
            return err_os(err, "read %s", in->w->part_path);
        if (got == 0 || (uint64_t)got > in->left)
            return err_set(err, ST_IO, "%s: not as long as written", in->w->part_path);
        in->n += (size_t)got;
        in->off += (uint64_t)got;
        in->left -= (uint64_t)got;
    }
    return ST_OK;
}

/* The next record; valid until the next call. */
static enum status part_next(struct part_in *in, struct cur *ret, struct err *err)
{
    struct cur head;
    uint32_t n;

    TRY(part_need(in, 4, err));
    head = cur_of(sv_make(in->p + in->at, 4));
    n = cur_be32(&head);
    in->at += 4;
    TRY(part_need(in, n, err));
    *ret = cur_of(sv_make(in->p + in->at, n));
    in->at += n;
    return ST_OK;
}

/* --- sections --- */

static enum status put_be(struct index_writer *w, uint64_t v, unsigned bytes, struct err *err)
{
    char be[8];
    struct buf b = {be, 0, 8, 8, false};

    if (bytes == 4)
        buf_be32(&b, (uint32_t)v);
    else
        buf_be64(&b, v);
    return block_out_put(&w->out, buf_view(&b), err);
}

static size_t uvarint_bytes(uint64_t v)
{
    size_t n = 1;

    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

static enum status section_begin(struct index_writer *w, uint64_t len, const char *what,
                                 struct err *err)
{
    if (len > UINT32_MAX)
        return err_set(err, ST_LIMIT, "the index's %s would pass 4 GiB", what);
    TRY(put_be(w, len, 4, err));
    block_out_crc_begin(&w->out);
    return ST_OK;
}

static int by_string(const void *a, const void *b, void *arg)
{
    const struct index_intern *t = arg;

    return sv_cmp(index_intern_get(t, *(const uint32_t *)a), index_intern_get(t, *(const uint32_t *)b));
}

static enum status put_symbols(struct index_writer *w, struct err *err)
{
    size_t n = index_intern_n(&w->strings);
    uint64_t len = 4;

    w->toc.symbols = w->out.off;
    w->strings_sorted = heap_array(n, sizeof(uint32_t));
    w->rank = heap_array(n, sizeof(uint32_t));
    for (uint32_t i = 0; i < n; i++) {
        struct sv s = index_intern_get(&w->strings, i);

        w->strings_sorted[i] = i;
        len += uvarint_bytes(s.n) + s.n;
    }
    qsort_r(w->strings_sorted, n, sizeof(uint32_t), by_string, &w->strings);
    TRY(section_begin(w, len, "symbols", err));
    TRY(put_be(w, n, 4, err));
    for (uint32_t i = 0; i < n; i++) {
        struct sv s = index_intern_get(&w->strings, w->strings_sorted[i]);

        w->rank[w->strings_sorted[i]] = i;
        buf_clear(&w->scratch);
        buf_uvarint(&w->scratch, s.n);
        buf_sv(&w->scratch, s);
        if (!buf_ok(&w->scratch))
            return err_set(err, ST_LIMIT, "label of %zu bytes", s.n);
        TRY(block_out_put(&w->out, buf_view(&w->scratch), err));
    }
    return block_out_crc_end(&w->out, err);
}

static int by_key(const void *a, const void *b, void *arg)
{
    const uint64_t *key = arg;
    uint64_t x = key[*(const uint32_t *)a], y = key[*(const uint32_t *)b];

    return (x > y) - (x < y);
}

static void sort_pairs(struct index_writer *w)
{
    size_t n = w->pairs.key.n;

    w->pairs_sorted = heap_array(n, sizeof(uint32_t));
    for (uint32_t i = 0; i < n; i++) {
        uint64_t key = w->pairs.key.p[i];

        w->pairs.key.p[i] = (uint64_t)w->rank[key >> 32] << 32 | w->rank[(uint32_t)key];
        w->pairs_sorted[i] = i;
    }
    qsort_r(w->pairs_sorted, n, sizeof(uint32_t), by_key, w->pairs.key.p);
}

static uint64_t sorted_key(const struct index_writer *w, size_t i)
{
    return w->pairs.key.p[w->pairs_sorted[i]];
}

static enum status put_one_series(struct index_writer *w, struct cur *rec, struct err *err)
{
    struct buf *b = &w->scratch;
    uint64_t n = cur_uvarint(rec);
    char head[10];
    struct buf len = {head, 0, 10, 10, false};

    buf_clear(b);
    buf_uvarint(b, n);
    for (uint64_t i = 0; i < n && !rec->bad; i++) {
        uint64_t pair = cur_uvarint(rec), key;

        if (pair >= w->pairs.key.n)
            return err_set(err, ST_IO, "%s: not as written", w->part_path);
        key = w->pairs.key.p[pair];
        buf_uvarint(b, key >> 32);
        buf_uvarint(b, (uint32_t)key);
    }
    buf_put(b, rec->p, cur_left(rec));
    if (rec->bad || !buf_ok(b))
        return err_set(err, ST_IO, "%s: not as written", w->part_path);
    TRY(block_out_pad(&w->out, INDEX_ALIGN, err));
    if (w->out.off / INDEX_ALIGN > UINT32_MAX)
        return err_set(err, ST_LIMIT, "the index's series would pass 64 GiB");
    vec_push(&w->refs, (uint32_t)(w->out.off / INDEX_ALIGN));
    buf_uvarint(&len, b->n);
    TRY(block_out_put(&w->out, buf_view(&len), err));
    block_out_crc_begin(&w->out);
    TRY(block_out_put(&w->out, buf_view(b), err));
    return block_out_crc_end(&w->out, err);
}

static enum status put_series(struct index_writer *w, struct err *err)
{
    enum status st = ST_OK;
    struct part_in in;
    struct cur rec;

    w->toc.series = w->out.off;
    TRY_GOTO(part_open(&in, w, err));
    for (uint64_t i = 0; i < w->series_n; i++) {
        TRY_GOTO(part_next(&in, &rec, err));
        TRY_GOTO(put_one_series(w, &rec, err));
    }
out:
    part_close(&in);
    return st;
}

static enum status put_label_indices(struct index_writer *w, struct err *err)
{
    size_t n = w->pairs.key.n;

    w->toc.label_indices = w->out.off;
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && sorted_key(w, end) >> 32 == sorted_key(w, i) >> 32;)
            end++;
        TRY(block_out_pad(&w->out, 4, err));
        vec_push(&w->label_off, w->out.off);
        TRY(section_begin(w, 8 + 4 * (uint64_t)(end - i), "label index", err));
        TRY(put_be(w, 1, 4, err));
        TRY(put_be(w, end - i, 4, err));
        for (size_t k = i; k < end; k++)
            TRY(put_be(w, (uint32_t)sorted_key(w, k), 4, err));
        TRY(block_out_crc_end(&w->out, err));
    }
    return ST_OK;
}

static enum status put_list(struct index_writer *w, const uint32_t *ids, size_t n, struct err *err)
{
    assert(w->out.off % 4 == 0);
    TRY(section_begin(w, 4 + 4 * (uint64_t)n, "postings", err));
    TRY(put_be(w, n, 4, err));
    for (size_t i = 0; i < n; i++)
        TRY(put_be(w, ids[i], 4, err));
    return block_out_crc_end(&w->out, err);
}

/* Reads the part once and puts each series into the lists of the window: at[pair] is where the next
 * id of that pair goes. */
static enum status gather(struct index_writer *w, uint32_t *at, uint32_t *ids, struct err *err)
{
    enum status st = ST_OK;
    struct part_in in;
    struct cur rec;

    TRY_GOTO(part_open(&in, w, err));
    for (uint64_t i = 0; i < w->series_n; i++) {
        TRY_GOTO(part_next(&in, &rec, err));
        for (uint64_t n = cur_uvarint(&rec); n && !rec.bad; n--) {
            uint64_t pair = cur_uvarint(&rec);

            if (pair < w->pairs.key.n && at[pair] != NOWHERE)
                ids[at[pair]++] = w->refs.p[i];
        }
    }
out:
    part_close(&in);
    return st;
}

static enum status put_window(struct index_writer *w, size_t from, size_t to, size_t ids_n,
                              uint32_t *at, struct err *err)
{
    uint32_t *ids = heap_alloc(ids_n * sizeof(*ids));
    const uint32_t *pairs = w->pairs_sorted;
    enum status st = ST_OK;
    uint32_t start = 0;

    for (size_t i = from; i < to; i++) {
        at[pairs[i]] = start;
        start += w->pairs.count.p[pairs[i]];
    }
    assert(start == ids_n);
    TRY_GOTO(gather(w, at, ids, err));
    start = 0;
    for (size_t i = from; i < to; i++) {
        uint32_t n = w->pairs.count.p[pairs[i]];

        assert(at[pairs[i]] == start + n);
        at[pairs[i]] = NOWHERE;
        TRY_GOTO(put_list(w, ids + start, n, err));
        start += n;
    }
out:
    heap_free(ids);
    return st;
}

static enum status put_postings(struct index_writer *w, struct err *err)
{
    size_t n = w->pairs.key.n;
    uint32_t *at = heap_alloc(n * sizeof(*at));
    enum status st = ST_OK;

    memset(at, 0xff, n * sizeof(*at));
    TRY_GOTO(block_out_pad(&w->out, 4, err));
    w->toc.postings = w->out.off;
    TRY_GOTO(put_list(w, w->refs.p, w->refs.n, err));
    for (size_t from = 0, to; from < n; from = to) {
        size_t ids = w->pairs.count.p[w->pairs_sorted[from]];

        for (to = from + 1; to < n; to++) {
            uint32_t more = w->pairs.count.p[w->pairs_sorted[to]];

            if (ids + more > w->window)
                break;
            ids += more;
        }
        TRY_GOTO(put_window(w, from, to, ids, at, err));
    }
out:
    heap_free(at);
    return st;
}

static void add_str(struct buf *b, const struct index_writer *w, uint64_t rank)
{
    struct sv s = index_intern_get(&w->strings, w->strings_sorted[rank]);

    buf_uvarint(b, s.n);
    buf_sv(b, s);
}

static enum status put_label_table(struct index_writer *w, struct err *err)
{
    struct buf *b = &w->scratch;
    size_t n = w->pairs.key.n;

    w->toc.label_table = w->out.off;
    buf_clear(b);
    buf_be32(b, (uint32_t)w->label_off.n);
    for (size_t i = 0, k = 0; i < n; i++) {
        if (i && sorted_key(w, i) >> 32 == sorted_key(w, i - 1) >> 32)
            continue;
        buf_uvarint(b, 1);
        add_str(b, w, sorted_key(w, i) >> 32);
        buf_uvarint(b, w->label_off.p[k++]);
    }
    if (!buf_ok(b))
        return err_set(err, ST_LIMIT, "%zu label names", w->label_off.n);
    TRY(section_begin(w, b->n, "label table", err));
    TRY(block_out_put(&w->out, buf_view(b), err));
    return block_out_crc_end(&w->out, err);
}

static void postings_row(struct index_writer *w, uint64_t name, uint64_t value, uint64_t off)
{
    buf_clear(&w->scratch);
    buf_uvarint(&w->scratch, 2);
    add_str(&w->scratch, w, name);
    add_str(&w->scratch, w, value);
    buf_uvarint(&w->scratch, off);
}

/* Once to measure (put false), once to write: the section's length comes first. */
static enum status postings_rows(struct index_writer *w, bool put, uint64_t *len, struct err *err)
{
    uint64_t off = w->toc.postings;

    *len = 4;
    for (size_t i = 0; i <= w->pairs.key.n; i++) {
        uint64_t key = i ? sorted_key(w, i - 1) : 0; /* "" is the lowest symbol */
        uint64_t n = i ? w->pairs.count.p[w->pairs_sorted[i - 1]] : w->refs.n;

        postings_row(w, key >> 32, (uint32_t)key, off);
        *len += w->scratch.n;
        if (put)
            TRY(block_out_put(&w->out, buf_view(&w->scratch), err));
        off += 4 + 4 + 4 * n + 4;
    }
    return ST_OK;
}

static enum status put_postings_table(struct index_writer *w, struct err *err)
{
    uint64_t len;

    w->toc.postings_table = w->out.off;
    TRY(postings_rows(w, false, &len, err));
    TRY(section_begin(w, len, "postings table", err));
    TRY(put_be(w, w->pairs.key.n + 1, 4, err));
    TRY(postings_rows(w, true, &len, err));
    return block_out_crc_end(&w->out, err);
}

static enum status put_toc(struct index_writer *w, struct err *err)
{
    const uint64_t off[] = {w->toc.symbols,     w->toc.series,   w->toc.label_indices,
                            w->toc.label_table, w->toc.postings, w->toc.postings_table};

    block_out_crc_begin(&w->out);
    for (size_t i = 0; i < sizeof(off) / sizeof(*off); i++)
        TRY(put_be(w, off[i], 8, err));
    return block_out_crc_end(&w->out, err);
}

enum status index_writer_finish(struct index_writer *w, struct err *err)
{
    if (w->series_n == 0)
        return err_set(err, ST_INVALID, "an index without series");
    TRY(block_out_flush(&w->part, err));
    TRY(block_out_open(&w->out, w->fs, w->path, err));
    TRY(put_be(w, INDEX_MAGIC, 4, err));
    TRY(block_out_put(&w->out, sv_make(&(uint8_t){INDEX_VERSION}, 1), err));
    TRY(put_symbols(w, err));
    sort_pairs(w);
    TRY(put_series(w, err));
    TRY(put_label_indices(w, err));
    TRY(put_postings(w, err));
    TRY(put_label_table(w, err));
    TRY(put_postings_table(w, err));
    TRY(put_toc(w, err));
    TRY(block_out_finish(&w->out, err));
    block_out_fini(&w->part);
    return fs_unlink(w->fs, w->part_path, err);
}
