/* The store gateway over a bucket with real blocks, once mapped (a folder) and once by ranges. */
#include "unit.h"

#include "base/heap.h"
#include "base/log.h"
#include "sgw_int.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define MINUTE 60000
#define ALL    ((struct trange){INT64_MIN, INT64_MAX})

/* A folder bucket that may say that it is none, fail, or let something happen during a listing. */
struct veiled {
    struct obj base;
    struct obj *folder;
    bool mapped;
    enum status fails;
    void (*on_list)(void *arg);
    void *on_list_arg;
};

static struct veiled *veil(struct obj *o)
{
    return (struct veiled *)o;
}
static enum status v_get(struct obj *o, struct sv key, uint64_t off, size_t n, struct buf *out,
                         struct err *err)
{
    if (veil(o)->fails != ST_OK)
        return err_set(err, veil(o)->fails, "as asked");
    return veil(o)->folder->ops->get(veil(o)->folder, key, off, n, out, err);
}
static enum status v_size(struct obj *o, struct sv key, uint64_t *ret, struct err *err)
{
    return veil(o)->folder->ops->size(veil(o)->folder, key, ret, err);
}
static enum status v_list(struct obj *o, struct sv prefix, bool delimiter, obj_visit visit,
                          void *arg, struct err *err)
{
    if (veil(o)->fails != ST_OK)
        return err_set(err, veil(o)->fails, "as asked");
    if (veil(o)->on_list)
        veil(o)->on_list(veil(o)->on_list_arg);
    return veil(o)->folder->ops->list(veil(o)->folder, prefix, delimiter, visit, arg, err);
}
static bool v_local_path(struct obj *o, struct sv key, char out[FS_PATH_MAX])
{
    return veil(o)->mapped && veil(o)->folder->ops->local_path(veil(o)->folder, key, out);
}

struct fixture {
    char root[64];
    struct obj_ops ops;
    struct veiled bucket;
    struct catalogue *catalogue;
    struct cache *cache;
    struct sgw *s;
    struct who who;
    struct arena arena;
    struct query_ctx ctx;
};

static void path_in(const struct fixture *f, const char *name, char out[FS_PATH_MAX])
{
    assert_true(fs_join(out, f->root, name));
}

static void open_gateway(struct fixture *f)
{
    struct sgw_opts o = {.fs = fs_posix(), .clk = clk_system(), .bucket = &f->bucket.base,
                         .catalogue = f->catalogue, .cache = f->cache, .boot = 7};

    f->s = sgw_new(&o);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err = ERR_INIT;
    char path[FS_PATH_MAX];
    bool fresh;

    snprintf(f->root, sizeof(f->root), "/tmp/engram-sgw-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    path_in(f, "bucket", path);
    OK(obj_fs_open(fs_posix(), path, &f->bucket.folder, &err));
    f->ops = *f->bucket.folder->ops;
    f->ops.get = v_get;
    f->ops.size = v_size;
    f->ops.list = v_list;
    f->ops.local_path = v_local_path;
    f->bucket.base.ops = &f->ops;
    path_in(f, "catalogue", path);
    OK(catalogue_open(path, &f->catalogue, &fresh, &err));
    f->cache = cache_lru_new(1 << 20, NULL, clk_system(), NULL, "test");
    arena_init(&f->arena, 64 << 20);
    f->who.tenant = SV("t");
    f->ctx = (struct query_ctx){.who = &f->who, .clk = clk_system(), .arena = &f->arena};
    open_gateway(f);
    *state = f;
    return 0;
}

static int set_up_mapped(void **state)
{
    set_up(state);
    ((struct fixture *)*state)->bucket.mapped = true;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    sgw_free(f->s);
    f->cache->ops->close(f->cache);
    catalogue_close(f->catalogue);
    f->bucket.folder->ops->close(f->bucket.folder);
    arena_fini(&f->arena);
    fs_rmtree(fs_posix(), f->root, NULL);
    free(f);
    return 0;
}

/* --- blocks --- */

struct recipe { /* of a block: series up{n="0"}.., a sample each minute, value = value + minute */
    unsigned no; /* makes its ULID */
    int64_t from_ms, to_ms;
    unsigned series;
    uint64_t cut_seq;
    double value;
};

static void ulid_of(unsigned no, char out[ULID_LEN + 1])
{
    snprintf(out, ULID_LEN + 1, "01ARZ3NDEKTSV4RRFFQ%07u", no);
}

static void put(struct fixture *f, const char *ulid, const char *file, const char *from)
{
    struct obj *b = f->bucket.folder;
    struct err err = ERR_INIT;
    char key[256];

    snprintf(key, sizeof(key), "t/%s/%s", ulid, file);
    if (from)
        OK(b->ops->put_file(b, sv_of(key), from, &err));
    else
        OK(b->ops->put(b, sv_of(key), SV("{}"), false, &err));
}

/* Writes the block into the folder made/<ulid>. */
static void make(struct fixture *f, const struct recipe *r, char dir[FS_PATH_MAX])
{
    struct block_meta *m = heap_new(struct block_meta);
    struct block_writer *w;
    struct err err = ERR_INIT;
    struct samples s;
    char made[FS_PATH_MAX];

    path_in(f, "made", made);
    OK(fs_mkdirs(fs_posix(), made, &err));
    ulid_of(r->no, m->ulid);
    assert_true(fs_join(dir, made, m->ulid));
    OK(fs_rmtree(fs_posix(), dir, &err)); /* of an earlier time */
    m->range = (struct trange){r->from_ms, r->to_ms};
    m->level = 1;
    m->cut_seq = r->cut_seq;
    memcpy(m->sources[0], m->ulid, sizeof(m->ulid));
    m->sources_n = 1;
    snprintf(m->tenant, sizeof(m->tenant), "t");
    OK(block_writer_open(fs_posix(), made, m, &w, &err));
    samples_init(&s);
    for (int64_t t = r->from_ms; t < r->to_ms; t += MINUTE)
        samples_push(&s, t, r->value + (double)(t / MINUTE));
    for (unsigned i = 0; i < r->series; i++) {
        char n[8];
        struct label l[] = {{SV("__name__"), SV("up")}, {SV("n"), {n, 0}}};
        struct chunk_list chunks = {0};

        l[1].value.n = (size_t)snprintf(n, sizeof(n), "%03u", i);
        arena_reset(&f->arena);
        OK(chunk_encode(&s, &f->arena, &chunks, &err));
        OK(block_writer_series(w, (struct labels){l, 2}, chunks.p, chunks.n, s.n, &err));
    }
    OK(block_writer_finish(w, m, &err));
    samples_fini(&s);
    heap_free(m);
}

/* Puts a block there, but for meta.json. */
static void upload(struct fixture *f, const struct recipe *r, char dir[FS_PATH_MAX])
{
    char path[FS_PATH_MAX], chunks[FS_PATH_MAX], ulid[ULID_LEN + 1], file[64];
    struct err err = ERR_INIT;
    struct fs_names names;

    make(f, r, dir);
    ulid_of(r->no, ulid);
    fs_join(path, dir, "index");
    put(f, ulid, "index", path);
    fs_join(chunks, dir, "chunks");
    OK(fs_list(fs_posix(), chunks, &names, &err));
    for (size_t i = 0; i < names.n; i++) {
        snprintf(file, sizeof(file), "chunks/%s", names.p[i]);
        fs_join(path, chunks, names.p[i]);
        put(f, ulid, file, path);
    }
    fs_names_free(&names);
    fs_join(path, dir, "tombstones");
    if (fs_exists(fs_posix(), path))
        put(f, ulid, "tombstones", path);
}

static void ship(struct fixture *f, const struct recipe *r)
{
    char dir[FS_PATH_MAX], path[FS_PATH_MAX], ulid[ULID_LEN + 1];

    upload(f, r, dir);
    ulid_of(r->no, ulid);
    fs_join(path, dir, "meta.json");
    put(f, ulid, "meta.json", path);
}

static void sync_now(struct fixture *f)
{
    struct err err = ERR_INIT;

    OK(sgw_sync(f->s, &err));
}

static enum status list_row(void *arg, struct sv tenant, const struct catalogue_row *row,
                            struct err *err)
{
    char *out = arg;

    (void)err;
    snprintf(out + strlen(out), 200 - strlen(out), SV_FMT "/%s:%u ", SV_ARG(tenant),
             row->ulid + 23, row->where);
    return ST_OK;
}

static void rows_are(struct fixture *f, const char *want)
{
    char text[200] = "";
    struct err err = ERR_INIT;

    OK(catalogue_each(f->catalogue, (struct sv){NULL, 0}, ALL, list_row, text, &err));
    assert_string_equal(text, want);
}

/* All samples as "n:minute=value ...", or the status. */
struct answer {
    enum status st;
    struct buf text;
    bool complete;
    size_t warnings;
};

static void ask(struct fixture *f, struct trange range, const struct names *skip, struct answer *a)
{
    struct select_req req = {.range = range};
    struct series_set *set = NULL;
    struct err err = ERR_INIT;
    struct samples s;
    bool more;

    memset(a, 0, sizeof(*a));
    buf_init(&a->text, 1 << 20);
    samples_init(&s);
    arena_reset(&f->arena);
    a->st = sgw_select(f->s, &f->ctx, &req, skip, &set, &err);
    while (a->st == ST_OK) {
        a->st = series_set_next(set, &more, &err);
        if (a->st != ST_OK || !more)
            break;
        a->st = series_set_read(set, &s, &err);
        for (size_t i = 0; i < s.n && a->st == ST_OK; i++)
            buf_printf(&a->text, SV_FMT ":%lld=%g ", SV_ARG(labels_get(set->labels, SV("n"))),
                       (long long)(s.t_ms[i] / MINUTE), s.f[i]);
    }
    if (a->st == ST_OK) {
        a->complete = set->outcome.complete;
        a->warnings = set->outcome.warnings.n;
    }
    buf_ch(&a->text, 0);
    series_set_close(set);
    samples_fini(&s);
}

static void answer_is(struct fixture *f, struct trange range, const struct names *skip,
                      const char *want)
{
    struct answer a;

    ask(f, range, skip, &a);
    assert_int_equal(a.st, ST_OK);
    assert_true(a.complete);
    assert_string_equal(a.text.p, want);
    buf_fini(&a.text);
}

/* Only what the catalogue remembers is known, and the answer says so. */
static void not_listed_yet(struct fixture *f, const char *want)
{
    struct answer a;

    ask(f, ALL, NULL, &a);
    assert_int_equal(a.st, ST_OK);
    assert_false(a.complete);
    assert_int_equal(a.warnings, 1);
    assert_string_equal(a.text.p, want);
    buf_fini(&a.text);
}

/* --- cases --- */

static void only_whole_and_unmarked_folders_are_blocks(void **state)
{
    struct fixture *f = *state;
    struct obj *b = f->bucket.folder;
    const struct recipe r[] = {{1, 0, 3 * MINUTE, 1, 1, 0}, {2, 0, 3 * MINUTE, 1, 2, 0},
                               {3, 0, 3 * MINUTE, 1, 3, 0}, {4, 0, 3 * MINUTE, 1, 4, 0}};
    struct err err = ERR_INIT;
    char dir[FS_PATH_MAX], ulid[ULID_LEN + 1], key[256];

    rows_are(f, "");
    ship(f, &r[0]);
    upload(f, &r[1], dir); /* an upload under way */
    ship(f, &r[2]);
    ulid_of(3, ulid);
    put(f, ulid, "deletion-mark.json", NULL);
    ship(f, &r[3]);
    ulid_of(4, ulid);
    snprintf(key, sizeof(key), "t/markers/%s-deletion-mark.json", ulid);
    OK(b->ops->put(b, sv_of(key), SV("{}"), false, &err));
    OK(b->ops->put(b, SV("t/bucket-index.json.gz"), SV("x"), false, &err));
    OK(b->ops->put(b, SV("t/no-block/meta.json"), SV("{}"), false, &err));
    OK(b->ops->put(b, SV("loose"), SV("x"), false, &err));
    sync_now(f);
    rows_are(f, "t/001:2 ");
    answer_is(f, ALL, NULL, "000:0=0 000:1=1 000:2=2 ");
    OK(b->ops->del(b, sv_of(key), &err)); /* the mark is taken back */
    sync_now(f);
    rows_are(f, "t/001:2 t/004:2 ");
}

static void blocks_answer_ranges_labels_and_skips(void **state)
{
    struct fixture *f = *state;
    const struct recipe r[] = {{1, 0, 3 * MINUTE, 2, 1, 0}, {2, 3 * MINUTE, 5 * MINUTE, 1, 2, 10}};
    struct select_req req = {.range = ALL};
    struct err err = ERR_INIT;
    char ulid[ULID_LEN + 1];
    struct sv skipped = {ulid, ULID_LEN};
    const struct names skip = {.p = &skipped, .n = 1};
    struct names n;

    ship(f, &r[0]);
    ship(f, &r[1]);
    not_listed_yet(f, "");
    sync_now(f);
    answer_is(f, ALL, NULL, "000:0=0 000:1=1 000:2=2 000:3=13 000:4=14 001:0=0 001:1=1 001:2=2 ");
    answer_is(f, (struct trange){2 * MINUTE, 4 * MINUTE}, NULL, "000:2=2 000:3=13 001:2=2 ");
    ulid_of(1, ulid);
    answer_is(f, ALL, &skip, "000:3=13 000:4=14 ");
    f->who.tenant = SV("other");
    answer_is(f, ALL, NULL, "");
    f->who.tenant = SV("t");
    OK(sgw_label_names(f->s, &f->ctx, &req, &n, &err));
    assert_int_equal(n.n, 2);
    assert_true(n.complete && sv_is(n.p[1], "n"));
    OK(sgw_label_values(f->s, &f->ctx, SV("n"), &req, &n, &err));
    assert_int_equal(n.n, 2);
    req.range.from_ms = 3 * MINUTE;
    OK(sgw_label_values(f->s, &f->ctx, SV("n"), &req, &n, &err));
    assert_int_equal(n.n, 1);
}

static void the_first_written_wins(void **state)
{
    struct fixture *f = *state;
    const struct recipe r[] = {{1, 0, 3 * MINUTE, 1, 9, 900}, {2, 0, 2 * MINUTE, 1, 3, 300},
                               {3, 0, 1 * MINUTE, 1, 3, 500}};

    for (int i = 0; i < 3; i++)
        ship(f, &r[i]);
    sync_now(f);
    answer_is(f, ALL, NULL, "000:0=300 000:1=301 000:2=902 ");
}

static bool changed(struct fixture *f, struct trange range, struct hash128 *was)
{
    struct change_mark m;
    bool yes;

    sgw_mark(f->s, &f->who, range, &m);
    assert_int_equal(m.boot, 7);
    yes = m.counters.lo != was->lo || m.counters.hi != was->hi;
    *was = m.counters;
    return yes;
}

static void counters_move_for_changes_from_outside_alone(void **state)
{
    struct fixture *f = *state;
    struct obj *b = f->bucket.folder;
    const struct recipe own = {1, 0, 3 * MINUTE, 1, 1, 0},
                        foreign = {2, 10 * MINUTE, 12 * MINUTE, 1, 2, 0};
    struct trange low = {0, 5 * MINUTE}, high = {10 * MINUTE, 15 * MINUTE};
    struct hash128 l = {0, 0}, h = {0, 0};
    struct err err = ERR_INIT;
    struct change_mark m;
    char ulid[ULID_LEN + 1], key[256];

    sgw_mark(f->s, &f->who, low, &m);
    assert_true(m.settled_ms == INT64_MIN); /* nobody has looked yet */
    sync_now(f);
    sgw_mark(f->s, &f->who, low, &m);
    assert_true(m.settled_ms == INT64_MAX);
    changed(f, low, &l);
    changed(f, high, &h);
    ulid_of(1, ulid);
    sgw_shipped(f->s, SV("t"), sv_of(ulid));
    ship(f, &own);
    ship(f, &foreign);
    sync_now(f);
    assert_false(changed(f, low, &l));
    assert_true(changed(f, high, &h));
    sync_now(f);
    assert_false(changed(f, low, &l) || changed(f, high, &h));
    snprintf(key, sizeof(key), "t/%s/meta.json", ulid); /* our own, deleted by another */
    OK(b->ops->del(b, sv_of(key), &err));
    sync_now(f);
    assert_true(changed(f, low, &l));
    assert_false(changed(f, high, &h));
    rows_are(f, "t/002:2 ");
    answer_is(f, low, NULL, "");
}

static void ship_during_listing(void *arg)
{
    struct fixture *f = arg;
    struct catalogue_row row = {.range = {0, 5}, .where = CATALOGUE_BUCKET};
    struct err err = ERR_INIT;

    ulid_of(9, row.ulid);
    OK(catalogue_add(f->catalogue, SV("t"), &row, &err));
}

static void a_block_shipped_during_a_listing_is_not_forgotten(void **state)
{
    struct fixture *f = *state;

    f->bucket.on_list = ship_during_listing;
    f->bucket.on_list_arg = f;
    sync_now(f);
    rows_are(f, "t/009:2 ");
    f->bucket.on_list = NULL;
    sync_now(f); /* now it was there before, and is not listed */
    rows_are(f, "");
}

static void a_bucket_that_is_down_takes_nothing_away(void **state)
{
    struct fixture *f = *state;
    const struct recipe r = {1, 0, 3 * MINUTE, 1, 1, 0};
    struct err err = ERR_INIT;
    struct answer a;

    ship(f, &r);
    sync_now(f);
    f->bucket.fails = ST_UNAVAIL;
    assert_int_equal(sgw_sync(f->s, &err), ST_UNAVAIL);
    rows_are(f, "t/001:2 ");
    ask(f, ALL, NULL, &a);
    assert_int_equal(a.st, f->bucket.mapped ? ST_OK : ST_UNAVAIL);
    buf_fini(&a.text);
    f->bucket.fails = ST_OK;
    answer_is(f, ALL, NULL, "000:0=0 000:1=1 000:2=2 ");
}

static void a_damaged_block_is_left_out_and_said_so(void **state)
{
    struct fixture *f = *state;
    const struct recipe r[] = {{1, 0, 3 * MINUTE, 1, 1, 0}, {2, 0, 3 * MINUTE, 2, 2, 0}};
    struct obj *b = f->bucket.folder;
    struct select_req req = {.range = ALL};
    struct err err = ERR_INIT;
    char ulid[ULID_LEN + 1], key[256];
    struct answer a;
    struct names n;

    ship(f, &r[0]);
    ship(f, &r[1]);
    ulid_of(2, ulid);
    snprintf(key, sizeof(key), "t/%s/index", ulid);
    OK(b->ops->put(b, sv_of(key), SV("this is no index at all"), false, &err));
    ulid_of(3, ulid);
    put(f, ulid, "meta.json", NULL); /* "{}" */
    sync_now(f);
    ask(f, ALL, NULL, &a);
    assert_int_equal(a.st, ST_OK);
    assert_string_equal(a.text.p, "000:0=0 000:1=1 000:2=2 ");
    assert_false(a.complete);
    assert_int_equal(a.warnings, 1);
    buf_fini(&a.text);
    OK(sgw_label_values(f->s, &f->ctx, SV("n"), &req, &n, &err));
    assert_int_equal(n.n, 1);
    assert_false(n.complete);
    ulid_of(2, ulid); /* it leaves the bucket: nothing is missing any more */
    snprintf(key, sizeof(key), "t/%s/meta.json", ulid);
    OK(b->ops->del(b, sv_of(key), &err));
    sync_now(f);
    answer_is(f, ALL, NULL, "000:0=0 000:1=1 000:2=2 ");
    ship(f, &r[1]); /* and comes back sound: nobody bears it a grudge */
    sync_now(f);
    answer_is(f, ALL, NULL, "000:0=0 000:1=1 000:2=2 001:0=0 001:1=1 001:2=2 ");
}

static void a_block_that_lacks_a_file_is_damaged_one_that_left_is_not(void **state)
{
    struct fixture *f = *state;
    const struct recipe r[] = {{1, 0, 3 * MINUTE, 1, 1, 0}, {2, 0, 3 * MINUTE, 2, 2, 0}};
    struct obj *b = f->bucket.folder;
    struct err err = ERR_INIT;
    char ulid[ULID_LEN + 1], key[256];
    struct answer a;

    ship(f, &r[0]);
    ship(f, &r[1]);
    sync_now(f);
    ulid_of(2, ulid);
    snprintf(key, sizeof(key), "t/%s/chunks/000001", ulid);
    OK(b->ops->del(b, sv_of(key), &err));
    ask(f, ALL, NULL, &a); /* the query that finds it, before or while it reads */
    assert_true(a.st == ST_CORRUPT || (a.st == ST_OK && !a.complete));
    buf_fini(&a.text);
    ask(f, ALL, NULL, &a);
    assert_int_equal(a.st, ST_OK);
    assert_string_equal(a.text.p, "000:0=0 000:1=1 000:2=2 ");
    assert_false(a.complete);
    buf_fini(&a.text);
    sgw_free(f->s);
    open_gateway(f);
    for (unsigned i = 1; i <= 2; i++) { /* deleted, and not listed again yet */
        ulid_of(i, ulid);
        snprintf(key, sizeof(key), "t/%s/meta.json", ulid);
        OK(b->ops->del(b, sv_of(key), &err));
    }
    ask(f, ALL, NULL, &a);
    assert_int_equal(a.st, ST_UNAVAIL);
    buf_fini(&a.text);
    sync_now(f);
    answer_is(f, ALL, NULL, "");
}

static void what_the_catalogue_knows_survives_a_restart(void **state)
{
    struct fixture *f = *state;
    const struct recipe r = {1, 0, 3 * MINUTE, 1, 1, 0};

    ship(f, &r);
    sync_now(f);
    sgw_free(f->s);
    open_gateway(f);
    not_listed_yet(f, "000:0=0 000:1=1 000:2=2 "); /* before any listing */
}

static void many_blocks_are_opened_and_closed_in_turn(void **state)
{
    struct fixture *f = *state;
    struct answer a;

    for (unsigned i = 0; i < 300; i++) { /* more than are kept open */
        const struct recipe r = {i, i * MINUTE, (i + 1) * MINUTE, 1, i, 0};

        ship(f, &r);
    }
    sync_now(f);
    for (int round = 0; round < 2; round++) {
        ask(f, ALL, NULL, &a);
        assert_int_equal(a.st, ST_OK);
        assert_true(a.complete);
        assert_non_null(strstr(a.text.p, "000:0=0 "));
        assert_non_null(strstr(a.text.p, "000:299=299 "));
        buf_fini(&a.text);
    }
    assert_true(f->s->open_n <= 256);
}

static void *asker(void *arg)
{
    struct fixture mine = *(struct fixture *)arg;

    arena_init(&mine.arena, 16 << 20);
    mine.ctx.arena = &mine.arena;
    mine.ctx.who = &mine.who;
    for (int i = 0; i < 20; i++) {
        struct answer a;

        ask(&mine, ALL, NULL, &a);
        if (a.st != ST_OK || !a.complete || !strstr(a.text.p, "001:2=2 "))
            abort();
        buf_fini(&a.text);
    }
    arena_fini(&mine.arena);
    return NULL;
}

static void threads_ask_while_the_bucket_is_listed(void **state)
{
    struct fixture *f = *state;
    const struct recipe r[] = {{1, 0, 3 * MINUTE, 2, 1, 0}, {2, 3 * MINUTE, 6 * MINUTE, 2, 2, 0}};
    pthread_t t[4];

    ship(f, &r[0]);
    ship(f, &r[1]);
    sync_now(f);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, asker, f), 0);
    for (int i = 0; i < 5; i++)
        sync_now(f);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
}

#define BOTH(fn)                                                                                   \
    cmocka_unit_test_setup_teardown(fn, set_up, tear_down), {                                      \
        #fn "_mapped", fn, set_up_mapped, tear_down, NULL                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(only_whole_and_unmarked_folders_are_blocks),
        BOTH(blocks_answer_ranges_labels_and_skips),
        BOTH(the_first_written_wins),
        BOTH(counters_move_for_changes_from_outside_alone),
        BOTH(a_block_shipped_during_a_listing_is_not_forgotten),
        BOTH(a_bucket_that_is_down_takes_nothing_away),
        BOTH(a_damaged_block_is_left_out_and_said_so),
        BOTH(a_block_that_lacks_a_file_is_damaged_one_that_left_is_not),
        BOTH(what_the_catalogue_knows_survives_a_restart),
        BOTH(many_blocks_are_opened_and_closed_in_turn),
        BOTH(threads_ask_while_the_bucket_is_listed),
    };

    log_set_level(LOG_ERROR + 1);
    return RUN(tests);
}
