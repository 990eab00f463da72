/* src/http/http_int.h - the parts of a request and of the server, for the files http_*.c alone.
 * Nothing here knows libmicrohttpd: its objects pass as void pointers. */
#ifndef ENGRAM_HTTP_INT_H
#define ENGRAM_HTTP_INT_H

#include "base/lock.h"
#include "base/vec.h"
#include "base/workq.h"
#include "http/http.h"

#define HTTP_PARAMS_MAX   8192 /* of one request; more is 400 */
#define HTTP_HEADERS_MAX  16   /* of one reply */
#define HTTP_ID_MAX       64
#define HTTP_GZIP_MIN     1024 /* smaller bodies don't gain */
#define HTTP_RETRY_MIN_S  2    /* Retry-After is from this ... */
#define HTTP_RETRY_SPAN_S 8    /* ... to this much later, so that senders don't come in step */

/* Status codes that have a counter of their own; the last slot is for all others. */
#define HTTP_CODES 15
extern const int http_codes[HTTP_CODES - 1];

struct http_entry { /* a route with its metrics */
    struct http_route route;
    struct sv prefix, suffix; /* around (*) */
    bool part;                /* has (*) */
    /* Made at first use: a route that nobody asks for adds no series. */
    _Atomic(struct metric_hist *) seconds;
    _Atomic(struct metric *) by_code[HTTP_CODES];
};

struct http_router {
    struct http_entry *p;
    size_t n;
};

struct http_lane_q {
    struct workq *q; /* NULL: HTTP_INLINE */
    struct metric *waiting, *full;
};

struct http_param {
    struct sv name, value;
};

struct http_reply_header {
    char *name, *value;
};

struct http_conn; /* http_server.c */

enum http_phase { HTTP_BEGUN, HTTP_READING, HTTP_DISCARDING, HTTP_RUNNING, HTTP_REPLIED,
                  HTTP_SENDING };

struct http_req {
    struct http_server *server;
    struct http_conn *conn;
    void *mhd;                /* struct MHD_Connection */
    struct http_entry *entry; /* NULL: no route */
    struct arena arena;
    enum http_method method;
    enum http_phase phase;    /* poller, but for RUNNING -> REPLIED by http_reply() */
    struct sv target;         /* as sent: path?query */
    struct sv path, part;     /* decoded */
    struct sv raw_query;
    char id[HTTP_ID_MAX + 1];
    char peer[64];
    bool loopback, gzip_ok, counted /* in server.open */;
    struct buf body;
    size_t body_limit, body_charged, seen_bytes;
    int early_status;         /* an error known before the body was read */
    const char *early_text;
    struct http_param *params;
    size_t params_n;
    int64_t started_ns;
    _Atomic bool gone;        /* reaper -> handler */
    struct http_reply_header headers[HTTP_HEADERS_MAX];
    size_t headers_n;
    int status;
    char *reply;              /* heap; goes to the library with the reply */
    size_t reply_n, reply_charged;
};

struct http_metrics {
    struct metric *connections, *in_bytes, *out_bytes, *slow, *gone, *memory;
};

/* --- http_router.c --- */
void http_router_init(struct http_router *t, const struct http_route *routes, size_t n);
void http_router_fini(struct http_router *t);
/* The route of method and raw path; NULL with *ret_allowed 0: no such path, else the methods it has.
 * *ret_part is what (*) matched, still encoded. */
struct http_entry *http_router_find(const struct http_router *t, unsigned method, struct sv raw,
                                    struct sv decoded, struct sv *ret_part, unsigned *ret_allowed);
void http_router_count(struct http_entry *e, int status, double seconds, struct metrics *metrics);

/* --- http_params.c --- */
/* %XX, and + as a space when `plus`; p NULL when malformed or the arena is over. */
struct sv http_unescape(struct arena *arena, struct sv s, bool plus);
/* Appends the pairs of a query string or form to params. Malformed pairs are left out, as Go's
 * url.ParseQuery does. ST_INVALID over HTTP_PARAMS_MAX, ST_LIMIT when the arena is over. */
enum status http_params_parse(struct arena *arena, struct sv text, struct http_param **params,
                              size_t *params_n, struct err *err);
/* Form body first, then the query string. */
enum status http_params_of(struct http_req *r, struct err *err);

/* --- http_reply.c --- */
/* May the answer be gzip'ed, by this Accept-Encoding? */
bool http_accepts_gzip(struct sv accept_encoding);
/* false: the compressed form is no smaller, out is then empty. */
bool http_gzip(struct sv in, struct buf *out);
/* Fills the reply without resuming. */
void http_reply_fill(struct http_req *r, int status, const char *content_type,
                     struct buf *own_body);
void http_reply_drop(struct http_req *r); /* frees what was not handed on */

/* --- http_server.c --- */
struct budget *http_server_budget(struct http_server *s);
struct metrics *http_server_metrics(struct http_server *s);
struct http_metrics *http_server_counts(struct http_server *s);
bool http_server_draining(struct http_server *s);
/* The reply is complete: back to the poller. */
void http_server_resume(struct http_req *r);

/* --- http_listen.c --- */
enum status http_listen(const char *address, int *ret_fd, unsigned *ret_port, struct err *err);
/* Text of a socket address without its port, and whether it is this machine's own. */
void http_peer_text(const void *sockaddr, char *out, size_t out_n, bool *ret_loopback);

#endif
