/* The way in: content headers, decoding, the distributor, and an answer only once the log is durable
 * (the log's syncer calls back). What each status makes a sender do decides which one is given: 4xx
 * but 429 drops the data, 5xx repeats it for ever.
 *
 * Memory: the batch is made of views into the decompressed body and columns in the request's arena.
 * Before decoding four times the announced size is charged and eight times allowed, which is more
 * than real requests take; what hostile ones make of themselves (a series of two bytes becomes eighty)
 * ends at that ceiling. */
#include "api_int.h"

#include "base/codec.h"
#include "wire/wire.h"

#include <assert.h>

#define COLUMNS_CHARGED 4
#define COLUMNS_MAX     8
#define SLACK_BYTES     ((size_t)1 << 20)
#define REFUSAL_MAX     4096

/* A push between decoding and its answer; in the request's arena. */
struct push {
    struct http_req *req;
    struct account mem;
    char *refusal; /* in the arena; NULL: all stored */
};

static bool is_token(struct sv s, const char *z)
{
    return s.n == strlen(z) && strncasecmp(s.p, z, s.n) == 0;
}

static enum status check_type(struct sv type, struct err *err)
{
    struct sv params, base = sv_trim(sv_cut(type, ';', &params));

    if (base.n == 0)
        return ST_OK;
    if (!is_token(base, "application/x-protobuf"))
        return err_set(err, ST_MEDIA,
                       "Content-Type \"" SV_FMT "\" is not accepted, only application/x-protobuf",
                       SV_ARG(base));
    while (params.p && params.n) {
        struct sv value, name = sv_trim(sv_cut(params, ';', &params));

        name = sv_trim(sv_cut(name, '=', &value));
        value = sv_trim(value);
        if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
            value = sv_sub(value, 1, value.n - 2);
        if (is_token(name, "proto") && !sv_is(value, "prometheus.WriteRequest"))
            return err_set(err, ST_MEDIA,
                           "protobuf message \"" SV_FMT
                           "\" is not accepted, only prometheus.WriteRequest (remote write 1.0)",
                           SV_ARG(value));
    }
    return ST_OK;
}

static enum status check_headers(const struct http_req *r, struct err *err)
{
    struct sv encoding = http_req_header(r, "Content-Encoding");

    if (encoding.n && !is_token(encoding, "snappy"))
        return err_set(err, ST_MEDIA,
                       "Content-Encoding \"" SV_FMT "\" is not accepted, only snappy",
                       SV_ARG(encoding));
    return check_type(http_req_header(r, "Content-Type"), err);
}

/* The length a snappy block says it has; what it really is wire_unsnap() finds out. */
static uint64_t announced(struct sv body)
{
    struct cur c = cur_of(body);
    uint64_t n = cur_uvarint(&c);

    return c.bad ? 0 : n;
}

static enum status decode(struct api *a, struct http_req *r, struct push *p, struct batch *batch,
                          struct err *err)
{
    struct arena *arena = http_req_arena(r);
    struct sv body = http_req_body(r), plain;
    uint64_t n = announced(body);
    enum status st;

    if (n > a->opts.push_decoded_max_bytes)
        return err_set(err, ST_TOOBIG,
                       "the request decompresses to %llu bytes, over the limit of %zu",
                       (unsigned long long)n, a->opts.push_decoded_max_bytes);
    if (account_charge(&p->mem, (int64_t)(n * COLUMNS_CHARGED), err) != ST_OK)
        return err_set(err, ST_UNAVAIL, "the server is short of memory for write requests");
    if (arena->max_bytes > arena->used_bytes + n * COLUMNS_MAX + SLACK_BYTES)
        arena->max_bytes = arena->used_bytes + n * COLUMNS_MAX + SLACK_BYTES;
    TRY(wire_unsnap(body, a->opts.push_decoded_max_bytes, arena, &plain, err));
    batch_init(batch, arena, dist_alias_key(a->opts.dist));
    st = wire_write_v1(plain, batch, err);
    if (st == ST_LIMIT)
        return err_set(err, ST_TOOBIG,
                       "the request of %zu bytes takes more than %zu bytes of memory when decoded",
                       body.n, arena->max_bytes);
    return st;
}

static void answer_failure(struct http_req *r, const struct err *err)
{
    int code = status_http(err->st);

    /* A disk that fails is a reason to come again, as a full one is. */
    if (err->st == ST_IO || err->st == ST_CORRUPT)
        code = 503;
    else if (err->st == ST_LIMIT)
        code = 400;
    http_reply_text(r, code, err->msg);
}

static void fail(struct push *p, const struct err *err)
{
    struct http_req *r = p->req;

    account_fini(&p->mem);
    answer_failure(r, err);
}

/* The log's syncer, or at once. The last look at p comes before the reply. */
static void durable(void *arg, enum status st, const struct err *err)
{
    struct push *p = arg;
    struct http_req *r = p->req;
    const char *refusal = p->refusal;

    account_fini(&p->mem);
    if (st != ST_OK) {
        struct err e = ERR_INIT;

        if (!err) {
            err_set(&e, st, "the write-ahead log failed");
            err = &e;
        }
        answer_failure(r, err);
    } else {
        http_reply_text(r, refusal ? 400 : 200, refusal ? refusal : "");
    }
}

/* 429 when nothing but memory pressure refused series: those come again. */
static bool only_memory(const struct append_result *res)
{
    if (!res->samples[VERDICT_MEMORY] && !res->hists[VERDICT_MEMORY])
        return false;
    for (int v = 0; v < VERDICT_N; v++)
        if (v != VERDICT_STORED && v != VERDICT_DUPLICATE && v != VERDICT_MEMORY &&
            (res->samples[v] || res->hists[v]))
            return false;
    return true;
}

static enum status keep_refusal(struct push *p, const struct append_result *res, struct sv tenant,
                                struct err *err)
{
    struct buf text;
    struct arena *arena = http_req_arena(p->req);

    buf_init(&text, REFUSAL_MAX);
    dist_refusal_text(res, tenant, &text);
    if (text.n) {
        if (only_memory(res)) {
            err_set(err, ST_RATE, SV_FMT, SV_ARG(buf_view(&text)));
            buf_fini(&text);
            return ST_RATE;
        }
        arena->max_bytes = arena->used_bytes + SLACK_BYTES; /* there is always room for it */
        arena->over = false;
        p->refusal = arena_str(arena, buf_view(&text));
        assert(p->refusal);
    }
    buf_fini(&text);
    return ST_OK;
}

void api_push(void *self, struct http_req *r)
{
    struct api *a = self;
    struct push *p = arena_new(http_req_arena(r), struct push);
    struct batch batch;
    struct append_result res = {0};
    struct err err = ERR_INIT;
    struct who who;
    enum status st;

    if (!p) {
        http_reply_text(r, 413, "the request is larger than its memory");
        return;
    }
    if (api_foreign_page(r) || !api_who(a, r, &who))
        return;
    p->req = r;
    account_init(&p->mem, a->opts.budget, BUDGET_HTTP, 0);
    st = check_headers(r, &err);
    if (st == ST_OK)
        st = decode(a, r, p, &batch, &err);
    if (st == ST_OK)
        st = dist_push(a->opts.dist, &who, &batch, &res, &err);
    if (st == ST_OK)
        st = keep_refusal(p, &res, who.tenant, &err);
    tenant_done(&who);
    if (st != ST_OK)
        fail(p, &err);
    else
        dist_durable(a->opts.dist, res.log_pos, durable, p);
}
