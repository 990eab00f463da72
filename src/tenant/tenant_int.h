/* What the files of the tenant room share. */
#ifndef ENGRAM_TENANT_INT_H
#define ENGRAM_TENANT_INT_H

#include "base/hmap.h"
#include "base/lock.h"
#include "tenant/tenant.h"

#define TENANT_ANONYMOUS "anonymous"

/* A token bucket. One that is full says nothing, so it may be forgotten. */
struct bucket {
    double tokens;
    int64_t at_ns;
};

struct tenants {
    enum auth_mode mode;
    const struct clk *clk;
    struct lock lock;          /* of what follows */
    struct limits *base;       /* of a tenant without overrides */
    struct limits *anonymous;  /* the same without rate and series limits, unless they were given */
    struct hmap overrides;     /* tenant -> struct limits */
    struct hmap buckets;       /* tenant -> struct bucket */
};

/* Limits a tenant has when nothing overrides them; borrowed. */
struct limits *tenant_fallback(struct tenants *t, struct sv tenant);
struct limits *tenant_limits_copy(const struct limits *l);
void tenant_overrides_free(struct hmap *overrides);

#endif
