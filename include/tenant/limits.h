/* include/tenant/limits.h
 *
 * The limits of one tenant as one value: compiled default -> settings `limits.*` -> runtime
 * `overrides`. A snapshot is counted, so that a reload is free of races.
 *
 * Each limit is a row of src/tenant/limits.def: type, name, default, help.
 */
#ifndef ENGRAM_TENANT_LIMITS_H
#define ENGRAM_TENANT_LIMITS_H

#include "base/err.h"
#include "base/sv.h"

#include <stdatomic.h>
#include <stdint.h>

struct limits {
    _Atomic unsigned refs;
#define U64(name, def, help) uint64_t name;
#define BYTES(name, def, help) uint64_t name;
#define MS(name, def, help) int64_t name;
#define F64(name, def, help) double name;
#include "tenant/limits.def"
};

void limits_defaults(struct limits *l);
/* ST_INVALID with the culprit's name when key is unknown or value is bad. */
enum status limits_set(struct limits *l, struct sv key, struct sv value, struct err *err);
bool limits_known(struct sv key);
struct limits *limits_ref(struct limits *l);
void limits_unref(struct limits *l);

#endif
