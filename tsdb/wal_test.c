/* The log: what is durable comes back, what fails is refused and tried again, damage is told. */
#include "unit.h"

#include "base/buf.h"
#include "base/codec.h"
#include "base/heap.h"
#include "base/vec.h"
#include "tsdb/wal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- a disk that can be told to fail --- */

static struct bad_disk {
    _Atomic int write_errno, sync_errno; /* 0: works */
    _Atomic int truncate_errno;
    _Atomic uint64_t write_room;         /* bytes that still go in before write_errno */
    _Atomic int syncs_failed, last_failed_fd, syncs_after_failure;
} bad;

static ssize_t bad_write(const struct fs *fs, int fd, const void *p, size_t n)
{
    uint64_t room = bad.write_room;

    (void)fs;
    if (!bad.write_errno)
        return write(fd, p, n);
    if (!room) {
        errno = bad.write_errno;
        return -1;
    }
    if (n > room)
        n = room;
    bad.write_room = room - n;
    return write(fd, p, n);
}

static int bad_sync(const struct fs *fs, int fd)
{
    (void)fs;
    if (fd == bad.last_failed_fd)
        bad.syncs_after_failure++;
    if (!bad.sync_errno)
        return fdatasync(fd);
    bad.syncs_failed++;
    bad.last_failed_fd = fd;
    errno = bad.sync_errno;
    return -1;
}

static int bad_close(const struct fs *fs, int fd)
{
    (void)fs;
    if (fd == bad.last_failed_fd)
        bad.last_failed_fd = -1;
    return close(fd);
}

static int bad_truncate(const struct fs *fs, int fd, off_t n)
{
    (void)fs;
    if (bad.truncate_errno) {
        errno = bad.truncate_errno;
        return -1;
    }
    return ftruncate(fd, n);
}

static struct fs_ops bad_ops;
static struct fs bad_fs;

struct bench {
    char dir[64];
    struct wal_opts opts;
    struct wal *wal;
    VEC(char *) seen; /* "type tenant body" of every record replayed */
    uint64_t last_pos;
    struct buf said;
    unsigned findings;
};

static enum status see(void *arg, const struct wal_record *rec, struct err *err)
{
    struct bench *b = arg;
    char text[256];

    (void)err;
    snprintf(text, sizeof(text), "%u " SV_FMT " %zu:%.40s", rec->type, SV_ARG(rec->tenant), rec->body.n,
             rec->body.n ? rec->body.p : "");
    if (rec->body.n < 40)
        snprintf(text, sizeof(text), "%u " SV_FMT " " SV_FMT, rec->type, SV_ARG(rec->tenant),
                 SV_ARG(rec->body));
    vec_push(&b->seen, heap_strn(text, strlen(text)));
    assert_true(rec->pos > 0);
    b->last_pos = rec->pos;
    return ST_OK;
}

static void forget(struct bench *b)
{
    for (size_t i = 0; i < b->seen.n; i++)
        heap_free(b->seen.p[i]);
    b->seen.n = 0;
}

static void open_log(struct bench *b)
{
    struct err err = ERR_INIT;

    forget(b);
    OK(wal_open(&b->opts, see, b, &b->wal, &err));
}

static void reopen(struct bench *b)
{
    wal_close(b->wal);
    open_log(b);
}

static int begin(void **state)
{
    struct bench *b = heap_new(struct bench);

    memset(&bad, 0, sizeof(bad));
    bad.last_failed_fd = -1;
    bad_ops = *fs_posix()->ops;
    bad_ops.write = bad_write;
    bad_ops.fdatasync = bad_sync;
    bad_ops.close = bad_close;
    bad_ops.ftruncate = bad_truncate;
    bad_fs.ops = &bad_ops;
    snprintf(b->dir, sizeof(b->dir), "/tmp/engram-wal-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    b->opts = (struct wal_opts){.fs = &bad_fs, .clk = clk_system(), .dir = b->dir};
    buf_init(&b->said, 1 << 16);
    open_log(b);
    *state = b;
    return 0;
}

static int end(void **state)
{
    struct bench *b = *state;
    struct err err = ERR_INIT;

    wal_close(b->wal);
    forget(b);
    vec_free(&b->seen);
    buf_fini(&b->said);
    OK(fs_rmtree(fs_posix(), b->dir, &err));
    heap_free(b);
    return 0;
}

static uint64_t put(struct bench *b, unsigned type, const char *tenant, const char *body)
{
    struct err err = ERR_INIT;
    uint64_t pos = 0;

    OK(wal_append(b->wal, (uint8_t)type, sv_of(tenant), sv_of(body), &pos, &err));
    return pos;
}

static void put_durable(struct bench *b, unsigned type, const char *tenant, const char *body)
{
    struct err err = ERR_INIT;

    OK(wal_wait(b->wal, put(b, type, tenant, body), &err));
}

static void seen_are(struct bench *b, const char *const *want, size_t n)
{
    assert_int_equal(b->seen.n, n);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(b->seen.p[i], want[i]);
}

static char *segment(struct bench *b, size_t nth, char path[FS_PATH_MAX])
{
    struct fs_names names;
    struct err err = ERR_INIT;

    OK(fs_list(fs_posix(), b->dir, &names, &err));
    assert_true(nth < names.n);
    assert_true(fs_join(path, b->dir, names.p[nth]));
    fs_names_free(&names);
    return path;
}

static size_t segments(struct bench *b)
{
    struct fs_names names;
    struct err err = ERR_INIT;
    size_t n;

    OK(fs_list(fs_posix(), b->dir, &names, &err));
    n = names.n;
    fs_names_free(&names);
    return n;
}

static void say(void *arg, const char *text)
{
    struct bench *b = arg;

    b->findings++;
    buf_str(&b->said, text);
}

static void records_come_back_in_order_and_positions_only_grow(void **state)
{
    struct bench *b = *state;
    uint64_t before;

    put(b, 1, "a", "one");
    put(b, 2, "b", "");
    put_durable(b, 200, "tenant", "three");
    before = wal_position(b->wal);
    assert_int_equal(wal_durable(b->wal), before);
    reopen(b);
    seen_are(b, (const char *const[]){"1 a one", "2 b ", "200 tenant three"}, 3);
    assert_int_equal(wal_position(b->wal), before);
    assert_true(put(b, 1, "a", "four") > before);
    reopen(b);
    assert_int_equal(b->seen.n, 4);
}

static void a_record_may_run_over_pages_and_segments_roll(void **state)
{
    struct bench *b = *state;
    struct err err = ERR_INIT;
    size_t n = 300000;
    char *big = heap_alloc(n);
    uint64_t pos;

    memset(big, 'x', n);
    wal_close(b->wal);
    b->opts.segment_bytes = 400000;
    open_log(b);
    for (int i = 0; i < 7; i++) {
        OK(wal_append(b->wal, 9, SV("t"), sv_make(big, n - (size_t)i), &pos, &err));
        OK(wal_wait(b->wal, pos, &err));
    }
    assert_int_equal(segments(b), 4);
    heap_free(big);
    reopen(b);
    assert_int_equal(b->seen.n, 7);
    assert_memory_equal(b->seen.p[6], "9 t 299994:xxxx", 15);
    assert_true(wal_bytes(b->wal) > 7 * (n - 6));
}

static void a_torn_tail_is_no_finding(void **state)
{
    struct bench *b = *state;
    char path[FS_PATH_MAX];
    uint64_t bytes;
    struct err err = ERR_INIT;

    put_durable(b, 1, "a", "kept");
    put_durable(b, 1, "a", "torn");
    wal_close(b->wal);
    OK(fs_size(fs_posix(), segment(b, 0, path), &bytes, &err));
    assert_int_equal(truncate(path, (off_t)bytes - 1), 0);
    OK(wal_check(fs_posix(), b->dir, say, b, &err));
    open_log(b);
    seen_are(b, (const char *const[]){"1 a kept"}, 1);
    put_durable(b, 1, "a", "new");
    reopen(b);
    seen_are(b, (const char *const[]){"1 a kept", "1 a new"}, 2);
    OK(wal_check(fs_posix(), b->dir, say, b, &err));
    assert_int_equal(b->findings, 0);
}

static void damage_costs_a_page_and_is_told(void **state)
{
    struct bench *b = *state;
    char path[FS_PATH_MAX], body[1001];
    struct err err = ERR_INIT;
    int fd;

    memset(body, 'y', 1000);
    body[1000] = 0;
    for (int i = 0; i < 200; i++)
        put(b, 1, "a", body);
    put_durable(b, 1, "a", "last");
    wal_close(b->wal);
    fd = open(segment(b, 0, path), O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "!", 1, 3 * 32768 + 5000), 1);
    close(fd);
    assert_int_equal(wal_check(fs_posix(), b->dir, say, b, &err), ST_CORRUPT);
    assert_int_equal(b->findings, 1);
    assert_true(sv_search(buf_view(&b->said), SV("are lost")) != SIZE_MAX);
    open_log(b);
    assert_in_range(b->seen.n, 201 - 33, 200);
    assert_string_equal(b->seen.p[b->seen.n - 1], "1 a last");
}

static void a_newer_version_is_refused_by_name(void **state)
{
    struct bench *b = *state;
    char path[FS_PATH_MAX];
    struct err err = ERR_INIT;
    uint8_t h[32];
    uint32_t crc;
    int fd;

    put_durable(b, 1, "a", "x");
    wal_close(b->wal);
    b->wal = NULL;
    fd = open(segment(b, 0, path), O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, h, 32, 0), 32);
    h[8] = 2;
    crc = crc32c(0, h, 28);
    for (int i = 0; i < 4; i++)
        h[28 + i] = (uint8_t)(crc >> (8 * i));
    assert_int_equal(pwrite(fd, h, 32, 0), 32);
    close(fd);
    assert_int_equal(wal_open(&b->opts, see, b, &b->wal, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "newer engram"));
    b->wal = NULL;
}

struct told {
    _Atomic int n;
    _Atomic int st;
};

static void tell(void *arg, enum status st, const struct err *err)
{
    struct told *t = arg;

    (void)err;
    t->st = (int)st;
    t->n++;
}

static void wait_told(struct told *t)
{
    for (int i = 0; i < 5000 && !t->n; i++)
        usleep(1000);
    assert_int_equal(t->n, 1);
}

static void wait_durable(struct bench *b, uint64_t pos)
{
    for (int i = 0; i < 5000 && wal_durable(b->wal) < pos; i++)
        usleep(1000);
    assert_true(wal_durable(b->wal) >= pos);
}

static void a_full_disk_refuses_and_then_goes_on(void **state)
{
    struct bench *b = *state;
    struct err err = ERR_INIT;
    struct told told = {0};
    uint64_t pos, pos2;

    put_durable(b, 1, "a", "before");
    bad.write_room = 10;
    bad.write_errno = ENOSPC;
    pos = put(b, 1, "a", "refused, and still kept for the retry");
    wal_notify(b->wal, pos, tell, &told);
    wait_told(&told);
    assert_int_equal(told.st, ST_FULL);
    assert_int_equal(wal_append(b->wal, 1, SV("a"), SV("no"), &pos2, &err), ST_FULL);
    assert_int_equal(wal_wait(b->wal, pos, &err), ST_FULL);
    assert_true(wal_durable(b->wal) < pos);
    bad.write_errno = 0;
    wait_durable(b, pos);
    put_durable(b, 1, "a", "after");
    reopen(b);
    seen_are(b, (const char *const[]){"1 a before", "1 a refused, and still kept for the retry",
                                      "1 a after"}, 3);
    OK(wal_check(fs_posix(), b->dir, say, b, &err));
}

static void a_full_disk_that_can_t_be_truncated_seals_the_segment(void **state)
{
    struct bench *b = *state;
    struct err err = ERR_INIT;
    uint64_t pos;

    put_durable(b, 1, "a", "before");
    bad.write_room = 10;
    bad.truncate_errno = EIO;
    bad.write_errno = ENOSPC;
    pos = put(b, 1, "a", "kept");
    assert_int_equal(wal_wait(b->wal, pos, &err), ST_FULL);
    bad.write_errno = 0;
    wait_durable(b, pos);
    assert_int_equal(segments(b), 2);
    reopen(b);
    /* "before" stands in both segments. */
    seen_are(b, (const char *const[]){"1 a before", "1 a before", "1 a kept"}, 3);
    OK(wal_check(fs_posix(), b->dir, say, b, &err));
}

static void a_failed_fdatasync_is_never_repeated_on_that_file(void **state)
{
    struct bench *b = *state;
    struct err err = ERR_INIT;
    uint64_t pos;

    put_durable(b, 1, "a", "before");
    bad.sync_errno = EIO;
    pos = put(b, 1, "a", "kept");
    assert_int_equal(wal_wait(b->wal, pos, &err), ST_IO);
    usleep(600000); /* it is tried again, in files of its own */
    bad.sync_errno = 0;
    wait_durable(b, pos);
    assert_int_equal(bad.syncs_after_failure, 0);
    assert_true(bad.syncs_failed >= 2);
    assert_int_equal(segments(b), 2);
    put_durable(b, 1, "a", "after");
    reopen(b);
    assert_true(b->seen.n >= 4);
    assert_string_equal(b->seen.p[b->seen.n - 1], "1 a after");
    assert_string_equal(b->seen.p[b->seen.n - 2], "1 a kept");
    assert_string_equal(b->seen.p[b->seen.n - 3], "1 a before");
    OK(wal_check(fs_posix(), b->dir, say, b, &err));
}

static void segments_go_when_nobody_needs_them(void **state)
{
    struct bench *b = *state;
    struct err err = ERR_INIT;
    uint64_t first, last;

    first = put(b, 1, "a", "first");
    OK(wal_wait(b->wal, first, &err));
    OK(wal_roll(b->wal, &err));
    OK(wal_roll(b->wal, &err));
    put_durable(b, 1, "a", "second");
    last = wal_position(b->wal);
    assert_int_equal(segments(b), 2);
    OK(wal_drop_until(b->wal, first - 1, &err));
    assert_int_equal(segments(b), 2);
    OK(wal_drop_until(b->wal, first, &err));
    assert_int_equal(segments(b), 1);
    OK(wal_drop_until(b->wal, last, &err)); /* the open one stays */
    assert_int_equal(segments(b), 1);
    reopen(b);
    seen_are(b, (const char *const[]){"1 a second"}, 1);
    OK(wal_drop_until(b->wal, last, &err));
    assert_int_equal(segments(b), 0);
    reopen(b);
    assert_true(wal_position(b->wal) > last); /* positions are never given twice */
}

struct writer {
    struct bench *b;
    unsigned id;
    _Atomic bool *drop;
};

static void *write_many(void *arg)
{
    struct writer *w = arg;
    struct err err = ERR_INIT;

    for (unsigned i = 0; i < 300; i++) {
        char body[64];
        uint64_t pos = 0;

        snprintf(body, sizeof(body), "%u/%u", w->id, i);
        OK(wal_append(w->b->wal, 1, SV("t"), sv_of(body), &pos, &err));
        if (i % 7 == 0)
            OK(wal_wait(w->b->wal, pos, &err));
        if (i % 100 == 50)
            OK(wal_roll(w->b->wal, &err));
    }
    return NULL;
}

static void many_write_at_once_and_each_order_is_kept(void **state)
{
    struct bench *b = *state;
    struct writer w[4];
    pthread_t t[4];
    unsigned next[4] = {0};

    for (unsigned i = 0; i < 4; i++) {
        w[i] = (struct writer){.b = b, .id = i};
        assert_int_equal(pthread_create(&t[i], NULL, write_many, &w[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    reopen(b);
    assert_int_equal(b->seen.n, 1200);
    for (size_t i = 0; i < b->seen.n; i++) {
        unsigned id, k;

        assert_int_equal(sscanf(b->seen.p[i], "1 t %u/%u", &id, &k), 2);
        assert_int_equal(next[id], k);
        next[id]++;
    }
}

static void waiting_bytes_have_a_ceiling(void **state)
{
    struct bench *b = *state;
    struct err err = ERR_INIT;
    char body[4096] = {0};
    enum status st = ST_OK;
    uint64_t pos;

    wal_close(b->wal);
    b->opts.pending_max = 64 << 10;
    open_log(b);
    put_durable(b, 1, "a", "x");
    for (int i = 0; i < 100000 && st == ST_OK; i++)
        st = wal_append(b->wal, 1, SV("a"), sv_make(body, sizeof(body)), &pos, &err);
    assert_int_equal(st, ST_UNAVAIL);
    assert_non_null(strstr(err.msg, "limit 65536"));
    assert_int_equal(wal_append(b->wal, 1, SV("a"), sv_make(body, WAL_RECORD_MAX + 1), &pos, &err),
                     ST_TOOBIG);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(records_come_back_in_order_and_positions_only_grow),
        CASE(a_record_may_run_over_pages_and_segments_roll),
        CASE(a_torn_tail_is_no_finding),
        CASE(damage_costs_a_page_and_is_told),
        CASE(a_newer_version_is_refused_by_name),
        CASE(a_full_disk_refuses_and_then_goes_on),
        CASE(a_full_disk_that_can_t_be_truncated_seals_the_segment),
        CASE(a_failed_fdatasync_is_never_repeated_on_that_file),
        CASE(segments_go_when_nobody_needs_them),
        CASE(many_write_at_once_and_each_order_is_kept),
        CASE(waiting_bytes_have_a_ceiling),
    };

    return RUN(tests);
}
