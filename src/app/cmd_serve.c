/* engram serve: settings, the app, and waiting for a signal. */
#include "cmd.h"

#include "app.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/vec.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    KEY_DATA = 'd',
    KEY_CONFIG = 'c',
    KEY_LISTEN = 'l',
    KEY_MEMORY = 'm',
    KEY_SET = 's',
    KEY_TARGET = 't',
    KEY_SETTINGS = 1000
};

struct serve {
    struct config config;
    VEC(char *) sets; /* key=value, applied after the file */
    const char *file;
};

static void add_set(struct serve *s, const char *key, const char *value)
{
    size_t n = strlen(key) + strlen(value) + 2;
    char *kv = heap_alloc(n);

    snprintf(kv, n, "%s=%s", key, value);
    vec_push(&s->sets, kv);
}

static error_t option(int key, char *arg, struct argp_state *state)
{
    struct serve *s = state->input;
    struct buf text;

    switch (key) {
    case KEY_CONFIG: s->file = arg; return 0;
    case KEY_DATA: add_set(s, "data", arg); return 0;
    case KEY_LISTEN: add_set(s, "listen", arg); return 0;
    case KEY_MEMORY: add_set(s, "memory", arg); return 0;
    case KEY_TARGET: add_set(s, "target", arg); return 0;
    case KEY_SET:
        if (!strchr(arg, '='))
            argp_error(state, "--set wants key=value, got \"%s\"", arg);
        vec_push(&s->sets, heap_strn(arg, strlen(arg)));
        return 0;
    case KEY_SETTINGS:
        buf_init(&text, 1 << 20);
        config_reference(&text);
        fwrite(text.p, 1, text.n, stdout);
        buf_fini(&text);
        exit(0);
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument \"%s\"", arg); return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"config", KEY_CONFIG, "FILE", 0, "YAML file with settings", 0},
    {"data", KEY_DATA, "DIR", 0, "folder for everything (setting data, ./data)", 0},
    {"listen", KEY_LISTEN, "ADDR:PORT", 0, "setting listen, 127.0.0.1:9009", 0},
    {"target", KEY_TARGET, "all|LIST", 0, "roles of this process", 0},
    {"memory", KEY_MEMORY, "SIZE", 0, "memory budget, such as 512MiB", 0},
    {"set", KEY_SET, "KEY=VALUE", 0, "any setting; may be given often", 0},
    {"settings", KEY_SETTINGS, NULL, 0, "list every setting with its default, and end", 0},
    {0}};

static enum status read_settings(struct serve *s, struct err *err)
{
    if (s->file)
        TRY(config_load(&s->config, s->file, err));
    for (size_t i = 0; i < s->sets.n; i++) {
        struct sv value, key = sv_cut(sv_of(s->sets.p[i]), '=', &value);

        TRY(config_set(&s->config, key, value, err));
    }
    return config_check(&s->config, err);
}

static int run(const struct config *c)
{
    struct err err = ERR_INIT;
    struct app *app;
    sigset_t wait_for;
    enum log_level level = LOG_INFO;
    int sig;

    log_level_parse(sv_of(c->log_level), &level);
    log_set_level(level);
    sigemptyset(&wait_for);
    sigaddset(&wait_for, SIGTERM);
    sigaddset(&wait_for, SIGINT);
    pthread_sigmask(SIG_BLOCK, &wait_for,
                    NULL); /* all threads inherit it: only sigwait sees them */
    signal(SIGPIPE, SIG_IGN);
    if (app_start(c, &app, &err) != ST_OK) {
        log_error("app", "not started", "error=%s", log_q(sv_of(err.msg)));
        return 1;
    }
    sigwait(&wait_for, &sig);
    log_info("app", "stopping", "signal=%d", sig);
    app_stop(app);
    log_info("app", "stopped", "signal=%d", sig);
    return 0;
}

int cmd_serve(int argc, char **argv)
{
    static const struct argp parser = {
        options,
        option,
        NULL,
        "Receives Prometheus remote write, answers PromQL.\v"
        "With no arguments: data in ./data, listening on 127.0.0.1:9009. SIGTERM stops gracefully.",
        NULL,
        NULL,
        NULL};
    struct serve s = {.file = NULL};
    struct err err = ERR_INIT;
    int rc;

    config_init(&s.config);
    argp_parse(&parser, argc, argv, 0, NULL, &s);
    if (read_settings(&s, &err) != ST_OK) {
        fprintf(stderr, "engram: %s\n", err.msg);
        rc = 1;
    } else {
        rc = run(&s.config);
    }
    for (size_t i = 0; i < s.sets.n; i++)
        heap_free(s.sets.p[i]);
    vec_free(&s.sets);
    config_fini(&s.config);
    return rc;
}
