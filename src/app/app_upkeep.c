/* The steps of the background work, each run by a ticker of its own; a test can call them. */
#include "app_int.h"
#include "base/heap.h"
#include "base/log.h"

#include <sys/stat.h>

#define OVERRIDES_MAX ((size_t)1 << 20)

void app_step_settle(void *arg)
{
    struct app *a = arg;

    ingester_step_settle(a->ingester);
}

void app_step_cut(void *arg)
{
    struct app *a = arg;

    ingester_step_cut(a->ingester);
}

void app_step_ship(void *arg)
{
    struct app *a = arg;

    ingester_step_ship(a->ingester);
}

/* Until the bucket has been listed once, an old block could be missing from answers: not ready. */
void app_step_sync(void *arg)
{
    struct app *a = arg;
    struct err err = ERR_INIT;

    if (sgw_sync(a->sgw, &err) != ST_OK) {
        log_error("app", "bucket not listed, tried again later", "error=%s", log_q(sv_of(err.msg)));
        if (!a->bucket_listed && a->api)
            api_set_unready(a->api, "the bucket has not been listed yet");
        return;
    }
    if (!a->bucket_listed && a->api)
        api_set_unready(a->api, NULL);
    a->bucket_listed = true;
}

void app_step_reload(void *arg)
{
    struct app *a = arg;
    const char *path = a->config->runtime_config;
    struct stat sb;
    struct buf warnings;
    struct err err = ERR_INIT;
    char *text;
    size_t n;
    int64_t mtime_ns;

    if (stat(path, &sb) != 0) {
        log_error("app", "runtime_config not there, limits stay as they are", "path=%s", path);
        return;
    }
    mtime_ns = (int64_t)sb.st_mtim.tv_sec * 1000000000 + sb.st_mtim.tv_nsec;
    if (mtime_ns == a->overrides_mtime_ns)
        return;
    a->overrides_mtime_ns = mtime_ns;
    if (fs_read_file(a->fs, path, OVERRIDES_MAX, &text, &n, &err) != ST_OK) {
        log_error("app", "runtime_config not read, limits stay", "error=%s", log_q(sv_of(err.msg)));
        return;
    }
    buf_init(&warnings, 4096);
    if (tenants_load_overrides(a->tenants, sv_make(text, n), &warnings, &err) != ST_OK)
        log_error("app", "runtime_config refused, limits stay", "path=%s error=%s", path,
                  log_q(sv_of(err.msg)));
    else
        log_info("app", "runtime_config loaded", "path=%s warnings=%s", path,
                 log_q(buf_view(&warnings)));
    buf_fini(&warnings);
    heap_free(text);
}
