/* tests/support/unit.h
 *
 * cmocka with the headers it needs before it, in the order it needs them; and small checks of the
 * house. Every unit test includes this first and ends with `return RUN(tests);`.
 */
#ifndef ENGRAM_TESTS_UNIT_H
#define ENGRAM_TESTS_UNIT_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#define RUN(tests) cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL)
/* A call that must succeed; on failure its message is shown. Needs a local `struct err err`. */
#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ST_OK)                                                                       \
            fail_msg("%s: %s", #expr, err.msg);                                                    \
    } while (0)

#endif
