/* Matchers into a list of series.
 *
 * A matcher that does not match "" wants series that have the label: the union of the lists of the
 * values it matches, to intersect. One that matches "" wants what is left when the series of the
 * values it does not match are taken away: so `x!="a"` costs one list and `x=""` all lists of x.
 * Only where the pattern itself decides (not its opposite) do sets and prefixes spare the walk over
 * the label's values. */
#include "block_read_int.h"

#include <assert.h>

#define ARENA_MAX ((size_t)16 << 30) /* the account is the limit that counts */
#define POLL_ROWS 1024

struct match {
    struct block *b;
    const struct query_ctx *ctx;
    struct arena arena;
    int64_t charged;
};

static enum status charge(struct match *m, uint64_t bytes, struct err *err)
{
    TRY(account_charge(m->ctx->mem, (int64_t)bytes, err));
    m->charged += (int64_t)bytes;
    return ST_OK;
}

static enum status take_list(struct match *m, uint64_t off, struct postings *ret, struct err *err)
{
    uint32_t n;

    *ret = (struct postings){NULL, 0};
    TRY(index_postings_n(&m->b->index, off, &n, err));
    if (n == 0)
        return ST_OK;
    TRY(charge(m, (uint64_t)n * 4, err));
    ret->p = arena_alloc(&m->arena, (size_t)n * 4);
    if (!ret->p)
        return err_set(err, ST_LIMIT, "posting lists need more than 16 GiB");
    ret->n = n;
    return index_postings_read(&m->b->index, off, n, ret->p, err);
}

typedef VEC(struct postings) lists_vec;

static enum status add_value(struct match *m, struct sv name, struct sv value, lists_vec *lists,
                             struct err *err)
{
    uint64_t off;

    TRY(index_value_find(&m->b->index, name, value, &off, err));
    if (off) {
        struct postings p;

        TRY(take_list(m, off, &p, err));
        vec_push(lists, p);
    }
    return ST_OK;
}

/* Lists of all values for which the matcher says `want`, out of those from its prefix on. */
static enum status walk_values(struct match *m, const struct matcher *mt, bool want,
                               struct sv prefix, lists_vec *lists, struct err *err)
{
    const struct index_name *name = index_name_find(&m->b->index, mt->name);
    enum status st = ST_OK;
    struct index_scan s;
    unsigned rows = 0;

    if (!name)
        return ST_OK;
    index_values_begin(&s, &m->b->index, name, prefix);
    while (s.at < s.end) {
        struct sv row_name, value;
        struct postings p;
        uint64_t off;

        if (rows++ % POLL_ROWS == 0)
            TRY_GOTO(query_alive(m->ctx, err));
        TRY_GOTO(index_scan_row(&s, &row_name, &value, &off, err));
        if (prefix.n && !sv_starts(value, prefix)) {
            if (sv_cmp(value, prefix) > 0)
                break;
            continue;
        }
        if (matcher_matches(mt, value) != want)
            continue;
        TRY_GOTO(take_list(m, off, &p, err));
        vec_push(lists, p);
    }
out:
    index_scan_end(&s);
    return st;
}

/* Lists of the values for which the matcher's answer differs from its answer for "". */
static enum status values_of(struct match *m, const struct matcher *mt, lists_vec *lists,
                             struct err *err)
{
    bool empty = matcher_matches_empty(mt);
    bool negative = mt->op == MATCH_NE || mt->op == MATCH_NRE;

    if (empty == negative) {
        /* the values are those that the bare pattern matches */
        if (mt->op == MATCH_EQ || mt->op == MATCH_NE)
            return add_value(m, mt->name, mt->value, lists, err);
        for (size_t i = 0; i < mt->set_n; i++)
            TRY(add_value(m, mt->name, mt->set[i], lists, err));
        if (mt->set_n)
            return ST_OK;
        return walk_values(m, mt, !empty, mt->prefix, lists, err);
    }
    return walk_values(m, mt, !empty, (struct sv){"", 0}, lists, err);
}

static enum status union_of(struct match *m, const struct matcher *mt, struct postings *ret,
                            struct err *err)
{
    lists_vec lists = {0};
    uint64_t total = 0;
    enum status st;

    TRY_GOTO(values_of(m, mt, &lists, err));
    if (lists.n <= 1) {
        *ret = lists.n ? lists.p[0] : (struct postings){NULL, 0};
        goto out;
    }
    for (size_t i = 0; i < lists.n; i++)
        total += lists.p[i].n;
    TRY_GOTO(charge(m, total * 8, err)); /* result and scratch */
    *ret = postings_or(&m->arena, lists.p, lists.n);
    if (arena_over(&m->arena))
        st = err_set(err, ST_LIMIT, "posting lists need more than 16 GiB");
out:
    vec_free(&lists);
    return st;
}

static enum status all_series(struct match *m, struct postings *ret, struct err *err)
{
    uint64_t off;

    TRY(index_value_find(&m->b->index, SV(""), SV(""), &off, err));
    if (off == 0)
        return err_set(err, ST_CORRUPT, "index: no list of all series");
    return take_list(m, off, ret, err);
}

/* Those that want the label first: they make the list short. */
static enum status match_all(struct match *m, const struct matcher *const *matchers, size_t n,
                             struct postings *ret, struct err *err)
{
    bool have = false;
    struct postings p;

    for (size_t i = 0; i < n && !(have && ret->n == 0); i++) {
        if (matcher_matches_empty(matchers[i]))
            continue;
        TRY(query_alive(m->ctx, err));
        TRY(union_of(m, matchers[i], &p, err));
        TRY(charge(m, have ? (ret->n < p.n ? ret->n : p.n) * 4 : 0, err));
        *ret = have ? postings_and(&m->arena, *ret, p) : p;
        have = true;
    }
    if (!have)
        TRY(all_series(m, ret, err));
    for (size_t i = 0; i < n && ret->n; i++) {
        if (!matcher_matches_empty(matchers[i]))
            continue;
        TRY(query_alive(m->ctx, err));
        TRY(union_of(m, matchers[i], &p, err));
        if (p.n == 0)
            continue;
        TRY(charge(m, ret->n * 4, err));
        *ret = postings_minus(&m->arena, *ret, p);
    }
    return arena_over(&m->arena) ? err_set(err, ST_LIMIT, "posting lists need more than 16 GiB")
                                 : ST_OK;
}

enum status block_match(struct block *b, const struct query_ctx *ctx,
                        const struct matcher *const *matchers, size_t n, struct block_ids *ret,
                        struct err *err)
{
    struct match m = {.b = b, .ctx = ctx};
    struct postings list = {NULL, 0};
    int64_t bytes;
    enum status st;

    *ret = (struct block_ids){{NULL, 0}, 0};
    arena_init(&m.arena, ARENA_MAX);
    TRY_GOTO(match_all(&m, matchers, n, &list, err));
    bytes = (int64_t)(list.n * sizeof(*list.p));
    TRY_GOTO(account_charge(ctx->mem, bytes, err));
    ret->list = (struct postings){heap_dup(list.p, (size_t)bytes), list.n};
    ret->charged = bytes;
out:
    arena_fini(&m.arena);
    account_release(ctx->mem, m.charged);
    return st;
}

void block_ids_fini(struct block_ids *ids, const struct query_ctx *ctx)
{
    heap_free(ids->list.p);
    account_release(ctx->mem, ids->charged);
    *ids = (struct block_ids){{NULL, 0}, 0};
}
