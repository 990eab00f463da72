/* S3 as a bucket; the Ceph Object Gateway is the reference.
 *
 * One request is: URL in canonical form, signature over it, one blocking call of the HTTP client,
 * its status put into our codes. Around it a loop repeats what may work the next time (no
 * connection, broken off, 5xx, "slow down") after a jittered wait, for as long as twice the limit of
 * one attempt allows. A dead store behind a living gateway accepts connections and never answers,
 * so each attempt has its own limit, lengthened by the bytes it moves at 1 MiB/s.
 *
 * Repeating a PUT is harmless (same key, same bytes), but for two: "only if absent" and the end of
 * a multipart upload, whose first attempt may have worked though its answer was lost. There the
 * bucket is asked what it holds before the repeated attempt's refusal is believed.
 *
 * The payload is signed by its SHA-256 over plain HTTP, and left to TLS otherwise.
 */
#include "base/codec.h"
#include "base/heap.h"
#include "net/net.h"
#include "obj_int.h"
#include "objstore/obj.h"
#include "s3_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_DEFAULT_MS  30000
#define PART_DEFAULT        ((uint64_t)16 << 20)
#define MULTIPART_DEFAULT   ((uint64_t)64 << 20)
#define PART_MIN            ((uint64_t)5 << 20) /* S3 refuses smaller ones but for the last */
#define PARTS_MAX           10000u
#define BYTES_PER_MS        1048 /* 1 MiB/s: slower counts as stuck */
#define ATTEMPTS_MAX        6u
#define BACKOFF_FIRST_MS    100
#define BACKOFF_MAX_MS      3000
#define ERROR_MAX           ((size_t)64 << 10) /* of an error's text */
#define PAGE_BODY_MAX       ((size_t)8 << 20)
#define URL_MAX             ((size_t)16 << 10)
#define LIST_KEYS           "1000"
#define HEADERS_N           6u

struct obj_s3 {
    struct obj base;
    struct net *net;
    const struct clk *clk;
    char *endpoint, *bucket, *access_key, *secret_key, *region, *host;
    bool tls, path_style;
    uint64_t part_bytes, multipart_from;
    int64_t timeout_ms;
    struct metric *m_requests, *m_failures, *m_retries, *m_sent, *m_received;
    struct metric_hist *m_seconds;
};

/* What is asked; the rest of a request follows from it. */
struct s3_call {
    const char *method;
    struct sv key; /* empty: the bucket itself */
    struct s3_param query[5];
    size_t query_n;
    struct sv body;
    int body_fd; /* > 0: body_n bytes from body_off instead */
    uint64_t body_off, body_n;
    char range[64];
    bool if_absent;
    uint64_t expect_bytes; /* of the answer, for the time limit */
    struct buf *out;       /* the answer's body; NULL: only an error's text is read */
};
struct s3_reply {
    struct net_answer net;
    struct s3_error error;
    unsigned attempts; /* that may have reached the gateway */
};

static struct obj_s3 *self(struct obj *o)
{
    return (struct obj_s3 *)o;
}

static void add_param(struct s3_call *c, const char *name, struct sv value)
{
    c->query[c->query_n++] = (struct s3_param){name, value};
}

/* --- one attempt --- */

struct s3_wire { /* the texts of one attempt */
    struct buf path, query, url, authorization;
    char date[S3_DATE_LEN + 1], payload[S3_HASH_LEN + 1];
};

static void wire_fini(struct s3_wire *w)
{
    buf_fini(&w->path);
    buf_fini(&w->query);
    buf_fini(&w->url);
    buf_fini(&w->authorization);
}

static enum status wire_init(const struct obj_s3 *o, const struct s3_call *c, struct s3_wire *w,
                             struct err *err)
{
    buf_init(&w->path, URL_MAX);
    buf_init(&w->query, URL_MAX);
    buf_init(&w->url, 2 * URL_MAX);
    buf_init(&w->authorization, URL_MAX);
    buf_ch(&w->path, '/');
    if (o->path_style) {
        s3_url_encode(&w->path, sv_of(o->bucket), false);
        buf_ch(&w->path, '/');
    }
    s3_url_encode(&w->path, c->key, true);
    s3_url_query(&w->query, c->query, c->query_n);
    buf_printf(&w->url, "%s://%s", o->tls ? "https" : "http", o->host);
    buf_sv(&w->url, buf_view(&w->path));
    if (w->query.n) {
        buf_ch(&w->url, '?');
        buf_sv(&w->url, buf_view(&w->query));
    }
    buf_ch(&w->url, 0);
    if (!buf_ok(&w->path) || !buf_ok(&w->query) || !buf_ok(&w->url))
        return err_set(err, ST_INVALID, "S3 request: URL over %zu bytes", URL_MAX);
    s3_sign_date(w->date, clk_wall_ms(o->clk));
    if (o->tls)
        memcpy(w->payload, S3_UNSIGNED, sizeof(S3_UNSIGNED));
    else if (c->body_fd > 0)
        return s3_sign_hash_fd(c->body_fd, c->body_off, c->body_n, w->payload, err);
    else
        s3_sign_hash(c->body, w->payload);
    return ST_OK;
}

static void sign(const struct obj_s3 *o, const struct s3_call *c, struct s3_wire *w)
{
    const struct s3_header signed_headers[] = {{"host", sv_of(o->host)},
                                               {"x-amz-content-sha256", sv_of(w->payload)},
                                               {"x-amz-date", sv_of(w->date)}};
    const struct s3_sign in = {.access_key = sv_of(o->access_key),
                               .secret_key = sv_of(o->secret_key),
                               .region = sv_of(o->region),
                               .method = c->method,
                               .path = buf_view(&w->path),
                               .query = buf_view(&w->query),
                               .headers = signed_headers,
                               .headers_n = 3,
                               .payload = sv_of(w->payload),
                               .date = w->date};

    s3_sign(&in, &w->authorization);
}

static enum status attempt(struct obj_s3 *o, const struct s3_call *c, int64_t timeout_ms,
                           struct net_answer *ret, struct err *err)
{
    struct net_header headers[HEADERS_N];
    struct net_request req = {.method = c->method,
                              .headers = headers,
                              .body = c->body,
                              .body_fd = c->body_fd,
                              .body_off = c->body_off,
                              .body_n = c->body_n,
                              .timeout_ms = timeout_ms};
    struct s3_wire w;
    enum status st;

    TRY_GOTO(wire_init(o, c, &w, err));
    sign(o, c, &w);
    headers[req.headers_n++] = (struct net_header){SV("Host"), sv_of(o->host)};
    headers[req.headers_n++] = (struct net_header){SV("x-amz-content-sha256"), sv_of(w.payload)};
    headers[req.headers_n++] = (struct net_header){SV("x-amz-date"), sv_of(w.date)};
    headers[req.headers_n++] = (struct net_header){SV("Authorization"), buf_view(&w.authorization)};
    if (c->range[0])
        headers[req.headers_n++] = (struct net_header){SV("Range"), sv_of(c->range)};
    if (c->if_absent)
        headers[req.headers_n++] = (struct net_header){SV("If-None-Match"), SV("*")};
    req.url = w.url.p;
    st = net_do(o->net, &req, ret, err);
out:
    wire_fini(&w);
    return st;
}

/* --- what an answer means --- */

static enum status judge(const struct obj_s3 *o, const struct s3_call *c, const struct s3_reply *r,
                         struct err *err)
{
    const char *code = r->error.code;
    long http = r->net.status;
    char where[300];

    snprintf(where, sizeof(where), "S3 %s %s/" SV_FMT, c->method, o->bucket, SV_ARG(c->key));
    if (strcmp(code, "NoSuchBucket") == 0)
        return err_set(err, ST_INVALID, "%s: bucket %s is not there", where, o->bucket);
    if (strcmp(code, "RequestTimeTooSkewed") == 0)
        return err_set(err, ST_INVALID,
                       "%s: refused because this machine's clock and the gateway's are too far "
                       "apart: set this one right (NTP)", where);
    if (strcmp(code, "QuotaExceeded") == 0 || http == 507)
        return err_set(err, ST_FULL, "%s: the bucket's or user's quota is used up", where);
    if (http == 404)
        return err_set(err, ST_NOTFOUND, "%s: not there", where);
    if (http == 412 || http == 409)
        return err_set(err, ST_CONFLICT, "%s: exists already", where);
    if (http == 401 || http == 403)
        return err_set(err, ST_INVALID, "%s: refused, HTTP %ld %s %s (access key %s)", where, http,
                       code, r->error.message, o->access_key);
    if (http >= 500 || http == 429)
        return err_set(err, ST_UNAVAIL, "%s: HTTP %ld %s %s", where, http, code, r->error.message);
    return err_set(err, http == 416 ? ST_INVALID : ST_IO, "%s: HTTP %ld %s %s", where, http, code,
                   r->error.message);
}

static void wait_ms(int64_t ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

/* The answer's bytes stay in c->out only when all went well. Its ceiling is lifted by what an
 * error's text may need, so that a small ceiling can't hide why something failed. */
static enum status one(struct obj_s3 *o, const struct s3_call *c, int64_t timeout_ms,
                       struct s3_reply *r, struct err *err)
{
    int64_t began_ns = clk_mono_ns(o->clk);
    struct buf own, *out = c->out ? c->out : &own;
    size_t from, max;
    enum status st;

    buf_init(&own, 0);
    from = out->n;
    max = out->max;
    out->max += ERROR_MAX;
    r->net = (struct net_answer){.body = out};
    memset(&r->error, 0, sizeof(r->error));
    metric_inc(o->m_requests);
    st = attempt(o, c, timeout_ms, &r->net, err);
    metric_observe(o->m_seconds, (double)(clk_mono_ns(o->clk) - began_ns) / 1e9);
    out->max = max;
    if (st == ST_OK && (r->net.status < 200 || r->net.status > 299)) {
        s3_xml_error(sv_sub(buf_view(out), from, out->n), &r->error);
        st = judge(o, c, r, err);
    } else if (st == ST_OK && c->range[0] && r->net.status != 206) {
        st = err_set(err, ST_IO, "S3 GET " SV_FMT ": the gateway ignores ranges", SV_ARG(c->key));
    } else if (st == ST_OK && c->out && out->n > max) {
        out->over = true;
        st = err_set(err, ST_LIMIT, "S3 GET " SV_FMT ": over %zu bytes", SV_ARG(c->key), max);
    }
    if (st != ST_OK) {
        out->n = from;
        metric_inc(o->m_failures);
        if (st != ST_LIMIT)
            out->over = false;
    } else {
        metric_add(o->m_received, (double)(out->n - from));
        metric_add(o->m_sent, (double)(c->body_fd > 0 ? c->body_n : c->body.n));
    }
    buf_fini(&own);
    return st;
}

static enum status call(struct obj_s3 *o, const struct s3_call *c, struct s3_reply *r,
                        struct err *err)
{
    uint64_t moved = (c->body_fd > 0 ? c->body_n : c->body.n) + c->expect_bytes;
    int64_t limit_ms = o->timeout_ms + (int64_t)(moved / BYTES_PER_MS);
    int64_t began_ns = clk_mono_ns(o->clk), backoff_ms = BACKOFF_FIRST_MS;
    enum status st;

    for (r->attempts = 1;; r->attempts++) {
        int64_t left_ms = 2 * limit_ms - (clk_mono_ns(o->clk) - began_ns) / 1000000;
        int64_t pause_ms = backoff_ms / 2 + (int64_t)(random_u64() % (uint64_t)backoff_ms);

        left_ms = left_ms > 1 ? left_ms : 1; /* 0 would be no limit */
        st = one(o, c, left_ms < limit_ms ? left_ms : limit_ms, r, err);
        left_ms = 2 * limit_ms - (clk_mono_ns(o->clk) - began_ns) / 1000000;
        r->attempts += r->net.resent;
        if ((st != ST_UNAVAIL && st != ST_TIMEOUT) || r->attempts >= ATTEMPTS_MAX ||
            left_ms <= pause_ms)
            return st;
        metric_inc(o->m_retries);
        wait_ms(pause_ms);
        backoff_ms = 2 * backoff_ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : 2 * backoff_ms;
    }
}

/* --- the table --- */

static enum status s3_get(struct obj *base, struct sv key, uint64_t off, size_t n, struct buf *out,
                          struct err *err)
{
    struct s3_call c = {.method = "GET", .key = key, .out = out};
    struct s3_reply r;

    TRY(obj_key_check(key, err));
    if (n == 0)
        return ST_OK;
    c.expect_bytes = out->max > out->n ? out->max - out->n : 0;
    if (c.expect_bytes > n)
        c.expect_bytes = n;
    if (n < INT64_MAX && off < INT64_MAX)
        snprintf(c.range, sizeof(c.range), "bytes=%llu-%llu", (unsigned long long)off,
                 (unsigned long long)off + n - 1);
    else if (off) /* to the end */
        snprintf(c.range, sizeof(c.range), "bytes=%llu-", (unsigned long long)off);
    return call(self(base), &c, &r, err);
}

static enum status s3_size(struct obj *base, struct sv key, uint64_t *ret, struct err *err)
{
    struct s3_call c = {.method = "HEAD", .key = key};
    struct s3_reply r;

    TRY(obj_key_check(key, err));
    TRY(call(self(base), &c, &r, err));
    *ret = r.net.content_length;
    return ST_OK;
}

/* A repeated "only if absent" was refused: was it our own first attempt that got there? A caller
 * for whom this matters (a lock) writes something that nobody else would. */
static bool holds(struct obj_s3 *o, struct sv key, struct sv bytes)
{
    struct buf b;
    bool same;

    buf_init(&b, bytes.n + 1);
    same = s3_get(&o->base, key, 0, SIZE_MAX, &b, NULL) == ST_OK && sv_eq(buf_view(&b), bytes);
    buf_fini(&b);
    return same;
}

static enum status s3_put(struct obj *base, struct sv key, struct sv bytes, bool if_absent,
                          struct err *err)
{
    struct s3_call c = {.method = "PUT", .key = key, .body = bytes, .if_absent = if_absent};
    struct s3_reply r;
    enum status st;

    TRY(obj_key_check(key, err));
    st = call(self(base), &c, &r, err);
    if (st == ST_CONFLICT && r.attempts > 1 && holds(self(base), key, bytes))
        return ST_OK;
    return st;
}

/* An upload in parts, under way. */
struct s3_upload {
    struct sv key;
    struct buf id, finish; /* finish: the document that ends it */
    int fd;
    uint64_t bytes, part_bytes;
};

static enum status begin_upload(struct obj_s3 *o, struct s3_upload *u, struct err *err)
{
    struct s3_call c = {.method = "POST", .key = u->key};
    struct s3_reply r;
    struct buf body;
    enum status st;

    add_param(&c, "uploads", (struct sv){NULL, 0});
    buf_init(&body, ERROR_MAX);
    c.out = &body;
    st = call(o, &c, &r, err);
    if (st == ST_OK)
        st = s3_xml_text(buf_view(&body), "UploadId", &u->id, err);
    buf_fini(&body);
    return st;
}

static enum status upload_part(struct obj_s3 *o, struct s3_upload *u, unsigned no, struct err *err)
{
    struct s3_call c = {.method = "PUT", .key = u->key, .body_fd = u->fd};
    struct s3_reply r;
    char number[16];

    snprintf(number, sizeof(number), "%u", no);
    add_param(&c, "partNumber", sv_of(number));
    add_param(&c, "uploadId", buf_view(&u->id));
    c.body_off = (uint64_t)(no - 1) * u->part_bytes;
    c.body_n = u->bytes - c.body_off < u->part_bytes ? u->bytes - c.body_off : u->part_bytes;
    TRY(call(o, &c, &r, err));
    if (!r.net.etag[0] || strpbrk(r.net.etag, "<>&\""))
        return err_set(err, ST_IO, "S3 upload of " SV_FMT ": part %u has no usable ETag",
                       SV_ARG(u->key), no);
    buf_printf(&u->finish, "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag></Part>",
               no, r.net.etag);
    return ST_OK;
}

/* The gateway may answer 200 and an error document, and an answer may get lost: what counts in doubt
 * is whether the object is there, whole. */
static enum status finish_upload(struct obj_s3 *o, struct s3_upload *u, struct err *err)
{
    struct s3_call c = {.method = "POST", .key = u->key, .expect_bytes = u->bytes / 4};
    struct s3_reply r;
    struct buf body;
    uint64_t size;
    enum status st;

    buf_str(&u->finish, "</CompleteMultipartUpload>");
    if (!buf_ok(&u->finish))
        return err_set(err, ST_LIMIT, "S3 upload of " SV_FMT ": too many parts", SV_ARG(u->key));
    add_param(&c, "uploadId", buf_view(&u->id));
    c.body = buf_view(&u->finish);
    buf_init(&body, ERROR_MAX);
    c.out = &body;
    st = call(o, &c, &r, err);
    if (st == ST_OK && s3_xml_error(buf_view(&body), &r.error))
        st = err_set(err, ST_UNAVAIL, "S3 upload of " SV_FMT ": %s %s", SV_ARG(u->key),
                     r.error.code, r.error.message);
    buf_fini(&body);
    if (st == ST_NOTFOUND && r.attempts > 1 && s3_size(&o->base, u->key, &size, NULL) == ST_OK &&
        size == u->bytes)
        return ST_OK;
    return st;
}

/* Parts of an upload that is not ended cost storage for ever. */
static void abort_upload(struct obj_s3 *o, struct s3_upload *u)
{
    struct s3_call c = {.method = "DELETE", .key = u->key};
    struct s3_reply r;

    add_param(&c, "uploadId", buf_view(&u->id));
    (void)call(o, &c, &r, NULL);
}

static enum status put_parts(struct obj_s3 *o, struct sv key, int fd, uint64_t bytes,
                             struct err *err)
{
    struct s3_upload u = {.key = key, .fd = fd, .bytes = bytes, .part_bytes = o->part_bytes};
    enum status st;

    while (bytes / u.part_bytes >= PARTS_MAX)
        u.part_bytes *= 2;
    buf_init(&u.id, 1024);
    buf_init(&u.finish, (size_t)4 << 20);
    buf_str(&u.finish, "<CompleteMultipartUpload>");
    TRY_GOTO(begin_upload(o, &u, err));
    for (unsigned no = 1; (uint64_t)(no - 1) * u.part_bytes < bytes && st == ST_OK; no++)
        st = upload_part(o, &u, no, err);
    if (st == ST_OK)
        st = finish_upload(o, &u, err);
    if (st != ST_OK)
        abort_upload(o, &u);
out:
    buf_fini(&u.id);
    buf_fini(&u.finish);
    return st;
}

static enum status s3_put_file(struct obj *base, struct sv key, const char *path, struct err *err)
{
    struct obj_s3 *o = self(base);
    struct s3_call c = {.method = "PUT", .key = key};
    struct s3_reply r;
    enum status st;
    struct stat sb;

    TRY(obj_key_check(key, err));
    c.body_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (c.body_fd == 0) { /* stdin was closed: 0 says "no file" in a request */
        c.body_fd = fcntl(0, F_DUPFD_CLOEXEC, 3);
        close(0);
    }
    if (c.body_fd < 0)
        return err_os(err, "open %s", path);
    if (fstat(c.body_fd, &sb) != 0) {
        st = err_os(err, "stat %s", path);
    } else if ((uint64_t)sb.st_size > o->multipart_from) {
        st = put_parts(o, key, c.body_fd, (uint64_t)sb.st_size, err);
    } else {
        c.body_n = (uint64_t)sb.st_size;
        st = call(o, &c, &r, err);
    }
    close(c.body_fd);
    return st;
}

static enum status s3_del(struct obj *base, struct sv key, struct err *err)
{
    struct s3_call c = {.method = "DELETE", .key = key};
    struct s3_reply r;
    enum status st;

    TRY(obj_key_check(key, err));
    st = call(self(base), &c, &r, err);
    return st == ST_NOTFOUND ? ST_OK : st;
}

static enum status list_page(struct obj_s3 *o, struct sv prefix, bool delimiter, const char *token,
                             struct s3_page *ret, struct err *err)
{
    struct s3_call c = {.method = "GET"};
    struct s3_reply r;
    struct buf body;
    enum status st;

    if (token[0])
        add_param(&c, "continuation-token", sv_of(token));
    if (delimiter)
        add_param(&c, "delimiter", SV("/"));
    add_param(&c, "list-type", SV("2"));
    add_param(&c, "max-keys", SV(LIST_KEYS));
    add_param(&c, "prefix", prefix);
    buf_init(&body, PAGE_BODY_MAX);
    c.out = &body;
    st = call(o, &c, &r, err);
    if (st == ST_OK)
        st = s3_xml_page(buf_view(&body), ret, err);
    buf_fini(&body);
    return st;
}

static enum status s3_list(struct obj *base, struct sv prefix, bool delimiter, obj_visit visit,
                           void *arg, struct err *err)
{
    struct obj_s3 *o = self(base);
    char token[S3_TOKEN_MAX + 1] = "";
    bool more = true;
    enum status st;

    TRY(obj_prefix_check(prefix, err));
    while (more) {
        struct s3_page page;

        TRY(list_page(o, prefix, delimiter, token, &page, err));
        st = ST_OK;
        for (size_t i = 0; i < page.n && st == ST_OK; i++) {
            const struct s3_listed *e = &page.p[i];
            struct sv key = sv_make(page.keys.p + e->key_at, e->key_n);

            /* What others put there under names that are no keys here, nobody could ask for. */
            if ((e->is_prefix ? obj_prefix_check(key, NULL) : obj_key_check(key, NULL)) == ST_OK)
                st = visit(arg, key, e->bytes, e->is_prefix, err);
        }
        more = page.truncated;
        if (st == ST_OK && more && strcmp(token, page.token) == 0)
            st = err_set(err, ST_IO, "S3 listing of %s does not go on", o->bucket);
        memcpy(token, page.token, sizeof(token));
        s3_xml_page_free(&page);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static bool s3_local_path(struct obj *base, struct sv key, char out[FS_PATH_MAX])
{
    (void)base;
    (void)key;
    (void)out;
    return false;
}

static void s3_close(struct obj *own_o)
{
    struct obj_s3 *o = self(own_o);

    if (!o)
        return;
    heap_free(o->endpoint);
    heap_free(o->bucket);
    heap_free(o->access_key);
    heap_free(o->secret_key);
    heap_free(o->region);
    heap_free(o->host);
    heap_free(o);
}

/* --- opening --- */

static void register_metrics(struct obj_s3 *o, struct metrics *m)
{
    if (!m)
        return;
    o->m_requests = metric_counter(m, "engram_objstore_requests_total", "",
                                   "Requests to the bucket, repeated ones too.");
    o->m_failures = metric_counter(m, "engram_objstore_failures_total", "",
                                   "Requests that were not answered as hoped; absent keys too.");
    o->m_retries = metric_counter(m, "engram_objstore_retries_total", "", "Requests repeated.");
    o->m_sent = metric_counter(m, "engram_objstore_sent_bytes_total", "", "Bytes put.");
    o->m_received = metric_counter(m, "engram_objstore_received_bytes_total", "", "Bytes got.");
    o->m_seconds =
        metric_seconds(m, "engram_objstore_request_seconds", "", "Duration of one attempt.");
}

static enum status need(const char *value, const char *what, struct err *err)
{
    return value && value[0] ? ST_OK : err_set(err, ST_INVALID, "bucket.s3.%s is not set", what);
}

static char *copy_of(const char *z)
{
    return heap_strn(z, strlen(z));
}

/* The bucket's name is part of a host name or a path: letters, digits, '.', '-' and '_'. */
static enum status check_opts(const struct obj_s3_opts *p, struct s3_endpoint *ep, struct err *err)
{
    TRY(need(p->endpoint, "endpoint", err));
    TRY(need(p->bucket, "bucket", err));
    TRY(need(p->access_key, "access_key", err));
    TRY(need(p->secret_key, "secret_key", err));
    TRY(s3_url_endpoint(p->endpoint, ep, err));
    for (const char *z = p->bucket; *z; z++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_", *z) ||
            z - p->bucket >= 255)
            return err_set(err, ST_INVALID, "bucket.s3.bucket %s is not a bucket's name",
                           p->bucket);
    if (p->part_bytes && p->part_bytes < PART_MIN)
        return err_set(err, ST_INVALID, "S3 parts below %llu bytes are refused by gateways",
                       (unsigned long long)PART_MIN);
    return ST_OK;
}

enum status obj_s3_open(const struct obj_s3_opts *opts, struct obj **ret, struct err *err)
{
    static const struct obj_ops ops = {s3_get, s3_size, s3_put,        s3_put_file,
                                       s3_del, s3_list, s3_local_path, s3_close};
    struct s3_endpoint ep;
    struct obj_s3 *o;
    struct buf host;

    TRY(check_opts(opts, &ep, err));
    o = heap_new(struct obj_s3);
    o->base.ops = &ops;
    o->net = opts->net;
    o->clk = opts->clk ? opts->clk : clk_system();
    o->endpoint = copy_of(opts->endpoint);
    o->bucket = copy_of(opts->bucket);
    o->access_key = copy_of(opts->access_key);
    o->secret_key = copy_of(opts->secret_key);
    o->region = copy_of(opts->region && opts->region[0] ? opts->region : "us-east-1");
    o->tls = ep.tls;
    o->path_style = opts->path_style;
    o->part_bytes = opts->part_bytes ? opts->part_bytes : PART_DEFAULT;
    o->multipart_from = opts->multipart_from_bytes ? opts->multipart_from_bytes : MULTIPART_DEFAULT;
    o->timeout_ms = opts->timeout_ms > 0 ? opts->timeout_ms : TIMEOUT_DEFAULT_MS;
    buf_init(&host, 1024);
    if (!o->path_style)
        buf_printf(&host, "%s.", o->bucket);
    buf_sv(&host, ep.host);
    o->host = heap_strn(host.p, host.n);
    buf_fini(&host);
    register_metrics(o, opts->metrics);
    *ret = &o->base;
    return ST_OK;
}
