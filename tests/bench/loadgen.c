/* loadgen - sends remote write 1.0 as a fleet of Prometheus servers does, and says how fast it was taken.
 *
 * N series are shared out over C connections; each sends its series' samples scrape by scrape, in
 * order, P samples a request, and waits for the answer. Every sample is a TimeSeries of its own, as
 * Prometheus's queues send them. Ten labels, about 190 bytes a series; values are counters. What is
 * sent depends on the arguments alone, so two servers get the same.
 *
 * 429 and 5xx are repeated (with the wait counted), another refusal ends the run. Prints one line of
 * JSON. */
#include "base/clk.h"
#include "base/heap.h"
#include "http_client.h"
#include "wire/wire.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#define LABELS           10
#define REQUEST_MAX      ((size_t)256 << 20)
#define TRIES_MAX        200
#define RETRY_US         50000
#define SERIES_INSTANCE  100 /* of one scraped process */

struct opts {
    struct http_url url;
    const char *metric, *tenant;
    uint64_t series, scrapes, per_request, connections;
    int64_t interval_ms, end_ms;
};

struct sender {
    const struct opts *opts;
    pthread_t thread;
    pthread_barrier_t *go;
    uint64_t first, n; /* its series */
    struct buf labels;  /* of all of them, in wire form */
    struct sv *raw;
    double *value;
    double *latency_ms; /* of each request */
    uint64_t requests, retries, bytes;
    bool failed;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void make_labels(const struct opts *o, uint64_t i, struct buf *out)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE"},
                             *const codes[] = {"200", "204", "404", "500"};
    uint64_t instance = i / SERIES_INSTANCE, of = i % SERIES_INSTANCE;
    char handler[64], host[64], ns[64], pod[64], zone[32];
    struct label l[LABELS] = {
        {SV("__name__"), sv_of(o->metric)},
        {SV("cluster"), SV("production-eu-1")},
        {SV("code"), sv_of(codes[of % 4])},
        {SV("handler"), {handler, 0}},
        {SV("instance"), {host, 0}},
        {SV("job"), SV("community-backend")},
        {SV("method"), sv_of(methods[of / 4 % 4])},
        {SV("namespace"), {ns, 0}},
        {SV("pod"), {pod, 0}},
        {SV("zone"), {zone, 0}},
    };

    l[3].value.n = (size_t)snprintf(handler, sizeof(handler), "/api/v1/handler/%" PRIu64, of / 16);
    l[4].value.n = (size_t)snprintf(host, sizeof(host), "10.%" PRIu64 ".%" PRIu64 ".%" PRIu64 ":8080",
                                    instance >> 16 & 255, instance >> 8 & 255, instance & 255);
    l[7].value.n = (size_t)snprintf(ns, sizeof(ns), "namespace-%" PRIu64, instance % 20);
    l[8].value.n = (size_t)snprintf(pod, sizeof(pod), "backend-%010" PRIx64,
                                    mix(instance) & UINT64_C(0xffffffffff));
    l[9].value.n = (size_t)snprintf(zone, sizeof(zone), "zone-%" PRIu64, instance % 3);
    labels_to_wire(out, (struct labels){l, LABELS});
}

static void prepare(struct sender *s)
{
    size_t *at = heap_array(s->n + 1, sizeof(*at));

    s->raw = heap_array(s->n, sizeof(*s->raw));
    s->value = heap_array(s->n, sizeof(*s->value));
    s->latency_ms = heap_array(s->n * s->opts->scrapes / s->opts->per_request + 1, sizeof(double));
    buf_init(&s->labels, SIZE_MAX / 2);
    for (uint64_t i = 0; i < s->n; i++) {
        make_labels(s->opts, s->first + i, &s->labels);
        at[i + 1] = s->labels.n;
    }
    for (uint64_t i = 0; i < s->n; i++)
        s->raw[i] = sv_make(s->labels.p + at[i], at[i + 1] - at[i]);
    heap_free(at);
}

/* Sample number k of this sender: scrape by scrape, its series in order. */
static void make_sample(struct sender *s, uint64_t k, struct sv *raw, struct batch_sample *x)
{
    const struct opts *o = s->opts;
    uint64_t i = k % s->n, scrape = k / s->n, series = s->first + i;
    /* Instances are scraped at different moments of the interval. */
    int64_t behind = (int64_t)(mix(series / SERIES_INSTANCE) % (uint64_t)o->interval_ms);

    s->value[i] += (double)(mix(series * 1000003 + scrape) % 64);
    *raw = s->raw[i];
    *x = (struct batch_sample){
        o->end_ms - (int64_t)(o->scrapes - 1 - scrape) * o->interval_ms - behind, 0, s->value[i]};
}

static bool deliver(struct sender *s, struct http_conn *c, struct sv body)
{
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        int status = http_push(c, s->opts->url.path, body);

        if (status >= 200 && status < 300)
            return true;
        if (status && status != 429 && status < 500) {
            fprintf(stderr, "loadgen: status %d: %.*s\n", status, (int)c->body.n, c->body.p);
            return false;
        }
        s->retries++;
        usleep(RETRY_US);
    }
    fprintf(stderr, "loadgen: not taken after %d tries\n", TRIES_MAX);
    return false;
}

static void *run(void *arg)
{
    struct sender *s = arg;
    uint64_t per = s->opts->per_request, all = s->n * s->opts->scrapes;
    struct batch b = {.series = heap_array(per, sizeof(*b.series)),
                      .samples = heap_array(per, sizeof(*b.samples))};
    struct http_conn *c = heap_new(struct http_conn);
    struct buf plain, packed;

    prepare(s);
    http_conn_init(c, &s->opts->url, s->opts->tenant);
    buf_init(&plain, REQUEST_MAX);
    buf_init(&packed, REQUEST_MAX);
    pthread_barrier_wait(s->go);
    for (uint64_t k = 0; k < all && !s->failed; k += b.series_n) {
        int64_t began_ns;

        b.series_n = all - k < per ? all - k : per;
        for (size_t i = 0; i < b.series_n; i++) {
            b.series[i].sample_off = (uint32_t)i;
            b.series[i].sample_n = 1;
            make_sample(s, k + i, &b.series[i].raw, &b.samples[i]);
        }
        buf_clear(&plain);
        buf_clear(&packed);
        wire_write_v1_encode(&plain, &b);
        wire_snap(&packed, buf_view(&plain));
        if (!buf_ok(&plain) || !buf_ok(&packed)) {
            fprintf(stderr, "loadgen: request too large\n");
            s->failed = true;
            break;
        }
        began_ns = clk_mono_ns(clk_system());
        s->failed = !deliver(s, c, buf_view(&packed));
        s->latency_ms[s->requests++] = (double)(clk_mono_ns(clk_system()) - began_ns) / 1e6;
        s->bytes += packed.n;
    }
    http_conn_fini(c);
    heap_free(c);
    buf_fini(&plain);
    buf_fini(&packed);
    heap_free(b.series);
    heap_free(b.samples);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double percentile(const double *sorted, uint64_t n, double q)
{
    return n ? sorted[(uint64_t)((double)(n - 1) * q + 0.5)] : 0;
}

static int report(const struct opts *o, struct sender *s, double seconds)
{
    uint64_t requests = 0, retries = 0, bytes = 0, samples = o->series * o->scrapes, at = 0;
    bool failed = false;
    double *all;

    for (uint64_t i = 0; i < o->connections; i++) {
        requests += s[i].requests;
        retries += s[i].retries;
        bytes += s[i].bytes;
        failed |= s[i].failed;
    }
    if (failed)
        return 1;
    all = heap_array(requests + 1, sizeof(*all));
    for (uint64_t i = 0; i < o->connections; i++) {
        memcpy(all + at, s[i].latency_ms, s[i].requests * sizeof(*all));
        at += s[i].requests;
    }
    qsort(all, requests, sizeof(*all), by_value);
    printf("{\"samples\":%" PRIu64 ",\"seconds\":%.6f,\"samples_per_second\":%.1f,"
           "\"requests\":%" PRIu64 ",\"retries\":%" PRIu64 ",\"bytes\":%" PRIu64 ","
           "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n",
           samples, seconds, (double)samples / seconds, requests, retries, bytes,
           percentile(all, requests, 0.5), percentile(all, requests, 0.99),
           percentile(all, requests, 1));
    heap_free(all);
    return 0;
}

static int send_all(const struct opts *o)
{
    struct sender *s = heap_array(o->connections, sizeof(*s));
    pthread_barrier_t go;
    uint64_t next = 0;
    int64_t began_ns;
    int r;

    pthread_barrier_init(&go, NULL, (unsigned)o->connections + 1);
    for (uint64_t i = 0; i < o->connections; i++) {
        s[i] = (struct sender){.opts = o, .go = &go, .first = next};
        s[i].n = o->series / o->connections + (i < o->series % o->connections);
        next += s[i].n;
        if (pthread_create(&s[i].thread, NULL, run, &s[i]) != 0) {
            perror("loadgen: thread");
            exit(1);
        }
    }
    pthread_barrier_wait(&go);
    began_ns = clk_mono_ns(clk_system());
    for (uint64_t i = 0; i < o->connections; i++)
        pthread_join(s[i].thread, NULL);
    r = report(o, s, (double)(clk_mono_ns(clk_system()) - began_ns) / 1e9);
    for (uint64_t i = 0; i < o->connections; i++) {
        heap_free(s[i].raw);
        heap_free(s[i].value);
        heap_free(s[i].latency_ms);
        buf_fini(&s[i].labels);
    }
    pthread_barrier_destroy(&go);
    heap_free(s);
    return r;
}

static void usage(FILE *to)
{
    fputs("usage: loadgen --url http://HOST:PORT/PATH [--series N] [--scrapes N] [--interval SECONDS]\n"
          "               [--end UNIX_SECONDS] [--per-request SAMPLES] [--connections N]\n"
          "               [--metric NAME] [--tenant ID]\n"
          "PATH: engram /api/v1/push, Prometheus and VictoriaMetrics /api/v1/write\n",
          to);
}

static bool number(const char *z, uint64_t min, uint64_t *ret)
{
    return sv_u64(sv_of(z), ret) && *ret >= min;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"url", 1, NULL, 'u'},         {"series", 1, NULL, 's'},      {"scrapes", 1, NULL, 'n'},
        {"interval", 1, NULL, 'i'},    {"end", 1, NULL, 'e'},         {"per-request", 1, NULL, 'p'},
        {"connections", 1, NULL, 'c'}, {"metric", 1, NULL, 'm'},      {"tenant", 1, NULL, 't'},
        {"help", 0, NULL, 'h'},        {NULL, 0, NULL, 0}};
    struct opts o = {.metric = "bench_requests_total",
                     .series = 10000,
                     .scrapes = 60,
                     .per_request = 2000,
                     .connections = 4};
    uint64_t interval = 15, end = (uint64_t)clk_wall_ms(clk_system()) / 1000;
    bool url = false, ok = true;
    int opt;

    while ((opt = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (opt) {
        case 'u': ok = url = http_url_parse(optarg, &o.url); break;
        case 's': ok = number(optarg, 1, &o.series); break;
        case 'n': ok = number(optarg, 1, &o.scrapes); break;
        case 'i': ok = number(optarg, 1, &interval); break;
        case 'e': ok = number(optarg, 1, &end); break;
        case 'p': ok = number(optarg, 1, &o.per_request) && o.per_request <= 10000000; break;
        case 'c': ok = number(optarg, 1, &o.connections) && o.connections <= 1024; break;
        case 'm': o.metric = optarg; break;
        case 't': o.tenant = optarg; break;
        case 'h': usage(stdout); return 0;
        default: ok = false;
        }
        if (!ok) {
            fprintf(stderr, "loadgen: bad value or option near \"%s\"\n", optarg ? optarg : "?");
            usage(stderr);
            return 2;
        }
    }
    if (!url || optind != argc) {
        usage(stderr);
        return 2;
    }
    if (o.connections > o.series)
        o.connections = o.series;
    o.interval_ms = (int64_t)interval * 1000;
    o.end_ms = (int64_t)end * 1000;
    return send_all(&o);
}
