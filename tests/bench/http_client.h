/* tests/bench/http_client.h
 *
 * A blocking HTTP/1.1 client over one kept-alive socket, no more than the load generator and the
 * acknowledgement check need. It costs little beside the server that is measured.
 */
#ifndef ENGRAM_TESTS_HTTP_CLIENT_H
#define ENGRAM_TESTS_HTTP_CLIENT_H

#include "base/buf.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define HTTP_HEAD_MAX  16384
#define HTTP_REPLY_MAX ((size_t)256 << 20)

struct http_url {
    char host[256], port[8], path[1024];
};

struct http_conn {
    const struct http_url *url;
    const char *tenant; /* NULL: no header */
    int timeout_s;
    int fd; /* -1: not connected */
    struct buf body; /* of the last reply */
    char in[HTTP_HEAD_MAX];
    size_t in_n;
};

static inline bool http_url_parse(const char *z, struct http_url *ret)
{
    const char *host, *path, *colon;
    size_t n;

    if (strncmp(z, "http://", 7) != 0)
        return false;
    host = z + 7;
    path = strchrnul(host, '/');
    colon = memchr(host, ':', (size_t)(path - host));
    n = (size_t)((colon ? colon : path) - host);
    if (n == 0 || n >= sizeof(ret->host) || strlen(path) >= sizeof(ret->path))
        return false;
    snprintf(ret->host, sizeof(ret->host), "%.*s", (int)n, host);
    snprintf(ret->port, sizeof(ret->port), "%.*s", colon ? (int)(path - colon - 1) : 2,
             colon ? colon + 1 : "80");
    snprintf(ret->path, sizeof(ret->path), "%s", *path ? path : "/");
    return true;
}

static inline void http_conn_init(struct http_conn *c, const struct http_url *url,
                                  const char *tenant)
{
    memset(c, 0, sizeof(*c));
    c->url = url;
    c->tenant = tenant;
    c->timeout_s = 60;
    c->fd = -1;
    buf_init(&c->body, HTTP_REPLY_MAX);
}

static inline void http_conn_close(struct http_conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->in_n = 0;
}

static inline void http_conn_fini(struct http_conn *c)
{
    http_conn_close(c);
    buf_fini(&c->body);
}

static inline bool http_connect(struct http_conn *c)
{
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list, *a;
    struct timeval tv = {.tv_sec = c->timeout_s};
    int one = 1;

    if (getaddrinfo(c->url->host, c->url->port, &want, &list) != 0)
        return false;
    for (a = list; a && c->fd < 0; a = a->ai_next) {
        c->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0)
            continue;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
        setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
        if (connect(c->fd, a->ai_addr, a->ai_addrlen) != 0)
            http_conn_close(c);
    }
    freeaddrinfo(list);
    return c->fd >= 0;
}

static inline bool http_send(struct http_conn *c, const char *p, size_t n, int flags)
{
    while (n) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL | flags);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

/* More bytes behind those in c->in; false at the end, an error or when full. */
static inline bool http_more(struct http_conn *c)
{
    ssize_t k;

    if (c->in_n == sizeof(c->in) - 1)
        return false;
    do
        k = recv(c->fd, c->in + c->in_n, sizeof(c->in) - 1 - c->in_n, 0);
    while (k < 0 && errno == EINTR);
    if (k <= 0)
        return false;
    c->in_n += (size_t)k;
    c->in[c->in_n] = 0;
    return true;
}

static inline void http_eat(struct http_conn *c, size_t n)
{
    memmove(c->in, c->in + n, c->in_n - n);
    c->in_n -= n;
    c->in[c->in_n] = 0;
}

static inline bool http_body_n(struct http_conn *c, size_t n)
{
    for (;;) {
        size_t k = c->in_n < n ? c->in_n : n;

        buf_put(&c->body, c->in, k);
        http_eat(c, k);
        n -= k;
        if (!n)
            return buf_ok(&c->body);
        if (!http_more(c))
            return false;
    }
}

static inline bool http_body_chunked(struct http_conn *c)
{
    for (;;) {
        char *end;
        size_t n;

        while (!(end = strstr(c->in, "\r\n")))
            if (!http_more(c))
                return false;
        n = strtoul(c->in, NULL, 16);
        http_eat(c, (size_t)(end + 2 - c->in));
        if (n && !http_body_n(c, n))
            return false;
        while (c->in_n < 2)
            if (!http_more(c))
                return false;
        http_eat(c, 2);
        if (!n)
            return true;
    }
}

static inline int http_reply(struct http_conn *c)
{
    char *end, *len;
    bool chunked, closing, ok = true;
    size_t n = 0;
    int status;

    c->in[c->in_n] = 0;
    while (!(end = strstr(c->in, "\r\n\r\n")))
        if (!http_more(c))
            return 0;
    end[2] = 0;
    status = strncmp(c->in, "HTTP/1.1 ", 9) == 0 ? atoi(c->in + 9) : 0;
    len = strcasestr(c->in, "\r\ncontent-length:");
    if (len)
        n = strtoul(len + 17, NULL, 10);
    chunked = strcasestr(c->in, "\r\ntransfer-encoding: chunked");
    closing = strcasestr(c->in, "\r\nconnection: close");
    http_eat(c, (size_t)(end + 4 - c->in));
    if (status == 204)
        ;
    else if (chunked)
        ok = http_body_chunked(c);
    else if (len)
        ok = http_body_n(c, n);
    if (closing || !ok)
        http_conn_close(c);
    return ok ? status : 0;
}

/* The status of the reply, its body in c->body; 0 when there was no (whole) reply. A connection that
 * the server closed while idle is not told from one it closed on us: the caller repeats. */
static inline int http_request(struct http_conn *c, const char *method, const char *path,
                               const char *headers, struct sv body)
{
    char head[HTTP_HEAD_MAX];
    int n, status;

    if (c->fd < 0 && !http_connect(c))
        return 0;
    n = snprintf(head, sizeof(head),
                 "%s %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Length: %zu\r\n%s%s%s%s\r\n", method,
                 path, c->url->host, c->url->port, body.n, headers,
                 c->tenant ? "X-Scope-OrgID: " : "", c->tenant ? c->tenant : "",
                 c->tenant ? "\r\n" : "");
    if (n < 0 || (size_t)n >= sizeof(head))
        return 0;
    buf_clear(&c->body);
    if (!http_send(c, head, (size_t)n, body.n ? MSG_MORE : 0) || !http_send(c, body.p, body.n, 0)) {
        http_conn_close(c);
        return 0;
    }
    status = http_reply(c);
    if (!status)
        http_conn_close(c);
    return status;
}

#define HTTP_PUSH_HEADERS                       \
    "Content-Type: application/x-protobuf\r\n"  \
    "Content-Encoding: snappy\r\n"              \
    "X-Prometheus-Remote-Write-Version: 0.1.0\r\n"

static inline int http_push(struct http_conn *c, const char *path, struct sv body)
{
    return http_request(c, "POST", path, HTTP_PUSH_HEADERS, body);
}

static inline void http_url_encode(struct buf *out, const char *z)
{
    for (; *z; z++)
        if ((*z >= 'a' && *z <= 'z') || (*z >= 'A' && *z <= 'Z') || (*z >= '0' && *z <= '9') ||
            strchr("-_.~", *z))
            buf_ch(out, *z);
        else
            buf_printf(out, "%%%02X", (unsigned char)*z);
}

#endif
