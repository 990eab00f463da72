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
    bool admin_loopback_only;
    const char *version, *revision;
};
struct api *api_new(const struct api_opts *opts);
void api_free(struct api *own_a);
/* The table of routes, valid as long as the api. */
const struct http_route *api_routes(struct api *a, size_t *ret_n);
/* /ready answers 503 with this text; NULL: ready. The text is copied. */
void api_set_unready(struct api *a, const char *why);

#endif
