/* The page as a browser gets it, and that it stays within its own walls. */
#include "unit.h"

#include "ui_int.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct ui *ui;
    struct http_server *server;
};

static void up(struct fixture *f, const char *version)
{
    struct http_opts o = {.listen = "127.0.0.1:0", .pollers = 1, .body_max_bytes = 1024,
                          .form_max_bytes = 1024, .arena_max_bytes = 65536,
                          .request_timeout_ms = 30000, .max_connections = 8};
    const struct http_route *routes;
    struct err err = ERR_INIT;
    size_t n;

    f->ui = ui_new(version);
    routes = ui_routes(f->ui, &n);
    OK(http_server_start(&o, routes, n, &f->server, &err));
}

static void down(struct fixture *f)
{
    http_server_stop(f->server);
    ui_free(f->ui);
}

static int get(struct fixture *f, const char *path, const char *headers, struct buf *ret)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http_server_port(f->server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[4096];
    ssize_t k;
    int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n",
                     path, headers);

    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
    buf_init(ret, 1 << 20);
    while ((k = recv(fd, text, sizeof(text), 0)) > 0)
        buf_put(ret, text, (size_t)k);
    close(fd);
    buf_ch(ret, '\0');
    return (ret->p[9] - '0') * 100 + (ret->p[10] - '0') * 10 + ret->p[11] - '0';
}

static void the_page_has_its_version_and_a_strict_policy(void **state)
{
    struct fixture f;
    struct buf b;

    (void)state;
    up(&f, "1.2<3&4");
    assert_int_equal(get(&f, "/", "", &b), 200);
    assert_non_null(strstr(b.p, "Content-Type: text/html; charset=utf-8\r\n"));
    assert_non_null(strstr(b.p, "Content-Security-Policy: default-src 'none'; script-src 'self';"));
    assert_non_null(strstr(b.p, "<span class=\"version\">1.2&lt;3&amp;4</span>"));
    assert_null(strstr(b.p, "@VERSION@"));
    buf_fini(&b);
    down(&f);
}

static void its_files_are_there_and_nothing_else(void **state)
{
    static const char *const types[][2] = {{"/ui/page.css", "text/css"},
                                           {"/ui/page.js", "text/javascript"},
                                           {"/ui/icon.svg", "image/svg+xml"}};
    struct fixture f;
    struct buf b;
    char want[64];

    (void)state;
    up(&f, "1");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(get(&f, types[i][0], "", &b), 200);
        snprintf(want, sizeof(want), "Content-Type: %s", types[i][1]);
        assert_non_null(strstr(b.p, want));
        buf_fini(&b);
    }
    assert_int_equal(get(&f, "/ui/none", "", &b), 404);
    buf_fini(&b);
    assert_int_equal(get(&f, "/ui/..%2fpage.html", "", &b), 404);
    buf_fini(&b);
    down(&f);
}

static void what_a_browser_has_is_not_sent_again(void **state)
{
    struct fixture f;
    struct buf b;
    char tag[160];
    const char *at;

    (void)state;
    up(&f, "1");
    assert_int_equal(get(&f, "/ui/page.js", "", &b), 200);
    at = strstr(b.p, "ETag: ");
    assert_non_null(at);
    snprintf(tag, sizeof(tag), "If-None-Match: %.*s\r\n", (int)strcspn(at + 6, "\r"), at + 6);
    buf_fini(&b);
    assert_int_equal(get(&f, "/ui/page.js", tag, &b), 304);
    buf_fini(&b);
    down(&f);
    up(&f, "2"); /* another version's page is another page */
    assert_int_equal(get(&f, "/ui/page.js", tag, &b), 200);
    buf_fini(&b);
    down(&f);
}

static bool holds(struct sv text, const char *what)
{
    return sv_search(text, sv_of(what)) != SIZE_MAX;
}

/* No other host, and nothing inline that the policy would stop. */
static void the_files_need_nobody_else(void **state)
{
    static const char *const inline_code[] = {" style=", " onclick=", " onload=", "<style",
                                              "innerHTML", "eval(", "document.write"};

    (void)state;
    assert_int_equal(ui_assets_n, 4);
    for (size_t i = 0; i < ui_assets_n; i++) {
        struct sv text = sv_make(ui_assets[i].p, ui_assets[i].n), rest = text;
        size_t at;

        assert_true(text.n > 100 && sv_utf8(text));
        while ((at = sv_search(rest, SV("://"))) != SIZE_MAX) { /* the name of SVG alone */
            struct sv host = sv_sub(rest, at, rest.n);

            assert_true(sv_starts(host, SV("://www.w3.org/2000/svg")));
            rest = sv_sub(host, 3, host.n);
        }
        for (size_t j = 0; j < sizeof(inline_code) / sizeof(inline_code[0]); j++)
            assert_false(holds(text, inline_code[j]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_has_its_version_and_a_strict_policy),
        cmocka_unit_test(its_files_are_there_and_nothing_else),
        cmocka_unit_test(what_a_browser_has_is_not_sent_again),
        cmocka_unit_test(the_files_need_nobody_else),
    };
    return RUN(tests);
}
