/* include/base/log.h
 *
 * logfmt lines on stderr: ts level room msg key=value. Never per sample or per series. Library
 * code stays silent; the function that ends an error's journey logs it once.
 *
 * log_info("wal", "segment sealed", "segment=%u bytes=%zu", n, size); kv may be "". String values
 * that are not ours go through log_q(), which quotes and escapes them.
 */
#ifndef ENGRAM_BASE_LOG_H
#define ENGRAM_BASE_LOG_H

#include "base/attr.h"
#include "base/sv.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level);
bool log_level_parse(struct sv s, enum log_level *ret);
void log_line(enum log_level level, const char *room, const char *msg, const char *kv, ...)
    PRINTF(4, 5);

#define log_debug(room, msg, ...) log_line(LOG_DEBUG, room, msg, __VA_ARGS__)
#define log_info(room, msg, ...) log_line(LOG_INFO, room, msg, __VA_ARGS__)
#define log_warn(room, msg, ...) log_line(LOG_WARN, room, msg, __VA_ARGS__)
#define log_error(room, msg, ...) log_line(LOG_ERROR, room, msg, __VA_ARGS__)

struct log_quoted {
    char s[512];
};
struct log_quoted log_quote(struct sv s);
#define log_q(sv) (log_quote(sv).s)

#endif
