/* Verifies every byte of a block in a local folder. Nothing is believed: the index is walked from its
 * first byte to its last, each section must end where the next begins (zeros between them), and what
 * is said twice must agree: label sets and posting lists, chunk tables and chunks, counts and
 * meta.json. A finding is said and the check goes on where it can.
 *
 * Memory: 8 bytes a chunk, 4 a series, 24 and a slot a label pair. */
#include "block_read_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct check {
    const struct fs *fs;
    const char *dir;
    check_say say;
    void *arg;
    uint64_t findings;
    struct block_meta meta;
    struct block *b;
    struct sv index;             /* the whole file */
    VEC(uint32_t) ids;           /* of the series, in order */
    VEC(uint64_t) refs;          /* of all chunks of all series, sorted later */
    uint64_t samples, unread[256]; /* unread: chunks by encoding that can't be decoded yet */
    struct index_pairs pairs;    /* name << 32 | value of the series' labels */
    VEC(uint64_t) sums;          /* of pair i: over the ids of its series, in order */
    struct index_pairs listed;   /* pairs that have a list */
};

static void PRINTF(2, 3) finding(struct check *c, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->findings++;
    c->say(c->arg, text);
}

static uint64_t sum_add(uint64_t sum, uint32_t id)
{
    return (sum ^ id) * UINT64_C(0x100000001b3) + 1;
}

static uint32_t be32_at(struct sv s, uint64_t off)
{
    struct cur c = cur_of(sv_sub(s, (size_t)off, 4));

    return cur_be32(&c);
}

/* Only zeros in [from, to), and fewer than `align` of them. */
static void check_gap(struct check *c, uint64_t from, uint64_t to, unsigned align)
{
    if (to < from || to - from >= align) {
        finding(c, "index: %" PRId64 " bytes between what ends at %" PRIu64 " and what follows",
                (int64_t)(to - from), from);
        return;
    }
    for (; from < to; from++)
        if (c->index.p[from])
            finding(c, "index: padding at %" PRIu64 " is not zero", from);
}

/* --- symbols --- */

static enum status check_symbols(struct check *c, struct err *err)
{
    const struct index *ix = &c->b->index;
    uint64_t end = ix->symbols_at + ix->symbols_bytes;
    struct sv before = {NULL, 0}, s;
    enum status st = ST_OK;
    struct index_scan scan;

    /* opening has verified checksum, count and length; a local source's views stay */
    check_gap(c, INDEX_HEADER, ix->toc.symbols, 1);
    index_scan_begin(&scan, ix, ix->symbols_at, end);
    for (uint32_t i = 0; i < ix->symbols_n; i++) {
        TRY_GOTO(index_scan_symbol(&scan, &s, err));
        if (i && sv_cmp(before, s) >= 0)
            finding(c, "index: symbol %u does not ascend", i);
        if (!sv_utf8(s))
            finding(c, "index: symbol %u is not UTF-8", i);
        before = s;
    }
    check_gap(c, end + 4, ix->toc.series, 1);
out:
    index_scan_end(&scan);
    return st;
}

/* --- chunks of one series --- */

static void check_chunk(struct check *c, uint32_t id, const struct index_chunk *k)
{
    uint64_t off = (uint32_t)k->ref, size;
    char file[BLOCK_FILE_NAME];
    struct block_lease lease;
    enum chunk_enc enc = CHUNK_NONE;
    int64_t first, last;
    unsigned count;
    struct sv v, data;
    struct err err = ERR_INIT;
    size_t need;

    chunk_file_name(file, k->ref);
    if (k->first_ms < c->meta.range.from_ms || k->last_ms >= c->meta.range.to_ms)
        finding(c, "series %u: chunk %s:%" PRIu64 " lies outside the block's time", id, file, off);
    if (c->b->src->ops->size(c->b->src, file, &size, &err) != ST_OK || off < CHUNK_FILE_HEADER ||
        off >= size ||
        c->b->src->ops->get(c->b->src, file, off, (size_t)(size - off), &v, &lease, &err) != ST_OK) {
        finding(c, "series %u: no chunk at %s:%" PRIu64, id, file, off);
        return;
    }
    if (chunk_file_parse(v, &enc, &data, &need, true, &err) != ST_OK || need > v.n) {
        finding(c, "%s at %" PRIu64 ": %s", file, off, need > v.n ? "cut off" : err.msg);
    } else if (enc != CHUNK_XOR) {
        c->unread[enc & 255]++;
        c->samples += data.n >= 2 ? (uint64_t)(uint8_t)data.p[0] << 8 | (uint8_t)data.p[1] : 0;
    } else if (chunk_xor_check(data, &first, &last, &count, &err) != ST_OK) {
        finding(c, "%s at %" PRIu64 ": %s", file, off, err.msg);
    } else {
        c->samples += count;
        if (first != k->first_ms || last != k->last_ms)
            finding(c, "series %u: chunk %s:%" PRIu64 " spans another time than the index says", id,
                    file, off);
    }
    c->b->src->ops->release(c->b->src, &lease);
}

/* --- series --- */

struct last_series {
    VEC(struct index_pair) pairs;
    bool any;
};

/* Symbols are sorted, so comparing their numbers compares the labels. */
static void check_labels(struct check *c, uint32_t id, const struct index_series *s,
                         struct last_series *last)
{
    int order = 0;

    for (size_t i = 0; i < s->pairs.n; i++) {
        if (i && s->pairs.p[i].name <= s->pairs.p[i - 1].name)
            finding(c, "series %u: label names don't ascend", id);
        if (order == 0 && i < last->pairs.n) {
            const struct index_pair *p = &s->pairs.p[i], *q = &last->pairs.p[i];

            order = (p->name > q->name) - (p->name < q->name);
            if (order == 0)
                order = (p->value > q->value) - (p->value < q->value);
        }
    }
    if (s->pairs.n == 0)
        finding(c, "series %u: no labels", id);
    if (last->any && (order < 0 || (order == 0 && s->pairs.n <= last->pairs.n)))
        finding(c, "series %u: does not come behind the one before it", id);
    last->any = true;
    last->pairs.n = 0;
    for (size_t i = 0; i < s->pairs.n; i++)
        vec_push(&last->pairs, s->pairs.p[i]);
}

static void take_series(struct check *c, uint32_t id, const struct index_series *s)
{
    vec_push(&c->ids, id);
    for (size_t i = 0; i < s->pairs.n; i++) {
        uint32_t k = index_pairs_put(&c->pairs, s->pairs.p[i].name, s->pairs.p[i].value);

        if (k == c->sums.n)
            vec_push(&c->sums, 0);
        c->sums.p[k] = sum_add(c->sums.p[k], id);
    }
    if (s->chunks.n == 0)
        finding(c, "series %u: no chunks", id);
    for (size_t i = 0; i < s->chunks.n; i++) {
        vec_push(&c->refs, s->chunks.p[i].ref);
        check_chunk(c, id, &s->chunks.p[i]);
    }
}

/* Series stand back to back, each at the next multiple of 16. */
static enum status check_series(struct check *c, struct err *err)
{
    const struct index *ix = &c->b->index;
    uint64_t at = ix->toc.series;
    struct index_series s = {0};
    struct last_series last = {0};
    enum status st = ST_OK;

    while (at < ix->series_end) {
        uint64_t next = (at + INDEX_ALIGN - 1) & ~(uint64_t)(INDEX_ALIGN - 1);
        uint32_t id = (uint32_t)(next / INDEX_ALIGN);

        /* behind the last one only the padding of the next section may follow */
        if (next >= ix->series_end) {
            check_gap(c, at, ix->series_end, INDEX_ALIGN);
            break;
        }
        check_gap(c, at, next, INDEX_ALIGN);
        TRY_GOTO(index_series_read(ix, id, &s, err));
        check_labels(c, id, &s, &last);
        take_series(c, id, &s);
        at = s.end;
    }
out:
    vec_free(&last.pairs);
    index_series_fini(&s);
    return st;
}

/* --- lists --- */

static enum status read_list(struct check *c, uint64_t off, struct postings *ret, struct err *err)
{
    uint32_t n;

    TRY(index_postings_n(&c->b->index, off, &n, err));
    *ret = (struct postings){heap_array(n ? n : 1, sizeof(uint32_t)), n};
    return index_postings_read(&c->b->index, off, n, ret->p, err);
}

/* Number of the symbol, by halving over a local source. */
static bool symbol_of(struct check *c, struct sv want, uint32_t *ret)
{
    uint32_t lo = 0, hi = c->b->index.symbols_n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        struct block_lease lease;
        struct sv s;
        int order;

        if (index_symbol(&c->b->index, mid, &s, &lease, NULL) != ST_OK)
            return false;
        order = sv_cmp(s, want);
        c->b->src->ops->release(c->b->src, &lease);
        *ret = mid;
        if (order == 0)
            return true;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static void check_list(struct check *c, struct sv name, struct sv value, struct postings list)
{
    uint32_t ni, vi, k;
    uint64_t sum = 0;

    if (name.n == 0 && value.n == 0) {
        if (list.n != c->ids.n || (list.n && memcmp(list.p, c->ids.p, list.n * sizeof(*list.p))))
            finding(c, "index: the list of all series is not that of the series");
        return;
    }
    if (!symbol_of(c, name, &ni) || !symbol_of(c, value, &vi)) {
        finding(c, "index: a list under a label that is no symbol: " SV_FMT "=" SV_FMT, SV_ARG(name),
                SV_ARG(value));
        return;
    }
    for (size_t i = 0; i < list.n; i++)
        sum = sum_add(sum, list.p[i]);
    index_pairs_put(&c->listed, ni, vi);
    k = index_pairs_put(&c->pairs, ni, vi); /* a new one has no sum */
    if (k >= c->sums.n || c->sums.p[k] != sum)
        finding(c, "index: the list of " SV_FMT "=" SV_FMT " is not that of its series", SV_ARG(name),
                SV_ARG(value));
}

/* Rows ascend, lists lie back to back in the order of the rows, and every pair has one. */
static enum status check_postings(struct check *c, struct err *err)
{
    const struct index *ix = &c->b->index;
    uint64_t end = ix->rows_at, expect = ix->toc.postings;
    struct sv name = {NULL, 0}, value = {NULL, 0};
    enum status st = ST_OK;
    struct index_scan scan;

    for (size_t i = 0; i < ix->names.n; i++)
        end = ix->rows_at + ix->names.p[i].rows_to;
    check_gap(c, end + 4, ix->size - INDEX_TOC_BYTES, 1);
    index_scan_begin(&scan, ix, ix->rows_at, end);
    while (scan.at < scan.end) {
        struct sv before_name = name, before = value;
        struct postings list = {NULL, 0};
        uint64_t off;

        TRY_GOTO(index_scan_row(&scan, &name, &value, &off, err));
        if (before.p && (sv_cmp(before_name, name) > 0 ||
                         (sv_eq(before_name, name) && sv_cmp(before, value) >= 0)))
            finding(c, "index: rows of the postings table don't ascend");
        if (off < expect || off - expect > 3)
            finding(c, "index: a list at %" PRIu64 ", expected at %" PRIu64, off, expect);
        else
            check_gap(c, expect, off, 4);
        st = read_list(c, off, &list, err);
        if (st == ST_OK)
            check_list(c, name, value, list);
        heap_free(list.p);
        if (st != ST_OK)
            goto out;
        expect = off + 12 + 4 * (uint64_t)list.n;
    }
    if (c->listed.key.n < c->sums.n)
        finding(c, "index: %zu label pairs have no list", c->sums.n - c->listed.key.n);
    check_gap(c, expect, ix->toc.label_table >= expect ? ix->toc.label_table : ix->toc.postings_table,
              1);
out:
    index_scan_end(&scan);
    return st;
}

/* --- label indices: nobody reads them, but their bytes are part of the file --- */

static bool framed(struct check *c, uint64_t at, uint64_t to, uint32_t *ret_len)
{
    uint32_t len;

    if (at > to || to - at < 8 || (len = be32_at(c->index, at)) > to - at - 8)
        return false;
    *ret_len = len;
    return crc32c(0, c->index.p + at + 4, len) == be32_at(c->index, at + 4 + len);
}

static void check_label_indices(struct check *c)
{
    const struct index_toc *toc = &c->b->index.toc;
    uint64_t at = toc->label_indices;
    uint32_t len;

    if (toc->label_table) {
        if (!framed(c, toc->label_table, toc->postings_table, &len) ||
            toc->label_table + 8 + len != toc->postings_table)
            finding(c, "index: the label table at %" PRIu64 " is damaged", toc->label_table);
    }
    if (!at)
        return;
    while (at < toc->postings) {
        uint64_t next = (at + 3) & ~(uint64_t)3;

        check_gap(c, at, next, 4);
        if (next >= toc->postings)
            break;
        if (!framed(c, next, toc->postings, &len)) {
            finding(c, "index: the label index at %" PRIu64 " is damaged", next);
            return;
        }
        at = next + 8 + len;
    }
}

/* --- chunk files from end to end --- */

static int by_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The references, sorted, must be the places of the chunks, in order, without gaps. */
static void check_chunk_file(struct check *c, uint32_t file_no, struct sv s, size_t *at_ref)
{
    char file[BLOCK_FILE_NAME];
    uint64_t off = CHUNK_FILE_HEADER;

    chunk_file_name(file, (uint64_t)file_no << 32);
    if (s.n < CHUNK_FILE_HEADER || be32_at(s, 0) != CHUNK_MAGIC || s.p[4] != CHUNK_VERSION ||
        s.p[5] || s.p[6] || s.p[7]) {
        finding(c, "%s: no chunk file of version %d", file, CHUNK_VERSION);
        return;
    }
    while (off < s.n) {
        struct sv rest = sv_sub(s, (size_t)off, s.n), data;
        enum chunk_enc enc;
        struct err err = ERR_INIT;
        size_t need = 0;

        if (chunk_file_parse(rest, &enc, &data, &need, true, &err) != ST_OK || need > rest.n) {
            finding(c, "%s at %" PRIu64 ": %s", file, off, need > rest.n ? "cut off" : err.msg);
            return;
        }
        if (*at_ref < c->refs.n && c->refs.p[*at_ref] == ((uint64_t)file_no << 32 | off))
            (*at_ref)++;
        else
            finding(c, "%s at %" PRIu64 ": a chunk of no series, or a wrong reference", file, off);
        off += need;
    }
}

static enum status check_chunk_files(struct check *c, struct err *err)
{
    struct fs_names names = {0};
    char path[FS_PATH_MAX];
    size_t at_ref = 0;
    uint32_t n = 0;
    enum status st;

    if (!fs_join(path, c->dir, BLOCK_CHUNKS))
        return err_set(err, ST_INVALID, "path is too long: %s", c->dir);
    TRY_GOTO(fs_list(c->fs, path, &names, err));
    if (c->refs.n)
        qsort(c->refs.p, c->refs.n, sizeof(*c->refs.p), by_u64);
    for (size_t i = 0; i < names.n; i++) {
        char file[BLOCK_FILE_NAME];
        struct block_lease lease;
        uint64_t size;
        struct sv s;

        chunk_file_name(file, (uint64_t)n << 32);
        if (strcmp(names.p[i], file + sizeof(BLOCK_CHUNKS)) != 0) {
            finding(c, "chunks/%s: not the next chunk file", names.p[i]);
            continue;
        }
        TRY_GOTO(c->b->src->ops->size(c->b->src, file, &size, err));
        TRY_GOTO(c->b->src->ops->get(c->b->src, file, 0, (size_t)size, &s, &lease, err));
        check_chunk_file(c, n++, s, &at_ref);
        c->b->src->ops->release(c->b->src, &lease);
    }
    if (at_ref < c->refs.n)
        finding(c, "%zu chunk references lead to no chunk of their own", c->refs.n - at_ref);
out:
    fs_names_free(&names);
    return st;
}

/* --- the whole --- */

static void check_counts(struct check *c)
{
    const struct block_meta *m = &c->meta;

    if (m->num_series != c->ids.n)
        finding(c, "meta.json says %" PRIu64 " series, there are %zu", m->num_series, c->ids.n);
    if (m->num_chunks != c->refs.n)
        finding(c, "meta.json says %" PRIu64 " chunks, there are %zu", m->num_chunks, c->refs.n);
    if (m->num_samples != c->samples)
        finding(c, "meta.json says %" PRIu64 " samples, there are %" PRIu64, m->num_samples,
                c->samples);
    for (unsigned enc = 0; enc < 256; enc++)
        if (c->unread[enc])
            finding(c, "%" PRIu64 " chunks of encoding %u (%s) can't be decoded yet", c->unread[enc],
                    enc, chunk_enc_name(enc));
}

static enum status check_parts(struct check *c, struct err *err)
{
    struct block_lease lease;
    enum status st;

    TRY(c->b->src->ops->get(c->b->src, BLOCK_INDEX, 0, (size_t)c->b->index.size, &c->index, &lease,
                            err));
    TRY_GOTO(check_symbols(c, err));
    TRY_GOTO(check_series(c, err));
    check_label_indices(c);
    TRY_GOTO(check_postings(c, err));
    TRY_GOTO(check_chunk_files(c, err));
    check_counts(c);
out:
    c->b->src->ops->release(c->b->src, &lease);
    return st;
}

/* meta.json must name the folder it lies in. */
static void check_name(struct check *c)
{
    const char *slash = strrchr(c->dir, '/');

    if (strcmp(slash ? slash + 1 : c->dir, c->meta.ulid) != 0)
        finding(c, "meta.json says %s, the folder is called %s", c->meta.ulid,
                slash ? slash + 1 : c->dir);
}

enum status block_check(const struct fs *fs, const char *block_dir, check_say say, void *arg,
                        struct err *err)
{
    struct check c = {.fs = fs, .dir = block_dir, .say = say, .arg = arg};
    enum status st;
    struct err why = ERR_INIT;

    st = block_open_dir(fs, block_dir, &c.b, &why);
    if (st == ST_OK) {
        c.meta = c.b->meta;
        index_pairs_init(&c.pairs);
        index_pairs_init(&c.listed);
        check_name(&c);
        st = check_parts(&c, &why);
        index_pairs_fini(&c.pairs);
        index_pairs_fini(&c.listed);
    }
    if (st != ST_OK)
        finding(&c, "%s", why.msg);
    vec_free(&c.ids);
    vec_free(&c.refs);
    vec_free(&c.sums);
    block_unref(c.b);
    if (st == ST_IO) /* the disk's fault, not the block's */
        return err_set(err, st, "%s", why.msg);
    return c.findings ? err_set(err, ST_CORRUPT, "%s: %" PRIu64 " findings", block_dir, c.findings)
                      : ST_OK;
}
