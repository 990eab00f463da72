/* Parameters of query strings and forms, in the order in which Go's r.Form has them. Values are
 * views with a length: %00 does not cut them. */
#include "http_int.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

struct sv http_unescape(struct arena *arena, struct sv s, bool plus)
{
    char *out;
    size_t n = 0;

    if (sv_find(s, '%') == SIZE_MAX && (!plus || sv_find(s, '+') == SIZE_MAX))
        return s.p ? s : SV("");
    out = arena_alloc(arena, s.n);
    if (!out)
        return (struct sv){NULL, 0};
    for (size_t i = 0; i < s.n; i++) {
        int hi, lo;

        if (s.p[i] != '%') {
            out[n++] = plus && s.p[i] == '+' ? ' ' : s.p[i];
            continue;
        }
        if (s.n - i < 3)
            return (struct sv){NULL, 0};
        hi = hex_digit(s.p[i + 1]);
        lo = hex_digit(s.p[i + 2]);
        if (hi < 0 || lo < 0)
            return (struct sv){NULL, 0};
        out[n++] = (char)(hi << 4 | lo);
        i += 2;
    }
    return (struct sv){out, n};
}

/* Pairs between '&'; an upper bound, for one allocation. */
static size_t count_pairs(struct sv text)
{
    size_t n = text.n > 0;

    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '&';
    return n;
}

enum status http_params_parse(struct arena *arena, struct sv text, struct http_param **params,
                              size_t *params_n, struct err *err)
{
    size_t more = count_pairs(text), n = *params_n;
    struct http_param *all;

    if (more == 0)
        return ST_OK;
    if (more > HTTP_PARAMS_MAX - n)
        return err_set(err, ST_INVALID, "more than %d parameters", HTTP_PARAMS_MAX);
    all = arena_array(arena, n + more, sizeof(*all));
    if (!all)
        return err_set(err, ST_LIMIT, "parameters take more than the request's memory");
    if (n)
        memcpy(all, *params, n * sizeof(*all));
    while (text.p && text.n) {
        struct sv value, name = sv_cut(text, '&', &text);

        if (name.n == 0 || sv_find(name, ';') != SIZE_MAX)
            continue;
        name = sv_cut(name, '=', &value);
        name = http_unescape(arena, name, true);
        value = http_unescape(arena, value, true);
        if (name.p && value.p)
            all[n++] = (struct http_param){name, value};
    }
    if (arena_over(arena))
        return err_set(err, ST_LIMIT, "parameters take more than the request's memory");
    *params = all;
    *params_n = n;
    return ST_OK;
}

static bool is_form(const struct http_req *r)
{
    struct sv rest, type = http_req_header(r, "Content-Type");

    if (!(r->method & (HTTP_POST | HTTP_PUT)) || r->entry->route.lane == HTTP_WRITE)
        return false;
    type = sv_trim(sv_cut(type, ';', &rest));
    return type.n == 33 && strncasecmp(type.p, "application/x-www-form-urlencoded", 33) == 0;
}

enum status http_params_of(struct http_req *r, struct err *err)
{
    if (is_form(r))
        TRY(http_params_parse(&r->arena, buf_view(&r->body), &r->params, &r->params_n, err));
    return http_params_parse(&r->arena, r->raw_query, &r->params, &r->params_n, err);
}

bool http_req_param(const struct http_req *r, const char *name, size_t i, struct sv *ret)
{
    for (size_t j = 0; j < r->params_n; j++)
        if (sv_is(r->params[j].name, name) && i-- == 0) {
            *ret = r->params[j].value;
            return true;
        }
    return false;
}
