/* src/promqltest/promqltest_run.h
 *
 * A script while it runs.
 */
#ifndef ENGRAM_PROMQLTEST_RUN_H
#define ENGRAM_PROMQLTEST_RUN_H

#include "promqltest_int.h"

struct script {
    const char *name;
    const struct promqltest_opts *opts;
    struct promqltest_result *result;
    struct arena arena; /* of what the script says */
    VEC(struct sv) lines;
    size_t at; /* the line looked at */
    struct memory *memory;
};

/* ST_INVALID says how what came differs from what is expected. */
enum status promqltest_eval(const struct script *s, const struct eval *e, struct err *err);

#endif
