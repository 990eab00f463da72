/* The grid of steps, and splitting a stretch of it by day. */
#include "base/vec.h"
#include "fe_int.h"

#define DAY_MS INT64_C(86400000)
#define BUCKET_MS INT64_C(7200000)
#define BUCKET_STEPS_MAX 512

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

struct fe_grid fe_grid_of(int64_t start_ms, int64_t step_ms)
{
    int64_t steps = BUCKET_MS / step_ms;

    return (struct fe_grid){
        .step_ms = step_ms,
        .phase_ms = start_ms - floor_div(start_ms, step_ms) * step_ms,
        .bucket_steps = steps < 1 ? 1 : steps > BUCKET_STEPS_MAX ? BUCKET_STEPS_MAX : steps,
    };
}

int64_t fe_grid_index(const struct fe_grid *g, int64_t t_ms)
{
    return floor_div(t_ms - g->phase_ms, g->step_ms);
}

int64_t fe_grid_bucket(const struct fe_grid *g, int64_t i)
{
    return floor_div(i, g->bucket_steps);
}

void fe_pieces_add(struct fe_pieces *ps, const struct fe_grid *g, int64_t from, int64_t to)
{
    while (from <= to) {
        int64_t day = floor_div(fe_grid_ms(g, from), DAY_MS);
        int64_t last = fe_grid_index(g, (day + 1) * DAY_MS - 1);
        struct fe_piece *p;

        if (last > to)
            last = to;
        p = vec_add(ps);
        p->from = from;
        p->to = last;
        from = last + 1;
    }
}
