/* include/base/yaml.h
 *
 * YAML in: settings and runtime overrides, as a tree of maps, lists and scalars that know their
 * line. Strict on purpose: one document, text keys, no key twice in a map, no aliases or anchors,
 * no tags, no NUL, at most 1 MiB and 32 levels deep. What a scalar means (number, size, duration)
 * is decided by who asks, so `5m` and `1e3` stay text here.
 *
 * Threads: a tree is read-only once made; any thread may read it.
 * Memory:  everything belongs to the tree; yaml_tree_free() takes NULL. Texts end with a NUL.
 * Errors:  ST_INVALID with "line N: ...", ST_LIMIT when too large or too deep.
 */
#ifndef ENGRAM_BASE_YAML_H
#define ENGRAM_BASE_YAML_H

#include "base/err.h"
#include "base/sv.h"

#define YAML_MAX_BYTES ((size_t)1 << 20)
#define YAML_MAX_DEPTH 32

enum yaml_kind { YAML_SCALAR, YAML_MAP, YAML_LIST };

struct yaml {
    enum yaml_kind kind;
    bool quoted;                     /* a scalar in quotes: text, whatever it looks like */
    unsigned line, key_line;         /* from 1 */
    struct sv key;                   /* of a map's entry; p NULL in a list and at the root */
    struct sv text;                  /* of a scalar */
    const struct yaml *child, *next; /* entries in the order of the file */
    size_t n;                        /* entries of a map or list */
};

struct yaml_tree;

enum status yaml_tree_parse(struct sv text, struct yaml_tree **ret, struct err *err);
void yaml_tree_free(struct yaml_tree *t);
/* An empty file is an empty map. */
const struct yaml *yaml_root(const struct yaml_tree *t);

/* All are NULL-safe. yaml_get: the entry of a map, NULL when absent or not a map. */
const struct yaml *yaml_get(const struct yaml *map, const char *key);
bool yaml_is_null(const struct yaml *y); /* `key:`, `~` or `null`, not in quotes; or y NULL */
/* true, false (also yes/no/on/off, as people write them); false when it is neither. */
bool yaml_bool(const struct yaml *y, bool *ret);

#endif
