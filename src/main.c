/* engram: one program, a command each way of using it. */
#include "app/cmd.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"serve", "run the server", cmd_serve},
    {"query", "evaluate a PromQL expression on a server", cmd_query},
    {"check", "verify settings, data, a block or a log", cmd_check},
    {"test", "run Prometheus's PromQL test scripts", cmd_test},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *to)
{
    fprintf(to, "Usage: engram COMMAND [ARGS]\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
    fprintf(to, "\n`engram COMMAND --help` tells more; `engram --version` says which this is.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("engram %s (%s)\n", ENGRAM_VERSION, ENGRAM_REVISION);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            char name[64];

            snprintf(name, sizeof(name), "engram %s", commands[i].name);
            argv[1] = name;
            return commands[i].run(argc - 1, argv + 1);
        }
    fprintf(stderr, "engram: unknown command \"%s\"\n\n", argv[1]);
    usage(stderr);
    return 2;
}
