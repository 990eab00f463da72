/* Addresses: from "host:port" to a listening socket, and from a peer's socket address to text. */
#include "http_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024

/* "127.0.0.1:9009", "[::]:9009", "localhost:0", ":9009" (every address) */
static enum status split(const char *address, char *host, size_t host_n, char *port, size_t port_n,
                         struct err *err)
{
    struct sv a = sv_of(address), h, p;
    uint64_t number;
    size_t colon = SIZE_MAX;

    for (size_t i = 0; i < a.n; i++)
        if (a.p[i] == ':')
            colon = i;
    if (colon == SIZE_MAX)
        return err_set(err, ST_INVALID, "listen address \"%s\" has no port", address);
    h = sv_sub(a, 0, colon);
    p = sv_sub(a, colon + 1, a.n);
    if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
        h = sv_sub(h, 1, h.n - 2);
    else if (sv_find(h, ':') != SIZE_MAX)
        return err_set(err, ST_INVALID, "listen address \"%s\": an IPv6 address wants brackets",
                       address);
    if (!sv_u64(p, &number) || number > 65535)
        return err_set(err, ST_INVALID, "listen address \"%s\" has no port from 0 to 65535",
                       address);
    if (h.n >= host_n || p.n >= port_n)
        return err_set(err, ST_INVALID, "listen address \"%s\" is too long", address);
    snprintf(host, host_n, SV_FMT, SV_ARG(h));
    snprintf(port, port_n, SV_FMT, SV_ARG(p));
    return ST_OK;
}

static enum status bind_one(const struct addrinfo *ai, const char *address, int *ret_fd,
                            struct err *err)
{
    int one = 1, fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                             ai->ai_protocol);

    if (fd < 0)
        return err_os(err, "socket for %s", address);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* inherited by what it accepts */
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        err_os(err, "cannot listen on %s", address);
        close(fd);
        return err ? err->st : ST_IO;
    }
    *ret_fd = fd;
    return ST_OK;
}

enum status http_listen(const char *address, int *ret_fd, unsigned *ret_port, struct err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *list = NULL;
    struct sockaddr_storage at;
    socklen_t at_n = sizeof(at);
    char host[256], port[8];
    enum status st;
    int rc;

    TRY(split(address, host, sizeof(host), port, sizeof(port), err));
    rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (rc != 0)
        return err_set(err, ST_INVALID, "listen address \"%s\": %s", address, gai_strerror(rc));
    st = err_set(err, ST_INVALID, "listen address \"%s\" means nothing here", address);
    for (struct addrinfo *ai = list; ai && st != ST_OK; ai = ai->ai_next)
        st = bind_one(ai, address, ret_fd, err);
    freeaddrinfo(list);
    TRY(st);
    if (getsockname(*ret_fd, (struct sockaddr *)&at, &at_n) != 0) {
        err_os(err, "getsockname of %s", address);
        close(*ret_fd);
        return ST_IO;
    }
    *ret_port = at.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&at)->sin6_port)
                                         : ntohs(((struct sockaddr_in *)&at)->sin_port);
    return ST_OK;
}

void http_peer_text(const void *sockaddr, char *out, size_t out_n, bool *ret_loopback)
{
    const struct sockaddr *sa = sockaddr;

    *ret_loopback = false;
    out[0] = '\0';
    if (sa && sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = sockaddr;

        inet_ntop(AF_INET, &in->sin_addr, out, (socklen_t)out_n);
        *ret_loopback = (ntohl(in->sin_addr.s_addr) >> 24) == 127;
    } else if (sa && sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = sockaddr;
        const uint8_t *a = in->sin6_addr.s6_addr;

        if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) { /* an IPv4 peer of a socket on [::] */
            inet_ntop(AF_INET, a + 12, out, (socklen_t)out_n);
            *ret_loopback = a[12] == 127;
        } else {
            inet_ntop(AF_INET6, a, out, (socklen_t)out_n);
            *ret_loopback = IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
        }
    }
}
