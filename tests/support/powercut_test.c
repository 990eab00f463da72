/* Does powercut.c forget what was not synced, and nothing else? Each case runs a scenario of
 * powercut_child.c in a fresh folder and looks at what is left. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

/* The bytes it told on stdout. It must have been killed. */
static size_t run(const char *scenario, bool preload, const char *env)
{
    char watched[512], told[65536], cmd[600];
    int out[2], status;
    size_t n = 0;
    ssize_t k;
    pid_t pid;

    snprintf(cmd, sizeof(cmd), "rm -rf %s %s.powercut && mkdir %s", dir, dir, dir);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(pipe(out), 0);
    pid = fork();
    if (pid == 0) {
        snprintf(watched, sizeof(watched), "POWERCUT_DIR=%s", dir);
        dup2(out[1], 1);
        if (preload) {
            setenv("LD_PRELOAD", getenv("POWERCUT_LIB"), 1);
            putenv(watched);
        }
        if (env)
            putenv((char *)env);
        execl(getenv("POWERCUT_CHILD"), "powercut_child", scenario, dir, (char *)NULL);
        _exit(4);
    }
    close(out[1]);
    while ((k = read(out[0], told, sizeof(told))) > 0)
        n += (size_t)k;
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return n;
}

static const char *content(const char *name)
{
    static char text[65536 + 1];
    char path[600];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_RDONLY);
    if (fd < 0)
        return errno == ENOENT ? "(absent)" : "(unreadable)";
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static bool there(const char *name)
{
    char path[600];
    struct stat sb;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return lstat(path, &sb) == 0;
}

static void a_mere_kill_forgets_nothing(void **state)
{
    (void)state;
    run("bytes", false, NULL);
    assert_string_equal(content("appended"), "durable lost");
    assert_string_equal(content("emptied"), "new");
}

static void unsynced_bytes_and_lengths_are_forgotten(void **state)
{
    (void)state;
    run("bytes", true, NULL);
    assert_string_equal(content("appended"), "durable");
    assert_string_equal(content("overwritten"), "durable");
    assert_string_equal(content("truncated"), "durable");
    assert_string_equal(content("emptied"), "durable");
    assert_string_equal(content("nosync"), "");
}

static void names_are_forgotten_unless_their_folder_was_synced(void **state)
{
    (void)state;
    run("names", true, NULL);
    assert_string_equal(content("a"), "a");
    assert_string_equal(content("b"), "b");
    assert_string_equal(content("gone"), "gone");
    assert_false(there("created"));
    assert_true(there("old"));
    assert_false(there("new"));
}

static void a_replaced_file_has_its_last_synced_content(void **state)
{
    (void)state;
    run("replaced", true, NULL);
    assert_string_equal(content("kept"), "two");
    assert_false(there("kept.tmp"));
}

static void a_renamed_folder_keeps_what_was_synced_in_it(void **state)
{
    (void)state;
    run("block", true, NULL);
    assert_string_equal(content("blocks/1/index"), "index");
    assert_false(there("blocks/1/late"));
    assert_false(there("blocks/1.tmp"));
    assert_string_equal(content("blocks/2.tmp/index"), "index");
    assert_false(there("blocks/2"));
}

static void a_dsync_write_outlasts_the_plain_ones_around_it(void **state)
{
    (void)state;
    run("dsync", true, NULL);
    assert_string_equal(content("db"), "....META........");
}

static void torn_writes_let_whole_sectors_through(void **state)
{
    const char *text;
    unsigned kept = 0;

    (void)state;
    run("torn", true, "POWERCUT_TORN=5");
    text = content("torn");
    assert_int_equal(strlen(text), 64 * 512);
    for (int s = 0; s < 64; s++) {
        for (int i = 1; i < 512; i++)
            assert_int_equal(text[s * 512 + i], text[s * 512]);
        assert_true(s >= 32 || text[s * 512] == 'o');
        kept += text[s * 512] == 'n';
    }
    assert_in_range(kept, 4, 28);
}

static void what_was_told_is_there_whenever_the_cut_comes(void **state)
{
    (void)state;
    for (int n = 5; n < 40; n++) {
        char env[64];
        size_t told;

        snprintf(env, sizeof(env), "POWERCUT_AFTER=%d", n);
        told = run("endless", true, env);
        if (n < 6)
            continue;
        assert_int_equal(strlen(content("log")), told);
        assert_true(n < 10 || told > 0);
    }
}

static void the_trace_shows_the_order_of_sync_and_reply(void **state)
{
    const char *const order[] = {" create 0 0 ", " write 0 6 ", " sync-begin ", " sync 6 0 ",
                                 " 17 HTTP/1.1_200_OK", " cut "};
    char env[600];
    const char *at;

    (void)state;
    snprintf(env, sizeof(env), "POWERCUT_TRACE=%s/trace", dir);
    run("reply", true, env);
    at = content("trace");
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        const char *next = strstr(at, order[i]);

        if (!next)
            fail_msg("no \"%s\" in: %s", order[i], at);
        at = next + 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mere_kill_forgets_nothing),
        cmocka_unit_test(unsynced_bytes_and_lengths_are_forgotten),
        cmocka_unit_test(names_are_forgotten_unless_their_folder_was_synced),
        cmocka_unit_test(a_replaced_file_has_its_last_synced_content),
        cmocka_unit_test(a_renamed_folder_keeps_what_was_synced_in_it),
        cmocka_unit_test(a_dsync_write_outlasts_the_plain_ones_around_it),
        cmocka_unit_test(torn_writes_let_whole_sectors_through),
        cmocka_unit_test(what_was_told_is_there_whenever_the_cut_comes),
        cmocka_unit_test(the_trace_shows_the_order_of_sync_and_reply),
    };
    char cmd[600];
    int r;

    snprintf(dir, sizeof(dir), "/tmp/powercut_test.%d", (int)getpid());
    r = RUN(tests);
    snprintf(cmd, sizeof(cmd), "rm -rf %s %s.powercut", dir, dir);
    return system(cmd) ? 1 : r;
}
