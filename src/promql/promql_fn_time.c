/* Date functions: fields of a UTC time given in seconds. The calendar is computed here, for every
 * second of every year that fits 64 bits, as Go does. */
#include "promql_eval_int.h"

#include <assert.h>

#define DAY_S 86400
/* Days from Go's first day to 1970: its times are counted from there and wrap around. */
#define GO_EPOCH_DAYS INT64_C(106751991073094)

struct date {
    int64_t year;
    int month, day; /* from 1 */
    int hour, minute, weekday, yearday; /* weekday 0: Sunday; yearday from 1 */
};

static bool leap(int64_t y)
{
    return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
}

static int month_days(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && leap(year));
}

/* Days since 1970 to year, month, day: eras of 400 years, years that begin in March. */
static struct date date_of(int64_t unix_s)
{
    uint64_t since = (uint64_t)unix_s + (uint64_t)GO_EPOCH_DAYS * DAY_S;
    int64_t days = (int64_t)(since / DAY_S) - GO_EPOCH_DAYS, rest = (int64_t)(since % DAY_S);
    int64_t z, era, doe, yoe, doy, mp;
    struct date d;

    d.hour = (int)(rest / 3600);
    d.minute = (int)(rest % 3600 / 60);
    d.weekday = (int)(((days + 4) % 7 + 7) % 7);
    z = days + 719468;
    era = (z >= 0 ? z : z - 146096) / 146097;
    doe = z - era * 146097;
    yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    mp = (5 * doy + 2) / 153;
    d.day = (int)(doy - (153 * mp + 2) / 5 + 1);
    d.month = (int)(mp < 10 ? mp + 3 : mp - 9);
    d.year = yoe + era * 400 + (d.month <= 2);
    d.yearday = d.day;
    for (int m = 1; m < d.month; m++)
        d.yearday += month_days(d.year, m);
    return d;
}

static double field(enum fn_id id, const struct date *d)
{
    switch ((int)id) {
    case FN_DAYS_IN_MONTH: return month_days(d->year, d->month);
    case FN_DAY_OF_MONTH: return d->day;
    case FN_DAY_OF_WEEK: return d->weekday;
    case FN_DAY_OF_YEAR: return d->yearday;
    case FN_HOUR: return d->hour;
    case FN_MINUTE: return d->minute;
    case FN_MONTH: return d->month;
    case FN_YEAR: return (double)d->year;
    default: break;
    }
    assert(!"date function");
    return 0;
}

/* Seconds as Go converts them on amd64: what does not fit is the lowest number. */
static int64_t seconds_of(double v)
{
    return v >= -9223372036854775808.0 && v < 9223372036854775808.0 ? (int64_t)v : INT64_MIN;
}

static double date_value(enum fn_id id, double v)
{
    struct date d = date_of(seconds_of(v));

    return field(id, &d);
}

struct date_op {
    struct op op;
    enum fn_id id;
    struct labbuf labs;
};

static enum status date_next(struct op *o, struct prow **ret, struct err *err)
{
    struct date_op *d = (struct date_op *)o;
    struct prow *row;

    TRY(promql_next(o->child, ret, err));
    row = *ret;
    if (!row)
        return ST_OK;
    for (size_t i = 0; i < o->grid.n; i++) {
        if (prow_is_hist(row, i))
            row->v[i] = f64_absent();
        else if (prow_has(row, i))
            row->v[i] = date_value(d->id, row->v[i]);
    }
    row->h = NULL;
    promql_drop_name(o->ev, row, &d->labs);
    return ST_OK;
}

static void date_close(struct op *o)
{
    promql_labbuf_free(&((struct date_op *)o)->labs);
}

/* Without an argument: of the step's own time. */
static enum status build_now(struct ev *ev, enum fn_id id, const struct grid *g, struct op **ret,
                             struct err *err)
{
    double *v;

    TRY(promql_column(ev, g->n, &v, err));
    for (size_t i = 0; i < g->n; i++)
        v[i] = date_value(id, (double)(grid_ms(g, i) / 1000));
    return promql_build_scalar_row(ev, g, v, ret, err);
}

enum status promql_build_date(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err)
{
    static const struct op_ops ops = {date_next, date_close};
    struct op *child;
    struct date_op *d;

    if (e->call.args.n == 0)
        return build_now(ev, e->call.fn->id, g, ret, err);
    TRY(promql_build(ev, e->call.args.p[0], g, &child, err));
    TRY(promql_op_new(ev, sizeof(*d), &ops, g, child, &d, err));
    d->id = e->call.fn->id;
    d->op.one_name = child->one_name;
    *ret = &d->op;
    if (ev->params->opts.delayed_name_removal)
        return ST_OK;
    return promql_build_merge(ev, &d->op, false, ret, err);
}
