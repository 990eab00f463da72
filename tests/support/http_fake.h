/* tests/support/http_fake.h
 *
 * A tiny HTTP server for faults that real ones don't show on demand: a test gives it a function
 * that is shown each request (head and body as they came) and sends what it likes, whole or not.
 * Each connection has a thread; false from the function closes it.
 */
#ifndef ENGRAM_TESTS_HTTP_FAKE_H
#define ENGRAM_TESTS_HTTP_FAKE_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define HTTP_FAKE_MAX   ((size_t)8 << 20) /* of one request */
#define HTTP_FAKE_CONNS 64

struct http_fake;
struct http_fake_request {
    int fd;
    unsigned no; /* counted from 1 over the server's life */
    const char *text; /* NUL-terminated: "METHOD target HTTP/1.1\r\n..." */
    const char *body;
    size_t body_n;
};
typedef bool (*http_fake_fn)(void *arg, const struct http_fake_request *r);

struct http_fake {
    int listener, port;
    char url[64];
    pthread_t acceptor, threads[HTTP_FAKE_CONNS];
    int fds[HTTP_FAKE_CONNS];
    _Atomic unsigned conns, requests;
    http_fake_fn fn;
    void *arg;
};
struct http_fake_conn {
    struct http_fake *fake;
    int fd;
};

static inline void http_fake_send(int fd, const char *text)
{
    size_t n = strlen(text);

    while (n) {
        ssize_t k = send(fd, text, n, MSG_NOSIGNAL);

        if (k <= 0)
            return;
        text += k;
        n -= (size_t)k;
    }
}

/* A whole answer with Content-Length. */
static inline void http_fake_answer(int fd, const char *status, const char *headers,
                                    const char *body)
{
    char head[2048];

    snprintf(head, sizeof(head), "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n", status, headers,
             strlen(body));
    http_fake_send(fd, head);
    http_fake_send(fd, body);
}

static inline bool http_fake_one(struct http_fake *f, int fd, char *buf, size_t *have)
{
    struct http_fake_request r = {.fd = fd, .text = buf};
    size_t body_n = 0, head_n;
    char *end, *len;

    for (;;) {
        ssize_t k;

        buf[*have] = 0;
        end = strstr(buf, "\r\n\r\n");
        if (end) {
            len = strcasestr(buf, "\r\ncontent-length:");
            body_n = len && len < end ? strtoul(len + 17, NULL, 10) : 0;
            if (*have >= (size_t)(end + 4 - buf) + body_n)
                break;
        }
        k = *have < HTTP_FAKE_MAX ? recv(fd, buf + *have, HTTP_FAKE_MAX - *have, 0) : 0;
        if (k <= 0)
            return false;
        *have += (size_t)k;
    }
    head_n = (size_t)(end + 4 - buf);
    r.body = buf + head_n;
    r.body_n = body_n;
    r.no = atomic_fetch_add(&f->requests, 1) + 1;
    if (!f->fn(f->arg, &r))
        return false;
    *have -= head_n + body_n;
    memmove(buf, buf + head_n + body_n, *have);
    return true;
}

static inline void *http_fake_serve(void *arg)
{
    struct http_fake_conn *c = arg;
    char *buf = malloc(HTTP_FAKE_MAX + 1);
    size_t have = 0;

    while (buf && http_fake_one(c->fake, c->fd, buf, &have))
        ;
    shutdown(c->fd, SHUT_RDWR);
    free(buf);
    free(c);
    return NULL;
}

static inline void *http_fake_accept(void *arg)
{
    struct http_fake *f = arg;

    for (;;) {
        int fd = accept(f->listener, NULL, NULL);
        unsigned at = f->conns;
        struct http_fake_conn *c;

        if (fd < 0)
            return NULL;
        c = malloc(sizeof(*c));
        if (!c || at == HTTP_FAKE_CONNS)
            abort();
        *c = (struct http_fake_conn){f, fd};
        f->fds[at] = fd;
        f->conns = at + 1; /* before it can answer: a test may look right after */
        if (pthread_create(&f->threads[at], NULL, http_fake_serve, c))
            abort();
    }
}

static inline void http_fake_start(struct http_fake *f, http_fake_fn fn, void *arg)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);

    memset(f, 0, sizeof(*f));
    f->fn = fn;
    f->arg = arg;
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    if (f->listener < 0 || bind(f->listener, (struct sockaddr *)&a, sizeof(a)) ||
        listen(f->listener, 64) || getsockname(f->listener, (struct sockaddr *)&a, &n))
        abort();
    f->port = ntohs(a.sin_port);
    snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%d", f->port);
    if (pthread_create(&f->acceptor, NULL, http_fake_accept, f))
        abort();
}

static inline void http_fake_stop(struct http_fake *f)
{
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->acceptor, NULL);
    for (unsigned i = 0; i < f->conns; i++) {
        shutdown(f->fds[i], SHUT_RDWR);
        pthread_join(f->threads[i], NULL);
        close(f->fds[i]);
    }
    close(f->listener);
}

#endif
