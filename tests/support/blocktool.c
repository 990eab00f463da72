/* Writes, reads and checks blocks as text, for comparisons with Prometheus's tools.
 *
 *   blocktool write DIR     lines from standard input become a block in DIR; prints its ULID
 *   blocktool read BLOCK    prints every sample
 *   blocktool check BLOCK   prints findings; exit status 1 when there are any
 *
 * A line is what `promtool tsdb dump` prints: {__name__="up", job="x"} 1 1700000000000, series in order
 * of labels, samples in order of time. */
#include "base/dtoa.h"
#include "base/heap.h"
#include "tsdb/block.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_MAX  ((size_t)1 << 30)
#define LABELS_MAX 64

static struct err err;

static void must(enum status st, const char *what)
{
    if (st != ST_OK) {
        fprintf(stderr, "blocktool: %s: %s\n", what, err.msg);
        exit(2);
    }
}

static void bad_line(const char *line)
{
    fprintf(stderr, "blocktool: not a line of a dump: %.200s\n", line);
    exit(2);
}

/* --- write --- */

/* "..." with \" \\ \n, from *p on, which is left behind it. */
static struct sv quoted(struct arena *a, const char *line, const char **p)
{
    char *out = arena_alloc(a, strlen(*p) + 1);
    size_t n = 0;

    if (*(*p)++ != '"')
        bad_line(line);
    for (; **p != '"'; (*p)++) {
        if (**p == 0)
            bad_line(line);
        if (**p == '\\') {
            (*p)++;
            out[n++] = **p == 'n' ? '\n' : **p;
        } else {
            out[n++] = **p;
        }
    }
    (*p)++;
    return sv_make(out, n);
}

/* The labels at the line's beginning; returns what follows them. */
static const char *parse_labels(struct arena *a, const char *line, struct labels *ret)
{
    const char *p = line;

    ret->p = arena_array(a, LABELS_MAX, sizeof(*ret->p));
    ret->n = 0;
    if (*p++ != '{')
        bad_line(line);
    while (*p != '}') {
        struct label *l = &ret->p[ret->n++];
        size_t n = strcspn(p, "=}");

        if (ret->n == LABELS_MAX || p[n] != '=')
            bad_line(line);
        l->name = arena_sv(a, sv_make(p, n));
        p += n + 1;
        l->value = quoted(a, line, &p);
        if (p[0] == ',' && p[1] == ' ')
            p += 2;
    }
    return p + 1;
}

static void parse_sample(const char *line, const char *p, struct samples *s)
{
    struct sv rest = sv_trim(sv_of(p)), v = sv_cut(rest, ' ', &rest);
    int64_t t;
    double f;

    if (!dtoa_parse(v, &f) || !sv_i64(rest, &t))
        bad_line(line);
    samples_push(s, t, f);
}

static void put(struct block_writer *w, struct labels labels, const struct samples *s)
{
    struct chunk_list list;
    struct arena a;

    if (s->n == 0)
        return;
    arena_init(&a, ARENA_MAX);
    must(chunk_encode(s, &a, &list, &err), "encode");
    must(block_writer_series(w, labels, list.p, list.n, s->n, &err), "series");
    arena_fini(&a);
}

static int cmd_write(const char *dir)
{
    struct block_meta meta = {.level = 1, .tenant = "anonymous", .ingester = "blocktool"};
    struct labels labels = {NULL, 0}, next;
    struct arena here, there; /* of this series' labels and of the next line's */
    struct block_writer *w;
    struct samples s;
    char *line = NULL;
    size_t cap = 0;

    arena_init(&here, ARENA_MAX);
    arena_init(&there, ARENA_MAX);
    samples_init(&s);
    ulid_make(meta.ulid, 1700000000000);
    must(block_writer_open(fs_posix(), dir, &meta, &w, &err), "open");
    while (getline(&line, &cap, stdin) > 0) {
        const char *rest = parse_labels(&there, line, &next);

        if (!labels_eq(labels, next)) {
            put(w, labels, &s);
            samples_clear(&s);
            arena_reset(&here);
            labels = labels_dup(&here, next);
        }
        parse_sample(line, rest, &s);
        arena_reset(&there);
    }
    put(w, labels, &s);
    must(block_writer_finish(w, &meta, &err), "finish");
    printf("%s\n", meta.ulid);
    samples_fini(&s);
    arena_fini(&here);
    arena_fini(&there);
    free(line);
    return 0;
}

/* --- read, check --- */

static void print_series(struct labels ls, const struct samples *s)
{
    struct buf head;

    buf_init(&head, ARENA_MAX);
    buf_ch(&head, '{');
    for (size_t i = 0; i < ls.n; i++) {
        buf_str(&head, i ? ", " : "");
        buf_sv(&head, ls.p[i].name);
        buf_ch(&head, '=');
        json_str(&head, ls.p[i].value);
    }
    buf_str(&head, "} ");
    for (size_t i = 0; i < s->n; i++) {
        char v[DTOA_MAX];
        size_t n = dtoa_g(v, s->f[i]);

        printf("%.*s%.*s %lld\n", (int)head.n, head.p, (int)n, v, (long long)s->t_ms[i]);
    }
    buf_fini(&head);
}

static int cmd_read(const char *dir)
{
    struct select_req req = {NULL, 0, {INT64_MIN, INT64_MAX}, {0}};
    struct query_ctx ctx = {.clk = clk_system()};
    struct series_set *set;
    struct samples s;
    struct block *b;
    bool more;

    samples_init(&s);
    must(block_open_dir(fs_posix(), dir, &b, &err), "open");
    must(block_select(b, &ctx, &req, &set, &err), "select");
    for (;;) {
        must(series_set_next(set, &more, &err), "next");
        if (!more)
            break;
        must(series_set_read(set, &s, &err), "read");
        print_series(set->labels, &s);
    }
    series_set_close(set);
    block_unref(b);
    samples_fini(&s);
    return 0;
}

static void say(void *arg, const char *text)
{
    (void)arg;
    printf("%s\n", text);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "write") == 0)
        return cmd_write(argv[2]);
    if (argc == 3 && strcmp(argv[1], "read") == 0)
        return cmd_read(argv[2]);
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return block_check(fs_posix(), argv[2], say, NULL, &err) == ST_OK ? 0 : 1;
    fprintf(stderr, "usage: blocktool write DIR | read BLOCK | check BLOCK\n");
    return 2;
}
