/* The bucket's listing against the catalogue.
 *
 * One walk over all keys says which folders <tenant>/<ULID>/ hold a meta.json (only those are
 * blocks; the rest is an upload under way, or one that died) and which are marked for deletion, in
 * their folder or under <tenant>/markers/. Only after the whole listing has worked is anything
 * changed, and only rows that were there before it began are taken away: a block shipped meanwhile
 * is not missed.
 *
 * Order: blocks are added before others go, so that what a compaction replaced is never absent; and
 * the change counters move after the catalogue did, so that no answer made of the old blocks can
 * carry the new counters.
 */
#include "base/heap.h"
#include "base/log.h"
#include "base/vec.h"
#include "sgw_int.h"
#include "tenant/tenant.h"

#include <stdio.h>

#define BLOCKS_MAX 1000000u
#define META_MAX   ((size_t)16 << 20)
#define MARK_END   "-deletion-mark.json"

struct sgw_name sgw_name_of(struct sv tenant, struct sv ulid)
{
    struct sgw_name n;

    snprintf(n.z, sizeof(n.z), SV_FMT "/" SV_FMT, SV_ARG(tenant), SV_ARG(ulid));
    return n;
}

struct sgw_found {
    struct sgw_name name;
    size_t tenant_n;
    bool has_meta, marked;
};
struct sgw_known { /* a row of before the listing */
    struct sgw_name name;
    size_t tenant_n;
    struct trange range;
    bool seen;
};
struct sgw_listing {
    struct sgw *s;
    VEC(struct sgw_found) found; /* one a folder, as the keys come */
    VEC(struct sgw_known) known;
    struct hmap marks;    /* names with a marker under markers/ */
    struct hmap by_name;  /* name -> index in known, plus one */
    size_t blocks;
};

static struct sv tenant_of(const struct sgw_name *name, size_t tenant_n)
{
    return sv_make(name->z, tenant_n);
}

static struct sv ulid_of(const struct sgw_name *name, size_t tenant_n)
{
    return sv_of(name->z + tenant_n + 1);
}

static enum status see_known(void *arg, struct sv tenant, const struct catalogue_row *row,
                             struct err *err)
{
    struct sgw_listing *l = arg;
    struct sgw_known k = {.name = sgw_name_of(tenant, sv_of(row->ulid)),
                          .tenant_n = tenant.n,
                          .range = row->range};

    (void)err;
    if (!(row->where & CATALOGUE_BUCKET))
        return ST_OK;
    vec_push(&l->known, k);
    hmap_set(&l->by_name, sv_of(k.name.z), (void *)(uintptr_t)l->known.n);
    return ST_OK;
}

/* "markers/<ULID>-deletion-mark.json" */
static void see_marker(struct sgw_listing *l, struct sv tenant, struct sv file)
{
    struct sv ulid = sv_sub(file, 0, ULID_LEN);
    struct sgw_name name = sgw_name_of(tenant, ulid);

    if (file.n == ULID_LEN + sizeof(MARK_END) - 1 && ulid_valid(ulid) &&
        sv_ends(file, SV(MARK_END)))
        hmap_set(&l->marks, sv_of(name.z), l);
}

static enum status see_key(void *arg, struct sv key, uint64_t bytes, bool is_prefix,
                           struct err *err)
{
    struct sgw_listing *l = arg;
    struct sv rest, file, tenant = sv_cut(key, '/', &rest), folder = sv_cut(rest, '/', &file);
    struct sgw_found *f;
    struct sgw_name name;

    (void)bytes;
    if (is_prefix || !file.p || !tenant_id_valid(tenant))
        return ST_OK;
    if (sv_is(folder, "markers")) {
        see_marker(l, tenant, file);
        return ST_OK;
    }
    if (!ulid_valid(folder))
        return ST_OK;
    name = sgw_name_of(tenant, folder);
    if (!l->found.n || strcmp(l->found.p[l->found.n - 1].name.z, name.z) != 0) {
        if (l->found.n == BLOCKS_MAX)
            return err_set(err, ST_LIMIT, "bucket: more than %u blocks", BLOCKS_MAX);
        f = vec_add(&l->found);
        f->name = name;
        f->tenant_n = tenant.n;
    }
    f = &l->found.p[l->found.n - 1];
    f->has_meta |= sv_is(file, "meta.json");
    f->marked |= sv_is(file, "deletion-mark.json");
    return ST_OK;
}

static enum status read_meta(struct sgw *s, const struct sgw_found *f, struct block_meta *m,
                             struct err *err)
{
    char key[FS_PATH_MAX];
    struct buf json;
    enum status st;

    if (!fs_join(key, f->name.z, "meta.json"))
        return err_set(err, ST_INVALID, "name too long");
    buf_init(&json, META_MAX);
    st = s->opts.bucket->ops->get(s->opts.bucket, sv_of(key), 0, SIZE_MAX, &json, err);
    if (st == ST_OK)
        st = block_meta_read(buf_view(&json), m, err);
    if (st == ST_OK && !sv_is(ulid_of(&f->name, f->tenant_n), m->ulid))
        st = err_set(err, ST_CORRUPT, "meta.json names block %s", m->ulid);
    buf_fini(&json);
    return st;
}

/* Was it the ingester that put it there? Asked once a block. */
static bool take_own(struct sgw *s, const struct sgw_name *name)
{
    LOCK_SCOPE(&s->lock);
    return hmap_del(&s->own, sv_of(name->z)) != NULL;
}

static bool is_known_bad(struct sgw *s, const struct sgw_name *name)
{
    LOCK_SCOPE(&s->lock);
    return hmap_get(&s->open, sv_of(name->z)) != NULL;
}

static enum status add_block(struct sgw *s, const struct sgw_found *f, struct err *err)
{
    struct sv tenant = tenant_of(&f->name, f->tenant_n);
    struct catalogue_row row = {.where = CATALOGUE_BUCKET};
    struct block_meta *m = heap_new(struct block_meta);
    enum status st = read_meta(s, f, m, err);

    if (st == ST_CORRUPT || st == ST_LIMIT) {
        sgw_quarantine(s, tenant, ulid_of(&f->name, f->tenant_n), err->msg);
        st = ST_OK;
        goto out;
    }
    if (st == ST_NOTFOUND) { /* deleted since it was listed */
        st = ST_OK;
        goto out;
    }
    if (st != ST_OK)
        goto out;
    memcpy(row.ulid, m->ulid, sizeof(row.ulid));
    row.range = m->range;
    row.cut_seq = m->cut_seq;
    row.num_series = m->num_series;
    row.num_samples = m->num_samples;
    TRY_GOTO(catalogue_add(s->opts.catalogue, tenant, &row, err));
    if (!take_own(s, &f->name))
        sgw_changes_bump(s->changes, tenant, m->range);
out:
    heap_free(m);
    return st == ST_OK ? ST_OK : err_wrap(err, "block %s", f->name.z);
}

static enum status apply(struct sgw_listing *l, struct err *err)
{
    struct sgw *s = l->s;

    for (size_t i = 0; i < l->found.n; i++) {
        const struct sgw_found *f = &l->found.p[i];
        uintptr_t at = (uintptr_t)hmap_get(&l->by_name, sv_of(f->name.z));

        if (!f->has_meta || f->marked || hmap_get(&l->marks, sv_of(f->name.z)))
            continue;
        l->blocks++;
        if (at) {
            l->known.p[at - 1].seen = true;
            take_own(s, &f->name);
        } else if (!is_known_bad(s, &f->name)) {
            TRY(add_block(s, f, err));
        }
    }
    for (size_t i = 0; i < l->known.n; i++) {
        const struct sgw_known *k = &l->known.p[i];
        struct sv tenant = tenant_of(&k->name, k->tenant_n), ulid = ulid_of(&k->name, k->tenant_n);

        if (k->seen)
            continue;
        TRY(catalogue_remove(s->opts.catalogue, tenant, ulid, CATALOGUE_BUCKET, err));
        sgw_changes_bump(s->changes, tenant, k->range);
        sgw_forget(s, tenant, ulid);
        log_info("storegateway", "block has left the bucket", "block=%s", k->name.z);
    }
    return ST_OK;
}

static enum status list_and_apply(struct sgw_listing *l, struct err *err)
{
    struct sgw *s = l->s;

    TRY(catalogue_each(s->opts.catalogue, (struct sv){NULL, 0},
                       (struct trange){INT64_MIN, INT64_MAX}, see_known, l, err));
    TRY(s->opts.bucket->ops->list(s->opts.bucket, (struct sv){"", 0}, false, see_key, l, err));
    return apply(l, err);
}

enum status sgw_sync(struct sgw *s, struct err *err)
{
    struct sgw_listing l = {.s = s};
    int64_t began_ns = clk_mono_ns(s->opts.clk);
    enum status st;

    hmap_init(&l.marks);
    hmap_init(&l.by_name);
    st = list_and_apply(&l, err);
    metric_inc(s->m_syncs);
    metric_observe(s->m_sync_seconds, (double)(clk_mono_ns(s->opts.clk) - began_ns) / 1e9);
    if (st == ST_OK) {
        metric_set(s->m_blocks, (double)l.blocks);
        atomic_store(&s->synced, true);
    } else {
        metric_inc(s->m_sync_failures);
        err_wrap(err, "listing the bucket");
    }
    hmap_fini(&l.marks);
    hmap_fini(&l.by_name);
    vec_free(&l.found);
    vec_free(&l.known);
    return st;
}
