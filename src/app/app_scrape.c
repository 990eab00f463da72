/* Self-scrape: the registry's samples as one batch through the distributor, the way every other
 * sample comes in, so that a newcomer sees a graph with nothing else running. In header mode they
 * belong to tenant `engram`. What a full disk or a limit refuses is logged, not repeated. */
#include "app_int.h"
#include "base/log.h"

#define ARENA_MAX  ((size_t)8 << 20)
#define LABELS_MAX 16

struct scrape {
    struct app *app;
    struct batch batch;
    struct arena *arena;
    int64_t now_ms;
    struct err err;
};

/* `a="b",c="d"` as metrics_each() gives it; values there hold no quotes. */
static size_t read_labels(struct sv text, struct label *out, size_t max)
{
    size_t n = 0;

    while (text.p && text.n && n < max) {
        struct sv value, name = sv_cut(text, '=', &value);

        if (!value.n)
            break;
        value = sv_sub(value, 1, value.n); /* the opening quote */
        out[n].name = name;
        out[n++].value = sv_cut(value, '"', &text);
        if (text.n && text.p[0] == ',')
            text = sv_sub(text, 1, text.n);
    }
    return n;
}

static void one_sample(void *arg, struct sv name, struct sv labels, double value)
{
    struct scrape *s = arg;
    struct label l[LABELS_MAX + 3];
    size_t n = read_labels(labels, l, LABELS_MAX);
    struct labels ls = {l, n + 3};
    struct sv dup;

    l[n] = (struct label){SV("__name__"), name};
    l[n + 1] = (struct label){SV("job"), SV("engram")};
    l[n + 2] = (struct label){SV("instance"), sv_of(s->app->config->listen)};
    if (s->err.st != ST_OK || !labels_canonical(&ls, &dup))
        return;
    batch_put(&s->batch, ls, s->now_ms, value, &s->err);
}

void app_step_scrape(void *arg)
{
    struct app *a = arg;
    struct arena arena;
    struct scrape s = {.app = a, .arena = &arena, .now_ms = clk_wall_ms(a->clk)};
    struct append_result result;
    struct who who;
    enum status st;

    arena_init(&arena, ARENA_MAX);
    batch_init(&s.batch, &arena, dist_alias_key(a->dist));
    metrics_each(a->metrics, one_sample, &s);
    st = s.err.st;
    if (st == ST_OK)
        st = tenant_who(a->tenants, SV("engram"), SV("self-scrape"), &arena, &who, &s.err);
    if (st == ST_OK) {
        st = dist_push(a->dist, &who, &s.batch, &result, &s.err);
        if (st == ST_OK && result.why[0])
            log_warn("app", "own metrics refused in part", "why=%s", log_q(sv_of(result.why)));
        tenant_done(&who);
    }
    if (st != ST_OK) /* not s.err.st: a room below may have written a text and got over it */
        log_warn("app", "own metrics not stored", "error=%s", log_q(sv_of(s.err.msg)));
    arena_fini(&arena);
}
