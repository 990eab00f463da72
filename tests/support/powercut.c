/* powercut - a power cut for one process: what was not synced is forgotten.
 *
 *   LD_PRELOAD=.../libpowercut.so POWERCUT_DIR=/path/to/data POWERCUT_AFTER=1234 engram serve ...
 *
 *   POWERCUT_DIR    folder that is watched; must exist. What is in it at the start counts as durable. A
 *                   folder POWERCUT_DIR.powercut beside it holds what undoing may need.
 *   POWERCUT_AFTER  the cut comes in place of the N-th changing call. SIGUSR2 cuts at once, too.
 *   POWERCUT_TORN   a seed: of each 512-byte sector that was written but not synced it is diced whether
 *                   it reached the disk. Without it none did.
 *   POWERCUT_TRACE  file; one line a call, in order of completion (`send` and `sync-begin`: of begin):
 *                       NS write OFFSET LENGTH PATH        NS truncate SIZE 0 PATH
 *                       NS sync-begin 0 0 PATH             NS sync SIZE_AT_BEGIN 0 PATH
 *                       NS create|rename|unlink|mkdir|rmdir 0 0 PATH
 *                       NS send FD LENGTH first-bytes
 *                   NS is CLOCK_MONOTONIC. A reply may leave only behind a `sync` whose `sync-begin` stands
 *                   behind the `write` of what it acknowledges.
 *
 * The cut undoes, in this process, everything that is not durable, then kills it with SIGKILL.
 *
 * What it models, more strictly than most file systems behave:
 *   - bytes and length of a file are durable once fsync() or fdatasync() on it has returned, and then as
 *     they were when it began; O_SYNC and O_DSYNC writes are durable when they return;
 *   - a name (create, link, mkdir, unlink, rmdir) is durable once its folder has been fsync'ed; syncing
 *     the file itself does not make its name durable; a rename, which is one step, once the folder of
 *     the new name has been;
 *   - what stands in a folder whose own name is lost is lost.
 * What it does not model: writes through mappings (LMDB's lock file, which is not durable data), stdio
 * (fopen, fdopen) and other calls inside libc that never pass a symbol, fcntl(F_DUPFD), raw system calls, several
 * processes on one folder, the write-back of the kernel after half a minute, disks that lie, and damage to
 * sectors that nobody wrote.
 */
/* Built with -U_FILE_OFFSET_BITS: both names of each call are defined, open() and open64(). */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 65536
#define SECTOR  512
#define EXPORT  __attribute__((visibility("default")))

/* A write or truncation that is not durable, with what it overwrote. */
struct rec {
    uint64_t seq;
    off_t off, old_size;
    size_t n, old_n;
    char *old;
};

struct inode {
    struct inode *next;
    dev_t dev;
    ino_t ino;
    int fd; /* our own, for reading and restoring */
    unsigned opens;
    struct rec *recs;
    size_t recs_n, recs_cap;
};

enum kind { CREATE, MKDIR, RENAME, UNLINK, RMDIR };

/* A change of names that is not durable. path: where the entry is now; dir: whose fsync makes it
 * durable; from: a rename's old name; backup: where what it removed is kept, or "". */
struct op {
    enum kind kind;
    uint64_t seq;
    char *path, *dir, *from, *backup;
};

struct fdent {
    struct inode *ino;
    bool append, dsync;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct fdent fds[FDS_MAX];
static struct inode *inodes;
static struct op *ops;
static size_t ops_n, ops_cap;
static uint64_t seq, calls, cut_after, backups, torn;
static char top[PATH_MAX], vault[PATH_MAX];
static size_t top_n;
static int trace_fd = -1;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_posix_fallocate)(int, off_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_link)(const char *, const char *);
static int (*real_unlink)(const char *);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_rmdir)(const char *);
static int (*real_dup)(int);
static int (*real_dup2)(int, int);
static ssize_t (*real_send)(int, const void *, size_t, int);
static ssize_t (*real_sendto)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
static ssize_t (*real_sendmsg)(int, const struct msghdr *, int);

static void die(const char *what)
{
    dprintf(2, "powercut: %s: %s\n", what, strerror(errno));
    abort();
}

static void *must(void *p)
{
    if (!p)
        die("memory");
    return p;
}

static void *next_of(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);

    if (!p) {
        dprintf(2, "powercut: no %s()\n", name);
        abort();
    }
    return p;
}

static void cut(void) __attribute__((noreturn));

static void *wait_for_signal(void *arg)
{
    sigset_t set;
    int sig;

    (void)arg;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    while (sigwait(&set, &sig) != 0)
        ;
    pthread_mutex_lock(&lock);
    cut();
}

static void start_watcher(void)
{
    pthread_t t;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* threads made later inherit it */
    if (pthread_create(&t, NULL, wait_for_signal, NULL) == 0)
        pthread_detach(t);
}

static void init(void)
{
    const char *dir = getenv("POWERCUT_DIR"), *after = getenv("POWERCUT_AFTER"),
               *trace = getenv("POWERCUT_TRACE"), *seed = getenv("POWERCUT_TORN");

#define REAL(name) real_##name = (__typeof__(real_##name))next_of(#name)
    REAL(open), REAL(close), REAL(write), REAL(pwrite), REAL(writev), REAL(pwritev);
    REAL(ftruncate), REAL(fallocate), REAL(posix_fallocate), REAL(fsync), REAL(fdatasync);
    REAL(rename), REAL(link), REAL(unlink), REAL(mkdir), REAL(rmdir), REAL(dup), REAL(dup2);
    REAL(send), REAL(sendto), REAL(sendmsg);
    if (!dir)
        return;
    if (!realpath(dir, top))
        die("POWERCUT_DIR");
    top_n = strlen(top);
    snprintf(vault, sizeof(vault), "%.*s.powercut", PATH_MAX - 16, top);
    if (real_mkdir(vault, 0700) != 0 && errno != EEXIST)
        die("making the vault");
    cut_after = after ? strtoull(after, NULL, 10) : 0;
    torn = seed ? strtoull(seed, NULL, 10) * 2 + 1 : 0;
    if (trace)
        trace_fd = real_open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

__attribute__((constructor)) static void begin(void)
{
    pthread_once(&once, init);
    if (top_n)
        start_watcher();
}

static void trace_line(const char *what, long long a, long long b, const char *text)
{
    struct timespec ts;
    char line[PATH_MAX + 128];
    int n;

    if (trace_fd < 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    n = snprintf(line, sizeof(line), "%lld %s %lld %lld %s\n",
                 (long long)ts.tv_sec * 1000000000 + ts.tv_nsec, what, a, b, text);
    real_write(trace_fd, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

/* ---- paths ---- */

static bool inside(const char *path)
{
    return top_n && strncmp(path, top, top_n) == 0 && (path[top_n] == '/' || path[top_n] == 0);
}

/* Absolute, the folder resolved, the last part as it is. false when the folder is not there. */
static bool absolute(const char *path, char out[PATH_MAX])
{
    char dir[PATH_MAX], *slash;
    const char *last;
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 0 || n >= PATH_MAX)
        return false;
    memcpy(dir, path, n);
    dir[n] = 0;
    slash = strrchr(dir, '/');
    last = slash ? path + (slash - dir) + 1 : path;
    n -= (size_t)(last - path);
    if (slash == dir)
        dir[1] = 0;
    else if (slash)
        *slash = 0;
    if (!realpath(slash ? dir : ".", out) || strlen(out) + n + 2 > PATH_MAX)
        return false;
    if (strcmp(out, "/") != 0)
        strcat(out, "/");
    strncat(out, last, n);
    return true;
}

static bool path_of_fd(int fd, char out[PATH_MAX])
{
    char link_path[64];
    ssize_t n;

    snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", fd);
    n = readlink(link_path, out, PATH_MAX - 1);
    if (n <= 0)
        return false;
    out[n] = 0;
    return true;
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return must(strndup(path, slash > path ? (size_t)(slash - path) : 1));
}

/* ---- names ---- */

/* An entry moved: records that speak of it, or of what is under it, follow. */
static void follow(size_t upto, const char *from, const char *to)
{
    size_t n = strlen(from);

    for (size_t i = 0; i < upto; i++) {
        char **fields[] = {&ops[i].path, &ops[i].dir, &ops[i].from};

        if (strcmp(ops[i].path, from) == 0 && strncmp(to, vault, strlen(vault)) != 0) {
            free(ops[i].dir);
            ops[i].dir = parent_of(to);
        }
        for (int f = 0; f < 3; f++) {
            char *old = *fields[f];

            if (!old || strncmp(old, from, n) != 0 || (old[n] != '/' && old[n] != 0))
                continue;
            /* A rename's old name belongs to whoever takes it next; only its folder can move. */
            if (f == 2 && old[n] == 0)
                continue;
            if (asprintf(fields[f], "%s%s", to, old + n) < 0)
                die("memory");
            free(old);
        }
    }
}

static void add_op(enum kind kind, const char *path, const char *from, const char *backup)
{
    static const char *const names[] = {"create", "mkdir", "rename", "unlink", "rmdir"};

    if (ops_n == ops_cap) {
        ops_cap = ops_cap ? ops_cap * 2 : 64;
        ops = must(realloc(ops, ops_cap * sizeof(*ops)));
    }
    ops[ops_n++] = (struct op){kind, ++seq, must(strdup(path)), parent_of(path),
                               from ? must(strdup(from)) : NULL, must(strdup(backup))};
    trace_line(names[kind], 0, 0, path);
}

static void free_op(struct op *o)
{
    free(o->path);
    free(o->dir);
    free(o->from);
    free(o->backup);
}

/* A second name for what is about to go, outside the folder; "" when nothing is there. */
static void keep(const char *path, char out[PATH_MAX])
{
    struct stat sb;

    out[0] = 0;
    if (lstat(path, &sb) != 0 || S_ISDIR(sb.st_mode))
        return;
    snprintf(out, PATH_MAX, "%.*s/%d-%llu", PATH_MAX - 64, vault, (int)getpid(),
             (unsigned long long)++backups);
    if (real_link(path, out) != 0)
        die("keeping a file");
}

/* The folder was synced: its names as of `upto` are durable. */
static void names_durable(const char *dir, uint64_t upto)
{
    size_t kept = 0;

    for (size_t i = 0; i < ops_n; i++) {
        if (ops[i].seq <= upto && strcmp(ops[i].dir, dir) == 0) {
            if (ops[i].backup[0])
                real_unlink(ops[i].backup);
            free_op(&ops[i]);
        } else {
            ops[kept++] = ops[i];
        }
    }
    ops_n = kept;
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        char *sub;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (asprintf(&sub, "%s/%s", path, e->d_name) < 0)
            die("memory");
        if (real_unlink(sub) != 0)
            remove_tree(sub);
        free(sub);
    }
    if (d)
        closedir(d);
    real_rmdir(path);
}

static void undo_names(void)
{
    while (ops_n) {
        struct op *o = &ops[--ops_n];

        switch (o->kind) {
        case CREATE: real_unlink(o->path); break;
        case MKDIR: remove_tree(o->path); break;
        case RMDIR: real_mkdir(o->path, 0755); break;
        case RENAME:
            real_rename(o->path, o->from);
            follow(ops_n, o->path, o->from);
            /* fall through */
        case UNLINK:
            if (o->backup[0]) {
                real_rename(o->backup, o->path);
                follow(ops_n, o->backup, o->path);
            }
        }
        free_op(o);
    }
}

/* ---- bytes ---- */

static struct inode *inode_of(int fd)
{
    struct inode *i;
    struct stat sb;
    char path[64];

    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode))
        return NULL;
    for (i = inodes; i; i = i->next)
        if (i->dev == sb.st_dev && i->ino == sb.st_ino)
            return i;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    i = must(calloc(1, sizeof(*i)));
    *i = (struct inode){.next = inodes, .dev = sb.st_dev, .ino = sb.st_ino};
    i->fd = real_open(path, O_RDWR | O_CLOEXEC);
    if (i->fd < 0)
        die("opening a file a second time");
    return inodes = i;
}

static void inode_drop(struct inode *i)
{
    struct inode **at = &inodes;

    if (i->opens || i->recs_n)
        return;
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    real_close(i->fd);
    free(i->recs);
    free(i);
}

static off_t size_of(const struct inode *i)
{
    struct stat sb;

    return fstat(i->fd, &sb) == 0 ? sb.st_size : 0;
}

/* Remembers what stands at [off, off + n) and the file's length. */
static void remember(struct inode *i, off_t off, size_t n)
{
    struct rec r = {.seq = ++seq, .off = off, .n = n, .old_size = size_of(i)};

    if (off < r.old_size) {
        r.old_n = r.old_size - off < (off_t)n ? (size_t)(r.old_size - off) : n;
        r.old = must(malloc(r.old_n));
        if (pread(i->fd, r.old, r.old_n, off) != (ssize_t)r.old_n)
            die("reading what is overwritten");
    }
    if (i->recs_n == i->recs_cap) {
        i->recs_cap = i->recs_cap ? i->recs_cap * 2 : 16;
        i->recs = must(realloc(i->recs, i->recs_cap * sizeof(*i->recs)));
    }
    i->recs[i->recs_n++] = r;
}

/* A write that was durable at once: undoing what came before must not undo it. */
static void outlast(struct inode *i, off_t off, const char *p, size_t n)
{
    for (size_t k = 0; k < i->recs_n; k++) {
        struct rec *r = &i->recs[k];
        off_t from = off > r->off ? off : r->off, to = r->off + (off_t)r->old_n;

        if (to > off + (off_t)n)
            to = off + (off_t)n;
        if (from < to)
            memcpy(r->old + (from - r->off), p + (from - off), (size_t)(to - from));
        if (r->old_size < off + (off_t)n)
            r->old_size = off + (off_t)n;
    }
}

static void bytes_durable(struct inode *i, uint64_t upto)
{
    size_t kept = 0;

    for (size_t k = 0; k < i->recs_n; k++) {
        if (i->recs[k].seq <= upto)
            free(i->recs[k].old);
        else
            i->recs[kept++] = i->recs[k];
    }
    i->recs_n = kept;
}

static uint64_t dice(void)
{
    torn ^= torn << 13;
    torn ^= torn >> 7;
    torn ^= torn << 17;
    return torn;
}

/* What the file held at the cut, range by range, to let some sectors of it through. */
static void undo_bytes(struct inode *i)
{
    size_t n = i->recs_n;
    off_t size = size_of(i);
    char **now = must(calloc(n + 1, sizeof(*now)));

    for (size_t k = 0; k < n && torn; k++) {
        struct rec *r = &i->recs[k];

        r->n = r->off >= size ? 0 : r->off + (off_t)r->n > size ? (size_t)(size - r->off) : r->n;
        now[k] = must(malloc(r->n + 1));
        if (pread(i->fd, now[k], r->n, r->off) != (ssize_t)r->n)
            die("reading what was written");
    }
    for (size_t k = n; k--;) {
        struct rec *r = &i->recs[k];

        if (r->old_n && real_pwrite(i->fd, r->old, r->old_n, r->off) != (ssize_t)r->old_n)
            die("restoring bytes");
        if (real_ftruncate(i->fd, r->old_size) != 0)
            die("restoring a length");
    }
    for (size_t k = 0; k < n && torn; k++) {
        struct rec *r = &i->recs[k];

        for (size_t at = 0, len; at < r->n; at += len) {
            len = SECTOR - (size_t)((r->off + (off_t)at) % SECTOR);
            if (len > r->n - at)
                len = r->n - at;
            if (dice() >> 40 & 1 &&
                real_pwrite(i->fd, now[k] + at, len, r->off + (off_t)at) != (ssize_t)len)
                die("letting a sector through");
        }
    }
}

/* With the lock, which is never given back: nobody changes anything any more. */
static void cut(void)
{
    trace_line("cut", (long long)calls, 0, top);
    for (struct inode *i = inodes; i; i = i->next)
        undo_bytes(i);
    undo_names();
    remove_tree(vault);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Before each changing call. */
static void enter(void)
{
    pthread_mutex_lock(&lock);
    if (cut_after && ++calls >= cut_after)
        cut();
}

static void leave(void)
{
    int e = errno;

    pthread_mutex_unlock(&lock);
    errno = e;
}

static struct fdent *tracked(int fd)
{
    pthread_once(&once, init);
    return top_n && fd >= 0 && fd < FDS_MAX && fds[fd].ino ? &fds[fd] : NULL;
}

static void trace_fd_call(const char *what, long long a, long long b, int fd)
{
    char path[PATH_MAX];

    if (trace_fd >= 0 && path_of_fd(fd, path))
        trace_line(what, a, b, path);
}

/* ---- the calls ---- */

static void forget_fd(int fd)
{
    struct inode *i = fds[fd].ino;

    fds[fd].ino = NULL;
    i->opens--;
    inode_drop(i);
}

static int do_open(const char *path, int flags, mode_t mode)
{
    char abs[PATH_MAX];
    struct stat sb;
    bool there;
    int fd;

    pthread_once(&once, init);
    if (!top_n || (flags & O_DIRECTORY) || (flags & O_ACCMODE) == O_RDONLY ||
        !absolute(path, abs) || !inside(abs))
        return real_open(path, flags, mode);
    there = stat(abs, &sb) == 0;
    if (there && !(flags & O_TRUNC)) {
        pthread_mutex_lock(&lock);
    } else {
        enter();
        there = stat(abs, &sb) == 0;
    }
    if (there && (flags & O_TRUNC) && !(flags & O_EXCL) && sb.st_size) {
        int own = real_open(abs, O_RDWR | O_CLOEXEC);
        struct inode *i = own >= 0 ? inode_of(own) : NULL;

        if (i)
            remember(i, 0, (size_t)sb.st_size);
        if (own >= 0)
            real_close(own);
    }
    fd = real_open(path, flags, mode);
    if (fd >= 0 && fd < FDS_MAX) {
        struct inode *i = inode_of(fd);

        if (i) {
            i->opens++;
            if (fds[fd].ino) /* closed behind our back */
                forget_fd(fd);
            fds[fd] = (struct fdent){i, flags & O_APPEND, flags & (O_SYNC | O_DSYNC)};
            if (!there)
                add_op(CREATE, abs, NULL, "");
        }
    }
    leave();
    return fd;
}

static mode_t mode_arg(int flags, va_list ap)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define OPEN_BODY                                \
    va_list ap;                                  \
    mode_t mode;                                 \
                                                 \
    va_start(ap, flags);                         \
    mode = mode_arg(flags, ap);                  \
    va_end(ap);

EXPORT int open(const char *path, int flags, ...)
{
    OPEN_BODY
    return do_open(path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
    OPEN_BODY
    return do_open(path, flags, mode);
}

static const char *at_path(int dirfd, const char *path, char buf[PATH_MAX])
{
    char dir[PATH_MAX];

    if (path[0] == '/' || dirfd == AT_FDCWD || !path_of_fd(dirfd, dir))
        return path;
    snprintf(buf, PATH_MAX, "%.*s/%s", PATH_MAX / 2, dir, path);
    return buf;
}

EXPORT int openat(int dirfd, const char *path, int flags, ...)
{
    char buf[PATH_MAX];
    OPEN_BODY
    return do_open(at_path(dirfd, path, buf), flags, mode);
}

EXPORT int openat64(int dirfd, const char *path, int flags, ...)
{
    char buf[PATH_MAX];
    OPEN_BODY
    return do_open(at_path(dirfd, path, buf), flags, mode);
}

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
EXPORT int __open_2(const char *path, int flags)
{
    return do_open(path, flags, 0);
}
EXPORT int __open64_2(const char *path, int flags)
{
    return do_open(path, flags, 0);
}
EXPORT int creat(const char *path, mode_t mode)
{
    return do_open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
EXPORT int creat64(const char *path, mode_t mode)
{
    return do_open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

EXPORT int close(int fd)
{
    int r;

    if (!tracked(fd))
        return real_close(fd);
    pthread_mutex_lock(&lock);
    forget_fd(fd);
    r = real_close(fd);
    leave();
    return r;
}

static int duplicated(int from, int to)
{
    if (to >= 0 && to < FDS_MAX && from != to && tracked(from)) {
        fds[to] = fds[from];
        fds[to].ino->opens++;
    }
    return to;
}

EXPORT int dup(int fd)
{
    int r;

    if (!tracked(fd))
        return real_dup(fd);
    pthread_mutex_lock(&lock);
    r = duplicated(fd, real_dup(fd));
    leave();
    return r;
}

EXPORT int dup2(int fd, int to)
{
    int r;

    pthread_once(&once, init);
    pthread_mutex_lock(&lock);
    if (fd != to && tracked(to))
        forget_fd(to);
    r = duplicated(fd, real_dup2(fd, to));
    leave();
    return r;
}

/* One write of bytes in a row; at -1: at the file's position. */
static ssize_t do_write(struct fdent *f, int fd, const void *p, size_t n, off_t at)
{
    off_t off = at;
    ssize_t r;

    enter();
    if (at < 0)
        off = f->append ? size_of(f->ino) : lseek(fd, 0, SEEK_CUR);
    remember(f->ino, off, n);
    r = at < 0 ? real_write(fd, p, n) : real_pwrite(fd, p, n, at);
    if (f->dsync && r > 0) {
        free(f->ino->recs[--f->ino->recs_n].old);
        outlast(f->ino, off, p, (size_t)r);
    }
    if (r >= 0) {
        trace_fd_call("write", off, r, fd);
        if (f->dsync)
            trace_fd_call("sync", size_of(f->ino), 0, fd);
    }
    leave();
    return r;
}

static bool is_socket(int fd)
{
    struct stat sb;

    return trace_fd >= 0 && fstat(fd, &sb) == 0 && S_ISSOCK(sb.st_mode);
}

static void trace_send(int fd, const void *p, size_t n)
{
    char text[33];
    size_t k;

    for (k = 0; k < n && k < sizeof(text) - 1; k++) {
        unsigned char c = ((const unsigned char *)p)[k];

        text[k] = (char)(c > ' ' && c < 0x7f ? c : '_');
    }
    text[k] = 0;
    pthread_mutex_lock(&lock);
    trace_line("send", fd, (long long)n, text);
    leave();
}

EXPORT ssize_t write(int fd, const void *p, size_t n)
{
    struct fdent *f = tracked(fd);

    if (f)
        return do_write(f, fd, p, n, -1);
    if (is_socket(fd))
        trace_send(fd, p, n);
    return real_write(fd, p, n);
}

EXPORT ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
    struct fdent *f = tracked(fd);

    return f ? do_write(f, fd, p, n, off) : real_pwrite(fd, p, n, off);
}

EXPORT ssize_t pwrite64(int fd, const void *p, size_t n, off_t off)
{
    return pwrite(fd, p, n, off);
}

static ssize_t do_writev(struct fdent *f, int fd, const struct iovec *v, int vn, off_t at)
{
    size_t n = 0, k = 0;
    ssize_t r;
    char *p;

    for (int i = 0; i < vn; i++)
        n += v[i].iov_len;
    p = must(malloc(n + 1));
    for (int i = 0; i < vn; k += v[i++].iov_len)
        memcpy(p + k, v[i].iov_base, v[i].iov_len);
    r = do_write(f, fd, p, n, at);
    free(p);
    return r;
}

EXPORT ssize_t writev(int fd, const struct iovec *v, int vn)
{
    struct fdent *f = tracked(fd);

    if (f)
        return do_writev(f, fd, v, vn, -1);
    if (vn > 0 && is_socket(fd))
        trace_send(fd, v[0].iov_base, v[0].iov_len);
    return real_writev(fd, v, vn);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *v, int vn, off_t off)
{
    struct fdent *f = tracked(fd);

    return f ? do_writev(f, fd, v, vn, off) : real_pwritev(fd, v, vn, off);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *v, int vn, off_t off)
{
    return pwritev(fd, v, vn, off);
}

EXPORT int ftruncate(int fd, off_t n)
{
    struct fdent *f = tracked(fd);
    off_t size;
    int r;

    if (!f)
        return real_ftruncate(fd, n);
    enter();
    size = size_of(f->ino);
    remember(f->ino, n < size ? n : size, n < size ? (size_t)(size - n) : (size_t)(n - size));
    r = real_ftruncate(fd, n);
    trace_fd_call("truncate", n, 0, fd);
    leave();
    return r;
}

EXPORT int ftruncate64(int fd, off_t n)
{
    return ftruncate(fd, n);
}

EXPORT int fallocate(int fd, int mode, off_t off, off_t n)
{
    struct fdent *f = tracked(fd);
    int r;

    if (!f)
        return real_fallocate(fd, mode, off, n);
    enter();
    remember(f->ino, off, (size_t)n);
    r = real_fallocate(fd, mode, off, n);
    leave();
    return r;
}

EXPORT int posix_fallocate(int fd, off_t off, off_t n)
{
    struct fdent *f = tracked(fd);
    int r;

    if (!f)
        return real_posix_fallocate(fd, off, n);
    enter();
    remember(f->ino, off, (size_t)n);
    r = real_posix_fallocate(fd, off, n);
    leave();
    return r;
}

EXPORT int fallocate64(int fd, int mode, off_t off, off_t n)
{
    return fallocate(fd, mode, off, n);
}

EXPORT int posix_fallocate64(int fd, off_t off, off_t n)
{
    return posix_fallocate(fd, off, n);
}

/* What was there when it began is durable when it has returned. The lock is not held meanwhile. */
static int do_sync(int fd, int (*real)(int))
{
    char path[PATH_MAX] = "";
    struct stat sb;
    uint64_t upto;
    bool file, dir;
    int r;

    pthread_once(&once, init);
    file = tracked(fd);
    dir = !file && top_n && fstat(fd, &sb) == 0 && S_ISDIR(sb.st_mode) && path_of_fd(fd, path) &&
          inside(path);
    if (!file && !dir)
        return real(fd);
    enter();
    upto = seq;
    sb.st_size = file ? size_of(fds[fd].ino) : 0;
    trace_fd_call("sync-begin", 0, 0, fd);
    leave();
    r = real(fd);
    pthread_mutex_lock(&lock);
    if (r == 0) {
        if (dir)
            names_durable(path, upto);
        else if (fds[fd].ino)
            bytes_durable(fds[fd].ino, upto);
        trace_fd_call("sync", sb.st_size, 0, fd);
    }
    leave();
    return r;
}

EXPORT int fsync(int fd)
{
    return do_sync(fd, (pthread_once(&once, init), real_fsync));
}

EXPORT int fdatasync(int fd)
{
    return do_sync(fd, (pthread_once(&once, init), real_fdatasync));
}

EXPORT int rename(const char *from, const char *to)
{
    char a[PATH_MAX], b[PATH_MAX], backup[PATH_MAX];
    int r;

    pthread_once(&once, init);
    if (!top_n || !absolute(from, a) || !absolute(to, b) || !inside(a) || !inside(b))
        return real_rename(from, to);
    enter();
    keep(b, backup);
    r = real_rename(from, to);
    if (r != 0 || strcmp(a, b) == 0) {
        if (backup[0])
            real_unlink(backup);
    } else {
        if (backup[0])
            follow(ops_n, b, backup);
        follow(ops_n, a, b);
        add_op(RENAME, b, a, backup);
    }
    leave();
    return r;
}

EXPORT int renameat(int da, const char *from, int db, const char *to)
{
    char a[PATH_MAX], b[PATH_MAX];

    return rename(at_path(da, from, a), at_path(db, to, b));
}

EXPORT int link(const char *from, const char *to)
{
    char b[PATH_MAX];
    int r;

    pthread_once(&once, init);
    if (!top_n || !absolute(to, b) || !inside(b))
        return real_link(from, to);
    enter();
    r = real_link(from, to);
    if (r == 0)
        add_op(CREATE, b, NULL, "");
    leave();
    return r;
}

EXPORT int unlink(const char *path)
{
    char a[PATH_MAX], backup[PATH_MAX];
    int r;

    pthread_once(&once, init);
    if (!top_n || !absolute(path, a) || !inside(a))
        return real_unlink(path);
    enter();
    keep(a, backup);
    r = real_unlink(path);
    if (r == 0) {
        follow(ops_n, a, backup);
        add_op(UNLINK, a, NULL, backup);
    } else if (backup[0]) {
        real_unlink(backup);
    }
    leave();
    return r;
}

EXPORT int mkdir(const char *path, mode_t mode)
{
    char a[PATH_MAX];
    int r;

    pthread_once(&once, init);
    if (!top_n || !absolute(path, a) || !inside(a))
        return real_mkdir(path, mode);
    enter();
    r = real_mkdir(path, mode);
    if (r == 0)
        add_op(MKDIR, a, NULL, "");
    leave();
    return r;
}

EXPORT int rmdir(const char *path)
{
    char a[PATH_MAX];
    int r;

    pthread_once(&once, init);
    if (!top_n || !absolute(path, a) || !inside(a))
        return real_rmdir(path);
    enter();
    r = real_rmdir(path);
    if (r == 0)
        add_op(RMDIR, a, NULL, "");
    leave();
    return r;
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
    char buf[PATH_MAX];

    return flags & AT_REMOVEDIR ? rmdir(at_path(dirfd, path, buf))
                                : unlink(at_path(dirfd, path, buf));
}

EXPORT int mkdirat(int dirfd, const char *path, mode_t mode)
{
    char buf[PATH_MAX];

    return mkdir(at_path(dirfd, path, buf), mode);
}

EXPORT ssize_t send(int fd, const void *p, size_t n, int flags)
{
    pthread_once(&once, init);
    if (trace_fd >= 0)
        trace_send(fd, p, n);
    return real_send(fd, p, n, flags);
}

EXPORT ssize_t sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *to,
                      socklen_t to_n)
{
    pthread_once(&once, init);
    if (trace_fd >= 0)
        trace_send(fd, p, n);
    return real_sendto(fd, p, n, flags, to, to_n);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    pthread_once(&once, init);
    if (trace_fd >= 0 && m->msg_iovlen)
        trace_send(fd, m->msg_iov[0].iov_base, m->msg_iov[0].iov_len);
    return real_sendmsg(fd, m, flags);
}
