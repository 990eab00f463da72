/* include/model/who.h
 *
 * On whose behalf a request runs: tenant, scopes, limits, request id. Made by src/tenant at the
 * edge, passed down by pointer, never stored beyond the request.
 */
#ifndef ENGRAM_MODEL_WHO_H
#define ENGRAM_MODEL_WHO_H

#include "base/sv.h"

struct limits;  /* include/tenant/limits.h */
struct matcher;

enum scope { SCOPE_PUSH = 1, SCOPE_READ = 2, SCOPE_ADMIN = 4 };

struct who {
    struct sv tenant;                    /* one tenant; federation later makes this a set */
    unsigned scopes;                     /* bits of enum scope */
    const struct limits *limits;         /* counted snapshot held for the request */
    const struct matcher *const *enforced; /* and-ed to every selector (token scopes, later) */
    size_t enforced_n;
    struct sv request_id;                /* in logs and Server-Timing */
};

#endif
