/* What powercut_test.c runs under powercut.c: one scenario in the folder given, ended by a power cut.
 * Built without sanitizers, which want to be loaded first. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(int ok, int line)
{
    if (!ok) {
        fprintf(stderr, "powercut_child: line %d: %s\n", line, strerror(errno));
        exit(3);
    }
}
#define MUST(x) must((x), __LINE__)

static void sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);

    MUST(fd >= 0 && fsync(fd) == 0 && close(fd) == 0);
}

static int put(const char *path, int flags, const char *text, int sync)
{
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0644);

    MUST(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    MUST(!sync || fdatasync(fd) == 0);
    return fd;
}

static void bytes(void)
{
    int fd = put("appended", 0, "durable", 1);
    int over = put("overwritten", 0, "durable", 1), cut = put("truncated", 0, "durable", 1),
        emptied = put("emptied", 0, "durable", 1), opened = put("nosync", 0, "", 1);

    sync_dir(".");
    MUST(write(fd, " lost", 5) == 5);
    MUST(pwrite(over, "LOST", 4, 0) == 4 && pwrite(over, "lost", 4, 10) == 4);
    MUST(ftruncate(cut, 3) == 0 && write(cut, "x", 1) == 1);
    MUST(close(emptied) == 0);
    put("emptied", O_TRUNC, "new", 0);
    MUST(write(opened, "lost", 4) == 4);
}

static void names(void)
{
    MUST(mkdir("old", 0755) == 0);
    put("a", 0, "a", 1);
    put("b", 0, "b", 1);
    put("gone", 0, "gone", 1);
    sync_dir(".");
    put("created", 0, "x", 1); /* synced itself, but not its name */
    MUST(rename("a", "b") == 0);
    MUST(unlink("gone") == 0);
    put("gone", 0, "another", 1);
    MUST(rmdir("old") == 0);
    MUST(mkdir("new", 0755) == 0);
    put("new/file", 0, "x", 1);
    sync_dir("new"); /* in a folder whose name is lost */
}

static void write_whole(const char *path, const char *text)
{
    char tmp[64];

    snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    put(tmp, O_TRUNC, text, 1);
    MUST(rename(tmp, path) == 0);
}

static void replaced(void)
{
    write_whole("kept", "one");
    write_whole("kept", "two");
    sync_dir(".");
    write_whole("kept", "three");
    write_whole("kept", "four");
}

static void block(void)
{
    MUST(mkdir("blocks", 0755) == 0);
    sync_dir(".");
    MUST(mkdir("blocks/1.tmp", 0755) == 0);
    put("blocks/1.tmp/index", 0, "index", 1);
    sync_dir("blocks/1.tmp");
    put("blocks/1.tmp/late", 0, "late", 1);
    MUST(rename("blocks/1.tmp", "blocks/1") == 0);
    sync_dir("blocks");
    MUST(mkdir("blocks/2.tmp", 0755) == 0);
    put("blocks/2.tmp/index", 0, "index", 1);
    sync_dir("blocks/2.tmp");
    sync_dir("blocks");
    MUST(rename("blocks/2.tmp", "blocks/2") == 0);
}

/* O_DSYNC through one descriptor, plain writes through another, as LMDB does. */
static void dsync(void)
{
    int plain = put("db", 0, "................", 1), meta;

    sync_dir(".");
    meta = open("db", O_WRONLY | O_DSYNC);
    MUST(pwrite(plain, "lostlostlost", 12, 0) == 12);
    MUST(pwrite(meta, "META", 4, 4) == 4);
}

static void torn(void)
{
    static char old[64 * 512], new[64 * 512];
    int fd;

    memset(old, 'o', sizeof(old));
    memset(new, 'n', sizeof(new));
    fd = open("torn", O_WRONLY | O_CREAT, 0644);
    MUST(write(fd, old, sizeof(old)) == sizeof(old) && fdatasync(fd) == 0);
    sync_dir(".");
    MUST(pwrite(fd, new, sizeof(new) / 2, sizeof(new) / 2) == sizeof(new) / 2);
}

/* A log of bytes, each told on stdout once it is durable, until the power goes. */
static void endless(void)
{
    int fd = put("log", 0, "", 1);

    sync_dir(".");
    for (;;)
        MUST(write(fd, "x", 1) == 1 && fdatasync(fd) == 0 && write(1, "x", 1) == 1);
}

static void reply(void)
{
    int pair[2], fd = put("log", 0, "", 1);

    sync_dir(".");
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    MUST(write(fd, "record", 6) == 6 && fdatasync(fd) == 0);
    MUST(send(pair[0], "HTTP/1.1 200 OK\r\n", 17, 0) == 17);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(void);
    } all[] = {{"bytes", bytes}, {"names", names}, {"replaced", replaced}, {"block", block},
               {"dsync", dsync}, {"torn", torn},   {"endless", endless},   {"reply", reply}};

    MUST(argc == 3 && chdir(argv[2]) == 0);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(argv[1], all[i].name) == 0)
            all[i].fn();
    kill(getpid(), getenv("LD_PRELOAD") ? SIGUSR2 : SIGKILL);
    for (;;)
        pause();
}
