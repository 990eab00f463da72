/* The log's bytes from outside: 'S' and a segment as it lies on disk; anything else is a row of
 * records (type, length 2 bytes, body) that a db replays and must stand afterwards. */
#include "base/clk.h"
#include "base/codec.h"
#include "base/heap.h"
#include "base/log.h"
#include "tsdb/db.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz_wal: %s\n", what);
        abort();
    }
}

static void quiet(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

static void segment(const uint8_t *p, size_t n)
{
    char dir[64] = "/tmp/engram-fuzz-wal-XXXXXX", path[FS_PATH_MAX];
    FILE *f;

    if (access("/dev/shm", W_OK) == 0)
        snprintf(dir, sizeof(dir), "/dev/shm/engram-fuzz-wal-XXXXXX");
    must(mkdtemp(dir) != NULL, "no folder");
    must(fs_join(path, dir, "0000000000000001.wal"), "path");
    f = fopen(path, "w");
    must(f && fwrite(p, 1, n, f) == n && fclose(f) == 0, "no file");
    (void)wal_check(fs_posix(), dir, quiet, NULL, NULL);
    must(fs_rmtree(fs_posix(), dir, NULL) == ST_OK, "folder stays");
}

static void records(const uint8_t *p, size_t n)
{
    struct db_opts o = {.fs = fs_posix(),
                        .clk = clk_system(),
                        .tenant = "t",
                        .ingester = "i",
                        .blocks_dir = "/nonexistent/engram",
                        .block_range_ms = 7200000,
                        .boot = 1};
    struct wal_record rec = {.tenant = SV("t")};
    struct cur c = cur_of(sv_make(p, n));
    struct err err = ERR_INIT;
    struct db *d;

    must(db_open(&o, &d, &err) == ST_OK, err.msg);
    while (cur_left(&c) >= 3) {
        size_t want;
        char *body;

        rec.type = cur_u8(&c);
        want = cur_be16(&c);
        if (want > cur_left(&c))
            want = cur_left(&c);
        /* a copy of its own, so that reading past it is seen */
        body = heap_dup(c.p, want);
        cur_bytes(&c, want);
        rec.body = sv_make(body, want);
        rec.pos++;
        (void)db_replay(d, &rec, &err);
        heap_free(body);
    }
    must(db_check(d, &err) == ST_OK, err.msg);
    db_set_wal(d, NULL);
    must(db_check(d, &err) == ST_OK, err.msg);
    db_close(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    log_set_level(LOG_ERROR + 1);
    if (n && p[0] == 'S')
        segment(p + 1, n - 1);
    else
        records(p, n);
    return 0;
}
