/* What every storage needs of a query: is it still wanted? */
#include "model/storage.h"

enum status query_alive(const struct query_ctx *ctx, struct err *err)
{
    if (ctx->canceled && atomic_load_explicit(ctx->canceled, memory_order_relaxed))
        return err_set(err, ST_CANCELED, "query was canceled in query execution");
    if (ctx->deadline_ns && ctx->clk && clk_mono_ns(ctx->clk) > ctx->deadline_ns)
        return err_set(err, ST_TIMEOUT, "query timed out in query execution");
    return ST_OK;
}
