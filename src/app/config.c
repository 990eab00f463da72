/* Settings by table: config.def names each once; limits.* are the rows of limits.def. */
#include "config.h"

#include "api/api.h"
#include "base/fs.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/vec.h"
#include "base/yaml.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_MAX 4096
#define FILE_MAX   ((size_t)1 << 20)

static void put(char **field, struct sv value)
{
    heap_free(*field);
    *field = heap_strn(value.p, value.n);
}

static void list_clear(struct config_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        heap_free(l->p[i]);
    l->n = 0;
}

void config_init(struct config *c)
{
    memset(c, 0, sizeof(*c));
#define STR(field, key, def, help)   c->field = heap_strn(def, strlen(def));
#define BYTES(field, key, def, help) c->field = def;
#define MS(field, key, def, help)    c->field = def;
#define U64(field, key, def, help)   c->field = def;
#define BOOL(field, key, def, help)  c->field = def;
#include "config.def"
    limits_defaults(&c->limits);
}

void config_fini(struct config *c)
{
#define STR(field, key, def, help) heap_free(c->field);
#define LIST(field, key, help) \
    list_clear(&c->field);     \
    heap_free(c->field.p);
#include "config.def"
}

static enum status bad(struct sv key, struct sv value, const char *want, struct err *err)
{
    return err_set(err, ST_INVALID, "setting " SV_FMT ": \"" SV_FMT "\" is not %s", SV_ARG(key),
                   SV_ARG(value), want);
}

static bool parse_bool(struct sv v, bool *ret)
{
    *ret = sv_is(v, "true");
    return *ret || sv_is(v, "false");
}

/* "a,b" or "[a, b]" */
static void parse_list(struct config_list *l, struct sv v)
{
    list_clear(l);
    v = sv_trim(v);
    if (v.n >= 2 && v.p[0] == '[' && v.p[v.n - 1] == ']')
        v = sv_sub(v, 1, v.n - 2);
    while (v.p && v.n) {
        struct sv item = sv_trim(sv_cut(v, ',', &v));

        if (item.n)
            vec_push(l, heap_strn(item.p, item.n));
    }
}

enum status config_set(struct config *c, struct sv key, struct sv value, struct err *err)
{
    static const struct sv limits = SV("limits.");

    if (sv_starts(key, limits)) {
        struct sv name = sv_sub(key, limits.n, key.n);

        c->limit_set_rate |= sv_is(name, "ingestion_rate");
        c->limit_set_series |= sv_is(name, "max_global_series_per_user");
        return limits_set(&c->limits, name, value, err);
    }
#define STR(field, k, def, help) \
    if (sv_is(key, k)) {         \
        put(&c->field, value);   \
        return ST_OK;            \
    }
#define BYTES(field, k, def, help) \
    if (sv_is(key, k))             \
        return sv_bytes(value, &c->field) ? ST_OK : bad(key, value, "a size such as 64MiB", err);
#define MS(field, k, def, help)                         \
    if (sv_is(key, k))                                  \
        return sv_duration_ms(value, &c->field) ? ST_OK \
                                                : bad(key, value, "a duration such as 5m", err);
#define U64(field, k, def, help) \
    if (sv_is(key, k))           \
        return sv_u64(value, &c->field) ? ST_OK : bad(key, value, "a whole number", err);
#define BOOL(field, k, def, help) \
    if (sv_is(key, k))            \
        return parse_bool(value, &c->field) ? ST_OK : bad(key, value, "true or false", err);
#define LIST(field, k, help)          \
    if (sv_is(key, k)) {              \
        parse_list(&c->field, value); \
        return ST_OK;                 \
    }
#include "config.def"
    return err_set(err, ST_INVALID, "unknown setting \"" SV_FMT "\"", SV_ARG(key));
}

static enum status load_list(struct config *c, const struct yaml *list, struct sv key,
                             struct err *err)
{
    struct buf text;
    enum status st;

    buf_init(&text, FILE_MAX);
    for (const struct yaml *y = list->child; y; y = y->next) {
        if (y->kind != YAML_SCALAR) {
            buf_fini(&text);
            return err_set(err, ST_INVALID, "line %u: setting " SV_FMT " wants a list of texts",
                           y->line, SV_ARG(key));
        }
        if (text.n)
            buf_ch(&text, ',');
        buf_sv(&text, y->text);
    }
    st = config_set(c, key, buf_view(&text), err);
    buf_fini(&text);
    return st;
}

/* Nested maps spell dotted keys: bucket: {s3: {region: x}} is bucket.s3.region. */
static enum status load_map(struct config *c, const struct yaml *map, struct sv prefix,
                            struct err *err)
{
    for (const struct yaml *y = map->child; y; y = y->next) {
        char key[256];
        int n = snprintf(key, sizeof(key), SV_FMT "%s" SV_FMT, SV_ARG(prefix), prefix.n ? "." : "",
                         SV_ARG(y->key));
        enum status st;

        if (n < 0 || (size_t)n >= sizeof(key))
            return err_set(err, ST_INVALID, "line %u: key too long", y->key_line);
        switch (y->kind) {
        case YAML_MAP: st = load_map(c, y, sv_of(key), err); break;
        case YAML_LIST: st = load_list(c, y, sv_of(key), err); break;
        case YAML_SCALAR:
        default:
            st = yaml_is_null(y) ? ST_OK : config_set(c, sv_of(key), y->text, err);
            if (st != ST_OK)
                return err_wrap(err, "line %u", y->line);
        }
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

enum status config_load(struct config *c, const char *path, struct err *err)
{
    struct yaml_tree *tree = NULL;
    char *text = NULL;
    size_t n;
    enum status st;

    TRY_GOTO(fs_read_file(fs_posix(), path, FILE_MAX, &text, &n, err));
    TRY_GOTO(yaml_tree_parse(sv_make(text, n), &tree, err));
    if (yaml_root(tree)->kind != YAML_MAP) {
        st = err_set(err, ST_INVALID, "wants a map of settings at the top");
        goto out;
    }
    st = load_map(c, yaml_root(tree), (struct sv){NULL, 0}, err);
out:
    yaml_tree_free(tree);
    heap_free(text);
    return st == ST_OK ? ST_OK : err_wrap(err, "%s", path);
}

static enum status secret(char **field, const char *key, struct err *err)
{
    struct sv v = sv_of(*field);

    if (sv_starts(v, SV("env:"))) {
        const char *e = getenv(*field + 4);

        if (!e)
            return err_set(err, ST_INVALID, "setting %s: no environment variable %s", key,
                           *field + 4);
        put(field, sv_of(e));
    } else if (sv_starts(v, SV("file:"))) {
        char *p;
        size_t n;

        if (fs_read_file(fs_posix(), *field + 5, SECRET_MAX, &p, &n, err) != ST_OK)
            return err_wrap(err, "setting %s", key);
        put(field, sv_trim(sv_make(p, n)));
        heap_free(p);
    }
    return ST_OK;
}

static bool loopback(const char *listen)
{
    struct sv l = sv_of(listen);

    return sv_starts(l, SV("127.")) || sv_starts(l, SV("localhost:")) || sv_starts(l, SV("[::1]:"));
}

static enum status check_networks(const struct config *c, struct err *err)
{
    struct api_networks *networks;

    if (api_networks_parse((const char *const *)c->auth_trusted_proxies.p,
                           c->auth_trusted_proxies.n, &networks, err) != ST_OK)
        return err_wrap(err, "setting auth.trusted_proxies");
    api_networks_free(networks);
    return ST_OK;
}

static enum status check_auth(struct config *c, struct err *err)
{
    TRY(check_networks(c, err));
    if (strcmp(c->auth_mode, "none") == 0)
        c->mode = AUTH_NONE;
    else if (strcmp(c->auth_mode, "header") == 0)
        c->mode = AUTH_HEADER;
    else
        return err_set(err, ST_INVALID,
                       "setting auth.mode: \"%s\" is not none or header (token is not built yet)",
                       c->auth_mode);
    if (loopback(c->listen) || c->auth_allow_open)
        return ST_OK;
    if (c->mode == AUTH_NONE)
        return err_set(
            err, ST_INVALID,
            "setting listen: %s is open to others and auth.mode is none: whoever reaches "
            "it reads and writes everything; listen on 127.0.0.1, or set "
            "auth.allow_open=true if that is wanted",
            c->listen);
    if (c->auth_trusted_proxies.n == 0)
        return err_set(err, ST_INVALID,
                       "setting listen: %s is open to others and auth.mode=header trusts whatever "
                       "X-Scope-OrgID they send; set auth.trusted_proxies to the networks of your "
                       "proxies, or auth.allow_open=true",
                       c->listen);
    return ST_OK;
}

static enum status check_bucket(struct config *c, struct err *err)
{
    if (strcmp(c->bucket_type, "filesystem") == 0)
        return ST_OK;
    if (strcmp(c->bucket_type, "s3") != 0)
        return err_set(err, ST_INVALID, "setting bucket.type: \"%s\" is not filesystem or s3",
                       c->bucket_type);
    if (!c->s3_endpoint[0] || !c->s3_bucket[0])
        return err_set(err, ST_INVALID,
                       "bucket.type=s3 needs bucket.s3.endpoint and bucket.s3.bucket");
    TRY(secret(&c->s3_access_key, "bucket.s3.access_key", err));
    return secret(&c->s3_secret_key, "bucket.s3.secret_key", err);
}

enum status config_check(struct config *c, struct err *err)
{
    static const char *const modes[] = {"always", "interval", "off"};
    enum log_level level;
    bool known = false;

    if (strcmp(c->target, "all") != 0)
        return err_set(err, ST_INVALID, "setting target: \"%s\" is not `all`, the only one yet",
                       c->target);
    if (!log_level_parse(sv_of(c->log_level), &level))
        return err_set(err, ST_INVALID,
                       "setting log.level: \"%s\" is not debug, info, warn or error", c->log_level);
    for (int i = 0; i < 3; i++)
        if (strcmp(c->wal_sync, modes[i]) == 0) {
            c->sync = (enum wal_sync)i;
            known = true;
        }
    if (!known)
        return err_set(err, ST_INVALID, "setting wal.sync: \"%s\" is not always, interval or off",
                       c->wal_sync);
    if (c->block_range < 60000 || c->block_range > 31 * INT64_C(86400000))
        return err_set(err, ST_INVALID,
                       "setting block.range: %" PRId64 " ms is not within 1m and 31d",
                       c->block_range);
    for (size_t i = 0; i < c->promql_features.n; i++)
        if (!promql_feature(&c->promql, sv_of(c->promql_features.p[i]), true))
            return err_set(err, ST_INVALID, "setting promql.features: unknown feature \"%s\"",
                           c->promql_features.p[i]);
    TRY(check_auth(c, err));
    return check_bucket(c, err);
}

void config_reference(struct buf *out)
{
#define ROW(key, def, help)          buf_printf(out, "  %-28s %-16s %s\n", key, def, help);
#define STR(field, key, def, help)   ROW(key, def[0] ? def : "-", help)
#define BYTES(field, key, def, help) ROW(key, #def, help)
#define MS(field, key, def, help)    ROW(key, #def "ms", help)
#define U64(field, key, def, help)   ROW(key, #def, help)
#define BOOL(field, key, def, help)  ROW(key, #def, help)
#define LIST(field, key, help)       ROW(key, "[]", help)
#include "config.def"
    buf_str(
        out,
        "limits of a tenant (limits.NAME, and NAME under overrides.TENANT of runtime_config):\n");
#define U64(name, def, help)   ROW(#name, #def, help)
#define BYTES(name, def, help) ROW(#name, #def, help)
#define MS(name, def, help)    ROW(#name, #def "ms", help)
#define F64(name, def, help)   ROW(#name, #def, help)
#include "tenant/limits.def"
#undef ROW
}
