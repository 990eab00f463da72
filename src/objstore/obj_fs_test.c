/* The folder as a bucket: what all buckets do (obj_cases.h), and what only a disk can do to one. */
#include "obj_cases.h"

#include <errno.h>
#include <sys/stat.h>

static char root[] = "/tmp/engram-bucket-XXXXXX";

static int open_bucket(void **state)
{
    struct err err = ERR_INIT;
    struct obj *o;

    if (!mkdtemp(root) || obj_fs_open(fs_posix(), root, &o, &err) != ST_OK)
        return -1;
    *state = o;
    return 0;
}

static int close_bucket(void **state)
{
    struct obj *o = *state;

    o->ops->close(o);
    fs_rmtree(fs_posix(), root, NULL);
    return 0;
}

/* A disk whose call number `fails` (of those that change it) does not work; the test counts on. */
struct faulty {
    struct fs base;
    unsigned calls, fails;
};

static bool due(const struct fs *fs)
{
    struct faulty *f = (struct faulty *)(uintptr_t)fs;

    errno = ENOSPC;
    return ++f->calls == f->fails;
}

static ssize_t bad_write(const struct fs *fs, int fd, const void *p, size_t n)
{
    return due(fs) ? -1 : write(fd, p, n);
}
static int bad_sync(const struct fs *fs, int fd)
{
    return due(fs) ? -1 : fdatasync(fd);
}
static int bad_rename(const struct fs *fs, const char *from, const char *to)
{
    return due(fs) ? -1 : rename(from, to);
}
static int bad_mkdir(const struct fs *fs, const char *path, mode_t mode)
{
    return due(fs) ? -1 : mkdir(path, mode);
}

static void a_disk_that_fails_leaves_old_or_new(void **state)
{
    struct fs_ops ops = *fs_posix()->ops;
    struct faulty f = {.base = {&ops}};
    struct err err = ERR_INIT;
    unsigned failures = 0;
    struct obj *o;

    (void)state;
    ops.write = bad_write;
    ops.fdatasync = bad_sync;
    ops.rename = bad_rename;
    ops.mkdir = bad_mkdir;
    OK(obj_fs_open(&f.base, root, &o, &err));
    for (unsigned fails = 1;; fails++) {
        enum status st;

        f.fails = 0;
        obj_cases_clear(o);
        OK(o->ops->put(o, SV(CASES "deep/er/key"), SV("old"), false, &err));
        obj_cases_clear(o);
        f.calls = 0;
        f.fails = fails;
        st = o->ops->put(o, SV(CASES "deep/er/key"), SV("new"), false, &err);
        f.fails = 0;
        if (st == ST_OK) {
            assert_true(f.calls < fails); /* none was left to fail */
            break;
        }
        failures++;
        assert_int_equal(st, ST_FULL);
        if (obj_cases_get(o, SV(CASES "deep/er/key"), 0, SIZE_MAX, 100) == ST_OK)
            obj_cases_holds(o, CASES "deep/er/key", 0, SIZE_MAX, "new");
        OK(o->ops->put(o, SV(CASES "deep/er/key"), SV("new"), false, &err)); /* tried again */
    }
    assert_true(failures >= 5);
    o->ops->close(o);
}

static void leftovers_of_the_dead_are_not_listed_and_go(void **state)
{
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    char dir[128], fresh[160], stale[160];
    struct err err = ERR_INIT;
    struct obj *o = *state, *again;

    obj_cases_clear(o);
    snprintf(dir, sizeof(dir), "%s/.engram-tmp", root);
    snprintf(fresh, sizeof(fresh), "%s/1", dir);
    snprintf(stale, sizeof(stale), "%s/2", dir);
    OK(fs_mkdirs(fs_posix(), dir, &err));
    OK(fs_write_file(fs_posix(), fresh, SV("x"), &err));
    OK(fs_write_file(fs_posix(), stale, SV("x"), &err));
    assert_int_equal(utimensat(AT_FDCWD, stale, old, 0), 0);
    obj_cases_listed(o, "", false, "");
    obj_cases_listed(o, "", true, "");
    assert_int_equal(o->ops->put(o, SV(".engram-tmp/x"), SV("x"), false, &err), ST_INVALID);
    OK(obj_fs_open(fs_posix(), root, &again, &err));
    assert_true(fs_exists(fs_posix(), fresh));
    assert_false(fs_exists(fs_posix(), stale));
    again->ops->close(again);
}

static void objects_have_local_paths_and_links_are_not_followed(void **state)
{
    struct obj *o = *state;
    struct err err = ERR_INIT;
    char path[FS_PATH_MAX], link_path[128];

    obj_cases_clear(o);
    OK(o->ops->put(o, SV(CASES "k"), SV("v"), false, &err));
    assert_true(o->ops->local_path(o, SV(CASES "k"), path));
    assert_true(fs_exists(fs_posix(), path));
    assert_false(o->ops->local_path(o, SV(CASES "none"), path));
    assert_false(o->ops->local_path(o, SV("../etc/passwd"), path));
    snprintf(link_path, sizeof(link_path), "%s/cases/loop", root);
    assert_int_equal(symlink(root, link_path), 0);
    obj_cases_listed(o, CASES, false, "k:1 ");
    unlink(link_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OBJ_CASES,
        cmocka_unit_test(a_disk_that_fails_leaves_old_or_new),
        cmocka_unit_test(leftovers_of_the_dead_are_not_listed_and_go),
        cmocka_unit_test(objects_have_local_paths_and_links_are_not_followed),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, open_bucket, close_bucket);
}
