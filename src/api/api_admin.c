/* What an operator asks for: flush. Only from loopback, or through the server on admin.listen. */
#include "api_int.h"

#include "base/heap.h"
#include "base/json.h"
#include "base/log.h"

#include <inttypes.h>

#define BLOCKS_TEXT_MAX ((size_t)16 << 20)

static void put_block(void *arg, const struct block_meta *m)
{
    struct buf *b = arg;

    if (b->n > 1)
        buf_ch(b, ',');
    buf_printf(b, "{\"ulid\":\"%s\",\"tenant\":", m->ulid);
    json_str(b, sv_of(m->tenant));
    buf_printf(b,
               ",\"minTime\":%" PRId64 ",\"maxTime\":%" PRId64 ",\"level\":%u,\"stats\":"
               "{\"numSamples\":%" PRIu64 ",\"numSeries\":%" PRIu64 ",\"numChunks\":%" PRIu64 "}}",
               m->range.from_ms, m->range.to_ms, m->level, m->num_samples, m->num_series,
               m->num_chunks);
}

/* Whose head: *ret_tenant (copied to the heap; NULL: of all). false: the answer has been sent. */
static bool whose(const struct api_admin *admin, struct http_req *r, char **ret_tenant)
{
    struct api *a = admin->api;
    struct who who;

    *ret_tenant = NULL;
    if (admin->loopback_only && !http_req_loopback(r)) {
        http_reply_text(r, 403, "admin routes answer on loopback or on admin.listen alone");
        return false;
    }
    if (!a->header_mode || (!http_req_header(r, "X-Scope-OrgID").n && http_req_loopback(r)))
        return true;
    if (!api_who(a, r, &who))
        return false;
    *ret_tenant = heap_strn(who.tenant.p, who.tenant.n);
    tenant_done(&who);
    return true;
}

static void flush_later(struct api *a, struct http_req *r, const char *tenant)
{
    struct err err = ERR_INIT;
    struct buf ignored;

    http_reply_text(r, 202, "the heads are being cut and shipped");
    buf_init(&ignored, 0);
    if (ingester_flush(a->opts.ingester, sv_of(tenant), put_block, &ignored, &err) != ST_OK)
        log_warn("api", "flush failed, what is not shipped will be tried again", "error=%s",
                 log_q(sv_of(err.msg)));
    buf_fini(&ignored);
}

static void flush_now(struct api *a, struct http_req *r, const char *tenant)
{
    struct err err = ERR_INIT;
    struct buf b;

    buf_init(&b, BLOCKS_TEXT_MAX);
    buf_ch(&b, '[');
    if (ingester_flush(a->opts.ingester, sv_of(tenant), put_block, &b, &err) == ST_OK) {
        buf_ch(&b, ']');
        api_reply_json(r, &b);
        return;
    }
    buf_fini(&b);
    if (err.st == ST_IO) /* of the bucket or the disk: nothing is lost, it is tried again */
        err.st = ST_UNAVAIL;
    api_reply_error(r, &err);
}

void api_flush(void *self, struct http_req *r)
{
    const struct api_admin *admin = self;
    struct sv wait;
    char *tenant;

    if (api_foreign_page(r) || !whose(admin, r, &tenant))
        return;
    if (http_req_param(r, "wait", 0, &wait) && (sv_is(wait, "true") || sv_is(wait, "1")))
        flush_now(admin->api, r, tenant);
    else
        flush_later(admin->api, r, tenant);
    heap_free(tenant);
}
