/* Ranked locks. In checked builds a thread keeps a bit for each rank it holds; taking a rank that
 * is not below all of them aborts with both names. */
#include "base/lock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef ENGRAM_CHECK_LOCKS
static const char *const rank_names[] = {
#    define X(name) #    name,
#    include "base/lock_ranks.def"
#    undef X
};
static _Thread_local unsigned char held_count[LOCK_RANKS]; /* the lock-rank record */

static void check_take(enum lock_rank rank, bool same)
{
    for (int r = same ? (int)rank + 1 : (int)rank; r < LOCK_RANKS; r++)
        if (held_count[r]) {
            fprintf(stderr, "engram: lock order: taking %s while holding %s\n", rank_names[rank],
                    rank_names[r]);
            abort();
        }
    held_count[rank]++;
}
static void check_drop(enum lock_rank rank)
{
    assert(held_count[rank] > 0);
    held_count[rank]--;
}
#else
static void check_take(enum lock_rank rank, bool same)
{
    (void)rank;
    (void)same;
}
static void check_drop(enum lock_rank rank)
{
    (void)rank;
}
#endif

static void must(int rc)
{
    if (rc) {
        fprintf(stderr, "engram: lock: error %d\n", rc);
        abort();
    }
}

void lock_init(struct lock *l, enum lock_rank rank)
{
    l->rank = rank;
    must(pthread_mutex_init(&l->mutex, NULL));
}

void lock_fini(struct lock *l)
{
    must(pthread_mutex_destroy(&l->mutex));
}

void lock_take(struct lock *l)
{
    check_take(l->rank, false);
    must(pthread_mutex_lock(&l->mutex));
}

void lock_take_same(struct lock *l)
{
    check_take(l->rank, true);
    must(pthread_mutex_lock(&l->mutex));
}

void lock_drop(struct lock *l)
{
    check_drop(l->rank);
    must(pthread_mutex_unlock(&l->mutex));
}

/* A writer that waits holds back new readers: readers that overlap without end (appends of a busy
 * tenant) would else keep it out for ever. Nobody reads twice, the ranks forbid it. */
void rwlock_init(struct rwlock *l, enum lock_rank rank)
{
    pthread_rwlockattr_t attr;

    l->rank = rank;
    must(pthread_rwlockattr_init(&attr));
    must(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
    must(pthread_rwlock_init(&l->rw, &attr));
    must(pthread_rwlockattr_destroy(&attr));
}

void rwlock_fini(struct rwlock *l)
{
    must(pthread_rwlock_destroy(&l->rw));
}

void rwlock_read(struct rwlock *l)
{
    check_take(l->rank, false);
    must(pthread_rwlock_rdlock(&l->rw));
}

void rwlock_write(struct rwlock *l)
{
    check_take(l->rank, false);
    must(pthread_rwlock_wrlock(&l->rw));
}

void rwlock_drop(struct rwlock *l)
{
    check_drop(l->rank);
    must(pthread_rwlock_unlock(&l->rw));
}

void cond_init(struct cond *c)
{
    pthread_condattr_t attr;

    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must(pthread_cond_init(&c->cond, &attr));
    must(pthread_condattr_destroy(&attr));
}

void cond_fini(struct cond *c)
{
    must(pthread_cond_destroy(&c->cond));
}

void cond_wait(struct cond *c, struct lock *l)
{
    must(pthread_cond_wait(&c->cond, &l->mutex));
}

bool cond_wait_ns(struct cond *c, struct lock *l, long long ns)
{
    struct timespec until;
    int rc;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec += (long)(ns % 1000000000);
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    rc = pthread_cond_timedwait(&c->cond, &l->mutex, &until);
    if (rc == ETIMEDOUT)
        return false;
    must(rc);
    return true;
}

void cond_signal(struct cond *c)
{
    must(pthread_cond_signal(&c->cond));
}

void cond_broadcast(struct cond *c)
{
    must(pthread_cond_broadcast(&c->cond));
}
