/* include/base/regex.h
 *
 * Regular expressions with RE2 syntax and linear time, anchored at both ends as Prometheus does
 * (^(?s:...)$). The engine is RE2 behind src/base/shim.cc.
 *
 * Threads: a compiled regex may be used by many at once. Memory: at most 8 MiB a regex.
 */
#ifndef ENGRAM_BASE_REGEX_H
#define ENGRAM_BASE_REGEX_H

#include "base/err.h"
#include "base/sv.h"

struct regex;

enum status regex_new(struct sv pattern, struct regex **ret, struct err *err); /* ST_INVALID */
void regex_free(struct regex *re);
bool regex_match(const struct regex *re, struct sv text);
unsigned regex_groups(const struct regex *re); /* capturing groups, the whole not counted */
/* groups[0] is the whole match; absent groups have p NULL. max counts groups[0]. */
bool regex_match_groups(const struct regex *re, struct sv text, struct sv *groups, unsigned max);
/* Index of a named group, or 0. */
unsigned regex_group_named(const struct regex *re, struct sv name);

#endif
