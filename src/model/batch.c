/* The columns of a decoded write request, and the check of a series' labels. */
#include "model/batch.h"

#include <stdio.h>

const char *verdict_label(enum verdict v)
{
    static const char *const labels[] = {
#define X(name, label, text) label,
        VERDICTS(X)
#undef X
    };

    return labels[v];
}

const char *verdict_text(enum verdict v)
{
    static const char *const texts[] = {
#define X(name, label, text) text,
        VERDICTS(X)
#undef X
    };

    return texts[v];
}

void batch_init(struct batch *b, struct arena *arena, uint64_t alias_key)
{
    memset(b, 0, sizeof(*b));
    b->arena = arena;
    b->alias_key = alias_key;
}

/* Columns double inside the arena; what a growing column leaves behind is at most its own size. */
static void *row(struct batch *b, void *column, size_t *n, size_t *cap, size_t size)
{
    void **at = column;

    if (*n == *cap) {
        size_t want = *cap ? *cap * 2 : 64;
        void *p = want > UINT32_MAX ? NULL : arena_alloc(b->arena, want * size);

        if (!p)
            return NULL;
        if (*n)
            memcpy(p, *at, *n * size);
        *at = p;
        *cap = want;
    }
    return memset((char *)*at + (*n)++ * size, 0, size);
}

#define ROW(type, name, column)                                                           \
    struct type *name(struct batch *b)                                                    \
    {                                                                                     \
        return row(b, &b->column, &b->column##_n, &b->column##_cap, sizeof(struct type)); \
    }
ROW(batch_series, batch_add_series, series)
ROW(batch_sample, batch_add_sample, samples)
ROW(batch_hist, batch_add_hist, hists)
ROW(batch_exemplar, batch_add_exemplar, exemplars)
ROW(batch_metadata, batch_add_metadata, metadata)

enum status batch_put(struct batch *b, struct labels ls, int64_t t_ms, double f, struct err *err)
{
    struct batch_series *s = batch_add_series(b);
    struct batch_sample *x = batch_add_sample(b);
    struct buf wire;

    buf_init(&wire, 1 << 20);
    labels_to_wire(&wire, ls);
    if (s && x && buf_ok(&wire)) {
        s->raw = arena_sv(b->arena, buf_view(&wire));
        s->alias = hash128(wire.p, wire.n, b->alias_key);
        s->sample_off = (uint32_t)(b->samples_n - 1);
        s->sample_n = 1;
        *x = (struct batch_sample){t_ms, 0, f};
    }
    buf_fini(&wire);
    if (arena_over(b->arena) || !s || !x)
        return err_set(err, ST_LIMIT, "batch: more than %zu bytes", b->arena->max_bytes);
    return ST_OK;
}

static enum verdict check_one(struct label l, const struct label_rules *r, char *why, size_t why_n)
{
    if (l.name.n == 0 || !sv_utf8(l.name)) {
        snprintf(why, why_n, "sample invalid label: label name of %zu bytes is %s", l.name.n,
                 l.name.n ? "not valid UTF-8" : "empty");
        return VERDICT_BAD_LABEL;
    }
    if (!sv_utf8(l.value) || memchr(l.name.p, 0, l.name.n)) {
        snprintf(why, why_n, "sample invalid label: \"" SV_FMT "\" is not valid UTF-8 text",
                 SV_ARG(l.name));
        return VERDICT_BAD_LABEL;
    }
    if (r->max_name_bytes && l.name.n > r->max_name_bytes) {
        snprintf(why, why_n,
                 "label name too long (actual: %zu, limit: %u, limit name: "
                 "max_label_name_length) label name: " SV_FMT,
                 l.name.n, r->max_name_bytes, (int)(l.name.n > 64 ? 64 : l.name.n), l.name.p);
        return VERDICT_LONG_NAME;
    }
    if (r->max_value_bytes && l.value.n > r->max_value_bytes) {
        snprintf(why, why_n,
                 "label value too long (actual: %zu, limit: %u, limit name: "
                 "max_label_value_length) label name: " SV_FMT,
                 l.value.n, r->max_value_bytes, SV_ARG(l.name));
        return VERDICT_LONG_VALUE;
    }
    return VERDICT_STORED;
}

enum verdict labels_check(struct labels *ls, const struct label_rules *rules, char *why,
                          size_t why_n)
{
    struct sv dup, name;
    size_t total = 0;

    if (!labels_canonical(ls, &dup)) {
        snprintf(why, why_n, "duplicate label name: \"" SV_FMT "\"", SV_ARG(dup));
        return VERDICT_DUP_LABEL;
    }
    name = labels_get(*ls, SV(LABEL_NAME));
    if (name.n == 0) {
        snprintf(why, why_n, "sample missing metric name");
        return VERDICT_NO_NAME;
    }
    if (!sv_utf8(name) || memchr(name.p, 0, name.n)) {
        snprintf(why, why_n, "sample invalid metric name: it is not valid UTF-8 text");
        return VERDICT_BAD_NAME;
    }
    if (rules->max_names && ls->n > rules->max_names) {
        snprintf(why, why_n,
                 "series has too many labels (actual: %zu, limit: %u, limit name: "
                 "max_label_names_per_series)",
                 ls->n, rules->max_names);
        return VERDICT_MANY_LABELS;
    }
    for (size_t i = 0; i < ls->n; i++) {
        enum verdict v = check_one(ls->p[i], rules, why, why_n);

        if (v != VERDICT_STORED)
            return v;
        total += ls->p[i].name.n + ls->p[i].value.n;
    }
    if (rules->max_total_bytes && total > rules->max_total_bytes) {
        snprintf(why, why_n,
                 "labels size bytes exceeded (actual: %zu, limit: %u, limit name: "
                 "max_labels_size_bytes)",
                 total, rules->max_total_bytes);
        return VERDICT_LABELS_SIZE;
    }
    return VERDICT_STORED;
}
