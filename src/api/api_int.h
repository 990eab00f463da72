/* src/api/api_int.h - what the files api_*.c share. */
#ifndef ENGRAM_API_INT_H
#define ENGRAM_API_INT_H

#include "api/api.h"
#include "base/lock.h"
#include "base/vec.h"
#include "model/value.h"

#define API_LIMIT_WARNING "results truncated due to limit"

struct api;

struct api_admin { /* `self` of admin handlers: the two tables differ in it */
    struct api *api;
    bool loopback_only;
};

struct api_table {
    VEC(struct http_route) routes;
    VEC(char *) patterns;
};

struct api {
    struct api_opts opts;
    struct api_networks *trusted; /* NULL: no rule */
    bool header_mode;
    struct api_admin admin, admin_listen;
    struct api_table table, admin_table;
    struct lock lock; /* guards why */
    char *why;        /* unready; NULL: ready */
};

/* --- api.c --- */
/* Who asks. On failure the answer has been sent (plain text, as Cortex does) and false returned. */
bool api_who(struct api *a, struct http_req *r, struct who *ret);
/* A browser's page of another origin is behind this: it may not change anything here. Then 403 has
 * been sent. Browsers say it unasked; programs don't, and pass. */
bool api_foreign_page(struct http_req *r);
void api_reply_json(struct http_req *r, struct buf *own_body);
/* {"status":"error",...} with the status of e. */
void api_reply_error(struct http_req *r, const struct err *e);
void api_ready(void *self, struct http_req *r);
void api_metrics(void *self, struct http_req *r);

/* --- api_param.c: each fails with Prometheus's text --- */
enum status api_parse_time(struct sv s, int64_t *ret_ms, struct err *err);
enum status api_parse_duration(struct sv s, int64_t *ret_ns, struct err *err);
/* The parameter, or *ret_ms as it is when absent. `doubled`: the text says the name twice, as
 * Prometheus's parseTimeParam does. */
enum status api_param_time(const struct http_req *r, const char *name, bool doubled,
                           int64_t *ret_ms, struct err *err);
enum status api_param_limit(const struct http_req *r, uint64_t *ret, struct err *err);
struct api_range {
    int64_t start_ms, end_ms, step_ms;
};
/* The rules of query_range on what the three texts say. */
enum status api_check_range(struct sv start, struct sv end, struct sv step, struct api_range *ret,
                            struct err *err);
#define API_TIME_MIN_MS (INT64_C(-9223309901257974000)) /* Prometheus's MinTime and MaxTime */
#define API_TIME_MAX_MS (INT64_C(9223309901257974999))

/* --- api_json.c --- */
void api_json_begin(struct buf *b); /* {"status":"success","data": */
/* Closes it; texts may be NULL when their count is 0. */
void api_json_end(struct buf *b, const struct sv *warnings, size_t warnings_n,
                  const struct sv *infos, size_t infos_n);
void api_json_labels(struct buf *b, struct labels ls);
void api_json_hist(struct buf *b, const struct hist *h);
/* {"resultType":...,"result":...}. mem is charged as b grows (may be NULL). ST_LIMIT. */
enum status api_json_value(struct buf *b, const struct value *v, struct account *mem,
                           struct err *err);
void api_json_strings(struct buf *b, const struct sv *p, size_t n);

/* --- handlers; self is struct api, or struct api_admin in api_admin.c --- */
void api_push(void *self, struct http_req *r);
void api_query(void *self, struct http_req *r);
void api_query_range(void *self, struct http_req *r);
void api_labels(void *self, struct http_req *r);
void api_label_values(void *self, struct http_req *r);
void api_series(void *self, struct http_req *r);
void api_metadata(void *self, struct http_req *r);
void api_exemplars(void *self, struct http_req *r);
void api_format_query(void *self, struct http_req *r);
void api_parse_query(void *self, struct http_req *r);
void api_buildinfo(void *self, struct http_req *r);
void api_rules(void *self, struct http_req *r);
void api_alerts(void *self, struct http_req *r);
void api_flush(void *self, struct http_req *r);

#endif
