/* Index and files of a block: the bytes of a Prometheus, and an index of many series read back, cut,
 * damaged, and written through small windows. */
#include "unit.h"

#include "base/heap.h"
#include "block_read_int.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static char dir[] = "/tmp/engram-index-XXXXXX";

static int setup(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    return fs_rmtree(fs_posix(), dir, NULL) == ST_OK ? 0 : -1;
}

static struct block_meta meta_of(uint64_t wall_ms)
{
    struct block_meta m = {.level = 1};

    ulid_make(m.ulid, wall_ms);
    return m;
}

static void assert_file(const char *block, const char *name, const void *want, size_t want_n)
{
    char path[FS_PATH_MAX], *p;
    struct err err;
    size_t n;

    assert_true(fs_join(path, block, name));
    OK(fs_read_file(fs_posix(), path, 1 << 20, &p, &n, &err));
    assert_int_equal(n, want_n);
    assert_memory_equal(p, want, n);
    heap_free(p);
}

/* All made by promtool 3.5.3 (tsdb create-blocks-from openmetrics) out of the same samples. */
static void files_are_those_of_a_prometheus(void **state)
{
    static const uint8_t index[] = {
        0xba, 0xaa, 0xd7, 0x00, 0x02, 0x00, 0x00, 0x00, 0x16, 0x00, 0x00, 0x00, 0x05, 0x00, 0x08,
        0x5f, 0x5f, 0x6e, 0x61, 0x6d, 0x65, 0x5f, 0x5f, 0x01, 0x61, 0x03, 0x6a, 0x6f, 0x62, 0x01,
        0x78, 0x5f, 0x4b, 0xb2, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x11, 0x02, 0x01, 0x02, 0x03, 0x04, 0x01, 0x80, 0xa0, 0xab, 0xfe, 0xf9,
        0x62, 0xa8, 0x95, 0xb7, 0x01, 0x08, 0x6c, 0x45, 0x91, 0x9f, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x0c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x06, 0x74,
        0x7c, 0x4e, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00,
        0x00, 0x00, 0x04, 0x20, 0xd5, 0x9b, 0xa6, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x01,
        0x00, 0x00, 0x00, 0x03, 0xa7, 0x69, 0x2e, 0xd2, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
        0x01, 0x00, 0x00, 0x00, 0x03, 0xa7, 0x69, 0x2e, 0xd2, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00,
        0x00, 0x01, 0x00, 0x00, 0x00, 0x03, 0xa7, 0x69, 0x2e, 0xd2, 0x00, 0x00, 0x00, 0x15, 0x00,
        0x00, 0x00, 0x02, 0x01, 0x08, 0x5f, 0x5f, 0x6e, 0x61, 0x6d, 0x65, 0x5f, 0x5f, 0x48, 0x01,
        0x03, 0x6a, 0x6f, 0x62, 0x5c, 0x41, 0x40, 0x91, 0xcc, 0x00, 0x00, 0x00, 0x1f, 0x00, 0x00,
        0x00, 0x03, 0x02, 0x00, 0x00, 0x70, 0x02, 0x08, 0x5f, 0x5f, 0x6e, 0x61, 0x6d, 0x65, 0x5f,
        0x5f, 0x01, 0x61, 0x80, 0x01, 0x02, 0x03, 0x6a, 0x6f, 0x62, 0x01, 0x78, 0x90, 0x01, 0x41,
        0x0f, 0x63, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x23, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0xa0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x70, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0xbd, 0x5a, 0xd5, 0xf1, 0x86};
    static const uint8_t chunks[] = {
        0x85, 0xbd, 0x40, 0xdd, 0x01, 0x00, 0x00, 0x00, 0x53, 0x01, 0x00, 0x09, 0x80, 0xa0, 0xab,
        0xfe, 0xf9, 0x62, 0x3f, 0xf0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x98, 0x75, 0x40, 0x03,
        0xe1, 0x37, 0xff, 0xb7, 0xfe, 0x58, 0x0e, 0xc0, 0x06, 0x0f, 0xbf, 0x07, 0xdf, 0xc6, 0xfc,
        0x87, 0x91, 0x00, 0x0e, 0xb3, 0xf0, 0xf0, 0x3c, 0x67, 0xe7, 0x9f, 0xc8, 0x79, 0x10, 0x00,
        0xeb, 0x3b, 0xce, 0x11, 0x91, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7c, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x61, 0xa8, 0x03, 0x12, 0x1f, 0xe0, 0xbf, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xbc, 0xe4, 0x50, 0xdc, 0x51, 0x14, 0xf1};
    static const uint8_t tombstones[] = {0x01, 0x30, 0xba, 0x30, 0x01, 0x00, 0x00, 0x00, 0x00};
    static const int64_t t[] = {1700000000000, 1700000015000, 1700000030007, 1700000045000,
                                1700000061000, 1700000200000, 1700000800000, 1700003000000,
                                1700003001000};
    const double v[] = {1,    1,     2.5,  -0.0, 1e300, f64_of_bits(UINT64_C(0x7ff8000000000001)),
                        INFINITY, 17.25, 17.25};
    struct label ls[] = {{SV("__name__"), SV("a")}, {SV("job"), SV("x")}};
    struct block_meta meta = meta_of(1);
    struct block_writer *w;
    struct chunk_list list;
    char path[FS_PATH_MAX];
    struct samples s;
    struct arena a;
    struct err err;

    arena_init(&a, 1 << 20);
    samples_init(&s);
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
        samples_push(&s, t[i], v[i]);
    OK(chunk_encode(&s, &a, &list, &err));
    OK(block_writer_open(fs_posix(), dir, &meta, &w, &err));
    OK(block_writer_series(w, (struct labels){ls, 2}, list.p, list.n, s.n, &err));
    OK(block_writer_finish(w, &meta, &err));
    assert_int_equal(meta.range.from_ms, t[0]);
    assert_int_equal(meta.range.to_ms, t[8] + 1);
    assert_int_equal(meta.num_samples, 9);
    assert_true(fs_join(path, dir, meta.ulid));
    assert_file(path, "index", index, sizeof(index));
    assert_file(path, "chunks/000001", chunks, sizeof(chunks));
    assert_file(path, "tombstones", tombstones, sizeof(tombstones));
    samples_fini(&s);
    arena_fini(&a);
}

/* --- an index of many series, alone --- */

enum { MANY = 3000 };

static void labels_of(int i, char text[4][24], struct label ls[4], struct labels *ret)
{
    snprintf(text[0], 24, "metric_%d", i / 1000);
    snprintf(text[1], 24, "i%06d", i);
    snprintf(text[2], 24, "z%02d", i % 17);
    ls[0] = (struct label){SV("__name__"), sv_of(text[0])};
    ls[1] = (struct label){SV("instance"), sv_of(text[1])};
    ls[2] = (struct label){SV("zone"), sv_of(text[2])};
    *ret = (struct labels){ls, 3};
}

static void write_many(const char *where, size_t window)
{
    struct index_writer *w;
    char text[4][24];
    struct label ls[4];
    struct labels l;
    struct err err;

    OK(fs_mkdirs(fs_posix(), where, &err));
    OK(index_writer_open(fs_posix(), where, &w, &err));
    if (window)
        index_writer_window(w, window);
    for (int i = 0; i < MANY; i++) {
        struct index_chunk c[] = {{i, i + 5, (uint64_t)i * 100 + 8},
                                  {i + 7, i + 7, (uint64_t)(i % 3) << 32 | 9}};

        labels_of(i, text, ls, &l);
        OK(index_writer_series(w, l, c, 1 + i % 2, &err));
    }
    OK(index_writer_finish(w, &err));
    index_writer_free(w);
}

/* A source of one buffer, exactly as long as it is: a sanitizer sees reads past the end. */
struct mem_source {
    struct block_source base;
    char *p;
    size_t n;
    int leases, sizes;
};

static enum status mem_size(struct block_source *b, const char *file, uint64_t *ret, struct err *err)
{
    *ret = ((struct mem_source *)b)->n;
    return ST_OK;
}

static enum status mem_get(struct block_source *b, const char *file, uint64_t off, size_t n,
                           struct sv *ret, struct block_lease *lease, struct err *err)
{
    struct mem_source *m = (struct mem_source *)b;

    if (off > m->n || n > m->n - off)
        return err_set(err, ST_CORRUPT, "past the end");
    lease->own[0] = heap_dup(m->p + off, n);
    *ret = sv_make(lease->own[0], n);
    m->leases++;
    return ST_OK;
}

static void mem_release(struct block_source *b, struct block_lease *lease)
{
    ((struct mem_source *)b)->leases--;
    heap_free(lease->own[0]);
}

static const struct block_source_ops mem_ops = {mem_size, mem_get, mem_release, NULL, NULL};

static void load(struct mem_source *m, const char *where)
{
    char path[FS_PATH_MAX];
    struct err err;

    *m = (struct mem_source){.base = {&mem_ops}};
    assert_true(fs_join(path, where, "index"));
    OK(fs_read_file(fs_posix(), path, 64 << 20, &m->p, &m->n, &err));
}

static void an_index_is_read_back(void **state)
{
    struct index_series s = {0};
    struct mem_source m;
    char where[FS_PATH_MAX], text[4][24];
    uint32_t n, all[MANY];
    struct label ls[4];
    struct index ix;
    struct labels l;
    uint64_t off;
    struct err err;

    assert_true(fs_join(where, dir, "many"));
    write_many(where, 0);
    load(&m, where);
    OK(index_open(&ix, &m.base, false, &err));
    assert_int_equal(ix.names.n, 4); /* with "" */
    OK(index_value_find(&ix, SV(""), SV(""), &off, &err));
    OK(index_postings_n(&ix, off, &n, &err));
    assert_int_equal(n, MANY);
    OK(index_postings_read(&ix, off, n, all, &err));
    for (int i = 0; i < MANY; i++) {
        labels_of(i, text, ls, &l);
        OK(index_series_read(&ix, all[i], &s, &err));
        assert_int_equal(s.pairs.n, 3);
        for (size_t k = 0; k < 3; k++) {
            struct block_lease lease;
            struct sv v;

            OK(index_symbol(&ix, s.pairs.p[k].value, &v, &lease, &err));
            assert_true(sv_eq(v, ls[k].value));
            mem_release(&m.base, &lease);
        }
        assert_int_equal(s.chunks.n, 1 + i % 2);
        assert_int_equal(s.chunks.p[0].ref, i * 100 + 8);
        assert_int_equal(s.chunks.p[0].last_ms, i + 5);
        if (i % 2)
            assert_int_equal(s.chunks.p[1].ref, (uint64_t)(i % 3) << 32 | 9);
        OK(index_value_find(&ix, SV("instance"), ls[1].value, &off, &err));
        OK(index_postings_n(&ix, off, &n, &err));
        assert_int_equal(n, 1);
        OK(index_postings_read(&ix, off, 1, &n, &err));
        assert_int_equal(n, all[i]);
    }
    OK(index_value_find(&ix, SV("zone"), SV("z99"), &off, &err));
    assert_int_equal(off, 0);
    OK(index_value_find(&ix, SV("zone"), SV("a"), &off, &err));
    assert_int_equal(off, 0);
    OK(index_value_find(&ix, SV("nope"), SV("a"), &off, &err));
    assert_int_equal(off, 0);
    assert_int_equal(m.leases, 0);
    index_series_fini(&s);
    index_close(&ix);
    heap_free(m.p);
}

static void windows_of_any_size_write_the_same_index(void **state)
{
    static const size_t windows[] = {1, 100, 1000, 4000};
    char where[FS_PATH_MAX], other[FS_PATH_MAX], name[24];
    struct mem_source m;

    assert_true(fs_join(where, dir, "many"));
    load(&m, where);
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "window%zu", windows[i]);
        assert_true(fs_join(other, dir, name));
        write_many(other, windows[i]);
        assert_file(other, "index", m.p, m.n);
    }
    heap_free(m.p);
}

static void wrong_series_are_refused(void **state)
{
    struct label up[] = {{SV("__name__"), SV("b")}, {SV("job"), SV("x")}};
    struct label low[] = {{SV("__name__"), SV("b")}, {SV("job"), SV("w")}};
    struct label unsorted[] = {{SV("job"), SV("x")}, {SV("__name__"), SV("b")}};
    struct label empty[] = {{SV("__name__"), SV("b")}, {SV("zone"), SV("")}};
    struct index_chunk c = {1, 2, 8};
    struct index_writer *w;
    char where[FS_PATH_MAX];
    struct err err;

    assert_true(fs_join(where, dir, "wrong"));
    OK(fs_mkdirs(fs_posix(), where, &err));
    OK(index_writer_open(fs_posix(), where, &w, &err));
    assert_int_equal(index_writer_finish(w, &err), ST_INVALID);
    OK(index_writer_series(w, (struct labels){up, 1}, &c, 1, &err));
    OK(index_writer_series(w, (struct labels){up, 2}, &c, 1, &err));
    assert_int_equal(index_writer_series(w, (struct labels){up, 2}, &c, 1, &err), ST_INVALID);
    assert_int_equal(index_writer_series(w, (struct labels){up, 1}, &c, 1, &err), ST_INVALID);
    assert_int_equal(index_writer_series(w, (struct labels){low, 2}, &c, 1, &err), ST_INVALID);
    assert_int_equal(index_writer_series(w, (struct labels){unsorted, 2}, &c, 1, &err), ST_INVALID);
    assert_int_equal(index_writer_series(w, (struct labels){empty, 2}, &c, 1, &err), ST_INVALID);
    assert_int_equal(index_writer_series(w, (struct labels){up, 0}, &c, 1, &err), ST_INVALID);
    index_writer_free(w);
}

/* Every series, symbol and list of an index that may be damaged. */
static enum status walk(struct mem_source *m, bool trust)
{
    struct index_series s = {0};
    uint32_t n, *ids = NULL;
    enum status st;
    struct index ix;
    uint64_t off;
    struct err err;

    st = index_open(&ix, &m->base, trust, &err);
    if (st != ST_OK)
        return st;
    TRY_GOTO(index_value_find(&ix, SV(""), SV(""), &off, &err));
    TRY_GOTO(index_postings_n(&ix, off, &n, &err));
    ids = heap_array(n, sizeof(*ids));
    TRY_GOTO(index_postings_read(&ix, off, n, ids, &err));
    for (uint32_t i = 0; i < n; i += 97)
        TRY_GOTO(index_series_read(&ix, ids[i], &s, &err));
out:
    heap_free(ids);
    index_series_fini(&s);
    index_close(&ix);
    return st;
}

static void cut_and_damaged_indexes_are_refused(void **state)
{
    char where[FS_PATH_MAX];
    struct mem_source m;
    unsigned refused = 0;
    size_t n;

    assert_true(fs_join(where, dir, "many"));
    load(&m, where);
    assert_int_equal(walk(&m, false), ST_OK);
    n = m.n;
    for (m.n = 0; m.n < n; m.n += m.n < 100 ? 1 : 9973)
        assert_int_equal(walk(&m, false), ST_CORRUPT);
    m.n = n;
    for (size_t at = 0; at < n; at += at < 64 || at + 64 > n ? 1 : 331) {
        m.p[at] ^= 0x41;
        refused += walk(&m, false) != ST_OK;
        (void)walk(&m, true); /* must only not harm */
        m.p[at] ^= 0x41;
    }
    assert_true(refused > 200);
    assert_int_equal(walk(&m, false), ST_OK);
    assert_int_equal(m.leases, 0);
    heap_free(m.p);
}

/* As newer Prometheus writes them: no label indices, their places 0. */
static void an_index_without_label_indices_is_read(void **state)
{
    char where[FS_PATH_MAX];
    struct mem_source m;
    uint32_t crc;

    assert_true(fs_join(where, dir, "many"));
    load(&m, where);
    memset(m.p + m.n - INDEX_TOC_BYTES + 16, 0, 16);
    crc = htobe32(crc32c(0, m.p + m.n - INDEX_TOC_BYTES, INDEX_TOC_BYTES - 4));
    memcpy(m.p + m.n - 4, &crc, 4);
    assert_int_equal(walk(&m, false), ST_OK);
    m.p[m.n - 1] ^= 1;
    assert_int_equal(walk(&m, false), ST_CORRUPT);
    heap_free(m.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_those_of_a_prometheus),
        cmocka_unit_test(an_index_is_read_back),
        cmocka_unit_test(windows_of_any_size_write_the_same_index),
        cmocka_unit_test(wrong_series_are_refused),
        cmocka_unit_test(an_index_without_label_indices_is_read),
        cmocka_unit_test(cut_and_damaged_indexes_are_refused),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, setup, teardown);
}
