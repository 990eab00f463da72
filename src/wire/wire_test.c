/* The hot decoder against protobuf-c, snappy against bombs, histograms against their rules. */
#include "unit.h"

#include "base/heap.h"
#include "wire_int.h"

#include <math.h>
#include <stdio.h>

#define KEY    UINT64_C(0x1234567890abcdef)
#define CORPUS 300

static struct arena in_arena, fast_arena, slow_arena;
static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return below ? seed % below : seed;
}

static struct sv text(const char *z)
{
    return arena_sv(&in_arena, sv_of(z));
}

static struct sv random_labels(size_t n)
{
    struct label ls[16];
    struct buf wire;
    struct sv r;

    for (size_t i = 0; i < n; i++)
        ls[i] = (struct label){
            sv_of(arena_printf(&in_arena, "label_%llu", (unsigned long long)rnd(50))),
            sv_of(arena_printf(&in_arena, "%0*llu", (int)rnd(300), (unsigned long long)rnd(0)))};
    buf_init(&wire, 1 << 20);
    labels_to_wire(&wire, (struct labels){ls, n});
    r = arena_sv(&in_arena, buf_view(&wire));
    buf_fini(&wire);
    return r;
}

/* A valid one, or nearly. */
static const struct hist *random_hist(void)
{
    struct hist *h = arena_new(&in_arena, struct hist);
    uint32_t n = (uint32_t)rnd(12);
    struct hist_span *spans = arena_array(&in_arena, 2, sizeof(*spans));
    uint64_t *counts = arena_array(&in_arena, n + 1, sizeof(*counts));
    double *fcounts = arena_array(&in_arena, n + 1, sizeof(*fcounts));
    double *custom = arena_array(&in_arena, 32, sizeof(*custom));

    h->is_float = rnd(2);
    h->schema = rnd(4) ? (int32_t)rnd(13) - 4 : HIST_CUSTOM_SCHEMA;
    h->reset = (enum hist_reset)rnd(4);
    h->sum = (double)rnd(1000) / 7;
    h->zero_threshold = h->schema == HIST_CUSTOM_SCHEMA ? 0 : 1e-128;
    spans[0] = (struct hist_span){(int32_t)rnd(9) - (h->schema < -4 ? 0 : 4), n / 2};
    spans[1] = (struct hist_span){(int32_t)rnd(5) - (rnd(8) == 0), n - n / 2};
    for (uint32_t i = 0; i < n; i++) {
        counts[i] = rnd(1000);
        fcounts[i] = (double)rnd(1000) / 3;
        h->count += counts[i];
    }
    h->count += rnd(8) == 0;
    h->fcount = (double)h->count;
    h->pos = (struct hist_side){spans, n ? 2 : 0, counts, fcounts, n};
    if (h->schema == HIST_CUSTOM_SCHEMA) {
        h->custom = custom;
        h->custom_n = 32;
        for (int i = 0; i < 32; i++)
            custom[i] = i;
    } else if (rnd(3) == 0) {
        h->neg = h->pos;
        h->count *= 2;
    }
    return h;
}

static void random_batch(struct batch *b)
{
    for (size_t n = rnd(6); n; n--) {
        struct batch_series *s = batch_add_series(b);

        s->raw = random_labels(rnd(12));
        s->sample_off = (uint32_t)b->samples_n;
        s->hist_off = (uint32_t)b->hists_n;
        s->exemplar_off = (uint32_t)b->exemplars_n;
        for (size_t k = rnd(4); k; k--)
            *batch_add_sample(b) = (struct batch_sample){
                rnd(5) ? (int64_t)rnd(0) : 0, 0, rnd(4) ? f64_of_bits(rnd(0)) : -0.0};
        for (size_t k = rnd(3); k; k--)
            *batch_add_hist(b) = (struct batch_hist){.t_ms = (int64_t)rnd(0), .h = random_hist()};
        for (size_t k = rnd(3); k; k--)
            *batch_add_exemplar(b) =
                (struct batch_exemplar){(int64_t)rnd(0), 1.5, random_labels(rnd(3))};
        s->sample_n = (uint32_t)b->samples_n - s->sample_off;
        s->hist_n = (uint32_t)b->hists_n - s->hist_off;
        s->exemplar_n = (uint32_t)b->exemplars_n - s->exemplar_off;
    }
    for (size_t n = rnd(3); n; n--)
        *batch_add_metadata(b) =
            (struct batch_metadata){text("up"), text("Is it up?"), text("bool"), (uint32_t)rnd(8)};
}

static bool same_bits(double a, double b)
{
    return f64_bits(a) == f64_bits(b);
}

static bool same_side(const struct hist_side *a, const struct hist_side *b, bool is_float)
{
    bool same = a->spans_n == b->spans_n && a->buckets_n == b->buckets_n;

    for (uint32_t i = 0; same && i < a->spans_n; i++)
        same = a->spans[i].offset == b->spans[i].offset && a->spans[i].length == b->spans[i].length;
    for (uint32_t i = 0; same && i < a->buckets_n; i++)
        same = is_float ? same_bits(a->fcounts[i], b->fcounts[i]) : a->counts[i] == b->counts[i];
    return same;
}

static bool same_hist(const struct hist *a, const struct hist *b)
{
    bool same;

    if (!a || !b)
        return a == b;
    same = a->schema == b->schema && a->is_float == b->is_float && a->reset == b->reset &&
           same_bits(a->zero_threshold, b->zero_threshold) && same_bits(a->sum, b->sum) &&
           a->count == b->count && a->zero_count == b->zero_count &&
           same_bits(a->fcount, b->fcount) && same_bits(a->fzero_count, b->fzero_count) &&
           same_side(&a->pos, &b->pos, a->is_float) && same_side(&a->neg, &b->neg, a->is_float) &&
           a->custom_n == b->custom_n;
    for (uint32_t i = 0; same && i < a->custom_n; i++)
        same = same_bits(a->custom[i], b->custom[i]);
    return same;
}

static void assert_same_labels(struct sv a, struct sv b)
{
    struct labels x, y;
    struct err err = ERR_INIT;

    OK(labels_from_wire(a, SIZE_MAX / 2, &fast_arena, &x, &err));
    OK(labels_from_wire(b, SIZE_MAX / 2, &slow_arena, &y, &err));
    assert_true(labels_eq(x, y));
}

static void assert_same_batch(const struct batch *a, const struct batch *b)
{
    assert_int_equal(a->series_n, b->series_n);
    assert_int_equal(a->samples_n, b->samples_n);
    assert_int_equal(a->hists_n, b->hists_n);
    assert_int_equal(a->exemplars_n, b->exemplars_n);
    assert_int_equal(a->metadata_n, b->metadata_n);
    for (size_t i = 0; i < a->series_n; i++) {
        const struct batch_series *x = &a->series[i], *y = &b->series[i];

        assert_same_labels(x->raw, y->raw);
        if (sv_eq(x->raw, y->raw))
            assert_memory_equal(&x->alias, &y->alias, sizeof(x->alias));
        assert_memory_equal(&x->sample_off, &y->sample_off, 6 * sizeof(uint32_t));
    }
    for (size_t i = 0; i < a->samples_n; i++)
        assert_true(a->samples[i].t_ms == b->samples[i].t_ms && a->samples[i].st_ms == b->samples[i].st_ms &&
                    same_bits(a->samples[i].f, b->samples[i].f));
    for (size_t i = 0; i < a->hists_n; i++)
        assert_true(a->hists[i].t_ms == b->hists[i].t_ms &&
                    a->hists[i].st_ms == b->hists[i].st_ms &&
                    same_hist(a->hists[i].h, b->hists[i].h));
    for (size_t i = 0; i < a->exemplars_n; i++) {
        assert_true(a->exemplars[i].t_ms == b->exemplars[i].t_ms &&
                    same_bits(a->exemplars[i].f, b->exemplars[i].f));
        assert_same_labels(a->exemplars[i].raw, b->exemplars[i].raw);
    }
    for (size_t i = 0; i < a->metadata_n; i++)
        assert_true(a->metadata[i].type == b->metadata[i].type &&
                    sv_eq(a->metadata[i].metric, b->metadata[i].metric) &&
                    sv_eq(a->metadata[i].help, b->metadata[i].help) &&
                    sv_eq(a->metadata[i].unit, b->metadata[i].unit));
}

typedef enum status decode_fn(struct sv body, struct batch *batch, struct err *err);

/* Both decoders on the same bytes, from a block of exactly their size: accepted? */
static bool both_of(decode_fn *quick, decode_fn *plain, struct sv body)
{
    struct err err = ERR_INIT;
    struct batch fast, slow;
    char *exact = heap_dup(body.p, body.n);
    struct sv in = sv_make(exact, body.n);
    enum status a, b;

    arena_reset(&fast_arena);
    arena_reset(&slow_arena);
    batch_init(&fast, &fast_arena, KEY);
    batch_init(&slow, &slow_arena, KEY);
    a = quick(in, &fast, &err);
    b = plain(in, &slow, &err);
    assert_int_equal(a, b);
    if (a == ST_OK)
        assert_same_batch(&fast, &slow);
    else
        assert_int_equal(a, ST_INVALID);
    heap_free(exact);
    return a == ST_OK;
}

static bool both(struct sv body)
{
    return both_of(wire_write_v1, wire_write_v1_slow, body);
}

static bool both_v2(struct sv body)
{
    return both_of(wire_write_v2, wire_write_v2_slow, body);
}

static void encode_random(struct buf *out)
{
    struct batch b;

    arena_reset(&in_arena);
    batch_init(&b, &in_arena, KEY);
    random_batch(&b);
    buf_init(out, (size_t)16 << 20);
    wire_write_v1_encode(out, &b);
    assert_true(buf_ok(out));
}

static void encode_random_v2(struct buf *out)
{
    struct batch b;

    arena_reset(&in_arena);
    batch_init(&b, &in_arena, KEY);
    random_batch(&b);
    for (size_t i = 0; i < b.samples_n; i++)
        b.samples[i].st_ms = rnd(2) ? (int64_t)rnd(0) : 0;
    for (size_t i = 0; i < b.hists_n; i++)
        b.hists[i].st_ms = rnd(2) ? (int64_t)rnd(0) : 0;
    buf_init(out, (size_t)16 << 20);
    wire_write_v2_encode(out, &b);
    assert_true(buf_ok(out));
    assert_true(both_v2(buf_view(out)));
}

static void what_is_encoded_is_decoded_alike_by_both(void **state)
{
    (void)state;
    seed = 42;
    for (int i = 0; i < CORPUS; i++) {
        struct buf body;

        encode_random(&body);
        assert_true(both(buf_view(&body)));
        buf_fini(&body);
        encode_random_v2(&body);
        buf_fini(&body);
    }
}

static void mutate(void (*encode)(struct buf *), bool (*decode)(struct sv))
{
    unsigned taken = 0, refused = 0;

    seed = 7;
    for (int i = 0; i < CORPUS; i++) {
        struct buf body;

        encode(&body);
        for (int k = 0; k < 60 && body.n; k++) {
            size_t n = body.n;
            char kept[8];
            size_t at = rnd(n), run = 1 + rnd(8);

            if (run > n - at)
                run = n - at;
            memcpy(kept, body.p + at, run);
            switch (rnd(4)) {
            case 0: body.p[at] ^= (char)(1u << rnd(8)); break;
            case 1: body.p[at] = (char)rnd(256); break;
            case 2: n = at; break;
            default:
                for (size_t j = 0; j < run; j++)
                    body.p[at + j] = (char)rnd(256);
            }
            if (decode(sv_make(body.p, n)))
                taken++;
            else
                refused++;
            memcpy(body.p + at, kept, run);
        }
        buf_fini(&body);
    }
    /* Neither is a rarity, or the test would look at one side only. */
    assert_true(taken > 1000 && refused > 1000);
}

static void mutated_bodies_are_taken_or_refused_alike_by_both(void **state)
{
    (void)state;
    mutate(encode_random, both);
    mutate(encode_random_v2, both_v2);
}

#define BYTES(lit) SV(lit)

static void odd_but_legal_bytes_mean_the_same_to_both(void **state)
{
    static const struct {
        struct sv body;
        bool taken;
    } cases[] = {
        {BYTES(""), true},
        {BYTES("\x0a\x00"), true},                                 /* a series of nothing */
        {BYTES("\x0a\x02\x0a\x00"), true},                         /* an empty label */
        {BYTES("\x0a\x05\x0a\x03\x0a\x01" "a"), true},             /* no value */
        {BYTES("\x0a\x08\x0a\x06\x12\x01" "b\x0a\x01" "a"), true}, /* value first */
        {BYTES("\x0a\x08\x0a\x06\x0a\x01" "a\x0a\x01" "b"), true}, /* name twice: the last */
        {BYTES("\x0a\x09\x0a\x03\x0a\x01" "a\x12\x00\x0a\x00"), true}, /* scattered */
        {BYTES("\x0a\x07\x0a\x05\x0a\x01" "a\x18\x01"), true},     /* a label with a field 3 */
        {BYTES("\x0a\x08\x8a\x00\x05\x0a\x01" "a\x18\x01"), true}, /* a tag in two bytes */
        {BYTES("\x10\x01"), true},                                 /* Cortex's source */
        {BYTES("\x0a\x04\x12\x02\x08\x01"), false},                /* value as a varint */
        {BYTES("\x0a\x04\x0a\x02\x08\x01"), false},                /* name as a varint */
        {BYTES("\x0a\x02\x10\x01"), false},                        /* samples as a varint */
        {BYTES("\x08\x01"), false},                                /* series as a varint */
        {BYTES("\x0b\x0c"), false},                                /* a group */
        {BYTES("\x0a\x05\x0a"), false},                            /* cut short */
        {BYTES("\x0a\xff\xff\xff\xff\xff\x01"), false},            /* length of six bytes */
        {BYTES("\x0a\x04\x22\x02\x4a\x00"), true},                 /* empty packed deltas */
        {BYTES("\x0a\x05\x22\x03\x4a\x01\x80"), false},            /* unfinished packed delta */
        {BYTES("\x0a\x05\x22\x03\x52\x01\x00"), false},            /* a double of one byte */
        {BYTES("\x0a\x04\x22\x02\x48\x02"), true},                 /* unpacked delta */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (both(cases[i].body) != cases[i].taken)
            fail_msg("case %zu is %s", i, cases[i].taken ? "refused" : "taken");
}

static void scattered_labels_become_one_piece_with_the_usual_alias(void **state)
{
    static const struct sv usual = BYTES("\x0a\x06\x0a\x01" "a\x12\x01" "b"
                                         "\x0a\x06\x0a\x01" "c\x12\x01" "d");
    struct sv body = BYTES("\x0a\x12\x0a\x06\x0a\x01" "a\x12\x01" "b\x12\x00"
                           "\x0a\x06\x0a\x01" "c\x12\x01" "d");
    struct hash128 alias = hash128(usual.p, usual.n, KEY);
    struct err err = ERR_INIT;
    struct batch b;

    (void)state;
    arena_reset(&fast_arena);
    batch_init(&b, &fast_arena, KEY);
    OK(wire_write_v1(body, &b, &err));
    assert_int_equal(b.series_n, 1);
    assert_true(sv_eq(b.series[0].raw, usual));
    assert_memory_equal(&b.series[0].alias, &alias, sizeof(alias));
}

static void labels_in_one_piece_are_not_copied(void **state)
{
    struct sv body = BYTES("\x0a\x0a\x0a\x06\x0a\x01" "a\x12\x01" "b\x12\x00");
    struct err err = ERR_INIT;
    struct batch b;

    (void)state;
    arena_reset(&fast_arena);
    batch_init(&b, &fast_arena, KEY);
    OK(wire_write_v1(body, &b, &err));
    assert_ptr_equal(b.series[0].raw.p, body.p + 2);
    assert_int_equal(b.series[0].raw.n, 8);
}

static void a_request_that_swells_stops_at_the_arena(void **state)
{
    struct arena small;
    struct err err = ERR_INIT;
    struct batch b;
    char *body = heap_zalloc(200000);

    (void)state;
    for (size_t i = 0; i < 200000; i += 2)
        body[i] = 0x0a; /* 100 k empty series, 48 bytes each */
    arena_init(&small, 1 << 20);
    batch_init(&b, &small, KEY);
    assert_int_equal(wire_write_v1(sv_make(body, 200000), &b, &err), ST_LIMIT);
    assert_int_equal(err.st, ST_LIMIT);
    arena_reset(&small);
    batch_init(&b, &small, KEY);
    assert_int_equal(wire_write_v1_slow(sv_make(body, 200000), &b, &err), ST_LIMIT);
    arena_fini(&small);
    heap_free(body);
}

static void a_nan_keeps_its_bits(void **state)
{
    struct sv body = BYTES("\x0a\x0d\x12\x0b\x09\x02\x00\x00\x00\x00\x00\xf0\x7f\x10\x07");
    struct err err = ERR_INIT;
    struct batch b;

    (void)state;
    arena_reset(&fast_arena);
    batch_init(&b, &fast_arena, KEY);
    OK(wire_write_v1(body, &b, &err));
    assert_true(f64_is_stale(b.samples[0].f));
    assert_int_equal(b.samples[0].t_ms, 7);
}

#define ONE_SERIES "\x22\x00\x22\x01" "a\x22\x01" "b" /* symbols: nothing, a, b */

static void odd_but_legal_v2_bytes_mean_the_same_to_both(void **state)
{
    static const struct {
        struct sv body;
        bool taken;
    } cases[] = {
        {BYTES(""), true},
        {BYTES("\x22\x00"), true},
        {BYTES("\x2a\x00"), false},                                /* a series, no symbols */
        {BYTES("\x22\x01" "a"), false},                            /* the first is not empty */
        {BYTES("\x22\x00\x2a\x00"), true},                         /* a series of nothing */
        {BYTES(ONE_SERIES "\x2a\x04\x0a\x02\x01\x02"), true},
        {BYTES("\x2a\x04\x0a\x02\x01\x02" ONE_SERIES), true},      /* symbols come last */
        {BYTES(ONE_SERIES "\x2a\x04\x08\x01\x08\x02"), true},      /* references not packed */
        {BYTES(ONE_SERIES "\x2a\x06\x0a\x01\x01\x0a\x01\x02"), true}, /* in two pieces */
        {BYTES(ONE_SERIES "\x2a\x03\x0a\x01\x01"), false},         /* an odd number */
        {BYTES(ONE_SERIES "\x2a\x04\x0a\x02\x01\x03"), false},     /* one beyond the last */
        {BYTES(ONE_SERIES "\x2a\x08\x0a\x06\x01\xff\xff\xff\xff\x0f"), false},
        {BYTES(ONE_SERIES "\x2a\x08\x0a\x06\x01\x82\x80\x80\x80\x10"), true}, /* 2^32 + 2 */
        {BYTES(ONE_SERIES "\x2a\x04\x0a\x02\x01\x82"), false},     /* reference cut short */
        {BYTES(ONE_SERIES "\x2a\x06\x0a\x04\x01\x02\x01\x02"), true}, /* the same twice */
        {BYTES(ONE_SERIES "\x2a\x08\x0a\x02\x01\x02\x2a\x02\x18\x02"), true},  /* help */
        {BYTES(ONE_SERIES "\x2a\x08\x0a\x02\x01\x02\x2a\x02\x18\x03"), false}, /* no symbol */
        {BYTES(ONE_SERIES "\x2a\x08\x0a\x02\x01\x02\x2a\x02\x20\x03"), false}, /* unit */
        {BYTES(ONE_SERIES "\x2a\x09\x0a\x02\x01\x02\x22\x03\x0a\x01\x01"), false}, /* exemplar */
        {BYTES(ONE_SERIES "\x2a\x04\x12\x02\x08\x01"), false},     /* a value as a varint */
        {BYTES(ONE_SERIES "\x28\x01"), false},                      /* series as a varint */
        {BYTES(ONE_SERIES "\x2a\x02\x30\x05"), true},               /* created_timestamp */
        {BYTES("\x0a\x04\x0a\x02\x0a\x00"), true},                  /* 1.0's series are none here */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (both_v2(cases[i].body) != cases[i].taken)
            fail_msg("case %zu is %s", i, cases[i].taken ? "refused" : "taken");
}

static void both_versions_name_a_series_alike(void **state)
{
    static const struct sv usual = BYTES("\x0a\x06\x0a\x01" "a\x12\x01" "b"
                                         "\x0a\x06\x0a\x01" "b\x12\x01" "a");
    struct hash128 alias = hash128(usual.p, usual.n, KEY);
    struct sv body = BYTES(ONE_SERIES "\x2a\x15\x0a\x04\x01\x02\x02\x01"
                           "\x12\x0d\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x10\x07\x18\x05"
                           "\x2a\x1b\x0a\x02\x01\x02\x30\x04" /* all began at 4... */
                           "\x12\x02\x10\x08\x12\x04\x10\x09\x18\x03" /* ...but the second */
                           "\x1a\x02\x78\x0a\x1a\x05\x78\x0b\x88\x01\x06");
    struct err err = ERR_INIT;
    struct batch b;

    (void)state;
    assert_true(both_v2(body));
    batch_init(&b, &fast_arena, KEY);
    OK(wire_write_v2(body, &b, &err));
    assert_int_equal(b.series_n, 2);
    assert_true(sv_eq(b.series[0].raw, usual));
    assert_memory_equal(&b.series[0].alias, &alias, sizeof(alias));
    assert_true(b.samples[0].f == 1 && b.samples[0].t_ms == 7 && b.samples[0].st_ms == 5);
    assert_true(b.samples[1].t_ms == 8 && b.samples[1].st_ms == 4);
    assert_true(b.samples[2].t_ms == 9 && b.samples[2].st_ms == 3);
    assert_true(b.hists[0].t_ms == 10 && b.hists[0].st_ms == 4 && b.hists[0].h);
    assert_true(b.hists[1].t_ms == 11 && b.hists[1].st_ms == 6);
}

static void metadata_is_one_row_for_each_name_under_its_family(void **state)
{
    /* 1 __name__, 2 a_bucket, 3 a_sum, 4 help, 5 s */
    struct sv body = BYTES("\x22\x00\x22\x08__name__\x22\x08" "a_bucket\x22\x05" "a_sum"
                           "\x22\x04help\x22\x01s"
                           "\x2a\x0c\x0a\x02\x01\x02\x2a\x06\x08\x03\x18\x04\x20\x05"
                           "\x2a\x0c\x0a\x02\x01\x02\x2a\x06\x08\x03\x18\x04\x20\x05" /* again */
                           "\x2a\x08\x0a\x02\x01\x03\x2a\x02\x08\x03"
                           "\x2a\x08\x0a\x02\x01\x03\x2a\x02\x08\x02" /* a gauge of this name */
                           "\x2a\x06\x0a\x02\x01\x03\x2a\x00");
    struct err err = ERR_INIT;
    struct batch b;

    (void)state;
    assert_true(both_v2(body));
    batch_init(&b, &fast_arena, KEY);
    OK(wire_write_v2(body, &b, &err));
    assert_int_equal(b.series_n, 5);
    assert_int_equal(b.metadata_n, 3);
    assert_true(sv_is(b.metadata[0].metric, "a") && b.metadata[0].type == 3 &&
                sv_is(b.metadata[0].help, "help") && sv_is(b.metadata[0].unit, "s"));
    assert_true(sv_is(b.metadata[1].metric, "a") && b.metadata[1].type == 3);
    assert_true(sv_is(b.metadata[2].metric, "a_sum") && b.metadata[2].type == 2);
}

/* One symbol of 10 kB, named over and over: 64 times 20 kB from 128 bytes. */
static void references_that_swell_stop_at_the_arena(void **state)
{
    struct arena small;
    struct err err = ERR_INIT;
    struct buf body;
    struct batch b;

    (void)state;
    buf_init(&body, 1 << 20);
    buf_put(&body, "\x22\x00\x22\x90\x4e", 5);
    for (int i = 0; i < 10000; i++)
        buf_ch(&body, 'x');
    buf_put(&body, "\x2a\x83\x01\x0a\x80\x01", 6);
    for (int i = 0; i < 128; i++)
        buf_ch(&body, '\1');
    assert_true(both_v2(buf_view(&body)));
    arena_init(&small, 1 << 20);
    batch_init(&b, &small, KEY);
    assert_int_equal(wire_write_v2(buf_view(&body), &b, &err), ST_LIMIT);
    assert_int_equal(err.st, ST_LIMIT);
    arena_reset(&small);
    batch_init(&b, &small, KEY);
    assert_int_equal(wire_write_v2_slow(buf_view(&body), &b, &err), ST_LIMIT);
    arena_fini(&small);
    buf_fini(&body);
}

static void snappy_goes_both_ways(void **state)
{
    struct err err = ERR_INIT;
    struct sv out, in = SV("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
    struct buf packed;

    (void)state;
    buf_init(&packed, 1000);
    wire_snap(&packed, in);
    arena_reset(&fast_arena);
    OK(wire_unsnap(buf_view(&packed), 1000, &fast_arena, &out, &err));
    assert_true(sv_eq(in, out));
    assert_int_equal(wire_unsnap(buf_view(&packed), in.n - 1, &fast_arena, &out, &err), ST_TOOBIG);
    packed.n--;
    assert_int_equal(wire_unsnap(buf_view(&packed), 1000, &fast_arena, &out, &err), ST_INVALID);
    buf_fini(&packed);
    buf_init(&packed, 10);
    wire_snap(&packed, in);
    assert_false(buf_ok(&packed));
    buf_fini(&packed);
}

/* The densest snappy there is passes; a promise beyond it costs nothing. */
static void a_snappy_bomb_is_refused_before_memory_is_taken(void **state)
{
    struct sv bomb = BYTES("\x80\x80\x80\x20" "abcdefgh"); /* 64 MiB in 12 bytes */
    struct err err = ERR_INIT;
    struct buf zeros, packed;
    struct arena small;
    struct sv out;

    (void)state;
    arena_reset(&fast_arena);
    assert_int_equal(wire_unsnap(bomb, (size_t)100 << 20, &fast_arena, &out, &err), ST_INVALID);
    assert_int_equal(fast_arena.used_bytes, 0);
    assert_int_equal(wire_unsnap(BYTES("\xff\xff\xff\xff\xff\xff"), 1000, &fast_arena, &out, &err),
                     ST_INVALID);
    assert_int_equal(wire_unsnap(BYTES(""), 1000, &fast_arena, &out, &err), ST_INVALID);
    buf_init(&zeros, 1 << 20);
    assert_true(buf_reserve(&zeros, 1 << 20));
    memset(zeros.p, 0, 1 << 20);
    zeros.n = 1 << 20;
    buf_init(&packed, 1 << 21);
    wire_snap(&packed, buf_view(&zeros));
    assert_true(packed.n < zeros.n / 20);
    OK(wire_unsnap(buf_view(&packed), 1 << 20, &fast_arena, &out, &err));
    arena_init(&small, 1000);
    assert_int_equal(wire_unsnap(buf_view(&packed), 1 << 20, &small, &out, &err), ST_LIMIT);
    arena_fini(&small);
    buf_fini(&zeros);
    buf_fini(&packed);
}

struct hist_case {
    struct hist h;
    bool valid;
};

static void histograms_are_held_to_prometheus_rules(void **state)
{
    static const uint64_t two[] = {3, 4};
    static const double ftwo[] = {3.5, 4}, fneg[] = {-1, 4}, bounds[] = {1, 2}, back[] = {2, 1},
                        inf[] = {1, INFINITY};
    static const struct hist_span one = {-2, 2}, zero = {0, 2}, ahead = {2, 2},
                                  back_spans[] = {{5, 1}, {-1, 1}}, short_span = {0, 1};
    static const struct hist_case cases[] = {
        {{.count = 7, .pos = {&one, 1, two, NULL, 2}}, true},
        {{.count = 9, .zero_count = 2, .pos = {&one, 1, two, NULL, 2}}, true},
        {{.count = 8, .pos = {&one, 1, two, NULL, 2}}, false}, /* no NaN, and not the sum */
        {{.count = 8, .sum = NAN, .pos = {&one, 1, two, NULL, 2}}, true},
        {{.count = 6, .sum = NAN, .pos = {&one, 1, two, NULL, 2}}, false},
        {{.count = 7, .pos = {&short_span, 1, two, NULL, 2}}, false},
        {{.count = 7, .pos = {back_spans, 2, two, NULL, 2}}, false},
        {{.count = 7, .schema = 9, .pos = {&one, 1, two, NULL, 2}}, false},
        {{.count = 7, .schema = -5, .pos = {&one, 1, two, NULL, 2}}, false},
        {{.count = 7, .custom = bounds, .custom_n = 2, .pos = {&one, 1, two, NULL, 2}}, false},
        {{.is_float = true, .fcount = 7, .neg = {&one, 1, NULL, ftwo, 2}}, true},
        {{.is_float = true, .fcount = 7, .neg = {&one, 1, NULL, fneg, 2}}, false},
        {{.is_float = true, .fcount = -7}, false},
        {{.schema = -53, .count = 7, .custom = bounds, .custom_n = 2,
          .pos = {&zero, 1, two, NULL, 2}}, true},
        {{.schema = -53, .count = 7, .custom = bounds, .custom_n = 2,
          .pos = {&ahead, 1, two, NULL, 2}}, false}, /* beyond the last bound's bucket */
        {{.schema = -53, .count = 7, .custom = back, .custom_n = 2,
          .pos = {&zero, 1, two, NULL, 2}}, false},
        {{.schema = -53, .count = 7, .custom = inf, .custom_n = 2,
          .pos = {&zero, 1, two, NULL, 2}}, false},
        {{.schema = -53, .count = 7, .custom = bounds, .custom_n = 2,
          .neg = {&zero, 1, two, NULL, 2}}, false},
        {{.schema = -53, .count = 1, .zero_count = 1}, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct batch_hist got = {0};
        struct err err = ERR_INIT;
        struct buf wire;

        assert_int_equal(wire_hist_valid(&cases[i].h), cases[i].valid);
        buf_init(&wire, 10000);
        wire_hist_encode(&wire, &cases[i].h, 77);
        OK(wire_hist(buf_view(&wire), &fast_arena, &got, &err));
        if ((got.h != NULL) != cases[i].valid)
            fail_msg("case %zu", i);
        assert_int_equal(got.t_ms, 77);
        if (got.h)
            assert_true(same_hist(got.h, &cases[i].h));
        buf_fini(&wire);
    }
}

static int setup(void **state)
{
    (void)state;
    arena_init(&in_arena, (size_t)64 << 20);
    arena_init(&fast_arena, (size_t)64 << 20);
    arena_init(&slow_arena, (size_t)64 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&in_arena);
    arena_fini(&fast_arena);
    arena_fini(&slow_arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded_alike_by_both),
        cmocka_unit_test(mutated_bodies_are_taken_or_refused_alike_by_both),
        cmocka_unit_test(odd_but_legal_bytes_mean_the_same_to_both),
        cmocka_unit_test(scattered_labels_become_one_piece_with_the_usual_alias),
        cmocka_unit_test(labels_in_one_piece_are_not_copied),
        cmocka_unit_test(a_request_that_swells_stops_at_the_arena),
        cmocka_unit_test(a_nan_keeps_its_bits),
        cmocka_unit_test(odd_but_legal_v2_bytes_mean_the_same_to_both),
        cmocka_unit_test(both_versions_name_a_series_alike),
        cmocka_unit_test(metadata_is_one_row_for_each_name_under_its_family),
        cmocka_unit_test(references_that_swell_stop_at_the_arena),
        cmocka_unit_test(snappy_goes_both_ways),
        cmocka_unit_test(a_snappy_bomb_is_refused_before_memory_is_taken),
        cmocka_unit_test(histograms_are_held_to_prometheus_rules),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, setup, teardown);
}
