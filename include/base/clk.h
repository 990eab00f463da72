/* include/base/clk.h
 *
 * Time, wall and monotonic apart, behind a table so that tests inject it.
 */
#ifndef ENGRAM_BASE_CLK_H
#define ENGRAM_BASE_CLK_H

#include <stdint.h>

struct clk {
    int64_t (*wall_ms)(const struct clk *c); /* unix milliseconds */
    int64_t (*mono_ns)(const struct clk *c); /* never goes back */
};

const struct clk *clk_system(void);
static inline int64_t clk_wall_ms(const struct clk *c)
{
    return c->wall_ms(c);
}
static inline int64_t clk_mono_ns(const struct clk *c)
{
    return c->mono_ns(c);
}

#endif
