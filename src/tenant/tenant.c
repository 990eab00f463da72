/* Who asks, under which limits, and how fast he may write. */
#include "tenant_int.h"

#include "base/dtoa.h"
#include "base/heap.h"

/* Buckets kept at once. Full ones are forgotten when there are more; only as many tenants as write
 * faster than their rate at the same moment can fill it. */
#define BUCKETS_MAX 100000

/* ingestion_burst_size 0: this many seconds of the rate. */
#define BURST_SECONDS 10

struct limits *tenant_limits_copy(const struct limits *l)
{
    struct limits *r = heap_new(struct limits);

    /* All but the count, which others may be changing. */
    memcpy((char *)r + sizeof(r->refs), (const char *)l + sizeof(l->refs),
           sizeof(*r) - sizeof(r->refs));
    atomic_init(&r->refs, 1);
    return r;
}

struct tenants *tenants_new(const struct tenants_opts *opts)
{
    struct tenants *t = heap_new(struct tenants);

    t->mode = opts->mode;
    t->clk = opts->clk;
    lock_init(&t->lock, LOCK_tenants);
    hmap_init(&t->overrides);
    hmap_init(&t->buckets);
    t->base = tenant_limits_copy(&opts->defaults);
    t->anonymous = tenant_limits_copy(&opts->defaults);
    if (!opts->rate_given)
        t->anonymous->ingestion_rate = 0;
    if (!opts->series_given)
        t->anonymous->max_global_series_per_user = 0;
    return t;
}

void tenants_free(struct tenants *t)
{
    if (!t)
        return;
    for (struct hmap_slot *s = NULL; (s = hmap_next(&t->buckets, s));)
        heap_free(s->value);
    hmap_fini(&t->buckets);
    tenant_overrides_free(&t->overrides);
    limits_unref(t->base);
    limits_unref(t->anonymous);
    lock_fini(&t->lock);
    heap_free(t);
}

bool tenant_id_valid(struct sv id)
{
    if (id.n == 0 || id.n > 150)
        return false;
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr("!-_.*'()", c))))
            return false;
    }
    return !sv_is(id, ".") && !sv_is(id, "..") && !sv_is(id, "__markers__") &&
           !sv_is(id, "user-index.json.gz");
}

/* Where nobody has to say who he is, the one tenant has the house to itself. With names in a header
 * "anonymous" is a name like any other. */
struct limits *tenant_fallback(struct tenants *t, struct sv tenant)
{
    return t->mode == AUTH_NONE && sv_is(tenant, TENANT_ANONYMOUS) ? t->anonymous : t->base;
}

struct limits *tenant_limits(struct tenants *t, struct sv tenant)
{
    struct limits *own;

    LOCK_SCOPE(&t->lock);
    own = hmap_get(&t->overrides, tenant);
    return limits_ref(own ? own : tenant_fallback(t, tenant));
}

static enum status check_header(struct sv header, struct err *err)
{
    if (header.n == 0)
        return err_set(err, ST_UNAUTH, "no org id");
    if (sv_find(header, '|') != SIZE_MAX)
        return err_set(err, ST_INVALID,
                       "X-Scope-OrgID names several tenants: queries over more than one are not "
                       "built yet");
    if (!tenant_id_valid(header))
        return err_set(err, ST_INVALID,
                       "X-Scope-OrgID is not a tenant id: 1 to 150 characters of A-Z a-z 0-9 "
                       "! - _ . * ' ( ), and no name the bucket needs itself");
    return ST_OK;
}

enum status tenant_who(struct tenants *t, struct sv header, struct sv request_id,
                       struct arena *arena, struct who *ret, struct err *err)
{
    struct who w = {.tenant = SV(TENANT_ANONYMOUS),
                    .scopes = SCOPE_PUSH | SCOPE_READ | SCOPE_ADMIN};

    if (t->mode == AUTH_HEADER) {
        TRY(check_header(header, err));
        w.tenant = arena_sv(arena, header);
    }
    w.request_id = arena_sv(arena, request_id);
    if (arena_over(arena))
        return err_set(err, ST_LIMIT, "no memory left for this request (%zu bytes)",
                       arena->max_bytes);
    w.limits = tenant_limits(t, w.tenant);
    *ret = w;
    return ST_OK;
}

void tenant_done(struct who *who)
{
    limits_unref((struct limits *)who->limits);
    who->limits = NULL;
}

static double burst_of(const struct limits *l)
{
    return l->ingestion_burst_size ? (double)l->ingestion_burst_size
                                   : l->ingestion_rate * BURST_SECONDS;
}

static void refill(struct bucket *b, const struct limits *l, int64_t now_ns)
{
    double burst = burst_of(l);

    if (now_ns > b->at_ns)
        b->tokens += l->ingestion_rate * (double)(now_ns - b->at_ns) / 1e9;
    b->at_ns = now_ns;
    if (b->tokens > burst)
        b->tokens = burst;
}

/* Forgets buckets that have filled up again, by the limits of today. */
static void forget_full(struct tenants *t, int64_t now_ns)
{
    struct hmap kept;

    hmap_init(&kept);
    for (struct hmap_slot *s = NULL; (s = hmap_next(&t->buckets, s));) {
        struct sv name = sv_make(s->key, s->key_n);
        struct limits *own = hmap_get(&t->overrides, name);
        struct bucket *b = s->value;

        if (!own)
            own = tenant_fallback(t, name);
        refill(b, own, now_ns);
        if (own->ingestion_rate > 0 && b->tokens < burst_of(own))
            hmap_set(&kept, name, b);
        else
            heap_free(b);
    }
    hmap_fini(&t->buckets);
    t->buckets = kept;
}

static struct bucket *bucket_of(struct tenants *t, struct sv tenant, const struct limits *l,
                                int64_t now_ns)
{
    struct bucket *b = hmap_get(&t->buckets, tenant);

    if (b)
        return b;
    if (t->buckets.n >= BUCKETS_MAX)
        forget_full(t, now_ns);
    if (t->buckets.n >= BUCKETS_MAX)
        return NULL;
    b = heap_new(struct bucket);
    *b = (struct bucket){burst_of(l), now_ns};
    hmap_set(&t->buckets, tenant, b);
    return b;
}

static enum status too_fast(const struct who *who, uint64_t samples, uint64_t metadata,
                            struct err *err)
{
    const struct limits *l = who->limits;
    char rate[DTOA_MAX + 1];
    bool never = (double)samples + (double)metadata > burst_of(l);

    rate[dtoa_g(rate, l->ingestion_rate)] = 0;
    return err_set(err, ST_RATE,
                   "ingestion rate limit (%s) exceeded while adding %llu samples and %llu metadata "
                   "(limit name: ingestion_rate, tenant: " SV_FMT ")%s",
                   rate, (unsigned long long)samples, (unsigned long long)metadata,
                   SV_ARG(who->tenant),
                   never ? "; the request is larger than ingestion_burst_size and can't pass" : "");
}

enum status tenant_rate(struct tenants *t, const struct who *who, uint64_t samples,
                        uint64_t metadata, struct err *err)
{
    const struct limits *l = who->limits;
    double want = (double)samples + (double)metadata;
    struct bucket *b;
    int64_t now_ns;

    if (l->ingestion_rate <= 0 || want == 0)
        return ST_OK;
    LOCK_SCOPE(&t->lock);
    now_ns = clk_mono_ns(t->clk);
    b = bucket_of(t, who->tenant, l, now_ns);
    if (!b)
        return err_set(err, ST_UNAVAIL, "more than %d tenants write at once", BUCKETS_MAX);
    refill(b, l, now_ns);
    if (b->tokens < want)
        return too_fast(who, samples, metadata, err);
    b->tokens -= want;
    return ST_OK;
}
