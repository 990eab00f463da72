/* The S3 client against a living gateway: the cases of every bucket, and what only a real one shows.
 * tests/e2e/905-objstore-ceph runs it, with S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY and the
 * script and folder of the cluster, whose daemons it kills, in CEPH_RGW_SH and CEPH_DIR. Without an
 * endpoint it is skipped (exit 77). */
#include "obj_cases.h"

#include "net/net.h"
#include "s3_int.h"

#define BUCKET "engram-suite"

static struct net *client;

static const char *env(const char *name)
{
    const char *v = getenv(name);

    return v ? v : "";
}

static int64_t an_hour_ahead(const struct clk *c)
{
    (void)c;
    return clk_system()->wall_ms(clk_system()) + 3600000;
}

static int64_t mono(const struct clk *c)
{
    (void)c;
    return clk_system()->mono_ns(clk_system());
}

static struct obj_s3_opts opts(void)
{
    return (struct obj_s3_opts){.net = client,
                                .clk = clk_system(),
                                .endpoint = env("S3_ENDPOINT"),
                                .bucket = BUCKET,
                                .access_key = env("S3_ACCESS_KEY"),
                                .secret_key = env("S3_SECRET_KEY"),
                                .path_style = true,
                                .part_bytes = 5 << 20,
                                .multipart_from_bytes = 8 << 20};
}

/* A request that struct obj has no word for. */
static long ask(const char *method, const char *path, const struct s3_param *params, size_t n,
                struct buf *out)
{
    char url[1024], date[S3_DATE_LEN + 1], hash[S3_HASH_LEN + 1];
    struct net_answer a = {.body = out};
    struct buf query, auth;
    struct s3_endpoint ep;
    struct err err = ERR_INIT;

    buf_init(&query, 4096);
    buf_init(&auth, 4096);
    s3_url_query(&query, params, n);
    s3_sign_date(date, clk_wall_ms(clk_system()));
    s3_sign_hash(SV(""), hash);
    OK(s3_url_endpoint(env("S3_ENDPOINT"), &ep, &err));
    const struct s3_header h[] = {
        {"host", ep.host}, {"x-amz-content-sha256", sv_of(hash)}, {"x-amz-date", sv_of(date)}};
    const struct s3_sign in = {.access_key = sv_of(env("S3_ACCESS_KEY")),
                               .secret_key = sv_of(env("S3_SECRET_KEY")),
                               .region = SV("us-east-1"),
                               .method = method,
                               .path = sv_of(path),
                               .query = buf_view(&query),
                               .headers = h,
                               .headers_n = 3,
                               .payload = sv_of(hash),
                               .date = date};
    s3_sign(&in, &auth);
    struct net_header sent[] = {{SV("Host"), ep.host},
                                {SV("x-amz-content-sha256"), sv_of(hash)},
                                {SV("x-amz-date"), sv_of(date)},
                                {SV("Authorization"), buf_view(&auth)}};
    snprintf(url, sizeof(url), "%s%s?" SV_FMT, env("S3_ENDPOINT"), path,
             SV_ARG(buf_view(&query)));
    struct net_request req = {.method = method, .url = url, .headers = sent, .headers_n = 4,
                              .timeout_ms = 30000};
    OK(net_do(client, &req, &a, &err));
    buf_fini(&query);
    buf_fini(&auth);
    return a.status;
}

static int open_bucket(void **state)
{
    struct obj_s3_opts o;
    struct err err = ERR_INIT;
    struct obj *ret;

    client = net_new(8);
    o = opts();
    if (ask("PUT", "/" BUCKET "/", NULL, 0, NULL) / 100 != 2)
        return -1;
    if (obj_s3_open(&o, &ret, &err) != ST_OK)
        return -1;
    *state = ret;
    return 0;
}

static int close_bucket(void **state)
{
    struct obj *o = *state;

    o->ops->close(o);
    net_free(client);
    return 0;
}

/* --- what only a real one shows --- */

static void a_listing_goes_on_beyond_a_thousand(void **state)
{
    struct obj *o = *state;
    struct err err = ERR_INIT;
    struct obj_cases_list l;
    char key[64];

    obj_cases_clear(o);
    for (int i = 0; i < 1005; i++) {
        snprintf(key, sizeof(key), CASES "many/%04d/x", i);
        OK(o->ops->put(o, sv_of(key), SV("1"), false, &err));
    }
    obj_cases_list(o, CASES "many/", false, &l);
    assert_int_equal(l.n, 1005);
    buf_fini(&l.text);
    obj_cases_list(o, CASES "many/", true, &l);
    assert_int_equal(l.n, 1005);
    assert_non_null(strstr(l.text.p, "many/1004/*:0 "));
    buf_fini(&l.text);
    obj_cases_clear(o);
}

static void if_absent_is_refused_when_it_is_there(void **state)
{
    struct obj *o = *state;
    struct err err = ERR_INIT;

    obj_cases_clear(o);
    OK(o->ops->put(o, SV(CASES "once"), SV("1"), true, &err));
    assert_int_equal(o->ops->put(o, SV(CASES "once"), SV("2"), true, &err), ST_CONFLICT);
    obj_cases_holds(o, CASES "once", 0, SIZE_MAX, "1");
}

static void reads_on_a_kept_connection_do_not_wait_for_acknowledgements(void **state)
{
    struct obj *o = *state;
    struct err err = ERR_INIT;
    int64_t began_ns, best_ns = INT64_MAX;
    struct buf b;

    obj_cases_clear(o);
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 16 * 1024; i++)
        buf_ch(&b, 'x');
    OK(o->ops->put(o, SV(CASES "nagle"), buf_view(&b), false, &err));
    /* The delay would be 40 ms in each read; the quickest of many is well below it on any machine
     * that isn't standing still. */
    for (int i = 0; i < 50; i++) {
        buf_clear(&b);
        began_ns = clk_mono_ns(clk_system());
        OK(o->ops->get(o, SV(CASES "nagle"), 0, 16 * 1024, &b, &err));
        if (i && clk_mono_ns(clk_system()) - began_ns < best_ns)
            best_ns = clk_mono_ns(clk_system()) - began_ns;
    }
    buf_fini(&b);
    assert_true(best_ns < 35000000);
}

static enum status with(const struct obj_s3_opts *o, struct err *err)
{
    struct obj *other;
    struct buf b;
    enum status st;

    assert_int_equal(obj_s3_open(o, &other, err), ST_OK);
    buf_init(&b, 100);
    st = other->ops->get(other, SV(CASES "nagle"), 0, 10, &b, err);
    buf_fini(&b);
    other->ops->close(other);
    return st;
}

static void wrong_credentials_are_refused_in_words(void **state)
{
    struct obj_s3_opts o = opts();
    struct err err = ERR_INIT;

    (void)state;
    o.secret_key = "not the secret";
    assert_int_equal(with(&o, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "SignatureDoesNotMatch"));
    assert_null(strstr(err.msg, "not the secret"));
    o = opts();
    o.access_key = "NOBODY";
    assert_int_equal(with(&o, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "NOBODY"));
    o = opts();
    o.bucket = "not-there";
    assert_int_equal(with(&o, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "not-there is not there"));
}

static void a_wrong_clock_is_named(void **state)
{
    const struct clk ahead = {an_hour_ahead, mono};
    struct obj_s3_opts o = opts();
    struct err err = ERR_INIT;

    (void)state;
    o.clk = &ahead;
    assert_int_equal(with(&o, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "clock"));
}

static void daemon_do(const char *verb, const char *name)
{
    char cmd[1024];

    snprintf(cmd, sizeof(cmd), "'%s' %s '%s' %s >&2", env("CEPH_RGW_SH"), verb, env("CEPH_DIR"),
             name);
    if (system(cmd) != 0)
        abort();
}

static void uploads_left(unsigned want)
{
    const struct s3_param p[] = {{"uploads", {NULL, 0}}};
    unsigned n = 0;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(ask("GET", "/" BUCKET "/", p, 1, &b), 200);
    buf_ch(&b, 0);
    for (const char *z = b.p; (z = strstr(z, "<Upload>")); z++)
        n++;
    assert_int_equal(n, want);
    buf_fini(&b);
}

static void *killer(void *arg)
{
    usleep(*(unsigned *)arg);
    daemon_do("kill", "rgw");
    return NULL;
}

/* Whenever it dies: the object is absent or whole, and the next try puts it. */
static void a_gateway_killed_during_an_upload_leaves_nothing_half(void **state)
{
    static const unsigned after_us[] = {0, 60000, 150000, 300000};
    struct obj *o = *state;
    struct obj_s3_opts short_opts = opts();
    struct err err = ERR_INIT;
    unsigned failed = 0;
    struct obj *hasty;
    char path[64];

    obj_cases_clear(o);
    obj_cases_file(path, 48 << 20);
    short_opts.timeout_ms = 1000;
    OK(obj_s3_open(&short_opts, &hasty, &err));
    for (size_t i = 0; i < sizeof(after_us) / sizeof(*after_us); i++) {
        unsigned after = after_us[i];
        enum status st, seen;
        pthread_t t;
        uint64_t n;

        assert_int_equal(pthread_create(&t, NULL, killer, &after), 0);
        st = hasty->ops->put_file(hasty, SV(CASES "killed"), path, &err);
        pthread_join(t, NULL);
        failed += st != ST_OK;
        if (st != ST_OK)
            assert_true(st == ST_UNAVAIL || st == ST_TIMEOUT);
        daemon_do("rgw", "");
        seen = o->ops->size(o, SV(CASES "killed"), &n, &err);
        if (seen == ST_OK)
            assert_int_equal(n, 48 << 20);
        else
            assert_int_equal(seen, ST_NOTFOUND);
        if (st == ST_OK)
            assert_int_equal(seen, ST_OK);
        OK(o->ops->put_file(o, SV(CASES "killed"), path, &err));
        OK(o->ops->size(o, SV(CASES "killed"), &n, &err));
        assert_int_equal(n, 48 << 20);
        OK(o->ops->del(o, SV(CASES "killed"), &err));
    }
    assert_true(failed > 0);
    hasty->ops->close(hasty);
    unlink(path);
}

static void *starter(void *arg)
{
    usleep(*(unsigned *)arg);
    daemon_do("rgw", "");
    return NULL;
}

static void a_gateway_that_comes_back_in_time_is_not_noticed(void **state)
{
    struct obj *o = *state;
    struct err err = ERR_INIT;
    unsigned now = 0, soon = 300000;
    pthread_t t;

    obj_cases_clear(o);
    OK(o->ops->put(o, SV(CASES "k"), SV("v"), false, &err));
    killer(&now);
    assert_int_equal(pthread_create(&t, NULL, starter, &soon), 0);
    obj_cases_holds(o, CASES "k", 0, SIZE_MAX, "v");
    pthread_join(t, NULL);
}

/* A dead store behind a living gateway: connections are taken and nothing is ever answered. */
static void a_store_that_never_answers_ends_in_a_timeout(void **state)
{
    struct obj_s3_opts o = opts();
    struct err err = ERR_INIT;

    (void)state;
    o.timeout_ms = 500;
    daemon_do("pause", "osd");
    assert_int_equal(with(&o, &err), ST_TIMEOUT);
    daemon_do("resume", "osd");
}

struct clk_once { /* wrong at its third call alone: at the second part of an upload */
    struct clk base;
    unsigned calls;
};

static int64_t wrong_once(const struct clk *c)
{
    struct clk_once *once = (struct clk_once *)(uintptr_t)c;

    return clk_wall_ms(clk_system()) + (++once->calls == 3 ? 3600000 : 0);
}

static void an_upload_that_fails_leaves_no_parts(void **state)
{
    struct clk_once once = {.base = {wrong_once, mono}};
    struct obj_s3_opts o = opts();
    struct err err = ERR_INIT;
    struct obj *other;
    char path[64];

    (void)state;
    o.clk = &once.base;
    OK(obj_s3_open(&o, &other, &err));
    obj_cases_file(path, 12 << 20);
    uploads_left(0);
    assert_int_equal(other->ops->put_file(other, SV(CASES "parts"), path, &err), ST_INVALID);
    uploads_left(0);
    assert_int_equal(once.calls, 4); /* begin, two parts, abort */
    OK(other->ops->put_file(other, SV(CASES "parts"), path, &err));
    uploads_left(0);
    other->ops->close(other);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OBJ_CASES,
        cmocka_unit_test(a_listing_goes_on_beyond_a_thousand),
        cmocka_unit_test(if_absent_is_refused_when_it_is_there),
        cmocka_unit_test(reads_on_a_kept_connection_do_not_wait_for_acknowledgements),
        cmocka_unit_test(wrong_credentials_are_refused_in_words),
        cmocka_unit_test(a_wrong_clock_is_named),
        cmocka_unit_test(an_upload_that_fails_leaves_no_parts),
        cmocka_unit_test(a_store_that_never_answers_ends_in_a_timeout),
        cmocka_unit_test(a_gateway_that_comes_back_in_time_is_not_noticed),
        cmocka_unit_test(a_gateway_killed_during_an_upload_leaves_nothing_half),
    };

    if (!env("S3_ENDPOINT")[0]) {
        printf("# no gateway: S3_ENDPOINT is not set\n");
        return 77;
    }
    return cmocka_run_group_tests_name(__FILE__, tests, open_bucket, close_bucket);
}
