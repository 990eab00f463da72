/* The evaluating threads and who is next: a queue for each tenant, tenants in turn, so that a
 * tenant with a thousand waiting queries delays another by one query at most. */
#include "base/heap.h"
#include "base/hmap.h"
#include "base/vec.h"
#include "fe_int.h"

#include <assert.h>
#include <inttypes.h>

struct job {
    struct job *next;
    fe_job fn;
    void *arg;
    bool counts;
};

/* A tenant with something waiting; in the ring of turns. Gone when its last job has been taken. */
struct line {
    struct line *next;
    struct sv tenant;
    struct job *first, **last;
    uint64_t n; /* that count against max_waiting */
    char name[];
};

struct fe_queue {
    struct lock lock; /* guards all below */
    struct cond more;
    struct hmap lines;
    struct line *turn, **turn_last; /* whose turn it is; new ones join at the end */
    uint64_t waiting;
    bool stopping;
    pthread_t *threads;
    unsigned threads_n;
    struct metric *m_waiting, *m_running;
};

static struct line *line_of(struct fe_queue *q, struct sv tenant)
{
    struct line *l = hmap_get(&q->lines, tenant);

    if (l)
        return l;
    l = heap_zalloc(sizeof(*l) + tenant.n);
    memcpy(l->name, tenant.p, tenant.n);
    l->tenant = sv_make(l->name, tenant.n);
    l->last = &l->first;
    hmap_set(&q->lines, tenant, l);
    *q->turn_last = l;
    q->turn_last = &l->next;
    return l;
}

/* The next job: of the tenant whose turn it is, who then goes to the end. */
static struct job *take(struct fe_queue *q)
{
    struct line *l = q->turn;
    struct job *j = l->first;

    l->first = j->next;
    l->n -= j->counts;
    q->waiting--;
    q->turn = l->next;
    if (!q->turn)
        q->turn_last = &q->turn;
    l->next = NULL;
    if (l->first) {
        *q->turn_last = l;
        q->turn_last = &l->next;
    } else {
        hmap_del(&q->lines, l->tenant);
        heap_free(l);
    }
    return j;
}

static void *work(void *arg)
{
    struct fe_queue *q = arg;

    pthread_setname_np(pthread_self(), "query-eval");
    for (;;) {
        struct job *j;

        lock_take(&q->lock);
        while (!q->turn && !q->stopping)
            cond_wait(&q->more, &q->lock);
        if (!q->turn) {
            lock_drop(&q->lock);
            return NULL;
        }
        j = take(q);
        metric_set(q->m_waiting, (double)q->waiting);
        lock_drop(&q->lock);
        metric_add(q->m_running, 1);
        j->fn(j->arg);
        metric_add(q->m_running, -1);
        heap_free(j);
    }
}

enum status fe_queue_put(struct fe_queue *q, struct sv tenant, uint64_t max_waiting, fe_job fn,
                         void *arg, struct err *err)
{
    struct line *l;
    struct job *j;

    LOCK_SCOPE(&q->lock);
    if (q->stopping)
        return err_set(err, ST_UNAVAIL, "shutting down");
    l = hmap_get(&q->lines, tenant);
    if (max_waiting && l && l->n >= max_waiting)
        return err_set(err, ST_RATE,
                       "too many outstanding requests: %" PRIu64 " queries of tenant " SV_FMT
                       " wait, limit max_outstanding_requests_per_tenant is %" PRIu64,
                       l->n, SV_ARG(tenant), max_waiting);
    l = line_of(q, tenant);
    j = heap_new(struct job);
    *j = (struct job){.fn = fn, .arg = arg, .counts = max_waiting != 0};
    *l->last = j;
    l->last = &j->next;
    l->n += j->counts;
    q->waiting++;
    metric_set(q->m_waiting, (double)q->waiting);
    cond_signal(&q->more);
    return ST_OK;
}

struct fe_queue *fe_queue_new(unsigned threads, struct metrics *m)
{
    struct fe_queue *q = heap_new(struct fe_queue);

    lock_init(&q->lock, LOCK_frontend);
    cond_init(&q->more);
    hmap_init(&q->lines);
    q->turn_last = &q->turn;
    q->threads_n = threads ? threads : 1;
    q->threads = heap_array(q->threads_n, sizeof(*q->threads));
    if (m) {
        q->m_waiting = metric_gauge(m, "engram_frontend_queue_length", "", "Evaluations that wait.");
        q->m_running = metric_gauge(m, "engram_frontend_running", "", "Evaluations that run.");
    }
    for (unsigned i = 0; i < q->threads_n; i++) {
        int rc = pthread_create(&q->threads[i], NULL, work, q);

        assert(rc == 0);
        (void)rc;
    }
    return q;
}

void fe_queue_free(struct fe_queue *own_q)
{
    struct fe_queue *q = own_q;

    if (!q)
        return;
    lock_take(&q->lock);
    q->stopping = true;
    cond_broadcast(&q->more);
    lock_drop(&q->lock);
    for (unsigned i = 0; i < q->threads_n; i++)
        pthread_join(q->threads[i], NULL);
    heap_free(q->threads);
    hmap_fini(&q->lines);
    cond_fini(&q->more);
    lock_fini(&q->lock);
    heap_free(q);
}
