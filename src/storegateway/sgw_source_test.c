/* Ranged reads through the byte cache, and change marks. */
#include "unit.h"

#include "base/heap.h"
#include "sgw_int.h"

#include <stdio.h>
#include <string.h>

#define FILE_BYTES ((size_t)1000003)

/* A bucket of one file that counts what is asked of it. */
struct fake {
    struct obj base;
    char *bytes;
    unsigned gets, sizes;
    size_t got;
    enum status fails; /* of every get */
    size_t cut;        /* bytes missing from every answer */
    bool whole;        /* meta.json is there */
};

static enum status fake_get(struct obj *o, struct sv key, uint64_t off, size_t n, struct buf *out,
                            struct err *err)
{
    struct fake *f = (struct fake *)o;

    f->gets++;
    assert_true(sv_is(key, "t/01ARZ3NDEKTSV4RRFFQ0000001/index") ||
                sv_is(key, "t/01ARZ3NDEKTSV4RRFFQ0000001/chunks/000001"));
    if (f->fails != ST_OK)
        return err_set(err, f->fails, "as asked");
    assert_true(off + n <= FILE_BYTES);
    f->got += n;
    buf_put(out, f->bytes + off, n - f->cut);
    return ST_OK;
}

static enum status fake_size(struct obj *o, struct sv key, uint64_t *ret, struct err *err)
{
    if (sv_ends(key, SV("meta.json")))
        return ((struct fake *)o)->whole ? ST_OK : err_set(err, ST_NOTFOUND, "as asked");
    ((struct fake *)o)->sizes++;
    *ret = FILE_BYTES;
    return ST_OK;
}

/* A cache that keeps everything. */
struct fake_cache {
    struct cache base;
    struct hmap map; /* -> struct buf */
    bool damage;
};

static void cache_get_all(struct cache *c, struct cache_get *gets, size_t n)
{
    struct fake_cache *f = (struct fake_cache *)c;

    for (size_t i = 0; i < n; i++) {
        struct buf *b = hmap_get(&f->map, gets[i].key);

        gets[i].hit = b != NULL;
        if (!b)
            continue;
        buf_clear(gets[i].value);
        buf_sv(gets[i].value, buf_view(b));
        if (f->damage)
            gets[i].value->p[7] ^= 1;
    }
}

static void cache_set(struct cache *c, struct sv key, struct sv value, int64_t ttl_ms)
{
    struct buf *b = heap_new(struct buf), *old;

    (void)ttl_ms;
    buf_init(b, 1 << 20);
    buf_sv(b, value);
    old = hmap_set(&((struct fake_cache *)c)->map, key, b);
    if (old)
        buf_fini(old);
    heap_free(old);
}

struct fixture {
    struct obj_ops obj_ops;
    struct cache_ops cache_ops;
    struct fake bucket;
    struct fake_cache cache;
    struct sgw_fetch fetch;
    struct budget budget;
    struct block_source *source;
};

static void reopen(struct fixture *f)
{
    if (f->source)
        f->source->ops->close(f->source);
    f->source = sgw_source_new(&f->fetch, SV("t"), "01ARZ3NDEKTSV4RRFFQ0000001");
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->obj_ops.get = fake_get;
    f->obj_ops.size = fake_size;
    f->bucket.base.ops = &f->obj_ops;
    f->bucket.bytes = malloc(FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES; i++)
        f->bucket.bytes[i] = (char)(i * 31 + i / 257);
    f->cache_ops.get = cache_get_all;
    f->cache_ops.set = cache_set;
    f->cache.base.ops = &f->cache_ops;
    hmap_init(&f->cache.map);
    budget_init(&f->budget, 1 << 30);
    f->fetch.bucket = &f->bucket.base;
    f->fetch.cache = &f->cache.base;
    f->fetch.budget = &f->budget;
    f->fetch.keep_max = 16 << 20;
    reopen(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->source->ops->close(f->source);
    assert_int_equal(budget_used(&f->budget, BUDGET_CACHE), 0);
    assert_int_equal(f->fetch.kept_bytes, 0);
    for (struct hmap_slot *s = NULL; (s = hmap_next(&f->cache.map, s));) {
        buf_fini(s->value);
        heap_free(s->value);
    }
    hmap_fini(&f->cache.map);
    free(f->bucket.bytes);
    free(f);
    return 0;
}

static void reads(struct fixture *f, const char *file, uint64_t off, size_t n)
{
    struct block_lease lease;
    struct err err = ERR_INIT;
    struct sv v;

    OK(f->source->ops->get(f->source, file, off, n, &v, &lease, &err));
    assert_int_equal(v.n, n);
    assert_memory_equal(v.p, f->bucket.bytes + off, n);
    f->source->ops->release(f->source, &lease);
}

static void views_are_the_files_bytes(void **state)
{
    struct fixture *f = *state;

    reads(f, "index", 0, 0);
    reads(f, "index", 0, 1);
    reads(f, "index", 65535, 2);
    reads(f, "index", FILE_BYTES - 1, 1);
    reads(f, "index", FILE_BYTES, 0);
    reads(f, "index", 0, FILE_BYTES);
    reads(f, "chunks/000001", 12345, 300000);
    assert_int_equal(f->bucket.sizes, 2); /* each file's is asked for once */
}

static void small_bites_of_a_page_cost_one_read(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 1000; i++)
        reads(f, "index", i * 60, 60);
    assert_int_equal(f->bucket.gets, 1);
}

static void the_cache_outlives_the_source(void **state)
{
    struct fixture *f = *state;

    reads(f, "index", 100000, 200000);
    assert_int_equal(f->bucket.gets, 1);
    reopen(f);
    reads(f, "index", 100000, 200000);
    assert_int_equal(f->bucket.gets, 1);
    reopen(f);
    reads(f, "index", 0, FILE_BYTES); /* only what is missing, before and behind: two reads */
    assert_int_equal(f->bucket.gets, 3);
    assert_int_equal(f->bucket.got, FILE_BYTES);
}

static void a_damaged_cache_is_a_miss(void **state)
{
    struct fixture *f = *state;

    reads(f, "index", 0, 70000);
    reopen(f);
    f->cache.damage = true;
    reads(f, "index", 0, 70000);
    assert_int_equal(f->bucket.gets, 2);
}

static void prefetched_neighbours_are_one_read(void **state)
{
    struct fixture *f = *state;
    const struct block_range r[] = {{"chunks/000001", 1000, 500},
                                    {"chunks/000001", 2000, 500},
                                    {"chunks/000001", 130000, 500},
                                    {"chunks/000001", 800000, 500}};
    struct err err = ERR_INIT;

    OK(f->source->ops->prefetch(f->source, r, 4, &err));
    assert_int_equal(f->bucket.gets, 2);
    for (size_t i = 0; i < 4; i++)
        reads(f, r[i].file, r[i].off, r[i].n);
    assert_int_equal(f->bucket.gets, 2);
}

/* With no room left for all of them, a source still keeps a page of two files, and prefetches
 * nothing that it would have to fetch again. */
static void a_source_without_room_keeps_two_pages(void **state)
{
    struct fixture *f = *state;
    const struct block_range r = {"chunks/000001", 0, 500000};
    struct err err = ERR_INIT;

    f->fetch.cache = NULL;
    f->fetch.keep_max = 0;
    OK(f->source->ops->prefetch(f->source, &r, 1, &err));
    assert_int_equal(f->bucket.gets, 0);
    for (unsigned i = 0; i < 500; i++) {
        reads(f, "index", i * 100, 100);
        reads(f, "chunks/000001", i * 100, 100);
    }
    assert_int_equal(f->bucket.gets, 2);
    reads(f, "chunks/000001", 0, 900000);
    assert_true(f->fetch.kept_bytes <= 4 * 65536);
}

static void what_is_past_the_end_is_corrupt(void **state)
{
    struct fixture *f = *state;
    const struct block_range r = {"index", FILE_BYTES - 5, 10};
    struct block_lease lease;
    struct err err = ERR_INIT;
    struct sv v;

    assert_int_equal(f->source->ops->get(f->source, "index", FILE_BYTES - 1, 2, &v, &lease, &err),
                     ST_CORRUPT);
    assert_int_equal(f->source->ops->get(f->source, "index", UINT64_MAX, 2, &v, &lease, &err),
                     ST_CORRUPT);
    OK(f->source->ops->prefetch(f->source, &r, 1, &err));
    assert_int_equal(f->bucket.gets, 0);
}

static void faults_of_the_bucket_come_through(void **state)
{
    struct fixture *f = *state;
    struct block_lease lease;
    struct err err = ERR_INIT;
    struct sv v;

    f->bucket.fails = ST_TIMEOUT;
    assert_int_equal(f->source->ops->get(f->source, "index", 0, 2, &v, &lease, &err), ST_TIMEOUT);
    f->bucket.fails = ST_NOTFOUND; /* deleted meanwhile: the query may ask again */
    assert_int_equal(f->source->ops->get(f->source, "index", 0, 2, &v, &lease, &err), ST_UNAVAIL);
    f->bucket.whole = true; /* a file is missing: damage */
    assert_int_equal(f->source->ops->get(f->source, "index", 0, 2, &v, &lease, &err), ST_CORRUPT);
    f->bucket.fails = ST_INVALID; /* credentials refused: no fault of the asker's */
    assert_int_equal(f->source->ops->get(f->source, "index", 0, 2, &v, &lease, &err), ST_UNAVAIL);
    assert_int_equal(err.st, ST_UNAVAIL);
    f->bucket.fails = ST_OK;
    f->bucket.cut = 1;
    assert_int_equal(f->source->ops->get(f->source, "index", 0, 2, &v, &lease, &err), ST_CORRUPT);
    f->bucket.cut = 0;
    reads(f, "index", 0, 2);
}

static void without_a_cache_it_works_too(void **state)
{
    struct fixture *f = *state;

    f->fetch.cache = NULL;
    f->fetch.budget = NULL;
    reads(f, "index", 0, FILE_BYTES);
    reads(f, "index", 500, 500);
    reopen(f);
}

static bool same(struct sgw_changes *c, struct hash128 was, struct trange r)
{
    struct hash128 now = sgw_changes_digest(c, SV("t"), r);

    return now.lo == was.lo && now.hi == was.hi;
}

static void a_change_moves_the_digests_it_touches_only(void **state)
{
    struct sgw_changes *c = sgw_changes_new();
    struct trange low = {0, 100}, high = {100, 200};
    struct hash128 l = sgw_changes_digest(c, SV("t"), low), h = l;

    (void)state;
    sgw_changes_bump(c, SV("t"), (struct trange){50, 60});
    assert_false(same(c, l, low));
    assert_true(same(c, h, high));
    l = sgw_changes_digest(c, SV("t"), low);
    sgw_changes_bump(c, SV("t"), (struct trange){50, 60});
    assert_false(same(c, l, low)); /* each one counts */
    l = sgw_changes_digest(c, SV("t"), low);
    sgw_changes_bump(c, SV("u"), (struct trange){0, 1000}); /* another tenant's */
    assert_true(same(c, l, low));
    for (int i = 0; i < 5000; i++) { /* folded, and still never what it was */
        h = sgw_changes_digest(c, SV("t"), high);
        sgw_changes_bump(c, SV("t"), (struct trange){150, 160});
        assert_false(same(c, h, high));
    }
    sgw_changes_free(c);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(views_are_the_files_bytes),
        CASE(small_bites_of_a_page_cost_one_read),
        CASE(the_cache_outlives_the_source),
        CASE(a_damaged_cache_is_a_miss),
        CASE(prefetched_neighbours_are_one_read),
        CASE(a_source_without_room_keeps_two_pages),
        CASE(what_is_past_the_end_is_corrupt),
        CASE(faults_of_the_bucket_come_through),
        CASE(without_a_cache_it_works_too),
        cmocka_unit_test(a_change_moves_the_digests_it_touches_only),
    };

    return RUN(tests);
}
