/* One line to stderr in one write(), so that lines of several threads don't mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int level_min = LOG_INFO; /* the log level: one of the few globals of the house */

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&level_min, (int)level, memory_order_relaxed);
}

bool log_level_parse(struct sv s, enum log_level *ret)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
        if (sv_is(s, level_names[i])) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

void log_line(enum log_level level, const char *room, const char *msg, const char *kv, ...)
{
    char line[2048];
    struct timespec ts;
    struct tm tm;
    int n;
    va_list ap;

    if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed))
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    n = snprintf(line, sizeof(line),
                 "ts=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s room=%s msg=\"%s\"%s",
                 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                 ts.tv_nsec / 1000000, level_names[level], room, msg, kv[0] ? " " : "");
    va_start(ap, kv);
    if (n > 0 && (size_t)n < sizeof(line))
        n += vsnprintf(line + n, sizeof(line) - (size_t)n, kv, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)n > sizeof(line) - 2)
        n = (int)sizeof(line) - 2;
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)n) < 0) {
        /* nowhere left to say it */
    }
}

struct log_quoted log_quote(struct sv s)
{
    struct log_quoted q;
    size_t n = 0;

    q.s[n++] = '"';
    for (size_t i = 0; i < s.n && n < sizeof(q.s) - 4; i++) {
        char c = s.p[i];

        if (c == '"' || c == '\\') {
            q.s[n++] = '\\';
            q.s[n++] = c;
        } else if (c == '\n') {
            q.s[n++] = '\\';
            q.s[n++] = 'n';
        } else {
            q.s[n++] = (unsigned char)c < 0x20 ? '?' : c;
        }
    }
    q.s[n++] = '"';
    q.s[n] = 0;
    return q;
}
