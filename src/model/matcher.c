/* Matchers. A regular expression is looked at once: plain alternations of literals become a set,
 * `.*`, `.+`, `lit.*`, `.*lit`, `.*lit.*` become a shape; both decide without the engine. What has
 * a literal beginning keeps it as prefix, so that indexes can narrow the values they look at. */
#include "model/matcher.h"

#include "base/heap.h"
#include "base/json.h"
#include "base/regex.h"
#include "base/vec.h"

#include <assert.h>

#define SET_MAX 4096 /* alternatives kept as a set; a longer list is left to the engine */

static bool meta(char c)
{
    return strchr("\\.+*?()|[]{}^$", c) != NULL;
}

/* Length of the literal beginning of s; escapes of punctuation count as literal. */
static size_t literal_run(struct sv s, char *out, size_t *ret_n)
{
    size_t i = 0, n = 0;

    while (i < s.n) {
        char c = s.p[i];
        size_t used = 1;

        if (c == 0)
            break;
        if (c == '\\' && i + 1 < s.n && s.p[i + 1] && meta(s.p[i + 1])) {
            c = s.p[i + 1];
            used = 2;
        } else if (meta(c)) {
            break;
        }
        /* a quantifier binds to the character before it */
        if (i + used < s.n && strchr("*+?{", s.p[i + used]) && s.p[i + used])
            break;
        out[n++] = c;
        i += used;
    }
    *ret_n = n;
    return i;
}

static struct sv dup_sv(const char *p, size_t n)
{
    return (struct sv){heap_strn(p, n), n};
}

/* `a|b|c` of pure literals, with or without one pair of brackets around it all. */
static bool as_set(struct matcher *m, struct sv s, char *scratch)
{
    VEC(struct sv) set = {0};
    bool ok = true;

    if (s.n >= 2 && s.p[0] == '(' && s.p[s.n - 1] == ')')
        s = s.n >= 4 && s.p[1] == '?' && s.p[2] == ':' ? sv_sub(s, 3, s.n - 4)
                                                       : sv_sub(s, 1, s.n - 2);
    while (ok) {
        size_t n, used = literal_run(s, scratch, &n);

        if ((used < s.n && s.p[used] != '|') || set.n == SET_MAX) {
            ok = false;
            break;
        }
        vec_push(&set, dup_sv(scratch, n));
        if (used == s.n)
            break;
        s = sv_sub(s, used + 1, s.n);
    }
    if (!ok) {
        for (size_t i = 0; i < set.n; i++)
            heap_free((void *)(uintptr_t)set.p[i].p);
        vec_free(&set);
        return false;
    }
    m->set = set.p;
    m->set_n = set.n;
    return true;
}

static void as_shape(struct matcher *m, struct sv s, char *scratch)
{
    size_t n, used;
    bool lead = sv_starts(s, SV(".*"));
    struct sv rest = lead ? sv_sub(s, 2, s.n) : s;

    if (sv_is(s, ".*")) {
        m->any = true;
        return;
    }
    if (sv_is(s, ".+")) {
        m->any_nonempty = true;
        return;
    }
    used = literal_run(rest, scratch, &n);
    if (n == 0)
        return;
    rest = sv_sub(rest, used, rest.n);
    if (sv_search(s, SV("(?")) != SIZE_MAX || sv_find(s, '|') != SIZE_MAX)
        return; /* flags or alternatives change what the beginning means */
    if (lead && rest.n == 0) {
        m->suffix = dup_sv(scratch, n);
        m->shape_exact = true;
    } else if (lead && sv_is(rest, ".*")) {
        m->contains = dup_sv(scratch, n);
        m->shape_exact = true;
    } else if (!lead) {
        m->prefix = dup_sv(scratch, n);
        m->shape_exact = sv_is(rest, ".*");
    }
}

enum status matcher_new(enum matcher_op op, struct sv name, struct sv value, struct matcher **ret,
                        struct err *err)
{
    struct matcher *m = heap_new(struct matcher);

    m->op = op;
    m->name = dup_sv(name.p, name.n);
    m->value = dup_sv(value.p, value.n);
    if (op == MATCH_RE || op == MATCH_NRE) {
        char *scratch;
        enum status st = regex_new(value, &m->re, err);

        if (st != ST_OK) {
            matcher_free(m);
            return st;
        }
        scratch = heap_alloc(value.n + 1);
        if (!as_set(m, value, scratch))
            as_shape(m, value, scratch);
        heap_free(scratch);
        if (m->set_n || m->any || m->any_nonempty || m->shape_exact) {
            regex_free(m->re);
            m->re = NULL;
        }
    }
    *ret = m;
    return ST_OK;
}

void matcher_free(struct matcher *m)
{
    if (!m)
        return;
    heap_free((void *)(uintptr_t)m->name.p);
    heap_free((void *)(uintptr_t)m->value.p);
    heap_free((void *)(uintptr_t)m->prefix.p);
    heap_free((void *)(uintptr_t)m->suffix.p);
    heap_free((void *)(uintptr_t)m->contains.p);
    for (size_t i = 0; i < m->set_n; i++)
        heap_free((void *)(uintptr_t)m->set[i].p);
    heap_free(m->set);
    if (m->re)
        regex_free(m->re);
    heap_free(m);
}

static bool pattern(const struct matcher *m, struct sv v)
{
    if (m->any)
        return true;
    if (m->any_nonempty)
        return v.n > 0;
    if (m->set_n) {
        for (size_t i = 0; i < m->set_n; i++)
            if (sv_eq(m->set[i], v))
                return true;
        return false;
    }
    if (m->prefix.n && !sv_starts(v, m->prefix))
        return false;
    if (m->shape_exact)
        return m->prefix.n ||
               (m->suffix.n ? sv_ends(v, m->suffix) : sv_search(v, m->contains) != SIZE_MAX);
    return regex_match(m->re, v);
}

bool matcher_matches(const struct matcher *m, struct sv value)
{
    switch (m->op) {
    case MATCH_EQ: return sv_eq(m->value, value);
    case MATCH_NE: return !sv_eq(m->value, value);
    case MATCH_RE: return pattern(m, value);
    case MATCH_NRE: return !pattern(m, value);
    }
    assert(!"matcher op");
    return false;
}

bool matcher_matches_labels(const struct matcher *m, struct labels ls)
{
    return matcher_matches(m, labels_get(ls, m->name));
}

bool matcher_matches_empty(const struct matcher *m)
{
    return matcher_matches(m, (struct sv){"", 0});
}

const char *matcher_op_text(enum matcher_op op)
{
    static const char *const texts[] = {"=", "!=", "=~", "!~"};

    return texts[op];
}

void matcher_print(struct buf *out, const struct matcher *m)
{
    if (label_name_legacy(m->name))
        buf_sv(out, m->name);
    else
        json_str(out, m->name);
    buf_str(out, matcher_op_text(m->op));
    json_str(out, m->value);
}
