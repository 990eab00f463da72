/* include/api/api.h
 *
 * The HTTP routes: translation between requests and the rooms below, no logic of its own.
 */
#ifndef ENGRAM_API_API_H
#define ENGRAM_API_API_H

#include "distributor/dist.h"
#include "frontend/fe.h"
#include "http/http.h"
#include "ingester/ingester.h"
#include "tenant/tenant.h"

struct api;

struct api_opts {
    struct tenants *tenants;       /* all borrowed */
    struct dist *dist;             /* NULL: no write routes */
    struct fe *fe;                 /* NULL: no read routes */
    const struct storage *storage; /* labels, series */
    struct ingester *ingester;     /* flush; NULL: none */
    const struct clk *clk;
    struct budget *budget;
    struct metrics *metrics;
    struct promql_opts promql;
    size_t push_decoded_max_bytes;
    bool admin_loopback_only;      /* admin routes of api_routes() answer loopback peers alone */
    const char *version, *revision;
    /* In header mode: networks ("10.0.0.0/8", "fd00::/8", "192.0.2.7") whose X-Scope-OrgID is
     * trusted beside loopback; others get 403. None: whoever reaches the port is trusted. They
     * must have passed api_networks_parse(). Copied. */
    const char *const *trusted_proxies;
    size_t trusted_n;
};
struct api *api_new(const struct api_opts *opts);
void api_free(struct api *own_a);
/* The table of routes, valid as long as the api. */
const struct http_route *api_routes(struct api *a, size_t *ret_n);
/* Admin routes, /metrics and /ready, without the loopback rule: for the server on admin.listen. */
const struct http_route *api_admin_routes(struct api *a, size_t *ret_n);
/* /ready answers 503 with this text; NULL: ready. The text is copied. */
void api_set_unready(struct api *a, const char *why);

/* A list of networks, IPv4 and IPv6. ST_INVALID names the text that is none. */
struct api_networks;
enum status api_networks_parse(const char *const *texts, size_t n, struct api_networks **ret,
                               struct err *err);
void api_networks_free(struct api_networks *own_n); /* takes NULL */
bool api_networks_have(const struct api_networks *n, struct sv address);

#endif
