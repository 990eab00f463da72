/* The routes over a real server, with the rooms below faked here: what goes down, what comes back.
 * The fakes are this file's functions of the same names; the linker finds them first. */
#include "unit.h"

#include "api_int.h"
#include "base/heap.h"
#include "wire/wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- fakes: what they were asked, what they shall say --- */

static struct {
    bool header_mode;
    enum status unsnap, decode, push, durable, flush;
    bool refuse, memory_only, later; /* later: durable calls back from another thread */
    int flushes;
    char flushed[64];
    struct fe_query asked;
    char text[256], tenant[64];
    enum status fe;
    const char *fe_error;
    bool names_cut;
    size_t selectors, limit;
} fake;

enum status tenant_who(struct tenants *t, struct sv header, struct sv id, struct arena *arena,
                       struct who *ret, struct err *err)
{
    static struct limits limits;

    (void)t;
    if (fake.header_mode && !header.n)
        return err_set(err, ST_UNAUTH, "no org id");
    if (fake.header_mode && sv_find(header, '|') != SIZE_MAX)
        return err_set(err, ST_INVALID, "tenant id: bad character");
    if (!limits.max_query_response_size)
        limits.max_query_response_size = 100000;
    *ret = (struct who){.tenant = fake.header_mode ? arena_sv(arena, header) : SV("anonymous"),
                        .limits = &limits,
                        .request_id = id};
    return ST_OK;
}

void tenant_done(struct who *who)
{
    (void)who;
}

enum status wire_unsnap(struct sv in, size_t max, struct arena *arena, struct sv *ret,
                        struct err *err)
{
    (void)max, (void)arena;
    if (fake.unsnap != ST_OK)
        return err_set(err, fake.unsnap, "bad snappy");
    *ret = in;
    return ST_OK;
}

enum status wire_write_v1(struct sv body, struct batch *batch, struct err *err)
{
    (void)body, (void)batch;
    return fake.decode == ST_OK ? ST_OK : err_set(err, fake.decode, "bad protobuf");
}

uint64_t dist_alias_key(const struct dist *d)
{
    (void)d;
    return 7;
}

enum status dist_push(struct dist *d, const struct who *who, const struct batch *batch,
                      struct append_result *ret, struct err *err)
{
    (void)d, (void)batch;
    snprintf(fake.tenant, sizeof(fake.tenant), SV_FMT, SV_ARG(who->tenant));
    if (fake.push != ST_OK)
        return err_set(err, fake.push, "push failed");
    if (fake.refuse) {
        ret->samples[fake.memory_only ? VERDICT_MEMORY : VERDICT_TOO_OLD] = 1;
        snprintf(ret->why, sizeof(ret->why), "refused");
    }
    ret->log_pos = 11;
    return ST_OK;
}

struct late {
    wal_done fn;
    void *arg;
};

static void *call_late(void *arg)
{
    struct late *l = arg;

    usleep(20000);
    l->fn(l->arg, fake.durable, NULL);
    heap_free(l);
    return NULL;
}

void dist_durable(struct dist *d, uint64_t pos, wal_done fn, void *arg)
{
    struct err err = ERR_INIT;

    (void)d;
    assert_int_equal(pos, 11);
    if (fake.later) {
        struct late *l = heap_new(struct late);
        pthread_t t;

        *l = (struct late){fn, arg};
        assert_int_equal(pthread_create(&t, NULL, call_late, l), 0);
        pthread_detach(t);
    } else if (fake.durable != ST_OK) {
        err_set(&err, fake.durable, "the disk is gone");
        fn(arg, fake.durable, &err);
    } else {
        fn(arg, ST_OK, NULL);
    }
}

void dist_refusal_text(const struct append_result *r, struct sv tenant, struct buf *out)
{
    if (r->why[0])
        buf_printf(out, "user=" SV_FMT ": %s", SV_ARG(tenant), r->why);
}

enum status fe_run(struct fe *f, const struct query_ctx *ctx, const struct fe_query *q,
                   struct value **ret, struct fe_stats *stats, struct err *err)
{
    struct value *v = arena_new(ctx->arena, struct value);
    struct row *row = arena_new(ctx->arena, struct row);
    int64_t *t = arena_new(ctx->arena, int64_t);
    double *x = arena_new(ctx->arena, double);
    struct sv *warning = arena_new(ctx->arena, struct sv);

    (void)f;
    fake.asked = *q;
    snprintf(fake.text, sizeof(fake.text), SV_FMT, SV_ARG(q->text));
    *stats = (struct fe_stats){.hit = 1, .miss = 2, .bypass = 3, .total_ns = 1500000};
    if (fake.fe != ST_OK)
        return err_set(err, fake.fe, "%s", fake.fe_error);
    *t = q->start_ms;
    *x = 2;
    *row = (struct row){.t_ms = t, .f = x, .n = 1};
    *warning = SV("careful");
    *v = (struct value){.kind = q->range ? VALUE_MATRIX : VALUE_SCALAR, .rows = row, .rows_n = 1,
                        .warnings = warning, .warnings_n = 1};
    *ret = v;
    return ST_OK;
}

/* "up" is a selector, "{}" one without a non-empty matcher, all else a parse error. */
enum status promql_parse_selector(struct arena *arena, struct sv text, struct expr **ret,
                                  struct err *err)
{
    struct expr *e = arena_new(arena, struct expr);
    struct matcher **m = arena_new(arena, struct matcher *);

    if (!sv_is(text, "up") && !sv_is(text, "{}"))
        return err_set(err, ST_INVALID, "1:1: parse error: unexpected character");
    e->kind = EXPR_VECTOR;
    if (text.n == 2 && text.p[0] == 'u') {
        TRY(matcher_new(MATCH_EQ, SV("__name__"), text, m, err));
        e->vector.matchers = m;
        e->vector.matchers_n = 1;
    }
    *ret = e;
    return ST_OK;
}

enum status promql_parse(struct arena *arena, struct sv text, const struct promql_opts *opts,
                         struct expr **ret, struct err *err)
{
    (void)opts;
    if (sv_find(text, '(') != SIZE_MAX)
        return err_set(err, ST_INVALID, "1:1: parse error: unclosed left parenthesis");
    *ret = arena_new(arena, struct expr);
    return ST_OK;
}

void expr_free(struct expr *e)
{
    for (size_t i = 0; e && e->kind == EXPR_VECTOR && i < e->vector.matchers_n; i++)
        matcher_free(e->vector.matchers[i]);
}

void promql_pretty(struct buf *out, const struct expr *e)
{
    (void)e;
    buf_str(out, "a < b");
}

void promql_json(struct buf *out, const struct expr *e)
{
    (void)e;
    buf_str(out, "{\"type\":\"x\"}");
}

enum status ingester_flush(struct ingester *i, struct sv tenant, ingester_block_visit visit,
                           void *arg, struct err *err)
{
    struct block_meta m = {.ulid = "01J0000000000000000000000A", .range = {1, 2}, .num_series = 3,
                           .level = 1, .tenant = "anonymous"};

    (void)i;
    snprintf(fake.flushed, sizeof(fake.flushed), SV_FMT, SV_ARG(tenant.p ? tenant : SV("(all)")));
    __atomic_add_fetch(&fake.flushes, 1, __ATOMIC_SEQ_CST);
    if (fake.flush != ST_OK)
        return err_set(err, fake.flush, "the bucket is down");
    visit(arg, &m);
    visit(arg, &m);
    return ST_OK;
}

static enum status fake_names(const struct storage *s, const struct query_ctx *ctx,
                              const struct select_req *reqs, size_t n, struct trange range,
                              size_t limit, struct names *ret, struct err *err)
{
    struct sv *p = arena_array(ctx->arena, 2, sizeof(*p));

    (void)s, (void)reqs, (void)range, (void)err;
    fake.selectors = n;
    fake.limit = limit;
    p[0] = SV("a<b");
    p[1] = SV("job");
    *ret = (struct names){p, 2, fake.names_cut, true};
    return ST_OK;
}

static enum status fake_values(const struct storage *s, const struct query_ctx *ctx, struct sv name,
                               const struct select_req *reqs, size_t n, struct trange range,
                               size_t limit, struct names *ret, struct err *err)
{
    struct sv *p = arena_new(ctx->arena, struct sv);

    (void)s, (void)reqs, (void)range, (void)limit, (void)err;
    fake.selectors = n;
    *p = arena_sv(ctx->arena, name);
    *ret = (struct names){p, 1, false, true};
    return ST_OK;
}

struct fake_set {
    struct series_set set;
    size_t at;
    struct label l[1];
};

static enum status set_next(struct series_set *s, bool *ret_more, struct err *err)
{
    static const struct sv values[] = {SV("x<"), SV("y"), SV("z")};
    struct fake_set *f = (struct fake_set *)s;

    (void)err;
    *ret_more = f->at < 3;
    if (*ret_more) {
        f->l[0] = (struct label){SV("job"), values[f->at++]};
        s->labels = (struct labels){f->l, 1};
    }
    s->outcome.complete = true;
    return ST_OK;
}

static void set_close(struct series_set *s)
{
    heap_free(s);
}

static enum status fake_select(const struct storage *s, const struct query_ctx *ctx,
                               const struct select_req *req, struct series_set **ret,
                               struct err *err)
{
    static const struct series_set_ops ops = {.next = set_next, .close = set_close};
    struct fake_set *f = heap_new(struct fake_set);

    (void)s, (void)ctx, (void)err;
    assert_true(req->hints.labels_only);
    f->set.ops = &ops;
    *ret = &f->set;
    return ST_OK;
}

/* --- the fixture --- */

struct fixture {
    struct api *api;
    struct http_server *server;
    struct budget budget;
    struct metrics *metrics;
    struct storage storage;
};

static int64_t wall(const struct clk *c)
{
    (void)c;
    return 1700000000123;
}

static int64_t mono(const struct clk *c)
{
    (void)c;
    return 1;
}

static const struct clk clock_fake = {wall, mono};

static void up_with(struct fixture *f, const char *const *proxies, size_t proxies_n, bool admin)
{
    static const struct storage_ops ops = {fake_select, fake_names, fake_values, NULL};
    struct api_opts o = {.tenants = (struct tenants *)f, .dist = (struct dist *)f,
                         .fe = (struct fe *)f, .storage = &f->storage,
                         .ingester = (struct ingester *)f, .clk = &clock_fake,
                         .budget = &f->budget, .push_decoded_max_bytes = 1000,
                         .admin_loopback_only = true, .version = "1.2", .revision = "r",
                         .trusted_proxies = proxies, .trusted_n = proxies_n};
    struct http_opts h = {.listen = "127.0.0.1:0", .pollers = 1, .workers = {0, 2, 2, 1},
                          .queue_cap = {0, 8, 8, 8}, .body_max_bytes = 4096,
                          .form_max_bytes = 4096, .arena_max_bytes = 1 << 20,
                          .request_timeout_ms = 30000, .max_connections = 16,
                          .budget = &f->budget};
    const struct http_route *routes;
    struct err err = ERR_INIT;
    size_t n;

    f->storage.ops = &ops;
    budget_init(&f->budget, 1 << 30);
    f->metrics = metrics_new();
    o.metrics = h.metrics = f->metrics;
    f->api = api_new(&o);
    routes = admin ? api_admin_routes(f->api, &n) : api_routes(f->api, &n);
    OK(http_server_start(&h, routes, n, &f->server, &err));
}

static void up(struct fixture *f)
{
    memset(&fake, 0, sizeof(fake));
    up_with(f, NULL, 0, false);
}

static void down(struct fixture *f)
{
    http_server_stop(f->server);
    api_free(f->api);
    assert_int_equal(budget_used(&f->budget, BUDGET_HTTP), 0);
    metrics_free(f->metrics);
}

/* Sends the request, reads to the end (Connection: close), gives the status; head and body in *ret. */
static int ask(struct fixture *f, struct buf *ret, const char *fmt, ...) PRINTF(3, 4);
static int ask(struct fixture *f, struct buf *ret, const char *fmt, ...)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http_server_port(f->server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char piece[4096];
    struct buf q;
    va_list ap;
    ssize_t k;

    buf_init(&q, 1 << 16);
    va_start(ap, fmt);
    buf_vprintf(&q, fmt, ap);
    va_end(ap);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(send(fd, q.p, q.n, MSG_NOSIGNAL), q.n);
    buf_fini(&q);
    buf_init(ret, 1 << 20);
    while ((k = recv(fd, piece, sizeof(piece), 0)) > 0)
        buf_put(ret, piece, (size_t)k);
    close(fd);
    buf_ch(ret, '\0');
    assert_true(ret->n > 12);
    return (ret->p[9] - '0') * 100 + (ret->p[10] - '0') * 10 + ret->p[11] - '0';
}

#define CLOSE " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
#define HAS(b, text)                                                                               \
    do {                                                                                           \
        if (!strstr((b)->p, text))                                                                 \
            fail_msg("no %s in %s", text, (b)->p);                                                 \
        buf_fini(b);                                                                               \
    } while (0)

static int get(struct fixture *f, struct buf *b, const char *path, const char *headers)
{
    return ask(f, b, "GET %s" CLOSE "%s\r\n", path, headers);
}

static int push(struct fixture *f, struct buf *b, const char *headers)
{
    return ask(f, b, "POST /api/v1/push" CLOSE "Content-Length: 5\r\n%s\r\n\x04hell", headers);
}

/* --- push --- */

static void a_push_is_answered_once_the_log_is_durable(void **state)
{
    static const char *const paths[] = {"/api/v1/push", "/api/v1/write", "/api/prom/push",
                                        "/prometheus/api/v1/push", "/prometheus/api/v1/write"};
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    for (int late = 0; late < 2; late++)
        for (size_t i = 0; i < 5; i++) {
            fake.later = late;
            assert_int_equal(ask(&f, &b, "POST %s" CLOSE "Content-Length: 5\r\n\r\n\x04hell",
                                 paths[i]), 200);
            HAS(&b, "Content-Length: 0\r\n");
        }
    assert_string_equal(fake.tenant, "anonymous");
    assert_int_equal(get(&f, &b, "/api/v1/push", ""), 405);
    buf_fini(&b);
    down(&f);
}

static void unknown_encodings_and_types_are_415(void **state)
{
    static const struct {
        const char *headers;
        int status;
    } cases[] = {{"Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n", 200},
                 {"Content-Type: application/x-protobuf;proto=prometheus.WriteRequest\r\n", 200},
                 {"Content-Type: application/x-protobuf; proto=\"prometheus.WriteRequest\"\r\n", 200},
                 {"Content-Encoding: gzip\r\n", 415},
                 {"Content-Encoding: snappy, gzip\r\n", 415},
                 {"Content-Type: application/json\r\n", 415},
                 {"Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n", 415}};
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(push(&f, &b, cases[i].headers), cases[i].status);
        buf_fini(&b);
    }
    down(&f);
}

static void what_a_push_fails_of_decides_its_status(void **state)
{
    static const struct {
        enum status unsnap, decode, push, durable;
        int status;
        const char *text;
    } cases[] = {{ST_INVALID, 0, 0, 0, 400, "bad snappy"},
                 {ST_TOOBIG, 0, 0, 0, 413, "bad snappy"},
                 {0, ST_INVALID, 0, 0, 400, "bad protobuf"},
                 {0, ST_LIMIT, 0, 0, 413, "of memory when decoded"},
                 {0, 0, ST_RATE, 0, 429, "Retry-After: "},
                 {0, 0, ST_UNAVAIL, 0, 503, "Retry-After: "},
                 {0, 0, ST_FULL, 0, 503, "push failed"},
                 {0, 0, ST_IO, 0, 503, "Retry-After: "},
                 {0, 0, 0, ST_IO, 503, "the disk is gone"},
                 {0, 0, 0, ST_FULL, 503, "Retry-After: "}};
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fake.unsnap = cases[i].unsnap;
        fake.decode = cases[i].decode;
        fake.push = cases[i].push;
        fake.durable = cases[i].durable;
        assert_int_equal(push(&f, &b, ""), cases[i].status);
        HAS(&b, cases[i].text);
    }
    memset(&fake, 0, sizeof(fake));
    fake.later = true;
    fake.durable = ST_IO;
    assert_int_equal(push(&f, &b, ""), 503);
    HAS(&b, "the write-ahead log failed");
    /* announces 2^21 bytes */
    assert_int_equal(ask(&f, &b, "POST /api/v1/push" CLOSE "Content-Length: 4\r\n\r\n\x80\x80\x80\x01"), 413);
    HAS(&b, "over the limit of 1000");
    down(&f);
}

static void refused_series_are_told_and_memory_asks_to_come_again(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    fake.refuse = true;
    assert_int_equal(push(&f, &b, ""), 400);
    HAS(&b, "user=anonymous: refused\n");
    fake.memory_only = true;
    assert_int_equal(push(&f, &b, ""), 429);
    HAS(&b, "Retry-After: ");
    down(&f);
}

static void header_mode_wants_a_tenant(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    memset(&fake, 0, sizeof(fake));
    fake.header_mode = true;
    up_with(&f, NULL, 0, false);
    assert_int_equal(push(&f, &b, ""), 401);
    HAS(&b, "\r\n\r\nno org id\n");
    assert_int_equal(get(&f, &b, "/api/v1/labels", "X-Scope-OrgID: a|b\r\n"), 400);
    buf_fini(&b);
    assert_int_equal(push(&f, &b, "X-Scope-OrgID: team-1\r\n"), 200);
    buf_fini(&b);
    assert_string_equal(fake.tenant, "team-1");
    down(&f);
}

static void two_tenants_in_one_request_are_none(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    memset(&fake, 0, sizeof(fake));
    fake.header_mode = true;
    up_with(&f, NULL, 0, false);
    assert_int_equal(get(&f, &b, "/api/v1/labels", "X-Scope-OrgID: mine\r\nx-scope-orgid: yours\r\n"),
                     400);
    HAS(&b, "more than once");
    down(&f);
}

static void pages_of_other_origins_may_not_write(void **state)
{
    static const char *const sites[] = {"none", "same-origin", "same-site", "cross-site"};
    struct fixture f;
    struct buf b;
    char header[64];

    (void)state;
    up(&f);
    for (int i = 0; i < 4; i++) {
        snprintf(header, sizeof(header), "Sec-Fetch-Site: %s\r\n", sites[i]);
        assert_int_equal(push(&f, &b, header), i < 2 ? 200 : 403);
        buf_fini(&b);
        assert_int_equal(ask(&f, &b, "POST /api/v1/admin/flush?wait=1" CLOSE
                                     "Content-Length: 0\r\n%s\r\n", header), i < 2 ? 200 : 403);
        buf_fini(&b);
    }
    down(&f);
}

static void loopback_is_trusted_beside_the_proxies(void **state)
{
    static const char *const proxies[] = {"192.0.2.0/24"};
    struct fixture f;
    struct buf b;

    (void)state;
    memset(&fake, 0, sizeof(fake));
    fake.header_mode = true;
    up_with(&f, proxies, 1, false);
    assert_int_equal(get(&f, &b, "/api/v1/labels", "X-Scope-OrgID: t\r\n"), 200);
    buf_fini(&b);
    down(&f);
}

/* --- queries --- */

static void an_instant_query_answers_grafanas_test(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    assert_int_equal(ask(&f, &b, "POST /prometheus/api/v1/query" CLOSE
                                 "Content-Type: application/x-www-form-urlencoded\r\n"
                                 "Content-Length: 18\r\n\r\nquery=1%%2B1&time=4"), 200);
    assert_string_equal(fake.text, "1+1");
    assert_int_equal(fake.asked.start_ms, 4000);
    assert_non_null(strstr(b.p, "X-Engram-Cache: hit=1 miss=2 bypass=3\r\n"));
    assert_non_null(strstr(b.p, "Server-Timing: queue;dur=0.000, eval;dur=0.000, total;dur=1.500\r\n"));
    assert_non_null(strstr(b.p, "Content-Type: application/json\r\n"));
    HAS(&b, "\r\n\r\n{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":"
            "[4,\"2\"]},\"warnings\":[\"careful\"]}");
    assert_int_equal(get(&f, &b, "/api/v1/query?query=x&limit=7&timeout=1.5&lookback_delta=1m",
                         "Cache-Control: no-cache, no-store\r\n"), 200);
    buf_fini(&b);
    assert_int_equal(fake.asked.start_ms, 1700000000123); /* now */
    assert_int_equal(fake.asked.limit, 7);
    assert_int_equal(fake.asked.timeout_ms, 1500);
    assert_int_equal(fake.asked.lookback_ms, 60000);
    assert_true(fake.asked.no_cache);
    down(&f);
}

static void a_range_query_passes_its_range(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    assert_int_equal(get(&f, &b, "/api/v1/query_range?query=up&start=10.5&end=20&step=5s", ""), 200);
    HAS(&b, "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{},\"values\":[[10.500,\"2\"]]}]}");
    assert_true(fake.asked.range);
    assert_int_equal(fake.asked.start_ms, 10500);
    assert_int_equal(fake.asked.end_ms, 20000);
    assert_int_equal(fake.asked.step_ms, 5000);
    assert_false(fake.asked.no_cache);
    down(&f);
}

static void bad_parameters_are_named(void **state)
{
    static const struct {
        const char *path, *text;
    } cases[] = {
        {"query?query=up&time=x", "\"error\":\"invalid parameter \\\"time\\\": invalid time value for "
                                  "'time': cannot parse \\\"x\\\" to a valid timestamp\""},
        {"query?query=up&timeout=x", "invalid parameter \\\"timeout\\\": cannot parse \\\"x\\\" to a "
                                     "valid duration"},
        {"query?query=up&limit=-1", "invalid parameter \\\"limit\\\": limit must be non-negative"},
        {"query?query=up&limit=x", "invalid parameter \\\"limit\\\": strconv.Atoi: parsing \\\"x\\\": "
                                   "invalid syntax"},
        {"query_range?query=up&start=1&end=2&step=0", "zero or negative query resolution step"},
        {"query_range?query=up&end=2&step=1", "invalid parameter \\\"start\\\": cannot parse \\\"\\\""},
        {"query_range?query=up&start=9223372036854775807&end=9223372036854775807&step=1",
         "invalid parameter \\\"start\\\""},
        {"series", "no match[] parameter provided"},
        {"series?match[]=(", "invalid parameter \\\"match[]\\\": 1:1: parse error"},
        {"labels?match[]={}", "match[] must contain at least one non-empty matcher"},
        {"label/%ff/values", "invalid label name"},
        {"format_query?query=(", "invalid parameter \\\"query\\\": 1:1: parse error: unclosed"},
        {"query_exemplars?query=(", "1:1: parse error"},
        {"metadata?limit=x", "limit must be a number"}};
    struct fixture f;
    struct buf b;
    char path[256];

    (void)state;
    up(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(path, sizeof(path), "/api/v1/%s", cases[i].path);
        if (get(&f, &b, path, "") != 400)
            fail_msg("%s: %s", path, b.p);
        assert_non_null(strstr(b.p, "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":"));
        HAS(&b, cases[i].text);
    }
    down(&f);
}

static void errors_of_evaluation_keep_their_kind(void **state)
{
    static const struct {
        enum status st;
        const char *text;
        int status;
        const char *want;
    } cases[] = {{ST_INVALID, "1:5: parse error: unexpected end of input", 400,
                  "\"bad_data\",\"error\":\"invalid parameter \\\"query\\\": 1:5: parse error"},
                 {ST_EXEC, "many-to-many <x>", 422,
                  "\"execution\",\"error\":\"many-to-many \\u003cx\\u003e\"}"},
                 {ST_TIMEOUT, "query timed out", 503, "\"timeout\""},
                 {ST_RATE, "too many outstanding requests", 429, "Retry-After: "},
                 {ST_CANCELED, "gone", 499, "\"canceled\""},
                 {ST_INVALID, "the query time range exceeds the limit", 400,
                  "\"error\":\"the query time range"}};
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fake.fe = cases[i].st;
        fake.fe_error = cases[i].text;
        assert_int_equal(get(&f, &b, "/api/v1/query?query=x", ""), cases[i].status);
        HAS(&b, cases[i].want);
    }
    down(&f);
}

static void names_values_and_series_are_lists(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    fake.names_cut = true;
    assert_int_equal(get(&f, &b, "/api/v1/labels?match[]=up&match[]=up&limit=40000", ""), 200);
    assert_int_equal(fake.selectors, 2);
    assert_int_equal(fake.limit, 40000);
    HAS(&b, "{\"status\":\"success\",\"data\":[\"a\\u003cb\",\"job\"],"
            "\"warnings\":[\"results truncated due to limit\"]}");
    assert_int_equal(get(&f, &b, "/prometheus/api/v1/label/U__a_2e_b__c/values", ""), 200);
    HAS(&b, "\"data\":[\"a.b_c\"]}");
    assert_int_equal(get(&f, &b, "/api/v1/series?match[]=up&match[]=up", ""), 200);
    HAS(&b, "\"data\":[{\"job\":\"x<\"},{\"job\":\"y\"},{\"job\":\"z\"}]}"); /* once each */
    assert_int_equal(get(&f, &b, "/api/v1/series?match[]=up&limit=2", ""), 200);
    HAS(&b, "\"data\":[{\"job\":\"x<\"},{\"job\":\"y\"}],"
            "\"warnings\":[\"results truncated due to limit\"]}");
    down(&f);
}

static void small_routes_answer(void **state)
{
    static const struct {
        const char *path, *data;
    } cases[] = {{"rules", "{\"groups\":[]}"},
                 {"alerts", "{\"alerts\":[]}"},
                 {"metadata", "{}"},
                 {"query_exemplars?query=test&start=1700000000.123&end=1700000060.5", "[]"},
                 {"format_query?query=a", "\"a \\u003c b\""},
                 {"parse_query?query=a", "{\"type\":\"x\"}"},
                 {"status/buildinfo", "{\"version\":\"1.2\",\"revision\":\"r\",\"branch\":\"\","
                                      "\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\","
                                      "\"application\":\"engram\"}"}};
    struct fixture f;
    struct buf b;
    char text[512];

    (void)state;
    up(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "/api/v1/%s", cases[i].path);
        assert_int_equal(get(&f, &b, text, ""), 200);
        snprintf(text, sizeof(text), "{\"status\":\"success\",\"data\":%s}", cases[i].data);
        HAS(&b, text);
    }
    assert_int_equal(get(&f, &b, "/api/v1/targets", ""), 404);
    buf_fini(&b);
    down(&f);
}

static void ready_says_why_not(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    assert_int_equal(get(&f, &b, "/ready", ""), 200);
    HAS(&b, "\r\n\r\nready\n");
    api_set_unready(f.api, "the bucket has not been listed yet");
    assert_int_equal(get(&f, &b, "/ready", ""), 503);
    HAS(&b, "the bucket has not been listed yet\n");
    assert_int_equal(get(&f, &b, "/metrics", ""), 200);
    HAS(&b, "engram_http_requests_total{route=\"ready\",code=\"503\"} 1\n");
    down(&f);
}

/* --- admin --- */

static void flush_lists_the_blocks_it_waited_for(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f);
    assert_int_equal(ask(&f, &b, "POST /api/v1/admin/flush?wait=true" CLOSE
                                 "Content-Length: 0\r\n\r\n"), 200);
    HAS(&b, "[{\"ulid\":\"01J0000000000000000000000A\",\"tenant\":\"anonymous\",\"minTime\":1,"
            "\"maxTime\":2,\"level\":1,\"stats\":{\"numSamples\":0,\"numSeries\":3,"
            "\"numChunks\":0}},{");
    assert_string_equal(fake.flushed, "(all)");
    fake.flush = ST_UNAVAIL;
    assert_int_equal(ask(&f, &b, "POST /prometheus/api/v1/admin/flush?wait=true" CLOSE
                                 "Content-Length: 0\r\n\r\n"), 503);
    HAS(&b, "the bucket is down");
    assert_int_equal(ask(&f, &b, "POST /api/v1/admin/flush" CLOSE "Content-Length: 0\r\n\r\n"), 202);
    buf_fini(&b);
    assert_int_equal(get(&f, &b, "/api/v1/admin/flush", ""), 405);
    buf_fini(&b);
    down(&f); /* waits for the flush that nobody waited for */
    assert_int_equal(fake.flushes, 3);
}

static void flush_is_for_the_tenant_of_the_header(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    memset(&fake, 0, sizeof(fake));
    fake.header_mode = true;
    up_with(&f, NULL, 0, true); /* the table of admin.listen */
    assert_int_equal(ask(&f, &b, "POST /api/v1/admin/flush?wait=1" CLOSE
                                 "Content-Length: 0\r\nX-Scope-OrgID: t1\r\n\r\n"), 200);
    buf_fini(&b);
    assert_string_equal(fake.flushed, "t1");
    assert_int_equal(ask(&f, &b, "POST /api/v1/admin/flush?wait=1" CLOSE
                                 "Content-Length: 0\r\n\r\n"), 200); /* from loopback: all */
    buf_fini(&b);
    assert_string_equal(fake.flushed, "(all)");
    assert_int_equal(get(&f, &b, "/api/v1/query?query=1", ""), 404); /* nothing else is here */
    buf_fini(&b);
    assert_int_equal(get(&f, &b, "/ready", ""), 200);
    buf_fini(&b);
    down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_push_is_answered_once_the_log_is_durable),
        cmocka_unit_test(unknown_encodings_and_types_are_415),
        cmocka_unit_test(what_a_push_fails_of_decides_its_status),
        cmocka_unit_test(refused_series_are_told_and_memory_asks_to_come_again),
        cmocka_unit_test(header_mode_wants_a_tenant),
        cmocka_unit_test(two_tenants_in_one_request_are_none),
        cmocka_unit_test(pages_of_other_origins_may_not_write),
        cmocka_unit_test(loopback_is_trusted_beside_the_proxies),
        cmocka_unit_test(an_instant_query_answers_grafanas_test),
        cmocka_unit_test(a_range_query_passes_its_range),
        cmocka_unit_test(bad_parameters_are_named),
        cmocka_unit_test(errors_of_evaluation_keep_their_kind),
        cmocka_unit_test(names_values_and_series_are_lists),
        cmocka_unit_test(small_routes_answer),
        cmocka_unit_test(ready_says_why_not),
        cmocka_unit_test(flush_lists_the_blocks_it_waited_for),
        cmocka_unit_test(flush_is_for_the_tenant_of_the_header),
    };
    return RUN(tests);
}
