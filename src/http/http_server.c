/* The adapter to libmicrohttpd, and the life of a request:
 *
 *   poller: on_target (request line) -> on_data, first call (headers): route, limits
 *           -> on_data with pieces of the body -> on_data, last call: suspend, hand to the lane
 *   worker: handler -> http_reply() -> resume
 *   poller: on_data again: queue the reply -> on_completed: free
 *
 * Rules the library forces on us, each kept in one place below:
 * - a reply can be queued only in the first or the last call, so an error known early is remembered
 *   and the body is read and thrown away (early_error, discard), within a bound;
 * - stopping with a suspended connection aborts the process: http_server_stop() waits for `running`
 *   to be 0, and dispatch() suspends nothing once `stopping` is set, under the same lock;
 * - its timeout counts idleness only and never while suspended, so each connection carries a
 *   deadline of its own, and a reaper shuts the socket of who passed it;
 * - a client that goes away is not noticed while suspended: the reaper asks poll() for a hang-up;
 * - the path arrives decoded: on_target keeps it as it was sent.
 */
#include "http_int.h"

#include "base/clk.h"
#include "base/codec.h"
#include "base/log.h"

#include <assert.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define REAPER_STEP_MS    100
#define IDLE_TIMEOUT_S    120u             /* of a kept-alive connection */
#define CONNECTION_BYTES  ((size_t)32 << 10) /* request line, headers, reply headers */
#define BODY_STEP_BYTES   ((size_t)64 << 10) /* the budget is asked in these */
#define BODY_AT_ONCE_MAX  ((size_t)1 << 20)  /* an announced length up to this is reserved at once */
#define DISCARD_MAX       ((size_t)64 << 20)
#define REPLY_BYTES_PER_MS 16              /* a reader slower than this is cut */
#define STOP_GRACE_NS     (INT64_C(30) * 1000000000)
#define NS_PER_MS         INT64_C(1000000)

struct http_conn {
    int fd;
    _Atomic int64_t deadline_ns; /* monotonic; 0: none. poller -> reaper */
    struct http_req *running;    /* suspended request, under server.lock */
    struct http_conn *prev, *next;
    bool cut;                    /* reaper alone */
};

struct http_server {
    struct MHD_Daemon *daemon;
    int listen_fd;
    unsigned port;
    struct http_router router;
    struct http_lane_q lanes[HTTP_LANES];
    size_t body_max, form_max, arena_max;
    int64_t request_timeout_ns;
    struct budget *budget;   /* borrowed; own_budget when the caller gave none */
    struct budget own_budget;
    struct metrics *metrics; /* borrowed, may be NULL */
    struct http_metrics counts;
    struct ticker *reaper;
    _Atomic bool refusing;   /* drain: anyone -> pollers */

    struct lock lock;        /* guards all below, and http_conn.running */
    struct cond less;        /* open or running went down */
    struct http_conn *conns;
    size_t conns_n;
    size_t running;          /* suspended, or about to be */
    size_t open;             /* dispatched and not yet completed */
    bool stopping;
    VEC(struct pollfd) polled; /* reaper's scratch */
    VEC(struct http_req *) polled_of;
};

struct budget *http_server_budget(struct http_server *s)
{
    return s->budget;
}

struct metrics *http_server_metrics(struct http_server *s)
{
    return s->metrics;
}

struct http_metrics *http_server_counts(struct http_server *s)
{
    return &s->counts;
}

bool http_server_draining(struct http_server *s)
{
    return atomic_load_explicit(&s->refusing, memory_order_relaxed);
}

static int64_t now_ns(void)
{
    return clk_mono_ns(clk_system());
}

/* --- connections and their deadlines --- */

static void on_connection(void *cls, struct MHD_Connection *mc, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    struct http_conn *c;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD);

        c = heap_new(struct http_conn);
        c->fd = info ? info->connect_fd : -1;
        atomic_store(&c->deadline_ns, now_ns() + s->request_timeout_ns);
        lock_take(&s->lock);
        c->next = s->conns;
        if (c->next)
            c->next->prev = c;
        s->conns = c;
        s->conns_n++;
        lock_drop(&s->lock);
        *socket_context = c;
        metric_add(s->counts.connections, 1);
        return;
    }
    c = *socket_context; /* the socket is closed after this */
    if (!c)
        return;
    lock_take(&s->lock);
    assert(!c->running);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->conns_n--;
    lock_drop(&s->lock);
    heap_free(c);
    *socket_context = NULL;
    metric_add(s->counts.connections, -1);
}

/* Under the lock: who is over its deadline is cut, and the suspended ones are listed. */
static void reap_walk(struct http_server *s, int64_t now)
{
    s->polled.n = 0;
    s->polled_of.n = 0;
    for (struct http_conn *c = s->conns; c; c = c->next) {
        int64_t deadline = atomic_load_explicit(&c->deadline_ns, memory_order_relaxed);

        if (deadline && now > deadline && !c->cut && c->fd >= 0) {
            c->cut = true;
            shutdown(c->fd, SHUT_RDWR); /* its poller wakes up and closes it */
            metric_inc(s->counts.slow);
        }
        if (c->running && !atomic_load_explicit(&c->running->gone, memory_order_relaxed)) {
            struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};

            vec_push(&s->polled, p);
            vec_push(&s->polled_of, c->running);
        }
    }
}

static void reap(void *arg)
{
    struct http_server *s = arg;

    lock_take(&s->lock);
    reap_walk(s, now_ns());
    if (s->polled.n && poll(s->polled.p, s->polled.n, 0) > 0)
        for (size_t i = 0; i < s->polled.n; i++)
            if (s->polled.p[i].revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) {
                atomic_store(&s->polled_of.p[i]->gone, true);
                metric_inc(s->counts.gone);
            }
    lock_drop(&s->lock);
}

/* --- the request --- */

/* What on_data finds in *con_cls: one per request, made when its first line is read. */
static void *on_target(void *cls, const char *uri, struct MHD_Connection *mc)
{
    struct http_server *s = cls;
    struct http_req *r = heap_new(struct http_req);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    r->server = s;
    r->mhd = mc;
    r->conn = info ? info->socket_context : NULL;
    r->started_ns = now_ns();
    if (r->conn)
        atomic_store(&r->conn->deadline_ns, r->started_ns + s->request_timeout_ns);
    arena_init(&r->arena, s->arena_max);
    buf_init(&r->body, 0);
    r->target = arena_sv(&r->arena, sv_of(uri));
    return r;
}

static enum http_method method_of(const char *m)
{
    if (strcmp(m, "GET") == 0 || strcmp(m, "HEAD") == 0) /* the library leaves HEAD's body out */
        return HTTP_GET;
    if (strcmp(m, "POST") == 0)
        return HTTP_POST;
    if (strcmp(m, "PUT") == 0)
        return HTTP_PUT;
    return strcmp(m, "DELETE") == 0 ? HTTP_DELETE : (enum http_method)0;
}

static void early_error(struct http_req *r, int status, const char *text)
{
    if (r->early_status)
        return;
    r->early_status = status;
    r->early_text = text;
}

/* An id sent by a proxy is kept when it can stand in a log line as it is. */
static void take_id(struct http_req *r)
{
    struct sv sent = http_req_header(r, "X-Request-Id");
    bool fine = sent.n >= 1 && sent.n <= HTTP_ID_MAX;
    uint64_t own;

    for (size_t i = 0; fine && i < sent.n; i++) {
        char c = sent.p[i];

        fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               c == '-' || c == '_' || c == '.';
    }
    if (fine) {
        memcpy(r->id, sent.p, sent.n);
        return;
    }
    own = random_u64();
    hex_encode(r->id, &own, sizeof(own));
}

static void take_route(struct http_req *r)
{
    struct sv query, raw, part = {NULL, 0}, target = r->target;
    unsigned allowed;
    char allow[64];

    if (target.n && target.p[0] != '/') { /* absolute form, as proxies send it */
        size_t at = sv_search(target, SV("://"));
        size_t slash = at == SIZE_MAX ? SIZE_MAX : sv_find(sv_sub(target, at + 3, target.n), '/');

        target = slash == SIZE_MAX ? SV("/") : sv_sub(target, at + 3 + slash, target.n);
    }
    raw = sv_cut(target, '?', &query);
    r->raw_query = query;
    r->path = http_unescape(&r->arena, raw, false);
    if (!r->path.p) {
        r->path = raw;
        early_error(r, 400, "malformed path");
        return;
    }
    r->entry = http_router_find(&r->server->router, r->method, raw, r->path, &part, &allowed);
    if (r->entry && r->entry->part) {
        r->part = http_unescape(&r->arena, part, false);
        if (!r->part.p)
            early_error(r, 400, "malformed path");
    } else if (!r->entry && allowed) {
        snprintf(allow, sizeof(allow), "%s%s%s%s", allowed & HTTP_GET ? "GET, HEAD" : "",
                 allowed & HTTP_POST ? ", POST" : "", allowed & HTTP_PUT ? ", PUT" : "",
                 allowed & HTTP_DELETE ? ", DELETE" : "");
        http_reply_header(r, "Allow", allow[0] == ',' ? allow + 2 : allow);
        early_error(r, 405, "method not allowed");
    } else if (!r->entry) {
        early_error(r, 404, "404 page not found");
    }
}

/* How much of a body that nobody wants is read: see begin(). */
static size_t discard_max(const struct http_req *r)
{
    return r->body_limit * 2 > DISCARD_MAX ? r->body_limit * 2 : DISCARD_MAX;
}

/* Takes budget for a body of up to n bytes; false sets 503 (memory is short, try again). */
static bool body_room(struct http_req *r, size_t n)
{
    size_t want = (n + BODY_STEP_BYTES - 1) / BODY_STEP_BYTES * BODY_STEP_BYTES, more;

    if (n <= r->body_charged)
        return true;
    if (want < r->body_charged * 2 && r->body_charged * 2 <= r->body_limit)
        want = r->body_charged * 2; /* the buffer doubles too */
    more = want - r->body_charged;
    if (!budget_charge(r->server->budget, BUDGET_HTTP, (int64_t)more)) {
        metric_inc(r->server->counts.memory);
        early_error(r, 503, "the server is short of memory for request bodies");
        return false;
    }
    r->body_charged += more;
    return true;
}

static enum MHD_Result queue_reply(struct http_req *r);

static enum MHD_Result reply_now(struct http_req *r, int status, const char *text)
{
    struct buf b;

    buf_init(&b, 1024);
    buf_str(&b, text);
    buf_ch(&b, '\n');
    http_reply_fill(r, status, "text/plain; charset=utf-8", &b);
    return queue_reply(r);
}

/* The headers are here. An early error waits until a body of bearable size has been read: closing on
 * a sender in the middle resets the connection, the reply is lost and the sender repeats for ever. */
static enum MHD_Result begin(struct http_req *r, const char *method)
{
    struct http_server *s = r->server;
    const union MHD_ConnectionInfo *addr =
        MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct sv length = http_req_header(r, "Content-Length");
    uint64_t announced = 0;
    bool expect = http_req_header(r, "Expect").p != NULL;

    r->phase = HTTP_READING;
    r->method = method_of(method);
    http_peer_text(addr ? addr->client_addr : NULL, r->peer, sizeof(r->peer), &r->loopback);
    r->gzip_ok = http_accepts_gzip(http_req_header(r, "Accept-Encoding"));
    take_id(r);
    take_route(r);
    r->body_limit = r->entry && r->entry->route.lane == HTTP_WRITE ? s->body_max : s->form_max;
    r->body.max = r->body_limit;
    if (length.p && !sv_u64(length, &announced))
        announced = UINT64_MAX; /* the library has refused what is no number */
    if (!r->early_status && http_server_draining(s) && r->entry->route.lane != HTTP_INLINE)
        early_error(r, 503, "the server is stopping");
    if (announced > r->body_limit)
        early_error(r, 413, "request body larger than the limit");
    if (!r->early_status && announced && announced <= BODY_AT_ONCE_MAX &&
        body_room(r, (size_t)announced))
        buf_reserve(&r->body, (size_t)announced);
    if (!r->early_status)
        return MHD_YES;
    r->phase = HTTP_DISCARDING;
    if (expect || announced > discard_max(r))
        return reply_now(r, r->early_status, r->early_text);
    return MHD_YES;
}

static enum MHD_Result take_data(struct http_req *r, const char *data, size_t n)
{
    metric_add(r->server->counts.in_bytes, (double)n);
    r->seen_bytes += n;
    if (r->phase == HTTP_READING) {
        if (r->seen_bytes > r->body_limit)
            early_error(r, 413, "request body larger than the limit");
        else if (body_room(r, r->seen_bytes))
            buf_put(&r->body, data, n);
        if (r->early_status) {
            r->phase = HTTP_DISCARDING;
            buf_fini(&r->body);
        }
    }
    if (r->phase == HTTP_DISCARDING && r->seen_bytes > discard_max(r))
        return MHD_NO; /* enough: the connection is cut */
    return MHD_YES;
}

static void run(void *arg)
{
    struct http_req *r = arg;
    struct err err = ERR_INIT;

    if (r->server->lanes[r->entry->route.lane].q)
        metric_add(r->server->lanes[r->entry->route.lane].waiting, -1);
    if (atomic_load_explicit(&r->gone, memory_order_relaxed))
        http_reply_text(r, 499, "the client has gone");
    else if (http_params_of(r, &err) != ST_OK)
        http_reply_text(r, err.st == ST_LIMIT ? 413 : 400, err.msg);
    else
        r->entry->route.handler(r->entry->route.self, r);
}

/* The request is complete. Suspend first: the worker may be done before we return. */
static enum MHD_Result dispatch(struct http_req *r)
{
    struct http_server *s = r->server;
    struct http_lane_q *lane = &s->lanes[r->entry->route.lane];
    bool stopping;

    lock_take(&s->lock);
    stopping = s->stopping;
    if (!stopping) {
        s->running++;
        s->open++;
        if (r->conn)
            r->conn->running = r;
    }
    lock_drop(&s->lock);
    if (stopping)
        return reply_now(r, 503, "the server is stopping");
    if (r->conn)
        atomic_store(&r->conn->deadline_ns, 0);
    r->counted = true;
    r->phase = HTTP_RUNNING;
    MHD_suspend_connection(r->mhd);
    if (!lane->q) {
        run(r);
        return MHD_YES;
    }
    metric_add(lane->waiting, 1);
    if (!workq_put(lane->q, run, r)) {
        metric_add(lane->waiting, -1);
        metric_inc(lane->full);
        http_reply_text(r, 503, "too many requests are waiting");
    }
    return MHD_YES;
}

void http_server_resume(struct http_req *r)
{
    r->phase = HTTP_REPLIED;
    MHD_resume_connection(r->mhd); /* from here on r belongs to the poller */
}

/* Poller, or nobody else any more: the handler has let go. */
static void not_running(struct http_req *r)
{
    struct http_server *s = r->server;

    lock_take(&s->lock);
    assert(s->running > 0);
    s->running--;
    if (r->conn)
        r->conn->running = NULL;
    cond_broadcast(&s->less);
    lock_drop(&s->lock);
}

static enum MHD_Result queue_reply(struct http_req *r)
{
    struct MHD_Response *m;
    enum MHD_Result ok;

    if (r->conn)
        atomic_store(&r->conn->deadline_ns,
                     now_ns() + r->server->request_timeout_ns +
                         (int64_t)(r->reply_n / REPLY_BYTES_PER_MS) * NS_PER_MS);
    /* The bytes stay ours until on_completed, which gives their budget back. */
    m = MHD_create_response_from_buffer(r->reply_n, r->reply, MHD_RESPMEM_PERSISTENT);
    if (!m)
        return MHD_NO;
    for (size_t i = 0; i < r->headers_n; i++)
        if (MHD_add_response_header(m, r->headers[i].name, r->headers[i].value) != MHD_YES)
            log_warn("http", "reply header left out", "name=%s id=%s", r->headers[i].name, r->id);
    r->phase = HTTP_SENDING;
    ok = MHD_queue_response(r->mhd, (unsigned)r->status, m);
    MHD_destroy_response(m);
    return ok;
}

static enum MHD_Result on_data(void *cls, struct MHD_Connection *mc, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *data_n, void **con_cls)
{
    struct http_req *r = *con_cls;

    (void)cls, (void)mc, (void)url, (void)version;
    switch (r->phase) {
    case HTTP_BEGUN: return begin(r, method);
    case HTTP_READING:
    case HTTP_DISCARDING:
        if (*data_n) {
            enum MHD_Result rc = take_data(r, data, *data_n);

            *data_n = 0;
            return rc;
        }
        return r->early_status ? reply_now(r, r->early_status, r->early_text) : dispatch(r);
    case HTTP_REPLIED: not_running(r); return queue_reply(r);
    case HTTP_RUNNING: /* resumed by nobody */
    case HTTP_SENDING: break;
    }
    return MHD_NO;
}

static void on_completed(void *cls, struct MHD_Connection *mc, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct http_server *s = cls;
    struct http_req *r = *con_cls;

    (void)mc, (void)code;
    if (!r)
        return;
    *con_cls = NULL;
    assert(r->phase != HTTP_RUNNING);
    if (r->phase == HTTP_REPLIED) /* the connection died before the reply was asked for */
        not_running(r);
    if (r->counted) {
        lock_take(&s->lock);
        s->open--;
        cond_broadcast(&s->less);
        lock_drop(&s->lock);
    }
    if (r->conn) /* time to idle, then time to send a whole request */
        atomic_store(&r->conn->deadline_ns, now_ns() + (int64_t)IDLE_TIMEOUT_S * 1000 * NS_PER_MS +
                                                s->request_timeout_ns);
    http_reply_drop(r);
    budget_release(s->budget, BUDGET_HTTP, (int64_t)r->body_charged);
    buf_fini(&r->body);
    arena_fini(&r->arena);
    heap_free(r);
}

/* --- life --- */

static void on_library_log(void *cls, const char *fmt, va_list ap)
{
    char text[512];
    int n = vsnprintf(text, sizeof(text), fmt, ap);

    (void)cls;
    if (n > 0)
        log_debug("http", "libmicrohttpd", "text=%s", log_q(sv_trim(sv_of(text))));
}

static void make_counts(struct http_server *s, struct metrics *m)
{
    s->counts.connections =
        metric_gauge(m, "engram_http_connections", "", "Open connections.");
    s->counts.in_bytes = metric_counter(m, "engram_http_request_body_bytes_total", "",
                                        "Bytes of request bodies received.");
    s->counts.out_bytes = metric_counter(m, "engram_http_reply_body_bytes_total", "",
                                         "Bytes of reply bodies, as sent.");
    s->counts.slow = metric_counter(m, "engram_http_slow_connections_cut_total", "",
                                    "Connections cut because their peer was too slow.");
    s->counts.gone = metric_counter(m, "engram_http_clients_gone_total", "",
                                    "Clients that went away while their request ran.");
    s->counts.memory = metric_counter(m, "engram_http_bodies_refused_total", "",
                                      "Request bodies refused because memory was short.");
}

static void start_lanes(struct http_server *s, const struct http_opts *o)
{
    static const char *const names[HTTP_LANES] = {"inline", "write", "query", "admin"};

    for (int i = HTTP_INLINE + 1; i < HTTP_LANES; i++) {
        char thread[16], label[32];

        snprintf(thread, sizeof(thread), "http-%s", names[i]);
        snprintf(label, sizeof(label), "lane=\"%s\"", names[i]);
        s->lanes[i].waiting = metric_gauge(o->metrics, "engram_http_lane_waiting_requests", label,
                                           "Requests waiting for a worker.");
        s->lanes[i].full = metric_counter(o->metrics, "engram_http_lane_full_total", label,
                                          "Requests refused because their lane was full.");
        s->lanes[i].q = workq_start(thread, o->workers[i] ? o->workers[i] : 1,
                                    o->queue_cap[i] ? o->queue_cap[i] : 1);
    }
}

static struct MHD_Daemon *start_daemon(struct http_server *s, const struct http_opts *o)
{
    unsigned pollers = o->pollers ? o->pollers : 1;
    unsigned connections = o->max_connections > pollers ? o->max_connections : pollers;
    struct MHD_OptionItem more[2] = {{MHD_OPTION_END, 0, NULL}, {MHD_OPTION_END, 0, NULL}};

    if (pollers > 1) /* a pool of one is refused */
        more[0] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)pollers, NULL};
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_data, s, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, s, MHD_OPTION_LISTEN_SOCKET,
        s->listen_fd, MHD_OPTION_CONNECTION_LIMIT, connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        IDLE_TIMEOUT_S, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_ARRAY, more, MHD_OPTION_END);
}

static void server_free(struct http_server *s)
{
    ticker_stop(s->reaper);
    for (int i = 0; i < HTTP_LANES; i++)
        workq_stop(s->lanes[i].q);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    http_router_fini(&s->router);
    vec_free(&s->polled);
    vec_free(&s->polled_of);
    cond_fini(&s->less);
    lock_fini(&s->lock);
    heap_free(s);
}

enum status http_server_start(const struct http_opts *o, const struct http_route *routes,
                              size_t routes_n, struct http_server **ret, struct err *err)
{
    struct http_server *s = heap_new(struct http_server);
    enum status st;

    lock_init(&s->lock, LOCK_queue);
    cond_init(&s->less);
    s->body_max = o->body_max_bytes;
    s->form_max = o->form_max_bytes;
    s->arena_max = o->arena_max_bytes;
    s->request_timeout_ns = o->request_timeout_ms * NS_PER_MS;
    s->metrics = o->metrics;
    s->budget = o->budget;
    if (!s->budget) {
        budget_init(&s->own_budget, UINT64_MAX / 4);
        s->budget = &s->own_budget;
    }
    s->listen_fd = -1;
    TRY_GOTO(http_listen(o->listen, &s->listen_fd, &s->port, err));
    make_counts(s, o->metrics);
    http_router_init(&s->router, routes, routes_n);
    start_lanes(s, o);
    s->daemon = start_daemon(s, o);
    if (!s->daemon) {
        st = err_os(err, "cannot start the HTTP server on %s", o->listen);
        goto out;
    }
    s->reaper = ticker_start("http-reaper", REAPER_STEP_MS, reap, s);
    *ret = s;
    return ST_OK;
out:
    server_free(s);
    return st;
}

unsigned http_server_port(const struct http_server *s)
{
    return s->port;
}

void http_server_refuse(struct http_server *s)
{
    atomic_store(&s->refusing, true);
}

/* Those dispatched get STOP_GRACE_NS to end and be sent; then they are told that nobody waits. What
 * still runs after that is waited for: the library can't let go of a suspended connection. */
static void wait_for_running(struct http_server *s)
{
    int64_t until = now_ns() + STOP_GRACE_NS;

    lock_take(&s->lock);
    s->stopping = true;
    while (s->open && now_ns() < until)
        cond_wait_ns(&s->less, &s->lock, until - now_ns());
    for (struct http_conn *c = s->conns; c; c = c->next)
        if (c->running)
            atomic_store(&c->running->gone, true);
    while (s->running)
        cond_wait(&s->less, &s->lock);
    lock_drop(&s->lock);
}

void http_server_stop(struct http_server *own_s)
{
    struct http_server *s = own_s;

    if (!s)
        return;
    http_server_refuse(s);
    MHD_quiesce_daemon(s->daemon); /* the socket stays ours */
    wait_for_running(s);
    MHD_stop_daemon(s->daemon);
    server_free(s);
}

/* --- what a handler asks --- */

struct sv http_req_header(const struct http_req *r, const char *name)
{
    const char *value = NULL;
    size_t n = 0;

    if (MHD_lookup_connection_value_n(r->mhd, MHD_HEADER_KIND, name, strlen(name), &value, &n) !=
            MHD_YES ||
        !value)
        return (struct sv){NULL, 0};
    return sv_trim(sv_make(value, n));
}

struct header_count {
    struct sv name;
    size_t n;
};

static enum MHD_Result count_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                    size_t key_n, const char *value, size_t value_n)
{
    struct header_count *c = cls;

    (void)kind, (void)value, (void)value_n;
    c->n += key_n == c->name.n && strncasecmp(key, c->name.p, key_n) == 0;
    return MHD_YES;
}

size_t http_req_header_count(const struct http_req *r, const char *name)
{
    struct header_count c = {sv_of(name), 0};

    MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, count_header, &c);
    return c.n;
}

enum http_method http_req_method(const struct http_req *r)
{
    return r->method;
}

struct sv http_req_path(const struct http_req *r)
{
    return r->path;
}

struct sv http_req_part(const struct http_req *r)
{
    return r->part;
}

struct sv http_req_body(const struct http_req *r)
{
    return buf_view(&r->body);
}

struct arena *http_req_arena(struct http_req *r)
{
    return &r->arena;
}

struct sv http_req_id(const struct http_req *r)
{
    return sv_of(r->id);
}

bool http_req_loopback(const struct http_req *r)
{
    return r->loopback;
}

struct sv http_req_peer(const struct http_req *r)
{
    return sv_of(r->peer);
}

const _Atomic bool *http_req_gone(const struct http_req *r)
{
    return &r->gone;
}
