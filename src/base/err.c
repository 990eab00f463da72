/* Errors as values; the codes and what they mean to HTTP stand in include/base/status.def. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *type;
    int http;
    bool retry;
} codes[] = {
#define X(name, http, type, retry) {#name, type, http, retry},
#include "base/status.def"
#undef X
};

enum status err_set(struct err *err, enum status st, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return st;
    err->st = st;
    err->os = 0;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    return st;
}

static enum status code_of_errno(int os)
{
    switch (os) {
    case ENOSPC:
    case EDQUOT: return ST_FULL;
    case ENOENT: return ST_NOTFOUND;
    default: return ST_IO;
    }
}

enum status err_os(struct err *err, const char *fmt, ...)
{
    int os = errno;
    enum status st = code_of_errno(os);
    va_list ap;
    size_t n;

    if (!err)
        return st;
    err->st = st;
    err->os = os;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    n = strlen(err->msg);
    char why[128];
    snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", strerror_r(os, why, sizeof(why)));
    return st;
}

enum status err_wrap(struct err *err, const char *fmt, ...)
{
    char old[sizeof(err->msg)];
    va_list ap;
    size_t n;

    if (!err)
        return ST_BUG; /* a caller that has no err has no status to keep; never reached in the house
                        */
    memcpy(old, err->msg, sizeof(old));
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    n = strlen(err->msg);
    snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", old);
    return err->st;
}

int status_http(enum status st)
{
    return codes[st].http;
}

const char *status_type(enum status st)
{
    return codes[st].type;
}

const char *status_name(enum status st)
{
    return codes[st].name;
}

bool status_retry(enum status st)
{
    return codes[st].retry;
}
