/* The server over real sockets on 127.0.0.1: what a client sends, byte for byte, and what it gets. */
#include "unit.h"

#include "base/codec.h"
#include "base/heap.h"
#include "base/lock.h"
#include "http/http.h"
#include "http_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#define BODY_MAX 65536

/* What handlers wait for, so that tests decide how long a request runs. */
struct gate {
    struct lock lock;
    struct cond change;
    int inside, finished;
    bool open, saw_gone;
};

struct fixture {
    struct http_server *server;
    struct gate gate;
    struct budget budget;
    struct metrics *metrics;
};

static void echo(void *self, struct http_req *r)
{
    struct buf b;
    struct sv v;

    (void)self;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "path=" SV_FMT " part=" SV_FMT " body=" SV_FMT, SV_ARG(http_req_path(r)),
               SV_ARG(http_req_part(r)), SV_ARG(http_req_body(r)));
    for (size_t i = 0; http_req_param(r, "match[]", i, &v); i++)
        buf_printf(&b, " match=" SV_FMT "(%zu)", SV_ARG(v), v.n);
    buf_printf(&b, " peer=" SV_FMT " loopback=%d id=" SV_FMT, SV_ARG(http_req_peer(r)),
               http_req_loopback(r), SV_ARG(http_req_id(r)));
    http_reply(r, 200, "text/plain; charset=utf-8", &b);
}

static void length(void *self, struct http_req *r)
{
    char text[32];

    (void)self;
    snprintf(text, sizeof(text), "length=%zu", http_req_body(r).n);
    http_reply_text(r, 200, text);
}

static void big(void *self, struct http_req *r)
{
    struct buf b;

    (void)self;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 20000; i++)
        buf_printf(&b, "%d,", i);
    http_reply(r, 200, "application/json", &b);
}

static void gated(void *self, struct http_req *r)
{
    struct gate *g = self;

    lock_take(&g->lock);
    g->inside++;
    cond_broadcast(&g->change);
    while (!g->open && !atomic_load(http_req_gone(r)))
        cond_wait_ns(&g->change, &g->lock, 10000000);
    g->saw_gone |= atomic_load(http_req_gone(r));
    g->finished++;
    cond_broadcast(&g->change);
    lock_drop(&g->lock);
    http_reply_text(r, 200, "done");
}

static void hold(void *self, struct http_req *r) /* somebody else answers later */
{
    _Atomic(struct http_req *) *slot = self;

    atomic_store(slot, r);
}

static void ready(void *self, struct http_req *r)
{
    (void)self;
    http_reply_text(r, 200, "ready");
}

static _Atomic(struct http_req *) held;

static void up_with(struct fixture *f, int64_t timeout_ms, uint64_t memory)
{
    const struct http_route routes[] = {
        {HTTP_GET, "/echo", HTTP_QUERY, echo, NULL, "echo"},
        {HTTP_POST, "/echo", HTTP_QUERY, echo, NULL, "echo"},
        {HTTP_GET, "/label/(*)/values", HTTP_QUERY, echo, NULL, "values"},
        {HTTP_POST, "/push", HTTP_WRITE, length, NULL, "push"},
        {HTTP_GET, "/big", HTTP_QUERY, big, NULL, "big"},
        {HTTP_GET, "/gated", HTTP_ADMIN, gated, &f->gate, "gated"},
        {HTTP_GET, "/hold", HTTP_WRITE, hold, &held, "hold"},
        {HTTP_GET, "/ready", HTTP_INLINE, ready, NULL, "ready"},
    };
    struct http_opts o = {.listen = "127.0.0.1:0",
                          .pollers = 2,
                          .workers = {0, 1, 2, 1},
                          .queue_cap = {0, 8, 8, 1},
                          .body_max_bytes = BODY_MAX,
                          .form_max_bytes = 4096,
                          .arena_max_bytes = 1 << 20,
                          .request_timeout_ms = timeout_ms,
                          .max_connections = 64,
                          .budget = &f->budget};
    struct err err = ERR_INIT;

    memset(f, 0, sizeof(*f));
    lock_init(&f->gate.lock, LOCK_queue);
    cond_init(&f->gate.change);
    budget_init(&f->budget, memory);
    f->metrics = metrics_new();
    o.metrics = f->metrics;
    OK(http_server_start(&o, routes, sizeof(routes) / sizeof(routes[0]), &f->server, &err));
}

static void up(struct fixture *f)
{
    up_with(f, 30000, (uint64_t)1 << 30);
}

static void down(struct fixture *f)
{
    http_server_stop(f->server);
    assert_int_equal(budget_used(&f->budget, BUDGET_HTTP), 0);
    metrics_free(f->metrics);
    cond_fini(&f->gate.change);
    lock_fini(&f->gate.lock);
}

static int dial(struct fixture *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http_server_port(f->server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void say_n(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

        if (k <= 0)
            return; /* the server hung up: the test looks at what it said */
        p += k;
        n -= (size_t)k;
    }
}

static void say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

struct answer {
    int status;
    char head[4096];
    struct buf body;
};

static bool fill(int fd, struct buf *in)
{
    char piece[16384];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t k;

    if (poll(&p, 1, 20000) <= 0)
        return false;
    k = recv(fd, piece, sizeof(piece), 0);
    if (k <= 0)
        return false;
    buf_put(in, piece, (size_t)k);
    return true;
}

/* One answer with Content-Length; what follows it stays in *in. false: the connection ended. */
static bool hear(int fd, struct buf *in, struct answer *a)
{
    size_t end, at, n;
    uint64_t len = 0;
    struct sv line, rest;

    memset(a, 0, sizeof(*a));
    while ((end = sv_search(buf_view(in), SV("\r\n\r\n"))) == SIZE_MAX)
        if (!fill(fd, in))
            return false;
    assert_true(end + 4 < sizeof(a->head));
    memcpy(a->head, in->p, end + 4);
    a->status = (a->head[9] - '0') * 100 + (a->head[10] - '0') * 10 + a->head[11] - '0';
    at = sv_search(sv_of(a->head), SV("Content-Length: "));
    assert_true(at != SIZE_MAX);
    line = sv_cut(sv_sub(sv_of(a->head), at + 16, 20), '\r', &rest);
    assert_true(sv_u64(line, &len));
    while (in->n < end + 4 + len)
        if (!fill(fd, in))
            return false;
    buf_init(&a->body, 1 << 22);
    buf_put(&a->body, in->p + end + 4, len);
    n = in->n - end - 4 - len;
    memmove(in->p, in->p + end + 4 + len, n);
    in->n = n;
    return true;
}

/* A request on a connection of its own; the status, and the body in *body when asked for. */
static int ask(struct fixture *f, const char *request, struct buf *body)
{
    struct answer a;
    struct buf in;
    int fd = dial(f);

    buf_init(&in, 1 << 22);
    say(fd, request);
    assert_true(hear(fd, &in, &a));
    if (body)
        *body = a.body;
    else
        buf_fini(&a.body);
    buf_fini(&in);
    close(fd);
    return a.status;
}

#define HAS(b, text) assert_true(sv_search(buf_view(b), SV(text)) != SIZE_MAX)
#define HEAD_HAS(a, text) assert_true(sv_search(sv_of((a)->head), SV(text)) != SIZE_MAX)

static void wait_inside(struct gate *g, int n)
{
    lock_take(&g->lock);
    while (g->inside < n)
        cond_wait(&g->change, &g->lock);
    lock_drop(&g->lock);
}

static void open_gate(struct gate *g)
{
    lock_take(&g->lock);
    g->open = true;
    cond_broadcast(&g->change);
    lock_drop(&g->lock);
}

static void a_get_is_answered_with_its_parts(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    assert_int_equal(ask(&f, "GET /echo?match[]=a%20b&match%5B%5D=c+d&x=1 HTTP/1.1\r\nHost: x\r\n"
                             "X-Request-Id: abc-1\r\n\r\n", &b), 200);
    HAS(&b, "path=/echo");
    HAS(&b, "match=a b(3) match=c d(3)");
    HAS(&b, "peer=127.0.0.1 loopback=1 id=abc-1");
    buf_fini(&b);
    down(&f);
}

static void a_slash_encoded_in_a_part_stays_in_it(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    assert_int_equal(ask(&f, "GET /label/a%2Fb/values HTTP/1.1\r\nHost: x\r\n\r\n", &b), 200);
    HAS(&b, "part=a/b");
    buf_fini(&b);
    assert_int_equal(ask(&f, "GET /label/a/b/values HTTP/1.1\r\nHost: x\r\n\r\n", NULL), 404);
    assert_int_equal(ask(&f, "GET /label//values HTTP/1.1\r\nHost: x\r\n\r\n", NULL), 404);
    assert_int_equal(ask(&f, "GET /label/a%zz/values HTTP/1.1\r\nHost: x\r\n\r\n", NULL), 400);
    down(&f);
}

static void form_values_come_before_the_query_string(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    assert_int_equal(ask(&f, "POST /echo?match[]=second HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n"
                             "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\r\n"
                             "match[]=fi%72%00t", &b), 200);
    HAS(&b, " match=fir"); /* and a NUL, which does not end it */
    HAS(&b, "(5) match=second(6)");
    buf_fini(&b);
    assert_int_equal(ask(&f, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
                             "Content-Type: text/plain\r\n\r\nmatch[]=x", &b), 200);
    assert_true(sv_search(buf_view(&b), SV(" match=")) == SIZE_MAX);
    buf_fini(&b);
    down(&f);
}

static void unknown_paths_and_methods_are_told(void **state)
{
    struct fixture f;
    struct answer a;
    struct buf in;
    int fd;

    (void)state;
    up(&f);
    assert_int_equal(ask(&f, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", NULL), 404);
    fd = dial(&f);
    buf_init(&in, 1 << 20);
    say(fd, "DELETE /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear(fd, &in, &a));
    assert_int_equal(a.status, 405);
    HEAD_HAS(&a, "Allow: GET, HEAD, POST\r\n");
    buf_fini(&a.body);
    buf_fini(&in);
    close(fd);
    down(&f);
}

static void a_connection_serves_many_requests_also_pipelined(void **state)
{
    struct fixture f;
    struct answer a;
    struct buf in;
    int fd;

    (void)state;
    up(&f);
    fd = dial(&f);
    buf_init(&in, 1 << 20);
    for (int i = 0; i < 3; i++) {
        say(fd, "GET /echo?match[]=one HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(hear(fd, &in, &a));
        assert_int_equal(a.status, 200);
        buf_fini(&a.body);
    }
    say(fd, "GET /echo?match[]=p1 HTTP/1.1\r\nHost: x\r\n\r\n"
            "POST /push HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
            "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear(fd, &in, &a));
    HAS(&a.body, "match=p1");
    buf_fini(&a.body);
    assert_true(hear(fd, &in, &a));
    HAS(&a.body, "length=5");
    buf_fini(&a.body);
    assert_true(hear(fd, &in, &a));
    HAS(&a.body, "ready");
    buf_fini(&a.body);
    buf_fini(&in);
    close(fd);
    down(&f);
}

static void a_body_up_to_the_limit_passes_and_one_over_it_is_413(void **state)
{
    struct fixture f;
    struct answer a;
    struct buf in;
    char head[160];
    char *body = heap_zalloc(BODY_MAX + 1);
    int fd;

    (void)state;
    up(&f);
    fd = dial(&f);
    buf_init(&in, 1 << 20);
    for (int over = 0; over < 2; over++) {
        snprintf(head, sizeof(head), "POST /push HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
                 BODY_MAX + over);
        say(fd, head);
        say_n(fd, body, (size_t)BODY_MAX + (size_t)over);
        assert_true(hear(fd, &in, &a));
        assert_int_equal(a.status, over ? 413 : 200);
        buf_fini(&a.body);
    }
    /* the same connection goes on: the body over the limit was read and thrown away */
    say(fd, "POST /push HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok");
    assert_true(hear(fd, &in, &a));
    HAS(&a.body, "length=2");
    buf_fini(&a.body);
    close(fd);
    buf_clear(&in);
    fd = dial(&f); /* nobody reads a gigabyte, and who asks first is told first */
    say(fd, "POST /push HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n"
            "Expect: 100-continue\r\n\r\n");
    assert_true(hear(fd, &in, &a));
    assert_int_equal(a.status, 413);
    buf_fini(&a.body);
    close(fd);
    assert_int_equal(ask(&f, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n"
                             "Expect: 100-continue\r\n\r\n", NULL), 413); /* forms have their own */
    buf_fini(&in);
    heap_free(body);
    down(&f);
}

static void a_chunked_body_is_bounded_too(void **state)
{
    struct fixture f;
    struct answer a;
    struct buf in;
    char *chunk = heap_zalloc(32768 + 16);
    int fd, i;

    (void)state;
    up(&f);
    fd = dial(&f);
    buf_init(&in, 1 << 20);
    say(fd, "POST /push HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5\r\nhello\r\n3\r\n123\r\n0\r\n\r\n");
    assert_true(hear(fd, &in, &a));
    HAS(&a.body, "length=8");
    buf_fini(&a.body);
    memcpy(chunk, "8000\r\n", 6);
    memcpy(chunk + 6 + 32768, "\r\n", 2);
    say(fd, "POST /push HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (i = 0; i < 4; i++)
        say_n(fd, chunk, 32768 + 8);
    say(fd, "0\r\n\r\n");
    assert_true(hear(fd, &in, &a));
    assert_int_equal(a.status, 413);
    buf_fini(&a.body);
    say(fd, "POST /push HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (i = 0; i < 2100; i++) /* 66 MiB: cut somewhere on the way */
        say_n(fd, chunk, 32768 + 8);
    assert_false(hear(fd, &in, &a));
    close(fd);
    buf_fini(&in);
    heap_free(chunk);
    down(&f);
}

static void answers_are_gzipped_when_asked_for_and_worth_it(void **state)
{
    static const char *const asks[] = {"", "Accept-Encoding: gzip\r\n",
                                       "Accept-Encoding: br, gzip;q=0\r\n",
                                       "Accept-Encoding: deflate, GZIP;q=0.5\r\n"};
    static const bool packed[] = {false, true, false, true};
    struct fixture f;
    char request[256];
    char *plain = heap_zalloc(1 << 20);
    size_t plain_n = 0;

    (void)state;
    up(&f);
    for (int i = 0; i < 4; i++) {
        struct answer a;
        struct buf in;
        int fd = dial(&f);

        buf_init(&in, 1 << 22);
        snprintf(request, sizeof(request), "GET /big HTTP/1.1\r\nHost: x\r\n%s\r\n", asks[i]);
        say(fd, request);
        assert_true(hear(fd, &in, &a));
        assert_int_equal(sv_search(sv_of(a.head), SV("Content-Encoding: gzip")) != SIZE_MAX,
                         packed[i]);
        if (i == 0) {
            plain_n = a.body.n;
            memcpy(plain, a.body.p, plain_n);
        } else if (packed[i]) {
            z_stream z = {0};
            char *out = heap_zalloc(1 << 20);

            assert_true(a.body.n < plain_n / 2);
            assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
            z.next_in = (Bytef *)a.body.p;
            z.avail_in = (uInt)a.body.n;
            z.next_out = (Bytef *)out;
            z.avail_out = 1 << 20;
            assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
            assert_int_equal(z.total_out, plain_n);
            assert_memory_equal(out, plain, plain_n);
            inflateEnd(&z);
            heap_free(out);
        }
        buf_fini(&a.body);
        buf_fini(&in);
        close(fd);
    }
    heap_free(plain);
    down(&f);
}

static void what_does_not_shrink_is_sent_as_it_is(void **state)
{
    char noise[4096];
    struct buf out;

    (void)state;
    random_bytes(noise, sizeof(noise));
    assert_false(http_gzip(sv_make(noise, sizeof(noise)), &out));
    memset(noise, 'a', sizeof(noise));
    assert_true(http_gzip(sv_make(noise, sizeof(noise)), &out));
    assert_true(out.n < 200);
    buf_fini(&out);
}

static void a_full_lane_answers_503_with_retry_after(void **state)
{
    struct fixture f;
    struct answer a;
    struct buf in;
    int fds[2], fd;

    (void)state;
    up(&f);
    fds[0] = dial(&f);
    say(fds[0], "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_inside(&f.gate, 1); /* the one worker is busy */
    fds[1] = dial(&f);
    say(fds[1], "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n"); /* the one place in the queue */
    buf_init(&in, 1 << 20);
    for (;;) { /* the second may not be queued yet: then one of these takes its place */
        struct pollfd p;

        fd = dial(&f);
        say(fd, "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
        p = (struct pollfd){.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 500) > 0)
            break;
        close(fd);
    }
    assert_true(hear(fd, &in, &a));
    assert_int_equal(a.status, 503);
    HEAD_HAS(&a, "Retry-After: ");
    buf_fini(&a.body);
    close(fd);
    assert_int_equal(ask(&f, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", NULL), 200); /* other lanes go on */
    open_gate(&f.gate);
    buf_clear(&in);
    assert_true(hear(fds[0], &in, &a));
    assert_int_equal(a.status, 200);
    buf_fini(&a.body);
    buf_fini(&in);
    close(fds[0]);
    close(fds[1]);
    down(&f);
}

static void a_slow_sender_is_cut(void **state)
{
    static const char *const begins[] = {
        "GET /echo HTT", /* the request line */
        "GET /echo HTTP/1.1\r\nHost: x\r\nX-A: b",
        "POST /push HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"};
    struct fixture f;

    (void)state;
    up_with(&f, 300, (uint64_t)1 << 30);
    for (int i = 0; i < 3; i++) {
        int fd = dial(&f);
        char c;
        ssize_t k;

        say(fd, begins[i]);
        for (;;) { /* drips for as long as it is let: idleness is not what ends it */
            struct pollfd p = {.fd = fd, .events = POLLIN};

            say(fd, "z");
            if (poll(&p, 1, 20) > 0)
                break;
        }
        k = recv(fd, &c, 1, 0);
        assert_true(k == 0 || (k < 0 && errno == ECONNRESET));
        close(fd);
    }
    /* The client sees the cut a moment before it is counted. */
    for (int i = 0; i < 500; i++) {
        if (metric_get(metric_counter(f.metrics, "engram_http_slow_connections_cut_total", "", "")) >= 3)
            break;
        usleep(10000);
    }
    assert_true(metric_get(metric_counter(f.metrics, "engram_http_slow_connections_cut_total", "",
                                          "")) >= 3);
    down(&f);
}

static void a_request_that_runs_is_not_cut_by_its_deadline(void **state)
{
    struct fixture f;
    struct answer a;
    struct buf in;
    int fd, late;

    (void)state;
    up_with(&f, 200, (uint64_t)1 << 30);
    fd = dial(&f);
    buf_init(&in, 1 << 20);
    say(fd, "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_inside(&f.gate, 1);
    late = dial(&f); /* when this one is cut, more than the deadline has passed */
    assert_false(fill(late, &in));
    close(late);
    open_gate(&f.gate);
    assert_true(hear(fd, &in, &a));
    assert_int_equal(a.status, 200);
    buf_fini(&a.body);
    buf_fini(&in);
    close(fd);
    down(&f);
}

static void a_client_that_goes_away_is_noticed(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    up(&f);
    fd = dial(&f);
    say(fd, "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_inside(&f.gate, 1);
    close(fd);
    lock_take(&f.gate.lock);
    while (f.gate.finished < 1) /* the gate stays shut: only `gone` ends it */
        cond_wait(&f.gate.change, &f.gate.lock);
    assert_true(f.gate.saw_gone);
    lock_drop(&f.gate.lock);
    down(&f);
}

static void a_reply_may_come_later_from_another_thread(void **state)
{
    struct fixture f;
    struct answer a;
    struct buf in;
    struct http_req *r;
    int fd;

    (void)state;
    up(&f);
    fd = dial(&f);
    buf_init(&in, 1 << 20);
    atomic_store(&held, NULL);
    say(fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!(r = atomic_load(&held)))
        sched_yield();
    http_reply_header(r, "X-Engram-Test", "yes");
    http_reply_text(r, 422, "later");
    assert_true(hear(fd, &in, &a));
    assert_int_equal(a.status, 422);
    HEAD_HAS(&a, "X-Engram-Test: yes\r\n");
    HEAD_HAS(&a, "X-Content-Type-Options: nosniff\r\n");
    buf_fini(&a.body);
    buf_fini(&in);
    close(fd);
    down(&f);
}

static void draining_refuses_new_requests_but_says_whether_ready(void **state)
{
    struct fixture f;

    (void)state;
    up(&f);
    http_server_refuse(f.server);
    assert_int_equal(ask(&f, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", NULL), 503);
    assert_int_equal(ask(&f, "POST /push HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", NULL), 503);
    assert_int_equal(ask(&f, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n", NULL), 200);
    down(&f);
}

static void *open_soon(void *arg)
{
    struct gate *g = arg;

    wait_inside(g, 1);
    usleep(50000); /* the stop has begun by now, or begins later: both must end well */
    open_gate(g);
    return NULL;
}

static void stopping_lets_running_requests_finish(void **state)
{
    struct fixture f;
    struct answer a;
    struct buf in;
    pthread_t t;
    int fd, idle;

    (void)state;
    up(&f);
    idle = dial(&f);
    fd = dial(&f);
    buf_init(&in, 1 << 20);
    say(fd, "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_inside(&f.gate, 1);
    assert_int_equal(pthread_create(&t, NULL, open_soon, &f.gate), 0);
    http_server_stop(f.server);
    pthread_join(t, NULL);
    assert_true(hear(fd, &in, &a));
    assert_int_equal(a.status, 200);
    buf_fini(&a.body);
    buf_fini(&in);
    close(fd);
    close(idle);
    metrics_free(f.metrics);
    cond_fini(&f.gate.change);
    lock_fini(&f.gate.lock);
}

static void a_body_without_room_in_the_budget_is_503(void **state)
{
    struct fixture f;
    char *body = heap_zalloc(40000);
    char head[128];
    struct answer a;
    struct buf in;
    int fd;

    (void)state;
    up_with(&f, 30000, 20000);
    fd = dial(&f);
    buf_init(&in, 1 << 20);
    snprintf(head, sizeof(head), "POST /push HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n");
    say(fd, head);
    say_n(fd, body, 40000);
    assert_true(hear(fd, &in, &a));
    assert_int_equal(a.status, 503);
    HEAD_HAS(&a, "Retry-After: ");
    buf_fini(&a.body);
    buf_fini(&in);
    close(fd);
    heap_free(body);
    down(&f);
}

static void parameters_have_a_ceiling(void **state)
{
    struct arena arena;
    struct http_param *p = NULL;
    struct err err = ERR_INIT;
    size_t n = 0;
    struct buf b;

    (void)state;
    arena_init(&arena, 4 << 20);
    OK(http_params_parse(&arena, SV("a=1&&=2&b&c=%zz&d;e=1&f=%c3%a4"), &p, &n, &err));
    assert_int_equal(n, 4); /* nothing, a bad escape and a semicolon are left out, as Go does */
    assert_true(sv_is(p[1].name, "") && sv_is(p[1].value, "2"));
    assert_true(sv_is(p[2].name, "b") && p[2].value.n == 0 && p[2].value.p);
    assert_true(sv_is(p[3].value, "\xc3\xa4"));
    buf_init(&b, 1 << 20);
    for (int i = 0; i <= HTTP_PARAMS_MAX; i++)
        buf_str(&b, "a=1&");
    assert_int_equal(http_params_parse(&arena, buf_view(&b), &p, &n, &err), ST_INVALID);
    buf_fini(&b);
    arena_fini(&arena);
    arena_init(&arena, 64);
    n = 0;
    assert_int_equal(http_params_parse(&arena, SV("a=1&b=2&c=3"), &p, &n, &err), ST_LIMIT);
    arena_fini(&arena);
}

static void addresses_are_refused_by_name(void **state)
{
    static const char *const bad[] = {"127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "::1:9",
                                      "no.such.host.invalid:1"};
    struct err err = ERR_INIT;
    unsigned port;
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(http_listen(bad[i], &fd, &port, &err), ST_INVALID);
        assert_non_null(strstr(err.msg, bad[i]));
    }
    OK(http_listen("localhost:0", &fd, &port, &err));
    assert_true(port > 0);
    close(fd);
}

static void the_metrics_tell_what_happened(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    ask(&f, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", NULL);
    ask(&f, "POST /push HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", NULL);
    buf_init(&b, 1 << 20);
    metrics_render(f.metrics, &b);
    HAS(&b, "engram_http_requests_total{route=\"echo\",code=\"200\"} 1\n");
    HAS(&b, "engram_http_requests_total{route=\"push\",code=\"200\"} 1\n");
    HAS(&b, "engram_http_request_body_bytes_total 3\n");
    HAS(&b, "engram_http_request_seconds_count{route=\"echo\"} 1\n");
    buf_fini(&b);
    down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_is_answered_with_its_parts),
        cmocka_unit_test(a_slash_encoded_in_a_part_stays_in_it),
        cmocka_unit_test(form_values_come_before_the_query_string),
        cmocka_unit_test(unknown_paths_and_methods_are_told),
        cmocka_unit_test(a_connection_serves_many_requests_also_pipelined),
        cmocka_unit_test(a_body_up_to_the_limit_passes_and_one_over_it_is_413),
        cmocka_unit_test(a_chunked_body_is_bounded_too),
        cmocka_unit_test(answers_are_gzipped_when_asked_for_and_worth_it),
        cmocka_unit_test(what_does_not_shrink_is_sent_as_it_is),
        cmocka_unit_test(a_full_lane_answers_503_with_retry_after),
        cmocka_unit_test(a_slow_sender_is_cut),
        cmocka_unit_test(a_request_that_runs_is_not_cut_by_its_deadline),
        cmocka_unit_test(a_client_that_goes_away_is_noticed),
        cmocka_unit_test(a_reply_may_come_later_from_another_thread),
        cmocka_unit_test(draining_refuses_new_requests_but_says_whether_ready),
        cmocka_unit_test(stopping_lets_running_requests_finish),
        cmocka_unit_test(a_body_without_room_in_the_budget_is_503),
        cmocka_unit_test(parameters_have_a_ceiling),
        cmocka_unit_test(addresses_are_refused_by_name),
        cmocka_unit_test(the_metrics_tell_what_happened),
    };
    return RUN(tests);
}
