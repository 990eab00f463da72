/* Parses expressions from standard input, separated by NUL bytes, and prints what the language half
 * makes of each as one line of JSON: {"error": ...} or {"ast": ..., "print": ..., "pretty": ...}.
 * Arguments are names of features to switch on. Used by the comparison with a real Prometheus. */
#include "promql/promql.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX ((size_t)64 << 20)

static void text(struct buf *out, const char *key, void (*write)(struct buf *, const struct expr *),
                 const struct expr *e)
{
    struct buf b;

    buf_init(&b, INPUT_MAX);
    write(&b, e);
    json_key(out, key);
    json_str(out, buf_view(&b));
    buf_fini(&b);
}

static void one(struct sv query, const struct promql_opts *opts)
{
    struct arena arena;
    struct expr *e;
    struct err err = ERR_INIT;
    struct buf out;

    arena_init(&arena, INPUT_MAX);
    buf_init(&out, INPUT_MAX);
    if (promql_parse(&arena, query, opts, &e, &err) == ST_OK) {
        buf_str(&out, "{\"ast\":");
        promql_json(&out, e);
        buf_ch(&out, ',');
        text(&out, "print", promql_print, e);
        buf_ch(&out, ',');
        text(&out, "pretty", promql_pretty, e);
        buf_ch(&out, '}');
        expr_free(e);
    } else {
        buf_str(&out, "{\"error\":");
        json_str(&out, sv_of(err.msg));
        buf_ch(&out, '}');
    }
    if (!buf_ok(&out))
        abort();
    fwrite(out.p, 1, out.n, stdout);
    putchar('\n');
    buf_fini(&out);
    arena_fini(&arena);
}

int main(int argc, char **argv)
{
    struct promql_opts opts = {0};
    struct buf in;
    struct sv rest, query;
    char chunk[65536];
    size_t n;

    for (int i = 1; i < argc; i++)
        if (!promql_feature(&opts, sv_of(argv[i]), true)) {
            fprintf(stderr, "promqltool: no feature \"%s\"\n", argv[i]);
            return 2;
        }
    buf_init(&in, INPUT_MAX);
    while ((n = fread(chunk, 1, sizeof(chunk), stdin)) > 0)
        buf_put(&in, chunk, n);
    if (!buf_ok(&in))
        return 2;
    for (rest = buf_view(&in); rest.p;) {
        query = sv_cut(rest, '\0', &rest);
        one(query, &opts);
    }
    buf_fini(&in);
    return 0;
}
