/* The HTTP client against a server that misbehaves on demand. */
#include "unit.h"

#include "base/heap.h"
#include "http_fake.h"
#include "net/net.h"

#include <fcntl.h>

struct fixture {
    struct http_fake fake;
    struct net *net;
    struct buf body;
    struct net_answer answer;
    struct err err;
    char url[256];
    pthread_mutex_t lock; /* guards seen */
    char seen[8192];      /* the last request, whole */
};

static bool saw(struct fixture *f, const char *text)
{
    bool yes;

    pthread_mutex_lock(&f->lock);
    yes = strstr(f->seen, text) != NULL;
    pthread_mutex_unlock(&f->lock);
    return yes;
}

static bool serve(void *arg, const struct http_fake_request *r)
{
    struct fixture *f = arg;

    pthread_mutex_lock(&f->lock);
    snprintf(f->seen, sizeof(f->seen), "%s", r->text);
    pthread_mutex_unlock(&f->lock);
    if (strstr(r->text, " /plain ")) {
        http_fake_answer(r->fd, "200 OK", "ETag: \"abc\"\r\nRetry-After: 7\r\n", "hello");
    } else if (strstr(r->text, " /missing ")) {
        http_fake_answer(r->fd, "404 Not Found", "", "no such thing");
    } else if (strstr(r->text, " /short ")) {
        http_fake_send(r->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        return false;
    } else if (strstr(r->text, " /silent ")) {
        return true; /* never answered */
    } else if (strstr(r->text, " /drip ")) {
        http_fake_send(r->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        for (int i = 0; i < 60; i++) {
            usleep(20000);
            http_fake_send(r->fd, "x");
        }
    } else if (strstr(r->text, " /close ")) {
        http_fake_answer(r->fd, "200 OK", "", "bye");
        return false; /* without a word: the client finds out at its next request */
    } else if (strstr(r->text, " /moved ")) {
        http_fake_answer(r->fd, "302 Found", "Location: /plain\r\n", "");
    } else if (strstr(r->text, " /head ")) {
        http_fake_send(r->fd, "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
    }
    return true;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    pthread_mutex_init(&f->lock, NULL);
    http_fake_start(&f->fake, serve, f);
    f->net = net_new(4);
    buf_init(&f->body, 1000);
    f->answer.body = &f->body;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    net_free(f->net);
    http_fake_stop(&f->fake);
    buf_fini(&f->body);
    free(f);
    return 0;
}

static enum status ask(struct fixture *f, const char *method, const char *path)
{
    struct net_request r = {.method = method, .url = f->url, .timeout_ms = 5000};

    snprintf(f->url, sizeof(f->url), "%s%s", f->fake.url, path);
    buf_clear(&f->body);
    return net_do(f->net, &r, &f->answer, &f->err);
}

static void an_answer_comes_with_what_its_head_says(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    OK(ask(f, "GET", "/plain"));
    assert_int_equal(f->answer.status, 200);
    assert_string_equal(f->answer.etag, "abc");
    assert_string_equal(f->answer.retry_after, "7");
    assert_int_equal(f->answer.content_length, 5);
    assert_true(sv_is(buf_view(&f->body), "hello"));
    OK(ask(f, "GET", "/missing"));
    assert_int_equal(f->answer.status, 404);
    assert_string_equal(f->answer.etag, "");
    OK(ask(f, "HEAD", "/head"));
    assert_int_equal(f->answer.content_length, 12345);
    OK(ask(f, "GET", "/moved"));
    assert_int_equal(f->answer.status, 302);
}

static void connections_are_kept_and_a_dead_one_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    for (int i = 0; i < 5; i++)
        OK(ask(f, "GET", "/plain"));
    assert_int_equal(f->fake.conns, 1);
    OK(ask(f, "GET", "/close"));
    OK(ask(f, "GET", "/plain"));
    assert_int_equal(f->fake.conns, 2);
}

static void faults_have_their_codes(void **state)
{
    struct fixture *f = *state;
    struct net_request r = {.method = "GET", .timeout_ms = 200};
    struct net_header bad = {SV("x"), SV("a\r\nEvil: 1")};

    assert_int_equal(ask(f, "GET", "/short"), ST_UNAVAIL);
    assert_non_null(strstr(f->err.msg, "/short"));
    r.url = f->url;
    snprintf(f->url, sizeof(f->url), "%s/silent", f->fake.url);
    assert_int_equal(net_do(f->net, &r, &f->answer, &f->err), ST_TIMEOUT);
    snprintf(f->url, sizeof(f->url), "%s/drip", f->fake.url); /* never idle, never done */
    assert_int_equal(net_do(f->net, &r, &f->answer, &f->err), ST_TIMEOUT);
    r.url = "http://127.0.0.1:1/";
    assert_int_equal(net_do(f->net, &r, &f->answer, &f->err), ST_UNAVAIL);
    r.url = "file:///etc/passwd";
    assert_int_equal(net_do(f->net, &r, &f->answer, &f->err), ST_INVALID);
    r.headers = &bad;
    r.headers_n = 1;
    assert_int_equal(net_do(f->net, &r, &f->answer, &f->err), ST_INVALID);
}

static void an_answer_over_the_ceiling_is_refused(void **state)
{
    struct fixture *f = *state;
    struct net_request r = {.method = "GET", .url = f->url, .timeout_ms = 5000};
    struct buf small;

    buf_init(&small, 3);
    f->answer.body = &small;
    snprintf(f->url, sizeof(f->url), "%s/plain", f->fake.url);
    assert_int_equal(net_do(f->net, &r, &f->answer, &f->err), ST_LIMIT);
    f->answer.body = NULL; /* dropped */
    assert_int_equal(net_do(f->net, &r, &f->answer, &f->err), ST_OK);
    buf_fini(&small);
}

static void bodies_are_sent_from_memory_and_from_files(void **state)
{
    struct fixture *f = *state;
    struct net_header h[] = {{SV("x-a"), SV("1")}, {SV("x-empty"), SV("")}};
    struct net_request r = {.method = "PUT", .url = f->url, .timeout_ms = 5000, .headers = h,
                            .headers_n = 2, .body = SV("from memory")};
    struct err err = ERR_INIT;
    char path[] = "/tmp/engram-net-XXXXXX";
    int fd = mkstemp(path);

    snprintf(f->url, sizeof(f->url), "%s/plain", f->fake.url);
    OK(net_do(f->net, &r, &f->answer, &err));
    assert_true(saw(f, "PUT /plain HTTP/1.1\r\n"));
    assert_true(saw(f, "x-a: 1\r\n"));
    assert_true(saw(f, "x-empty:\r\n"));
    assert_true(saw(f, "Content-Length: 11\r\n"));
    assert_false(saw(f, "Expect"));
    assert_true(saw(f, "\r\n\r\nfrom memory"));
    assert_int_equal(write(fd, "0123456789", 10), 10);
    r.method = "POST";
    r.body_fd = fd;
    r.body_off = 3;
    r.body_n = 4;
    OK(net_do(f->net, &r, &f->answer, &err));
    assert_true(saw(f, "POST /plain HTTP/1.1\r\n"));
    assert_true(saw(f, "\r\n\r\n3456"));
    r.body_n = 400; /* more than the file has */
    assert_int_equal(net_do(f->net, &r, &f->answer, &err), ST_IO);
    r = (struct net_request){.method = "POST", .url = f->url, .timeout_ms = 5000};
    OK(net_do(f->net, &r, &f->answer, &err));
    assert_true(saw(f, "Content-Length: 0\r\n"));
    close(fd);
    unlink(path);
}

static void *asker(void *arg)
{
    struct fixture *f = arg;
    char url[256];
    struct net_request r = {.method = "GET", .url = url, .timeout_ms = 20000};

    snprintf(url, sizeof(url), "%s/missing", f->fake.url);
    for (int i = 0; i < 20; i++) {
        struct net_answer a = {0};
        struct err err;

        if (net_do(f->net, &r, &a, &err) != ST_OK || a.status != 404)
            return f;
    }
    return NULL;
}

static bool serve_many(void *arg, const struct http_fake_request *r)
{
    (void)arg;
    http_fake_answer(r->fd, "404 Not Found", "", "no");
    return true;
}

static void threads_share_a_client(void **state)
{
    struct fixture *f = *state;
    pthread_t t[8];
    void *bad;

    f->fake.fn = serve_many;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, asker, f), 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_answer_comes_with_what_its_head_says),
        CASE(connections_are_kept_and_a_dead_one_is_replaced),
        CASE(faults_have_their_codes),
        CASE(an_answer_over_the_ceiling_is_refused),
        CASE(bodies_are_sent_from_memory_and_from_files),
        CASE(threads_share_a_client),
    };

    return RUN(tests);
}
