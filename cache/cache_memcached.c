/* memcached, through libmemcached.
 *
 * A key's server is the one with the highest hash of (server, key): taking one away moves only its
 * keys. Each server has idle handles and a breaker of its own: after BREAK_AFTER failures in a row
 * it is left alone for BREAK_NS, then one call tries again. So a dead or hung server costs a few short
 * timeouts, and never an error: whatever goes wrong is a miss.
 *
 * What is stored does not trust what comes back. The key on the wire is a hash; the item carries a
 * version, a checksum and the full key, and anything else is a miss:
 *
 *   item   "EGC1" | crc32c u32 of what follows | key's length u32 | key | value
 *
 * Writing is a thread's work with a bounded queue; over its ceiling items are dropped and counted.
 */
#include "base/codec.h"
#include "base/heap.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/vec.h"
#include "base/workq.h"
#include "cache/cache.h"

#include <libmemcached/memcached.h>
#include <stdio.h>

#define ITEM_MAGIC "EGC1"
#define ITEM_HEADER 12u
#define WIRE_KEY 39u         /* "engram", 32 hexadecimal digits, NUL */
#define BREAK_AFTER 3u
#define BREAK_NS INT64_C(5000000000)
#define IDLE_MAX 16u
#define QUEUE_JOBS 65536u
#define TTL_S_MAX (30 * 86400) /* more would be read as a date */
#define CLOSE_NS INT64_C(1000000000) /* closing writes what is queued for this long */

struct server {
    char *host;
    unsigned port;
    uint64_t seed;
    struct lock lock; /* guards idle and the breaker */
    VEC(memcached_st *) idle;
    unsigned failures;
    int64_t closed_until_ns; /* 0: in use */
};

struct mc {
    struct cache base;
    struct server *servers;
    size_t servers_n;
    struct cache_memcached_opts opts;
    struct workq *writer;
    _Atomic size_t queued_bytes;
    _Atomic int64_t stop_ns; /* not 0: closing, jobs later than this are dropped */
    struct metric *hits, *misses, *failed, *dropped, *foreign, *queue;
    struct metric_hist *seconds;
};

struct job {
    struct mc *mc;
    struct server *server;
    char key[WIRE_KEY];
    bool del;
    time_t ttl_s;
    struct buf item;
};

static void wire_key(char out[WIRE_KEY], struct sv key)
{
    struct hash128 h = hash128(key.p, key.n, 0);

    memcpy(out, "engram", 6);
    hex_encode(out + 6, &h, sizeof(h));
}

static struct server *server_of(struct mc *m, const char key[WIRE_KEY])
{
    struct server *best = NULL;
    uint64_t high = 0;

    for (size_t i = 0; i < m->servers_n; i++) {
        uint64_t h = hash64(key, WIRE_KEY - 1, m->servers[i].seed);

        if (!best || h > high) {
            best = &m->servers[i];
            high = h;
        }
    }
    return best;
}

/* --- handles and breaker --- */

static memcached_st *new_handle(struct mc *m, struct server *s)
{
    memcached_st *h = memcached_create(NULL);
    uint64_t ms = (uint64_t)m->opts.timeout_ms;

    if (!h)
        return NULL;
    memcached_behavior_set(h, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 1);
    memcached_behavior_set(h, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
    memcached_behavior_set(h, MEMCACHED_BEHAVIOR_NO_BLOCK, 1);
    memcached_behavior_set(h, MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, ms);
    memcached_behavior_set(h, MEMCACHED_BEHAVIOR_POLL_TIMEOUT, ms);
    memcached_behavior_set(h, MEMCACHED_BEHAVIOR_SND_TIMEOUT, ms * 1000);
    memcached_behavior_set(h, MEMCACHED_BEHAVIOR_RCV_TIMEOUT, ms * 1000);
    if (memcached_server_add(h, s->host, (in_port_t)s->port) != MEMCACHED_SUCCESS) {
        memcached_free(h);
        return NULL;
    }
    return h;
}

/* NULL while the breaker is open. */
static memcached_st *take_handle(struct mc *m, struct server *s)
{
    memcached_st *h = NULL;

    {
        LOCK_SCOPE(&s->lock);
        if (s->closed_until_ns) {
            int64_t now = clk_mono_ns(m->opts.clk);

            if (now < s->closed_until_ns)
                return NULL;
            s->closed_until_ns = now + BREAK_NS; /* this call tries, others wait for its outcome */
        }
        if (s->idle.n)
            h = s->idle.p[--s->idle.n];
    }
    return h ? h : new_handle(m, s);
}

/* A handle that failed is not trusted to be in step with its server any more. */
static void give_handle(struct mc *m, struct server *s, memcached_st *h, bool good)
{
    bool opened = false, closed = false;

    {
        LOCK_SCOPE(&s->lock);
        if (good) {
            closed = s->closed_until_ns != 0;
            s->failures = 0;
            s->closed_until_ns = 0;
            if (s->idle.n < IDLE_MAX) {
                vec_push(&s->idle, h);
                h = NULL;
            }
        } else if (++s->failures >= BREAK_AFTER) {
            opened = s->closed_until_ns == 0;
            s->closed_until_ns = clk_mono_ns(m->opts.clk) + BREAK_NS;
        }
    }
    if (h)
        memcached_free(h);
    if (!good)
        metric_inc(m->failed);
    if (opened)
        log_warn("cache", "memcached left alone for a while", "server=%s:%u", s->host, s->port);
    if (closed)
        log_info("cache", "memcached is used again", "server=%s:%u", s->host, s->port);
}

/* --- items --- */

static void item_write(struct buf *out, struct sv key, struct sv value)
{
    struct buf body;
    uint32_t crc;

    buf_init(&body, SIZE_MAX);
    buf_le32(&body, (uint32_t)key.n);
    buf_sv(&body, key);
    buf_sv(&body, value);
    crc = crc32c(0, body.p, body.n);
    buf_str(out, ITEM_MAGIC);
    buf_le32(out, crc);
    buf_sv(out, buf_view(&body));
    buf_fini(&body);
}

static bool item_read(struct sv item, struct sv key, struct buf *value)
{
    struct cur c = cur_of(item);
    struct sv magic = cur_bytes(&c, 4), found, rest;
    uint32_t crc = cur_le32(&c);

    rest = sv_make(c.p, cur_left(&c));
    found = cur_bytes(&c, cur_le32(&c));
    if (c.bad || !sv_is(magic, ITEM_MAGIC) || crc32c(0, rest.p, rest.n) != crc ||
        !sv_eq(found, key))
        return false;
    buf_put(value, c.p, cur_left(&c));
    return buf_ok(value);
}

/* --- reading --- */

struct asked {
    char key[WIRE_KEY];
    struct server *server;
    struct cache_get *get;
};

static void take_result(struct mc *m, struct asked *asked, size_t n, memcached_result_st *r)
{
    struct sv key = sv_make(memcached_result_key_value(r), memcached_result_key_length(r));
    struct sv item = sv_make(memcached_result_value(r), memcached_result_length(r));

    for (size_t i = 0; i < n; i++) {
        if (asked[i].get->hit || !sv_eq(key, sv_make(asked[i].key, WIRE_KEY - 1)))
            continue;
        asked[i].get->hit = item_read(item, asked[i].get->key, asked[i].get->value);
        if (asked[i].get->hit)
            continue;
        buf_clear(asked[i].get->value);
        metric_inc(m->foreign);
    }
}

/* One round trip for all keys of one server. */
static void get_from(struct mc *m, struct server *s, struct asked *asked, size_t n)
{
    memcached_st *h = take_handle(m, s);
    const char **keys;
    size_t *lengths, k = 0;
    memcached_return_t rc;
    memcached_result_st result;
    int64_t began_ns = clk_mono_ns(m->opts.clk);

    if (!h)
        return;
    keys = heap_array(n, sizeof(*keys));
    lengths = heap_array(n, sizeof(*lengths));
    for (size_t i = 0; i < n; i++)
        if (asked[i].server == s) {
            keys[k] = asked[i].key;
            lengths[k++] = WIRE_KEY - 1;
        }
    rc = memcached_mget(h, keys, lengths, k);
    if (rc == MEMCACHED_SUCCESS) {
        memcached_result_create(h, &result);
        while (memcached_fetch_result(h, &result, &rc) && rc == MEMCACHED_SUCCESS)
            take_result(m, asked, n, &result);
        memcached_result_free(&result);
    }
    give_handle(m, s, h, rc == MEMCACHED_END || rc == MEMCACHED_NOTFOUND || rc == MEMCACHED_SUCCESS);
    metric_observe(m->seconds, (double)(clk_mono_ns(m->opts.clk) - began_ns) / 1e9);
    heap_free(keys);
    heap_free(lengths);
}

static void mc_get(struct cache *c, struct cache_get *gets, size_t n)
{
    struct mc *m = (struct mc *)c;
    struct asked *asked = heap_array(n ? n : 1, sizeof(*asked));

    for (size_t i = 0; i < n; i++) {
        gets[i].hit = false;
        buf_clear(gets[i].value);
        wire_key(asked[i].key, gets[i].key);
        asked[i].server = server_of(m, asked[i].key);
        asked[i].get = &gets[i];
    }
    for (size_t s = 0; s < m->servers_n; s++)
        for (size_t i = 0; i < n; i++)
            if (asked[i].server == &m->servers[s]) {
                get_from(m, &m->servers[s], asked, n);
                break;
            }
    for (size_t i = 0; i < n; i++)
        metric_inc(gets[i].hit ? m->hits : m->misses);
    heap_free(asked);
}

/* --- writing --- */

static void write_job(void *arg)
{
    struct job *j = arg;
    struct mc *m = j->mc;
    int64_t stop_ns = m->stop_ns;
    memcached_st *h = NULL;
    memcached_return_t rc = MEMCACHED_SUCCESS;

    if (!stop_ns || clk_mono_ns(m->opts.clk) < stop_ns)
        h = take_handle(m, j->server);
    if (h && j->del)
        rc = memcached_delete(h, j->key, WIRE_KEY - 1, 0);
    else if (h)
        rc = memcached_set(h, j->key, WIRE_KEY - 1, j->item.p, j->item.n, j->ttl_s, 0);
    if (h)
        give_handle(m, j->server, h, rc == MEMCACHED_SUCCESS || rc == MEMCACHED_NOTFOUND ||
                                         rc == MEMCACHED_E2BIG || rc == MEMCACHED_BUFFERED);
    else
        metric_inc(m->dropped);
    m->queued_bytes -= j->item.n + sizeof(*j);
    metric_set(m->queue, (double)m->queued_bytes);
    buf_fini(&j->item);
    heap_free(j);
}

static void enqueue(struct mc *m, struct sv key, const struct sv *value, int64_t ttl_ms)
{
    struct job *j = heap_new(struct job);
    size_t bytes;

    j->mc = m;
    wire_key(j->key, key);
    j->server = server_of(m, j->key);
    j->del = !value;
    j->ttl_s = (time_t)(ttl_ms ? (ttl_ms + 999) / 1000 : 0);
    if (j->ttl_s > TTL_S_MAX)
        j->ttl_s = TTL_S_MAX;
    buf_init(&j->item, SIZE_MAX);
    if (value)
        item_write(&j->item, key, *value);
    bytes = j->item.n + sizeof(*j);
    if (atomic_fetch_add(&m->queued_bytes, bytes) + bytes <= m->opts.queue_max_bytes &&
        workq_put(m->writer, write_job, j))
        return;
    m->queued_bytes -= bytes;
    metric_inc(m->dropped);
    buf_fini(&j->item);
    heap_free(j);
}

static void mc_set(struct cache *c, struct sv key, struct sv value, int64_t ttl_ms)
{
    struct mc *m = (struct mc *)c;

    if (ITEM_HEADER + key.n + value.n > m->opts.value_max_bytes)
        metric_inc(m->dropped);
    else
        enqueue(m, key, &value, ttl_ms);
}

static void mc_del(struct cache *c, struct sv key)
{
    enqueue((struct mc *)c, key, NULL, 0);
}

static void mc_close(struct cache *own_c)
{
    struct mc *m = (struct mc *)own_c;

    m->stop_ns = clk_mono_ns(m->opts.clk) + CLOSE_NS;
    workq_stop(m->writer);
    for (size_t i = 0; i < m->servers_n; i++) {
        struct server *s = &m->servers[i];

        for (size_t k = 0; k < s->idle.n; k++)
            memcached_free(s->idle.p[k]);
        vec_free(&s->idle);
        if (s->host)
            lock_fini(&s->lock);
        heap_free(s->host);
    }
    heap_free(m->servers);
    heap_free(m);
}

static enum status add_server(struct server *s, const char *text, struct err *err)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (!colon || colon == text || !sv_u64(sv_of(colon + 1), &port) || port < 1 || port > 65535)
        return err_set(err, ST_INVALID, "memcached server \"%s\" is not host:port", text);
    s->host = heap_strn(text, (size_t)(colon - text));
    s->port = (unsigned)port;
    s->seed = hash64(text, strlen(text), 0);
    lock_init(&s->lock, LOCK_net);
    return ST_OK;
}

enum status cache_memcached_new(const struct cache_memcached_opts *opts, struct cache **ret,
                                struct err *err)
{
    static const struct cache_ops ops = {mc_get, mc_set, mc_del, mc_close};
    struct mc *m = heap_new(struct mc);
    struct metrics *r = opts->metrics;
    enum status st = ST_OK;

    m->base.ops = &ops;
    m->opts = *opts;
    m->opts.servers = NULL;
    m->opts.timeout_ms = opts->timeout_ms ? opts->timeout_ms : 50;
    m->opts.queue_max_bytes = opts->queue_max_bytes ? opts->queue_max_bytes : (size_t)8 << 20;
    m->opts.value_max_bytes = opts->value_max_bytes ? opts->value_max_bytes : (size_t)512 << 10;
    m->servers_n = opts->servers_n;
    m->servers = heap_array(opts->servers_n ? opts->servers_n : 1, sizeof(*m->servers));
    for (size_t i = 0; i < opts->servers_n && st == ST_OK; i++)
        st = add_server(&m->servers[i], opts->servers[i], err);
    if (st == ST_OK && !opts->servers_n)
        st = err_set(err, ST_INVALID, "no memcached server is given");
    if (st != ST_OK) {
        mc_close(&m->base);
        return st;
    }
    m->writer = workq_start("memcached", 1, QUEUE_JOBS);
    *ret = &m->base;
    if (!r)
        return ST_OK;
    m->hits = metric_counter(r, "engram_cache_hits_total", "cache=\"memcached\"",
                             "Look-ups that found an item.");
    m->misses = metric_counter(r, "engram_cache_misses_total", "cache=\"memcached\"",
                               "Look-ups that did not.");
    m->failed = metric_counter(r, "engram_cache_memcached_failures_total", "",
                               "Calls that timed out or failed; each is a miss.");
    m->dropped = metric_counter(r, "engram_cache_memcached_dropped_total", "",
                                "Writes dropped: queue full, too large, or server left alone.");
    m->foreign = metric_counter(r, "engram_cache_memcached_foreign_total", "",
                                "Items that were damaged or not ours; each is a miss.");
    m->queue = metric_gauge(r, "engram_cache_memcached_queue_bytes", "", "Writes that wait.");
    m->seconds = metric_seconds(r, "engram_cache_memcached_seconds", "", "Duration of a look-up.");
    return ST_OK;
}
