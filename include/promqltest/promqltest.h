/* include/promqltest/promqltest.h
 *
 * Runs scripts in the test language of Prometheus's PromQL (load, clear, eval) against our own
 * evaluation over a storage in memory. As upstream does, each instant query is run again with its
 * selectors pinned by @, at other times, and as the middle of a range query; all must agree.
 *
 * Not there: load_with_nhcb loads only the classic series it converts.
 *
 * Threads: one run belongs to one thread. Memory: nothing outlives the call.
 * Errors:  ST_NOTFOUND, ST_IO for the file; ST_INVALID, telling the first, when lines can't be read:
 *          they are left out, the rest is run and counted.
 */
#ifndef ENGRAM_PROMQLTEST_PROMQLTEST_H
#define ENGRAM_PROMQLTEST_PROMQLTEST_H

#include "promql/promql.h"

struct promqltest_opts {
    struct promql_opts promql;
    bool verbose; /* a line on stdout for each eval command that failed */
};
struct promqltest_result { /* eval commands */
    unsigned passed, failed;
};

enum status promqltest_run_file(const char *path, const struct promqltest_opts *opts,
                                struct promqltest_result *ret, struct err *err);
/* The same over a text; name stands before line numbers. */
enum status promqltest_run(struct sv text, const char *name, const struct promqltest_opts *opts,
                           struct promqltest_result *ret, struct err *err);

#endif
