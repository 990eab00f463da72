/* engram check config|data|block|wal PATH: verifies, says what is wrong where; 0 sound, 1 not. */
#include "cmd.h"

#include "base/fs.h"
#include "config.h"
#include "tsdb/block.h"
#include "tsdb/wal.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

struct check {
    const char *what, *path;
    size_t findings, blocks;
};

static error_t option(int key, char *arg, struct argp_state *state)
{
    struct check *c = state->input;

    switch (key) {
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            c->what = arg;
        else if (state->arg_num == 1)
            c->path = arg;
        else
            argp_error(state, "unexpected argument \"%s\"", arg);
        return 0;
    case ARGP_KEY_END:
        if (!c->path)
            argp_error(state, "wants config, data, block or wal, and a PATH");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void say(void *arg, const char *text)
{
    struct check *c = arg;

    c->findings++;
    printf("%s\n", text);
}

static void check_block(struct check *c, const char *dir)
{
    struct err err = ERR_INIT;
    size_t before = c->findings;

    c->blocks++;
    if (block_check(fs_posix(), dir, say, c, &err) != ST_OK && c->findings == before)
        say(c, err.msg);
}

static void check_wal(struct check *c, const char *dir)
{
    struct err err = ERR_INIT;
    size_t before = c->findings;

    if (wal_check(fs_posix(), dir, say, c, &err) != ST_OK && c->findings == before)
        say(c, err.msg);
}

/* Every <ULID> folder below dir, tenants' folders between; what was quarantined is a finding. */
static void check_blocks_below(struct check *c, const char *dir, int depth)
{
    struct fs_names names;
    struct err err = ERR_INIT;

    if (fs_list(fs_posix(), dir, &names, &err) != ST_OK)
        return;
    for (size_t i = 0; i < names.n; i++) {
        char path[FS_PATH_MAX], text[FS_PATH_MAX + 64];

        if (!fs_join(path, dir, names.p[i]))
            continue;
        if (ulid_valid(sv_of(names.p[i]))) {
            check_block(c, path);
        } else if (sv_ends(sv_of(names.p[i]), SV(".bad"))) {
            snprintf(text, sizeof(text), "%s: a damaged block, set aside", path);
            say(c, text);
        } else if (depth > 0) {
            check_blocks_below(c, path, depth - 1);
        }
    }
    fs_names_free(&names);
}

static void check_data(struct check *c, const char *dir)
{
    static const char *const parts[] = {"blocks", "bucket"};
    char path[FS_PATH_MAX];

    if (fs_join(path, dir, "wal") && fs_exists(fs_posix(), path))
        check_wal(c, path);
    for (int i = 0; i < 2; i++)
        if (fs_join(path, dir, parts[i]))
            check_blocks_below(c, path, 1);
    printf("%s: %zu blocks looked at\n", dir, c->blocks);
}

static int check_config(const char *path)
{
    struct config c;
    struct err err = ERR_INIT;
    int rc = 0;

    config_init(&c);
    if (config_load(&c, path, &err) != ST_OK || config_check(&c, &err) != ST_OK) {
        printf("%s\n", err.msg);
        rc = 1;
    }
    config_fini(&c);
    return rc;
}

int cmd_check(int argc, char **argv)
{
    static const struct argp parser = {
        NULL,
        option,
        "config|data|block|wal PATH",
        "Verifies a settings file, a data folder, a block's folder or a log's folder.\v"
        "Prints a line for each finding. Exit status 0: sound, 1: not.",
        NULL,
        NULL,
        NULL};
    struct check c = {0};

    argp_parse(&parser, argc, argv, 0, NULL, &c);
    if (!fs_exists(fs_posix(), c.path)) {
        fprintf(stderr, "engram: check: no such path: %s\n", c.path);
        return 1;
    }
    if (sv_is(sv_of(c.what), "config")) {
        c.findings = (size_t)check_config(c.path);
    } else if (sv_is(sv_of(c.what), "block")) {
        check_block(&c, c.path);
    } else if (sv_is(sv_of(c.what), "wal")) {
        check_wal(&c, c.path);
    } else if (sv_is(sv_of(c.what), "data")) {
        check_data(&c, c.path);
    } else {
        fprintf(stderr, "engram: check: \"%s\" is not config, data, block or wal\n", c.what);
        return 1;
    }
    if (c.findings == 0)
        printf("%s: sound\n", c.path);
    return c.findings ? 1 : 0;
}
