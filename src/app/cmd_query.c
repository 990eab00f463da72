/* engram query: asks a server and prints a table, or its JSON. */
#include "cmd.h"

#include "base/buf.h"
#include "base/clk.h"
#include "base/codec.h"
#include "base/dtoa.h"
#include "base/json.h"
#include "net/net.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_MAX ((size_t)256 << 20)

enum { KEY_URL = 'u', KEY_TENANT = 't', KEY_START = 1000, KEY_END, KEY_STEP, KEY_TIME, KEY_JSON };

struct query {
    const char *url, *tenant, *expr, *start, *end, *step, *time;
    bool json;
};

static error_t option(int key, char *arg, struct argp_state *state)
{
    struct query *q = state->input;

    switch (key) {
    case KEY_URL: q->url = arg; return 0;
    case KEY_TENANT: q->tenant = arg; return 0;
    case KEY_START: q->start = arg; return 0;
    case KEY_END: q->end = arg; return 0;
    case KEY_STEP: q->step = arg; return 0;
    case KEY_TIME: q->time = arg; return 0;
    case KEY_JSON: q->json = true; return 0;
    case ARGP_KEY_ARG:
        if (q->expr)
            argp_error(state, "one expression, please: \"%s\" is a second", arg);
        q->expr = arg;
        return 0;
    case ARGP_KEY_END:
        if (!q->expr)
            argp_error(state, "wants an expression");
        if ((q->start || q->end || q->step) && q->time)
            argp_error(state, "--time is for instant queries, --start --end --step for ranges");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void form(struct buf *b, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(b, "%s%s=", b->n ? "&" : "", name);
    for (const unsigned char *p = (const unsigned char *)value; *p; p++)
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9'))
            buf_ch(b, (char)*p);
        else
            buf_printf(b, "%%%02X", *p);
}

static void print_label(void *arg, struct sv key, const struct json *value)
{
    bool *first = arg;
    struct sv v;

    if (sv_is(key, "__name__") || !json_sv(value, &v))
        return;
    printf("%s" SV_FMT "=\"" SV_FMT "\"", *first ? "" : ", ", SV_ARG(key), SV_ARG(v));
    *first = false;
}

static void print_point(const struct json *pair)
{
    double t = 0;
    struct sv v = SV("?");

    json_double(json_at(pair, 0), &t);
    json_sv(json_at(pair, 1), &v);
    printf("  %.3f  " SV_FMT "\n", t, SV_ARG(v));
}

static void print_series(const struct json *s)
{
    const struct json *metric = json_get(s, "metric"), *values = json_get(s, "values");
    struct sv name = {NULL, 0};
    bool first = true;

    json_sv(json_get(metric, "__name__"), &name);
    printf(SV_FMT "{", SV_ARG(name));
    json_each(metric, print_label, &first);
    printf("}\n");
    if (json_get(s, "value"))
        print_point(json_get(s, "value"));
    for (size_t i = 0; i < json_len(values); i++)
        print_point(json_at(values, i));
}

static int print_table(struct sv body)
{
    struct json_doc *doc;
    struct err err = ERR_INIT;
    const struct json *data, *result;
    struct sv kind = {NULL, 0}, text;

    if (json_parse(body, &doc, &err) != ST_OK) {
        fprintf(stderr, "engram: the answer is not JSON: %s\n", err.msg);
        return 1;
    }
    data = json_get(json_root(doc), "data");
    result = json_get(data, "result");
    json_sv(json_get(data, "resultType"), &kind);
    if (sv_is(kind, "scalar") || sv_is(kind, "string"))
        print_point(result);
    else
        for (size_t i = 0; i < json_len(result); i++)
            print_series(json_at(result, i));
    if (json_sv(json_get(json_root(doc), "error"), &text))
        fprintf(stderr, "engram: " SV_FMT "\n", SV_ARG(text));
    json_free(doc);
    return 0;
}

static int ask(const struct query *q)
{
    bool range = q->start || q->end || q->step;
    char url[2048], now[32], hour_ago[32];
    struct buf body, answer;
    struct err err = ERR_INIT;
    struct net *net = net_new(1);
    struct net_header headers[2] = {{SV("Content-Type"), SV("application/x-www-form-urlencoded")},
                                    {SV("X-Scope-OrgID"), sv_of(q->tenant)}};
    struct net_request req = {.method = "POST",
                              .url = url,
                              .headers = headers,
                              .headers_n = q->tenant ? 2 : 1,
                              .timeout_ms = 130000,
                              .connect_timeout_ms = 5000};
    struct net_answer ret = {0};
    int64_t t = clk_wall_ms(clk_system()) / 1000;
    int rc = 1;

    buf_init(&body, 1 << 20);
    buf_init(&answer, ANSWER_MAX);
    snprintf(now, sizeof(now), "%lld", (long long)t);
    snprintf(hour_ago, sizeof(hour_ago), "%lld", (long long)t - 3600);
    snprintf(url, sizeof(url), "%s/prometheus/api/v1/%s", q->url, range ? "query_range" : "query");
    form(&body, "query", q->expr);
    if (range) {
        form(&body, "start", q->start ? q->start : hour_ago);
        form(&body, "end", q->end ? q->end : now);
        form(&body, "step", q->step ? q->step : "60");
    } else {
        form(&body, "time", q->time);
    }
    req.body = buf_view(&body);
    ret.body = &answer;
    if (net_do(net, &req, &ret, &err) != ST_OK) {
        fprintf(stderr, "engram: %s: %s\n", url, err.msg);
    } else if (q->json) {
        fwrite(answer.p, 1, answer.n, stdout);
        putchar('\n');
        rc = ret.status == 200 ? 0 : 1;
    } else {
        rc = print_table(buf_view(&answer)) || ret.status != 200;
    }
    buf_fini(&body);
    buf_fini(&answer);
    net_free(net);
    return rc;
}

int cmd_query(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"url", KEY_URL, "URL", 0, "the server (http://127.0.0.1:9009)", 0},
        {"tenant", KEY_TENANT, "ID", 0, "sent as X-Scope-OrgID", 0},
        {"start", KEY_START, "TIME", 0, "range query from (default: an hour ago)", 0},
        {"end", KEY_END, "TIME", 0, "range query to (default: now)", 0},
        {"step", KEY_STEP, "STEP", 0, "range query every (default: 60)", 0},
        {"time", KEY_TIME, "TIME", 0, "instant query at (default: now)", 0},
        {"json", KEY_JSON, NULL, 0, "the server's JSON instead of a table", 0},
        {0}};
    static const struct argp parser = {options,
                                       option,
                                       "EXPR",
                                       "Evaluates a PromQL expression on a server.\v"
                                       "With --start, --end or --step it is a range query.",
                                       NULL,
                                       NULL,
                                       NULL};
    struct query q = {.url = "http://127.0.0.1:9009"};

    argp_parse(&parser, argc, argv, 0, NULL, &q);
    return ask(&q);
}
