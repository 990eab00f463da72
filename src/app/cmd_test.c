/* engram test promql FILE...: Prometheus's PromQL test scripts, a line a file. */
#include "cmd.h"

#include "promqltest/promqltest.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

enum { KEY_FEATURE = 1000, KEY_NO_FEATURE, KEY_VERBOSE = 'v' };

struct test {
    struct promqltest_opts opts;
    char **files;
    size_t files_n;
};

static error_t option(int key, char *arg, struct argp_state *state)
{
    struct test *t = state->input;

    switch (key) {
    case KEY_FEATURE:
    case KEY_NO_FEATURE:
        if (!promql_feature(&t->opts.promql, sv_of(arg), key == KEY_FEATURE))
            argp_error(state, "unknown feature \"%s\"", arg);
        return 0;
    case KEY_VERBOSE: t->opts.verbose = true; return 0;
    case ARGP_KEY_ARGS:
        t->files = state->argv + state->next;
        t->files_n = (size_t)(state->argc - state->next);
        return 0;
    case ARGP_KEY_END:
        if (!t->files_n)
            argp_error(state, "no file is named");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int run_files(const struct test *t)
{
    unsigned long passed = 0, failed = 0;
    int rc = 0;

    for (size_t i = 0; i < t->files_n; i++) {
        struct promqltest_result r = {0};
        struct err err = ERR_INIT;

        if (promqltest_run_file(t->files[i], &t->opts, &r, &err) != ST_OK) {
            printf("%s: %s\n", t->files[i], err.msg);
            rc = 1;
        }
        printf("%s: %u passed, %u failed\n", t->files[i], r.passed, r.failed);
        passed += r.passed;
        failed += r.failed;
    }
    printf("%lu passed, %lu failed\n", passed, failed);
    return rc || failed ? 1 : 0;
}

static int promql(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"feature", KEY_FEATURE, "NAME", 0, "turn a feature on, named as Prometheus's --enable-feature", 0},
        {"no-feature", KEY_NO_FEATURE, "NAME", 0, "turn a feature off", 0},
        {"verbose", KEY_VERBOSE, NULL, 0, "tell each failure", 0},
        {0}};
    static const struct argp parser = {
        options,
        option,
        "FILE...",
        "Runs Prometheus's PromQL test scripts; exit status 0 only when none failed.\v"
        "It starts with the options of upstream's test engine: all parser experiments, delayed name "
        "removal and start timestamps are on.",
        NULL,
        NULL,
        NULL};
    struct test t = {.opts.promql = {.experimental_functions = true,
                                     .duration_expr = true,
                                     .extended_range_selectors = true,
                                     .binop_fill_modifiers = true,
                                     .delayed_name_removal = true,
                                     .start_timestamps = true}};

    argp_parse(&parser, argc, argv, 0, NULL, &t);
    return run_files(&t);
}

int cmd_test(int argc, char **argv)
{
    static char name[] = "engram test promql";

    if (argc >= 2 && strcmp(argv[1], "promql") == 0) {
        argv[1] = name;
        return promql(argc - 1, argv + 1);
    }
    fprintf(argc >= 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr,
            "Usage: engram test promql FILE...\n");
    return argc >= 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
}
