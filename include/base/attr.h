/* include/base/attr.h
 *
 * The few compiler attributes the house uses, under short names.
 */
#ifndef ENGRAM_BASE_ATTR_H
#define ENGRAM_BASE_ATTR_H

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define UNUSED __attribute__((unused))
#define NORETURN __attribute__((noreturn))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
