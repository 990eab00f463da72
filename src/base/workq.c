/* A ring of jobs under one lock; a thread waits on one condition. The ticker is one thread that
 * sleeps until its interval is over or somebody kicks it. */
#include "base/workq.h"

#include "base/heap.h"
#include "base/lock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct job {
    work_fn fn;
    void *arg;
};

struct workq {
    struct lock lock; /* guards all below */
    struct cond more;
    struct job *ring;
    size_t cap, head, n;
    bool stopping;
    unsigned threads_n;
    pthread_t *threads;
};

static void thread_must(int rc)
{
    if (rc) {
        fprintf(stderr, "engram: cannot start a thread: error %d\n", rc);
        abort();
    }
}

static void *work(void *arg)
{
    struct workq *q = arg;

    lock_take(&q->lock);
    for (;;) {
        struct job j;

        while (q->n == 0 && !q->stopping)
            cond_wait(&q->more, &q->lock);
        if (q->n == 0)
            break;
        j = q->ring[q->head];
        q->head = (q->head + 1) % q->cap;
        q->n--;
        lock_drop(&q->lock);
        j.fn(j.arg);
        lock_take(&q->lock);
    }
    lock_drop(&q->lock);
    return NULL;
}

struct workq *workq_start(const char *name, unsigned threads, size_t cap)
{
    struct workq *q = heap_new(struct workq);

    assert(threads > 0 && cap > 0);
    lock_init(&q->lock, LOCK_queue);
    cond_init(&q->more);
    q->ring = heap_array(cap, sizeof(*q->ring));
    q->cap = cap;
    q->threads_n = threads;
    q->threads = heap_array(threads, sizeof(*q->threads));
    for (unsigned i = 0; i < threads; i++) {
        thread_must(pthread_create(&q->threads[i], NULL, work, q));
        pthread_setname_np(q->threads[i], name);
    }
    return q;
}

bool workq_put(struct workq *q, work_fn fn, void *arg)
{
    bool ok;

    lock_take(&q->lock);
    ok = !q->stopping && q->n < q->cap;
    if (ok) {
        q->ring[(q->head + q->n) % q->cap] = (struct job){fn, arg};
        q->n++;
        cond_signal(&q->more);
    }
    lock_drop(&q->lock);
    return ok;
}

size_t workq_length(struct workq *q)
{
    size_t n;

    lock_take(&q->lock);
    n = q->n;
    lock_drop(&q->lock);
    return n;
}

void workq_stop(struct workq *own_q)
{
    struct workq *q = own_q;

    if (!q)
        return;
    lock_take(&q->lock);
    q->stopping = true;
    cond_broadcast(&q->more);
    lock_drop(&q->lock);
    for (unsigned i = 0; i < q->threads_n; i++)
        pthread_join(q->threads[i], NULL);
    cond_fini(&q->more);
    lock_fini(&q->lock);
    heap_free(q->threads);
    heap_free(q->ring);
    heap_free(q);
}

struct ticker {
    struct lock lock; /* guards kicked, stopping */
    struct cond wake;
    bool kicked, stopping;
    int64_t interval_ms;
    work_fn fn;
    void *arg;
    pthread_t thread;
};

static void *tick(void *arg)
{
    struct ticker *t = arg;

    lock_take(&t->lock);
    while (!t->stopping) {
        if (!t->kicked)
            cond_wait_ns(&t->wake, &t->lock, t->interval_ms * 1000000);
        if (t->stopping)
            break;
        t->kicked = false;
        lock_drop(&t->lock);
        t->fn(t->arg);
        lock_take(&t->lock);
    }
    lock_drop(&t->lock);
    return NULL;
}

struct ticker *ticker_start(const char *name, int64_t interval_ms, work_fn fn, void *arg)
{
    struct ticker *t = heap_new(struct ticker);

    assert(interval_ms > 0);
    lock_init(&t->lock, LOCK_queue);
    cond_init(&t->wake);
    t->interval_ms = interval_ms;
    t->fn = fn;
    t->arg = arg;
    thread_must(pthread_create(&t->thread, NULL, tick, t));
    pthread_setname_np(t->thread, name);
    return t;
}

void ticker_kick(struct ticker *t)
{
    lock_take(&t->lock);
    t->kicked = true;
    cond_signal(&t->wake);
    lock_drop(&t->lock);
}

void ticker_stop(struct ticker *own_t)
{
    struct ticker *t = own_t;

    if (!t)
        return;
    lock_take(&t->lock);
    t->stopping = true;
    cond_signal(&t->wake);
    lock_drop(&t->lock);
    pthread_join(t->thread, NULL);
    cond_fini(&t->wake);
    lock_fini(&t->lock);
    heap_free(t);
}
