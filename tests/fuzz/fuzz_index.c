/* Fuzz target: a block's index, without its checksums, which would keep a fuzzer out. Everything that
 * readers do is done: names, values with and without matchers, selects, and reading of samples, for
 * which the same bytes serve as chunk file. Each get is an allocation of its own, so that a read past
 * its end is seen. */
#include "../../tsdb/block_read_int.h"

#include <assert.h>

#define MEM_MAX (32 << 20)
#define NAMES   8 /* labels whose values are asked for */
#define SERIES  200

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct bytes_source {
    struct block_source base;
    const uint8_t *p;
    size_t n;
    int leases;
};

static enum status bytes_size(struct block_source *b, const char *file, uint64_t *ret,
                              struct err *err)
{
    (void)file;
    (void)err;
    *ret = ((struct bytes_source *)b)->n;
    return ST_OK;
}

static enum status bytes_get(struct block_source *b, const char *file, uint64_t off, size_t n,
                             struct sv *ret, struct block_lease *lease, struct err *err)
{
    struct bytes_source *s = (struct bytes_source *)b;

    (void)file;
    if (off > s->n || n > s->n - off)
        return err_set(err, ST_CORRUPT, "past the end");
    lease->own[0] = heap_dup(s->p + off, n);
    *ret = sv_make(lease->own[0], n);
    s->leases++;
    return ST_OK;
}

static void bytes_release(struct block_source *b, struct block_lease *lease)
{
    ((struct bytes_source *)b)->leases--;
    heap_free(lease->own[0]);
}

static enum status bytes_prefetch(struct block_source *b, const struct block_range *r, size_t n,
                                  struct err *err)
{
    (void)b;
    (void)r;
    (void)n;
    (void)err;
    return ST_OK;
}

static void bytes_close(struct block_source *b)
{
    assert(((struct bytes_source *)b)->leases == 0);
}

static void select_all(struct block *b, const struct query_ctx *ctx, const struct select_req *req)
{
    struct series_set *set;
    struct samples s;
    struct err err;
    bool more = true;

    if (block_select(b, ctx, req, &set, &err) != ST_OK)
        return;
    samples_init(&s);
    for (int i = 0; i < SERIES && series_set_next(set, &more, &err) == ST_OK && more; i++)
        (void)series_set_read(set, &s, &err);
    samples_fini(&s);
    series_set_close(set);
}

static void with_matcher(struct block *b, const struct query_ctx *ctx, enum matcher_op op,
                         const char *name, const char *value)
{
    struct select_req req = {NULL, 1, {INT64_MIN, INT64_MAX}, {0}};
    struct matcher *m;
    struct names names;
    struct err err;

    if (matcher_new(op, sv_of(name), sv_of(value), &m, &err) != ST_OK)
        return;
    req.matchers = (const struct matcher *const *)&m;
    select_all(b, ctx, &req);
    (void)block_label_names(b, ctx, &req, &names, &err);
    (void)block_label_values(b, ctx, SV("job"), &req, &names, &err);
    matcher_free(m);
}

static void ask(struct block *b, const struct query_ctx *ctx)
{
    struct select_req all = {NULL, 0, {INT64_MIN, INT64_MAX}, {0}};
    struct names names = {0}, values;
    struct err err;

    select_all(b, ctx, &all);
    if (block_label_names(b, ctx, NULL, &names, &err) == ST_OK)
        for (size_t i = 0; i < names.n && i < NAMES; i++)
            (void)block_label_values(b, ctx, names.p[i], NULL, &values, &err);
    with_matcher(b, ctx, MATCH_EQ, "__name__", "a");
    with_matcher(b, ctx, MATCH_NE, "job", "x");
    with_matcher(b, ctx, MATCH_RE, "job", "x.*");
    with_matcher(b, ctx, MATCH_NRE, "job", "(a|x.*)?");
    with_matcher(b, ctx, MATCH_EQ, "job", "");
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const struct block_source_ops ops = {bytes_size, bytes_get, bytes_release, bytes_prefetch,
                                                bytes_close};
    struct bytes_source src = {{&ops}, p, n, 0};
    struct block_meta meta = {.ulid = "01HF7YAT00G25TKNWKFCX4PNSW"};
    struct query_ctx ctx = {.clk = clk_system()};
    struct account mem;
    struct arena arena;
    struct block *b;
    struct err err;

    if (block_open_trusting(&src.base, &meta, &b, &err) != ST_OK)
        return 0;
    arena_init(&arena, MEM_MAX);
    account_init(&mem, NULL, BUDGET_QUERY, MEM_MAX);
    ctx.mem = &mem;
    ctx.arena = &arena;
    ask(b, &ctx);
    block_unref(b);
    account_fini(&mem);
    arena_fini(&arena);
    return 0;
}
