/* The tree over several lines, as Prometheus's prettifier: what fits into 100 bytes stays on one. */
#include "promql_lang_int.h"

#include <assert.h>

#define LINE_MAX_BYTES 100
#define PROBE_MAX      ((size_t)1024) /* bytes printed to find out whether there are more than 100 */

static void pretty(struct buf *out, const struct expr *e, unsigned level);

static void indent(struct buf *out, unsigned level)
{
    for (unsigned i = 0; i < level; i++)
        buf_str(out, "  ");
}

static bool needs_split(const struct expr *e)
{
    struct buf b;
    bool over;

    buf_init(&b, PROBE_MAX);
    promql_print(&b, e);
    over = !buf_ok(&b) || b.n > LINE_MAX_BYTES;
    buf_fini(&b);
    return over;
}

static void pretty_aggregate(struct buf *out, const struct expr *e, unsigned level)
{
    indent(out, level);
    promql_print_agg_head(out, e);
    buf_str(out, "(\n");
    if (e->aggregate.param) {
        pretty(out, e->aggregate.param, level + 1);
        buf_str(out, ",\n");
    }
    pretty(out, e->aggregate.e, level + 1);
    buf_ch(out, '\n');
    indent(out, level);
    buf_ch(out, ')');
}

static void pretty_binary(struct buf *out, const struct expr *e, unsigned level)
{
    if (promql_left_in_parens(e)) {
        indent(out, level + 1);
        buf_ch(out, '(');
        promql_print(out, e->binary.l);
        buf_ch(out, ')');
    } else {
        pretty(out, e->binary.l, level + 1);
    }
    buf_ch(out, '\n');
    indent(out, level);
    buf_printf(out, "%s%s", binop_text(e->binary.op), e->binary.return_bool ? " bool" : "");
    promql_print_matching(out, e);
    buf_ch(out, '\n');
    pretty(out, e->binary.r, level + 1);
}

static void pretty_call(struct buf *out, const struct expr *e, unsigned level)
{
    indent(out, level);
    buf_printf(out, "%s(\n", e->call.fn->name);
    for (size_t i = 0; i < e->call.args.n; i++) {
        if (i)
            buf_str(out, ",\n");
        pretty(out, e->call.args.p[i], level + 1);
    }
    buf_ch(out, '\n');
    indent(out, level);
    buf_ch(out, ')');
}

/* The operand is indented like the sign, whose place its own indent would take. */
static void pretty_unary(struct buf *out, const struct expr *e, unsigned level)
{
    struct buf b;

    buf_init(&b, out->max);
    pretty(&b, e->unary.e, level);
    indent(out, level);
    buf_ch(out, e->unary.minus ? '-' : '+');
    buf_sv(out, sv_trim(buf_view(&b)));
    out->over |= b.over;
    buf_fini(&b);
}

static void pretty_split(struct buf *out, const struct expr *e, unsigned level)
{
    switch (e->kind) {
    case EXPR_AGGREGATE: pretty_aggregate(out, e, level); break;
    case EXPR_BINARY: pretty_binary(out, e, level); break;
    case EXPR_CALL: pretty_call(out, e, level); break;
    case EXPR_PAREN:
        indent(out, level);
        buf_str(out, "(\n");
        pretty(out, e->paren.e, level + 1);
        buf_ch(out, '\n');
        indent(out, level);
        buf_ch(out, ')');
        break;
    case EXPR_SUBQUERY:
        pretty(out, e->subquery.e, level);
        promql_print_subquery_time(out, e);
        break;
    case EXPR_STEP_INVARIANT: pretty(out, e->invariant.e, level); break;
    case EXPR_UNARY: pretty_unary(out, e, level); break;
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_VECTOR:
    case EXPR_MATRIX:
        indent(out, level);
        promql_print(out, e);
        break;
    }
}

static void pretty(struct buf *out, const struct expr *e, unsigned level)
{
    if (!buf_ok(out))
        return;
    if (needs_split(e) || e->kind == EXPR_UNARY) {
        pretty_split(out, e, level);
        return;
    }
    if (e->kind != EXPR_SUBQUERY) /* as Prometheus: a short subquery stands at the margin */
        indent(out, level);
    promql_print(out, e);
}

void promql_pretty(struct buf *out, const struct expr *e)
{
    pretty(out, e, 0);
}
