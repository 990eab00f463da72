/* The table of routes, who may ask, and the shape of every answer. */
#include "api_int.h"

#include "base/heap.h"
#include "base/json.h"

#include <assert.h>
#include <stdio.h>

#define ERROR_TEXT_MAX  4096
#define METRICS_TEXT_MAX ((size_t)64 << 20)

enum need { NEEDS_NOTHING, NEEDS_DIST, NEEDS_FE };

struct route_row {
    const char *path; /* below /api/v1/ */
    unsigned methods;
    enum http_lane lane;
    http_handler handler;
    const char *name;
    enum need need;
};

#define BOTH (HTTP_GET | HTTP_POST)

static const struct route_row rows[] = {
    {"push", HTTP_POST, HTTP_WRITE, api_push, "push", NEEDS_DIST},
    {"write", HTTP_POST, HTTP_WRITE, api_push, "push", NEEDS_DIST},
    {"query", BOTH, HTTP_QUERY, api_query, "query", NEEDS_FE},
    {"query_range", BOTH, HTTP_QUERY, api_query_range, "query_range", NEEDS_FE},
    {"labels", BOTH, HTTP_QUERY, api_labels, "labels", NEEDS_FE},
    {"label/(*)/values", HTTP_GET, HTTP_QUERY, api_label_values, "label_values", NEEDS_FE},
    {"series", BOTH, HTTP_QUERY, api_series, "series", NEEDS_FE},
    {"metadata", HTTP_GET, HTTP_QUERY, api_metadata, "metadata", NEEDS_FE},
    {"query_exemplars", BOTH, HTTP_QUERY, api_exemplars, "query_exemplars", NEEDS_FE},
    {"format_query", BOTH, HTTP_QUERY, api_format_query, "format_query", NEEDS_FE},
    {"parse_query", BOTH, HTTP_QUERY, api_parse_query, "parse_query", NEEDS_FE},
    {"status/buildinfo", HTTP_GET, HTTP_QUERY, api_buildinfo, "buildinfo", NEEDS_FE},
    {"rules", HTTP_GET, HTTP_QUERY, api_rules, "rules", NEEDS_FE},
    {"alerts", HTTP_GET, HTTP_QUERY, api_alerts, "alerts", NEEDS_FE},
};

static const char *const prefixes[] = {"/api/v1/", "/prometheus/api/v1/"};

static void add_route(struct api_table *t, const char *prefix, const struct route_row *row, void *self)
{
    char pattern[128];
    struct http_route route = {.methods = row->methods,
                               .lane = row->lane,
                               .handler = row->handler,
                               .self = self,
                               .name = row->name};

    snprintf(pattern, sizeof(pattern), "%s%s", prefix, row->path);
    vec_push(&t->patterns, heap_strn(pattern, strlen(pattern)));
    route.pattern = t->patterns.p[t->patterns.n - 1];
    vec_push(&t->routes, route);
}

static void add_both(struct api_table *t, const struct route_row *row, void *self)
{
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        add_route(t, prefixes[i], row, self);
}

/* What both servers have: who is admin differs. */
static void add_admin(struct api *a, struct api_table *t, struct api_admin *admin)
{
    static const struct route_row ready = {"ready", HTTP_GET, HTTP_INLINE, api_ready, "ready", 0};
    static const struct route_row metrics = {"metrics", HTTP_GET, HTTP_INLINE, api_metrics, "metrics", 0};
    static const struct route_row flush = {"admin/flush", HTTP_POST, HTTP_ADMIN, api_flush, "flush", 0};

    add_route(t, "/", &ready, a);
    add_route(t, "/", &metrics, a);
    if (a->opts.ingester)
        add_both(t, &flush, admin);
}

static void make_table(struct api *a)
{
    static const struct route_row prom = {"push", HTTP_POST, HTTP_WRITE, api_push, "push", 0};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if ((rows[i].need != NEEDS_DIST || a->opts.dist) &&
            (rows[i].need != NEEDS_FE || (a->opts.fe && a->opts.storage)))
            add_both(&a->table, &rows[i], a);
    if (a->opts.dist)
        add_route(&a->table, "/api/prom/", &prom, a);
    add_admin(a, &a->table, &a->admin);
    add_admin(a, &a->admin_table, &a->admin_listen);
}

/* Without authentication everybody is somebody; that is how the modes differ from here. */
static bool in_header_mode(struct tenants *t)
{
    struct arena arena;
    struct who who;
    struct err err = ERR_INIT;
    bool header;

    arena_init(&arena, 4096);
    header = tenant_who(t, (struct sv){NULL, 0}, SV("start"), &arena, &who, &err) != ST_OK;
    if (!header)
        tenant_done(&who);
    arena_fini(&arena);
    return header;
}

struct api *api_new(const struct api_opts *opts)
{
    struct api *a = heap_new(struct api);
    struct err err = ERR_INIT;

    a->opts = *opts;
    lock_init(&a->lock, LOCK_queue);
    a->header_mode = in_header_mode(opts->tenants);
    if (opts->trusted_n) {
        enum status st =
            api_networks_parse(opts->trusted_proxies, opts->trusted_n, &a->trusted, &err);

        assert(st == ST_OK); /* the settings were checked */
        (void)st;
    }
    a->opts.trusted_proxies = NULL;
    a->admin = (struct api_admin){a, opts->admin_loopback_only};
    a->admin_listen = (struct api_admin){a, false};
    make_table(a);
    return a;
}

static void table_free(struct api_table *t)
{
    for (size_t i = 0; i < t->patterns.n; i++)
        heap_free(t->patterns.p[i]);
    vec_free(&t->patterns);
    vec_free(&t->routes);
}

void api_free(struct api *own_a)
{
    if (!own_a)
        return;
    table_free(&own_a->table);
    table_free(&own_a->admin_table);
    api_networks_free(own_a->trusted);
    heap_free(own_a->why);
    lock_fini(&own_a->lock);
    heap_free(own_a);
}

const struct http_route *api_routes(struct api *a, size_t *ret_n)
{
    *ret_n = a->table.routes.n;
    return a->table.routes.p;
}

const struct http_route *api_admin_routes(struct api *a, size_t *ret_n)
{
    *ret_n = a->admin_table.routes.n;
    return a->admin_table.routes.p;
}

void api_set_unready(struct api *a, const char *why)
{
    lock_take(&a->lock);
    heap_free(a->why);
    a->why = why ? heap_strn(why, strlen(why)) : NULL;
    lock_drop(&a->lock);
}

void api_ready(void *self, struct http_req *r)
{
    struct api *a = self;
    char text[256] = "ready";
    int status = 200;

    lock_take(&a->lock);
    if (a->why) {
        snprintf(text, sizeof(text), "%s", a->why);
        status = 503;
    }
    lock_drop(&a->lock);
    http_reply_text(r, status, text);
}

void api_metrics(void *self, struct http_req *r)
{
    struct api *a = self;
    struct buf b;

    buf_init(&b, METRICS_TEXT_MAX);
    metrics_render(a->opts.metrics, &b);
    http_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

bool api_who(struct api *a, struct http_req *r, struct who *ret)
{
    struct err err = ERR_INIT;

    if (a->header_mode && a->trusted && !http_req_loopback(r) &&
        !api_networks_have(a->trusted, http_req_peer(r))) {
        http_reply_text(r, 403,
                        "this address is not one of auth.trusted_proxies: its X-Scope-OrgID is not "
                        "trusted");
        return false;
    }
    if (a->header_mode && http_req_header_count(r, "X-Scope-OrgID") > 1) {
        /* A proxy that adds its own beside the client's: whose it is can't be told. */
        http_reply_text(r, 400, "X-Scope-OrgID is there more than once");
        return false;
    }
    if (tenant_who(a->opts.tenants, http_req_header(r, "X-Scope-OrgID"), http_req_id(r),
                   http_req_arena(r), ret, &err) == ST_OK)
        return true;
    http_reply_text(r, status_http(err.st), err.msg);
    return false;
}

bool api_foreign_page(struct http_req *r)
{
    struct sv site = http_req_header(r, "Sec-Fetch-Site");

    if (!site.n || sv_is(site, "same-origin") || sv_is(site, "none"))
        return false;
    http_reply_text(r, 403, "pages of other origins may not write here");
    return true;
}

void api_reply_json(struct http_req *r, struct buf *own_body)
{
    http_reply(r, 200, "application/json", own_body);
}

void api_reply_error(struct http_req *r, const struct err *e)
{
    struct buf b;

    buf_init(&b, ERROR_TEXT_MAX);
    buf_str(&b, "{\"status\":\"error\",\"errorType\":");
    json_str(&b, sv_of(status_type(e->st)));
    buf_str(&b, ",\"error\":");
    json_str_html(&b, sv_of(e->msg));
    buf_ch(&b, '}');
    http_reply(r, status_http(e->st), "application/json", &b);
}
