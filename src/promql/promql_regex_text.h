/* src/promql/promql_regex_text.h
 *
 * The words for what is wrong with a pattern: RE2 and Go's regexp find the same faults but name
 * them differently; users and tools know Go's.
 */
#ifndef ENGRAM_PROMQL_REGEX_TEXT_H
#define ENGRAM_PROMQL_REGEX_TEXT_H

#include "base/buf.h"

/* Replaces what is in out. why: the message of regex_new(); pattern: what it was given. */
void promql_regex_text(struct buf *out, const char *why, struct sv pattern);

#endif
