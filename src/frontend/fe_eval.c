/* Evaluating pieces of a query on the queue's threads, a few at once. Each piece has its own arena and
 * its own part of the query's memory; the caller waits. */
#include "base/heap.h"
#include "base/vec.h"
#include "fe_int.h"

#define PIECE_ARENA_FLOOR ((uint64_t)16 << 20)

struct batch {
    struct fe_run *run;
    const struct fe_grid *grid;
    const struct storage *storage;
    uint64_t memory; /* of one piece */
    struct lock lock; /* guards running, st, err, stats, wait_ns and run->results */
    struct cond done;
    unsigned running;
    enum status st;
    struct err err;
    struct promql_stats stats;
    int64_t wait_ns;
};

struct job {
    struct batch *batch;
    struct fe_piece *piece;
    int64_t queued_ns;
};

static enum status evaluate(struct batch *b, struct fe_piece *p, struct promql_stats *stats,
                            struct err *err)
{
    struct fe_run *r = b->run;
    struct fe *f = r->fe;
    struct account mem;
    struct query_ctx ctx = r->inner;
    struct promql_params params = {.lookback_ms = r->lookback_ms,
                                   .max_samples = f->opts.max_samples,
                                   .opts = f->opts.promql,
                                   .text = r->q->text};
    enum status st;

    if (b->grid) {
        params.start_ms = fe_grid_ms(b->grid, p->from);
        params.end_ms = fe_grid_ms(b->grid, p->to);
        params.step_ms = b->grid->step_ms;
    } else {
        params.start_ms = params.end_ms = r->q->start_ms;
    }
    account_init(&mem, f->opts.budget, BUDGET_QUERY, (int64_t)b->memory);
    ctx.mem = &mem;
    ctx.arena = &p->arena;
    st = query_alive(&ctx, err);
    if (st == ST_OK)
        st = promql_eval(b->storage, &ctx, r->expr, &params, &p->value, stats, err);
    account_fini(&mem);
    return st;
}

static void run_job(void *arg)
{
    struct job *j = arg;
    struct batch *b = j->batch;
    const struct clk *clk = b->run->fe->opts.clk;
    struct promql_stats stats = {0};
    struct err err = ERR_INIT;
    int64_t began_ns = clk_mono_ns(clk);
    enum status st;

    metric_observe(b->run->fe->m_wait, (double)(began_ns - j->queued_ns) / 1e9);
    st = evaluate(b, j->piece, &stats, &err);
    metric_observe(b->run->fe->m_eval, (double)(clk_mono_ns(clk) - began_ns) / 1e9);
    LOCK_SCOPE(&b->lock);
    if (st == ST_OK)
        st = account_charge(&b->run->results, (int64_t)j->piece->arena.used_bytes, &err);
    if (st != ST_OK && b->st == ST_OK) {
        b->st = st;
        b->err = err;
    }
    b->stats.samples += stats.samples;
    b->stats.series += stats.series;
    if (began_ns - j->queued_ns > b->wait_ns)
        b->wait_ns = began_ns - j->queued_ns;
    b->running--;
    cond_signal(&b->done);
}

/* Waits until fewer than `below` pieces run; false: one has failed. */
static bool wait_below(struct batch *b, unsigned below)
{
    LOCK_SCOPE(&b->lock);
    while (b->running >= below)
        cond_wait(&b->done, &b->lock);
    return b->st == ST_OK;
}

/* The first piece stands for the query in the tenant's line. */
static void put_piece(struct batch *b, struct job *j, bool first)
{
    const struct limits *l = b->run->ctx->who->limits;
    struct err err = ERR_INIT;
    enum status st;

    {
        LOCK_SCOPE(&b->lock);
        b->running++;
    }
    j->queued_ns = clk_mono_ns(b->run->fe->opts.clk);
    st = fe_queue_put(b->run->fe->queue, b->run->ctx->who->tenant,
                      l && first ? l->max_outstanding_requests_per_tenant : 0, run_job, j, &err);
    if (st == ST_OK)
        return;
    LOCK_SCOPE(&b->lock);
    b->running--;
    if (b->st == ST_OK) {
        b->st = st;
        b->err = err;
    }
}

uint64_t fe_query_memory(const struct fe_run *r)
{
    const struct limits *l = r->ctx->who->limits;

    return l && l->max_query_memory ? l->max_query_memory : r->fe->opts.default_query_memory;
}

enum status fe_evaluate(struct fe_run *r, const struct fe_grid *g, struct fe_pieces *ps,
                        struct err *err)
{
    const struct limits *l = r->ctx->who->limits;
    uint64_t memory = fe_query_memory(r);
    uint64_t parallel = l && l->max_query_parallelism ? l->max_query_parallelism : 1;
    struct batch b = {.run = r, .grid = g};
    struct job *jobs = heap_array(ps->n ? ps->n : 1, sizeof(*jobs));
    struct fe_counted counted;
    int64_t began_ns = clk_mono_ns(r->fe->opts.clk);

    if (parallel > ps->n)
        parallel = ps->n ? ps->n : 1;
    b.memory = memory / parallel;
    fe_counted_init(&counted, r->fe->opts.storage, r->ctx->who);
    b.storage = &counted.base;
    lock_init(&b.lock, LOCK_frontend);
    cond_init(&b.done);
    for (size_t i = 0; i < ps->n; i++) {
        uint64_t arena = b.memory > PIECE_ARENA_FLOOR ? b.memory : PIECE_ARENA_FLOOR;

        if (!wait_below(&b, (unsigned)parallel))
            break;
        arena_init(&ps->p[i].arena, arena);
        jobs[i] = (struct job){.batch = &b, .piece = &ps->p[i]};
        put_piece(&b, &jobs[i], i == 0);
    }
    wait_below(&b, 1);
    r->stats->samples += b.stats.samples;
    r->stats->series += b.stats.series;
    r->stats->queue_ns += b.wait_ns;
    r->stats->eval_ns += clk_mono_ns(r->fe->opts.clk) - began_ns - b.wait_ns;
    cond_fini(&b.done);
    lock_fini(&b.lock);
    heap_free(jobs);
    return b.st == ST_OK ? ST_OK : err_set(err, b.st, "%s", b.err.msg);
}

void fe_pieces_free(struct fe_pieces *ps)
{
    for (size_t i = 0; i < ps->n; i++)
        arena_fini(&ps->p[i].arena);
    vec_free(ps);
}
