/* include/model/batch.h
 *
 * A decoded write request, before anything is stored: views into the decompressed body, columns in
 * the request's arena. And the verdicts and rules that go with it.
 *
 * A series is named by its label bytes as they stood on the wire (`raw`, the form of
 * labels_from_wire()) and by a keyed 128-bit hash of them (`alias`). The alias is only a shortcut:
 * identity is the canonical label set.
 */
#ifndef ENGRAM_MODEL_BATCH_H
#define ENGRAM_MODEL_BATCH_H

#include "model/labels.h"
#include "model/samples.h"

struct batch_sample {
    int64_t t_ms, st_ms; /* st_ms: start timestamp, 0 none */
    double f;
};
struct batch_hist {
    int64_t t_ms, st_ms;
    const struct hist *h; /* decoded and checked */
    struct sv wire;       /* the protobuf message it came from: what the log keeps */
};
struct batch_exemplar {
    int64_t t_ms;
    double f;
    struct sv raw; /* labels in wire form */
};
struct batch_metadata {
    struct sv metric, help, unit;
    uint32_t type; /* prometheus.MetricMetadata.MetricType */
};

/* Why a sample or series was not stored. Row: name, reason label of the metrics, text. */
#define VERDICTS(X)                                                                                \
    X(STORED, "stored", "stored")                                                                  \
    X(DUPLICATE, "duplicate", "the same sample again")                                             \
    X(OUT_OF_ORDER, "sample_out_of_order", "out of order sample")                                  \
    X(TOO_OLD, "sample_too_old", "too old sample")                                                 \
    X(TOO_NEW, "too_far_in_future", "timestamp too new")                                           \
    X(OUT_OF_BOUNDS, "sample_out_of_bounds", "out of bounds")                                      \
    X(CONFLICT, "new_value_for_timestamp", "duplicate sample for timestamp")                       \
    X(NO_NAME, "missing_metric_name", "sample missing metric name")                                \
    X(BAD_NAME, "metric_name_invalid", "sample invalid metric name")                               \
    X(BAD_LABEL, "label_invalid", "sample invalid label")                                          \
    X(DUP_LABEL, "duplicate_label_names", "duplicate label name")                                  \
    X(MANY_LABELS, "max_label_names_per_series", "series has too many labels")                     \
    X(LONG_NAME, "label_name_too_long", "label name too long")                                     \
    X(LONG_VALUE, "label_value_too_long", "label value too long")                                  \
    X(LABELS_SIZE, "labels_size_bytes_exceeded", "labels size bytes exceeded")                     \
    X(SERIES_LIMIT, "per_user_series_limit", "per-user series limit")                              \
    X(MEMORY, "memory_pressure", "no memory for new series")                                       \
    X(BAD_HIST, "histogram_invalid", "invalid native histogram")

enum verdict {
#define X(name, label, text) VERDICT_##name,
    VERDICTS(X)
#undef X
        VERDICT_N
};
const char *verdict_label(enum verdict v);
const char *verdict_text(enum verdict v);

struct batch_series {
    struct sv raw;
    struct hash128 alias;
    uint32_t sample_off, sample_n;
    uint32_t hist_off, hist_n;
    uint32_t exemplar_off, exemplar_n;
};

struct batch {
    struct arena *arena; /* borrowed: the request's */
    uint64_t alias_key;  /* key of the alias hashes; one per process */
    struct batch_series *series;
    struct batch_sample *samples;
    struct batch_hist *hists;
    struct batch_exemplar *exemplars;
    struct batch_metadata *metadata;
    size_t series_n, series_cap, samples_n, samples_cap, hists_n, hists_cap, exemplars_n,
        exemplars_cap, metadata_n, metadata_cap;
};

void batch_init(struct batch *b, struct arena *arena, uint64_t alias_key);
/* A cleared new row; NULL when the arena is over its ceiling. */
struct batch_series *batch_add_series(struct batch *b);
struct batch_sample *batch_add_sample(struct batch *b);
struct batch_hist *batch_add_hist(struct batch *b);
struct batch_exemplar *batch_add_exemplar(struct batch *b);
struct batch_metadata *batch_add_metadata(struct batch *b);
/* For writers inside the house (self-scrape, tests): one series with one sample. */
enum status batch_put(struct batch *b, struct labels ls, int64_t t_ms, double f, struct err *err);

/* The rules a series' labels must keep; values, copied down. 0 means no limit. */
struct label_rules {
    uint32_t max_names, max_name_bytes, max_value_bytes, max_total_bytes;
};
/* Canonicalises (sort, drop empty, refuse duplicates) and checks UTF-8, names and limits.
 * VERDICT_STORED when fine; else the reason, with its text in why (NUL-terminated). */
enum verdict labels_check(struct labels *ls, const struct label_rules *rules, char *why,
                          size_t why_n);

struct append_rules {
    struct label_rules labels;
    int64_t ooo_window_ms;     /* behind the series' newest sample */
    int64_t max_age_behind_ms; /* in order, but behind the tenant's newest; 0: no limit */
    int64_t now_ms;            /* wall clock */
    int64_t max_ahead_ms;      /* newest accepted timestamp is now_ms + this */
    uint64_t max_series;       /* 0: no limit */
    bool refuse_new_series;    /* memory pressure */
};

/* What became of a batch. */
struct append_result {
    uint64_t samples[VERDICT_N];   /* float samples by verdict */
    uint64_t hists[VERDICT_N];
    uint64_t exemplars_stored, metadata_stored, series_refused;
    char why[384];                 /* the first refusal, with its series; empty: none */
    enum verdict first;
    uint64_t log_pos;              /* the answer may go out once the log is durable up to here */
};

#endif
