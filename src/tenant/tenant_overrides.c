/* runtime_config: `overrides: {TENANT: {limit: value}}`, read whole before anything is replaced. A key
 * of a later version must not stop a server that is rolled back, so unknown keys warn; a bad value
 * refuses the file, since guessing at a limit is worse than keeping the old one. */
#include "tenant_int.h"

#include "base/buf.h"
#include "base/heap.h"
#include "base/yaml.h"

static void warn(struct buf *warnings, const struct yaml *y, const char *what)
{
    if (!warnings)
        return;
    if (warnings->n)
        buf_str(warnings, "; ");
    buf_printf(warnings, "line %u: %s \"" SV_FMT "\"", y->key_line, what, SV_ARG(y->key));
}

static enum status read_tenant(struct tenants *t, const struct yaml *y, struct hmap *overrides,
                               struct buf *warnings, struct err *err)
{
    struct limits *l;

    if (!tenant_id_valid(y->key))
        return err_set(err, ST_INVALID, "line %u: \"" SV_FMT "\" is not a tenant id", y->key_line,
                       SV_ARG(y->key));
    if (yaml_is_null(y))
        return ST_OK;
    if (y->kind != YAML_MAP)
        return err_set(err, ST_INVALID, "line %u: tenant " SV_FMT " wants a map of limits", y->line,
                       SV_ARG(y->key));
    l = tenant_limits_copy(tenant_fallback(t, y->key));
    hmap_set(overrides, y->key, l);
    for (const struct yaml *v = y->child; v; v = v->next) {
        if (!limits_known(v->key)) {
            warn(warnings, v, "unknown limit");
            continue;
        }
        if (yaml_is_null(v))
            continue;
        if (v->kind != YAML_SCALAR)
            return err_set(err, ST_INVALID, "line %u: limit " SV_FMT " wants one value", v->line,
                           SV_ARG(v->key));
        if (limits_set(l, v->key, v->text, err) != ST_OK)
            return err_wrap(err, "line %u: tenant " SV_FMT, v->line, SV_ARG(y->key));
    }
    return ST_OK;
}

static enum status read_overrides(struct tenants *t, const struct yaml *root,
                                  struct hmap *overrides, struct buf *warnings, struct err *err)
{
    const struct yaml *map = yaml_get(root, "overrides");

    if (root->kind != YAML_MAP)
        return err_set(err, ST_INVALID, "wants a map with `overrides` at the top");
    for (const struct yaml *y = root->child; y; y = y->next)
        if (!sv_is(y->key, "overrides"))
            warn(warnings, y, "unknown key");
    if (yaml_is_null(map))
        return ST_OK;
    if (map->kind != YAML_MAP)
        return err_set(err, ST_INVALID, "line %u: overrides wants a map of tenants", map->line);
    for (const struct yaml *y = map->child; y; y = y->next)
        TRY(read_tenant(t, y, overrides, warnings, err));
    return ST_OK;
}

void tenant_overrides_free(struct hmap *overrides)
{
    for (struct hmap_slot *s = NULL; (s = hmap_next(overrides, s));)
        limits_unref(s->value);
    hmap_fini(overrides);
}

enum status tenants_load_overrides(struct tenants *t, struct sv yaml, struct buf *ret_warnings,
                                   struct err *err)
{
    struct yaml_tree *tree = NULL;
    struct hmap fresh, old;
    enum status st;

    hmap_init(&fresh);
    st = yaml_tree_parse(yaml, &tree, err);
    if (st == ST_OK)
        st = read_overrides(t, yaml_root(tree), &fresh, ret_warnings, err);
    yaml_tree_free(tree);
    if (st != ST_OK) {
        tenant_overrides_free(&fresh);
        return st;
    }
    lock_take(&t->lock);
    old = t->overrides;
    t->overrides = fresh;
    lock_drop(&t->lock);
    tenant_overrides_free(&old);
    return ST_OK;
}
