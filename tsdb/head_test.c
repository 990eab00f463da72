/* The head: order rules, identity and aliases, what the log gets and gives back, reading, epochs,
 * change marks; appends, selects and settling beside each other. */
#include "unit.h"

#include "base/budget.h"
#include "base/log.h"
#include "head_int.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define WINDOW INT64_C(7200000)
#define T0     (INT64_C(1700000000000) / WINDOW * WINDOW)

struct fake_clk {
    struct clk clk;
    _Atomic int64_t wall_ms, mono_ns;
};
static int64_t fake_wall(const struct clk *c)
{
    return atomic_load(&((struct fake_clk *)(uintptr_t)c)->wall_ms);
}
static int64_t fake_mono(const struct clk *c)
{
    return atomic_load(&((struct fake_clk *)(uintptr_t)c)->mono_ns);
}

struct world {
    struct fake_clk clk;
    struct budget budget;
    char dir[64];
    struct wal *wal;
    struct db db; /* a head without blocks */
    struct append_rules rules;
    struct append_result res;
};

static enum status visit(void *arg, const struct wal_record *rec, struct err *err)
{
    struct world *w = arg;

    assert_true(sv_is(rec->tenant, "t"));
    return db_replay(&w->db, rec, err);
}

static void up(struct world *w)
{
    struct wal_opts o = {.fs = fs_posix(), .clk = clk_system(), .dir = w->dir};
    struct head_opts ho = {&w->clk.clk, &w->budget, "t", WINDOW, 7};
    struct err err = ERR_INIT;

    memset(&w->db, 0, sizeof(w->db));
    w->db.opts.tenant = "t";
    w->db.head = head_new(&ho);
    OK(wal_open(&o, visit, w, &w->wal, &err));
    db_replay_done(&w->db);
    w->db.head->wal = w->wal;
    OK(head_check(w->db.head, &err));
}

static void down(struct world *w)
{
    struct err err = ERR_INIT;

    OK(head_check(w->db.head, &err));
    wal_close(w->wal);
    head_free(w->db.head);
    assert_int_equal(budget_used(&w->budget, BUDGET_HEAD), 0);
}

static int setup(void **state)
{
    struct world *w = heap_new(struct world);

    log_set_level(LOG_ERROR);
    w->clk.clk = (struct clk){fake_wall, fake_mono};
    w->clk.wall_ms = T0 + 4 * WINDOW;
    w->clk.mono_ns = 1;
    budget_init(&w->budget, 0);
    snprintf(w->dir, sizeof(w->dir), "/tmp/engram-head-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->rules = (struct append_rules){.ooo_window_ms = 1800000,
                                     .max_age_behind_ms = 12 * 3600000,
                                     .now_ms = T0 + 4 * WINDOW,
                                     .max_ahead_ms = 600000};
    up(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;

    down(w);
    OK(fs_rmtree(fs_posix(), w->dir, &err));
    heap_free(w);
    return 0;
}

/* {name, k="v"}; k NULL: the name alone. room has two. */
static struct labels mk(struct label *room, const char *name, const char *k, const char *v)
{
    room[0] = (struct label){SV(LABEL_NAME), sv_of(name)};
    room[1] = (struct label){sv_of(k), sv_of(v)};
    return (struct labels){room, k ? 2 : 1};
}

struct one {
    struct arena arena;
    struct batch b;
};
static void begin(struct one *o)
{
    arena_init(&o->arena, (size_t)64 << 20);
    batch_init(&o->b, &o->arena, 99);
}
static enum status send_batch(struct world *w, struct one *o, struct err *err)
{
    enum status st = head_append(w->db.head, &o->b, &w->rules, &w->res, err);

    arena_fini(&o->arena);
    return st;
}

static enum verdict put1(struct world *w, const char *name, const char *i, int64_t t_ms, double f)
{
    struct label room[2];
    struct one o;
    struct err err = ERR_INIT;

    begin(&o);
    OK(batch_put(&o.b, mk(room, name, "i", i), t_ms, f, &err));
    OK(send_batch(w, &o, &err));
    for (int v = 0; v < VERDICT_N; v++)
        if (w->res.samples[v])
            return (enum verdict)v;
    fail_msg("no verdict");
    return VERDICT_STORED;
}

/* All samples of one series as text "t:v t:v", times relative to T0. */
static char *read1(struct world *w, const char *name, const char *i, char *out, size_t out_n)
{
    struct matcher *m[2];
    const struct query_ctx ctx = {.clk = clk_system()};
    struct select_req req = {.matchers = (const struct matcher *const *)m,
                             .matchers_n = 2,
                             .range = {INT64_MIN, INT64_MAX}};
    struct series_set *set;
    struct samples s;
    struct err err = ERR_INIT;
    bool more;
    size_t n = 0;

    out[0] = 0;
    OK(matcher_new(MATCH_EQ, SV(LABEL_NAME), sv_of(name), &m[0], &err));
    OK(matcher_new(MATCH_EQ, SV("i"), sv_of(i), &m[1], &err));
    OK(head_select(w->db.head, &ctx, &req, &set, &err));
    samples_init(&s);
    OK(series_set_next(set, &more, &err));
    if (more) {
        OK(series_set_read(set, &s, &err));
        for (size_t k = 0; k < s.n && n < out_n; k++)
            n += (size_t)snprintf(out + n, out_n - n, "%s%lld:%g", k ? " " : "",
                                  (long long)(s.t_ms[k] - T0), s.f[k]);
        OK(series_set_next(set, &more, &err));
        assert_false(more);
    }
    assert_true(set->outcome.complete);
    series_set_close(set);
    samples_fini(&s);
    matcher_free(m[0]);
    matcher_free(m[1]);
    return out;
}

static void order_rules_give_their_verdicts(void **state)
{
    struct world *w = *state;
    const struct {
        const char *i;
        int64_t t_ms;
        double f;
        enum verdict want;
    } rows[] = {
        {"a", T0 + 1000, 1, VERDICT_STORED},
        {"a", T0 + 1000, 1, VERDICT_DUPLICATE},
        {"a", T0 + 1000, 2, VERDICT_CONFLICT},
        {"a", T0 + 2000, f64_of_bits(STALE_NAN_BITS), VERDICT_STORED},
        {"a", T0 + 2000, f64_of_bits(STALE_NAN_BITS), VERDICT_DUPLICATE},
        {"a", T0 + 2000, f64_of_bits(STALE_NAN_BITS + 1), VERDICT_CONFLICT},
        {"a", T0 + 3000, 0.0, VERDICT_STORED},
        {"a", T0 + 3000, -0.0, VERDICT_CONFLICT},
        /* late, inside the window, then the same and another value */
        {"a", T0 + 1500, 5, VERDICT_STORED},
        {"a", T0 + 1500, 5, VERDICT_DUPLICATE},
        {"a", T0 + 1500, 6, VERDICT_CONFLICT},
        {"a", T0 + 1000, 1, VERDICT_DUPLICATE},
        /* the edge of the out-of-order window */
        {"a", T0 + 3000 - 1800000, 1, VERDICT_STORED},
        {"a", T0 + 3000 - 1800001, 1, VERDICT_TOO_OLD},
        /* the future, and times no clock has */
        {"a", T0 + 4 * WINDOW + 600000, 1, VERDICT_STORED},
        {"a", T0 + 4 * WINDOW + 600001, 1, VERDICT_TOO_NEW},
        {"a", INT64_MAX, 1, VERDICT_OUT_OF_BOUNDS},
        {"a", INT64_MIN, 1, VERDICT_OUT_OF_BOUNDS},
        /* another series, in order for itself, behind the tenant's newest */
        {"b", T0 + 4 * WINDOW + 600000 - 12 * 3600000, 1, VERDICT_STORED},
        {"c", T0 + 4 * WINDOW + 600000 - 12 * 3600000 - 1, 1, VERDICT_TOO_OLD},
    };

    for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
        enum verdict v = put1(w, "m", rows[k].i, rows[k].t_ms, rows[k].f);

        if (v != rows[k].want)
            fail_msg("row %zu: %s, want %s", k, verdict_label(v), verdict_label(rows[k].want));
        assert_true((v == VERDICT_STORED || v == VERDICT_DUPLICATE) == (w->res.why[0] == 0));
    }
}

static void without_a_window_a_late_sample_is_out_of_order_but_a_repeat_is_not(void **state)
{
    struct world *w = *state;

    w->rules.ooo_window_ms = 0;
    assert_int_equal(put1(w, "m", "a", T0 + 1000, 1), VERDICT_STORED);
    assert_int_equal(put1(w, "m", "a", T0 + 2000, 1), VERDICT_STORED);
    assert_int_equal(put1(w, "m", "a", T0 + 1000, 1), VERDICT_DUPLICATE);
    assert_true(w->res.log_pos > 0); /* the first may not be durable yet */
    assert_int_equal(put1(w, "m", "a", T0 + 1500, 1), VERDICT_OUT_OF_ORDER);
    assert_non_null(strstr(w->res.why, "out of order sample"));
    assert_non_null(strstr(w->res.why, "m{i=\"a\"}"));
}

static void one_batch_is_judged_as_if_in_time_order_first_row_first(void **state)
{
    struct world *w = *state;
    struct label room[2];
    struct one o;
    struct err err = ERR_INIT;
    char text[256];

    w->rules.ooo_window_ms = 0;
    begin(&o);
    OK(batch_put(&o.b, mk(room, "m", "i", "a"), T0 + 3000, 3, &err));
    OK(batch_put(&o.b, mk(room, "m", "i", "b"), T0 + 3000, 3, &err));
    OK(batch_put(&o.b, mk(room, "m", "i", "a"), T0 + 1000, 1, &err));
    OK(batch_put(&o.b, mk(room, "m", "i", "a"), T0 + 3000, 4, &err));
    OK(batch_put(&o.b, mk(room, "m", "i", "a"), T0 + 2000, 2, &err));
    OK(batch_put(&o.b, mk(room, "m", "i", "a"), T0 + 2000, 2, &err));
    OK(send_batch(w, &o, &err));
    assert_int_equal(w->res.samples[VERDICT_STORED], 4);
    assert_int_equal(w->res.samples[VERDICT_CONFLICT], 1);
    assert_int_equal(w->res.samples[VERDICT_DUPLICATE], 1);
    assert_string_equal(read1(w, "m", "a", text, sizeof(text)), "1000:1 2000:2 3000:3");
}

static void labels_are_one_series_however_they_are_spelt(void **state)
{
    struct world *w = *state;
    struct label x[3] = {{SV("i"), SV("a")}, {SV(LABEL_NAME), SV("m")}, {SV("empty"), SV("")}};
    struct label dup[3] = {{SV(LABEL_NAME), SV("m")}, {SV("i"), SV("a")}, {SV("i"), SV("b")}};
    struct label noname[1] = {{SV("i"), SV("a")}};
    struct one o;
    struct db_stats stats;
    struct err err = ERR_INIT;
    char text[64];

    assert_int_equal(put1(w, "m", "a", T0, 1), VERDICT_STORED);
    begin(&o);
    OK(batch_put(&o.b, (struct labels){x, 3}, T0 + 1, 2, &err));
    OK(batch_put(&o.b, (struct labels){dup, 3}, T0 + 1, 2, &err));
    OK(batch_put(&o.b, (struct labels){noname, 1}, T0 + 1, 2, &err));
    OK(send_batch(w, &o, &err));
    assert_int_equal(w->res.samples[VERDICT_STORED], 1);
    assert_int_equal(w->res.samples[VERDICT_DUP_LABEL], 1);
    assert_int_equal(w->res.samples[VERDICT_NO_NAME], 1);
    assert_int_equal(w->res.series_refused, 2);
    assert_int_equal(w->res.first, VERDICT_DUP_LABEL);
    head_stats(w->db.head, &stats);
    assert_int_equal(stats.series, 1);
    assert_string_equal(read1(w, "m", "a", text, sizeof(text)), "0:1 1:2");
}

static void ceilings_of_series_refuse_new_ones_only(void **state)
{
    struct world *w = *state;

    w->rules.max_series = 2;
    assert_int_equal(put1(w, "m", "a", T0, 1), VERDICT_STORED);
    assert_int_equal(put1(w, "m", "b", T0, 1), VERDICT_STORED);
    assert_int_equal(put1(w, "m", "c", T0, 1), VERDICT_SERIES_LIMIT);
    assert_non_null(strstr(w->res.why, "max_series_per_user"));
    assert_int_equal(put1(w, "m", "a", T0 + 1, 1), VERDICT_STORED);
    w->rules.max_series = 0;
    w->rules.refuse_new_series = true;
    assert_int_equal(put1(w, "m", "c", T0, 1), VERDICT_MEMORY);
    assert_int_equal(put1(w, "m", "b", T0 + 1, 1), VERDICT_STORED);
}

static void chunks_windows_and_late_samples_read_back_in_order(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;
    char text[65536], want[65536];
    size_t n = 0;

    w->rules.now_ms += 10 * WINDOW;
    /* 700 samples a minute apart: chunks of 120, and windows of two hours that cut them. */
    for (int k = 0; k < 700; k += 1 + (k % 7 == 3))
        assert_int_equal(put1(w, "m", "a", T0 + k * 60000, k), VERDICT_STORED);
    w->rules.ooo_window_ms = INT64_MAX;
    for (int k = 699; k >= 0; k--) /* and backwards what was left out */
        put1(w, "m", "a", T0 + k * 60000, k);
    OK(head_check(w->db.head, &err));
    for (int k = 0; k < 700; k++)
        n += (size_t)snprintf(want + n, sizeof(want) - n, "%s%d:%d", k ? " " : "", k * 60000, k);
    assert_string_equal(read1(w, "m", "a", text, sizeof(text)), want);
    down(w);
    up(w);
    assert_string_equal(read1(w, "m", "a", text, sizeof(text)), want);
}

static void a_restart_finds_series_samples_and_their_order_again(void **state)
{
    struct world *w = *state;
    struct db_stats before, after;
    char text[256];

    put1(w, "m", "a", T0 + 1000, 1);
    put1(w, "m", "a", T0 + 2000, 2);
    put1(w, "m", "b", T0 + 2000, f64_of_bits(STALE_NAN_BITS));
    put1(w, "m", "a", T0 + 1500, 1.5);
    put1(w, "m", "a", T0 + 2000, 9); /* refused, and not logged */
    head_stats(w->db.head, &before);
    for (int round = 0; round < 3; round++) {
        down(w);
        up(w);
        head_stats(w->db.head, &after);
        assert_int_equal(after.series, 2);
        assert_int_equal(after.samples, before.samples);
        assert_int_equal(after.min_ms, before.min_ms);
        assert_int_equal(after.max_ms, before.max_ms);
        assert_int_equal(after.log_needed_from, before.log_needed_from);
        assert_string_equal(read1(w, "m", "a", text, sizeof(text)), "1000:1 1500:1.5 2000:2");
        assert_int_equal(put1(w, "m", "a", T0 + 2000, 2), VERDICT_DUPLICATE);
        assert_int_equal(put1(w, "m", "b", T0 + 2000, 0), VERDICT_CONFLICT);
    }
    /* ids are given out anew by each process; what a new one logs must not mix with the old */
    assert_int_equal(put1(w, "m", "c", T0 + 3000, 1), VERDICT_STORED);
    assert_int_equal(put1(w, "m", "b", T0 + 3000, 7), VERDICT_STORED);
    down(w);
    up(w);
    assert_string_equal(read1(w, "m", "c", text, sizeof(text)), "3000:1");
    assert_string_equal(read1(w, "m", "a", text, sizeof(text)), "1000:1 1500:1.5 2000:2");
    head_stats(w->db.head, &after);
    assert_int_equal(after.samples, before.samples + 2);
}

static void each_window_has_an_epoch_with_definitions_of_its_own(void **state)
{
    struct world *w = *state;
    struct db_stats s;
    uint64_t first, second;
    uint32_t gen;

    head_stats(w->db.head, &s);
    assert_true(s.log_needed_from == UINT64_MAX);
    put1(w, "m", "a", T0 + 1, 1);
    first = w->res.log_pos;
    head_stats(w->db.head, &s);
    assert_true(s.log_needed_from <= first);
    gen = head_series_at(w->db.head, 0)->def_gen;
    put1(w, "m", "a", T0 + 2, 1);
    assert_int_equal(head_series_at(w->db.head, 0)->def_gen, gen);
    put1(w, "m", "a", T0 + WINDOW, 1);
    assert_int_equal(head_series_at(w->db.head, 0)->def_gen, gen + 1);
    second = w->db.head->book.epoch;
    assert_true(second >= first);
    put1(w, "m", "b", T0 + 3, 1); /* an older window does not begin one */
    assert_int_equal(w->db.head->book.epoch, second);
}

/* A record whose definitions are gone must not find those of another epoch. */
static void samples_without_their_definition_are_lost_not_misplaced(void **state)
{
    struct world *w = *state;
    struct buf body;
    struct wal_coder c;
    struct wal_record rec = {.type = WAL_SAMPLES, .tenant = SV("t"), .pos = 1};
    struct batch_sample x = {T0, 0, 1};
    struct label room[2];
    struct err err = ERR_INIT;
    char text[64];

    wal_close(w->wal);
    w->db.head->wal = NULL;
    buf_init(&body, 4096);
    wal_code_begin(&c, &body, 5, false);
    wal_code_series(&c, 3, mk(room, "m", "i", "a"));
    rec.type = WAL_SERIES;
    rec.body = buf_view(&body);
    OK(db_replay(&w->db, &rec, &err));
    for (uint64_t epoch = 4; epoch <= 6; epoch++) {
        buf_clear(&body);
        wal_code_begin(&c, &body, epoch, false);
        wal_code_group(&c, 3, 1);
        x.f = (double)epoch;
        x.t_ms++;
        wal_code_sample(&c, &x);
        rec.type = WAL_SAMPLES;
        rec.body = buf_view(&body);
        OK(db_replay(&w->db, &rec, &err));
    }
    assert_int_equal(w->db.head->replay.lost.n, 1);
    assert_int_equal(w->db.head->replay.lost.p[0].samples, 2);
    assert_string_equal(read1(w, "m", "a", text, sizeof(text)), "2:5");
    /* a newer version stops the start, by name */
    body.p[0] = WAL_RECORD_VERSION + 1;
    rec.body = buf_view(&body);
    assert_int_equal(db_replay(&w->db, &rec, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "version 2"));
    buf_fini(&body);
    w->wal = NULL;
}

static void records_cut_short_anywhere_are_refused(void **state)
{
    struct buf body;
    struct wal_coder c;
    struct label room[2];
    struct batch_sample x = {T0, T0 - 5, 1.5};
    struct batch_hist hist = {T0, 0, NULL, SV("abcdef")};
    struct batch_exemplar ex = {T0, 2, SV("xyz")};
    struct batch_metadata md = {SV("m"), SV("help"), SV("s"), 2};
    struct wal_cut cut = {{T0, T0 + WINDOW}, 77, SV("01ARZ3NDEKTSV4RRFFQ69G5FAV")};
    struct err err = ERR_INIT;

    (void)state;
    for (uint8_t type = WAL_SERIES; type <= WAL_CUT; type++) {
        struct wal_reader r;
        struct wal_item item;
        bool more;

        buf_init(&body, 4096);
        wal_code_begin(&c, &body, 300, type == WAL_SAMPLES);
        if (type == WAL_SERIES)
            wal_code_series(&c, 70000, mk(room, "m", "i", "a"));
        if (type == WAL_SAMPLES) {
            wal_code_group(&c, 70000, 1);
            wal_code_sample(&c, &x);
        }
        if (type == WAL_HISTS)
            wal_code_hist(&c, 70000, &hist);
        if (type == WAL_EXEMPLARS)
            wal_code_exemplar(&c, 70000, &ex);
        if (type == WAL_METADATA)
            wal_code_metadata(&c, &md);
        if (type == WAL_CUT || type == WAL_CUT_BEGIN) {
            if (type == WAL_CUT_BEGIN)
                cut.ulid = (struct sv){NULL, 0};
            else
                cut.ulid = SV("01ARZ3NDEKTSV4RRFFQ69G5FAV");
            buf_clear(&body);
            wal_code_cut(&body, 300, &cut);
        }
        OK(wal_read_open(&r, type, buf_view(&body), &err));
        assert_int_equal(r.epoch, 300);
        OK(wal_read_next(&r, &item, &more, &err));
        assert_true(more);
        if (type <= WAL_SAMPLES)
            assert_int_equal(item.ref, 70000);
        if (type == WAL_SAMPLES) {
            assert_int_equal(item.sample.t_ms, x.t_ms);
            assert_int_equal(item.sample.st_ms, x.st_ms);
        }
        if (type == WAL_HISTS)
            assert_true(sv_eq(item.wire, hist.wire));
        if (type == WAL_CUT)
            assert_int_equal(item.cut.begin_pos, 77);
        OK(wal_read_next(&r, &item, &more, &err));
        assert_false(more);
        for (size_t n = 0; n + 1 < body.n; n++) {
            /* A heap copy of exactly n bytes: a read past it is seen by the sanitizer. */
            char *p = heap_dup(body.p, n);
            enum status st = wal_read_open(&r, type, sv_make(p, n), &err);

            while (st == ST_OK && (st = wal_read_next(&r, &item, &more, &err)) == ST_OK && more)
                ;
            if (n > 4) /* version, flags, epoch: the empty record is sound */
                assert_int_equal(st, ST_CORRUPT);
            heap_free(p);
        }
        buf_fini(&body);
    }
}

static size_t count_matches(struct world *w, enum matcher_op op, const char *name, const char *v)
{
    struct matcher *m[2];
    const struct query_ctx ctx = {.clk = clk_system()};
    struct select_req req = {.matchers = (const struct matcher *const *)m,
                             .matchers_n = 2,
                             .range = {INT64_MIN, INT64_MAX}};
    struct series_set *set;
    struct err err = ERR_INIT;
    struct arena arena;
    struct labels last = {0};
    size_t n = 0;
    bool more;

    arena_init(&arena, 1 << 20);
    OK(matcher_new(MATCH_EQ, SV(LABEL_NAME), SV("m"), &m[0], &err));
    OK(matcher_new(op, sv_of(name), sv_of(v), &m[1], &err));
    OK(head_select(w->db.head, &ctx, &req, &set, &err));
    for (;;) {
        OK(series_set_next(set, &more, &err));
        if (!more)
            break;
        assert_true(!n || labels_cmp(last, set->labels) < 0);
        last = labels_dup(&arena, set->labels);
        n++;
    }
    series_set_close(set);
    matcher_free(m[0]);
    matcher_free(m[1]);
    arena_fini(&arena);
    return n;
}

static void matchers_find_what_they_should(void **state)
{
    struct world *w = *state;
    struct label room[2];
    struct one o;
    struct err err = ERR_INIT;
    char i[8];

    for (int k = 0; k < 30; k++) {
        snprintf(i, sizeof(i), "v%d", (k * 7) % 30);
        put1(w, "m", i, T0, 1);
    }
    begin(&o);
    OK(batch_put(&o.b, mk(room, "m", NULL, NULL), T0, 1, &err));
    OK(send_batch(w, &o, &err));
    assert_int_equal(count_matches(w, MATCH_EQ, "i", "v3"), 1);
    assert_int_equal(count_matches(w, MATCH_EQ, "i", "none"), 0);
    assert_int_equal(count_matches(w, MATCH_EQ, "i", ""), 1);
    assert_int_equal(count_matches(w, MATCH_NE, "i", "v3"), 30);
    assert_int_equal(count_matches(w, MATCH_NE, "i", ""), 30);
    assert_int_equal(count_matches(w, MATCH_RE, "i", "v1.*"), 11);
    assert_int_equal(count_matches(w, MATCH_RE, "i", "v1|v2|zzz"), 2);
    assert_int_equal(count_matches(w, MATCH_RE, "i", ".*"), 31);
    assert_int_equal(count_matches(w, MATCH_NRE, "i", "v[0-9]"), 21);
    assert_int_equal(count_matches(w, MATCH_NE, "absent", "x"), 31);
    assert_int_equal(count_matches(w, MATCH_EQ, "absent", "x"), 0);
}

static void the_alias_cache_has_a_ceiling(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;
    struct db_stats s;

    for (int k = 0; k < 3000; k++) { /* one series, spelt in many ways */
        char x[16];
        struct label ls[3] = {{SV(LABEL_NAME), SV("m")}, {SV("i"), SV("a")}, {{x, 0}, SV("")}};
        struct one o;

        snprintf(x, sizeof(x), "x%d", k);
        ls[2].name = sv_of(x);
        begin(&o);
        OK(batch_put(&o.b, (struct labels){ls, 3}, T0 + k, k, &err));
        OK(send_batch(w, &o, &err));
        assert_int_equal(w->res.samples[VERDICT_STORED], 1);
    }
    head_stats(w->db.head, &s);
    assert_int_equal(s.series, 1);
    assert_true(w->db.head->aliases.n <= 1024 && w->db.head->aliases.cap <= 2048);
}

static void shards_are_disjoint_and_whole_and_limits_hold(void **state)
{
    struct world *w = *state;
    struct matcher *m;
    const struct query_ctx ctx = {.clk = clk_system()};
    struct select_req req = {.matchers = (const struct matcher *const *)&m,
                             .matchers_n = 1,
                             .range = {INT64_MIN, INT64_MAX}};
    struct err err = ERR_INIT;
    size_t seen[100] = {0}, n = 0;
    char i[8];

    for (int k = 0; k < 100; k++) {
        snprintf(i, sizeof(i), "%d", k);
        put1(w, "m", i, T0, 1);
    }
    OK(matcher_new(MATCH_EQ, SV(LABEL_NAME), SV("m"), &m, &err));
    for (uint32_t shard = 0; shard < 7; shard++) {
        struct series_set *set;
        bool more;

        req.hints.shard = shard;
        req.hints.shards = 7;
        OK(head_select(w->db.head, &ctx, &req, &set, &err));
        while (series_set_next(set, &more, &err) == ST_OK && more) {
            assert_int_equal(labels_hash(set->labels, 0).lo % 7, shard);
            seen[atoi(labels_get(set->labels, SV("i")).p)]++;
        }
        series_set_close(set);
    }
    for (int k = 0; k < 100; k++)
        assert_int_equal(seen[k], 1);
    req.hints = (struct select_hints){.limit = 9};
    for (int round = 0; round < 2; round++) {
        struct series_set *set;
        bool more;

        OK(head_select(w->db.head, &ctx, &req, &set, &err));
        for (n = 0; series_set_next(set, &more, &err) == ST_OK && more;)
            n++;
        series_set_close(set);
        assert_int_equal(n, round ? 0 : 9);
        req.range = (struct trange){T0 + 1, INT64_MAX}; /* nothing there */
    }
    matcher_free(m);
}

/* A query that is not wanted any more, or has no memory left, stops with its own status. */
static void selects_stop_when_told(void **state)
{
    struct world *w = *state;
    _Atomic bool canceled = true;
    struct account mem;
    struct matcher *m;
    struct query_ctx ctx = {.clk = clk_system(), .canceled = &canceled};
    struct select_req req = {.matchers = (const struct matcher *const *)&m,
                             .matchers_n = 1,
                             .range = {INT64_MIN, INT64_MAX}};
    struct series_set *set;
    struct samples s;
    struct err err = ERR_INIT;
    bool more;

    put1(w, "m", "a", T0, 1);
    OK(matcher_new(MATCH_RE, SV(LABEL_NAME), SV("m.+|m"), &m, &err));
    assert_int_equal(head_select(w->db.head, &ctx, &req, &set, &err), ST_CANCELED);
    canceled = false;
    OK(head_select(w->db.head, &ctx, &req, &set, &err));
    canceled = true;
    assert_int_equal(series_set_next(set, &more, &err), ST_CANCELED);
    series_set_close(set);
    canceled = false;
    account_init(&mem, &w->budget, BUDGET_QUERY, 4);
    ctx.mem = &mem;
    assert_int_equal(head_select(w->db.head, &ctx, &req, &set, &err), ST_LIMIT);
    account_init(&mem, &w->budget, BUDGET_QUERY, 8);
    OK(head_select(w->db.head, &ctx, &req, &set, &err));
    OK(series_set_next(set, &more, &err));
    samples_init(&s);
    assert_int_equal(series_set_read(set, &s, &err), ST_LIMIT);
    samples_fini(&s);
    series_set_close(set);
    assert_int_equal(mem.used, 0);
    account_fini(&mem);
    matcher_free(m);
}

static void marks_change_below_the_sealed_edge_alone(void **state)
{
    struct world *w = *state;
    struct change_mark a, b;
    struct trange all = {INT64_MIN, INT64_MAX}, first = {T0, T0 + WINDOW};
    struct err err = ERR_INIT;

    head_book_mark(w->db.head, all, &a);
    /* Nothing there: the first sample changes the digest. */
    assert_int_equal(a.settled_ms, INT64_MAX);
    assert_int_equal(a.boot, 7);
    put1(w, "m", "a", T0 + 300000, 1);
    OK(wal_wait(w->wal, w->res.log_pos, &err));
    head_book_settle(w->db.head);
    head_book_mark(w->db.head, all, &a);
    assert_int_equal(a.settled_ms, T0 + 300000 - HEAD_SLACK_MS);
    put1(w, "m", "a", T0 + 310000, 1); /* above the edge: nothing changes */
    head_book_mark(w->db.head, all, &b);
    assert_memory_equal(&a.counters, &b.counters, sizeof(a.counters));
    put1(w, "m", "a", T0 + 1000, 1); /* below */
    head_book_mark(w->db.head, all, &b);
    assert_memory_not_equal(&a.counters, &b.counters, sizeof(a.counters));
    assert_true(b.settled_ms <= a.settled_ms);
    OK(wal_wait(w->wal, w->res.log_pos, &err));
    head_book_mark(w->db.head, all, &b);
    assert_int_equal(b.settled_ms, a.settled_ms);
    /* other granules don't hear of it */
    head_book_mark(w->db.head, (struct trange){T0 - WINDOW, T0}, &a);
    head_book_bump(w->db.head, first);
    head_book_mark(w->db.head, (struct trange){T0 - WINDOW, T0}, &b);
    assert_memory_equal(&a.counters, &b.counters, sizeof(a.counters));
    head_book_bump(w->db.head, all);
    head_book_mark(w->db.head, (struct trange){T0 - WINDOW, T0}, &b);
    assert_memory_not_equal(&a.counters, &b.counters, sizeof(a.counters));
}

/* A fast clock among the senders must not seal what the others are still writing. */
static void the_edge_never_passes_the_wall_clock(void **state)
{
    struct world *w = *state;
    struct change_mark a;
    struct err err = ERR_INIT;

    put1(w, "m", "a", T0 + 4 * WINDOW + 500000, 1);
    OK(wal_wait(w->wal, w->res.log_pos, &err));
    head_book_settle(w->db.head);
    head_book_mark(w->db.head, (struct trange){INT64_MIN, INT64_MAX}, &a);
    assert_int_equal(a.settled_ms, T0 + 4 * WINDOW - HEAD_SLACK_MS);
}

static void a_refused_log_leaves_nothing_stored(void **state)
{
    struct world *w = *state;
    struct one o;
    struct label room[2];
    struct db_stats s;
    struct err err = ERR_INIT;
    char text[64];

    put1(w, "m", "a", T0, 1);
    down(w);
    up(w);
    w->db.head->wal = NULL; /* not open: the plain case */
    begin(&o);
    OK(batch_put(&o.b, mk(room, "m", "i", "a"), T0 + 1, 1, &err));
    assert_int_equal(send_batch(w, &o, &err), ST_UNAVAIL);
    w->db.head->wal = w->wal;
    /* a record over the log's ceiling: refused by wal_append() in the middle of an append */
    begin(&o);
    OK(batch_put(&o.b, mk(room, "m", "i", "a"), T0 + 1, 1, &err));
    {
        struct batch_metadata *md = batch_add_metadata(&o.b);
        static const char big[1 << 20];

        *md = (struct batch_metadata){SV("m"), {big, sizeof(big)}, SV(""), 0};
        for (int k = 0; k < (int)(WAL_RECORD_MAX >> 20) + 1; k++)
            *batch_add_metadata(&o.b) = *md;
    }
    assert_int_not_equal(send_batch(w, &o, &err), ST_OK);
    assert_int_equal(w->res.samples[VERDICT_STORED], 0);
    head_stats(w->db.head, &s);
    assert_int_equal(s.samples, 1);
    OK(head_check(w->db.head, &err));
    assert_string_equal(read1(w, "m", "a", text, sizeof(text)), "0:1");
    assert_int_equal(put1(w, "m", "a", T0 + 1, 1), VERDICT_STORED);
}

/* --- threads --- */
struct party {
    struct world *w;
    int id;
    _Atomic bool *stop;
};

static void *appender(void *arg)
{
    struct party *p = arg;
    struct append_result res;
    struct err err = ERR_INIT;
    char i[16];

    for (int round = 0; round < 60; round++) {
        struct one o;

        begin(&o);
        for (int k = 0; k < 40; k++) {
            struct label room[2];

            /* half its own, half shared with everyone */
            snprintf(i, sizeof(i), "%d-%d", k % 2 ? p->id : 0, k);
            if (batch_put(&o.b, mk(room, "m", "i", i), T0 + round * 15000, round, &err) != ST_OK)
                abort();
        }
        if (head_append(p->w->db.head, &o.b, &p->w->rules, &res, &err) != ST_OK)
            abort();
        if (res.samples[VERDICT_STORED] + res.samples[VERDICT_DUPLICATE] != 40)
            abort();
        arena_fini(&o.arena);
    }
    return NULL;
}

static void *reader(void *arg)
{
    struct party *p = arg;

    while (!atomic_load(p->stop)) {
        struct matcher *m;
        const struct query_ctx ctx = {.clk = clk_system()};
        struct select_req req = {.matchers = (const struct matcher *const *)&m,
                                 .matchers_n = 1,
                                 .range = {T0, T0 + WINDOW}};
        struct series_set *set;
        struct samples s;
        struct err err = ERR_INIT;
        bool more = true;

        if (matcher_new(MATCH_EQ, SV(LABEL_NAME), SV("m"), &m, &err) != ST_OK ||
            head_select(p->w->db.head, &ctx, &req, &set, &err) != ST_OK)
            abort();
        samples_init(&s);
        while (series_set_next(set, &more, &err) == ST_OK && more) {
            if (series_set_read(set, &s, &err) != ST_OK || s.n == 0)
                abort();
            for (size_t k = 0; k < s.n; k++) /* no hole, no stray value */
                if (s.t_ms[k] != T0 + (int64_t)k * 15000 || s.f[k] != (double)k)
                    abort();
        }
        series_set_close(set);
        samples_fini(&s);
        matcher_free(m);
        head_book_settle(p->w->db.head);
    }
    return NULL;
}

static void appends_and_selects_run_beside_each_other(void **state)
{
    struct world *w = *state;
    _Atomic bool stop = false;
    struct party p[5];
    pthread_t t[5];
    struct db_stats s;
    struct err err = ERR_INIT;

    w->rules.ooo_window_ms = WINDOW;
    for (int k = 0; k < 5; k++) {
        p[k] = (struct party){w, k, &stop};
        pthread_create(&t[k], NULL, k < 3 ? appender : reader, &p[k]);
    }
    for (int k = 0; k < 3; k++)
        pthread_join(t[k], NULL);
    atomic_store(&stop, true);
    pthread_join(t[3], NULL);
    pthread_join(t[4], NULL);
    OK(head_check(w->db.head, &err));
    head_stats(w->db.head, &s);
    assert_int_equal(s.series, 20 + 3 * 20);
    assert_int_equal(s.samples, 60 * s.series);
    down(w);
    up(w);
    head_stats(w->db.head, &s);
    assert_int_equal(s.samples, 60 * s.series);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(order_rules_give_their_verdicts),
        T(without_a_window_a_late_sample_is_out_of_order_but_a_repeat_is_not),
        T(one_batch_is_judged_as_if_in_time_order_first_row_first),
        T(labels_are_one_series_however_they_are_spelt),
        T(ceilings_of_series_refuse_new_ones_only),
        T(chunks_windows_and_late_samples_read_back_in_order),
        T(a_restart_finds_series_samples_and_their_order_again),
        T(each_window_has_an_epoch_with_definitions_of_its_own),
        T(samples_without_their_definition_are_lost_not_misplaced),
        T(records_cut_short_anywhere_are_refused),
        T(matchers_find_what_they_should),
        T(the_alias_cache_has_a_ceiling),
        T(shards_are_disjoint_and_whole_and_limits_hold),
        T(selects_stop_when_told),
        T(marks_change_below_the_sealed_edge_alone),
        T(the_edge_never_passes_the_wall_clock),
        T(a_refused_log_leaves_nothing_stored),
        T(appends_and_selects_run_beside_each_other),
    };
    return RUN(tests);
}
