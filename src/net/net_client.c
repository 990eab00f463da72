/* Blocking HTTP requests over pooled libcurl handles.
 *
 * A handle keeps its connection, and only one, so the pool of idle handles is the pool of idle
 * connections; the one used last is taken first. A handle whose request failed is thrown away.
 *
 * Quick ACKs: a server that leaves Nagle's algorithm on (the Ceph gateway does by default) sends the
 * head of an answer and then waits with the body until the head is acknowledged, which the kernel
 * delays by 40 ms on a kept connection. So as soon as the status line is here the socket is told
 * to acknowledge at once. The kernel forgets this again by itself: it is said once an answer.
 *
 * Redirects are not followed and proxies of the environment are not used: a request goes where its
 * URL says or nowhere.
 */
#include "net/net.h"

#include "base/heap.h"
#include "base/lock.h"
#include "base/vec.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_DEFAULT_MS         30000
#define CONNECT_TIMEOUT_DEFAULT_MS 5000
#define RECEIVE_BUFFER             (128L * 1024)
#define HEADERS_MAX                (64u * 1024)

struct net_handle {
    CURL *curl;
    int fd; /* of its connection; -1 none */
    char why[CURL_ERROR_SIZE];
};

struct net {
    struct lock lock; /* guards idle */
    VEC(struct net_handle *) idle;
    unsigned max_idle;
};

/* One request under way, seen by curl's callbacks. */
struct net_call {
    struct net_handle *handle;
    const struct net_request *req;
    struct net_answer *answer;
    uint64_t sent, body_n;
    size_t headers_seen;
    bool over, read_failed;
};

struct net *net_new(unsigned max_idle)
{
    struct net *n = heap_new(struct net);

    curl_global_init(CURL_GLOBAL_DEFAULT);
    lock_init(&n->lock, LOCK_net);
    n->max_idle = max_idle;
    return n;
}

static void handle_free(struct net_handle *h)
{
    curl_easy_cleanup(h->curl);
    heap_free(h);
}

void net_free(struct net *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->idle.n; i++)
        handle_free(n->idle.p[i]);
    vec_free(&n->idle);
    lock_fini(&n->lock);
    heap_free(n);
    curl_global_cleanup();
}

static struct net_handle *take_handle(struct net *n)
{
    struct net_handle *h = NULL;

    lock_take(&n->lock);
    if (n->idle.n)
        h = n->idle.p[--n->idle.n];
    lock_drop(&n->lock);
    if (h)
        return h;
    h = heap_new(struct net_handle);
    h->curl = curl_easy_init();
    h->fd = -1;
    return h;
}

static void give_handle(struct net *n, struct net_handle *h, bool sound)
{
    if (sound) {
        lock_take(&n->lock);
        if (n->idle.n < n->max_idle) {
            vec_push(&n->idle, h);
            h = NULL;
        }
        lock_drop(&n->lock);
    }
    if (h)
        handle_free(h);
}

static int on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    struct net_handle *h = arg;

    if (purpose == CURLSOCKTYPE_IPCXN)
        h->fd = fd;
    return CURL_SOCKOPT_OK;
}

static int on_close(void *arg, curl_socket_t fd)
{
    struct net_handle *h = arg;

    if (h->fd == fd)
        h->fd = -1;
    return close(fd);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct net_call *call = arg;
    struct buf *body = call->answer->body;

    if (body) {
        buf_put(body, p, size * n);
        if (!buf_ok(body)) {
            call->over = true;
            return 0;
        }
    }
    return size * n;
}

static void copy_value(char *out, size_t cap, struct sv value)
{
    if (value.n >= cap)
        value.n = 0; /* too long to be one of ours: treated as absent */
    if (value.n)
        memcpy(out, value.p, value.n);
    out[value.n] = 0;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct net_call *call = arg;
    struct sv line = sv_trim(sv_make(p, size * n)), value, name;
    int one = 1;

    call->headers_seen += line.n;
    if (call->headers_seen > HEADERS_MAX) {
        call->over = true;
        return 0;
    }
    if (sv_starts(line, SV("HTTP/"))) {
        if (call->handle->fd >= 0)
            setsockopt(call->handle->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
        return size * n;
    }
    name = sv_cut(line, ':', &value);
    value = sv_trim(value);
    if (name.n == 4 && strncasecmp(name.p, "etag", 4) == 0) {
        if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
            value = sv_sub(value, 1, value.n - 2);
        copy_value(call->answer->etag, sizeof(call->answer->etag), value);
    } else if (name.n == 11 && strncasecmp(name.p, "retry-after", 11) == 0) {
        copy_value(call->answer->retry_after, sizeof(call->answer->retry_after), value);
    }
    return size * n;
}

static size_t on_send(char *p, size_t size, size_t n, void *arg)
{
    struct net_call *call = arg;
    size_t want = size * n;
    ssize_t got;

    if (want > call->body_n - call->sent)
        want = (size_t)(call->body_n - call->sent);
    if (want == 0)
        return 0;
    if (call->req->body_fd > 0) {
        do
            got = pread(call->req->body_fd, p, want, (off_t)(call->req->body_off + call->sent));
        while (got < 0 && errno == EINTR);
        if (got <= 0) { /* failed, or the file is shorter than it was */
            call->read_failed = true;
            return CURL_READFUNC_ABORT;
        }
        want = (size_t)got;
    } else {
        memcpy(p, call->req->body.p + call->sent, want);
    }
    call->sent += want;
    return want;
}

/* A kept connection that the server had closed meanwhile: curl begins again on a new one. */
static int on_rewind(void *arg, curl_off_t off, int origin)
{
    struct net_call *call = arg;

    if (origin != SEEK_SET || off < 0 || (uint64_t)off > call->body_n)
        return CURL_SEEKFUNC_FAIL;
    call->answer->resent |= call->sent > 0;
    call->sent = (uint64_t)off;
    return CURL_SEEKFUNC_OK;
}

static enum status build_headers(const struct net_request *req, struct curl_slist **ret,
                                 struct err *err)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"), *more;
    struct buf line;
    enum status st = ST_OK;

    buf_init(&line, HEADERS_MAX);
    for (size_t i = 0; i < req->headers_n && st == ST_OK; i++) {
        struct sv name = req->headers[i].name, value = req->headers[i].value;

        buf_clear(&line);
        buf_sv(&line, name);
        buf_str(&line, value.n ? ": " : ";"); /* curl's way to say "empty value" */
        buf_sv(&line, value);
        for (size_t k = 0; k < line.n; k++)
            if ((unsigned char)line.p[k] < 0x20 || line.p[k] == 0x7f)
                st = err_set(err, ST_INVALID, "header " SV_FMT " holds a control character",
                             SV_ARG(name));
        buf_ch(&line, 0);
        if (st == ST_OK && !buf_ok(&line))
            st = err_set(err, ST_LIMIT, "header of more than %u bytes", HEADERS_MAX);
        if (st == ST_OK && (more = curl_slist_append(list, line.p)))
            list = more;
    }
    buf_fini(&line);
    if (st != ST_OK)
        curl_slist_free_all(list);
    else
        *ret = list;
    return st;
}

static void set_body(CURL *c, struct net_call *call)
{
    const struct net_request *req = call->req;
    bool sends = strcmp(req->method, "PUT") == 0 || strcmp(req->method, "POST") == 0;

    call->body_n = req->body_fd > 0 ? req->body_n : req->body.n;
    if (strcmp(req->method, "HEAD") == 0) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    } else if (sends || call->body_n) {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->body_n);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send);
        curl_easy_setopt(c, CURLOPT_READDATA, call);
        curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_rewind);
        curl_easy_setopt(c, CURLOPT_SEEKDATA, call);
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, req->method);
    } else {
        curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, req->method);
    }
}

static void set_up(struct net_call *call, struct curl_slist *headers)
{
    const struct net_request *req = call->req;
    CURL *c = call->handle->curl;

    curl_easy_reset(c); /* keeps the connection */
    curl_easy_setopt(c, CURLOPT_URL, req->url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "engram");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_MAXCONNECTS, 1L);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS,
                     (long)(req->timeout_ms > 0 ? req->timeout_ms : TIMEOUT_DEFAULT_MS));
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(req->connect_timeout_ms > 0 ? req->connect_timeout_ms
                                                        : CONNECT_TIMEOUT_DEFAULT_MS));
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, call->handle->why);
    curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, on_socket);
    curl_easy_setopt(c, CURLOPT_SOCKOPTDATA, call->handle);
    curl_easy_setopt(c, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(c, CURLOPT_CLOSESOCKETDATA, call->handle);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    set_body(c, call);
}

static enum status failed(const struct net_call *call, CURLcode rc, struct err *err)
{
    const struct net_request *req = call->req;
    const char *why = call->handle->why[0] ? call->handle->why : curl_easy_strerror(rc);
    struct sv url = sv_of(req->url), query;
    enum status st = ST_UNAVAIL;

    url = sv_cut(url, '?', &query);
    if (call->over)
        return err_set(err, ST_LIMIT, "%s " SV_FMT ": the answer is over %zu bytes", req->method,
                       SV_ARG(url), call->answer->body ? call->answer->body->max : HEADERS_MAX);
    if (call->read_failed)
        return err_set(err, ST_IO, "%s " SV_FMT ": the file to be sent can't be read", req->method,
                       SV_ARG(url));
    if (rc == CURLE_OPERATION_TIMEDOUT)
        st = ST_TIMEOUT;
    else if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL)
        st = ST_INVALID;
    return err_set(err, st, "%s " SV_FMT ": %s", req->method, SV_ARG(url), why);
}

enum status net_do(struct net *n, const struct net_request *req, struct net_answer *ret,
                   struct err *err)
{
    struct net_call call = {.req = req, .answer = ret};
    struct curl_slist *headers;
    curl_off_t length = -1;
    enum status st = ST_OK;
    CURLcode rc;

    TRY(build_headers(req, &headers, err));
    ret->status = 0;
    ret->etag[0] = ret->retry_after[0] = 0;
    ret->content_length = 0;
    ret->resent = false;
    call.handle = take_handle(n);
    call.handle->why[0] = 0;
    set_up(&call, headers);
    rc = curl_easy_perform(call.handle->curl);
    if (rc == CURLE_OK) {
        curl_easy_getinfo(call.handle->curl, CURLINFO_RESPONSE_CODE, &ret->status);
        curl_easy_getinfo(call.handle->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        ret->content_length = length > 0 ? (uint64_t)length : 0;
    } else {
        st = failed(&call, rc, err);
    }
    give_handle(n, call.handle, rc == CURLE_OK);
    curl_slist_free_all(headers);
    return st;
}
