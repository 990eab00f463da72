/* src/app/app_int.h - the parts of struct app, for the files app_*.c alone. */
#ifndef ENGRAM_APP_APP_INT_H
#define ENGRAM_APP_APP_INT_H

#include "api/api.h"
#include "app.h"
#include "base/workq.h"
#include "net/net.h"
#include "querier/querier.h"
#include "ui/ui.h"

struct app {
    const struct config *config; /* borrowed: main's */
    const struct fs *fs;
    const struct clk *clk;
    int lock_fd;
    struct budget budget;
    struct metrics *metrics;
    struct net *net;
    struct obj *bucket;
    struct catalogue *catalogue;
    struct cache *range_cache, *results_cache;
    struct sgw *sgw;
    struct ingester *ingester;
    struct tenants *tenants;
    struct dist *dist;
    struct storage *storage;
    struct fe *fe;
    struct api *api;
    struct ui *ui;
    struct http_server *http, *http_admin;
    struct ticker *settle, *cut, *ship, *sync, *reload, *scrape;
    bool bucket_listed;         /* touched by the sync ticker and start alone */
    int64_t overrides_mtime_ns; /* touched by the reload ticker and start alone */
};

/* app_upkeep.c: the steps that tickers run. */
void app_step_settle(void *arg);
void app_step_cut(void *arg);
void app_step_ship(void *arg);
void app_step_sync(void *arg);
void app_step_reload(void *arg);
/* app_scrape.c: the server's own metrics into its own store. */
void app_step_scrape(void *arg);
/* app_memory.c: what this machine or cgroup allows; gauges of the process. */
uint64_t app_memory_default(void);
void app_register_process_metrics(struct app *a);

#endif
