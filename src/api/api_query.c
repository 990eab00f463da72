/* query and query_range: parameters in, the frontend's value out as JSON. */
#include "api_int.h"

#include "base/heap.h"

#include <inttypes.h>
#include <stdio.h>

/* Errors of parsing are errors of a parameter, and Prometheus says which. */
static void name_culprit(struct err *err)
{
    if (err->st == ST_INVALID && sv_search(sv_of(err->msg), SV("parse error")) != SIZE_MAX &&
        !sv_starts(sv_of(err->msg), SV("invalid parameter")))
        err_wrap(err, "invalid parameter \"query\"");
}

static enum status common(const struct http_req *r, struct fe_query *q, struct err *err)
{
    struct sv s = {NULL, 0};
    int64_t ns;

    http_req_param(r, "query", 0, &q->text);
    if (http_req_param(r, "timeout", 0, &s) && s.n) {
        if (api_parse_duration(s, &ns, err) != ST_OK)
            return err_wrap(err, "invalid parameter \"timeout\"");
        q->timeout_ms = ns < 1000000 ? 1 : ns / 1000000;
    }
    if (http_req_param(r, "lookback_delta", 0, &s) && s.n) {
        if (api_parse_duration(s, &ns, err) != ST_OK)
            return err_wrap(err, "error parsing lookback delta duration");
        q->lookback_ms = ns / 1000000;
        if (q->lookback_ms <= 0) /* 0 is the default there too */
            q->lookback_ms = 0;
    }
    s = http_req_header(r, "Cache-Control");
    q->no_cache = s.p && sv_search(s, SV("no-store")) != SIZE_MAX;
    return ST_OK;
}

static enum status instant_params(struct api *a, const struct http_req *r, struct fe_query *q,
                                  struct err *err)
{
    TRY(api_param_limit(r, &q->limit, err));
    q->start_ms = clk_wall_ms(a->opts.clk);
    TRY(api_param_time(r, "time", true, &q->start_ms, err));
    q->end_ms = q->start_ms;
    return common(r, q, err);
}

static enum status range_params(const struct http_req *r, struct fe_query *q, struct err *err)
{
    struct sv start = SV(""), end = SV(""), step = SV("");
    struct api_range g;

    TRY(api_param_limit(r, &q->limit, err));
    http_req_param(r, "start", 0, &start);
    http_req_param(r, "end", 0, &end);
    http_req_param(r, "step", 0, &step);
    TRY(api_check_range(start, end, step, &g, err));
    q->range = true;
    q->start_ms = g.start_ms;
    q->end_ms = g.end_ms;
    q->step_ms = g.step_ms;
    return common(r, q, err);
}

static void put_stats(struct http_req *r, const struct fe_stats *s)
{
    char text[160];

    snprintf(text, sizeof(text), "hit=%" PRIu32 " miss=%" PRIu32 " bypass=%" PRIu32, s->hit,
             s->miss, s->bypass);
    http_reply_header(r, "X-Engram-Cache", text);
    snprintf(text, sizeof(text), "queue;dur=%.3f, eval;dur=%.3f, total;dur=%.3f",
             (double)s->queue_ns / 1e6, (double)s->eval_ns / 1e6, (double)s->total_ns / 1e6);
    http_reply_header(r, "Server-Timing", text);
}

static enum status encode(struct api *a, const struct who *who, const struct value *v,
                          struct buf *out, struct err *err)
{
    uint64_t max = who->limits->max_query_response_size;
    struct account mem;
    enum status st;

    buf_init(out, max && max < SIZE_MAX / 2 ? (size_t)max : SIZE_MAX / 2);
    account_init(&mem, a->opts.budget, BUDGET_HTTP, 0);
    api_json_begin(out);
    st = api_json_value(out, v, &mem, err);
    api_json_end(out, v->warnings, v->warnings_n, v->infos, v->infos_n);
    account_fini(&mem); /* from here on the reply is charged by the server */
    if (st == ST_OK && !buf_ok(out))
        st = err_set(err, ST_TOOBIG,
                     "the answer is larger than max_query_response_size (%llu bytes) of tenant " SV_FMT,
                     (unsigned long long)max, SV_ARG(who->tenant));
    return st;
}

static void ask(struct api *a, struct http_req *r, bool range)
{
    struct err err = ERR_INIT;
    struct fe_query q = {.text = SV("")};
    struct fe_stats stats = {0};
    struct value *v = NULL;
    struct buf out;
    struct who who;
    enum status st;

    if (!api_who(a, r, &who))
        return;
    struct query_ctx ctx = {.who = &who,
                            .clk = a->opts.clk,
                            .canceled = http_req_gone(r),
                            .arena = http_req_arena(r)};
    buf_init(&out, 0);
    st = range ? range_params(r, &q, &err) : instant_params(a, r, &q, &err);
    if (st == ST_OK) {
        st = fe_run(a->opts.fe, &ctx, &q, &v, &stats, &err);
        put_stats(r, &stats);
    }
    if (st == ST_OK)
        st = encode(a, &who, v, &out, &err);
    tenant_done(&who);
    if (st == ST_OK) {
        api_reply_json(r, &out);
        return;
    }
    buf_fini(&out);
    name_culprit(&err);
    api_reply_error(r, &err);
}

void api_query(void *self, struct http_req *r)
{
    ask(self, r, false);
}

void api_query_range(void *self, struct http_req *r)
{
    ask(self, r, true);
}
