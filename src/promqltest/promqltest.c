/* Scripts: lines to commands, commands run one after another. */
#include "promqltest_run.h"

#include "base/dtoa.h"
#include "base/fs.h"
#include "base/regex.h"

#include <stdio.h>

#define SCRIPT_MAX (16 << 20) /* bytes of a file */

static struct sv word(struct sv *rest)
{
    size_t n = 0;
    struct sv w;

    *rest = sv_trim(*rest);
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    w = sv_sub(*rest, 0, n);
    *rest = sv_trim(sv_sub(*rest, n, rest->n));
    return w;
}

static void cut_lines(struct script *s, struct sv text)
{
    while (text.n) {
        struct sv line = sv_trim(sv_cut(text, '\n', &text));

        if (line.n && line.p[0] == '#')
            line.n = 0;
        vec_push(&s->lines, line);
    }
}

/* The next line of this command, or false at its end. */
static bool more(struct script *s, struct sv *ret)
{
    if (s->at >= s->lines.n || s->lines.p[s->at].n == 0)
        return false;
    *ret = s->lines.p[s->at++];
    return true;
}

/* --- load ----------------------------------------------------------------------------------- */

static enum status load_line(struct script *s, struct sv line, struct points *sts, bool *have,
                             int64_t gap, struct err *err)
{
    struct points pts = {0};
    struct labels ls;
    enum status st;

    if (promqltest_is_st(line)) {
        sts->n = 0;
        *have = true;
        return promqltest_st_series(line, &s->arena, &ls, sts, err);
    }
    st = promqltest_series(line, &s->arena, &ls, &pts, err);
    if (st == ST_OK)
        st = promqltest_memory_load(s->memory, ls, &pts, *have ? sts : NULL, gap, err);
    *have = false;
    promqltest_points_free(&pts);
    return st;
}

/* A line that can't be loaded is told and left out: what needs it fails. */
static enum status load(struct script *s, struct sv rest, struct err *err)
{
    struct points sts = {0};
    enum status st = ST_OK;
    struct sv line;
    int64_t gap;
    bool have = false;

    if (!sv_duration_ms(rest, &gap))
        return err_set(err, ST_INVALID, "invalid step " SV_FMT, SV_ARG(rest));
    while (more(s, &line)) {
        struct err why = ERR_INIT;

        if (load_line(s, line, &sts, &have, gap, &why) == ST_OK || st != ST_OK)
            continue;
        st = why.st;
        *err = why;
        err_wrap(err, "line %zu", s->at);
    }
    promqltest_points_free(&sts);
    return st;
}

/* --- eval ----------------------------------------------------------------------------------- */

static void eval_fini(struct eval *e)
{
    for (size_t i = 0; i < e->expects.n; i++)
        if (e->expects.p[i].re)
            regex_free(e->expects.p[i].re);
    for (size_t i = 0; i < e->wants.n; i++)
        promqltest_points_free(&e->wants.p[i].points);
    vec_free(&e->expects);
    vec_free(&e->wants);
}

static enum status expect_pattern(struct script *s, struct expect *x, struct sv pattern,
                                  struct err *err)
{
    char *all = arena_printf(&s->arena, "(?s:.*)(?-s:" SV_FMT ")(?s:.*)", SV_ARG(pattern));

    if (!all)
        return err_set(err, ST_LIMIT, "no memory");
    return regex_new(sv_of(all), &x->re, err);
}

static enum status expect_note(struct script *s, struct eval *e, enum expect_kind kind,
                               struct sv rest, struct err *err)
{
    struct expect *x = vec_add(&e->expects);

    x->kind = kind;
    if (rest.n == 0)
        x->any = true;
    else if (sv_starts(rest, SV("msg:")))
        x->msg = sv_trim(sv_sub(rest, 4, rest.n));
    else if (sv_starts(rest, SV("regex:")))
        return expect_pattern(s, x, sv_trim(sv_sub(rest, 6, rest.n)), err);
    else
        return err_set(err, ST_INVALID, "invalid expect: " SV_FMT, SV_ARG(rest));
    return ST_OK;
}

static enum status expect_window(struct eval *e, struct sv rest, struct err *err)
{
    struct sv from, to, step;

    word(&rest); /* from */
    from = word(&rest);
    word(&rest);
    to = word(&rest);
    word(&rest);
    step = word(&rest);
    e->window = true;
    if (!sv_duration_ms(from, &e->start_ms) || !sv_duration_ms(to, &e->end_ms) ||
        !sv_duration_ms(step, &e->step_ms))
        return err_set(err, ST_INVALID, "invalid expect range vector");
    return ST_OK;
}

static enum status expect_string(struct script *s, struct eval *e, struct sv quoted,
                                 struct err *err)
{
    struct promql_opts none = {0};
    struct expr *x;

    e->string_set = true;
    TRY(promql_parse(&s->arena, quoted, &none, &x, err));
    if (x->kind != EXPR_STRING)
        return err_set(err, ST_INVALID, "expect string: not a quoted string");
    e->string = x->string.v;
    return ST_OK;
}

static enum status expect_line(struct script *s, struct eval *e, struct sv rest, struct err *err)
{
    struct sv kind = word(&rest);

    if (sv_is(kind, "fail"))
        return expect_note(s, e, EXPECT_FAIL, rest, err);
    if (sv_is(kind, "warn"))
        return expect_note(s, e, EXPECT_WARN, rest, err);
    if (sv_is(kind, "info"))
        return expect_note(s, e, EXPECT_INFO, rest, err);
    if (sv_is(kind, "string"))
        return expect_string(s, e, rest, err);
    if (sv_is(kind, "range") && sv_starts(rest, SV("vector"))) {
        word(&rest);
        return expect_window(e, rest, err);
    }
    if (sv_is(kind, "ordered"))
        e->ordered = true;
    else if (sv_is(kind, "no_warn"))
        e->no_warn = true;
    else if (sv_is(kind, "no_info"))
        e->no_info = true;
    else
        return err_set(err, ST_INVALID, "invalid expect " SV_FMT, SV_ARG(kind));
    return ST_OK;
}

static enum status result_line(struct script *s, struct eval *e, struct sv line, size_t pos,
                               bool *ret_last, struct err *err)
{
    struct want *w;

    *ret_last = false;
    if (sv_starts(line, SV("expected_fail_message"))) {
        struct expect *x = vec_add(&e->expects);

        x->kind = EXPECT_FAIL;
        x->msg = sv_trim(sv_sub(line, 21, line.n));
        *ret_last = true;
        return ST_OK;
    }
    if (sv_starts(line, SV("expected_fail_regexp"))) {
        struct expect *x = vec_add(&e->expects);

        x->kind = EXPECT_FAIL;
        *ret_last = true;
        return expect_pattern(s, x, sv_trim(sv_sub(line, 20, line.n)), err);
    }
    if (dtoa_parse(line, &e->scalar_value)) {
        e->scalar = true;
        *ret_last = true;
        return ST_OK;
    }
    w = vec_add(&e->wants);
    w->pos = pos;
    e->scalar = false;
    return promqltest_series(line, &s->arena, &w->labels, &w->points, err);
}

static enum status times(struct eval *e, struct sv *rest, struct err *err)
{
    struct sv kind = word(rest), from, to, step;

    if (sv_is(kind, "instant")) {
        if (sv_is(sv_sub(*rest, 0, 3), "at "))
            word(rest);
        from = word(rest);
        if (!sv_duration_ms(from, &e->start_ms))
            return err_set(err, ST_INVALID, "invalid time " SV_FMT, SV_ARG(from));
        e->end_ms = e->start_ms;
        return ST_OK;
    }
    if (!sv_is(kind, "range"))
        return err_set(err, ST_INVALID, "invalid eval " SV_FMT, SV_ARG(kind));
    e->range = true;
    word(rest); /* from */
    from = word(rest);
    word(rest);
    to = word(rest);
    word(rest);
    step = word(rest);
    if (!sv_duration_ms(from, &e->start_ms) || !sv_duration_ms(to, &e->end_ms) ||
        !sv_duration_ms(step, &e->step_ms))
        return err_set(err, ST_INVALID, "invalid range " SV_FMT " " SV_FMT " " SV_FMT,
                       SV_ARG(from), SV_ARG(to), SV_ARG(step));
    return ST_OK;
}

static void old_style(struct eval *e, struct sv command)
{
    struct expect x = {.any = true};

    if (sv_is(command, "eval_ordered"))
        e->ordered = true;
    if (sv_is(command, "eval_fail"))
        x.kind = EXPECT_FAIL;
    else if (sv_is(command, "eval_warn"))
        x.kind = EXPECT_WARN;
    else if (sv_is(command, "eval_info"))
        x.kind = EXPECT_INFO;
    else
        return;
    vec_push(&e->expects, x);
}

static enum status read_eval(struct script *s, struct eval *e, struct sv command, struct sv rest,
                             struct err *err)
{
    struct sv line;
    size_t pos = 1;
    bool last = false;

    old_style(e, command);
    TRY(times(e, &rest, err));
    e->text = rest;
    while (!last && more(s, &line)) {
        struct sv tail = line;

        if (sv_is(word(&tail), "expect"))
            TRY(expect_line(s, e, tail, err));
        else
            TRY(result_line(s, e, line, pos++, &last, err));
    }
    return ST_OK;
}

static enum status eval(struct script *s, struct sv command, struct sv rest, struct err *err)
{
    struct eval e = {.line = s->at};
    struct err why = ERR_INIT;
    enum status st = read_eval(s, &e, command, rest, &why);
    struct sv skipped;

    if (st == ST_OK)
        st = promqltest_eval(s, &e, &why);
    else
        while (more(s, &skipped))
            ;
    if (st == ST_OK)
        s->result->passed++;
    else
        s->result->failed++;
    if (st != ST_OK && s->opts->verbose)
        printf("%s:%zu: " SV_FMT "\n    %s\n", s->name, e.line, SV_ARG(e.text), why.msg);
    eval_fini(&e);
    return ST_OK;
}

/* --- scripts -------------------------------------------------------------------------------- */

static enum status command(struct script *s, struct err *err)
{
    struct sv rest = s->lines.p[s->at++], name = word(&rest);

    if (sv_is(name, "clear")) {
        promqltest_memory_clear(s->memory);
        return ST_OK;
    }
    if (sv_is(name, "load") || sv_is(name, "load_with_nhcb"))
        return load(s, rest, err);
    if (sv_starts(name, SV("eval")))
        return eval(s, name, rest, err);
    return err_set(err, ST_INVALID, "invalid command " SV_FMT, SV_ARG(name));
}

enum status promqltest_run(struct sv text, const char *name, const struct promqltest_opts *opts,
                           struct promqltest_result *ret, struct err *err)
{
    struct script s = {.name = name, .opts = opts, .result = ret};
    enum status st = ST_OK;

    *ret = (struct promqltest_result){0};
    arena_init(&s.arena, SIZE_MAX);
    s.memory = promqltest_memory_new();
    cut_lines(&s, text);
    while (s.at < s.lines.n) {
        struct err why = ERR_INIT;
        size_t line = s.at + 1;

        if (s.lines.p[s.at].n == 0)
            s.at++;
        else if (command(&s, &why) != ST_OK && st == ST_OK) {
            st = err_set(err, why.st, "line %zu: %.400s", line, why.msg);
        }
    }
    promqltest_memory_free(s.memory);
    vec_free(&s.lines);
    arena_fini(&s.arena);
    return st;
}

enum status promqltest_run_file(const char *path, const struct promqltest_opts *opts,
                                struct promqltest_result *ret, struct err *err)
{
    enum status st;
    char *p;
    size_t n;

    TRY(fs_read_file(fs_posix(), path, SCRIPT_MAX, &p, &n, err));
    st = promqltest_run(sv_make(p, n), path, opts, ret, err);
    heap_free(p);
    return st;
}
