/* Building and tearing down. Order of building is the layer order; app_stop() goes backwards and
 * works on a half-built app.
 *
 * Draining: unready (load balancers look away), refuse, let running requests finish, stop the
 * tickers, then close the ingester, which syncs the log: heads stay in the log and are replayed. */
#include "app_int.h"
#include "base/heap.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define CUT_STEP_MS       15000
#define SHIP_STEP_MS      15000
#define SETTLE_STEP_MS    1000
#define RELOAD_STEP_MS    10000
#define REQUEST_ARENA_MAX ((size_t)512 << 20)

static enum status take_data_lock(struct app *a, struct err *err)
{
    char path[FS_PATH_MAX];

    TRY(fs_mkdirs(a->fs, a->config->data, err));
    if (!fs_join(path, a->config->data, "lock"))
        return err_set(err, ST_INVALID, "setting data: path too long");
    TRY(fs_open(a->fs, path, O_RDWR | O_CREAT, &a->lock_fd, err));
    if (flock(a->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(err, ST_UNAVAIL, "data folder %s is in use by another engram",
                       a->config->data);
    return ST_OK;
}

static enum status open_bucket(struct app *a, struct err *err)
{
    const struct config *c = a->config;
    char path[FS_PATH_MAX];

    if (strcmp(c->bucket_type, "s3") == 0) {
        struct obj_s3_opts o = {.clk = a->clk,
                                .endpoint = c->s3_endpoint,
                                .bucket = c->s3_bucket,
                                .access_key = c->s3_access_key,
                                .secret_key = c->s3_secret_key,
                                .region = c->s3_region,
                                .path_style = c->s3_path_style,
                                .metrics = a->metrics};

        a->net = net_new(16);
        o.net = a->net;
        return obj_s3_open(&o, &a->bucket, err);
    }
    if (c->bucket_path[0])
        return obj_fs_open(a->fs, c->bucket_path, &a->bucket, err);
    if (!fs_join(path, c->data, "bucket"))
        return err_set(err, ST_INVALID, "setting data: path too long");
    return obj_fs_open(a->fs, path, &a->bucket, err);
}

static enum status open_catalogue(struct app *a, struct err *err)
{
    char path[FS_PATH_MAX];
    bool fresh;

    if (!fs_join(path, a->config->data, "catalogue"))
        return err_set(err, ST_INVALID, "setting data: path too long");
    TRY(catalogue_open(path, &a->catalogue, &fresh, err));
    if (fresh)
        log_info("app", "catalogue begun anew from folders and bucket", "path=%s", path);
    return ST_OK;
}

static void tell_gateway(void *arg, struct sv tenant, struct sv ulid)
{
    struct app *a = arg;

    sgw_shipped(a->sgw, tenant, ulid);
}

static enum status open_store(struct app *a, struct err *err)
{
    const struct config *c = a->config;
    char host[64] = "engram";
    struct sgw_opts so = {.fs = a->fs,
                          .clk = a->clk,
                          .bucket = a->bucket,
                          .catalogue = a->catalogue,
                          .budget = &a->budget,
                          .metrics = a->metrics,
                          .boot = random_u64()};
    struct ingester_opts io = {.fs = a->fs,
                               .clk = a->clk,
                               .data_dir = c->data,
                               .id = host,
                               .block_range_ms = c->block_range,
                               .idle_cut_ms = c->block_idle,
                               .log_max_bytes = c->wal_max,
                               .wal = {.segment_bytes = c->wal_segment,
                                       .sync = c->sync,
                                       .sync_interval_ms = c->wal_sync_interval},
                               .budget = &a->budget,
                               .bucket = a->bucket,
                               .catalogue = a->catalogue,
                               .metrics = a->metrics,
                               .on_shipped = tell_gateway,
                               .on_shipped_arg = a};

    if (strcmp(c->bucket_type, "s3") == 0)
        a->range_cache =
            cache_lru_new(a->budget.total_max / 16, &a->budget, a->clk, a->metrics, "ranges");
    so.cache = a->range_cache;
    a->sgw = sgw_new(&so);
    gethostname(host, sizeof(host) - 1);
    TRY(ingester_open(&io, &a->ingester, err));
    a->storage = querier_new(a->ingester, a->sgw);
    return ST_OK;
}

static enum status open_results_cache(struct app *a, struct err *err)
{
    const struct config *c = a->config;
    struct cache *near, *far = NULL;

    if (c->cache_memcached.n) {
        struct cache_memcached_opts o = {.servers = (const char *const *)c->cache_memcached.p,
                                         .servers_n = c->cache_memcached.n,
                                         .clk = a->clk,
                                         .metrics = a->metrics};

        TRY(cache_memcached_new(&o, &far, err));
    }
    near = cache_lru_new(c->cache_memory ? c->cache_memory : a->budget.total_max / 8, &a->budget,
                         a->clk, a->metrics, "results");
    a->results_cache = cache_tier_new(near, far);
    return ST_OK;
}

static unsigned query_workers(const struct config *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (c->promql_workers)
        return c->promql_workers > 256 ? 256 : (unsigned)c->promql_workers;
    return cores > 2 ? (unsigned)cores : 2;
}

static enum status open_pipelines(struct app *a, struct err *err)
{
    const struct config *c = a->config;
    struct tenants_opts to = {.mode = c->mode,
                              .clk = a->clk,
                              .rate_given = c->limit_set_rate,
                              .series_given = c->limit_set_series};
    struct dist_opts d = {
        .ingester = a->ingester, .clk = a->clk, .budget = &a->budget, .metrics = a->metrics};
    struct fe_opts f = {.storage = a->storage,
                        .clk = a->clk,
                        .budget = &a->budget,
                        .metrics = a->metrics,
                        .promql = c->promql,
                        .timeout_ms = c->promql_timeout,
                        .max_samples = c->promql_max_samples,
                        .workers = query_workers(c),
                        .default_query_memory = a->budget.total_max / 4};

    memcpy(&to.defaults, &c->limits, sizeof(to.defaults));
    a->tenants = tenants_new(&to);
    if (c->runtime_config[0])
        app_step_reload(a);
    d.tenants = a->tenants;
    a->dist = dist_new(&d);
    TRY(open_results_cache(a, err));
    f.cache = a->results_cache;
    a->fe = fe_new(&f);
    return ST_OK;
}

static struct http_opts http_settings(struct app *a)
{
    const struct config *c = a->config;
    unsigned cores = query_workers(c);

    return (struct http_opts){
        .listen = c->listen,
        .pollers = 2,
        /* Query workers wait in the frontend's fair queue, so there are more of
         * them than evaluations at once. */
        .workers = {[HTTP_WRITE] = cores, [HTTP_QUERY] = cores * 4 + 12, [HTTP_ADMIN] = 2},
        .queue_cap = {[HTTP_WRITE] = 256, [HTTP_QUERY] = 1024, [HTTP_ADMIN] = 64},
        .body_max_bytes = c->http_body_max,
        .form_max_bytes = (size_t)2 << 20,
        .arena_max_bytes = REQUEST_ARENA_MAX,
        .request_timeout_ms = c->http_request_timeout,
        .max_connections = (unsigned)c->http_max_connections,
        .budget = &a->budget,
        .metrics = a->metrics};
}

/* The second server, for operators: admin routes, /metrics and /ready alone. */
static enum status open_http_admin(struct app *a, struct err *err)
{
    struct http_opts ho = http_settings(a);
    const struct http_route *routes;
    size_t n;

    if (!a->config->admin_listen[0])
        return ST_OK;
    ho.listen = a->config->admin_listen;
    ho.pollers = 1;
    ho.max_connections = 64;
    ho.workers[HTTP_WRITE] = ho.workers[HTTP_QUERY] = 0; /* one each, as little as there is */
    routes = api_admin_routes(a->api, &n);
    return http_server_start(&ho, routes, n, &a->http_admin, err);
}

static enum status open_http(struct app *a, struct err *err)
{
    const struct config *c = a->config;
    struct api_opts ao = {.tenants = a->tenants,
                          .dist = a->dist,
                          .fe = a->fe,
                          .storage = a->storage,
                          .ingester = a->ingester,
                          .clk = a->clk,
                          .budget = &a->budget,
                          .metrics = a->metrics,
                          .promql = c->promql,
                          .push_decoded_max_bytes = c->http_decoded_max,
                          .admin_loopback_only = true,
                          .trusted_proxies = (const char *const *)c->auth_trusted_proxies.p,
                          .trusted_n = c->auth_trusted_proxies.n,
                          .version = ENGRAM_VERSION,
                          .revision = ENGRAM_REVISION};
    struct http_opts ho = http_settings(a);
    struct http_route *all;
    const struct http_route *r, *u;
    size_t rn, un;
    enum status st;

    a->api = api_new(&ao);
    a->ui = ui_new(ENGRAM_VERSION);
    if (!a->bucket_listed)
        api_set_unready(a->api, "the bucket has not been listed yet");
    r = api_routes(a->api, &rn);
    u = ui_routes(a->ui, &un);
    all = heap_array(rn + un, sizeof(*all));
    memcpy(all, r, rn * sizeof(*all));
    memcpy(all + rn, u, un * sizeof(*all));
    st = open_http_admin(a, err); /* first: who sees the other ready may use both */
    if (st == ST_OK)
        st = http_server_start(&ho, all, rn + un, &a->http, err);
    heap_free(all);
    return st;
}

static void start_tickers(struct app *a)
{
    const struct config *c = a->config;

    a->settle = ticker_start("settle", SETTLE_STEP_MS, app_step_settle, a);
    a->cut = ticker_start("cut", CUT_STEP_MS, app_step_cut, a);
    a->ship = ticker_start("ship", SHIP_STEP_MS, app_step_ship, a);
    a->sync = ticker_start("sync", c->bucket_sync > 0 ? c->bucket_sync : 60000, app_step_sync, a);
    if (!a->bucket_listed)
        ticker_kick(a->sync);
    if (c->runtime_config[0])
        a->reload = ticker_start("reload", RELOAD_STEP_MS, app_step_reload, a);
    if (c->self_scrape > 0) {
        a->scrape = ticker_start("scrape", c->self_scrape, app_step_scrape, a);
        ticker_kick(a->scrape);
    }
}

enum status app_start(const struct config *c, struct app **ret, struct err *err)
{
    struct app *a = heap_new(struct app);
    int64_t began_ns = clk_mono_ns(clk_system());
    enum status st;

    a->config = c;
    a->fs = fs_posix();
    a->clk = clk_system();
    a->lock_fd = -1;
    a->metrics = metrics_new();
    budget_init(&a->budget, c->memory ? c->memory : app_memory_default());
    app_register_process_metrics(a);
    TRY_GOTO(take_data_lock(a, err));
    TRY_GOTO(open_bucket(a, err));
    TRY_GOTO(open_catalogue(a, err));
    TRY_GOTO(open_store(a, err));
    /* A folder is listed at once. A gateway may be slow or away: the server takes samples meanwhile,
     * not ready, and its answers say that the bucket has not been listed. */
    if (!a->net)
        app_step_sync(a);
    TRY_GOTO(open_pipelines(a, err));
    TRY_GOTO(open_http(a, err));
    start_tickers(a);
    log_info("app", "serving", "listen=%s port=%u data=%s memory=%llu seconds=%.3f", c->listen,
             http_server_port(a->http), c->data, (unsigned long long)a->budget.total_max,
             (double)(clk_mono_ns(a->clk) - began_ns) / 1e9);
    *ret = a;
    return ST_OK;
out:
    app_stop(a);
    return st;
}

void app_stop(struct app *own_a)
{
    struct app *a = own_a;

    if (!a)
        return;
    if (a->api)
        api_set_unready(a->api, "stopping");
    if (a->http)
        http_server_refuse(a->http);
    if (a->http_admin)
        http_server_refuse(a->http_admin);
    ticker_stop(a->scrape);
    ticker_stop(a->reload);
    http_server_stop(a->http);
    http_server_stop(a->http_admin);
    ticker_stop(a->sync);
    ticker_stop(a->ship);
    ticker_stop(a->cut);
    ticker_stop(a->settle);
    ui_free(a->ui);
    api_free(a->api);
    fe_free(a->fe);
    if (a->results_cache)
        a->results_cache->ops->close(a->results_cache);
    dist_free(a->dist);
    tenants_free(a->tenants);
    querier_free(a->storage);
    ingester_close(a->ingester);
    sgw_free(a->sgw);
    if (a->range_cache)
        a->range_cache->ops->close(a->range_cache);
    catalogue_close(a->catalogue);
    if (a->bucket)
        a->bucket->ops->close(a->bucket);
    net_free(a->net);
    metrics_free(a->metrics);
    fs_close(a->fs, a->lock_fd);
    heap_free(a);
}
