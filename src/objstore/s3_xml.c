/* The few XML answers of S3, by a small scanner that takes lengths: elements and text, the five
 * named entities and numbers, declarations, comments and CDATA. No DTD: a document with one is
 * refused, and with it every trick of entities. Depth, names, text and entries have ceilings. */
#include "s3_int.h"

#include "base/vec.h"
#include "obj_int.h"

#include <stdio.h>
#include <stdlib.h>

#define DEPTH_MAX 16u
#define NAME_MAX_ 64u
#define TEXT_MAX  4096u
#define PAGE_MAX  100000u /* entries; S3 sends 1000 */

enum event { X_END, X_OPEN, X_CLOSE, X_TEXT, X_BAD };

struct scan {
    const char *p, *end;
    struct sv stack[DEPTH_MAX]; /* names of the open elements, without prefix */
    unsigned depth;
    bool close_next; /* <name/>: its end is due */
    struct sv name;  /* X_OPEN, X_CLOSE */
    struct sv text;  /* X_TEXT, not yet decoded */
    bool raw;        /* it was CDATA: nothing to decode */
};

static struct scan scan_of(struct sv body)
{
    return (struct scan){.p = body.p, .end = body.p ? body.p + body.n : body.p};
}

static size_t left(const struct scan *s)
{
    return (size_t)(s->end - s->p);
}

static bool looking_at(const struct scan *s, const char *z)
{
    return sv_starts(sv_make(s->p, left(s)), sv_of(z));
}

/* Moves behind the next z; false when there is none. */
static bool skip_past(struct scan *s, const char *z)
{
    size_t at = sv_search(sv_make(s->p, left(s)), sv_of(z));

    if (at == SIZE_MAX)
        return false;
    s->p += at + strlen(z);
    return true;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ':';
}

static struct sv local_name(struct sv name)
{
    struct sv rest;

    sv_cut(name, ':', &rest);
    return rest.p ? rest : name;
}

static bool scan_name(struct scan *s, struct sv *ret)
{
    const char *from = s->p;

    while (s->p < s->end && is_name(*s->p))
        s->p++;
    *ret = local_name(sv_make(from, (size_t)(s->p - from)));
    return ret->n > 0 && (size_t)(s->p - from) <= NAME_MAX_;
}

/* Behind the name of a start tag: attributes are looked over, quotes respected. */
static bool scan_attributes(struct scan *s, bool *ret_empty)
{
    char quote = 0;

    for (; s->p < s->end; s->p++) {
        if (quote) {
            if (*s->p == quote)
                quote = 0;
        } else if (*s->p == '"' || *s->p == '\'') {
            quote = *s->p;
        } else if (*s->p == '<') {
            return false;
        } else if (*s->p == '>') {
            *ret_empty = s->p[-1] == '/';
            s->p++;
            return true;
        }
    }
    return false;
}

static enum event scan_tag(struct scan *s)
{
    struct sv name;

    if (looking_at(s, "</")) {
        s->p += 2;
        if (!scan_name(s, &name) || s->depth == 0 || !sv_eq(name, s->stack[s->depth - 1]))
            return X_BAD;
        while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
            s->p++;
        if (s->p == s->end || *s->p++ != '>')
            return X_BAD;
        s->name = s->stack[--s->depth];
        return X_CLOSE;
    }
    s->p++;
    if (!scan_name(s, &name) || !scan_attributes(s, &s->close_next) || s->depth == DEPTH_MAX)
        return X_BAD;
    s->name = s->stack[s->depth++] = name;
    return X_OPEN;
}

static enum event scan_next(struct scan *s)
{
    if (s->close_next) {
        s->close_next = false;
        s->name = s->stack[--s->depth];
        return X_CLOSE;
    }
    for (;;) {
        const char *from = s->p;

        if (s->p == s->end)
            return s->depth ? X_BAD : X_END;
        if (*s->p != '<') {
            while (s->p < s->end && *s->p != '<')
                s->p++;
            s->text = sv_make(from, (size_t)(s->p - from));
            s->raw = false;
            if (s->depth)
                return X_TEXT;
            if (sv_trim(s->text).n) /* text outside the root */
                return X_BAD;
        } else if (looking_at(s, "<?")) {
            if (!skip_past(s, "?>"))
                return X_BAD;
        } else if (looking_at(s, "<!--")) {
            if (!skip_past(s, "-->"))
                return X_BAD;
        } else if (looking_at(s, "<![CDATA[")) {
            if (!skip_past(s, "]]>") || !s->depth)
                return X_BAD;
            s->text = sv_make(from + 9, (size_t)(s->p - from) - 12);
            s->raw = true;
            return X_TEXT;
        } else if (looking_at(s, "<!")) {
            return X_BAD;
        } else {
            return scan_tag(s);
        }
    }
}

static bool put_utf8(struct buf *out, uint32_t c)
{
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return false;
    if (c < 0x80) {
        buf_ch(out, (char)c);
        return true;
    }
    if (c < 0x800) {
        buf_ch(out, (char)(0xc0 | c >> 6));
    } else {
        if (c < 0x10000) {
            buf_ch(out, (char)(0xe0 | c >> 12));
        } else {
            buf_ch(out, (char)(0xf0 | c >> 18));
            buf_ch(out, (char)(0x80 | (c >> 12 & 63)));
        }
        buf_ch(out, (char)(0x80 | (c >> 6 & 63)));
    }
    buf_ch(out, (char)(0x80 | (c & 63)));
    return true;
}

/* "amp", "#38", "#x26": without the '&' and ';' */
static bool put_entity(struct buf *out, struct sv e)
{
    static const char *const names[] = {"amp", "lt", "gt", "quot", "apos"};
    uint32_t c = 0;
    size_t i = 2;

    for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++)
        if (sv_is(e, names[k])) {
            buf_ch(out, "&<>\"'"[k]);
            return true;
        }
    if (e.n < 2 || e.n > 9 || e.p[0] != '#')
        return false;
    if (e.p[1] != 'x') {
        uint64_t v;

        return sv_u64(sv_sub(e, 1, e.n), &v) && v <= 0x10ffff && put_utf8(out, (uint32_t)v);
    }
    for (; i < e.n; i++) {
        char d = e.p[i];
        unsigned v = d >= '0' && d <= '9'   ? (unsigned)(d - '0')
                     : d >= 'a' && d <= 'f' ? (unsigned)(d - 'a' + 10)
                     : d >= 'A' && d <= 'F' ? (unsigned)(d - 'A' + 10)
                                            : 16;

        if (v == 16)
            return false;
        c = c << 4 | v;
    }
    return e.n > 2 && put_utf8(out, c);
}

static bool put_text(struct buf *out, const struct scan *s)
{
    struct sv t = s->text;

    if (s->raw || sv_find(t, '&') == SIZE_MAX) {
        buf_sv(out, t);
        return buf_ok(out);
    }
    for (size_t i = 0; i < t.n; i++) {
        struct sv e;

        if (t.p[i] != '&') {
            buf_ch(out, t.p[i]);
            continue;
        }
        e = sv_sub(t, i + 1, 10);
        e.n = sv_find(e, ';');
        if (e.n == SIZE_MAX || !put_entity(out, e))
            return false;
        i += e.n + 1;
    }
    return buf_ok(out);
}

static enum status malformed(struct err *err)
{
    return err_set(err, ST_IO, "the S3 answer is not the XML it should be");
}

/* The text of the element just opened, appended; its end is taken too. Elements inside: false. */
static bool take_text(struct scan *s, struct buf *out)
{
    for (;;) {
        enum event e = scan_next(s);

        if (e == X_CLOSE)
            return buf_ok(out);
        if (e != X_TEXT || !put_text(out, s))
            return false;
    }
}

/* The same into a C string; too long is cut off at a character's border. */
static bool take_string(struct scan *s, char *out, size_t cap)
{
    struct buf b;
    bool ok;
    size_t n;

    buf_init(&b, TEXT_MAX);
    ok = take_text(s, &b);
    n = b.n < cap - 1 ? b.n : cap - 1;
    while (n < b.n && n && ((unsigned char)b.p[n] & 0xc0) == 0x80)
        n--;
    if (ok && n)
        memcpy(out, b.p, n);
    out[ok ? n : 0] = 0;
    buf_fini(&b);
    return ok;
}

bool s3_xml_error(struct sv body, struct s3_error *ret)
{
    struct scan s = scan_of(body);
    enum event e;

    memset(ret, 0, sizeof(*ret));
    e = scan_next(&s);
    if (e != X_OPEN || !sv_is(s.name, "Error"))
        return false;
    while ((e = scan_next(&s)) != X_END && e != X_BAD) {
        if (e != X_OPEN || s.depth != 2)
            continue;
        if (sv_is(s.name, "Code") && !take_string(&s, ret->code, sizeof(ret->code)))
            break;
        else if (sv_is(s.name, "Message") && !take_string(&s, ret->message, sizeof(ret->message)))
            break;
    }
    return true;
}

enum status s3_xml_text(struct sv body, const char *name, struct buf *out, struct err *err)
{
    struct scan s = scan_of(body);
    enum event e;

    while ((e = scan_next(&s)) != X_END && e != X_BAD)
        if (e == X_OPEN && s.depth == 2 && sv_is(s.name, name))
            return take_text(&s, out) && out->n ? ST_OK : malformed(err);
    return malformed(err);
}

/* <Contents> or <CommonPrefixes>, just opened. */
static bool take_entry(struct scan *s, struct s3_page *page, bool is_prefix)
{
    struct s3_listed entry = {.key_at = page->keys.n, .is_prefix = is_prefix};
    const char *key = is_prefix ? "Prefix" : "Key";
    bool have_size = is_prefix;
    char size[24];

    for (;;) {
        enum event e = scan_next(s);

        if (e == X_BAD || e == X_END)
            return false;
        if (e == X_CLOSE && s->depth == 1)
            break;
        if (e != X_OPEN || s->depth != 3)
            continue;
        if (sv_is(s->name, key)) {
            if (entry.key_n || !take_text(s, &page->keys))
                return false;
            entry.key_n = page->keys.n - entry.key_at;
        } else if (sv_is(s->name, "Size")) {
            if (!take_string(s, size, sizeof(size)) || !sv_u64(sv_of(size), &entry.bytes))
                return false;
            have_size = true;
        }
    }
    if (!entry.key_n || !have_size || page->n == PAGE_MAX)
        return false;
    vec_push(page, entry);
    return true;
}

static int by_key(const void *a, const void *b, void *keys)
{
    const struct s3_listed *x = a, *y = b;
    const char *p = keys;

    return sv_cmp(sv_make(p + x->key_at, x->key_n), sv_make(p + y->key_at, y->key_n));
}

enum status s3_xml_page(struct sv body, struct s3_page *ret, struct err *err)
{
    struct scan s = scan_of(body);
    char flag[8] = "";
    enum event e;
    bool ok;

    memset(ret, 0, sizeof(*ret));
    buf_init(&ret->keys, body.n + 1);
    ok = scan_next(&s) == X_OPEN && sv_is(s.name, "ListBucketResult");
    while (ok && (e = scan_next(&s)) != X_END) {
        if (e == X_BAD)
            ok = false;
        else if (e != X_OPEN || s.depth != 2)
            continue;
        else if (sv_is(s.name, "Contents") || sv_is(s.name, "CommonPrefixes"))
            ok = take_entry(&s, ret, sv_is(s.name, "CommonPrefixes"));
        else if (sv_is(s.name, "IsTruncated"))
            ok = take_string(&s, flag, sizeof(flag));
        else if (sv_is(s.name, "NextContinuationToken"))
            ok = take_string(&s, ret->token, sizeof(ret->token));
    }
    ret->truncated = strcmp(flag, "true") == 0;
    if (!ok || (ret->truncated && !ret->token[0])) {
        s3_xml_page_free(ret);
        return malformed(err);
    }
    if (ret->n)
        qsort_r(ret->p, ret->n, sizeof(*ret->p), by_key, ret->keys.p);
    return ST_OK;
}

void s3_xml_page_free(struct s3_page *page)
{
    buf_fini(&page->keys);
    vec_free(page);
}
