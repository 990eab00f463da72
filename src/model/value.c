/* Equality of results, bit for bit: what the cache promises. */
#include "model/value.h"

static bool side_eq(const struct hist_side *a, const struct hist_side *b, bool is_float)
{
    if (a->spans_n != b->spans_n || a->buckets_n != b->buckets_n)
        return false;
    for (uint32_t i = 0; i < a->spans_n; i++)
        if (a->spans[i].offset != b->spans[i].offset || a->spans[i].length != b->spans[i].length)
            return false;
    for (uint32_t i = 0; i < a->buckets_n; i++)
        if (is_float ? f64_bits(a->fcounts[i]) != f64_bits(b->fcounts[i])
                     : a->counts[i] != b->counts[i])
            return false;
    return true;
}

static bool hist_eq(const struct hist *a, const struct hist *b)
{
    if (!a || !b)
        return a == b;
    if (a->schema != b->schema || a->is_float != b->is_float || a->reset != b->reset ||
        a->count != b->count || a->zero_count != b->zero_count || a->custom_n != b->custom_n ||
        f64_bits(a->zero_threshold) != f64_bits(b->zero_threshold) ||
        f64_bits(a->sum) != f64_bits(b->sum) || f64_bits(a->fcount) != f64_bits(b->fcount) ||
        f64_bits(a->fzero_count) != f64_bits(b->fzero_count))
        return false;
    for (uint32_t i = 0; i < a->custom_n; i++)
        if (f64_bits(a->custom[i]) != f64_bits(b->custom[i]))
            return false;
    return side_eq(&a->pos, &b->pos, a->is_float) && side_eq(&a->neg, &b->neg, a->is_float);
}

static bool row_eq(const struct row *a, const struct row *b)
{
    if (a->n != b->n || !labels_eq(a->labels, b->labels))
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct hist *ha = a->h ? a->h[i] : NULL, *hb = b->h ? b->h[i] : NULL;

        if (a->t_ms[i] != b->t_ms[i] || !hist_eq(ha, hb))
            return false;
        if (!ha && f64_bits(a->f[i]) != f64_bits(b->f[i]))
            return false;
    }
    return true;
}

static bool texts_eq(const struct sv *a, size_t an, const struct sv *b, size_t bn)
{
    if (an != bn)
        return false;
    for (size_t i = 0; i < an; i++)
        if (!sv_eq(a[i], b[i]))
            return false;
    return true;
}

bool value_eq(const struct value *a, const struct value *b)
{
    if (a->kind != b->kind || a->rows_n != b->rows_n || !sv_eq(a->string, b->string))
        return false;
    for (size_t i = 0; i < a->rows_n; i++)
        if (!row_eq(&a->rows[i], &b->rows[i]))
            return false;
    return texts_eq(a->warnings, a->warnings_n, b->warnings, b->warnings_n) &&
           texts_eq(a->infos, a->infos_n, b->infos, b->infos_n);
}
