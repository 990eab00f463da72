/* The table of routes. A few dozen rows are compared in turn: one comparison is a length and a
 * memcmp, which costs less than a tree would. Patterns with (*) are compared with the path as sent,
 * so that %2F stays inside a part; the others with the decoded one. */
#include "http_int.h"

#include <stdio.h>

const int http_codes[HTTP_CODES - 1] = {200, 204, 400, 401, 403, 404, 405,
                                        413, 415, 422, 429, 499, 500, 503};

void http_router_init(struct http_router *t, const struct http_route *routes, size_t n)
{
    t->p = heap_array(n, sizeof(*t->p));
    t->n = n;
    for (size_t i = 0; i < n; i++) {
        struct http_entry *e = &t->p[i];
        struct sv pattern = sv_of(routes[i].pattern);
        size_t star = sv_search(pattern, SV("(*)"));

        e->route = routes[i];
        e->part = star != SIZE_MAX;
        e->prefix = e->part ? sv_sub(pattern, 0, star) : pattern;
        e->suffix = e->part ? sv_sub(pattern, star + 3, pattern.n) : (struct sv){"", 0};
    }
}

void http_router_fini(struct http_router *t)
{
    heap_free(t->p);
    t->p = NULL;
    t->n = 0;
}

static bool matches(const struct http_entry *e, struct sv raw, struct sv decoded,
                    struct sv *ret_part)
{
    struct sv part;

    if (!e->part)
        return sv_eq(e->prefix, decoded);
    if (raw.n <= e->prefix.n + e->suffix.n || !sv_starts(raw, e->prefix) ||
        !sv_ends(raw, e->suffix))
        return false;
    part = sv_sub(raw, e->prefix.n, raw.n - e->prefix.n - e->suffix.n);
    if (sv_find(part, '/') != SIZE_MAX)
        return false;
    *ret_part = part;
    return true;
}

struct http_entry *http_router_find(const struct http_router *t, unsigned method, struct sv raw,
                                    struct sv decoded, struct sv *ret_part, unsigned *ret_allowed)
{
    *ret_allowed = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct http_entry *e = &t->p[i];

        if (!matches(e, raw, decoded, ret_part))
            continue;
        if (e->route.methods & method)
            return e;
        *ret_allowed |= e->route.methods;
    }
    return NULL;
}

/* Two threads may make the same metric at once; the registry gives both the same one. */
static struct metric *counter(struct http_entry *e, int status, struct metrics *metrics)
{
    size_t slot = HTTP_CODES - 1;
    struct metric *m;
    char label[160];

    for (size_t i = 0; i < HTTP_CODES - 1; i++)
        if (http_codes[i] == status)
            slot = i;
    m = atomic_load_explicit(&e->by_code[slot], memory_order_acquire);
    if (m)
        return m;
    if (slot == HTTP_CODES - 1)
        snprintf(label, sizeof(label), "route=\"%s\",code=\"other\"", e->route.name);
    else
        snprintf(label, sizeof(label), "route=\"%s\",code=\"%d\"", e->route.name, status);
    m = metric_counter(metrics, "engram_http_requests_total", label, "Requests answered.");
    atomic_store_explicit(&e->by_code[slot], m, memory_order_release);
    return m;
}

void http_router_count(struct http_entry *e, int status, double seconds, struct metrics *metrics)
{
    struct metric_hist *h = atomic_load_explicit(&e->seconds, memory_order_acquire);
    char label[128];

    if (!metrics)
        return;
    if (!h) {
        snprintf(label, sizeof(label), "route=\"%s\"", e->route.name);
        h = metric_seconds(metrics, "engram_http_request_seconds", label,
                           "From a request's first byte seen to its reply.");
        atomic_store_explicit(&e->seconds, h, memory_order_release);
    }
    metric_observe(h, seconds);
    metric_inc(counter(e, status, metrics));
}
