/* Label sets. Canonical form: sorted by name, no empty values, no name twice. */
#include "model/labels.h"

#include "base/json.h"

#include <stdlib.h>

struct sv labels_get(struct labels ls, struct sv name)
{
    for (size_t i = 0; i < ls.n; i++)
        if (sv_eq(ls.p[i].name, name))
            return ls.p[i].value;
    return (struct sv){NULL, 0};
}

bool labels_eq(struct labels a, struct labels b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (!sv_eq(a.p[i].name, b.p[i].name) || !sv_eq(a.p[i].value, b.p[i].value))
            return false;
    return true;
}

int labels_cmp(struct labels a, struct labels b)
{
    size_t n = a.n < b.n ? a.n : b.n;

    for (size_t i = 0; i < n; i++) {
        int c = sv_cmp(a.p[i].name, b.p[i].name);

        if (c == 0)
            c = sv_cmp(a.p[i].value, b.p[i].value);
        if (c)
            return c;
    }
    return (a.n > b.n) - (a.n < b.n);
}

struct hash128 labels_hash(struct labels ls, uint64_t seed)
{
    struct hash128 h = {seed, ls.n};

    for (size_t i = 0; i < ls.n; i++) {
        struct hash128 n = hash128(ls.p[i].name.p, ls.p[i].name.n, h.lo);
        struct hash128 v = hash128(ls.p[i].value.p, ls.p[i].value.n, n.lo ^ n.hi);

        h.lo = v.lo + h.hi * UINT64_C(0x9e3779b97f4a7c15);
        h.hi = v.hi ^ n.hi ^ (h.hi << 7) ^ (h.hi >> 57);
    }
    return h;
}

struct labels labels_dup(struct arena *a, struct labels ls)
{
    struct labels r = {arena_array(a, ls.n ? ls.n : 1, sizeof(*ls.p)), ls.n};

    if (!r.p)
        return (struct labels){NULL, 0};
    for (size_t i = 0; i < ls.n; i++) {
        r.p[i].name = arena_sv(a, ls.p[i].name);
        r.p[i].value = arena_sv(a, ls.p[i].value);
        if (arena_over(a))
            return (struct labels){NULL, 0};
    }
    return r;
}

static int by_name(const void *a, const void *b)
{
    return sv_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

bool labels_canonical(struct labels *ls, struct sv *ret_dup)
{
    size_t n = 0;
    bool sorted = true;

    for (size_t i = 1; i < ls->n && sorted; i++)
        sorted = sv_cmp(ls->p[i - 1].name, ls->p[i].name) < 0;
    if (!sorted)
        qsort(ls->p, ls->n, sizeof(*ls->p), by_name);
    for (size_t i = 0; i < ls->n; i++) {
        if (i && !sorted && sv_eq(ls->p[i - 1].name, ls->p[i].name)) {
            *ret_dup = ls->p[i].name;
            return false;
        }
    }
    for (size_t i = 0; i < ls->n; i++)
        if (ls->p[i].value.n)
            ls->p[n++] = ls->p[i];
    ls->n = n;
    return true;
}

static bool legacy(struct sv s, bool colon)
{
    if (s.n == 0 || (s.p[0] >= '0' && s.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || (colon && c == ':')))
            return false;
    }
    return true;
}

bool label_name_legacy(struct sv name)
{
    return legacy(name, false);
}

bool metric_name_legacy(struct sv name)
{
    return legacy(name, true);
}

void labels_print(struct buf *out, struct labels ls)
{
    struct sv name = labels_get(ls, SV(LABEL_NAME));
    bool first = true, bare = metric_name_legacy(name);

    if (bare)
        buf_sv(out, name);
    if (bare && ls.n == 1)
        return;
    buf_ch(out, '{');
    if (name.n && !bare) {
        json_str(out, name);
        first = false;
    }
    for (size_t i = 0; i < ls.n; i++) {
        if (sv_is(ls.p[i].name, LABEL_NAME))
            continue;
        if (!first)
            buf_str(out, ", ");
        first = false;
        if (label_name_legacy(ls.p[i].name))
            buf_sv(out, ls.p[i].name);
        else
            json_str(out, ls.p[i].name);
        buf_ch(out, '=');
        json_str(out, ls.p[i].value);
    }
    buf_ch(out, '}');
}

/* One Label message: 0x0a len name 0x12 len value, in any order, unknown fields refused. */
static bool one_label(struct sv wire, struct label *ret)
{
    struct cur c = cur_of(wire);

    while (cur_left(&c) && !c.bad) {
        uint8_t tag = cur_u8(&c);

        if (tag == 0x0a)
            ret->name = cur_uvarint_bytes(&c);
        else if (tag == 0x12)
            ret->value = cur_uvarint_bytes(&c);
        else
            return false;
    }
    return !c.bad;
}

enum status labels_from_wire(struct sv wire, size_t max_labels, struct arena *arena,
                             struct labels *ret, struct err *err)
{
    struct cur c = cur_of(wire);
    size_t n = 0;
    struct label *p;

    while (cur_left(&c) && !c.bad && n <= max_labels) {
        if (cur_u8(&c) != 0x0a)
            return err_set(err, ST_INVALID, "labels: unexpected field");
        cur_uvarint_bytes(&c);
        n++;
    }
    if (c.bad)
        return err_set(err, ST_INVALID, "labels: cut short");
    if (n > max_labels)
        return err_set(err, ST_LIMIT, "labels: more than %zu in one series", max_labels);
    p = arena_array(arena, n ? n : 1, sizeof(*p));
    if (!p)
        return err_set(err, ST_LIMIT, "labels: no memory left for this request (%zu bytes)",
                       arena->max_bytes);
    c = cur_of(wire);
    for (size_t i = 0; i < n; i++) {
        cur_u8(&c);
        if (!one_label(cur_uvarint_bytes(&c), &p[i]))
            return err_set(err, ST_INVALID, "labels: malformed label");
    }
    *ret = (struct labels){p, n};
    return ST_OK;
}

static size_t uvarint_size(uint64_t v)
{
    size_t n = 1;

    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

void labels_to_wire(struct buf *out, struct labels ls)
{
    for (size_t i = 0; i < ls.n; i++) {
        struct label l = ls.p[i];

        buf_u8(out, 0x0a);
        buf_uvarint(out,
                    2 + uvarint_size(l.name.n) + l.name.n + uvarint_size(l.value.n) + l.value.n);
        buf_u8(out, 0x0a);
        buf_uvarint(out, l.name.n);
        buf_sv(out, l.name);
        buf_u8(out, 0x12);
        buf_uvarint(out, l.value.n);
        buf_sv(out, l.value);
    }
}
