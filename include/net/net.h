/* include/net/net.h
 *
 * The HTTP client (libcurl): pooled connections, a total deadline on every request, quick ACKs
 * (a gateway without TCP_NODELAY would cost 40 ms a read otherwise).
 *
 * Threads: any; each call blocks its caller until the answer or the deadline.
 * Errors:  ST_UNAVAIL (no connection, broken off), ST_TIMEOUT, ST_LIMIT (answer over max). An HTTP
 *          error status is not an error here.
 */
#ifndef ENGRAM_NET_NET_H
#define ENGRAM_NET_NET_H

#include "base/buf.h"
#include "base/err.h"

struct net;

struct net *net_new(unsigned max_idle);
void net_free(struct net *n);

struct net_header {
    struct sv name, value;
};
struct net_request {
    const char *method; /* "GET", "PUT", "POST", "HEAD", "DELETE" */
    const char *url;
    const struct net_header *headers;
    size_t headers_n;
    struct sv body;         /* sent when body.p is set */
    int body_fd;            /* > 0: send body_n bytes of it from body_off instead */
    uint64_t body_off, body_n;
    int64_t timeout_ms, connect_timeout_ms;
};
struct net_answer {
    long status;
    struct buf *body;     /* given by the caller: appended, ceiling holds; NULL: dropped */
    char etag[128]; /* without its quotes */
    uint64_t content_length;
    char retry_after[64];
    bool resent; /* the body went out more than once: a kept connection had died under it */
};
enum status net_do(struct net *n, const struct net_request *req, struct net_answer *ret,
                   struct err *err);

#endif
