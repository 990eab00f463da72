/* promqltest_main [-v] [-d] FILE...: runs scripts, a TAP case a file; -d: Prometheus's default
 * options instead of those of upstream's test engine. */
#include "promqltest/promqltest.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct promqltest_opts opts = {.promql = {true, true, true, true, true, true}};
    int files = 0, bad = 0;

    for (int i = 1; i < argc; i++) {
        struct promqltest_result r = {0};
        struct err err = ERR_INIT;
        enum status st;

        if (strcmp(argv[i], "-v") == 0 || strcmp(argv[i], "-d") == 0) {
            if (argv[i][1] == 'v')
                opts.verbose = true;
            else
                opts.promql = (struct promql_opts){0};
            continue;
        }
        st = promqltest_run_file(argv[i], &opts, &r, &err);
        if (st != ST_OK)
            printf("# %s: %s\n", argv[i], err.msg);
        printf("%s %d - %s: %u passed, %u failed\n",
               st == ST_OK && !r.failed && r.passed ? "ok" : "not ok", ++files, argv[i], r.passed,
               r.failed);
        bad += st != ST_OK || r.failed || !r.passed;
    }
    printf("1..%d\n", files);
    return bad || !files ? 1 : 0;
}
