/* The S3 client against a server with faults on demand: what is repeated, what is not, what comes
 * out. What a real gateway does is tested in obj_suite_test.c. */
#include "obj_cases.h"

#include "http_fake.h"
#include "net/net.h"
#include "s3_int.h"

struct fixture {
    struct http_fake fake;
    struct net *net;
    struct obj *o;
    struct buf out;
    struct err err;
    _Atomic unsigned aborted, parts;
};

#define ERR(code) "<Error><Code>" code "</Code><Message>because</Message></Error>"

/* What the server does is said by the key asked for; `no` counts the requests of a case. */
static bool serve(void *arg, const struct http_fake_request *r)
{
    struct fixture *f = arg;
    const char *t = r->text;

    if (strstr(t, "/twice-broken ") && r->no == 1) {
        http_fake_answer(r->fd, "503 Slow Down", "", ERR("SlowDown"));
    } else if (strstr(t, "/twice-broken ") && r->no == 2) {
        http_fake_send(r->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        return false;
    } else if (strstr(t, "/twice-broken ")) {
        http_fake_answer(r->fd, "200 OK", "", "whole");
    } else if (strstr(t, "/broken ")) {
        http_fake_answer(r->fd, "500 Oops", "", ERR("InternalError"));
    } else if (strstr(t, "/short ")) {
        http_fake_send(r->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        return false;
    } else if (strstr(t, "/silent ")) {
        return true;
    } else if (strstr(t, "/signature ")) {
        http_fake_answer(r->fd, "403 Forbidden", "", ERR("SignatureDoesNotMatch"));
    } else if (strstr(t, "/skewed ")) {
        http_fake_answer(r->fd, "403 Forbidden", "", ERR("RequestTimeTooSkewed"));
    } else if (strstr(t, "/quota ")) {
        http_fake_answer(r->fd, "403 Forbidden", "", ERR("QuotaExceeded"));
    } else if (strstr(t, "/no-key ")) {
        http_fake_answer(r->fd, "404 Not Found", "", ERR("NoSuchKey"));
    } else if (strstr(t, "/no-bucket ")) {
        http_fake_answer(r->fd, "404 Not Found", "", ERR("NoSuchBucket"));
    } else if (strstr(t, "/no-ranges ")) {
        http_fake_answer(r->fd, "200 OK", "", "everything at once");
    } else if (strstr(t, "PUT /b/lock ")) { /* it worked, but the answer is lost; then refused */
        if (r->no == 1)
            return false;
        http_fake_answer(r->fd, "412 Precondition Failed", "", ERR("PreconditionFailed"));
    } else if (strstr(t, "GET /b/lock ")) {
        http_fake_answer(r->fd, "200 OK", "", "mine");
    } else if (strstr(t, "?continuation-token=") || strstr(t, "?list-type=2")) {
        http_fake_answer(r->fd, "200 OK", "",
                         "<ListBucketResult><IsTruncated>true</IsTruncated>"
                         "<NextContinuationToken>again</NextContinuationToken>"
                         "<Contents><Key>k</Key><Size>1</Size></Contents>"
                         "<Contents><Key>folder/</Key><Size>0</Size></Contents>"
                         "</ListBucketResult>");
    } else if (strstr(t, "POST ") && strstr(t, "?uploads= ")) {
        http_fake_answer(r->fd, "200 OK", "", "<R><UploadId>id/1</UploadId></R>");
    } else if (strstr(t, "PUT ") && strstr(t, "?partNumber=")) {
        f->parts++;
        if (strstr(t, "/bad-part") && f->parts > 1)
            http_fake_answer(r->fd, "400 Bad", "", ERR("EntityTooSmall"));
        else
            http_fake_answer(r->fd, "200 OK", "ETag: \"e\"\r\n", "");
    } else if (strstr(t, "POST /b/lost?uploadId=id%2F1 ")) { /* done, the answer lost */
        if (r->no == 5)
            return false;
        http_fake_answer(r->fd, "404 Not Found", "", ERR("NoSuchUpload"));
    } else if (strstr(t, "HEAD /b/lost ")) {
        http_fake_send(r->fd, "HTTP/1.1 200 OK\r\nContent-Length: 12582912\r\n\r\n");
    } else if (strstr(t, "POST ")) { /* the end: 200, and yet an error */
        http_fake_answer(r->fd, "200 OK", "", ERR("InternalError"));
    } else if (strstr(t, "DELETE ") && strstr(t, "?uploadId=id%2F1 ")) {
        f->aborted++;
        http_fake_answer(r->fd, "204 No Content", "", "");
    } else {
        http_fake_answer(r->fd, "418 Teapot", "", "not XML");
    }
    return true;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct obj_s3_opts o = {.bucket = "b", .access_key = "AK", .secret_key = "SK",
                            .path_style = true, .timeout_ms = 1500, .part_bytes = 5 << 20,
                            .multipart_from_bytes = 5 << 20};

    http_fake_start(&f->fake, serve, f);
    f->net = net_new(4);
    o.net = f->net;
    o.endpoint = f->fake.url;
    buf_init(&f->out, 50);
    *state = f;
    return obj_s3_open(&o, &f->o, &f->err) == ST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->o->ops->close(f->o);
    net_free(f->net);
    http_fake_stop(&f->fake);
    buf_fini(&f->out);
    free(f);
    return 0;
}

static enum status get(struct fixture *f, const char *key)
{
    return f->o->ops->get(f->o, sv_of(key), 0, SIZE_MAX, &f->out, &f->err);
}

static void what_may_work_next_time_is_repeated(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    buf_str(&f->out, "before,");
    OK(get(f, "twice-broken"));
    assert_true(sv_is(buf_view(&f->out), "before,whole")); /* nothing of the broken answers */
    assert_int_equal(f->fake.requests, 3);
}

static void repeating_has_an_end(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(get(f, "broken"), ST_UNAVAIL);
    assert_non_null(strstr(f->err.msg, "InternalError"));
    assert_true(f->fake.requests > 1 && f->fake.requests <= 6);
    assert_int_equal(get(f, "short"), ST_UNAVAIL);
    assert_int_equal(f->out.n, 0);
    assert_int_equal(get(f, "silent"), ST_TIMEOUT);
}

static void refusals_are_not_repeated_and_say_why(void **state)
{
    struct fixture *f = *state;
    uint64_t n;

    assert_int_equal(get(f, "signature"), ST_INVALID);
    assert_non_null(strstr(f->err.msg, "SignatureDoesNotMatch because"));
    assert_non_null(strstr(f->err.msg, "AK"));
    assert_int_equal(get(f, "skewed"), ST_INVALID);
    assert_non_null(strstr(f->err.msg, "clock"));
    assert_int_equal(get(f, "quota"), ST_FULL);
    assert_int_equal(get(f, "no-key"), ST_NOTFOUND);
    assert_int_equal(get(f, "no-bucket"), ST_INVALID);
    assert_non_null(strstr(f->err.msg, "bucket b is not there"));
    assert_int_equal(get(f, "teapot"), ST_IO);
    assert_int_equal(f->o->ops->get(f->o, SV("no-ranges"), 3, 4, &f->out, &f->err), ST_IO);
    assert_int_equal(f->o->ops->size(f->o, SV("teapot"), &n, &f->err), ST_IO);
    assert_int_equal(f->fake.requests, 8);
}

static void a_small_ceiling_hides_no_reason(void **state)
{
    struct fixture *f = *state;

    f->out.max = 1;
    assert_int_equal(get(f, "no-key"), ST_NOTFOUND);
    assert_false(f->out.over);
    assert_int_equal(get(f, "no-ranges"), ST_LIMIT);
    assert_true(f->out.over && f->out.n == 0 && f->out.max == 1);
}

static void a_lost_answer_to_put_if_absent_is_no_conflict(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    OK(f->o->ops->put(f->o, SV("lock"), SV("mine"), true, &err));
    assert_int_equal(f->o->ops->put(f->o, SV("lock"), SV("others"), true, &err), ST_CONFLICT);
}

static void a_listing_that_turns_in_circles_ends(void **state)
{
    struct fixture *f = *state;
    struct obj_cases_list l = {.ordered = true};

    buf_init(&l.text, 1000);
    assert_int_equal(f->o->ops->list(f->o, SV(""), false, obj_cases_see, &l, &f->err), ST_IO);
    assert_int_equal(l.n, 2); /* "k" of two pages; "folder/" is no key */
    buf_fini(&l.text);
}

static void upload(struct fixture *f, const char *key, enum status want)
{
    char path[64];

    obj_cases_file(path, 12 << 20);
    assert_int_equal(f->o->ops->put_file(f->o, sv_of(key), path, &f->err), want);
    unlink(path);
}

static void an_upload_that_fails_is_aborted(void **state)
{
    struct fixture *f = *state;

    upload(f, "bad-part", ST_IO);
    assert_int_equal(f->parts, 2);
    assert_int_equal(f->aborted, 1);
    upload(f, "bad-end", ST_UNAVAIL);
    assert_int_equal(f->aborted, 2);
}

static void an_upload_whose_last_answer_is_lost_is_looked_for(void **state)
{
    struct fixture *f = *state;

    upload(f, "lost", ST_OK);
    assert_int_equal(f->aborted, 0);
}

static void settings_are_judged_at_once(void **state)
{
    struct obj_s3_opts good = {.endpoint = "http://h", .bucket = "b", .access_key = "a",
                               .secret_key = "s"};
    struct err err = ERR_INIT;
    struct obj *o;

    (void)state;
    OK(obj_s3_open(&good, &o, &err));
    o->ops->close(o);
    for (int i = 0; i < 5; i++) {
        struct obj_s3_opts bad = good;

        *(i == 0   ? &bad.endpoint
          : i == 1 ? &bad.bucket
          : i == 2 ? &bad.access_key
          : i == 3 ? &bad.secret_key
                   : &bad.region) = "";
        if (i < 4) {
            assert_int_equal(obj_s3_open(&bad, &o, &err), ST_INVALID);
            assert_non_null(strstr(err.msg, "bucket.s3."));
        }
        bad = good;
        bad.bucket = i % 2 ? "a/b" : "a b";
        assert_int_equal(obj_s3_open(&bad, &o, &err), ST_INVALID);
    }
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_may_work_next_time_is_repeated),
        CASE(repeating_has_an_end),
        CASE(refusals_are_not_repeated_and_say_why),
        CASE(a_small_ceiling_hides_no_reason),
        CASE(a_lost_answer_to_put_if_absent_is_no_conflict),
        CASE(a_listing_that_turns_in_circles_ends),
        CASE(an_upload_that_fails_is_aborted),
        CASE(an_upload_whose_last_answer_is_lost_is_looked_for),
        cmocka_unit_test(settings_are_judged_at_once),
    };

    return RUN(tests);
}
