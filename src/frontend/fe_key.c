/* What an answer depends on, as bytes: the whole text of this is stored beside the answer and compared.
 * Rules in README.md. */
#include "base/codec.h"
#include "fe_int.h"

#define SEMANTICS 1 /* raised when the same query on the same data may give another answer */
#define SCRATCH_MAX ((size_t)1 << 20)

static struct promql_params params_of(const struct fe_run *r, int64_t from_ms, int64_t to_ms,
                                      int64_t step_ms)
{
    return (struct promql_params){.start_ms = from_ms,
                                  .end_ms = to_ms,
                                  .step_ms = step_ms,
                                  .lookback_ms = r->lookback_ms,
                                  .opts = r->fe->opts.promql};
}

struct fe_mark fe_mark_of(const struct fe_run *r, int64_t from_ms, int64_t to_ms, int64_t step_ms)
{
    struct promql_params p = params_of(r, from_ms, to_ms, step_ms);
    struct fe_mark m = {.settled = true};
    struct promql_reads reads;
    struct arena scratch;
    const struct storage *s = r->fe->opts.storage;

    arena_init(&scratch, SCRATCH_MAX);
    promql_reads(r->expr, &p, &scratch, &reads);
    for (size_t i = 0; i < reads.n; i++) {
        struct change_mark c;

        s->ops->mark(s, r->ctx->who, reads.p[i], &c);
        struct {
            struct hash128 before, counters;
            uint64_t boot;
            struct trange range;
        } all = {m.digest, c.counters, c.boot, reads.p[i]};

        m.digest = hash128(&all, sizeof(all), 0);
        m.settled &= reads.p[i].to_ms <= c.settled_ms;
    }
    if (arena_over(&scratch))
        m.settled = false;
    arena_fini(&scratch);
    return m;
}

static void put_text(struct buf *out, struct sv s)
{
    buf_uvarint(out, s.n);
    buf_sv(out, s);
}

void fe_key(struct buf *out, const struct fe_run *r, const struct fe_grid *g, char kind, int64_t a,
            int64_t b, const struct fe_mark *mark)
{
    const struct promql_opts *o = &r->fe->opts.promql;

    buf_ch(out, 'E');
    buf_ch(out, kind);
    buf_uvarint(out, SEMANTICS);
    put_text(out, r->ctx->who->tenant);
    buf_uvarint(out, (unsigned)o->experimental_functions | (unsigned)o->duration_expr << 1 |
                         (unsigned)o->extended_range_selectors << 2 |
                         (unsigned)o->binop_fill_modifiers << 3 |
                         (unsigned)o->delayed_name_removal << 4 | (unsigned)o->start_timestamps << 5);
    buf_varint(out, r->lookback_ms);
    buf_varint(out, g ? g->step_ms : 0);
    buf_varint(out, g ? g->phase_ms : 0);
    buf_varint(out, g ? g->bucket_steps : 0);
    buf_varint(out, a);
    buf_varint(out, b);
    buf_le64(out, mark ? mark->digest.lo : 0);
    buf_le64(out, mark ? mark->digest.hi : 0);
    put_text(out, r->text);
}
