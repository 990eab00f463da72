/* The status page at `/` and its files under /ui/, embedded at build time. A strict policy lets the page
 * load nothing from elsewhere and run no inline code. Files are asked for again each time and answered
 * 304 while they are the same, so that a new binary's page is seen at once. */
#include "ui_int.h"

#include "base/heap.h"

#include <stdio.h>

#define PAGE "page.html"

static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct ui {
    char version[64];
    struct http_route routes[2];
};

static const struct ui_asset *find(struct sv name)
{
    for (size_t i = 0; i < ui_assets_n; i++)
        if (sv_is(name, ui_assets[i].name))
            return &ui_assets[i];
    return NULL;
}

static const char *type_of(const char *name)
{
    struct sv n = sv_of(name);

    if (sv_ends(n, SV(".html")))
        return "text/html; charset=utf-8";
    if (sv_ends(n, SV(".css")))
        return "text/css; charset=utf-8";
    return sv_ends(n, SV(".js")) ? "text/javascript; charset=utf-8" : "image/svg+xml";
}

/* The file with @VERSION@ replaced, its text for HTML. */
static void fill(const struct ui *u, const struct ui_asset *a, struct buf *out)
{
    struct sv rest = sv_make(a->p, a->n), mark = SV("@VERSION@");
    size_t at;

    buf_init(out, a->n + sizeof(u->version) * 8);
    while ((at = sv_search(rest, mark)) != SIZE_MAX) {
        buf_sv(out, sv_sub(rest, 0, at));
        for (const char *c = u->version; *c; c++)
            if (*c == '<' || *c == '&')
                buf_str(out, *c == '<' ? "&lt;" : "&amp;");
            else
                buf_ch(out, *c);
        rest = sv_sub(rest, at + mark.n, rest.n);
    }
    buf_sv(out, rest);
}

static void serve(const struct ui *u, struct http_req *r, const struct ui_asset *a)
{
    char tag[128];
    struct buf b;

    snprintf(tag, sizeof(tag), "\"%s-%s\"", a->tag, u->version);
    http_reply_header(r, "ETag", tag);
    http_reply_header(r, "Cache-Control", "no-cache");
    http_reply_header(r, "Content-Security-Policy", policy);
    http_reply_header(r, "Referrer-Policy", "no-referrer");
    if (sv_is(http_req_header(r, "If-None-Match"), tag)) {
        http_reply(r, 304, NULL, NULL);
        return;
    }
    fill(u, a, &b);
    http_reply(r, 200, type_of(a->name), &b);
}

static void page(void *self, struct http_req *r)
{
    serve(self, r, find(SV(PAGE)));
}

static void file(void *self, struct http_req *r)
{
    const struct ui_asset *a = find(http_req_part(r));

    if (a && strcmp(a->name, PAGE) != 0)
        serve(self, r, a);
    else
        http_reply_text(r, 404, "404 page not found");
}

struct ui *ui_new(const char *version)
{
    struct ui *u = heap_new(struct ui);

    snprintf(u->version, sizeof(u->version), "%s", version);
    for (char *c = u->version; *c; c++)
        if (*c == '"' || (unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
            *c = '_'; /* it stands in a header */
    u->routes[0] = (struct http_route){HTTP_GET, "/", HTTP_INLINE, page, u, "page"};
    u->routes[1] = (struct http_route){HTTP_GET, "/ui/(*)", HTTP_INLINE, file, u, "page"};
    return u;
}

void ui_free(struct ui *own_u)
{
    heap_free(own_u);
}

const struct http_route *ui_routes(struct ui *u, size_t *ret_n)
{
    *ret_n = sizeof(u->routes) / sizeof(u->routes[0]);
    return u->routes;
}
