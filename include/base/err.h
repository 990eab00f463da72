/* include/base/err.h
 *
 * Errors: a status code for the program, a message for the person.
 *
 * The lowest place that knows the cause sets code and message with err_set() or err_os(); layers
 * above may prefix context with err_wrap(). Functions that can fail return enum status and take
 * struct err *err last; ret_x parameters come just before it and are written on success only.
 * "Not there" in a look-up is NULL or false, not an error.
 *
 * Threads: a struct err belongs to one thread.
 * Memory:  a plain value, no clean-up.
 */
#ifndef ENGRAM_BASE_ERR_H
#define ENGRAM_BASE_ERR_H

#include "base/attr.h"

#include <stdbool.h>

enum status {
#define X(name, http, type, retry) ST_##name,
#include "base/status.def"
#undef X
};

struct err {
    enum status st;
    int os; /* errno, or 0 */
    char msg[512];
};

#define ERR_INIT {ST_OK, 0, {0}}

/* Each returns the status it stored. err may be NULL (the text is then dropped). */
enum status err_set(struct err *err, enum status st, const char *fmt, ...) PRINTF(3, 4);
/* From errno: ENOSPC and EDQUOT become ST_FULL, ENOENT ST_NOTFOUND, all else ST_IO. */
enum status err_os(struct err *err, const char *fmt, ...) PRINTF(2, 3);
/* "fmt: " before the present message; keeps the code. */
enum status err_wrap(struct err *err, const char *fmt, ...) PRINTF(2, 3);

int status_http(enum status st);          /* HTTP status code */
const char *status_type(enum status st);  /* Prometheus errorType */
const char *status_name(enum status st);  /* for logs */
bool status_retry(enum status st);        /* may a sender repeat the request? */

/* Return, or jump to the one label out:, when expr fails. TRY_GOTO needs a local `st`. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum status try_st_ = (expr);                                                              \
        if (UNLIKELY(try_st_ != ST_OK))                                                            \
            return try_st_;                                                                        \
    } while (0)
#define TRY_GOTO(expr)                                                                             \
    do {                                                                                           \
        st = (expr);                                                                               \
        if (UNLIKELY(st != ST_OK))                                                                 \
            goto out;                                                                              \
    } while (0)

#endif
