/* The way in: rate, rules, the ingester; and what is said and counted about refusals. */
#include "distributor/dist.h"

#include "base/heap.h"

#include <stdio.h>

/* Of --memory: from here on nobody gets a new series. Caches and queries give way before that. */
#define NEW_SERIES_PERCENT 90

struct dist {
    struct dist_opts opts;
    struct metric *samples, *exemplars, *metadata, *duplicates, *series_refused;
    struct metric *discarded[VERDICT_N], *discarded_rate;
    struct metric *requests_stored, *requests_partly, *requests_rate, *requests_failed;
    struct metric_hist *seconds;
};

static struct metric *discarded(struct metrics *m, const char *reason)
{
    char label[96];

    snprintf(label, sizeof(label), "reason=\"%s\"", reason);
    return metric_counter(m, "engram_distributor_discarded_samples_total", label,
                          "Samples and histograms refused.");
}

static struct metric *requests(struct metrics *m, const char *label)
{
    return metric_counter(m, "engram_distributor_requests_total", label,
                          "Write requests by outcome.");
}

static bool is_refusal(int v)
{
    return v != VERDICT_STORED && v != VERDICT_DUPLICATE;
}

static void register_metrics(struct dist *d, struct metrics *m)
{
    d->samples = metric_counter(m, "engram_distributor_received_samples_total", "",
                                "Samples and histograms asked to be stored.");
    d->exemplars = metric_counter(m, "engram_distributor_received_exemplars_total", "",
                                  "Exemplars asked to be stored.");
    d->metadata = metric_counter(m, "engram_distributor_received_metadata_total", "",
                                 "Metadata entries asked to be stored.");
    d->duplicates = metric_counter(m, "engram_distributor_duplicate_samples_total", "",
                                   "Samples that were there already, accepted silently.");
    d->series_refused = metric_counter(m, "engram_distributor_refused_series_total", "",
                                       "Series of requests refused as a whole.");
    for (int v = 0; v < VERDICT_N; v++)
        if (is_refusal(v))
            d->discarded[v] = discarded(m, verdict_label((enum verdict)v));
    d->discarded_rate = discarded(m, "rate_limited");
    d->requests_stored = requests(m, "outcome=\"stored\"");
    d->requests_partly = requests(m, "outcome=\"partly_refused\"");
    d->requests_rate = requests(m, "outcome=\"rate_limited\"");
    d->requests_failed = requests(m, "outcome=\"failed\"");
    d->seconds = metric_seconds(m, "engram_distributor_push_seconds", "",
                                "From decoded request to verdict, without the wait for the log.");
}

struct dist *dist_new(const struct dist_opts *opts)
{
    struct dist *d = heap_new(struct dist);

    d->opts = *opts;
    if (opts->metrics)
        register_metrics(d, opts->metrics);
    return d;
}

void dist_free(struct dist *d)
{
    heap_free(d);
}

static uint32_t narrow(uint64_t limit)
{
    return limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
}

static struct append_rules rules_of(const struct dist *d, const struct limits *l)
{
    return (struct append_rules){
        .labels = {.max_names = narrow(l->max_label_names_per_series),
                   .max_name_bytes = narrow(l->max_label_name_length),
                   .max_value_bytes = narrow(l->max_label_value_length),
                   .max_total_bytes = narrow(l->max_labels_size_bytes)},
        .ooo_window_ms = l->out_of_order_time_window,
        .max_age_behind_ms = l->max_age_behind,
        .now_ms = clk_wall_ms(d->opts.clk),
        /* Far from INT64_MAX, so that adding now_ms can't overflow. */
        .max_ahead_ms = l->creation_grace_period ? l->creation_grace_period : INT64_MAX / 4,
        .max_series = l->max_global_series_per_user,
        .refuse_new_series = d->opts.budget && budget_above(d->opts.budget, NEW_SERIES_PERCENT)};
}

static void count(struct dist *d, const struct append_result *r)
{
    bool partly = r->series_refused > 0;

    for (int v = 0; v < VERDICT_N; v++) {
        uint64_t n = r->samples[v] + r->hists[v];

        if (!n)
            continue;
        if (v == VERDICT_DUPLICATE)
            metric_add(d->duplicates, (double)n);
        if (!is_refusal(v))
            continue;
        metric_add(d->discarded[v], (double)n);
        partly = true;
    }
    metric_add(d->series_refused, (double)r->series_refused);
    metric_inc(partly ? d->requests_partly : d->requests_stored);
}

enum status dist_push(struct dist *d, const struct who *who, const struct batch *batch,
                      struct append_result *ret, struct err *err)
{
    int64_t began_ns = clk_mono_ns(d->opts.clk);
    uint64_t values = batch->samples_n + batch->hists_n;
    struct append_rules rules;
    enum status st;

    metric_add(d->samples, (double)values);
    metric_add(d->exemplars, (double)batch->exemplars_n);
    metric_add(d->metadata, (double)batch->metadata_n);
    st = tenant_rate(d->opts.tenants, who, values + batch->exemplars_n, batch->metadata_n, err);
    if (st == ST_RATE) {
        metric_inc(d->requests_rate);
        metric_add(d->discarded_rate, (double)values);
        return st;
    }
    if (st == ST_OK) {
        rules = rules_of(d, who->limits);
        st = ingester_append(d->opts.ingester, who->tenant, batch, &rules, ret, err);
    }
    if (st == ST_OK)
        count(d, ret);
    else
        metric_inc(d->requests_failed);
    metric_observe(d->seconds, (double)(clk_mono_ns(d->opts.clk) - began_ns) / 1e9);
    return st;
}

void dist_durable(struct dist *d, uint64_t log_pos, wal_done fn, void *arg)
{
    ingester_durable(d->opts.ingester, log_pos, fn, arg);
}

uint64_t dist_alias_key(const struct dist *d)
{
    return ingester_alias_key(d->opts.ingester);
}

/* One line of text, whatever a label's value holds. */
static void put_line(struct buf *out, const char *z)
{
    for (; *z; z++)
        buf_ch(out, (unsigned char)*z < 0x20 || *z == 0x7f ? ' ' : *z);
}

void dist_refusal_text(const struct append_result *r, struct sv tenant, struct buf *out)
{
    uint64_t all = 0, refused = 0;
    const char *sep = "";

    for (int v = 0; v < VERDICT_N; v++) {
        all += r->samples[v] + r->hists[v];
        if (is_refusal(v))
            refused += r->samples[v] + r->hists[v];
    }
    if (!refused && !r->series_refused)
        return;
    buf_printf(out, "user=" SV_FMT ": err: ", SV_ARG(tenant));
    put_line(out, r->why[0] ? r->why : verdict_text(r->first));
    buf_printf(out, " (%llu of %llu samples refused", (unsigned long long)refused,
               (unsigned long long)all);
    if (r->series_refused)
        buf_printf(out, ", %llu series", (unsigned long long)r->series_refused);
    buf_str(out, ": ");
    for (int v = 0; v < VERDICT_N; v++) {
        uint64_t n = r->samples[v] + r->hists[v];

        if (!n || !is_refusal(v))
            continue;
        buf_printf(out, "%s%llu %s", sep, (unsigned long long)n, verdict_label((enum verdict)v));
        sep = ", ";
    }
    if (!refused)
        buf_str(out, verdict_label(r->first));
    buf_str(out, "; the others are stored)");
}
