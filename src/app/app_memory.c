/* Memory of the machine, the cgroup and this process, from /proc and /sys. */
#include "app_int.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define FALLBACK_BYTES ((uint64_t)1 << 30)

/* A number in a small file of the kernel's; false when it is not there or is "max". */
static bool number_in(const char *path, uint64_t *ret)
{
    char text[64];
    FILE *f = fopen(path, "re");
    size_t n;

    if (!f)
        return false;
    n = fread(text, 1, sizeof(text), f);
    fclose(f);
    return sv_u64(sv_trim(sv_make(text, n)), ret);
}

uint64_t app_memory_default(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t total = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : FALLBACK_BYTES, cg;

    if (number_in("/sys/fs/cgroup/memory.max", &cg) && cg < total)
        total = cg;
    if (number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes", &cg) && cg < total)
        total = cg;
    return total / 2;
}

/* "Key:   123 kB" of /proc/self/status, in bytes. */
static double status_bytes(const char *key)
{
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "re");

    if (!f)
        return 0;
    while (fgets(line, sizeof(line), f)) {
        struct sv rest, name = sv_cut(sv_of(line), ':', &rest);
        uint64_t v;

        if (sv_is(name, key) && sv_u64(sv_trim(sv_cut(sv_trim(rest), ' ', &rest)), &v))
            kib = (double)v;
    }
    fclose(f);
    return kib * 1024;
}

static double resident(void *arg)
{
    (void)arg;
    return status_bytes("VmRSS");
}

static double anonymous(void *arg)
{
    (void)arg;
    return status_bytes("RssAnon");
}

static double cpu_seconds(void *arg)
{
    struct timespec ts;

    (void)arg;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#define USED(NAME)                                      \
    static double used_##NAME(void *arg)                \
    {                                                   \
        return (double)budget_used(arg, BUDGET_##NAME); \
    }
USED(HEAD)
USED(WAL)
USED(QUERY)
USED(CACHE)
USED(COMPACTION)
USED(HTTP)

void app_register_process_metrics(struct app *a)
{
    static const metric_fn fns[BUDGET_PURPOSES] = {used_HEAD,  used_WAL,        used_QUERY,
                                                   used_CACHE, used_COMPACTION, used_HTTP};
    struct metrics *m = a->metrics;

    metric_gauge_fn(m, "process_resident_memory_bytes", "", "Resident memory.", resident, NULL);
    metric_gauge_fn(m, "engram_process_anonymous_memory_bytes", "",
                    "Resident memory that is not mapped files: what the budget bounds.", anonymous,
                    NULL);
    metric_counter_fn(m, "process_cpu_seconds_total", "", "CPU time of the process.", cpu_seconds,
                      NULL);
    metric_set(metric_gauge(m, "process_start_time_seconds", "", "Unix time of the start."),
               (double)clk_wall_ms(a->clk) / 1000);
    metric_set(metric_gauge(m, "engram_memory_budget_bytes", "", "Setting memory."),
               (double)a->budget.total_max);
    for (int p = 0; p < BUDGET_PURPOSES; p++) {
        char label[64];

        snprintf(label, sizeof(label), "purpose=\"%s\"", budget_name((enum budget_purpose)p));
        metric_gauge_fn(m, "engram_memory_charged_bytes", label, "Charged by purpose.", fns[p],
                        &a->budget);
    }
}
