/* Label names and values. Without matchers the tables of the open block and of the index answer.
 * With matchers the matched series are read when they are few, and their symbols marked in a bit
 * set: symbols are numbered in order, so the set walks out sorted. When a label has fewer values than
 * there are matched series, each value's list is met with theirs instead.
 *
 * req->range is not looked at: a block answers for its whole time, as Prometheus's do. */
#include "block_read_int.h"

#include <assert.h>
#include <stdlib.h>

#define POLL_ROWS 1024

struct collect {
    struct block *b;
    const struct query_ctx *ctx;
    size_t limit; /* 0: all */
    VEC(struct sv) out;
    bool truncated;
};

/* false: enough */
static enum status add(struct collect *c, struct sv s, bool *ret_more, struct err *err)
{
    struct sv copy;

    *ret_more = true;
    if (c->limit && c->out.n == c->limit) {
        c->truncated = true;
        *ret_more = false;
        return ST_OK;
    }
    TRY(account_charge(c->ctx->mem, (int64_t)(s.n + 32), err));
    copy = arena_sv(c->ctx->arena, s);
    if (!copy.p)
        return err_set(err, ST_LIMIT, "label names or values need more than %zu bytes",
                       c->ctx->arena->max_bytes);
    vec_push(&c->out, copy);
    return ST_OK;
}

static enum status hand_out(struct collect *c, struct names *ret, struct err *err)
{
    struct names r = {NULL, c->out.n, c->truncated, true};

    r.p = arena_array(c->ctx->arena, r.n ? r.n : 1, sizeof(*r.p));
    if (!r.p)
        return err_set(err, ST_LIMIT, "label names or values need more than %zu bytes",
                       c->ctx->arena->max_bytes);
    if (r.n)
        memcpy(r.p, c->out.p, r.n * sizeof(*r.p));
    *ret = r;
    return ST_OK;
}

static void mark(uint64_t *set, uint32_t i)
{
    set[i / 64] |= UINT64_C(1) << i % 64;
}

static enum status add_marked(struct collect *c, const uint64_t *set, struct err *err)
{
    const struct index *ix = &c->b->index;
    bool more = true;

    for (uint32_t i = 0; i < ix->symbols_n && more; i++) {
        struct block_lease lease;
        enum status st;
        struct sv s;

        if (!(set[i / 64] >> i % 64 & 1))
            continue;
        TRY(index_symbol(ix, i, &s, &lease, err));
        st = add(c, s, &more, err);
        c->b->src->ops->release(c->b->src, &lease);
        TRY(st);
    }
    return ST_OK;
}

/* Marks the names of the series' labels, or, name >= 0, the values of that label. */
static enum status mark_series(struct collect *c, struct postings ids, int64_t name, uint64_t *set,
                               struct err *err)
{
    struct index_series s = {0};
    enum status st = ST_OK;

    for (size_t i = 0; i < ids.n; i++) {
        if (i % POLL_ROWS == 0)
            TRY_GOTO(query_alive(c->ctx, err));
        TRY_GOTO(index_series_read(&c->b->index, ids.p[i], &s, err));
        for (size_t k = 0; k < s.pairs.n; k++) {
            if (name < 0)
                mark(set, s.pairs.p[k].name);
            else if (s.pairs.p[k].name == name)
                mark(set, s.pairs.p[k].value);
        }
    }
out:
    index_series_fini(&s);
    return st;
}

static enum status from_series(struct collect *c, struct postings ids, int64_t name, struct err *err)
{
    size_t words = c->b->index.symbols_n / 64 + 1;
    int64_t bytes = (int64_t)(words * 8);
    enum status st;
    uint64_t *set;

    TRY(account_charge(c->ctx->mem, bytes, err));
    set = heap_array(words, 8);
    TRY_GOTO(mark_series(c, ids, name, set, err));
    TRY_GOTO(add_marked(c, set, err));
out:
    heap_free(set);
    account_release(c->ctx->mem, bytes);
    return st;
}

/* Number of the symbol, by halving; -1 when there is none. */
static enum status symbol_number(const struct block *b, struct sv want, int64_t *ret, struct err *err)
{
    uint32_t lo = 0, hi = b->index.symbols_n;

    *ret = -1;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        struct block_lease lease;
        struct sv s;
        int c;

        TRY(index_symbol(&b->index, mid, &s, &lease, err));
        c = sv_cmp(s, want);
        b->src->ops->release(b->src, &lease);
        if (c == 0) {
            *ret = mid;
            return ST_OK;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return ST_OK;
}

/* Do the sorted lists share an id? */
static bool meet(struct postings x, const uint32_t *y, size_t yn)
{
    for (size_t i = 0, j = 0; i < x.n && j < yn;) {
        if (x.p[i] == y[j])
            return true;
        if (x.p[i] < y[j])
            i++;
        else
            j++;
    }
    return false;
}

static enum status value_meets(struct collect *c, uint64_t off, struct postings ids, bool *ret,
                               struct err *err)
{
    enum status st;
    uint32_t *list, n;

    TRY(index_postings_n(&c->b->index, off, &n, err));
    TRY(account_charge(c->ctx->mem, (int64_t)n * 4, err));
    list = heap_alloc((size_t)n * 4);
    st = index_postings_read(&c->b->index, off, n, list, err);
    *ret = st == ST_OK && meet(ids, list, n);
    heap_free(list);
    account_release(c->ctx->mem, (int64_t)n * 4);
    return st;
}

/* All values of a label, or those that the series `ids` have. */
static enum status from_table(struct collect *c, const struct index_name *name,
                              const struct postings *ids, struct err *err)
{
    enum status st = ST_OK;
    struct index_scan s;
    bool more = true, wanted = true;
    unsigned rows = 0;

    index_values_begin(&s, &c->b->index, name, (struct sv){"", 0});
    while (s.at < s.end && more) {
        struct sv row_name, value;
        uint64_t off;

        if (rows++ % POLL_ROWS == 0)
            TRY_GOTO(query_alive(c->ctx, err));
        TRY_GOTO(index_scan_row(&s, &row_name, &value, &off, err));
        if (ids)
            TRY_GOTO(value_meets(c, off, *ids, &wanted, err));
        if (wanted)
            TRY_GOTO(add(c, value, &more, err));
    }
out:
    index_scan_end(&s);
    return st;
}

static enum status all_names(struct collect *c, struct err *err)
{
    const struct index *ix = &c->b->index;
    bool more = true;

    for (size_t i = 0; i < ix->names.n && more; i++)
        if (ix->names.p[i].text_n) /* the list of all series stands under "" */
            TRY(add(c, index_text(ix, ix->names.p[i].text_off, ix->names.p[i].text_n), &more, err));
    return ST_OK;
}

static bool with_matchers(const struct select_req *req)
{
    return req && req->matchers_n;
}

enum status block_label_names(struct block *b, const struct query_ctx *ctx,
                              const struct select_req *req, struct names *ret, struct err *err)
{
    struct collect c = {.b = b, .ctx = ctx, .limit = req ? req->hints.limit : 0};
    struct block_ids ids = {{NULL, 0}, 0};
    enum status st;

    if (with_matchers(req)) {
        TRY_GOTO(block_match(b, ctx, req->matchers, req->matchers_n, &ids, err));
        TRY_GOTO(from_series(&c, ids.list, -1, err));
    } else {
        TRY_GOTO(all_names(&c, err));
    }
    TRY_GOTO(hand_out(&c, ret, err));
out:
    block_ids_fini(&ids, ctx);
    vec_free(&c.out);
    return st == ST_CORRUPT && err ? block_wrap(b, err) : st;
}

static enum status matched_values(struct collect *c, const struct index_name *in, struct sv name,
                                  const struct select_req *req, struct block_ids *ids,
                                  struct err *err)
{
    int64_t number;

    TRY(block_match(c->b, c->ctx, req->matchers, req->matchers_n, ids, err));
    if (ids->list.n > in->values)
        return from_table(c, in, &ids->list, err);
    TRY(symbol_number(c->b, name, &number, err));
    return number < 0 ? ST_OK : from_series(c, ids->list, number, err);
}

enum status block_label_values(struct block *b, const struct query_ctx *ctx, struct sv name,
                               const struct select_req *req, struct names *ret, struct err *err)
{
    struct collect c = {.b = b, .ctx = ctx, .limit = req ? req->hints.limit : 0};
    const struct index_name *in = name.n ? index_name_find(&b->index, name) : NULL;
    struct block_ids ids = {{NULL, 0}, 0};
    enum status st;

    if (in && with_matchers(req))
        TRY_GOTO(matched_values(&c, in, name, req, &ids, err));
    else if (in)
        TRY_GOTO(from_table(&c, in, NULL, err));
    TRY_GOTO(hand_out(&c, ret, err));
out:
    block_ids_fini(&ids, ctx);
    vec_free(&c.out);
    return st == ST_CORRUPT && err ? block_wrap(b, err) : st;
}
