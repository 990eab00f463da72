/* The byte caches: what they keep, what they give back, and a real memcached in each of its moods. */
#include "unit.h"

#include "base/codec.h"
#include "base/heap.h"
#include "cache/cache.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static bool get(struct cache *c, const char *key, struct buf *out)
{
    struct cache_get g = {.key = sv_of(key), .value = out};

    c->ops->get(c, &g, 1);
    return g.hit;
}

static void set(struct cache *c, const char *key, const char *value)
{
    c->ops->set(c, sv_of(key), sv_of(value), 0);
}

static bool has(struct cache *c, const char *key, const char *want)
{
    struct buf b;
    bool same;

    buf_init(&b, 1 << 20);
    same = get(c, key, &b) && sv_is(buf_view(&b), want);
    buf_fini(&b);
    return same;
}

static struct {
    struct clk clk;
    int64_t mono_ns;
} fake;

static int64_t fake_mono(const struct clk *c)
{
    (void)c;
    return fake.mono_ns;
}

static void memory_keeps_replaces_forgets_and_lets_die(void **state)
{
    struct cache *c;

    (void)state;
    fake.clk.mono_ns = fake_mono;
    fake.mono_ns = 1;
    c = cache_lru_new(1 << 20, NULL, &fake.clk, NULL, "t");
    assert_false(has(c, "a", "1"));
    set(c, "a", "1");
    set(c, "b", "");
    assert_true(has(c, "a", "1"));
    assert_true(has(c, "b", ""));
    set(c, "a", "2");
    assert_true(has(c, "a", "2"));
    c->ops->del(c, SV("a"));
    assert_false(has(c, "a", "2"));
    c->ops->set(c, SV("short"), SV("x"), 1000);
    assert_true(has(c, "short", "x"));
    fake.mono_ns += 1000000000;
    assert_false(has(c, "short", "x"));
    for (int i = 0; i < 5000; i++) { /* past a growth of every shard's table */
        char key[32];

        snprintf(key, sizeof(key), "key %d", i);
        set(c, key, key);
    }
    for (int i = 0; i < 5000; i++) {
        char key[32];

        snprintf(key, sizeof(key), "key %d", i);
        assert_true(has(c, key, key));
    }
    c->ops->close(c);
}

static void memory_stays_below_its_bytes_and_keeps_what_is_used(void **state)
{
    struct metrics *m = metrics_new();
    struct cache *c = cache_lru_new(256 << 10, NULL, clk_system(), m, "t");
    struct metric *bytes = metric_gauge(m, "engram_cache_bytes", "cache=\"t\"", "");
    char value[1001];

    (void)state;
    memset(value, 'v', 1000);
    value[1000] = 0;
    set(c, "dear", value);
    for (int i = 0; i < 3000; i++) {
        char key[32];

        snprintf(key, sizeof(key), "%d", i);
        set(c, key, value);
        assert_true(has(c, "dear", value));
        assert_true(metric_get(bytes) <= 256 << 10);
    }
    assert_true(metric_get(bytes) > 128 << 10);
    assert_true(metric_get(metric_counter(m, "engram_cache_evictions_total", "cache=\"t\"", "")) > 2000);
    c->ops->close(c);
    metrics_free(m);
}

static void memory_gives_way_when_the_budget_is_tight(void **state)
{
    struct budget b;
    struct cache *c;
    char value[1001], key[32];
    uint64_t before;

    (void)state;
    budget_init(&b, 1 << 20);
    c = cache_lru_new(1 << 20, &b, clk_system(), NULL, "t");
    memset(value, 'v', 1000);
    value[1000] = 0;
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof(key), "%d", i);
        set(c, key, value);
    }
    before = budget_used(&b, BUDGET_CACHE);
    assert_true(before > 400 * 1000);
    budget_force(&b, BUDGET_HEAD, 600 << 10);
    for (int i = 1000; i < 1400; i++) {
        snprintf(key, sizeof(key), "%d", i);
        set(c, key, value);
    }
    assert_true(budget_used(&b, BUDGET_CACHE) < before / 2 + (300 << 10));
    budget_force(&b, BUDGET_HEAD, 1 << 20); /* nothing left at all: a set is dropped, nothing breaks */
    set(c, "x", value);
    c->ops->close(c);
    assert_int_equal(budget_used(&b, BUDGET_CACHE), 0);
}

static void *hammer(void *arg)
{
    struct cache *c = arg;
    unsigned x = (unsigned)(uintptr_t)pthread_self();

    for (int i = 0; i < 4000; i++) {
        char key[32], value[64];
        struct buf b;

        x = x * 1103515245u + 12345u;
        snprintf(key, sizeof(key), "%u", x >> 20 & 255);
        snprintf(value, sizeof(value), "value of %s", key);
        buf_init(&b, 1 << 10);
        if (x & 1024)
            c->ops->set(c, sv_of(key), sv_of(value), 0);
        else if (get(c, key, &b))
            assert_true(sv_is(buf_view(&b), value));
        buf_fini(&b);
    }
    return NULL;
}

static void many_threads_share_it(void **state)
{
    struct cache *c = cache_lru_new(16 << 10, NULL, clk_system(), NULL, "t");
    pthread_t t[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, c), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    c->ops->close(c);
}

static void a_far_hit_comes_near(void **state)
{
    struct cache *near = cache_lru_new(1 << 20, NULL, clk_system(), NULL, "n");
    struct cache *far = cache_lru_new(1 << 20, NULL, clk_system(), NULL, "f");
    struct cache *c = cache_tier_new(near, far);

    (void)state;
    set(far, "k", "v");
    assert_false(has(near, "k", "v"));
    assert_true(has(c, "k", "v"));
    assert_true(has(near, "k", "v"));
    set(c, "both", "w");
    assert_true(has(near, "both", "w") && has(far, "both", "w"));
    c->ops->del(c, SV("both"));
    assert_false(has(near, "both", "w") || has(far, "both", "w"));
    c->ops->close(c);
}

/* --- with a real memcached --- */

static unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(s, (struct sockaddr *)&a, n), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&a, &n), 0);
    close(s);
    return ntohs(a.sin_port);
}

static pid_t start_memcached(unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[16];
    pid_t pid;

    snprintf(text, sizeof(text), "%u", port);
    pid = fork();
    if (pid == 0) {
        execl("/usr/bin/memcached", "memcached", "-l", "127.0.0.1", "-p", text, "-U", "0", "-u",
              "nobody", "-t", "2", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500; i++) {
        int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rc = connect(s, (struct sockaddr *)&a, sizeof(a));

        close(s);
        if (rc == 0)
            return pid;
        usleep(10000);
    }
    fail_msg("memcached did not start");
    return -1;
}

static void stop_memcached(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

struct bench {
    unsigned port;
    pid_t pid;
    struct cache *c;
    struct metrics *m;
};

static int begin(void **state)
{
    struct bench *b = heap_new(struct bench);
    char server[32];
    const char *servers[] = {server};
    struct err err = ERR_INIT;

    if (access("/usr/bin/memcached", X_OK) != 0)
        skip();
    b->port = free_port();
    b->pid = start_memcached(b->port);
    b->m = metrics_new();
    snprintf(server, sizeof(server), "127.0.0.1:%u", b->port);
    /* A busy machine may take its time; a hung server still costs little. */
    struct cache_memcached_opts o = {.servers = servers, .servers_n = 1, .timeout_ms = 400,
                                     .clk = clk_system(), .metrics = b->m};
    OK(cache_memcached_new(&o, &b->c, &err));
    *state = b;
    return 0;
}

static int end(void **state)
{
    struct bench *b = *state;

    if (b->c)
        b->c->ops->close(b->c);
    if (b->pid)
        stop_memcached(b->pid);
    metrics_free(b->m);
    heap_free(b);
    return 0;
}

static bool soon(struct cache *c, const char *key, const char *want)
{
    for (int i = 0; i < 1000; i++) { /* longer than the breaker stays open */
        if (has(c, key, want))
            return true;
        usleep(10000);
    }
    return false;
}

static void memcached_gives_back_what_was_set(void **state)
{
    struct bench *b = *state;
    char big[300001];
    struct cache_get g[50];
    struct buf values[50];
    char keys[50][32];

    memset(big, 'B', 300000);
    big[300000] = 0;
    set(b->c, "k", "v");
    set(b->c, "a key with spaces\n and \x01 bytes", "w");
    set(b->c, "empty", "");
    set(b->c, "big", big);
    assert_true(soon(b->c, "big", big));
    assert_true(has(b->c, "k", "v"));
    assert_true(has(b->c, "a key with spaces\n and \x01 bytes", "w"));
    assert_true(has(b->c, "empty", ""));
    assert_false(has(b->c, "absent", ""));
    for (int i = 0; i < 50; i++) {
        snprintf(keys[i], sizeof(keys[i]), "many %d", i);
        if (i % 2)
            set(b->c, keys[i], keys[i]);
        buf_init(&values[i], 1 << 10);
        g[i] = (struct cache_get){.key = sv_of(keys[i]), .value = &values[i]};
    }
    assert_true(soon(b->c, "many 49", "many 49"));
    b->c->ops->get(b->c, g, 50);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(g[i].hit, i % 2);
        if (g[i].hit)
            assert_true(sv_is(buf_view(&values[i]), keys[i]));
        buf_fini(&values[i]);
    }
    b->c->ops->del(b->c, SV("k"));
    for (int i = 0; i < 200 && has(b->c, "k", "v"); i++)
        usleep(10000);
    assert_false(has(b->c, "k", "v"));
}

static void memcached_hung_costs_a_few_timeouts_then_nothing(void **state)
{
    struct bench *b = *state;
    int64_t began_ns;

    set(b->c, "k", "v");
    assert_true(soon(b->c, "k", "v"));
    kill(b->pid, SIGSTOP);
    assert_int_equal(waitpid(b->pid, NULL, WUNTRACED), b->pid); /* all its threads stand */
    for (int i = 0; i < 3; i++)
        assert_false(has(b->c, "k", "v"));
    /* The breaker is open: a thousand calls take no time worth a timeout each. */
    began_ns = clk_mono_ns(clk_system());
    for (int i = 0; i < 1000; i++)
        assert_false(has(b->c, "k", "v"));
    assert_true(clk_mono_ns(clk_system()) - began_ns < INT64_C(3000000000));
    kill(b->pid, SIGCONT);
    assert_true(soon(b->c, "k", "v"));
}

static void memcached_gone_is_a_miss_and_back_is_a_hit(void **state)
{
    struct bench *b = *state;
    struct metric *failed = metric_counter(b->m, "engram_cache_memcached_failures_total", "", "");
    bool back = false;

    set(b->c, "k", "v");
    assert_true(soon(b->c, "k", "v"));
    stop_memcached(b->pid);
    b->pid = 0;
    for (int i = 0; i < 20; i++)
        assert_false(has(b->c, "k", "v"));
    assert_true(metric_get(failed) >= 3);
    assert_true(metric_get(failed) <= 6);
    b->pid = start_memcached(b->port);
    for (int i = 0; i < 100 && !back; i++) {
        set(b->c, "k", "v");
        usleep(100000);
        back = has(b->c, "k", "v");
    }
    assert_true(back);
}

/* A listener that answers nonsense to whatever it is told. */
struct garbage {
    int s;
    pthread_t t;
    unsigned kind;
};

static void *talk_garbage(void *arg)
{
    struct garbage *g = arg;
    static const char binary[24] = {'\x81', 0x09, 0, 38, 4, 0, 0, 0, 0, 0, 0, 99, 0};
    unsigned char noise[4096];

    for (;;) {
        int c = accept(g->s, NULL, NULL);
        char in[4096];

        if (c < 0)
            return NULL;
        for (int rounds = 0; rounds < 8; rounds++) {
            struct pollfd p = {.fd = c, .events = POLLIN};

            if (poll(&p, 1, 200) <= 0 || recv(c, in, sizeof(in), 0) <= 0)
                break;
            random_bytes(noise, sizeof(noise));
            if (g->kind == 0)
                send(c, noise, sizeof(noise), MSG_NOSIGNAL);
            else
                send(c, binary, sizeof(binary), MSG_NOSIGNAL);
        }
        close(c);
    }
}

static void memcached_talking_garbage_is_a_miss(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 2; kind++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof(a);
        struct garbage g = {.s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .kind = kind};
        char server[32];
        const char *servers[] = {server};
        struct cache_memcached_opts o = {.servers = servers, .servers_n = 1, .clk = clk_system()};
        struct cache *c;
        struct err err = ERR_INIT;

        assert_int_equal(bind(g.s, (struct sockaddr *)&a, n), 0);
        assert_int_equal(getsockname(g.s, (struct sockaddr *)&a, &n), 0);
        assert_int_equal(listen(g.s, 16), 0);
        assert_int_equal(pthread_create(&g.t, NULL, talk_garbage, &g), 0);
        snprintf(server, sizeof(server), "127.0.0.1:%u", ntohs(a.sin_port));
        OK(cache_memcached_new(&o, &c, &err));
        for (int i = 0; i < 30; i++) {
            set(c, "k", "v");
            assert_false(has(c, "k", "v"));
        }
        c->ops->close(c);
        shutdown(g.s, SHUT_RDWR);
        pthread_join(g.t, NULL);
        close(g.s);
    }
}

static void a_bad_server_is_refused_by_name(void **state)
{
    static const char *const bad[] = {"nothing", ":11211", "host:", "host:0", "host:65536", "host:x"};
    struct cache *c;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cache_memcached_opts o = {.servers = &bad[i], .servers_n = 1, .clk = clk_system()};
        struct err err = ERR_INIT;

        assert_int_equal(cache_memcached_new(&o, &c, &err), ST_INVALID);
        assert_non_null(strstr(err.msg, bad[i]));
    }
}

#define WITH_MEMCACHED(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_keeps_replaces_forgets_and_lets_die),
        cmocka_unit_test(memory_stays_below_its_bytes_and_keeps_what_is_used),
        cmocka_unit_test(memory_gives_way_when_the_budget_is_tight),
        cmocka_unit_test(many_threads_share_it),
        cmocka_unit_test(a_far_hit_comes_near),
        WITH_MEMCACHED(memcached_gives_back_what_was_set),
        WITH_MEMCACHED(memcached_hung_costs_a_few_timeouts_then_nothing),
        WITH_MEMCACHED(memcached_gone_is_a_miss_and_back_is_a_hit),
        cmocka_unit_test(memcached_talking_garbage_is_a_miss),
        cmocka_unit_test(a_bad_server_is_refused_by_name),
    };

    signal(SIGPIPE, SIG_IGN);
    return RUN(tests);
}
