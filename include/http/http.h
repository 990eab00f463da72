/* include/http/http.h
 *
 * The HTTP server over libmicrohttpd: pollers collect a request and suspend its connection, a
 * worker of the route's lane runs the handler, the reply resumes the connection.
 *
 * A handler gets a complete request and must lead to exactly one http_reply(), from any thread, at
 * any time. The request (and its arena) lives until the reply has been sent.
 *
 * Threads: see src/ARCHITECTURE.md. Errors: a full lane answers 503 with Retry-After; bodies over
 * the route's limit 413; slow senders are cut after `request_timeout_ms`.
 */
#ifndef ENGRAM_HTTP_HTTP_H
#define ENGRAM_HTTP_HTTP_H

#include "base/arena.h"
#include "base/budget.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/metric.h"

struct http_server;
struct http_req;

enum http_lane { HTTP_INLINE /* on the poller: must not block */, HTTP_WRITE, HTTP_QUERY,
                 HTTP_ADMIN, HTTP_LANES };
enum http_method { HTTP_GET = 1, HTTP_POST = 2, HTTP_PUT = 4, HTTP_DELETE = 8 };

typedef void (*http_handler)(void *self, struct http_req *req);

struct http_route {
    unsigned methods;      /* bits of enum http_method; others get 405 */
    const char *pattern;   /* "/api/v1/label/(*)/values": one (*) matches one raw path part */
    enum http_lane lane;
    http_handler handler;
    void *self;
    const char *name;      /* label of the metrics */
};

struct http_opts {
    const char *listen;    /* "127.0.0.1:9009", "[::]:9009" */
    unsigned pollers;
    unsigned workers[HTTP_LANES];
    size_t queue_cap[HTTP_LANES];
    size_t body_max_bytes;       /* as sent */
    size_t form_max_bytes;       /* of POSTed forms: HTTP_QUERY and HTTP_ADMIN lanes */
    size_t arena_max_bytes;      /* of one request */
    int64_t request_timeout_ms;  /* from first byte to complete request */
    unsigned max_connections;
    struct budget *budget;
    struct metrics *metrics;
};

enum status http_server_start(const struct http_opts *opts, const struct http_route *routes,
                              size_t routes_n, struct http_server **ret, struct err *err);
unsigned http_server_port(const struct http_server *s); /* the real one when 0 was asked */
/* No new requests; those running finish (30 s at most); then everything is joined and freed. */
void http_server_stop(struct http_server *own_s);
void http_server_refuse(struct http_server *s); /* drain: new requests get 503, /ready goes on */

/* --- the request --- */
enum http_method http_req_method(const struct http_req *r);
struct sv http_req_path(const struct http_req *r);      /* decoded */
struct sv http_req_part(const struct http_req *r);      /* what (*) matched, percent-decoded */
struct sv http_req_body(const struct http_req *r);
struct sv http_req_header(const struct http_req *r, const char *name); /* p NULL: absent */
size_t http_req_header_count(const struct http_req *r, const char *name); /* how often it is there */
/* The i-th value of a query or form parameter (form first, then query string, as Go's r.Form). */
bool http_req_param(const struct http_req *r, const char *name, size_t i, struct sv *ret);
struct arena *http_req_arena(struct http_req *r);
struct sv http_req_id(const struct http_req *r);        /* request id */
bool http_req_loopback(const struct http_req *r);
struct sv http_req_peer(const struct http_req *r);      /* address text, no port */
/* Becomes true when the client has gone; checked by a reaper every 100 ms while suspended. */
const _Atomic bool *http_req_gone(const struct http_req *r);

/* --- the reply --- */
void http_reply_header(struct http_req *r, const char *name, const char *value); /* before reply */
/* Takes the bytes of body. gzip is applied when asked for by the client and worth it. */
void http_reply(struct http_req *r, int status, const char *content_type, struct buf *own_body);
void http_reply_text(struct http_req *r, int status, const char *text); /* plain, newline added */

#endif
