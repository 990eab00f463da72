/* The machine's clocks. */
#include "base/clk.h"

#include <time.h>

static int64_t wall(const struct clk *c)
{
    struct timespec ts;

    (void)c;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t mono(const struct clk *c)
{
    struct timespec ts;

    (void)c;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

const struct clk *clk_system(void)
{
    static const struct clk system = {wall, mono};

    return &system;
}
