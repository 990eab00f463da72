/* src/objstore/obj_cases.h - what every bucket must do, as cases that run on any backend: the folder
 * in obj_fs_test.c, a live S3 gateway in obj_suite_test.c. Keys stay below the prefix "cases/". */
#ifndef ENGRAM_OBJSTORE_OBJ_CASES_H
#define ENGRAM_OBJSTORE_OBJ_CASES_H

#include "unit.h"

#include "base/heap.h"
#include "objstore/obj.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CASES "cases/"

struct obj_cases_list {
    struct buf text;
    char last[1100];
    unsigned n;
    bool ordered;
};

static inline enum status obj_cases_see(void *arg, struct sv key, uint64_t bytes, bool is_prefix,
                                        struct err *err)
{
    struct obj_cases_list *l = arg;

    (void)err;
    l->n++;
    l->ordered &= sv_cmp(sv_of(l->last), key) < 0;
    snprintf(l->last, sizeof(l->last), SV_FMT, SV_ARG(key));
    buf_printf(&l->text, SV_FMT "%s:%llu ", SV_ARG(sv_sub(key, sizeof(CASES) - 1, key.n)),
               is_prefix ? "*" : "", (unsigned long long)bytes);
    return ST_OK;
}

static inline void obj_cases_list(struct obj *o, const char *prefix, bool delimiter,
                                  struct obj_cases_list *l)
{
    struct err err = ERR_INIT;

    memset(l, 0, sizeof(*l));
    l->ordered = true;
    buf_init(&l->text, 1 << 20);
    OK(o->ops->list(o, sv_of(prefix), delimiter, obj_cases_see, l, &err));
    buf_ch(&l->text, 0);
    assert_true(l->ordered);
}

static inline void obj_cases_listed(struct obj *o, const char *prefix, bool delimiter,
                                    const char *want)
{
    struct obj_cases_list l;

    obj_cases_list(o, prefix, delimiter, &l);
    assert_string_equal(l.text.p, want);
    buf_fini(&l.text);
}

static inline enum status obj_cases_drop(void *arg, struct sv key, uint64_t bytes, bool is_prefix,
                                         struct err *err)
{
    struct obj *o = arg;

    (void)bytes;
    return is_prefix ? ST_OK : o->ops->del(o, key, err);
}

/* Each case begins with nothing below its prefix. */
static inline void obj_cases_clear(struct obj *o)
{
    struct err err = ERR_INIT;

    OK(o->ops->list(o, SV(CASES), false, obj_cases_drop, o, &err));
}

static inline void obj_cases_holds(struct obj *o, const char *key, uint64_t off, size_t n,
                                   const char *want)
{
    struct err err = ERR_INIT;
    struct buf b;

    buf_init(&b, 1 << 20);
    OK(o->ops->get(o, sv_of(key), off, n, &b, &err));
    assert_int_equal(b.n, strlen(want));
    assert_memory_equal(b.n ? b.p : "", want, b.n);
    buf_fini(&b);
}

static inline enum status obj_cases_get(struct obj *o, struct sv key, uint64_t off, size_t n,
                                        size_t max)
{
    struct err err = ERR_INIT;
    struct buf b;
    enum status st;

    buf_init(&b, max);
    st = o->ops->get(o, key, off, n, &b, &err);
    buf_fini(&b);
    return st;
}

static inline void what_is_put_is_got_whole_and_in_ranges(void **state)
{
    struct obj *o = *state;
    struct err err = ERR_INIT;
    uint64_t n;

    obj_cases_clear(o);
    OK(o->ops->put(o, SV(CASES "a/b"), SV("0123456789"), false, &err));
    obj_cases_holds(o, CASES "a/b", 0, SIZE_MAX, "0123456789");
    obj_cases_holds(o, CASES "a/b", 3, 4, "3456");
    obj_cases_holds(o, CASES "a/b", 7, SIZE_MAX, "789");
    obj_cases_holds(o, CASES "a/b", 7, 100, "789");
    OK(o->ops->size(o, SV(CASES "a/b"), &n, &err));
    assert_int_equal(n, 10);
    OK(o->ops->put(o, SV(CASES "a/b"), SV("new"), false, &err)); /* replaces */
    obj_cases_holds(o, CASES "a/b", 0, SIZE_MAX, "new");
    OK(o->ops->put(o, SV(CASES "empty"), SV(""), false, &err));
    obj_cases_holds(o, CASES "empty", 0, SIZE_MAX, "");
    OK(o->ops->size(o, SV(CASES "empty"), &n, &err));
    assert_int_equal(n, 0);
    assert_int_equal(obj_cases_get(o, SV(CASES "a/b"), 3, 1, 100), ST_INVALID);
    assert_int_equal(obj_cases_get(o, SV(CASES "a/b"), 99, SIZE_MAX, 100), ST_INVALID);
    assert_int_equal(obj_cases_get(o, SV(CASES "a/b"), 0, SIZE_MAX, 2), ST_LIMIT);
}

static inline void names_keep_every_byte(void **state)
{
    static const char *const keys[] = {CASES "sp ace", CASES "pl+us", CASES "eq=ual&amp",
                                       CASES "per%20cent", CASES "\xc3\xa9t\xc3\xa9",
                                       CASES "til~de'(!)*", CASES "q?u#e;r:y@,$", CASES "a<b>\"c\""};
    struct obj *o = *state;
    struct err err = ERR_INIT;
    struct obj_cases_list l;

    obj_cases_clear(o);
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        OK(o->ops->put(o, sv_of(keys[i]), sv_of(keys[i]), false, &err));
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        obj_cases_holds(o, keys[i], 0, SIZE_MAX, keys[i]);
    obj_cases_list(o, CASES, false, &l);
    assert_int_equal(l.n, sizeof(keys) / sizeof(*keys));
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        assert_true(sv_search(buf_view(&l.text), sv_of(keys[i] + strlen(CASES))) != SIZE_MAX);
    buf_fini(&l.text);
    obj_cases_listed(o, CASES "sp a", false, "sp ace:12 ");
}

static inline void bad_keys_are_refused(void **state)
{
    static const struct sv keys[] = {SV(""),         SV("/a"),   SV("a/"),   SV("../x"),
                                     SV("a/../../x"), SV("a//b"), SV("./a"),  SV("a/."),
                                     SV("a/.."),      SV("a\0b"), SV("a\nb"), SV("..")};
    struct obj *o = *state;
    struct err err = ERR_INIT;
    uint64_t n;

    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        assert_int_equal(o->ops->put(o, keys[i], SV("x"), false, &err), ST_INVALID);
        assert_int_equal(obj_cases_get(o, keys[i], 0, SIZE_MAX, 10), ST_INVALID);
        assert_int_equal(o->ops->size(o, keys[i], &n, &err), ST_INVALID);
        assert_int_equal(o->ops->del(o, keys[i], &err), ST_INVALID);
    }
    assert_int_equal(o->ops->list(o, SV("../"), false, obj_cases_see, NULL, &err), ST_INVALID);
    assert_int_equal(o->ops->list(o, SV("/"), false, obj_cases_see, NULL, &err), ST_INVALID);
}

static inline void what_is_absent_says_so(void **state)
{
    struct obj *o = *state;
    struct err err = ERR_INIT;
    uint64_t n;

    obj_cases_clear(o);
    assert_int_equal(obj_cases_get(o, SV(CASES "none"), 0, SIZE_MAX, 100), ST_NOTFOUND);
    assert_int_equal(obj_cases_get(o, SV(CASES "none/below"), 5, 5, 100), ST_NOTFOUND);
    assert_int_equal(o->ops->size(o, SV(CASES "none"), &n, &err), ST_NOTFOUND);
    OK(o->ops->del(o, SV(CASES "none"), &err));
    OK(o->ops->put(o, SV(CASES "d/x"), SV("1"), false, &err));
    assert_int_equal(o->ops->size(o, SV(CASES "d"), &n, &err), ST_NOTFOUND); /* only a prefix */
    obj_cases_listed(o, CASES "nothing/", false, "");
    OK(o->ops->del(o, SV(CASES "d/x"), &err));
    obj_cases_listed(o, CASES, true, ""); /* prefixes go with their last object */
}

static inline void listing_is_in_key_order_with_and_without_delimiter(void **state)
{
    static const char *const keys[] = {CASES "a/x", CASES "a-b/y", CASES "a.txt", CASES "a0/q"};
    struct obj *o = *state;
    struct err err = ERR_INIT;

    obj_cases_clear(o);
    for (size_t i = 0; i < 4; i++)
        OK(o->ops->put(o, sv_of(keys[i]), SV("1"), false, &err));
    OK(o->ops->put(o, SV(CASES "b"), SV("22"), false, &err));
    obj_cases_listed(o, CASES, false, "a-b/y:1 a.txt:1 a/x:1 a0/q:1 b:2 ");
    obj_cases_listed(o, CASES, true, "a-b/*:0 a.txt:1 a/*:0 a0/*:0 b:2 ");
    obj_cases_listed(o, CASES "a", true, "a-b/*:0 a.txt:1 a/*:0 a0/*:0 ");
    obj_cases_listed(o, CASES "a/", true, "a/x:1 ");
    obj_cases_listed(o, CASES "a/", false, "a/x:1 ");
    obj_cases_listed(o, CASES "a/xy", false, "");
}

static inline enum status obj_cases_stop(void *arg, struct sv key, uint64_t bytes, bool is_prefix,
                                         struct err *err)
{
    (void)key;
    (void)bytes;
    (void)is_prefix;
    return ++*(unsigned *)arg == 2 ? err_set(err, ST_CANCELED, "enough") : ST_OK;
}

static inline void a_listing_ends_when_its_visitor_says_so(void **state)
{
    struct obj *o = *state;
    struct err err = ERR_INIT;
    unsigned n = 0;

    obj_cases_clear(o);
    OK(o->ops->put(o, SV(CASES "1"), SV("1"), false, &err));
    OK(o->ops->put(o, SV(CASES "2"), SV("1"), false, &err));
    OK(o->ops->put(o, SV(CASES "3"), SV("1"), false, &err));
    assert_int_equal(o->ops->list(o, SV(CASES), false, obj_cases_stop, &n, &err), ST_CANCELED);
    assert_int_equal(n, 2);
}

struct obj_cases_race {
    struct obj *o;
    _Atomic unsigned won, lost;
};

static inline void *obj_cases_racer(void *arg)
{
    struct obj_cases_race *r = arg;
    struct err err = ERR_INIT;
    enum status st = r->o->ops->put(r->o, SV(CASES "race"), SV("mine"), true, &err);

    if (st == ST_OK)
        r->won++;
    else if (st == ST_CONFLICT)
        r->lost++;
    return NULL;
}

static inline void only_one_of_many_creates_what_must_be_absent(void **state)
{
    struct obj_cases_race r = {.o = *state};
    pthread_t t[8];

    obj_cases_clear(r.o);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, obj_cases_racer, &r), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(r.won, 1);
    assert_int_equal(r.lost, 7);
    obj_cases_holds(r.o, CASES "race", 0, SIZE_MAX, "mine");
}

/* A file of n bytes whose content says where it is. */
static inline void obj_cases_file(char path[64], size_t n)
{
    int fd;

    snprintf(path, 64, "/tmp/engram-obj-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t at = 0; at < n;) {
        char line[4096];
        size_t k = 0;

        while (k + 16 <= sizeof(line)) {
            snprintf(line + k, 17 < sizeof(line) - k ? 17 : sizeof(line) - k, "%015zu\n", at + k);
            k += 16;
        }
        if (k > n - at)
            k = n - at;
        assert_int_equal(write(fd, line, k), k);
        at += k;
    }
    close(fd);
}

static inline void obj_cases_upload(struct obj *o, const char *key, size_t n)
{
    struct err err = ERR_INIT;
    char path[64], *p;
    struct buf b;
    uint64_t size;
    size_t got;

    obj_cases_file(path, n);
    OK(o->ops->put_file(o, sv_of(key), path, &err));
    OK(o->ops->size(o, sv_of(key), &size, &err));
    assert_int_equal(size, n);
    OK(fs_read_file(fs_posix(), path, n, &p, &got, &err));
    buf_init(&b, n);
    OK(o->ops->get(o, sv_of(key), 0, SIZE_MAX, &b, &err));
    assert_int_equal(b.n, n);
    assert_memory_equal(b.n ? b.p : "", p, n);
    buf_clear(&b);
    if (n > 100) {
        OK(o->ops->get(o, sv_of(key), n / 2, 33, &b, &err));
        assert_memory_equal(b.p, p + n / 2, 33);
    }
    heap_free(p);
    buf_fini(&b);
    unlink(path);
}

static inline void files_are_put_whole(void **state)
{
    struct obj *o = *state;
    struct err err = ERR_INIT;

    obj_cases_clear(o);
    obj_cases_upload(o, CASES "file/small", 12345);
    obj_cases_upload(o, CASES "file/none", 0);
    obj_cases_upload(o, CASES "file/large", ((size_t)16 << 20) + 77);
    assert_int_equal(o->ops->put_file(o, SV(CASES "file/x"), "/tmp/engram-no-such-file", &err),
                     ST_NOTFOUND);
    obj_cases_clear(o);
}

#define OBJ_CASES                                                                                  \
    cmocka_unit_test(what_is_put_is_got_whole_and_in_ranges),                                      \
        cmocka_unit_test(names_keep_every_byte), cmocka_unit_test(bad_keys_are_refused),           \
        cmocka_unit_test(what_is_absent_says_so),                                                  \
        cmocka_unit_test(listing_is_in_key_order_with_and_without_delimiter),                      \
        cmocka_unit_test(a_listing_ends_when_its_visitor_says_so),                                 \
        cmocka_unit_test(only_one_of_many_creates_what_must_be_absent),                            \
        cmocka_unit_test(files_are_put_whole)

#endif
