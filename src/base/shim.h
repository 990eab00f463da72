/* src/base/shim.h
 *
 * The C face of the C++ libraries: RE2 and <charconv>. Exceptions stop inside shim.cc.
 */
#ifndef ENGRAM_BASE_SHIM_H
#define ENGRAM_BASE_SHIM_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Shortest digits of a finite value in scientific form: "d.ddde[+-]dd". Returns the length. */
size_t shim_scientific(char *out, size_t cap, double v);
/* Longest prefix that is a number; returns its length, 0 for none. hex: without the 0x. */
size_t shim_parse(const char *p, size_t n, bool hex, double *ret);

void *shim_regex_new(const char *p, size_t n, char *err, size_t err_n);
void shim_regex_free(void *re);
int shim_regex_match(const void *re, const char *p, size_t n);
unsigned shim_regex_groups(const void *re);
int shim_regex_match_groups(const void *re, const char *p, size_t n, const char **group_p,
                            size_t *group_n, unsigned max);
unsigned shim_regex_group_named(const void *re, const char *p, size_t n);

#ifdef __cplusplus
}
#endif

#endif
