/* The catalogue: rows, order, and what becomes of damaged files. */
#include "unit.h"

#include "base/fs.h"
#include "base/heap.h"
#include "base/log.h"
#include "catalogue/catalogue.h"
#include "catalogue_int.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ALL ((struct trange){INT64_MIN, INT64_MAX})

struct seen {
    char text[4096];
    unsigned rows;
};

static enum status see(void *arg, struct sv tenant, const struct catalogue_row *row,
                       struct err *err)
{
    struct seen *s = arg;
    size_t n = strlen(s->text);

    (void)err;
    s->rows++;
    if (n < sizeof(s->text) - 100)
        snprintf(s->text + n, sizeof(s->text) - n, SV_FMT "/%c%c@%lld:%u ", SV_ARG(tenant),
                 row->ulid[24], row->ulid[25], (long long)row->range.from_ms, row->where);
    return ST_OK;
}

static struct catalogue_row row_of(unsigned no, int64_t from_ms, unsigned where)
{
    struct catalogue_row r = {.range = {from_ms, from_ms + 100}, .cut_seq = no, .where = where};

    snprintf(r.ulid, sizeof(r.ulid), "01ARZ3NDEKTSV4RRFFQ%07u", no);
    return r;
}

static int in_folder(void **state)
{
    char dir[] = "/tmp/engram-catalogue-XXXXXX";

    *state = strdup(mkdtemp(dir));
    return 0;
}

static int remove_folder(void **state)
{
    fs_rmtree(fs_posix(), *state, NULL);
    free(*state);
    return 0;
}

static struct catalogue *open_in(const char *dir, bool want_fresh)
{
    struct catalogue *c = NULL;
    struct err err = ERR_INIT;
    bool fresh;

    OK(catalogue_open(dir, &c, &fresh, &err));
    assert_int_equal(fresh, want_fresh);
    return c;
}

static void list(struct catalogue *c, struct sv tenant, struct trange range, struct seen *s)
{
    struct err err = ERR_INIT;

    memset(s, 0, sizeof(*s));
    OK(catalogue_each(c, tenant, range, see, s, &err));
}

static void rows_come_oldest_first_by_tenant_and_range(void **state)
{
    struct catalogue *c = open_in(*state, true);
    struct err err = ERR_INIT;
    struct catalogue_row r;
    struct seen s;

    r = row_of(2, 200, CATALOGUE_LOCAL);
    OK(catalogue_add(c, SV("a"), &r, &err));
    r = row_of(9, 100, CATALOGUE_BUCKET);
    OK(catalogue_add(c, SV("a"), &r, &err));
    r = row_of(3, 100, CATALOGUE_BUCKET);
    OK(catalogue_add(c, SV("ab"), &r, &err));
    list(c, SV("a"), ALL, &s);
    assert_string_equal(s.text, "a/09@100:2 a/02@200:1 ");
    list(c, SV("a"), (struct trange){0, 100}, &s);
    assert_string_equal(s.text, "");
    list(c, SV("a"), (struct trange){199, 200}, &s);
    assert_string_equal(s.text, "a/09@100:2 ");
    list(c, (struct sv){NULL, 0}, ALL, &s);
    assert_int_equal(s.rows, 3);
    list(c, SV("nobody"), ALL, &s);
    assert_int_equal(s.rows, 0);
    catalogue_close(c);
}

static void bits_are_gathered_and_a_row_without_any_goes(void **state)
{
    struct catalogue *c = open_in(*state, true);
    struct catalogue_row r = row_of(1, 0, CATALOGUE_LOCAL);
    struct err err = ERR_INIT;
    uint64_t gen;
    struct seen s;

    OK(catalogue_add(c, SV("t"), &r, &err));
    r.where = CATALOGUE_BUCKET;
    OK(catalogue_add(c, SV("t"), &r, &err));
    list(c, SV("t"), ALL, &s);
    assert_string_equal(s.text, "t/01@0:3 ");
    gen = catalogue_generation(c);
    OK(catalogue_add(c, SV("t"), &r, &err));
    assert_int_equal(catalogue_generation(c), gen); /* nothing new, nothing written */
    OK(catalogue_remove(c, SV("t"), sv_of(r.ulid), CATALOGUE_LOCAL, &err));
    assert_true(catalogue_generation(c) != gen);
    list(c, SV("t"), ALL, &s);
    assert_string_equal(s.text, "t/01@0:2 ");
    OK(catalogue_remove(c, SV("t"), sv_of(r.ulid), CATALOGUE_BUCKET, &err));
    OK(catalogue_remove(c, SV("t"), sv_of(r.ulid), CATALOGUE_BUCKET, &err));
    list(c, SV("t"), ALL, &s);
    assert_int_equal(s.rows, 0);
    assert_int_equal(catalogue_add(c, SV(""), &r, &err), ST_INVALID);
    assert_int_equal(catalogue_add(c, SV("a\0b"), &r, &err), ST_INVALID);
    catalogue_close(c);
}

static void fill(const char *dir, unsigned rows)
{
    struct catalogue *c = open_in(dir, true);
    struct err err = ERR_INIT;

    for (unsigned i = 0; i < rows; i++) {
        struct catalogue_row r = row_of(i, i, CATALOGUE_BUCKET);

        OK(catalogue_add(c, SV("tenant"), &r, &err));
    }
    catalogue_close(c);
}

static void it_is_still_there_after_closing(void **state)
{
    struct catalogue *c;
    struct seen s;

    fill(*state, 300);
    c = open_in(*state, false);
    list(c, SV("tenant"), ALL, &s);
    assert_int_equal(s.rows, 300);
    catalogue_close(c);
}

static void write_at(const char *dir, off_t at, const void *p, size_t n)
{
    char path[FS_PATH_MAX];
    int fd;

    assert_true(fs_join(path, dir, "data.mdb"));
    fd = open(path, O_RDWR | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, at), n);
    close(fd);
}

static void a_file_that_is_none_is_begun_anew(void **state)
{
    char rubbish[8192];
    struct catalogue *c;
    struct seen s;

    memset(rubbish, 'x', sizeof(rubbish));
    write_at(*state, 0, rubbish, sizeof(rubbish));
    c = open_in(*state, true);
    list(c, (struct sv){NULL, 0}, ALL, &s);
    assert_int_equal(s.rows, 0);
    catalogue_close(c);
    c = open_in(*state, false);
    catalogue_close(c);
}

static void a_file_of_a_newer_program_is_begun_anew(void **state)
{
    char path[FS_PATH_MAX], *p;
    struct err err = ERR_INIT;
    size_t n;
    bool found = false;

    fill(*state, 3);
    assert_true(fs_join(path, *state, "data.mdb"));
    OK(fs_read_file(fs_posix(), path, 1 << 24, &p, &n, &err));
    for (size_t i = 0; i + 18 <= n; i++) /* every copy of the format's row, old pages too */
        if (memcmp(p + i, "format\0\0\0\1", 10) == 0) {
            write_at(*state, (off_t)i + 9, "\2", 1);
            found = true;
        }
    heap_free(p);
    assert_true(found);
    catalogue_close(open_in(*state, true));
}

/* A cut or a changed byte anywhere ends in an answer: opened (the byte did not matter) or begun
 * anew; never in a crash. */
static void damage_anywhere_never_ends_the_process(void **state)
{
    char path[FS_PATH_MAX], *p;
    struct err err = ERR_INIT;
    struct catalogue *c;
    unsigned anew = 0;
    bool fresh;
    size_t n;

    fill(*state, 200);
    assert_true(fs_join(path, *state, "data.mdb"));
    OK(fs_read_file(fs_posix(), path, 1 << 24, &p, &n, &err));
    for (size_t k = 0; k < 160; k++) {
        size_t at = (k * 7919 * 13 + k * k) % n;
        char changed = (char)(p[at] ^ (k % 2 ? 0xff : 0x10));

        OK(fs_write_file(fs_posix(), path, sv_make(p, n), &err));
        if (k < 40)
            assert_int_equal(truncate(path, (off_t)(n * k / 40)), 0);
        else
            write_at(*state, (off_t)at, &changed, 1);
        c = NULL;
        OK(catalogue_open(*state, &c, &fresh, &err));
        anew += fresh;
        catalogue_close(c);
    }
    heap_free(p);
    assert_true(anew >= 40);
}

static void headers_that_lie_are_found(void **state)
{
    char path[FS_PATH_MAX], *p;
    struct err err = ERR_INIT;
    unsigned found = 0, found_offsets = 0;
    size_t n;

    fill(*state, 200);
    assert_true(fs_join(path, *state, "data.mdb"));
    OK(catalogue_pages_check(path, &err));
    OK(fs_read_file(fs_posix(), path, 1 << 24, &p, &n, &err));
    for (size_t page = 2; page < n / 4096; page++) {
        OK(fs_write_file(fs_posix(), path, sv_make(p, n), &err));
        write_at(*state, (off_t)(page * 4096 + 12), "\xff\xff\xff\xff", 4); /* lower, upper */
        found += catalogue_pages_check(path, &err) == ST_CORRUPT;
        OK(fs_write_file(fs_posix(), path, sv_make(p, n), &err));
        write_at(*state, (off_t)(page * 4096 + 16), "\xfe\xff", 2); /* the first node's offset */
        found_offsets += catalogue_pages_check(path, &err) == ST_CORRUPT;
    }
    heap_free(p);
    assert_true(found > 2 && found_offsets > 2); /* the pages that are in use */
}

static void *adder(void *arg)
{
    struct err err = ERR_INIT;

    for (unsigned i = 0; i < 50; i++) {
        struct catalogue_row r = row_of(i, i, CATALOGUE_LOCAL);

        if (catalogue_add(arg, SV("t"), &r, &err) != ST_OK)
            return NULL;
    }
    return arg;
}

static void readers_run_beside_a_writer(void **state)
{
    struct catalogue *c = open_in(*state, true);
    struct err err = ERR_INIT;
    pthread_t writer;
    struct seen s = {0};
    void *done;

    assert_int_equal(pthread_create(&writer, NULL, adder, c), 0);
    for (unsigned rows = 0; rows < 50; rows = s.rows) {
        list(c, SV("t"), ALL, &s);
        assert_true(s.rows >= rows);
        OK(catalogue_remove(c, SV("u"), SV("01ARZ3NDEKTSV4RRFFQ0000001"), 1, &err));
    }
    pthread_join(writer, &done);
    assert_ptr_equal(done, c);
    catalogue_close(c);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, in_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(rows_come_oldest_first_by_tenant_and_range),
        CASE(bits_are_gathered_and_a_row_without_any_goes),
        CASE(it_is_still_there_after_closing),
        CASE(a_file_that_is_none_is_begun_anew),
        CASE(a_file_of_a_newer_program_is_begun_anew),
        CASE(damage_anywhere_never_ends_the_process),
        CASE(headers_that_lie_are_found),
        CASE(readers_run_beside_a_writer),
    };

    log_set_level(LOG_ERROR);
    return RUN(tests);
}
