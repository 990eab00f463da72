/* include/model/trange.h
 *
 * A half-open time range in unix milliseconds: from_ms <= t < to_ms. The two inclusive worlds (HTTP
 * API, Prometheus block queriers) are converted by trange_closed() alone.
 */
#ifndef ENGRAM_MODEL_TRANGE_H
#define ENGRAM_MODEL_TRANGE_H

#include <stdbool.h>
#include <stdint.h>

struct trange {
    int64_t from_ms, to_ms;
};

static inline bool trange_empty(struct trange r)
{
    return r.from_ms >= r.to_ms;
}
static inline bool trange_has(struct trange r, int64_t t_ms)
{
    return t_ms >= r.from_ms && t_ms < r.to_ms;
}
static inline bool trange_overlaps(struct trange a, struct trange b)
{
    return a.from_ms < b.to_ms && b.from_ms < a.to_ms;
}
/* From an inclusive pair; INT64_MAX stays. */
static inline struct trange trange_closed(int64_t from_ms, int64_t last_ms)
{
    return (struct trange){from_ms, last_ms == INT64_MAX ? INT64_MAX : last_ms + 1};
}

#endif
