/* include/base/budget.h
 *
 * The memory budget: every large allocation is charged to a purpose; the total is held against
 * what --memory gave. A budget does not allocate, it only counts.
 *
 * budget_charge() refuses (false) when the purpose's share or the total would pass its ceiling;
 * budget_force() counts without asking (what exists already). An account is one query's or one
 * request's part: it charges the budget in steps of 64 KiB and has a ceiling of its own.
 *
 * Threads: atomics; an account belongs to one thread at a time, the budget to all.
 */
#ifndef ENGRAM_BASE_BUDGET_H
#define ENGRAM_BASE_BUDGET_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

enum budget_purpose { BUDGET_HEAD, BUDGET_WAL, BUDGET_QUERY, BUDGET_CACHE, BUDGET_COMPACTION,
                      BUDGET_HTTP, BUDGET_PURPOSES };

struct budget {
    uint64_t total_max;
    uint64_t purpose_max[BUDGET_PURPOSES]; /* 0: only the total counts */
    _Atomic int64_t used[BUDGET_PURPOSES];
    _Atomic int64_t used_total;
};

void budget_init(struct budget *b, uint64_t total_max);
bool budget_charge(struct budget *b, enum budget_purpose p, int64_t bytes) NODISCARD;
void budget_force(struct budget *b, enum budget_purpose p, int64_t bytes);
void budget_release(struct budget *b, enum budget_purpose p, int64_t bytes);
uint64_t budget_used(const struct budget *b, enum budget_purpose p);
const char *budget_name(enum budget_purpose p);
/* True when used_total is at or above percent of total_max. */
bool budget_above(const struct budget *b, unsigned percent);

struct account {
    struct budget *budget; /* borrowed; NULL: only the own ceiling counts */
    enum budget_purpose purpose;
    int64_t used, charged, peak, max; /* bytes; max 0: none */
};
void account_init(struct account *a, struct budget *b, enum budget_purpose p, int64_t max_bytes);
/* ST_LIMIT with a text that names the limit. Negative bytes give back. NULL account: always OK. */
enum status account_charge(struct account *a, int64_t bytes, struct err *err) NODISCARD;
void account_release(struct account *a, int64_t bytes);
void account_fini(struct account *a); /* gives everything back */

#endif
