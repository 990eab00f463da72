/* include/tenant/tenant.h
 *
 * Who a request is from, what it may do, how fast.
 *
 * Threads: any. Memory: tenant_who() fills *ret with views that live as long as `arena` and a
 * counted snapshot of the limits; tenant_done() gives the snapshot back.
 * Errors:  ST_UNAUTH ("no org id"), ST_INVALID (bad id), ST_RATE.
 */
#ifndef ENGRAM_TENANT_TENANT_H
#define ENGRAM_TENANT_TENANT_H

#include "base/arena.h"
#include "base/clk.h"
#include "model/who.h"
#include "tenant/limits.h"

enum auth_mode { AUTH_NONE, AUTH_HEADER };

struct tenants; /* modes, limits by tenant, token buckets */

struct tenants_opts {
    enum auth_mode mode;
    const struct clk *clk;
    struct limits defaults;
    /* In AUTH_NONE the tenant "anonymous" has no rate and no series limit, unless the user's
     * settings gave one (these), or an override does. */
    bool rate_given, series_given;
};
struct tenants *tenants_new(const struct tenants_opts *opts);
void tenants_free(struct tenants *t);

/* 1..150 characters of A-Za-z0-9!-_.*'() and none of the names a bucket needs itself. */
bool tenant_id_valid(struct sv id);
/* header: X-Scope-OrgID as sent (p NULL: absent); ignored in AUTH_NONE, where all is "anonymous". */
enum status tenant_who(struct tenants *t, struct sv header, struct sv request_id,
                       struct arena *arena, struct who *ret, struct err *err);
void tenant_done(struct who *who);
/* The limits of a tenant, counted. */
struct limits *tenant_limits(struct tenants *t, struct sv tenant);
/* Takes n tokens of the tenant's ingestion rate, or none: ST_RATE, with Cortex's text. */
enum status tenant_rate(struct tenants *t, const struct who *who, uint64_t samples,
                        uint64_t metadata, struct err *err);
/* runtime_config: replaces all overrides at once; on an error the old ones stay. Unknown keys warn
 * and are named (in *ret_warnings, may be NULL). */
struct buf;
enum status tenants_load_overrides(struct tenants *t, struct sv yaml, struct buf *ret_warnings,
                                   struct err *err);

#endif
