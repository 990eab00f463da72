/* src/app/config.h
 *
 * The settings: defaults, then the YAML file, then --set, checked as a whole.
 *
 * Memory: strings belong to the config; config_fini() frees. Errors: ST_INVALID, naming the key
 * and, for files, the line.
 */
#ifndef ENGRAM_APP_CONFIG_H
#define ENGRAM_APP_CONFIG_H

#include "base/buf.h"
#include "base/err.h"
#include "promql/promql.h"
#include "tenant/limits.h"
#include "tenant/tenant.h"
#include "tsdb/wal.h"

struct config_list {
    char **p;
    size_t n, cap;
};

struct config {
#define STR(field, key, def, help)   char *field;
#define BYTES(field, key, def, help) uint64_t field;
#define MS(field, key, def, help)    int64_t field;
#define U64(field, key, def, help)   uint64_t field;
#define BOOL(field, key, def, help)  bool field;
#define LIST(field, key, help)       struct config_list field;
#include "config.def"
    struct limits limits;
    bool limit_set_rate, limit_set_series; /* given by the user, so they hold for `anonymous` too */
    /* Derived by config_check(). */
    enum auth_mode mode;
    enum wal_sync sync;
    struct promql_opts promql;
};

void config_init(struct config *c);
void config_fini(struct config *c);
enum status config_set(struct config *c, struct sv key, struct sv value, struct err *err);
enum status config_load(struct config *c, const char *path, struct err *err);
/* Settings against each other; fills what is derived; reads secrets from env: and file:. */
enum status config_check(struct config *c, struct err *err);
/* One line a key: name, default, help. */
void config_reference(struct buf *out);

#endif
