/* Blocks against a naive twin that keeps all series in a table and asks every matcher of every one:
 * selects, ranges, names, values, shards, limits; and what must be refused. */
#include "unit.h"

#include "base/heap.h"
#include "block_read_int.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SERIES = 600, HOUR = 3600000 };

struct twin_series {
    struct label ls[5];
    struct labels labels;
    struct samples s;
};

struct world {
    char dir[32], block_dir[FS_PATH_MAX];
    struct arena arena; /* of the labels */
    struct twin_series series[SERIES];
    struct block_meta meta;
    struct block *block;
    /* of a query */
    struct arena results;
    struct account mem;
    struct query_ctx ctx;
};

static uint64_t rnd(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(((const struct twin_series *)a)->labels, ((const struct twin_series *)b)->labels);
}

static void make_series(struct world *w)
{
    uint64_t seed = 12345;

    for (int i = 0; i < SERIES; i++) {
        struct twin_series *t = &w->series[i];
        size_t n = 0;

        t->ls[n++] = (struct label){SV("__name__"), sv_of(arena_printf(&w->arena, "m_%d", i % 7))};
        if (i % 3)
            t->ls[n++] = (struct label){SV("env"), i % 2 ? SV("prod") : SV("dev")};
        t->ls[n++] = (struct label){SV("instance"), sv_of(arena_printf(&w->arena, "host-%03d", i))};
        if (i % 5 == 0)
            t->ls[n++] = (struct label){SV("zone"), sv_of(arena_printf(&w->arena, "z\xc3\xa4%d", i % 4))};
        t->labels = (struct labels){t->ls, n};
        samples_init(&t->s);
        for (int64_t at = (int64_t)(rnd(&seed) % HOUR); at < 2 * HOUR;
             at += 1 + (int64_t)(rnd(&seed) % (i % 50 ? 120000 : 4000)))
            samples_push(&t->s, at, (double)(rnd(&seed) % 1000));
    }
    qsort(w->series, SERIES, sizeof(*w->series), by_labels);
    for (int i = 0; i < SERIES; i++)
        w->series[i].labels.p = w->series[i].ls;
}

static void write_world(struct world *w)
{
    struct block_writer *bw;
    struct err err;

    memcpy(w->meta.tenant, "team-a", 7);
    memcpy(w->meta.ingester, "ing-0", 6);
    w->meta.level = 1;
    w->meta.log_from = 17;
    w->meta.log_to = INT64_MAX;
    w->meta.cut_seq = 3;
    ulid_make(w->meta.ulid, 1700000000000);
    OK(block_writer_open(fs_posix(), w->dir, &w->meta, &bw, &err));
    for (int i = 0; i < SERIES; i++) {
        struct chunk_list list;
        struct arena a;

        arena_init(&a, 16 << 20);
        OK(chunk_encode(&w->series[i].s, &a, &list, &err));
        OK(block_writer_series(bw, w->series[i].labels, list.p, list.n, w->series[i].s.n, &err));
        arena_fini(&a);
    }
    OK(block_writer_finish(bw, &w->meta, &err));
    assert_true(fs_join(w->block_dir, w->dir, w->meta.ulid));
}

static int setup(void **state)
{
    struct world *w = heap_new(struct world);
    struct err err;

    snprintf(w->dir, sizeof(w->dir), "/tmp/engram-block-XXXXXX");
    if (!mkdtemp(w->dir))
        return -1;
    arena_init(&w->arena, 16 << 20);
    arena_init(&w->results, 64 << 20);
    account_init(&w->mem, NULL, BUDGET_QUERY, 0);
    w->ctx = (struct query_ctx){.clk = clk_system(), .mem = &w->mem, .arena = &w->results};
    make_series(w);
    write_world(w);
    OK(block_open_dir(fs_posix(), w->block_dir, &w->block, &err));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    block_unref(w->block);
    for (int i = 0; i < SERIES; i++)
        samples_fini(&w->series[i].s);
    arena_fini(&w->arena);
    arena_fini(&w->results);
    (void)fs_rmtree(fs_posix(), w->dir, NULL);
    heap_free(w);
    return 0;
}

struct want {
    enum matcher_op op;
    const char *name, *value;
};

static const struct want wants[] = {
    {MATCH_EQ, "__name__", "m_3"},       {MATCH_EQ, "__name__", "none"},
    {MATCH_EQ, "instance", "host-123"},  {MATCH_NE, "__name__", "m_3"},
    {MATCH_NE, "env", "prod"},           {MATCH_EQ, "env", ""},
    {MATCH_NE, "env", ""},               {MATCH_EQ, "missing", ""},
    {MATCH_NE, "missing", ""},           {MATCH_EQ, "missing", "x"},
    {MATCH_NE, "missing", "x"},          {MATCH_RE, "env", ".*"},
    {MATCH_RE, "env", ".+"},             {MATCH_NRE, "env", ".*"},
    {MATCH_NRE, "env", ".+"},            {MATCH_RE, "env", "prod|dev"},
    {MATCH_RE, "env", "prod|"},          {MATCH_NRE, "env", "prod|"},
    {MATCH_NRE, "env", "prod|x"},        {MATCH_RE, "instance", "host-1.*"},
    {MATCH_RE, "instance", "host-(1|2)5[0-3]"}, {MATCH_RE, "instance", ".*7"},
    {MATCH_NRE, "instance", "host-0.*"}, {MATCH_NRE, "instance", ".*1.*"},
    {MATCH_RE, "zone", "z\xc3\xa4[12]"}, {MATCH_NRE, "zone", "z\xc3\xa4[12]"},
    {MATCH_RE, "zone", "(z.*)?"},        {MATCH_RE, "zone", "z\xc3\xa4[12]|"},
    {MATCH_EQ, "", ""},                  {MATCH_NE, "", ""},
    {MATCH_EQ, "", "x"},
};
enum { WANTS = sizeof(wants) / sizeof(*wants) };

static void assert_same_samples(const struct samples *all, struct trange r, const struct samples *got)
{
    size_t k = 0;

    for (size_t i = 0; i < all->n; i++)
        if (trange_has(r, all->t_ms[i])) {
            assert_true(k < got->n);
            assert_int_equal(got->t_ms[k], all->t_ms[i]);
            assert_true(got->f[k++] == all->f[i]);
        }
    assert_int_equal(k, got->n);
}

static bool wanted(const struct twin_series *t, const struct select_req *req)
{
    for (size_t i = 0; i < req->matchers_n; i++)
        if (!matcher_matches_labels(req->matchers[i], t->labels))
            return false;
    return req->hints.shards < 2 ||
           labels_hash(t->labels, 0).lo % req->hints.shards == req->hints.shard;
}

static bool touches(const struct samples *s, struct trange r)
{
    for (size_t i = 0; i < s->n; i++)
        if (trange_has(r, s->t_ms[i]))
            return true;
    return false;
}

/* Series that only overlap the range with a chunk may come without samples; none may be missing. */
static size_t check_select(struct world *w, const struct select_req *req)
{
    struct series_set *set;
    struct samples got;
    struct err err = ERR_INIT;
    size_t n = 0;
    int at = 0;
    bool more;

    samples_init(&got);
    OK(block_select(w->block, &w->ctx, req, &set, &err));
    for (;;) {
        OK(series_set_next(set, &more, &err));
        if (!more)
            break;
        for (; !labels_eq(w->series[at].labels, set->labels); at++) {
            assert_true(at + 1 < SERIES);
            assert_false(wanted(&w->series[at], req) && touches(&w->series[at].s, req->range));
        }
        assert_true(wanted(&w->series[at], req));
        OK(series_set_read(set, &got, &err));
        assert_same_samples(&w->series[at].s, req->range, &got);
        at++;
        n++;
    }
    assert_true(set->outcome.complete);
    if (req->hints.limit == 0)
        for (; at < SERIES; at++)
            assert_false(wanted(&w->series[at], req) && touches(&w->series[at].s, req->range));
    series_set_close(set);
    samples_fini(&got);
    assert_int_equal(w->mem.used, 0);
    return n;
}

static struct matcher *matcher_of(const struct want *m)
{
    struct matcher *ret;
    struct err err = ERR_INIT;

    OK(matcher_new(m->op, sv_of(m->name), sv_of(m->value), &ret, &err));
    return ret;
}

static const struct trange whole = {INT64_MIN, INT64_MAX};

static void every_matcher_and_pair_of_matchers_selects_as_the_twin(void **state)
{
    struct world *w = *state;
    size_t found = 0;

    for (int i = 0; i < WANTS; i++)
        for (int k = i; k < WANTS; k++) {
            struct matcher *m[] = {matcher_of(&wants[i]), matcher_of(&wants[k])};
            struct select_req req = {(const struct matcher *const *)m, k > i ? 2 : 1,
                                     {HOUR / 2, HOUR / 2 + 60000}, {0}};

            if (i == k)
                req.range = whole;
            found += check_select(w, &req);
            matcher_free(m[0]);
            matcher_free(m[1]);
        }
    assert_true(found > SERIES);
}

static void ranges_cut_series_and_samples(void **state)
{
    struct world *w = *state;

    for (int64_t from = -1; from < 2 * HOUR + 2; from += HOUR / 7)
        for (int64_t len = 0; len < HOUR; len = len * 3 + 1) {
            struct select_req req = {NULL, 0, {from, from + len}, {0}};

            check_select(w, &req);
        }
}

static void shards_are_disjoint_and_limits_hold(void **state)
{
    struct world *w = *state;
    size_t n = 0;

    for (uint32_t i = 0; i < 5; i++) {
        struct select_req req = {NULL, 0, whole, {.shard = i, .shards = 5}};

        n += check_select(w, &req);
    }
    assert_int_equal(n, SERIES);
    for (size_t limit = 1; limit < SERIES; limit += 37) {
        struct select_req req = {NULL, 0, whole, {.limit = limit, .labels_only = true}};

        assert_int_equal(check_select(w, &req), limit);
    }
}

/* --- names and values --- */

static int by_sv(const void *a, const void *b)
{
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

/* name p NULL: names of labels */
static void check_names(struct world *w, struct sv name, const struct select_req *req)
{
    struct names got = {0};
    VEC(struct sv) want = {0};
    struct err err = ERR_INIT;
    size_t n = 0;

    for (int i = 0; i < SERIES; i++) {
        if (req && !wanted(&w->series[i], req))
            continue;
        for (size_t k = 0; k < w->series[i].labels.n; k++) {
            const struct label *l = &w->series[i].ls[k];

            if (!name.p)
                vec_push(&want, l->name);
            else if (sv_eq(l->name, name))
                vec_push(&want, l->value);
        }
    }
    if (want.n)
        qsort(want.p, want.n, sizeof(*want.p), by_sv);
    for (size_t i = 0; i < want.n; i++)
        if (n == 0 || !sv_eq(want.p[n - 1], want.p[i]))
            want.p[n++] = want.p[i];
    if (name.p)
        OK(block_label_values(w->block, &w->ctx, name, req, &got, &err));
    else
        OK(block_label_names(w->block, &w->ctx, req, &got, &err));
    assert_int_equal(got.n, n);
    assert_true(got.complete && !got.truncated);
    for (size_t i = 0; i < n; i++)
        assert_true(sv_eq(got.p[i], want.p[i]));
    vec_free(&want);
}

static void names_and_values_are_those_of_the_series(void **state)
{
    static const char *const names[] = {"__name__", "env", "instance", "zone", "missing"};
    struct world *w = *state;

    check_names(w, (struct sv){NULL, 0}, NULL);
    for (int k = 0; k < 5; k++)
        check_names(w, sv_of(names[k]), NULL);
    for (int i = 0; i < WANTS; i++) {
        struct matcher *m = matcher_of(&wants[i]);
        struct select_req req = {(const struct matcher *const *)&m, 1, whole, {0}};

        check_names(w, (struct sv){NULL, 0}, &req);
        for (int k = 0; k < 5; k++)
            check_names(w, sv_of(names[k]), &req);
        matcher_free(m);
        arena_reset(&w->results);
        account_release(&w->mem, w->mem.used);
    }
}

static void name_limits_are_said(void **state)
{
    struct select_req req = {NULL, 0, whole, {.limit = 10}};
    struct world *w = *state;
    struct names got;
    struct err err;

    OK(block_label_values(w->block, &w->ctx, SV("instance"), &req, &got, &err));
    assert_int_equal(got.n, 10);
    assert_true(got.truncated);
    account_release(&w->mem, w->mem.used);
}

/* --- limits and damage --- */

static void a_small_account_stops_a_select(void **state)
{
    struct select_req req = {NULL, 0, whole, {0}};
    struct world *w = *state;
    struct series_set *set;
    struct account small;
    struct query_ctx ctx = w->ctx;
    struct err err;

    account_init(&small, NULL, BUDGET_QUERY, 1000);
    ctx.mem = &small;
    assert_int_equal(block_select(w->block, &ctx, &req, &set, &err), ST_LIMIT);
    assert_int_equal(small.used, 0);
}

static void a_canceled_query_stops(void **state)
{
    struct select_req req = {NULL, 0, whole, {0}};
    struct world *w = *state;
    struct query_ctx ctx = w->ctx;
    _Atomic bool canceled = false;
    struct series_set *set;
    struct err err;
    bool more;

    ctx.canceled = &canceled;
    OK(block_select(w->block, &ctx, &req, &set, &err));
    OK(series_set_next(set, &more, &err));
    canceled = true;
    assert_int_equal(series_set_next(set, &more, &err), ST_CANCELED);
    series_set_close(set);
}

static void a_meta_survives_its_json(void **state)
{
    struct world *w = *state;
    const struct block_meta *m = block_meta_of(w->block);
    struct block_meta again, odd = w->meta;
    struct err err;
    struct buf b;

    assert_memory_equal(m, &w->meta, sizeof(*m));
    assert_string_equal(m->tenant, "team-a");
    assert_int_equal(m->log_to, INT64_MAX);
    assert_int_equal(m->num_series, SERIES);
    memcpy(odd.tenant, "a\"\\\xc3\xa4", 6);
    odd.out_of_order = true;
    odd.ingester[0] = 0;
    odd.range.from_ms = -5;
    buf_init(&b, 1 << 20);
    block_meta_write(&b, &odd);
    OK(block_meta_read(buf_view(&b), &again, &err));
    memset(odd.tenant + 6, 0, sizeof(odd.tenant) - 6);
    memset(odd.ingester, 0, sizeof(odd.ingester));
    assert_memory_equal(&odd, &again, sizeof(odd));
    for (size_t n = 0; n < b.n - 2; n += 7)
        assert_int_equal(block_meta_read(sv_make(b.p, n), &again, &err), ST_CORRUPT);
    assert_int_equal(block_meta_read(SV("{\"version\":2}"), &again, &err), ST_CORRUPT);
    assert_int_equal(block_meta_read(SV("[]"), &again, &err), ST_CORRUPT);
    buf_fini(&b);
}

static const struct label one_label[] = {{{"__name__", 8}, {"a", 1}}};

/* A block of one series with one chunk of the given kind. */
static enum status write_one(struct world *w, enum chunk_enc enc, struct block_meta *meta,
                             struct err *err)
{
    static const uint8_t data[] = {0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0};
    struct chunk c = {1, 1, enc, sv_make(data, sizeof(data))};
    struct labels ls = {(struct label *)(uintptr_t)one_label, 1};
    struct block_writer *bw;

    TRY(block_writer_open(fs_posix(), w->dir, meta, &bw, err));
    TRY(block_writer_series(bw, ls, &c, 1, 1, err));
    return block_writer_finish(bw, meta, err);
}

static void unknown_encodings_are_refused_by_name(void **state)
{
    static const char *const names[] = {"histogram", "floathistogram", "XOR2", "unknown"};
    struct select_req req = {NULL, 0, whole, {0}};
    struct world *w = *state;

    for (int i = 0; i < 4; i++) {
        struct block_meta meta = {.level = 1};
        char path[FS_PATH_MAX];
        struct series_set *set;
        struct samples s;
        struct block *b;
        struct err err;
        bool more;

        ulid_make(meta.ulid, 5);
        OK(write_one(w, CHUNK_HIST + i, &meta, &err));
        assert_true(fs_join(path, w->dir, meta.ulid));
        OK(block_open_dir(fs_posix(), path, &b, &err));
        samples_init(&s);
        OK(block_select(b, &w->ctx, &req, &set, &err));
        OK(series_set_next(set, &more, &err));
        assert_true(more);
        assert_int_equal(series_set_read(set, &s, &err), ST_EXEC);
        assert_non_null(strstr(err.msg, names[i]));
        series_set_close(set);
        block_unref(b);
        samples_fini(&s);
    }
}

static void a_block_is_not_written_twice_nor_half(void **state)
{
    struct label more[] = {{SV("__name__"), SV("b")}};
    struct block_meta meta = {.level = 1};
    struct chunk bad[] = {{1, 5, CHUNK_XOR, {"\0\1xx", 4}}, {5, 9, CHUNK_XOR, {"\0\1xx", 4}}};
    struct world *w = *state;
    struct block_writer *bw;
    char path[FS_PATH_MAX], name[40];
    struct err err;

    ulid_make(meta.ulid, 6);
    OK(write_one(w, CHUNK_XOR, &meta, &err));
    assert_int_equal(write_one(w, CHUNK_XOR, &meta, &err), ST_CONFLICT);
    ulid_make(meta.ulid, 7);
    OK(block_writer_open(fs_posix(), w->dir, &meta, &bw, &err));
    assert_int_equal(block_writer_finish(bw, NULL, &err), ST_INVALID); /* no series */
    OK(block_writer_open(fs_posix(), w->dir, &meta, &bw, &err));
    assert_int_equal(block_writer_series(bw, (struct labels){more, 1}, bad, 2, 2, &err), ST_INVALID);
    assert_int_equal(block_writer_finish(bw, NULL, &err), ST_BUG); /* it had failed */
    OK(block_writer_open(fs_posix(), w->dir, &meta, &bw, &err));
    snprintf(name, sizeof(name), "%s.tmp", meta.ulid);
    assert_true(fs_join(path, w->dir, name));
    assert_true(fs_exists(fs_posix(), path));
    block_writer_abort(bw);
    assert_false(fs_exists(fs_posix(), path));
    assert_true(fs_join(path, w->dir, meta.ulid));
    assert_false(fs_exists(fs_posix(), path));
}

static void chunks_fill_several_files(void **state)
{
    struct chunk_file_writer cw;
    struct world *w = *state;
    char path[FS_PATH_MAX], chunks[FS_PATH_MAX];
    uint64_t ref, size;
    struct err err;

    assert_true(fs_join(path, w->dir, "several"));
    assert_true(fs_join(chunks, path, "chunks"));
    OK(fs_mkdirs(fs_posix(), chunks, &err));
    chunk_file_begin(&cw, fs_posix(), path);
    cw.file_max = 100;
    for (int i = 0; i < 20; i++) {
        char data[30] = {0};
        struct chunk c = {1, 1, CHUNK_XOR, {data, sizeof(data)}};

        OK(chunk_file_put(&cw, &c, &ref, &err));
        assert_int_equal(ref >> 32, i / 2);
        assert_int_equal((uint32_t)ref, i % 2 ? 8 + 36 : 8);
    }
    OK(chunk_file_finish(&cw, &err));
    assert_true(fs_join(chunks, path, "chunks/000010"));
    OK(fs_size(fs_posix(), chunks, &size, &err));
    assert_int_equal(size, 8 + 2 * 36);
    chunk_file_fini(&cw);
}

/* --- many readers --- */

struct reader {
    struct block *block;
    uint64_t series, samples;
    bool failed;
};

static void *read_all(void *arg)
{
    struct select_req req = {NULL, 0, whole, {0}};
    struct query_ctx ctx = {.clk = clk_system()};
    struct reader *r = arg;
    struct series_set *set;
    struct samples s;
    struct err err;
    bool more = true;

    samples_init(&s);
    for (int i = 0; i < 3; i++) {
        if (block_select(r->block, &ctx, &req, &set, &err) != ST_OK) {
            r->failed = true;
            break;
        }
        while (series_set_next(set, &more, &err) == ST_OK && more) {
            r->failed |= series_set_read(set, &s, &err) != ST_OK;
            r->series++;
            r->samples += s.n;
        }
        series_set_close(set);
    }
    samples_fini(&s);
    block_unref(r->block);
    return NULL;
}

static void selects_run_beside_each_other(void **state)
{
    struct world *w = *state;
    struct reader readers[4];
    pthread_t threads[4];
    struct block *b;
    struct err err;

    OK(block_open_dir(fs_posix(), w->block_dir, &b, &err));
    for (int i = 0; i < 4; i++) {
        readers[i] = (struct reader){block_ref(b), 0, 0, false};
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &readers[i]), 0);
    }
    block_unref(b); /* the readers keep it; the last of them frees it */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(readers[i].failed);
        assert_int_equal(readers[i].series, 3 * SERIES);
        assert_int_equal(readers[i].samples, 3 * w->meta.num_samples);
    }
}

/* --- a disk that fails --- */

struct said {
    unsigned n;
    char first[300];
};

static void note(void *arg, const char *text)
{
    struct said *s = arg;

    if (s->n++ == 0)
        snprintf(s->first, sizeof(s->first), "%s", text);
}

/* The disk, but the call number `at` fails. */
struct failing_fs {
    struct fs fs;
    unsigned calls, at;
};

static bool fails(const struct fs *fs)
{
    struct failing_fs *f = (struct failing_fs *)(uintptr_t)fs;

    errno = EIO;
    return ++f->calls == f->at;
}

static int f_open(const struct fs *fs, const char *path, int flags, mode_t mode)
{
    return fails(fs) ? -1 : fs_posix()->ops->open(fs_posix(), path, flags, mode);
}
static int f_close(const struct fs *fs, int fd)
{
    return fs_posix()->ops->close(fs_posix(), fd);
}
static ssize_t f_pread(const struct fs *fs, int fd, void *p, size_t n, off_t off)
{
    return fails(fs) ? -1 : fs_posix()->ops->pread(fs_posix(), fd, p, n, off);
}
static ssize_t f_write(const struct fs *fs, int fd, const void *p, size_t n)
{
    return fails(fs) ? -1 : fs_posix()->ops->write(fs_posix(), fd, p, n);
}
static int f_sync(const struct fs *fs, int fd)
{
    return fails(fs) ? -1 : fs_posix()->ops->fdatasync(fs_posix(), fd);
}
static int f_truncate(const struct fs *fs, int fd, off_t n)
{
    return fails(fs) ? -1 : fs_posix()->ops->ftruncate(fs_posix(), fd, n);
}
static int f_rename(const struct fs *fs, const char *from, const char *to)
{
    return fails(fs) ? -1 : fs_posix()->ops->rename(fs_posix(), from, to);
}
static int f_unlink(const struct fs *fs, const char *path)
{
    return fails(fs) ? -1 : fs_posix()->ops->unlink(fs_posix(), path);
}
static int f_mkdir(const struct fs *fs, const char *path, mode_t mode)
{
    return fails(fs) ? -1 : fs_posix()->ops->mkdir(fs_posix(), path, mode);
}
static int f_rmdir(const struct fs *fs, const char *path)
{
    return fails(fs) ? -1 : fs_posix()->ops->rmdir(fs_posix(), path);
}
static const struct fs_ops failing_ops = {f_open,     f_close,  f_pread,  f_write, f_sync,
                                          f_truncate, f_rename, f_unlink, f_mkdir, f_rmdir};

static enum status write_failing(struct world *w, const struct fs *fs, struct block_meta *meta,
                                 struct err *err)
{
    struct label ls[] = {{SV("__name__"), SV("a")}, {SV("job"), SV("1")}};
    static const uint8_t data[] = {0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0};
    struct chunk c = {1, 1, CHUNK_XOR, sv_make(data, sizeof(data))};
    struct block_writer *bw;

    TRY(block_writer_open(fs, w->dir, meta, &bw, err));
    for (size_t n = 1; n <= 2; n++) {
        enum status st = block_writer_series(bw, (struct labels){ls, n}, &c, 1, 1, err);

        if (st != ST_OK) {
            block_writer_abort(bw);
            return st;
        }
    }
    return block_writer_finish(bw, meta, err);
}

static void a_disk_that_fails_at_any_call_leaves_no_block(void **state)
{
    struct world *w = *state;
    struct failing_fs f = {{&failing_ops}, 0, 0};
    struct block_meta meta = {.level = 1};
    char path[FS_PATH_MAX];
    struct err err = ERR_INIT;
    unsigned failed = 0;

    ulid_make(meta.ulid, 10);
    assert_true(fs_join(path, w->dir, meta.ulid));
    for (f.at = 1;; f.at++) {
        enum status st;

        f.calls = 0;
        st = write_failing(w, &f.fs, &meta, &err);
        if (st == ST_OK && f.calls < f.at)
            break; /* nothing failed any more */
        if (st != ST_OK) {
            assert_int_equal(st, ST_IO);
            assert_false(fs_exists(fs_posix(), path));
            failed++;
        } else { /* a call whose failure does no harm: the block is there, and whole */
            assert_int_equal(block_check(fs_posix(), path, note, &(struct said){0}, &err), ST_OK);
            OK(fs_rmtree(fs_posix(), path, &err));
        }
    }
    assert_true(failed > 20);
    assert_int_equal(block_check(fs_posix(), path, note, &(struct said){0}, &err), ST_OK);
}

/* --- checking --- */

static void a_sound_block_has_no_findings(void **state)
{
    struct world *w = *state;
    struct said said = {0};
    struct err err;

    block_check(fs_posix(), w->block_dir, note, &said, &err);
    assert_string_equal(said.first, "");
    assert_int_equal(said.n, 0);
}

static void write_small(struct world *w, char path[FS_PATH_MAX])
{
    struct block_meta meta = {.level = 1};
    struct block_writer *bw;
    struct err err;

    ulid_make(meta.ulid, 8);
    OK(block_writer_open(fs_posix(), w->dir, &meta, &bw, &err));
    for (int i = 0; i < 3; i++) {
        struct chunk_list list;
        struct samples s;
        struct arena a;

        arena_init(&a, 1 << 20);
        samples_init(&s);
        for (int k = 0; k < 150; k++)
            samples_push(&s, k * 15000, k * i);
        OK(chunk_encode(&s, &a, &list, &err));
        OK(block_writer_series(bw, w->series[i].labels, list.p, list.n, s.n, &err));
        samples_fini(&s);
        arena_fini(&a);
    }
    OK(block_writer_finish(bw, &meta, &err));
    assert_true(fs_join(path, w->dir, meta.ulid));
}

static void flip(const char *path, size_t at)
{
    FILE *f = fopen(path, "r+");
    int ch;

    assert_non_null(f);
    assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
    ch = fgetc(f);
    assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
    assert_int_equal(fputc(ch ^ 0x10, f), ch ^ 0x10);
    assert_int_equal(fclose(f), 0);
}

static void every_flipped_byte_is_found(void **state)
{
    static const char *const files[] = {"index", "chunks/000001", "tombstones"};
    struct world *w = *state;
    char dir[FS_PATH_MAX], path[FS_PATH_MAX];
    struct err err;

    write_small(w, dir);
    for (int i = 0; i < 3; i++) {
        uint64_t size;

        assert_true(fs_join(path, dir, files[i]));
        OK(fs_size(fs_posix(), path, &size, &err));
        for (size_t at = 0; at < size; at++) {
            struct said said = {0};

            flip(path, at);
            if (block_check(fs_posix(), dir, note, &said, &err) == ST_OK || said.n == 0)
                fail_msg("%s: byte %zu flipped, nothing found", files[i], at);
            flip(path, at);
        }
        assert_int_equal(truncate(path, (off_t)size - 1), 0);
        assert_int_not_equal(block_check(fs_posix(), dir, note, &(struct said){0}, &err), ST_OK);
        OK(fs_unlink(fs_posix(), path, &err));
        if (strcmp(files[i], "tombstones") != 0)
            assert_int_not_equal(block_check(fs_posix(), dir, note, &(struct said){0}, &err), ST_OK);
        OK(fs_rmtree(fs_posix(), dir, &err));
        write_small(w, dir);
    }
}

static void wrong_counts_are_found(void **state)
{
    struct world *w = *state;
    struct block_meta meta;
    char dir[FS_PATH_MAX], path[FS_PATH_MAX], *p;
    struct said said = {0};
    struct err err;
    struct buf b;
    size_t n;

    write_small(w, dir);
    assert_true(fs_join(path, dir, "meta.json"));
    OK(fs_read_file(fs_posix(), path, 1 << 20, &p, &n, &err));
    OK(block_meta_read(sv_make(p, n), &meta, &err));
    heap_free(p);
    meta.num_samples++;
    meta.num_series++;
    meta.num_chunks++;
    meta.range.to_ms--;
    buf_init(&b, 1 << 20);
    block_meta_write(&b, &meta);
    OK(fs_write_file(fs_posix(), path, buf_view(&b), &err));
    buf_fini(&b);
    assert_int_equal(block_check(fs_posix(), dir, note, &said, &err), ST_CORRUPT);
    assert_int_equal(said.n, 3 + 3); /* the counts, and the last chunk of each series */
}

static void chunks_that_cannot_be_decoded_are_counted(void **state)
{
    struct block_meta meta = {.level = 1};
    struct world *w = *state;
    struct said said = {0};
    char path[FS_PATH_MAX];
    struct err err;

    ulid_make(meta.ulid, 9);
    OK(write_one(w, CHUNK_HIST, &meta, &err));
    assert_true(fs_join(path, w->dir, meta.ulid));
    assert_int_equal(block_check(fs_posix(), path, note, &said, &err), ST_CORRUPT);
    assert_int_equal(said.n, 1);
    assert_string_equal(said.first, "1 chunks of encoding 2 (histogram) can't be decoded yet");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_matcher_and_pair_of_matchers_selects_as_the_twin),
        cmocka_unit_test(ranges_cut_series_and_samples),
        cmocka_unit_test(shards_are_disjoint_and_limits_hold),
        cmocka_unit_test(names_and_values_are_those_of_the_series),
        cmocka_unit_test(name_limits_are_said),
        cmocka_unit_test(a_small_account_stops_a_select),
        cmocka_unit_test(a_canceled_query_stops),
        cmocka_unit_test(a_meta_survives_its_json),
        cmocka_unit_test(unknown_encodings_are_refused_by_name),
        cmocka_unit_test(a_block_is_not_written_twice_nor_half),
        cmocka_unit_test(chunks_fill_several_files),
        cmocka_unit_test(selects_run_beside_each_other),
        cmocka_unit_test(a_disk_that_fails_at_any_call_leaves_no_block),
        cmocka_unit_test(a_sound_block_has_no_findings),
        cmocka_unit_test(every_flipped_byte_is_found),
        cmocka_unit_test(wrong_counts_are_found),
        cmocka_unit_test(chunks_that_cannot_be_decoded_are_counted),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, setup, teardown);
}
