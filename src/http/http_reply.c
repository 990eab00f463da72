/* From a handler's answer to bytes for the poller: compression, the headers every reply has, counts.
 * Runs in the thread that answers, so that a poller never compresses a query's result. */
#include "http_int.h"

#include "base/codec.h"
#include "base/log.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>
#include <zlib.h>

#define GZIP_LEVEL 1 /* numbers in JSON shrink about as well as at 6, at a quarter of the time */
#define GZIP_CHUNK ((size_t)256 << 10)

/* "gzip, deflate;q=0.5": named, and not with a weight of 0. */
bool http_accepts_gzip(struct sv accept)
{
    while (accept.p && accept.n) {
        struct sv q, name = sv_trim(sv_cut(accept, ',', &accept));

        name = sv_trim(sv_cut(name, ';', &q));
        if (name.n != 4 || strncasecmp(name.p, "gzip", 4) != 0)
            continue;
        q = sv_trim(q);
        return !(sv_is(q, "q=0") || sv_is(q, "q=0.0") || sv_is(q, "q=0.00") ||
                 sv_is(q, "q=0.000"));
    }
    return false;
}

bool http_gzip(struct sv in, struct buf *out)
{
    z_stream z = {0};
    size_t fed = 0;
    int rc;

    buf_init(out, in.n); /* not smaller: not wanted */
    if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    do {
        size_t piece = in.n - fed < GZIP_CHUNK ? in.n - fed : GZIP_CHUNK, room = out->cap - out->n;

        if (room < 64) {
            size_t want = out->n + in.n / 8 + 512 <= in.n ? in.n / 8 + 512 : in.n - out->n;

            if (want == 0 || !buf_reserve(out, want)) {
                rc = Z_BUF_ERROR;
                break;
            }
            room = out->cap - out->n;
        }
        if (room > UINT32_MAX)
            room = UINT32_MAX;
        z.next_in = (Bytef *)(uintptr_t)(in.p + fed);
        z.avail_in = (uInt)piece;
        z.next_out = (Bytef *)out->p + out->n;
        z.avail_out = (uInt)room;
        rc = deflate(&z, fed + piece == in.n ? Z_FINISH : Z_NO_FLUSH);
        fed += piece - z.avail_in;
        out->n += room - z.avail_out;
    } while (rc == Z_OK || rc == Z_BUF_ERROR);
    deflateEnd(&z);
    if (rc == Z_STREAM_END && out->n < in.n)
        return true;
    buf_fini(out);
    return false;
}

static bool worth_gzip(const struct http_req *r, const char *type, size_t n)
{
    struct sv t = sv_of(type);

    return r->gzip_ok && n >= HTTP_GZIP_MIN &&
           (sv_starts(t, SV("text/")) || sv_starts(t, SV("application/json")) ||
            sv_starts(t, SV("application/javascript")) || sv_starts(t, SV("image/svg")));
}

static bool has_header(const struct http_req *r, const char *name)
{
    for (size_t i = 0; i < r->headers_n; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return true;
    return false;
}

void http_reply_header(struct http_req *r, const char *name, const char *value)
{
    assert(r->headers_n < HTTP_HEADERS_MAX);
    r->headers[r->headers_n].name = heap_strn(name, strlen(name));
    r->headers[r->headers_n++].value = heap_strn(value, strlen(value));
}

static void standing_headers(struct http_req *r, int status, const char *type)
{
    char text[32];

    if (type)
        http_reply_header(r, "Content-Type", type);
    http_reply_header(r, "X-Request-Id", r->id);
    http_reply_header(r, "X-Content-Type-Options", "nosniff");
    if ((status == 429 || status == 503) && !has_header(r, "Retry-After")) {
        snprintf(text, sizeof(text), "%u",
                 HTTP_RETRY_MIN_S + (unsigned)(random_u64() % (HTTP_RETRY_SPAN_S + 1)));
        http_reply_header(r, "Retry-After", text);
    }
    if (http_server_draining(r->server))
        http_reply_header(r, "Connection", "close");
}

static void count(struct http_req *r)
{
    struct timespec now;
    double seconds;

    clock_gettime(CLOCK_MONOTONIC, &now);
    seconds = (double)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec - r->started_ns) / 1e9;
    if (r->entry)
        http_router_count(r->entry, r->status, seconds, http_server_metrics(r->server));
    metric_add(http_server_counts(r->server)->out_bytes, (double)r->reply_n);
    log_debug("http", "request", "id=%s peer=%s status=%d bytes=%zu seconds=%.6f path=%s", r->id,
              r->peer, r->status, r->reply_n, seconds, log_q(r->path));
}

void http_reply_fill(struct http_req *r, int status, const char *type, struct buf *own_body)
{
    struct buf packed, plain;

    if (own_body && !buf_ok(own_body)) {
        buf_fini(own_body);
        buf_init(&plain, 64);
        buf_str(&plain, "the answer is larger than it may be\n");
        own_body = &plain;
        status = 500;
        type = "text/plain; charset=utf-8";
    }
    if (own_body && own_body->n && worth_gzip(r, type, own_body->n)) {
        http_reply_header(r, "Vary", "Accept-Encoding");
        if (http_gzip(buf_view(own_body), &packed)) {
            buf_fini(own_body);
            *own_body = packed;
            http_reply_header(r, "Content-Encoding", "gzip");
        }
    }
    r->status = status;
    if (own_body)
        r->reply = buf_detach(own_body, &r->reply_n);
    /* The bytes exist already: counted, not asked for. */
    r->reply_charged = r->reply_n;
    budget_force(http_server_budget(r->server), BUDGET_HTTP, (int64_t)r->reply_charged);
    standing_headers(r, status, r->reply_n || type ? type : NULL);
    count(r);
}

void http_reply(struct http_req *r, int status, const char *content_type, struct buf *own_body)
{
    assert(r->phase == HTTP_RUNNING);
    http_reply_fill(r, status, content_type, own_body);
    http_server_resume(r);
}

void http_reply_text(struct http_req *r, int status, const char *text)
{
    struct buf b;

    buf_init(&b, strlen(text) + 1);
    if (text[0]) {
        buf_str(&b, text);
        buf_ch(&b, '\n');
    }
    http_reply(r, status, text[0] ? "text/plain; charset=utf-8" : NULL, &b);
}

void http_reply_drop(struct http_req *r)
{
    for (size_t i = 0; i < r->headers_n; i++) {
        heap_free(r->headers[i].name);
        heap_free(r->headers[i].value);
    }
    r->headers_n = 0;
    heap_free(r->reply);
    r->reply = NULL;
    budget_release(http_server_budget(r->server), BUDGET_HTTP, (int64_t)r->reply_charged);
    r->reply_charged = 0;
}
