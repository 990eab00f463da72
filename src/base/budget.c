/* Counting memory by purpose; see the header. */
#include "base/budget.h"

#include <inttypes.h>
#include <string.h>

#define STEP ((int64_t)65536) /* an account asks the budget for this much at a time */

static const char *const names[BUDGET_PURPOSES] = {"head",  "wal",        "query",
                                                   "cache", "compaction", "http"};

void budget_init(struct budget *b, uint64_t total_max)
{
    memset(b, 0, sizeof(*b));
    b->total_max = total_max;
}

void budget_force(struct budget *b, enum budget_purpose p, int64_t bytes)
{
    if (!b)
        return;
    atomic_fetch_add_explicit(&b->used[p], bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&b->used_total, bytes, memory_order_relaxed);
}

bool budget_charge(struct budget *b, enum budget_purpose p, int64_t bytes)
{
    int64_t used, total;

    if (!b)
        return true;
    used = atomic_fetch_add_explicit(&b->used[p], bytes, memory_order_relaxed) + bytes;
    total = atomic_fetch_add_explicit(&b->used_total, bytes, memory_order_relaxed) + bytes;
    if (bytes > 0 && ((b->total_max && total > (int64_t)b->total_max) ||
                      (b->purpose_max[p] && used > (int64_t)b->purpose_max[p]))) {
        budget_force(b, p, -bytes);
        return false;
    }
    return true;
}

void budget_release(struct budget *b, enum budget_purpose p, int64_t bytes)
{
    budget_force(b, p, -bytes);
}

uint64_t budget_used(const struct budget *b, enum budget_purpose p)
{
    int64_t used = atomic_load_explicit(&b->used[p], memory_order_relaxed);

    return used > 0 ? (uint64_t)used : 0;
}

const char *budget_name(enum budget_purpose p)
{
    return names[p];
}

bool budget_above(const struct budget *b, unsigned percent)
{
    int64_t used;

    if (!b || b->total_max == 0)
        return false;
    used = atomic_load_explicit(&b->used_total, memory_order_relaxed);
    return used > 0 && (uint64_t)used >= b->total_max / 100 * percent;
}

void account_init(struct account *a, struct budget *b, enum budget_purpose p, int64_t max_bytes)
{
    *a = (struct account){.budget = b, .purpose = p, .max = max_bytes};
}

enum status account_charge(struct account *a, int64_t bytes, struct err *err)
{
    if (!a)
        return ST_OK;
    if (a->max && a->used + bytes > a->max)
        return err_set(err, ST_LIMIT,
                       "query processing would need more than %" PRId64
                       " bytes of memory (limit max_query_memory)",
                       a->max);
    if (a->used + bytes > a->charged) {
        int64_t want = (a->used + bytes - a->charged + STEP - 1) / STEP * STEP;

        if (!budget_charge(a->budget, a->purpose, want))
            return err_set(err, ST_LIMIT,
                           "no memory left for purpose %s: asked for %" PRId64
                           " bytes within a budget of %" PRIu64 " (setting memory)",
                           names[a->purpose], want, a->budget->total_max);
        a->charged += want;
    }
    a->used += bytes;
    if (a->used > a->peak)
        a->peak = a->used;
    return ST_OK;
}

void account_release(struct account *a, int64_t bytes)
{
    if (a)
        a->used -= bytes;
}

void account_fini(struct account *a)
{
    if (a->charged)
        budget_release(a->budget, a->purpose, a->charged);
    a->used = a->charged = 0;
}
