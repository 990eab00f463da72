/* include/base/lock.h
 *
 * Mutexes and read-write locks with a rank from lock_ranks.def. In checked builds
 * (-DENGRAM_CHECK_LOCKS, on in test builds) taking a lock of an equal or outer rank than one held
 * aborts with both names. No I/O under a lock except the log's own.
 *
 * LOCK_SCOPE(&l) releases at the end of the block.
 */
#ifndef ENGRAM_BASE_LOCK_H
#define ENGRAM_BASE_LOCK_H

#include "base/attr.h"

#include <pthread.h>
#include <stdbool.h>

enum lock_rank {
#define X(name) LOCK_##name,
#include "base/lock_ranks.def"
#undef X
    LOCK_RANKS
};

struct lock {
    pthread_mutex_t mutex;
    enum lock_rank rank;
};
struct rwlock {
    pthread_rwlock_t rw;
    enum lock_rank rank;
};

void lock_init(struct lock *l, enum lock_rank rank);
void lock_fini(struct lock *l);
void lock_take(struct lock *l);
void lock_drop(struct lock *l);
/* Several locks of one rank, in ascending address order only (stripes). */
void lock_take_same(struct lock *l);

void rwlock_init(struct rwlock *l, enum lock_rank rank);
void rwlock_fini(struct rwlock *l);
void rwlock_read(struct rwlock *l);
void rwlock_write(struct rwlock *l);
void rwlock_drop(struct rwlock *l);

/* Waiting: only workq, wal_sync and the few other places listed in src/ARCHITECTURE.md. */
struct cond {
    pthread_cond_t cond;
};
void cond_init(struct cond *c); /* monotonic clock */
void cond_fini(struct cond *c);
void cond_wait(struct cond *c, struct lock *l);
bool cond_wait_ns(struct cond *c, struct lock *l, long long ns); /* false after ns */
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

static inline void lock_scope_end_(struct lock **l)
{
    lock_drop(*l);
}
#define LOCK_CAT2(a, b) a##b
#define LOCK_CAT(a, b) LOCK_CAT2(a, b)
#define LOCK_SCOPE(l)                                                                              \
    __attribute__((cleanup(lock_scope_end_))) UNUSED struct lock *LOCK_CAT(scope_, __LINE__) = (l); \
    lock_take(LOCK_CAT(scope_, __LINE__))

#endif
