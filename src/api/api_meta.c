/* What isn't a query's value: label names and values, series, and the small things around them that
 * Grafana and Prometheus's own page ask for. */
#include "api_int.h"

#include "base/heap.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_NS     (INT64_C(60) * 1000000000)
#define MATCH_MAX      256 /* match[] of one request */
#define TEXT_MAX       ((size_t)1 << 20)
#define SERIES_CHECKED 64 /* series between two looks at the account */

/* One request for names or series: who, how long, what of. */
struct meta {
    struct api *api;
    struct http_req *req;
    struct who who;
    struct query_ctx ctx;
    struct account mem;
    struct expr *exprs[MATCH_MAX];
    struct select_req reqs[MATCH_MAX];
    size_t n;
    struct trange range;
    uint64_t limit;
    struct buf out;
};

static struct meta *meta_new(struct api *a, struct http_req *r)
{
    struct meta *m = heap_new(struct meta);
    uint64_t max;

    if (!api_who(a, r, &m->who)) {
        heap_free(m);
        return NULL;
    }
    m->api = a;
    m->req = r;
    max = m->who.limits->max_query_memory;
    account_init(&m->mem, a->opts.budget, BUDGET_QUERY, (int64_t)max);
    m->ctx = (struct query_ctx){.who = &m->who,
                                .clk = a->opts.clk,
                                .deadline_ns = clk_mono_ns(a->opts.clk) + TIMEOUT_NS,
                                .canceled = http_req_gone(r),
                                .mem = &m->mem,
                                .arena = http_req_arena(r)};
    max = m->who.limits->max_query_response_size;
    buf_init(&m->out, max && max < SIZE_MAX / 2 ? (size_t)max : SIZE_MAX / 2);
    return m;
}

/* Sends the answer or the error, and ends m. */
static void meta_end(struct meta *m, enum status st, struct err *err)
{
    struct http_req *r = m->req;
    struct buf out = m->out;

    if (st == ST_OK && !buf_ok(&out))
        st = err_set(err, ST_TOOBIG,
                     "the answer is larger than max_query_response_size (%llu bytes) of tenant " SV_FMT,
                     (unsigned long long)m->who.limits->max_query_response_size,
                     SV_ARG(m->who.tenant));
    for (size_t i = 0; i < m->n; i++)
        expr_free(m->exprs[i]);
    account_fini(&m->mem);
    tenant_done(&m->who);
    heap_free(m);
    if (st == ST_OK) {
        api_reply_json(r, &out);
    } else {
        buf_fini(&out);
        api_reply_error(r, err);
    }
}

static bool matches_all_empty(const struct expr *e)
{
    for (size_t i = 0; i < e->vector.matchers_n; i++)
        if (!matcher_matches_empty(e->vector.matchers[i]))
            return false;
    return true;
}

/* match[], start, end, limit */
static enum status meta_params(struct meta *m, struct err *err)
{
    int64_t start = API_TIME_MIN_MS, end = API_TIME_MAX_MS;
    struct sv text;

    TRY(api_param_limit(m->req, &m->limit, err));
    TRY(api_param_time(m->req, "start", true, &start, err));
    TRY(api_param_time(m->req, "end", true, &end, err));
    m->range = trange_closed(start, end);
    while (http_req_param(m->req, "match[]", m->n, &text)) {
        struct expr *e;

        if (m->n == MATCH_MAX)
            return err_set(err, ST_INVALID, "more than %d match[] parameters", MATCH_MAX);
        TRY(promql_parse_selector(m->ctx.arena, text, &e, err));
        m->exprs[m->n] = e;
        m->reqs[m->n] = (struct select_req){
            .matchers = (const struct matcher *const *)e->vector.matchers,
            .matchers_n = e->vector.matchers_n,
            .range = m->range,
            .hints = {.labels_only = true}};
        m->n++;
        if (matches_all_empty(e))
            return err_set(err, ST_INVALID, "match[] must contain at least one non-empty matcher");
    }
    return ST_OK;
}

static void put_names(struct meta *m, const struct names *names)
{
    struct sv warnings[2];
    size_t n = 0;

    if (names->truncated)
        warnings[n++] = SV(API_LIMIT_WARNING);
    if (!names->complete)
        warnings[n++] = SV("a part of the storage did not answer: names may be missing");
    api_json_begin(&m->out);
    api_json_strings(&m->out, names->p, names->n);
    api_json_end(&m->out, warnings, n, NULL, 0);
}

void api_labels(void *self, struct http_req *r)
{
    struct meta *m = meta_new(self, r);
    struct names names = {.complete = true};
    struct err err = ERR_INIT;
    enum status st;

    if (!m)
        return;
    st = meta_params(m, &err);
    if (st == ST_OK && !trange_empty(m->range))
        st = m->api->opts.storage->ops->label_names(m->api->opts.storage, &m->ctx, m->reqs, m->n,
                                                    m->range, (size_t)m->limit, &names, &err);
    if (st == ST_OK)
        put_names(m, &names);
    meta_end(m, st, &err);
}

static size_t put_rune(char *out, unsigned c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* "_2e_" behind U__: the code, and how many bytes it took after the first underscore; 0: none. */
static size_t escaped_rune(struct sv s, unsigned *ret)
{
    unsigned v = 0;

    for (size_t i = 0; i < s.n && i < 7; i++) {
        char c = s.p[i];

        if (c == '_' && i > 0) {
            *ret = v;
            return v > 0x10ffff || (v >= 0xd800 && v < 0xe000) ? 0 : i + 1;
        }
        if (c >= '0' && c <= '9')
            v = v * 16 + (unsigned)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            v = v * 16 + (unsigned)((c | 32) - 'a' + 10);
        else
            return 0;
    }
    return 0;
}

/* Names that aren't [a-zA-Z_][a-zA-Z0-9_]* may come as U__with_2e_dots; what can't be read so is
 * taken as it is, as Prometheus does. A character is never longer than its escape. */
static struct sv unescape_name(struct arena *arena, struct sv name)
{
    char *out;
    size_t n = 0;

    if (!sv_starts(name, SV("U__")))
        return name;
    out = arena_alloc(arena, name.n);
    if (!out)
        return name;
    for (size_t i = 3; i < name.n; i++) {
        unsigned c;
        size_t used;

        if (name.p[i] != '_') {
            out[n++] = name.p[i];
        } else if (i + 1 < name.n && name.p[i + 1] == '_') {
            out[n++] = '_';
            i++;
        } else {
            used = escaped_rune(sv_sub(name, i + 1, name.n), &c);
            if (!used)
                return name;
            n += put_rune(out + n, c);
            i += used;
        }
    }
    return sv_make(out, n);
}

void api_label_values(void *self, struct http_req *r)
{
    struct meta *m = meta_new(self, r);
    struct names names = {.complete = true};
    struct err err = ERR_INIT;
    struct sv name;
    enum status st;

    if (!m)
        return;
    name = unescape_name(m->ctx.arena, http_req_part(r));
    if (name.n == 0 || !sv_utf8(name))
        st = err_set(&err, ST_INVALID, "invalid label name: \"" SV_FMT "\"", SV_ARG(name));
    else
        st = meta_params(m, &err);
    if (st == ST_OK && !trange_empty(m->range))
        st = m->api->opts.storage->ops->label_values(m->api->opts.storage, &m->ctx, name, m->reqs,
                                                     m->n, m->range, (size_t)m->limit, &names,
                                                     &err);
    if (st == ST_OK)
        put_names(m, &names);
    meta_end(m, st, &err);
}

/* --- series --- */

struct found {
    VEC(struct labels) all;
    VEC(struct sv) warnings;
    size_t charged;
};

/* What the list holds, in the arena and outside. */
static enum status found_charge(struct meta *m, struct found *f, struct err *err)
{
    size_t now = m->ctx.arena->used_bytes + f->all.cap * sizeof(*f->all.p);

    if (arena_over(m->ctx.arena))
        return err_set(err, ST_LIMIT, "the series of the answer take more than the request's memory");
    if (now > f->charged) {
        TRY(account_charge(&m->mem, (int64_t)(now - f->charged), err));
        f->charged = now;
    }
    return ST_OK;
}

static enum status collect(struct meta *m, const struct select_req *req, struct found *f,
                           struct err *err)
{
    const struct storage *s = m->api->opts.storage;
    struct series_set *set = NULL;
    enum status st;
    bool more;
    size_t n = 0;

    TRY(s->ops->select(s, &m->ctx, req, &set, err));
    for (;;) {
        struct labels ls;

        TRY_GOTO(series_set_next(set, &more, err));
        if (!more || (m->limit && n > m->limit))
            break;
        ls = labels_dup(m->ctx.arena, set->labels);
        vec_push(&f->all, ls);
        if (++n % SERIES_CHECKED == 0 || arena_over(m->ctx.arena)) {
            TRY_GOTO(found_charge(m, f, err));
            TRY_GOTO(query_alive(&m->ctx, err));
        }
    }
    for (size_t i = 0; !more && i < set->outcome.warnings.n; i++)
        vec_push(&f->warnings, sv_of(set->outcome.warnings.p[i]));
    st = found_charge(m, f, err);
out:
    series_set_close(set);
    return st;
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

static void put_series(struct meta *m, struct found *f)
{
    size_t n = 0;

    if (m->n > 1)
        qsort(f->all.p, f->all.n, sizeof(*f->all.p), by_labels);
    api_json_begin(&m->out);
    buf_ch(&m->out, '[');
    for (size_t i = 0; i < f->all.n && buf_ok(&m->out); i++) {
        if (i && labels_eq(f->all.p[i], f->all.p[i - 1])) /* matched by two selectors */
            continue;
        if (m->limit && n == m->limit) {
            vec_push(&f->warnings, SV(API_LIMIT_WARNING));
            break;
        }
        if (n++)
            buf_ch(&m->out, ',');
        api_json_labels(&m->out, f->all.p[i]);
    }
    buf_ch(&m->out, ']');
    api_json_end(&m->out, f->warnings.p, f->warnings.n, NULL, 0);
}

static enum status series_params(struct meta *m, struct err *err)
{
    struct sv any;
    enum status st;

    if (!http_req_param(m->req, "match[]", 0, &any))
        return err_set(err, ST_INVALID, "no match[] parameter provided");
    st = meta_params(m, err);
    if (st != ST_OK && !sv_starts(sv_of(err->msg), SV("invalid parameter")))
        err_wrap(err, "invalid parameter \"match[]\"");
    return st;
}

void api_series(void *self, struct http_req *r)
{
    struct meta *m = meta_new(self, r);
    struct found f = {0};
    struct err err = ERR_INIT;
    enum status st;

    if (!m)
        return;
    st = series_params(m, &err);
    for (size_t i = 0; st == ST_OK && i < m->n && !trange_empty(m->range); i++) {
        m->reqs[i].hints.limit = m->limit ? (size_t)m->limit + 1 : 0;
        st = collect(m, &m->reqs[i], &f, &err);
    }
    if (st == ST_OK)
        put_series(m, &f);
    vec_free(&f.all);
    vec_free(&f.warnings);
    meta_end(m, st, &err);
}

/* --- small things --- */

/* An answer that needs nothing but a tenant. */
static void fixed(struct api *a, struct http_req *r, const char *data)
{
    struct who who;
    struct buf b;

    if (!api_who(a, r, &who))
        return;
    tenant_done(&who);
    buf_init(&b, strlen(data) + 128);
    api_json_begin(&b);
    buf_str(&b, data);
    api_json_end(&b, NULL, 0, NULL, 0);
    api_reply_json(r, &b);
}

void api_rules(void *self, struct http_req *r)
{
    fixed(self, r, "{\"groups\":[]}"); /* until the ruler stands */
}

void api_alerts(void *self, struct http_req *r)
{
    fixed(self, r, "{\"alerts\":[]}");
}

/* Metadata is logged but not kept where it could be asked for yet. */
void api_metadata(void *self, struct http_req *r)
{
    struct err err = ERR_INIT;
    struct sv s;
    int64_t n;

    if (http_req_param(r, "limit", 0, &s) && s.n && !sv_i64(s, &n)) {
        err_set(&err, ST_INVALID, "limit must be a number");
        api_reply_error(r, &err);
        return;
    }
    fixed(self, r, "{}");
}

void api_buildinfo(void *self, struct http_req *r)
{
    const struct api *a = self;
    struct buf b;

    buf_init(&b, 4096);
    buf_str(&b, "{\"version\":");
    json_str(&b, sv_of(a->opts.version ? a->opts.version : ""));
    buf_str(&b, ",\"revision\":");
    json_str(&b, sv_of(a->opts.revision ? a->opts.revision : ""));
    buf_str(&b, ",\"branch\":\"\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\","
                "\"application\":\"engram\"}");
    buf_ch(&b, '\0');
    fixed(self, r, b.p);
    buf_fini(&b);
}

/* The parameter `query`, parsed: its tree is printed by one of two. */
static void print_query(struct api *a, struct http_req *r,
                        void (*print)(struct buf *out, const struct expr *e))
{
    struct err err = ERR_INIT;
    struct sv text = SV("");
    struct expr *e = NULL;
    struct who who;
    struct buf b;
    bool ok;

    if (!api_who(a, r, &who))
        return;
    tenant_done(&who);
    http_req_param(r, "query", 0, &text);
    if (promql_parse(http_req_arena(r), text, &a->opts.promql, &e, &err) != ST_OK) {
        err_wrap(&err, "invalid parameter \"query\"");
        api_reply_error(r, &err);
        return;
    }
    buf_init(&b, TEXT_MAX);
    api_json_begin(&b);
    print(&b, e);
    api_json_end(&b, NULL, 0, NULL, 0);
    expr_free(e);
    ok = buf_ok(&b);
    if (!ok)
        err_set(&err, ST_TOOBIG, "the answer is larger than %zu bytes", TEXT_MAX);
    if (ok) {
        api_reply_json(r, &b);
    } else {
        buf_fini(&b);
        api_reply_error(r, &err);
    }
}

static void print_pretty(struct buf *out, const struct expr *e)
{
    struct buf text;

    buf_init(&text, TEXT_MAX);
    promql_pretty(&text, e);
    json_str_html(out, buf_view(&text));
    out->over |= text.over;
    buf_fini(&text);
}

void api_format_query(void *self, struct http_req *r)
{
    print_query(self, r, print_pretty);
}

void api_parse_query(void *self, struct http_req *r)
{
    print_query(self, r, promql_json);
}

static enum status exemplar_params(struct api *a, struct http_req *r, struct err *err)
{
    int64_t start = API_TIME_MIN_MS, end = API_TIME_MAX_MS;
    struct sv text = SV("");
    struct expr *e = NULL;

    TRY(api_param_time(r, "start", true, &start, err));
    TRY(api_param_time(r, "end", true, &end, err));
    if (end < start)
        return err_set(err, ST_INVALID, "end timestamp must not be before start timestamp");
    http_req_param(r, "query", 0, &text);
    TRY(promql_parse(http_req_arena(r), text, &a->opts.promql, &e, err));
    expr_free(e);
    return ST_OK;
}

void api_exemplars(void *self, struct http_req *r)
{
    struct err err = ERR_INIT;

    if (exemplar_params(self, r, &err) == ST_OK)
        fixed(self, r, "[]");
    else
        api_reply_error(r, &err);
}
