/* Native histograms of scripts: {{schema:1 sum:3 count:22 buckets:[5 10 7]}}. */
#include "promqltest_int.h"

#include "base/dtoa.h"

#include <math.h>

#define BUCKETS_MAX 1000

struct list {
    double *p;
    uint32_t n;
};

static enum status numbers(struct sv s, struct arena *arena, struct list *ret, struct err *err)
{
    *ret = (struct list){arena_array(arena, BUCKETS_MAX, sizeof(double)), 0};
    if (!ret->p)
        return err_set(err, ST_LIMIT, "no memory");
    s = sv_trim(s);
    while (s.n) {
        struct sv item = sv_cut(s, ' ', &s);

        s = sv_trim(s);
        if (ret->n == BUCKETS_MAX || !dtoa_parse(item, &ret->p[ret->n]))
            return err_set(err, ST_INVALID, "bad bucket: " SV_FMT, SV_ARG(item));
        ret->n++;
    }
    return ST_OK;
}

static void set_side(struct arena *arena, struct hist_side *side, struct list l, double offset)
{
    struct hist_span *span;

    if (!l.n)
        return;
    span = arena_new(arena, struct hist_span);
    if (!span)
        return;
    *span = (struct hist_span){(int32_t)offset, l.n};
    side->spans = span;
    side->spans_n = 1;
    side->fcounts = l.p;
    side->buckets_n = l.n;
}

struct parts {
    struct list pos, neg;
    double pos_off, neg_off;
};

static enum status field(struct hist *h, struct parts *parts, struct sv key, struct sv value,
                         bool *ret_hint, struct arena *arena, struct err *err)
{
    double v = 0;
    bool list = value.n > 1 && value.p[0] == '[';
    struct sv inside = list ? sv_sub(value, 1, value.n - 2) : value;

    if (sv_is(key, "buckets"))
        return numbers(inside, arena, &parts->pos, err);
    if (sv_is(key, "n_buckets"))
        return numbers(inside, arena, &parts->neg, err);
    if (sv_is(key, "custom_values")) {
        struct list l;

        TRY(numbers(inside, arena, &l, err));
        h->custom = l.p;
        h->custom_n = l.n;
        return ST_OK;
    }
    if (sv_is(key, "counter_reset_hint")) {
        *ret_hint = true;
        h->reset = sv_is(value, "reset")       ? HIST_RESET_YES
                   : sv_is(value, "not_reset") ? HIST_RESET_NO
                   : sv_is(value, "gauge")     ? HIST_RESET_GAUGE
                                               : HIST_RESET_UNKNOWN;
        return ST_OK;
    }
    if (!dtoa_parse(value, &v))
        return err_set(err, ST_INVALID, "bad histogram field " SV_FMT, SV_ARG(key));
    if (sv_is(key, "schema"))
        h->schema = (int32_t)v;
    else if (sv_is(key, "sum"))
        h->sum = v;
    else if (sv_is(key, "count"))
        h->fcount = v;
    else if (sv_is(key, "z_bucket"))
        h->fzero_count = v;
    else if (sv_is(key, "z_bucket_w"))
        h->zero_threshold = v;
    else if (sv_is(key, "offset"))
        parts->pos_off = v;
    else if (sv_is(key, "n_offset"))
        parts->neg_off = v;
    else
        return err_set(err, ST_INVALID, "unknown histogram field " SV_FMT, SV_ARG(key));
    return ST_OK;
}

enum status promqltest_hist(struct sv s, struct arena *arena, struct hist **ret, bool *ret_hint,
                            size_t *ret_used, struct err *err)
{
    size_t end = sv_search(s, SV("}}"));
    struct hist *h = arena_new(arena, struct hist);
    struct parts parts = {0};
    struct sv in;

    if (!h || !sv_starts(s, SV("{{")) || end == SIZE_MAX)
        return err_set(err, ST_INVALID, "bad histogram: " SV_FMT, SV_ARG(s));
    h->is_float = true;
    *ret_hint = false;
    in = sv_trim(sv_sub(s, 2, end - 2));
    while (in.n) {
        struct sv key = sv_cut(in, ':', &in);
        size_t n = 0;

        if (in.n && in.p[0] == '[')
            n = sv_find(in, ']') + 1;
        else
            while (n < in.n && in.p[n] != ' ')
                n++;
        TRY(field(h, &parts, sv_trim(key), sv_sub(in, 0, n), ret_hint, arena, err));
        in = sv_trim(sv_sub(in, n, in.n));
    }
    set_side(arena, &h->pos, parts.pos, parts.pos_off);
    set_side(arena, &h->neg, parts.neg, parts.neg_off);
    *ret = h;
    *ret_used = end + 2;
    return ST_OK;
}

static bool side_step(struct arena *arena, struct hist_side *r, const struct hist_side *b,
                      double times)
{
    double *counts;

    if (b->buckets_n == 0)
        return true;
    if (r->buckets_n != b->buckets_n || r->spans[0].offset != b->spans[0].offset)
        return false;
    counts = arena_array(arena, r->buckets_n, sizeof(*counts));
    for (uint32_t i = 0; counts && i < r->buckets_n; i++)
        counts[i] = r->fcounts[i] + times * b->fcounts[i];
    r->fcounts = counts;
    return counts != NULL;
}

struct hist *promqltest_hist_step(struct arena *arena, const struct hist *a, const struct hist *b,
                                  double times)
{
    struct hist *r = arena_new(arena, struct hist);

    if (!r || a->schema != b->schema)
        return NULL;
    *r = *a;
    r->sum += times * b->sum;
    r->fcount += times * b->fcount;
    r->fzero_count += times * b->fzero_count;
    return side_step(arena, &r->pos, &b->pos, times) && side_step(arena, &r->neg, &b->neg, times)
               ? r
               : NULL;
}

/* Count of the bucket with this index; 0 where there is none. */
static double count_at(const struct hist_side *s, bool is_float, int64_t index)
{
    int64_t at = 0;
    uint32_t k = 0;

    for (uint32_t i = 0; i < s->spans_n; i++) {
        at += s->spans[i].offset;
        if (index >= at && index < at + s->spans[i].length) {
            k += (uint32_t)(index - at);
            return is_float ? s->fcounts[k] : (double)s->counts[k];
        }
        at += s->spans[i].length;
        k += s->spans[i].length;
    }
    return 0;
}

static bool covers(const struct hist *x, const struct hist_side *a, const struct hist *y,
                   const struct hist_side *b)
{
    int64_t at = 0;

    for (uint32_t i = 0; i < a->spans_n; i++) {
        at += a->spans[i].offset;
        for (uint32_t k = 0; k < a->spans[i].length; k++, at++)
            if (!promqltest_almost(count_at(a, x->is_float, at), count_at(b, y->is_float, at)))
                return false;
    }
    return true;
}

static double total(const struct hist *h)
{
    return h->is_float ? h->fcount : (double)h->count;
}

bool promqltest_hist_almost(const struct hist *want, const struct hist *got, bool hint)
{
    double wz = want->is_float ? want->fzero_count : (double)want->zero_count;
    double gz = got->is_float ? got->fzero_count : (double)got->zero_count;

    if (want->schema != got->schema || (hint && want->reset != got->reset) ||
        want->custom_n != got->custom_n)
        return false;
    for (uint32_t i = 0; i < want->custom_n; i++)
        if (want->custom[i] != got->custom[i])
            return false;
    return promqltest_almost(total(want), total(got)) && promqltest_almost(want->sum, got->sum) &&
           promqltest_almost(wz, gz) &&
           (want->schema == HIST_CUSTOM_SCHEMA ||
            promqltest_almost(want->zero_threshold, got->zero_threshold)) &&
           covers(want, &want->pos, got, &got->pos) && covers(got, &got->pos, want, &want->pos) &&
           covers(want, &want->neg, got, &got->neg) && covers(got, &got->neg, want, &want->neg);
}
