/* An instant query: one piece; kept in memory when what it reads has settled. */
#include "base/vec.h"
#include "fe_int.h"

#define KEY_MAX ((size_t)2 << 20)
#define ITEM_MAX ((size_t)8 << 20)

static bool look_up(struct fe_run *r, struct sv key, struct value **ret)
{
    struct cache *c = r->fe->fresh;
    struct buf item;
    struct cache_get get = {.key = key, .value = &item};
    struct err err = ERR_INIT;
    struct value *v;
    bool hit;

    buf_init(&item, ITEM_MAX);
    c->ops->get(c, &get, 1);
    hit = get.hit && fe_decode(buf_view(&item), r->ctx->arena, &v, &err) == ST_OK &&
          fe_infos_check(v, r->q->text);
    if (hit)
        *ret = v;
    buf_fini(&item);
    return hit;
}

static void keep(struct fe_run *r, struct sv key, const struct fe_mark *before, struct value v,
                 struct arena *arena)
{
    struct fe_mark after = fe_mark_of(r, r->q->start_ms, r->q->start_ms, 0);
    struct cache *c = r->fe->fresh;
    struct buf item;

    if (!v.complete || v.warnings_n || after.digest.lo != before->digest.lo ||
        after.digest.hi != before->digest.hi || !fe_infos_sign(&v, arena, r->q->text)) {
        metric_inc(r->fe->m_refused);
        return;
    }
    buf_init(&item, ITEM_MAX);
    if (fe_encode(&item, &v, INT64_MIN, INT64_MAX)) {
        c->ops->set(c, key, buf_view(&item), 0);
        metric_inc(r->fe->m_stored);
    }
    buf_fini(&item);
}

enum status fe_instant(struct fe_run *r, struct value **ret, struct err *err)
{
    struct fe_mark before = fe_mark_of(r, r->q->start_ms, r->q->start_ms, 0);
    bool cache = before.settled && r->fe->opts.cache && !r->q->no_cache && !r->ctx->who->enforced_n;
    struct fe_pieces ps = {0};
    struct buf key;
    enum status st = ST_OK;

    buf_init(&key, KEY_MAX);
    if (cache)
        fe_key(&key, r, NULL, 'I', r->q->start_ms, 0, &before);
    if (cache && look_up(r, buf_view(&key), ret)) {
        r->stats->hit++;
        goto out;
    }
    *(cache ? &r->stats->miss : &r->stats->bypass) += 1;
    vec_add(&ps);
    TRY_GOTO(fe_evaluate(r, NULL, &ps, err));
    if (cache)
        keep(r, buf_view(&key), &before, *ps.p[0].value, &ps.p[0].arena);
    *ret = fe_value_dup(r->ctx->arena, ps.p[0].value);
    if (!*ret)
        st = err_set(err, ST_LIMIT, "the answer needs more than %zu bytes", r->ctx->arena->max_bytes);
out:
    fe_pieces_free(&ps);
    buf_fini(&key);
    return st;
}
