/* ackcheck - proves that what was acknowledged is there.
 *
 *   ackcheck push   --url http://HOST:PORT --file ACKS [--series N] [--connections C] [--samples N]
 *                   [--per-request N] [--seconds S] [--pause-ms N] [--tenant ID] [--push-path PATH]
 *   ackcheck verify --url http://HOST:PORT --file ACKS [--tenant ID] [--query-path PATH]
 *
 * push sends samples no other run sends (the metric's label `run` is random), with growing timestamps,
 * from C connections; each has its own series and sends N samples of each of them a request. After
 * every 2xx it appends a line to ACKS before it goes on. What is not acknowledged (connection lost,
 * 429, 5xx) is sent again until it is, across restarts of the server, until --seconds are over. A
 * refusal (other 4xx) is a failure: nothing that is sent deserves one.
 *
 * verify asks for every series' raw samples and compares: each acknowledged sample must be there, once,
 * with its bits; samples beyond those may be there (stored, but the answer was lost), but must be
 * samples that were sent. Exit status 1 when anything differs, or when nothing was acknowledged.
 *
 * The file: `ackcheck 1 RUN START_MS STEP_MS SERIES`, then `ack FIRST_SERIES SERIES SAMPLES` and
 * `sent ...` before each first attempt, samples counted from the series' beginning. */
#include "base/clk.h"
#include "base/codec.h"
#include "base/dtoa.h"
#include "base/fs.h"
#include "base/heap.h"
#include "base/json.h"
#include "http_client.h"
#include "wire/wire.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>

#define METRIC        "ackcheck_samples_total"
#define STEP_MS       10
#define RETRY_US      20000
#define WINDOW        5000 /* samples of one query */
#define REQUEST_MAX   ((size_t)64 << 20)
#define FILE_MAX      ((size_t)1 << 30)
#define SHOWN_MAX     20
#define SAMPLES_MAX   300000 /* of a series: 50 minutes, so they end before the clock */

struct opts {
    struct http_url url;
    const char *file, *tenant, *push_path, *query_path;
    uint64_t series, connections, samples, per_request, seconds, pause_ms;
};

struct run {
    char id[17];
    int64_t start_ms, step_ms;
    uint64_t series;
};

static double value_of(uint64_t series, uint64_t k)
{
    /* Every sample of a run has a value of its own, some of them not whole. */
    return (double)(series * UINT64_C(100000000) + k) + (k % 8 == 0 ? 0.25 : 0);
}

/* ---- push ---- */

struct pusher {
    const struct opts *opts;
    const struct run *run;
    pthread_t thread;
    int fd;
    int64_t until_ns; /* 0: no end */
    uint64_t first, n, acked, retries;
    bool failed;
};

static bool note(int fd, const char *what, uint64_t first, uint64_t n, uint64_t count)
{
    char line[128];
    int k = snprintf(line, sizeof(line), "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", what, first, n,
                     count);

    if (write(fd, line, (size_t)k) == k)
        return true;
    perror("ackcheck: writing the file");
    return false;
}

static void make_body(const struct pusher *p, uint64_t upto, struct buf *plain, struct buf *packed)
{
    uint64_t per = upto - p->acked;
    struct batch b = {.series = heap_array(p->n, sizeof(*b.series)),
                      .samples = heap_array(p->n * per, sizeof(*b.samples)),
                      .series_n = p->n};
    struct buf labels;
    size_t *at = heap_array(p->n + 1, sizeof(*at));

    buf_init(&labels, REQUEST_MAX);
    for (uint64_t i = 0; i < p->n; i++) {
        char no[24];
        struct label l[] = {{SV("__name__"), SV(METRIC)},
                            {SV("job"), SV("ackcheck")},
                            {SV("run"), sv_of(p->run->id)},
                            {SV("series"), {no, 0}}};

        l[3].value.n = (size_t)snprintf(no, sizeof(no), "%" PRIu64, p->first + i);
        labels_to_wire(&labels, (struct labels){l, 4});
        at[i + 1] = labels.n;
        b.series[i].sample_off = (uint32_t)(i * per);
        b.series[i].sample_n = (uint32_t)per;
        for (uint64_t k = 0; k < per; k++)
            b.samples[i * per + k] = (struct batch_sample){
                p->run->start_ms + (int64_t)(p->acked + k) * p->run->step_ms, 0,
                value_of(p->first + i, p->acked + k)};
    }
    for (uint64_t i = 0; i < p->n; i++)
        b.series[i].raw = sv_make(labels.p + at[i], at[i + 1] - at[i]);
    buf_clear(plain);
    buf_clear(packed);
    wire_write_v1_encode(plain, &b);
    wire_snap(packed, buf_view(plain));
    buf_fini(&labels);
    heap_free(at);
    heap_free(b.series);
    heap_free(b.samples);
}

static bool time_is_up(const struct pusher *p)
{
    return p->until_ns && clk_mono_ns(clk_system()) >= p->until_ns;
}

/* Until it is acknowledged, refused, or time is up. */
static bool deliver(struct pusher *p, struct http_conn *c, struct sv body)
{
    while (!time_is_up(p)) {
        int status = http_push(c, p->opts->push_path, body);

        if (status >= 200 && status < 300)
            return true;
        if (status && status != 429 && status < 500) {
            fprintf(stderr, "ackcheck: series %" PRIu64 "..: status %d: %.*s\n", p->first, status,
                    (int)c->body.n, c->body.p);
            p->failed = true;
            return false;
        }
        p->retries++;
        usleep(RETRY_US);
    }
    return false;
}

static void *push_run(void *arg)
{
    struct pusher *p = arg;
    const struct opts *o = p->opts;
    struct http_conn *c = heap_new(struct http_conn);
    struct buf plain, packed;

    http_conn_init(c, &o->url, o->tenant);
    c->timeout_s = 20;
    buf_init(&plain, REQUEST_MAX);
    buf_init(&packed, REQUEST_MAX);
    while (!p->failed && !time_is_up(p) && p->acked < o->samples) {
        uint64_t upto = p->acked + o->per_request;

        if (upto > o->samples)
            upto = o->samples;
        make_body(p, upto, &plain, &packed);
        if (!buf_ok(&plain) || !buf_ok(&packed)) {
            fprintf(stderr, "ackcheck: request too large\n");
            p->failed = true;
        } else if (!note(p->fd, "sent", p->first, p->n, upto)) {
            p->failed = true;
        } else if (deliver(p, c, buf_view(&packed))) {
            p->acked = upto;
            p->failed = !note(p->fd, "ack", p->first, p->n, upto);
        }
        if (o->pause_ms)
            usleep((useconds_t)o->pause_ms * 1000);
    }
    http_conn_fini(c);
    heap_free(c);
    buf_fini(&plain);
    buf_fini(&packed);
    return NULL;
}

static int push(const struct opts *o)
{
    struct pusher *p = heap_array(o->connections, sizeof(*p));
    struct run run = {.step_ms = STEP_MS, .series = o->series};
    uint64_t next = 0, acked = 0, retries = 0, id = random_u64();
    int fd = open(o->file, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    bool failed = false;

    hex_encode(run.id, &id, sizeof(id));
    /* Far enough back that the fastest run stays behind the clock. */
    run.start_ms = clk_wall_ms(clk_system()) - 3600 * 1000;
    if (fd < 0 || dprintf(fd, "ackcheck 1 %s %" PRId64 " %" PRId64 " %" PRIu64 "\n", run.id,
                          run.start_ms, run.step_ms, run.series) < 0) {
        perror("ackcheck: the file");
        return 1;
    }
    for (uint64_t i = 0; i < o->connections; i++) {
        p[i] = (struct pusher){.opts = o, .run = &run, .fd = fd, .first = next};
        p[i].n = o->series / o->connections + (i < o->series % o->connections);
        if (o->seconds)
            p[i].until_ns = clk_mono_ns(clk_system()) + (int64_t)o->seconds * 1000000000;
        next += p[i].n;
        if (pthread_create(&p[i].thread, NULL, push_run, &p[i]) != 0) {
            perror("ackcheck: thread");
            return 1;
        }
    }
    for (uint64_t i = 0; i < o->connections; i++) {
        pthread_join(p[i].thread, NULL);
        acked += p[i].acked * p[i].n;
        retries += p[i].retries;
        failed |= p[i].failed;
    }
    printf("{\"acknowledged\":%" PRIu64 ",\"retries\":%" PRIu64 ",\"failed\":%s}\n", acked, retries,
           failed ? "true" : "false");
    close(fd);
    heap_free(p);
    return failed;
}

/* ---- verify ---- */

struct counts {
    uint64_t *acked, *sent;
};

struct tally {
    uint64_t acked, found, missing, wrong, twice, alien, shown;
};

static void complain(struct tally *t, uint64_t *counter, uint64_t series, uint64_t k,
                     const char *what)
{
    ++*counter;
    if (t->shown++ < SHOWN_MAX)
        printf("series %" PRIu64 " sample %" PRIu64 ": %s\n", series, k, what);
}

static bool read_file(const char *path, struct run *run, struct counts *c)
{
    struct err err = ERR_INIT;
    struct sv rest, line;
    char *text;
    size_t n;

    if (fs_read_file(fs_posix(), path, FILE_MAX, &text, &n, &err) != ST_OK) {
        fprintf(stderr, "ackcheck: %s\n", err.msg);
        return false;
    }
    line = sv_cut(sv_make(text, n), '\n', &rest);
    if (sscanf(text, "ackcheck 1 %16s %" SCNd64 " %" SCNd64 " %" SCNu64, run->id, &run->start_ms,
               &run->step_ms, &run->series) != 4 ||
        run->series > 100000000) {
        fprintf(stderr, "ackcheck: %s is not a file of acknowledgements: %.*s\n", path,
                (int)(line.n > 80 ? 80 : line.n), line.p);
        heap_free(text);
        return false;
    }
    c->acked = heap_array(run->series + 1, sizeof(*c->acked));
    c->sent = heap_array(run->series + 1, sizeof(*c->sent));
    while (rest.n) {
        uint64_t first, m, count, *to;
        struct sv what;

        if (sv_find(rest, '\n') == SIZE_MAX) /* a torn last line does not count */
            break;
        line = sv_cut(rest, '\n', &rest);
        what = sv_cut(line, ' ', &line);
        if (!sv_u64(sv_cut(line, ' ', &line), &first) || !sv_u64(sv_cut(line, ' ', &line), &m) ||
            !sv_u64(line, &count))
            continue;
        to = sv_is(what, "ack") ? c->acked : c->sent;
        for (uint64_t i = first; i < first + m && i < run->series; i++)
            if (to[i] < count)
                to[i] = count;
    }
    heap_free(text);
    return true;
}

/* Raw samples number k .. k + WINDOW - 1 of a series, as an instant query of a range selector. */
static bool ask(struct http_conn *c, const struct opts *o, const struct run *run, uint64_t series,
                uint64_t k, struct json_doc **ret)
{
    int64_t end_ms = run->start_ms + (int64_t)(k + WINDOW - 1) * run->step_ms;
    char expr[256], path[2048];
    struct err err = ERR_INIT;
    struct buf q;
    int status;

    snprintf(expr, sizeof(expr), METRIC "{run=\"%s\",series=\"%" PRIu64 "\"}[%" PRId64 "ms]",
             run->id, series, WINDOW * run->step_ms);
    buf_init(&q, 1024);
    http_url_encode(&q, expr);
    snprintf(path, sizeof(path), "%s?query=%.*s&time=%" PRId64 ".%03d", o->query_path, (int)q.n,
             q.p, end_ms / 1000, (int)(end_ms % 1000));
    buf_fini(&q);
    status = http_request(c, "GET", path, "Cache-Control: no-store\r\n", (struct sv){NULL, 0});
    if (!status) /* the server may have closed a connection that had rested */
        status = http_request(c, "GET", path, "Cache-Control: no-store\r\n", (struct sv){NULL, 0});
    if (status != 200) {
        fprintf(stderr, "ackcheck: query answered %d: %.*s\n", status, (int)c->body.n, c->body.p);
        return false;
    }
    if (json_parse(buf_view(&c->body), ret, &err) == ST_OK)
        return true;
    fprintf(stderr, "ackcheck: answer: %s\n", err.msg);
    return false;
}

/* One [time, "value"] of the answer. */
static void check_point(struct tally *t, const struct run *run, uint64_t series, uint64_t sent,
                        uint64_t from, const struct json *point, bool *seen)
{
    double time_s, v;
    struct sv text;
    int64_t behind;
    uint64_t k;

    if (!json_double(json_at(point, 0), &time_s) || !json_sv(json_at(point, 1), &text) ||
        !dtoa_parse(text, &v)) {
        complain(t, &t->alien, series, from, "not a sample");
        return;
    }
    behind = llround(time_s * 1000) - run->start_ms;
    k = (uint64_t)(behind / run->step_ms);
    if (behind < 0 || behind % run->step_ms || k >= sent || k < from || k >= from + WINDOW)
        complain(t, &t->alien, series, k, "is there, but was never sent");
    else if (seen[k - from])
        complain(t, &t->twice, series, k, "is there twice");
    else if (v != value_of(series, k))
        complain(t, &t->wrong, series, k, "has another value");
    else
        t->found++;
    if (k >= from && k < from + WINDOW)
        seen[k - from] = true;
}

static bool check_window(struct http_conn *c, const struct opts *o, const struct run *run,
                         const struct counts *counts, uint64_t series, uint64_t from,
                         struct tally *t)
{
    bool *seen = heap_array(WINDOW, sizeof(*seen));
    const struct json *result, *values;
    struct json_doc *doc;

    if (!ask(c, o, run, series, from, &doc)) {
        heap_free(seen);
        return false;
    }
    result = json_get(json_get(json_root(doc), "data"), "result");
    if (json_len(result) > 1)
        complain(t, &t->alien, series, from, "more than one series in the answer");
    values = json_get(json_at(result, 0), "values");
    for (size_t i = 0; i < json_len(values); i++)
        check_point(t, run, series, counts->sent[series], from, json_at(values, i), seen);
    for (uint64_t k = from; k < from + WINDOW && k < counts->acked[series]; k++) {
        t->acked++;
        if (!seen[k - from])
            complain(t, &t->missing, series, k, "was acknowledged and is missing");
    }
    json_free(doc);
    heap_free(seen);
    return true;
}

static int verify(const struct opts *o)
{
    struct http_conn *c = heap_new(struct http_conn);
    struct counts counts = {0};
    struct tally t = {0};
    struct run run = {0};
    bool asked = true, good;

    if (!read_file(o->file, &run, &counts))
        return 1;
    http_conn_init(c, &o->url, o->tenant);
    for (uint64_t s = 0; s < run.series && asked; s++)
        for (uint64_t k = 0; k < counts.sent[s] && asked; k += WINDOW)
            asked = check_window(c, o, &run, &counts, s, k, &t);
    good = asked && t.acked && !t.missing && !t.wrong && !t.twice && !t.alien;
    printf("{\"acknowledged\":%" PRIu64 ",\"found\":%" PRIu64 ",\"missing\":%" PRIu64
           ",\"wrong\":%" PRIu64 ",\"twice\":%" PRIu64 ",\"never_sent\":%" PRIu64 ",\"good\":%s}\n",
           t.acked, t.found, t.missing, t.wrong, t.twice, t.alien, good ? "true" : "false");
    http_conn_fini(c);
    heap_free(c);
    heap_free(counts.acked);
    heap_free(counts.sent);
    return !good;
}

static void usage(FILE *to)
{
    fputs("usage: ackcheck push   --url http://HOST:PORT --file ACKS [--series N] [--connections C]\n"
          "                       [--samples N] [--per-request N] [--seconds S] [--pause-ms N]\n"
          "                       [--tenant ID] [--push-path /api/v1/push]\n"
          "       ackcheck verify --url http://HOST:PORT --file ACKS [--tenant ID]\n"
          "                       [--query-path /api/v1/query]\n"
          "--samples of each series (0: until --seconds are over, 300000 at most), --per-request likewise\n",
          to);
}

static bool number(const char *z, uint64_t min, uint64_t max, uint64_t *ret)
{
    return sv_u64(sv_of(z), ret) && *ret >= min && *ret <= max;
}

static int read_args(int argc, char **argv, struct opts *o)
{
    static const struct option names[] = {
        {"url", 1, NULL, 'u'},       {"file", 1, NULL, 'f'},        {"series", 1, NULL, 's'},
        {"samples", 1, NULL, 'n'},   {"per-request", 1, NULL, 'p'}, {"connections", 1, NULL, 'c'},
        {"seconds", 1, NULL, 'S'},   {"pause-ms", 1, NULL, 'P'},    {"tenant", 1, NULL, 't'},
        {"push-path", 1, NULL, 'w'}, {"query-path", 1, NULL, 'q'},  {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    bool ok = true, url = false;
    int opt;

    while (ok && (opt = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (opt) {
        case 'u': ok = url = http_url_parse(optarg, &o->url); break;
        case 'f': o->file = optarg; break;
        case 's': ok = number(optarg, 1, 10000000, &o->series); break;
        case 'n': ok = number(optarg, 0, SAMPLES_MAX, &o->samples); break;
        case 'p': ok = number(optarg, 1, 100000, &o->per_request); break;
        case 'c': ok = number(optarg, 1, 1024, &o->connections); break;
        case 'S': ok = number(optarg, 0, 1000000, &o->seconds); break;
        case 'P': ok = number(optarg, 0, 1000000, &o->pause_ms); break;
        case 't': o->tenant = optarg; break;
        case 'w': o->push_path = optarg; break;
        case 'q': o->query_path = optarg; break;
        case 'h': usage(stdout); exit(0);
        default: ok = false;
        }
    }
    if (!ok || !url || !o->file || optind != argc - 1 || (!o->samples && !o->seconds)) {
        usage(stderr);
        return 2;
    }
    if (o->connections > o->series)
        o->connections = o->series;
    if (!o->samples)
        o->samples = SAMPLES_MAX;
    return 0;
}

int main(int argc, char **argv)
{
    struct opts o = {.push_path = "/api/v1/push",
                     .query_path = "/api/v1/query",
                     .series = 100,
                     .connections = 4,
                     .samples = 1000,
                     .per_request = 10};
    int r = read_args(argc, argv, &o);

    if (r)
        return r;
    if (strcmp(argv[optind], "push") == 0)
        return push(&o);
    if (strcmp(argv[optind], "verify") == 0)
        return verify(&o);
    usage(stderr);
    return 2;
}
