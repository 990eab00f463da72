/* Sorted lists of series ids. Lists of similar length are walked side by side; when one is much
 * shorter, its ids are looked for in the other by galloping, so that `{job="x", env="prod"}` costs
 * what the shorter list costs. A union merges runs pairwise, bottom up: n log k. */
#include "tsdb/postings.h"

#include "base/heap.h"

#include <assert.h>
#include <string.h>

/* From this ratio of lengths on galloping beats walking. */
enum { GALLOP = 16 };

/* First index >= from with p[index] >= id; n when there is none. */
static size_t seek(struct postings x, size_t from, uint32_t id)
{
    size_t step = 1, lo = from, hi;

    if (lo >= x.n || x.p[lo] >= id)
        return lo;
    while (lo + step < x.n && x.p[lo + step] < id) {
        lo += step;
        step *= 2;
    }
    hi = lo + step < x.n ? lo + step : x.n; /* p[lo] < id, and p[hi] >= id or hi == n */
    while (lo + 1 < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (x.p[mid] < id)
            lo = mid;
        else
            hi = mid;
    }
    return hi;
}

static struct postings room(struct arena *a, size_t n)
{
    return (struct postings){n ? arena_alloc(a, n * sizeof(uint32_t)) : NULL, 0};
}

static struct postings done(struct postings r)
{
    return r.n ? r : (struct postings){NULL, 0};
}

struct postings postings_and(struct arena *a, struct postings x, struct postings y)
{
    struct postings r;

    if (x.n > y.n) {
        struct postings t = x;

        x = y;
        y = t;
    }
    r = room(a, x.n);
    if (!r.p)
        return r;
    if (y.n / GALLOP >= x.n) {
        for (size_t i = 0, j = 0; i < x.n; i++) {
            j = seek(y, j, x.p[i]);
            if (j == y.n)
                break;
            if (y.p[j] == x.p[i])
                r.p[r.n++] = x.p[i];
        }
        return done(r);
    }
    for (size_t i = 0, j = 0; i < x.n && j < y.n;) {
        uint32_t p = x.p[i], q = y.p[j];

        r.p[r.n] = p; /* kept only when equal: no branch to mispredict */
        r.n += p == q;
        i += p <= q;
        j += q <= p;
    }
    return done(r);
}

struct postings postings_minus(struct arena *a, struct postings x, struct postings y)
{
    struct postings r = room(a, x.n);

    if (!r.p)
        return r;
    for (size_t i = 0, j = 0; i < x.n; i++) {
        if (y.n / GALLOP >= x.n)
            j = seek(y, j, x.p[i]);
        else
            while (j < y.n && y.p[j] < x.p[i])
                j++;
        if (j == y.n || y.p[j] != x.p[i])
            r.p[r.n++] = x.p[i];
    }
    return done(r);
}

/* Distinct ids of both runs into out; how many. */
static size_t merge_two(const uint32_t *x, size_t xn, const uint32_t *y, size_t yn, uint32_t *out)
{
    size_t i = 0, j = 0, n = 0;

    while (i < xn && j < yn) {
        uint32_t p = x[i], q = y[j];

        out[n++] = p < q ? p : q;
        i += p <= q;
        j += q <= p;
    }
    if (i < xn)
        memcpy(out + n, x + i, (xn - i) * sizeof(*out));
    n += xn - i;
    if (j < yn)
        memcpy(out + n, y + j, (yn - j) * sizeof(*out));
    return n + yn - j;
}

/* Merges neighbours of `runs` lists in `from` into `to`, halving their number. Run i has len[i] ids,
 * runs lie back to back. */
static size_t merge_pass(const uint32_t *from, uint32_t *to, size_t *len, size_t runs)
{
    size_t in = 0, out = 0, n = 0;

    for (size_t i = 0; i < runs; i += 2) {
        size_t second = i + 1 < runs ? len[i + 1] : 0;
        size_t got = merge_two(from + in, len[i], from + in + len[i], second, to + out);

        in += len[i] + second;
        out += got;
        len[n++] = got;
    }
    return n;
}

struct postings postings_or(struct arena *a, const struct postings *lists, size_t n)
{
    size_t total = 0, runs = 0, *len;
    struct postings r;
    uint32_t *other, *from, *to;

    for (size_t i = 0; i < n; i++)
        total += lists[i].n;
    r = room(a, total);
    if (!r.p)
        return r;
    len = heap_array(n, sizeof(*len));
    other = n > 1 ? heap_alloc(total * sizeof(*other)) : NULL;
    from = r.p;
    to = other;
    for (size_t i = 0, at = 0; i < n; i++) {
        if (lists[i].n == 0)
            continue;
        memcpy(from + at, lists[i].p, lists[i].n * sizeof(*from));
        at += lists[i].n;
        len[runs++] = lists[i].n;
    }
    while (runs > 1) {
        uint32_t *t = from;

        runs = merge_pass(from, to, len, runs);
        from = to;
        to = t;
    }
    r.n = len[0];
    assert(r.n <= total);
    if (from != r.p)
        memcpy(r.p, from, r.n * sizeof(*r.p));
    heap_free(other);
    heap_free(len);
    return r;
}
