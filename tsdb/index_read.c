/* Reading an index: opening it, looking up values, lists, symbols and series. The drawing is in
 * index_write.c. Whatever a file says about lengths and counts is held against its size before it
 * is used; a checksum is verified wherever a whole checked section is read. */
#include "index_int.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>

#define WINDOW_BYTES ((size_t)256 << 10) /* of a long scan */
#define LOOK_BYTES   ((size_t)4 << 10)   /* of a short one: 32 rows of a table, usually */
#define SERIES_GUESS ((size_t)1 << 10)   /* most series are shorter */
#define TEXT_MAX     ((size_t)2 << 30)   /* of the values that an open index holds */

static enum status bad(struct err *err, const char *what, uint64_t off)
{
    return err_set(err, ST_CORRUPT, "index: %s at %" PRIu64, what, off);
}

static enum status get(const struct index *ix, uint64_t off, size_t n, struct sv *ret,
                       struct block_lease *lease, struct err *err)
{
    if (off > ix->size || n > ix->size - off)
        return bad(err, "a place past the end", off);
    return ix->src->ops->get(ix->src, BLOCK_INDEX, off, n, ret, lease, err);
}

static void give(const struct index *ix, struct block_lease *lease)
{
    ix->src->ops->release(ix->src, lease);
}

/* --- scans --- */

void index_scan_begin(struct index_scan *s, const struct index *ix, uint64_t from, uint64_t to)
{
    assert(from <= to && to <= ix->size);
    *s = (struct index_scan){.ix = ix, .at = from, .end = to};
}

void index_scan_end(struct index_scan *s)
{
    if (s->leased)
        give(s->ix, &s->lease);
    s->leased = false;
}

/* Makes the view hold `want` bytes from s->at on, or all there are until the end. */
static enum status look(struct index_scan *s, size_t want, struct err *err)
{
    uint64_t left = s->end - s->at, used = s->at - s->view_at;

    if (want > left)
        want = left;
    if (s->leased && s->view.n - used >= want)
        return ST_OK;
    index_scan_end(s);
    TRY(get(s->ix, s->at, want, &s->view, &s->lease, err));
    s->leased = true;
    s->view_at = s->at;
    return ST_OK;
}

struct row {
    struct sv name, value;
    uint64_t off;
};

static void parse_symbol(struct cur *c, struct row *r)
{
    r->value = cur_uvarint_bytes(c);
}

static void parse_row(struct cur *c, struct row *r)
{
    if (cur_uvarint(c) != 2)
        c->bad = true;
    r->name = cur_uvarint_bytes(c);
    r->value = cur_uvarint_bytes(c);
    r->off = cur_uvarint(c);
}

/* One entry; when it does not fit into the view, the view grows until it reaches the end. */
static enum status scan(struct index_scan *s, void (*parse)(struct cur *, struct row *),
                        struct row *r, struct err *err)
{
    size_t base = s->end - s->at > LOOK_BYTES * 4 ? WINDOW_BYTES : LOOK_BYTES, window = base;

    /* a window is used up before the next one is taken */
    if (s->leased && s->at - s->view_at < s->view.n)
        window = s->view.n - (size_t)(s->at - s->view_at);
    for (;; window = window < base ? base : window * 4) {
        struct sv rest;
        struct cur c;

        TRY(look(s, window, err));
        rest = sv_sub(s->view, (size_t)(s->at - s->view_at), s->view.n);
        c = cur_of(rest);
        parse(&c, r);
        if (!c.bad) {
            size_t used = rest.n - cur_left(&c);

            s->crc = crc32c(s->crc, rest.p, used);
            s->at += used;
            return ST_OK;
        }
        if (rest.n >= s->end - s->at)
            return bad(err, "a damaged entry", s->at);
    }
}

enum status index_scan_symbol(struct index_scan *s, struct sv *ret, struct err *err)
{
    struct row r;

    TRY(scan(s, parse_symbol, &r, err));
    *ret = r.value;
    return ST_OK;
}

enum status index_scan_row(struct index_scan *s, struct sv *ret_name, struct sv *ret_value,
                           uint64_t *ret_off, struct err *err)
{
    struct row r;

    TRY(scan(s, parse_row, &r, err));
    *ret_name = r.name;
    *ret_value = r.value;
    *ret_off = r.off;
    return ST_OK;
}

/* --- opening --- */

static enum status read_frame(struct index *ix, struct err *err)
{
    struct block_lease lease;
    uint64_t at;
    struct sv s;
    struct cur c;
    uint32_t magic;
    uint8_t version;

    TRY(ix->src->ops->size(ix->src, BLOCK_INDEX, &ix->size, err));
    if (ix->size < INDEX_HEADER + INDEX_TOC_BYTES)
        return err_set(err, ST_CORRUPT, "index: only %" PRIu64 " bytes", ix->size);
    TRY(get(ix, 0, INDEX_HEADER, &s, &lease, err));
    c = cur_of(s);
    magic = cur_be32(&c);
    version = cur_u8(&c);
    give(ix, &lease);
    if (magic != INDEX_MAGIC)
        return bad(err, "no magic number", 0);
    if (version != INDEX_VERSION)
        return err_set(err, ST_CORRUPT, "index: version %u, only %d is known", version,
                       INDEX_VERSION);
    at = ix->size - INDEX_TOC_BYTES;
    TRY(get(ix, at, INDEX_TOC_BYTES, &s, &lease, err));
    c = cur_of(s);
    ix->toc = (struct index_toc){cur_be64(&c), cur_be64(&c), 0, 0, 0, 0};
    ix->toc.label_indices = cur_be64(&c);
    ix->toc.label_table = cur_be64(&c);
    ix->toc.postings = cur_be64(&c);
    ix->toc.postings_table = cur_be64(&c);
    if (!ix->trust && crc32c(0, s.p, INDEX_TOC_BYTES - 4) != cur_be32(&c)) {
        give(ix, &lease);
        return bad(err, "wrong checksum of the table of contents", at);
    }
    give(ix, &lease);
    return ST_OK;
}

static enum status place_sections(struct index *ix, struct err *err)
{
    uint64_t at = ix->size - INDEX_TOC_BYTES;
    const uint64_t after[] = {ix->toc.label_indices, ix->toc.label_table, ix->toc.postings,
                              ix->toc.postings_table, at};

    /* Newer writers leave the label indices out and their places 0. */
    if (ix->toc.symbols < INDEX_HEADER || ix->toc.series <= ix->toc.symbols ||
        ix->toc.series > at || ix->toc.postings < ix->toc.series || ix->toc.postings > at ||
        ix->toc.postings_table < ix->toc.series || ix->toc.postings_table > at)
        return bad(err, "impossible places in the table of contents", at);
    ix->series_end = at;
    for (size_t i = 0; i < sizeof(after) / sizeof(*after); i++)
        if (after[i] >= ix->toc.series && after[i] < ix->series_end)
            ix->series_end = after[i];
    return ST_OK;
}

/* A section `len be32, n be32, entries, crc`: a scan over its entries, their number, len itself. */
static enum status section(struct index *ix, uint64_t at, struct index_scan *s, uint32_t *ret_n,
                           uint32_t *ret_len, struct err *err)
{
    struct block_lease lease;
    uint32_t len, n;
    struct sv v;
    struct cur c;

    TRY(get(ix, at, 8, &v, &lease, err));
    c = cur_of(v);
    len = cur_be32(&c);
    n = cur_be32(&c);
    if (len < 4 || len > ix->size - at - 8 || n > len - 4) {
        give(ix, &lease);
        return bad(err, "a section longer than the file", at);
    }
    index_scan_begin(s, ix, at + 8, at + 4 + len);
    s->crc = crc32c(0, v.p + 4, 4);
    give(ix, &lease);
    *ret_n = n;
    *ret_len = len;
    return ST_OK;
}

static enum status section_done(struct index *ix, struct index_scan *s, struct err *err)
{
    struct block_lease lease;
    uint64_t end = s->end;
    uint32_t crc;
    struct sv v;
    struct cur c;

    if (s->at != s->end)
        return bad(err, "bytes behind the last entry", s->at);
    TRY(get(ix, end, 4, &v, &lease, err));
    c = cur_of(v);
    crc = cur_be32(&c);
    give(ix, &lease);
    if (crc != s->crc && !ix->trust)
        return bad(err, "wrong checksum of the section that ends", end);
    return ST_OK;
}

static enum status read_symbols(struct index *ix, struct err *err)
{
    enum status st = ST_OK;
    struct index_scan s;
    uint32_t len;
    struct sv v;

    TRY(section(ix, ix->toc.symbols, &s, &ix->symbols_n, &len, err));
    ix->symbols_at = ix->toc.symbols + 8;
    ix->symbols_bytes = len - 4;
    for (uint32_t i = 0; i < ix->symbols_n; i++) {
        if (i % INDEX_SPARSE == 0)
            vec_push(&ix->symbols, (uint32_t)(s.at - ix->symbols_at));
        TRY_GOTO(index_scan_symbol(&s, &v, err));
    }
    st = section_done(ix, &s, err);
out:
    index_scan_end(&s);
    return st;
}

static enum status add_text(struct index *ix, struct sv s, uint32_t *ret_off, struct err *err)
{
    if (s.n > TEXT_MAX - ix->text.n)
        return err_set(err, ST_LIMIT, "index: its label values need more than 2 GiB");
    vec_reserve(&ix->text, ix->text.n + s.n);
    if (s.n)
        memcpy(ix->text.p + ix->text.n, s.p, s.n);
    *ret_off = (uint32_t)ix->text.n;
    ix->text.n += s.n;
    return ST_OK;
}

static enum status take_row(struct index *ix, uint32_t row_off, struct sv name, struct sv value,
                            struct err *err)
{
    struct index_name *n = ix->names.n ? &ix->names.p[ix->names.n - 1] : NULL;
    int c = n ? sv_cmp(index_text(ix, n->text_off, n->text_n), name) : -1;
    struct index_sparse sp = {row_off, 0, (uint32_t)value.n};

    if (c > 0)
        return bad(err, "label names that don't ascend", ix->rows_at + row_off);
    if (c < 0) {
        uint32_t off = 0;

        TRY(add_text(ix, name, &off, err));
        n = vec_add(&ix->names);
        *n = (struct index_name){off, (uint32_t)name.n, (uint32_t)ix->sparse.n, 0, row_off, 0, 0};
    }
    if (n->values++ % INDEX_SPARSE == 0) {
        TRY(add_text(ix, value, &sp.text_off, err));
        vec_push(&ix->sparse, sp);
        n->sparse_n++;
    }
    return ST_OK;
}

static enum status read_postings_table(struct index *ix, struct err *err)
{
    enum status st = ST_OK;
    struct index_scan s;
    uint32_t rows, len;

    TRY(section(ix, ix->toc.postings_table, &s, &rows, &len, err));
    ix->rows_at = ix->toc.postings_table + 8;
    vec_reserve(&ix->text, 256);
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t row_off = (uint32_t)(s.at - ix->rows_at);
        struct sv name, value;
        uint64_t off;

        TRY_GOTO(index_scan_row(&s, &name, &value, &off, err));
        TRY_GOTO(take_row(ix, row_off, name, value, err));
        ix->names.p[ix->names.n - 1].rows_to = (uint32_t)(s.at - ix->rows_at);
    }
    st = section_done(ix, &s, err);
out:
    index_scan_end(&s);
    return st;
}

enum status index_open(struct index *ix, struct block_source *src, bool trust, struct err *err)
{
    enum status st;

    memset(ix, 0, sizeof(*ix));
    ix->src = src;
    ix->trust = trust;
    TRY_GOTO(read_frame(ix, err));
    TRY_GOTO(place_sections(ix, err));
    TRY_GOTO(read_symbols(ix, err));
    TRY_GOTO(read_postings_table(ix, err));
    return ST_OK;
out:
    index_close(ix);
    return st;
}

void index_close(struct index *ix)
{
    vec_free(&ix->symbols);
    vec_free(&ix->names);
    vec_free(&ix->sparse);
    vec_free(&ix->text);
}

/* --- values --- */

const struct index_name *index_name_find(const struct index *ix, struct sv name)
{
    size_t lo = 0, hi = ix->names.n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct index_name *n = &ix->names.p[mid];
        int c = sv_cmp(index_text(ix, n->text_off, n->text_n), name);

        if (c == 0)
            return n;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* The last remembered value that is <= from, or the first of all. */
static size_t sparse_before(const struct index *ix, const struct index_name *name, struct sv from)
{
    size_t lo = name->sparse_off, hi = lo + name->sparse_n;

    while (lo + 1 < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct index_sparse *sp = &ix->sparse.p[mid];

        if (sv_cmp(index_text(ix, sp->text_off, sp->text_n), from) <= 0)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

void index_values_begin(struct index_scan *s, const struct index *ix,
                        const struct index_name *name, struct sv from)
{
    size_t lo = sparse_before(ix, name, from);

    index_scan_begin(s, ix, ix->rows_at + ix->sparse.p[lo].row_off, ix->rows_at + name->rows_to);
}

enum status index_value_find(const struct index *ix, struct sv name, struct sv value,
                             uint64_t *ret_off, struct err *err)
{
    const struct index_name *n = index_name_find(ix, name);
    enum status st = ST_OK;
    struct index_scan s;
    size_t lo;

    *ret_off = 0;
    if (!n)
        return ST_OK;
    /* no further than to the next remembered value */
    lo = sparse_before(ix, n, value);
    index_scan_begin(&s, ix, ix->rows_at + ix->sparse.p[lo].row_off,
                     ix->rows_at + (lo + 1 < n->sparse_off + n->sparse_n
                                        ? ix->sparse.p[lo + 1].row_off
                                        : n->rows_to));
    while (s.at < s.end) {
        struct sv row_name, row_value;
        uint64_t off;
        int c;

        TRY_GOTO(index_scan_row(&s, &row_name, &row_value, &off, err));
        c = sv_cmp(row_value, value);
        if (c == 0)
            *ret_off = off;
        if (c >= 0)
            break;
    }
out:
    index_scan_end(&s);
    return st;
}

/* --- lists --- */

enum status index_postings_n(const struct index *ix, uint64_t off, uint32_t *ret, struct err *err)
{
    struct block_lease lease;
    uint32_t len, n;
    struct sv v;
    struct cur c;

    if (off < INDEX_HEADER)
        return bad(err, "a list in the header", off);
    TRY(get(ix, off, 8, &v, &lease, err));
    c = cur_of(v);
    len = cur_be32(&c);
    n = cur_be32(&c);
    give(ix, &lease);
    if (len > ix->size - off - 4 || (uint64_t)len != 4 + 4 * (uint64_t)n)
        return bad(err, "a list of impossible length", off);
    *ret = n;
    return ST_OK;
}

enum status index_postings_read(const struct index *ix, uint64_t off, uint32_t n, uint32_t *p,
                                struct err *err)
{
    size_t bytes = 4 + 4 * (size_t)n;
    struct block_lease lease;
    uint32_t before = 0;
    bool ascend = true;
    struct sv v;
    struct cur c;

    TRY(get(ix, off + 4, bytes + 4, &v, &lease, err));
    c = cur_of(sv_sub(v, bytes, 4));
    if (!ix->trust && crc32c(0, v.p, bytes) != cur_be32(&c)) {
        give(ix, &lease);
        return bad(err, "wrong checksum of a list", off);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t be;

        memcpy(&be, v.p + 4 + 4 * (size_t)i, 4);
        p[i] = be32toh(be);
        ascend &= p[i] > before || i == 0;
        before = p[i];
    }
    give(ix, &lease);
    return ascend ? ST_OK : bad(err, "a list that doesn't ascend", off);
}

/* --- symbols and series --- */

enum status index_symbol(const struct index *ix, uint32_t i, struct sv *ret,
                         struct block_lease *ret_lease, struct err *err)
{
    size_t k = i / INDEX_SPARSE;
    uint32_t from, to;
    struct sv v;
    struct cur c;

    if (i >= ix->symbols_n)
        return err_set(err, ST_CORRUPT, "index: symbol %u of %u", i, ix->symbols_n);
    from = ix->symbols.p[k];
    to = k + 1 < ix->symbols.n ? ix->symbols.p[k + 1] : ix->symbols_bytes;
    TRY(get(ix, ix->symbols_at + from, to - from, &v, ret_lease, err));
    c = cur_of(v);
    for (uint32_t skip = i % INDEX_SPARSE; skip; skip--)
        (void)cur_uvarint_bytes(&c);
    *ret = cur_uvarint_bytes(&c);
    if (c.bad) {
        give(ix, ret_lease);
        return bad(err, "damaged symbols", ix->symbols_at + from);
    }
    return ST_OK;
}

static enum status parse_chunks(struct cur *c, uint64_t off, struct index_series *ret,
                                struct err *err)
{
    uint64_t n = cur_uvarint(c);
    struct index_chunk k = {0};

    if (n > cur_left(c) / 3) /* a chunk has three numbers of at least a byte */
        return bad(err, "a series with an impossible number of chunks", off);
    vec_reserve(&ret->chunks, n);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t first = i ? (uint64_t)k.last_ms + cur_uvarint(c) : (uint64_t)cur_varint(c);
        uint64_t last = first + cur_uvarint(c);

        if ((int64_t)last < (int64_t)first || (i && (int64_t)first <= k.last_ms))
            return bad(err, "a series whose chunks don't ascend", off);
        k.first_ms = (int64_t)first;
        k.last_ms = (int64_t)last;
        k.ref = i ? k.ref + (uint64_t)cur_varint(c) : cur_uvarint(c);
        vec_push(&ret->chunks, k);
    }
    return ST_OK;
}

static enum status parse_series(const struct index *ix, struct cur *c, uint64_t off,
                                struct index_series *ret, struct err *err)
{
    uint64_t n = cur_uvarint(c);

    if (n > cur_left(c) / 2)
        return bad(err, "a series with an impossible number of labels", off);
    vec_reserve(&ret->pairs, n);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t name = cur_uvarint(c), value = cur_uvarint(c);

        if (name >= ix->symbols_n || value >= ix->symbols_n)
            return bad(err, "a series with an unknown symbol", off);
        vec_push(&ret->pairs, ((struct index_pair){(uint32_t)name, (uint32_t)value}));
    }
    TRY(parse_chunks(c, off, ret, err));
    if (c->bad || cur_left(c))
        return bad(err, "a damaged series", off);
    return ST_OK;
}

enum status index_series_read(const struct index *ix, uint32_t id, struct index_series *ret,
                              struct err *err)
{
    uint64_t off = (uint64_t)id * INDEX_ALIGN, left, len;
    struct block_lease lease;
    enum status st;
    size_t n, head;
    struct sv v;
    struct cur c, tail;

    ret->pairs.n = ret->chunks.n = 0;
    if (off < ix->toc.series || off >= ix->series_end)
        return bad(err, "a reference to no series", off);
    left = ix->series_end - off;
    n = left < SERIES_GUESS ? left : SERIES_GUESS;
    for (;;) {
        TRY(get(ix, off, n, &v, &lease, err));
        c = cur_of(v);
        len = cur_uvarint(&c);
        head = v.n - cur_left(&c);
        if (c.bad || len > left || head + len + 4 > left) {
            give(ix, &lease);
            return bad(err, "a series longer than its section", off);
        }
        if (head + len + 4 <= n)
            break;
        give(ix, &lease);
        n = head + len + 4;
    }
    c = cur_of(sv_make(v.p + head, len));
    tail = cur_of(sv_make(v.p + head + len, 4));
    ret->end = off + head + len + 4;
    if (!ix->trust && crc32c(0, v.p + head, len) != cur_be32(&tail))
        st = bad(err, "wrong checksum of the series", off);
    else
        st = parse_series(ix, &c, off, ret, err);
    give(ix, &lease);
    return st;
}

void index_series_fini(struct index_series *s)
{
    vec_free(&s->pairs);
    vec_free(&s->chunks);
}
