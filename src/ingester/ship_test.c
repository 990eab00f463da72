/* Shipping: meta.json last, confirmed, idempotent; an upload that fails anywhere leaves no block. */
#include "unit.h"

#include "base/heap.h"
#include "ingester/ship.h"

#include <stdio.h>
#include <string.h>

#define ULID "01ARZ3NDEKTSV4RRFFQ0000001"

/* A folder bucket that counts, notes the order of puts, and fails the n-th call. */
struct flaky {
    struct obj base;
    struct obj *folder;
    struct buf order;
    unsigned calls, fails;
    bool short_puts; /* stores less than it was given */
};

static struct flaky *flaky(struct obj *o)
{
    return (struct flaky *)o;
}

static enum status f_put_file(struct obj *o, struct sv key, const char *path, struct err *err)
{
    struct flaky *f = flaky(o);

    if (++f->calls == f->fails)
        return err_set(err, ST_UNAVAIL, "as asked");
    buf_sv(&f->order, sv_sub(key, sizeof("ten-ant/" ULID), key.n));
    buf_ch(&f->order, ' ');
    if (f->short_puts)
        return f->folder->ops->put(f->folder, key, SV("x"), false, err);
    return f->folder->ops->put_file(f->folder, key, path, err);
}

static enum status f_size(struct obj *o, struct sv key, uint64_t *ret, struct err *err)
{
    struct flaky *f = flaky(o);

    if (++f->calls == f->fails)
        return err_set(err, ST_TIMEOUT, "as asked");
    return f->folder->ops->size(f->folder, key, ret, err);
}

struct fixture {
    char root[64], block[FS_PATH_MAX];
    struct obj_ops ops;
    struct flaky bucket;
    struct block_meta meta;
};

static void write_file(struct fixture *f, const char *name, const char *text)
{
    char path[FS_PATH_MAX];
    struct err err = ERR_INIT;

    assert_true(fs_join(path, f->block, name));
    OK(fs_write_file(fs_posix(), path, sv_of(text), &err));
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err = ERR_INIT;
    char path[FS_PATH_MAX];

    snprintf(f->root, sizeof(f->root), "/tmp/engram-ship-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    assert_true(fs_join(path, f->root, "bucket"));
    OK(obj_fs_open(fs_posix(), path, &f->bucket.folder, &err));
    assert_true(fs_join(path, f->root, "blocks"));
    assert_true(fs_join(f->block, path, ULID));
    assert_true(fs_join(path, f->block, "chunks"));
    OK(fs_mkdirs(fs_posix(), path, &err));
    write_file(f, "chunks/000001", "chunks one");
    write_file(f, "chunks/000002", "chunks number two");
    write_file(f, "index", "an index");
    write_file(f, "tombstones", "");
    write_file(f, "meta.json", "{}");
    memcpy(f->meta.ulid, ULID, sizeof(ULID));
    f->ops = *f->bucket.folder->ops;
    f->ops.put_file = f_put_file;
    f->ops.size = f_size;
    f->bucket.base.ops = &f->ops;
    buf_init(&f->bucket.order, 10000);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->bucket.folder->ops->close(f->bucket.folder);
    buf_fini(&f->bucket.order);
    fs_rmtree(fs_posix(), f->root, NULL);
    free(f);
    return 0;
}

static enum status ship(struct fixture *f, struct err *err)
{
    buf_clear(&f->bucket.order);
    f->bucket.calls = 0;
    return ship_block(&f->bucket.base, fs_posix(), f->block, SV("ten-ant"), &f->meta, err);
}

static bool has(struct fixture *f, const char *name)
{
    struct obj *b = f->bucket.folder;
    char key[128];
    uint64_t n;

    snprintf(key, sizeof(key), "ten-ant/" ULID "/%s", name);
    return b->ops->size(b, sv_of(key), &n, NULL) == ST_OK;
}

static void all_is_put_and_meta_json_last(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    OK(ship(f, &err));
    buf_ch(&f->bucket.order, 0);
    assert_string_equal(f->bucket.order.p,
                        "tombstones chunks/000001 chunks/000002 index meta.json ");
    assert_true(has(f, "meta.json") && has(f, "chunks/000002"));
}

static void what_is_there_whole_is_only_confirmed(void **state)
{
    struct fixture *f = *state;
    struct obj *b = f->bucket.folder;
    struct err err = ERR_INIT;

    OK(ship(f, &err));
    OK(ship(f, &err));
    assert_int_equal(f->bucket.order.n, 0);
    OK(b->ops->del(b, SV("ten-ant/" ULID "/chunks/000001"), &err));
    OK(ship(f, &err)); /* not whole: put again */
    assert_true(has(f, "chunks/000001"));
}

static void a_failure_anywhere_leaves_no_block_and_the_next_try_ends_it(void **state)
{
    struct fixture *f = *state;
    struct obj *b = f->bucket.folder;
    struct err err = ERR_INIT;
    unsigned failures = 0;

    for (unsigned fails = 1;; fails++) {
        enum status st;

        OK(b->ops->del(b, SV("ten-ant/" ULID "/meta.json"), &err));
        f->bucket.fails = fails;
        st = ship(f, &err);
        f->bucket.fails = 0;
        if (f->bucket.calls < fails)
            break; /* none was left to fail */
        if (st == ST_OK) {
            assert_true(has(f, "meta.json"));
            continue; /* only the look whether it is there already failed */
        }
        failures++;
        assert_non_null(strstr(err.msg, "ten-ant/" ULID));
        if (has(f, "meta.json")) /* all but the last confirmation had worked */
            assert_true(has(f, "index") && has(f, "chunks/000002"));
        OK(ship(f, &err));
        assert_true(has(f, "meta.json"));
    }
    assert_true(failures >= 8);
}

static void a_bucket_that_stores_less_is_not_believed(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    f->bucket.short_puts = true;
    write_file(f, "tombstones", "some");
    assert_int_equal(ship(f, &err), ST_IO);
    assert_false(has(f, "meta.json"));
}

static void a_block_without_index_is_not_shipped(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[FS_PATH_MAX];

    assert_true(fs_join(path, f->block, "index"));
    OK(fs_unlink(fs_posix(), path, &err));
    assert_int_equal(ship(f, &err), ST_NOTFOUND);
    assert_false(has(f, "meta.json"));
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(all_is_put_and_meta_json_last),
        CASE(what_is_there_whole_is_only_confirmed),
        CASE(a_failure_anywhere_leaves_no_block_and_the_next_try_ends_it),
        CASE(a_bucket_that_stores_less_is_not_believed),
        CASE(a_block_without_index_is_not_shipped),
    };

    return RUN(tests);
}
