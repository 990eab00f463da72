/* Chunks and posting lists against naive twins: a bit-by-bit encoder written after the format's
 * drawing, and sets kept as flags. And bytes that a Prometheus wrote. */
#include "unit.h"

#include "base/codec.h"
#include "base/heap.h"
#include "tsdb/chunk.h"
#include "tsdb/postings.h"

#include <math.h>

/* --- the twin: one bit at a time --- */

struct twin {
    uint8_t p[8192];
    size_t bits;
    unsigned n, leading, trailing;
    int64_t t;
    uint64_t delta, v;
};

static void twin_bits(struct twin *w, uint64_t v, unsigned n)
{
    while (n--) {
        if (v >> n & 1)
            w->p[w->bits / 8] |= (uint8_t)(0x80 >> w->bits % 8);
        w->bits++;
    }
}

static void twin_uvarint(struct twin *w, uint64_t v)
{
    for (; v > 127; v /= 128)
        twin_bits(w, v % 128 + 128, 8);
    twin_bits(w, v, 8);
}

static bool twin_range(int64_t x, int n)
{
    return -((1 << (n - 1)) - 1) <= x && x <= 1 << (n - 1);
}

static void twin_value(struct twin *w, uint64_t v)
{
    uint64_t x = v ^ w->v;
    unsigned leading = 0, trailing = 0;

    if (x == 0) {
        twin_bits(w, 0, 1);
        return;
    }
    twin_bits(w, 1, 1);
    while (!(x >> (63 - leading) & 1))
        leading++;
    while (!(x >> trailing & 1))
        trailing++;
    if (leading >= 32)
        leading = 31;
    if (w->leading != 255 && leading >= w->leading && trailing >= w->trailing) {
        twin_bits(w, 0, 1);
        twin_bits(w, x >> w->trailing, 64 - w->leading - w->trailing);
        return;
    }
    w->leading = leading;
    w->trailing = trailing;
    twin_bits(w, 1, 1);
    twin_bits(w, leading, 5);
    twin_bits(w, 64 - leading - trailing, 6);
    twin_bits(w, x >> trailing, 64 - leading - trailing);
}

static void twin_append(struct twin *w, int64_t t, uint64_t v)
{
    uint64_t delta = (uint64_t)t - (uint64_t)w->t;

    if (w->n == 0) {
        w->bits = 16;
        w->leading = 255;
        twin_uvarint(w, t < 0 ? ~((uint64_t)t << 1) : (uint64_t)t << 1);
        twin_bits(w, v, 64);
        delta = 0;
    } else if (w->n == 1) {
        twin_uvarint(w, delta);
        twin_value(w, v);
    } else {
        int64_t dod = (int64_t)(delta - w->delta);

        if (dod == 0)
            twin_bits(w, 0, 1);
        else if (twin_range(dod, 14))
            twin_bits(w, 2, 2), twin_bits(w, (uint64_t)dod, 14);
        else if (twin_range(dod, 17))
            twin_bits(w, 6, 3), twin_bits(w, (uint64_t)dod, 17);
        else if (twin_range(dod, 20))
            twin_bits(w, 14, 4), twin_bits(w, (uint64_t)dod, 20);
        else
            twin_bits(w, 15, 4), twin_bits(w, (uint64_t)dod, 64);
        twin_value(w, v);
    }
    w->t = t;
    w->delta = delta;
    w->v = v;
    w->n++;
    w->p[0] = (uint8_t)(w->n >> 8);
    w->p[1] = (uint8_t)w->n;
}

static struct sv twin_view(const struct twin *w)
{
    return sv_make(w->p, (w->bits + 7) / 8);
}

/* --- helpers --- */

static uint64_t rnd(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static const int64_t steps[] = {1,     2,     15000,  15001,  14999,  23191, 23192, 23193,
                                6809,  6810,  80535,  80536,  80537,  60000, 1 << 19, (1 << 19) + 1,
                                (1 << 20) + 7, INT64_C(1) << 40, INT64_C(86400000)};

static double value(uint64_t *s, double before)
{
    switch (rnd(s) % 9) {
    case 0:
        return before;
    case 1:
        return before + 1;
    case 2:
        return f64_of_bits(rnd(s));
    case 3:
        return f64_of_bits(STALE_NAN_BITS);
    case 4:
        return -0.0;
    case 5:
        return (double)(rnd(s) % 1000) / 8;
    case 6:
        return f64_of_bits(UINT64_C(0x7ff8000000000000) | rnd(s) >> 13);
    case 7:
        return INFINITY;
    default:
        return before * 1.0001;
    }
}

/* One random run of at most n samples, by appender and twin. */
static void fill(uint64_t seed, unsigned n, struct chunk_xor *c, uint8_t *mem, size_t cap,
                 struct twin *w, struct samples *s)
{
    int64_t t = seed % 3 == 0 ? -5000 : INT64_C(1700000000000);
    double v = 0;

    memset(w, 0, sizeof(*w));
    samples_clear(s);
    chunk_xor_begin(c, mem, (uint16_t)cap);
    for (unsigned i = 0; i < n; i++) {
        t += steps[rnd(&seed) % (i % 10 ? 4 : sizeof(steps) / sizeof(*steps))];
        v = value(&seed, v);
        chunk_xor_append(c, t, v);
        twin_append(w, t, f64_bits(v));
        samples_push(s, t, v);
    }
}

static void assert_same(const struct samples *a, const struct samples *b, size_t from, size_t n)
{
    assert_int_equal(b->n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(a->t_ms[from + i], b->t_ms[i]);
        assert_true(f64_bits(a->f[from + i]) == f64_bits(b->f[i]));
    }
}

static const struct trange all = {INT64_MIN, INT64_MAX};

/* --- chunks --- */

static void appender_writes_the_bytes_of_the_drawing(void **state)
{
    static struct twin w;
    uint8_t mem[CHUNK_XOR_MAX_BYTES + CHUNK_XOR_NEED];
    struct samples s, got;
    struct chunk_xor c;
    struct err err;

    samples_init(&s);
    samples_init(&got);
    for (uint64_t seed = 1; seed < 400; seed++) {
        int64_t first, last;
        unsigned count;

        fill(seed * 7919, 1 + (unsigned)(seed % CHUNK_SAMPLES), &c, mem, sizeof(mem), &w, &s);
        assert_int_equal(c.n_bytes, twin_view(&w).n);
        assert_memory_equal(mem, w.p, c.n_bytes);
        assert_int_equal(c.count, s.n);
        samples_clear(&got);
        OK(chunk_xor_decode(sv_make(mem, c.n_bytes), all, &got, &err));
        assert_same(&s, &got, 0, s.n);
        OK(chunk_xor_check(sv_make(mem, c.n_bytes), &first, &last, &count, &err));
        assert_int_equal(first, s.t_ms[0]);
        assert_int_equal(last, s.t_ms[s.n - 1]);
        assert_int_equal(count, s.n);
    }
    samples_fini(&s);
    samples_fini(&got);
}

/* Written by promtool 3.5.3 (tsdb create-blocks-from openmetrics) out of the same samples. */
static void bytes_are_those_of_a_prometheus(void **state)
{
    static const uint8_t golden[] = {
        0x00, 0x09, 0x80, 0xa0, 0xab, 0xfe, 0xf9, 0x62, 0x3f, 0xf0, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x98, 0x75, 0x40, 0x03, 0xe1, 0x37, 0xff, 0xb7, 0xfe, 0x58, 0x0e, 0xc0,
        0x06, 0x0f, 0xbf, 0x07, 0xdf, 0xc6, 0xfc, 0x87, 0x91, 0x00, 0x0e, 0xb3, 0xf0, 0xf0,
        0x3c, 0x67, 0xe7, 0x9f, 0xc8, 0x79, 0x10, 0x00, 0xeb, 0x3b, 0xce, 0x11, 0x91, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x61, 0xa8,
        0x03, 0x12, 0x1f, 0xe0, 0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe4, 0x50};
    static const int64_t t[] = {1700000000000, 1700000015000, 1700000030007, 1700000045000,
                                1700000061000, 1700000200000, 1700000800000, 1700003000000,
                                1700003001000};
    const double v[] = {1,        1,     2.5,  -0.0, 1e300, f64_of_bits(UINT64_C(0x7ff8000000000001)),
                        INFINITY, 17.25, 17.25};
    uint8_t mem[512];
    struct chunk_xor c;

    chunk_xor_begin(&c, mem, sizeof(mem));
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
        chunk_xor_append(&c, t[i], v[i]);
    assert_int_equal(c.n_bytes, sizeof(golden));
    assert_memory_equal(mem, golden, sizeof(golden));
}

static void extreme_times_survive(void **state)
{
    static const int64_t t[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
    static struct twin w;
    uint8_t mem[512];
    struct samples got;
    struct chunk_xor c;
    struct err err;

    memset(&w, 0, sizeof(w));
    samples_init(&got);
    chunk_xor_begin(&c, mem, sizeof(mem));
    for (size_t i = 0; i < 7; i++) {
        chunk_xor_append(&c, t[i], (double)i);
        twin_append(&w, t[i], f64_bits((double)i));
    }
    assert_int_equal(c.n_bytes, twin_view(&w).n);
    assert_memory_equal(mem, w.p, c.n_bytes);
    OK(chunk_xor_decode(sv_make(mem, c.n_bytes), all, &got, &err));
    assert_int_equal(got.n, 6); /* the range is half-open */
    for (size_t i = 0; i < got.n; i++)
        assert_int_equal(got.t_ms[i], t[i]);
    samples_fini(&got);
}

static void an_append_never_needs_more_than_promised(void **state)
{
    uint8_t mem[CHUNK_XOR_MAX_BYTES + CHUNK_XOR_NEED];
    struct chunk_xor c;
    int64_t t = INT64_MIN;

    chunk_xor_begin(&c, mem, sizeof(mem));
    for (int i = 0; i < CHUNK_SAMPLES; i++) {
        unsigned before = c.n_bytes;

        /* alternating huge steps and values without a common window: the worst there is */
        t += i % 2 ? INT64_C(1) << 55 : 1;
        chunk_xor_append(&c, t, f64_of_bits(i % 2 ? UINT64_MAX : 0));
        assert_true(c.n_bytes - before <= CHUNK_XOR_NEED - 8);
    }
    assert_true(c.n_bytes <= CHUNK_XOR_MAX_BYTES);
}

static void only_the_range_is_handed_out(void **state)
{
    static struct twin w;
    uint8_t mem[CHUNK_XOR_MAX_BYTES + CHUNK_XOR_NEED];
    struct samples s, got;
    struct chunk_xor c;
    struct err err;

    samples_init(&s);
    samples_init(&got);
    fill(77, 100, &c, mem, sizeof(mem), &w, &s);
    for (size_t from = 0; from < 100; from += 9)
        for (size_t to = from; to < 100; to += 11) {
            struct trange r = {s.t_ms[from], s.t_ms[to]};

            samples_clear(&got);
            OK(chunk_xor_decode(sv_make(mem, c.n_bytes), r, &got, &err));
            assert_same(&s, &got, from, to - from);
        }
    samples_fini(&s);
    samples_fini(&got);
}

/* Exactly sized copies, so that a sanitizer sees a read past the end. */
static void cut_and_damaged_chunks_are_refused_or_harmless(void **state)
{
    static struct twin w;
    uint8_t mem[CHUNK_XOR_MAX_BYTES + CHUNK_XOR_NEED];
    uint64_t seed = 99;
    struct samples s, got;
    struct chunk_xor c;
    unsigned refused = 0;
    struct err err;

    samples_init(&s);
    samples_init(&got);
    fill(5, 60, &c, mem, sizeof(mem), &w, &s);
    for (size_t n = 0; n < c.n_bytes; n++) {
        char *cut = heap_dup(mem, n);

        assert_int_equal(chunk_xor_decode(sv_make(cut, n), all, &got, &err), ST_CORRUPT);
        heap_free(cut);
    }
    for (int i = 0; i < 3000; i++) {
        char *bad = heap_dup(mem, c.n_bytes);

        bad[rnd(&seed) % c.n_bytes] ^= (char)(1 << rnd(&seed) % 8);
        samples_clear(&got);
        refused += chunk_xor_decode(sv_make(bad, c.n_bytes), all, &got, &err) == ST_CORRUPT;
        for (size_t k = 1; k < got.n; k++)
            assert_true(got.t_ms[k] > got.t_ms[k - 1]);
        heap_free(bad);
    }
    assert_true(refused > 100);
    samples_fini(&s);
    samples_fini(&got);
}

static void a_window_before_any_window_is_refused(void **state)
{
    /* count 2, t 0, v 0, step 1, then "10": reuse of a window that no sample opened */
    static const uint8_t p[] = {0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0};
    /* the same with "11", leading 31, width 63 */
    static const uint8_t q[] = {0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xf8, 0, 0, 0, 0, 0, 0, 0};
    struct samples got;
    struct err err;

    samples_init(&got);
    assert_int_equal(chunk_xor_decode(sv_make(p, sizeof(p)), all, &got, &err), ST_CORRUPT);
    assert_int_equal(chunk_xor_decode(sv_make(q, sizeof(q)), all, &got, &err), ST_CORRUPT);
    samples_fini(&got);
}

static void long_columns_become_chunks_of_120(void **state)
{
    struct chunk_list list;
    struct samples s, got;
    struct arena a;
    struct err err;

    arena_init(&a, 1 << 20);
    samples_init(&s);
    samples_init(&got);
    OK(chunk_encode(&s, &a, &list, &err));
    assert_int_equal(list.n, 0);
    for (int i = 0; i < 1000; i++)
        samples_push(&s, i * 15000, sin(i));
    OK(chunk_encode(&s, &a, &list, &err));
    assert_int_equal(list.n, 9);
    for (size_t i = 0; i < list.n; i++) {
        assert_int_equal(list.p[i].enc, CHUNK_XOR);
        assert_int_equal(list.p[i].first_ms, (int64_t)i * CHUNK_SAMPLES * 15000);
        OK(chunk_xor_decode(list.p[i].data, all, &got, &err));
        assert_int_equal(list.p[i].last_ms, got.t_ms[got.n - 1]);
    }
    assert_same(&s, &got, 0, 1000);
    s.t_ms[500] = s.t_ms[499];
    assert_int_equal(chunk_encode(&s, &a, &list, &err), ST_BUG);
    s.t_ms[500]++;
    a.max_bytes = a.used_bytes + 100;
    assert_int_equal(chunk_encode(&s, &a, &list, &err), ST_LIMIT);
    samples_fini(&s);
    samples_fini(&got);
    arena_fini(&a);
}

/* --- posting lists --- */

enum { IDS = 5000 };

static struct postings random_list(struct arena *a, uint64_t *seed, unsigned per_mille, bool *flags)
{
    struct postings r = {arena_alloc(a, IDS * sizeof(uint32_t)), 0};

    memset(flags, 0, IDS);
    for (uint32_t i = 0; i < IDS; i++)
        if (rnd(seed) % 1000 < per_mille) {
            flags[i] = true;
            r.p[r.n++] = i;
        }
    return r;
}

static void assert_list(struct postings r, const bool *want)
{
    size_t n = 0;

    for (uint32_t i = 0; i < IDS; i++)
        if (want[i]) {
            assert_true(n < r.n);
            assert_int_equal(r.p[n++], i);
        }
    assert_int_equal(r.n, n);
    assert_true(r.n || !r.p);
}

static void lists_meet_join_and_part_as_sets_do(void **state)
{
    static const unsigned dense[] = {0, 1, 20, 500, 1000};
    static bool x[IDS], y[IDS], want[IDS];
    uint64_t seed = 42;
    struct arena a;

    arena_init(&a, 64 << 20);
    for (int i = 0; i < 50; i++) {
        struct postings p = random_list(&a, &seed, dense[i % 5], x);
        struct postings q = random_list(&a, &seed, dense[i / 5 % 5], y), both[2] = {p, q};

        for (int k = 0; k < IDS; k++)
            want[k] = x[k] && y[k];
        assert_list(postings_and(&a, p, q), want);
        for (int k = 0; k < IDS; k++)
            want[k] = x[k] && !y[k];
        assert_list(postings_minus(&a, p, q), want);
        for (int k = 0; k < IDS; k++)
            want[k] = x[k] || y[k];
        assert_list(postings_or(&a, both, 2), want);
        arena_reset(&a);
    }
    arena_fini(&a);
}

static void many_lists_join(void **state)
{
    static bool x[IDS], want[IDS];
    struct postings lists[37];
    uint64_t seed = 7;
    struct arena a;

    arena_init(&a, 64 << 20);
    for (size_t n = 0; n <= 37; n++) {
        memset(want, 0, sizeof(want));
        for (size_t i = 0; i < n; i++) {
            lists[i] = random_list(&a, &seed, i % 4 ? 10 : 0, x);
            for (int k = 0; k < IDS; k++)
                want[k] |= x[k];
        }
        assert_list(postings_or(&a, lists, n), want);
        arena_reset(&a);
    }
    a.max_bytes = 16;
    lists[0] = lists[1] = (struct postings){(uint32_t[]){1, 2, 3, 4, 5}, 5};
    assert_null(postings_or(&a, lists, 2).p);
    assert_true(arena_over(&a));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appender_writes_the_bytes_of_the_drawing),
        cmocka_unit_test(bytes_are_those_of_a_prometheus),
        cmocka_unit_test(extreme_times_survive),
        cmocka_unit_test(an_append_never_needs_more_than_promised),
        cmocka_unit_test(only_the_range_is_handed_out),
        cmocka_unit_test(cut_and_damaged_chunks_are_refused_or_harmless),
        cmocka_unit_test(a_window_before_any_window_is_refused),
        cmocka_unit_test(long_columns_become_chunks_of_120),
        cmocka_unit_test(lists_meet_join_and_part_as_sets_do),
        cmocka_unit_test(many_lists_join),
    };

    return RUN(tests);
}
