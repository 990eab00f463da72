/* JSON: writing by hand into a buf, reading small documents through jansson, which refuses NUL
 * characters, invalid UTF-8 and (asked to) duplicate keys. Nesting is bounded by jansson at 2,048.
 */
#include "base/json.h"

#include "base/heap.h"

#include <jansson.h>

static void escape(struct buf *b, struct sv s, bool html)
{
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;

    buf_ch(b, '"');
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t len = 1;

        if (c >= 0x80) { /* a whole sequence, or one bad byte */
            len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            if (i + len <= s.n && sv_utf8(sv_sub(s, i, len))) {
                i += len;
                continue;
            }
            buf_put(b, s.p + from, i - from);
            buf_str(b, "\\ufffd");
            from = ++i;
            continue;
        }
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f &&
            !(html && (c == '<' || c == '>' || c == '&'))) {
            i++;
            continue;
        }
        if (c == 0x7f) {
            i++;
            continue;
        }
        buf_put(b, s.p + from, i - from);
        if (c == '"' || c == '\\') {
            buf_ch(b, '\\');
            buf_ch(b, (char)c);
        } else if (c == '\n') {
            buf_str(b, "\\n");
        } else if (c == '\r') {
            buf_str(b, "\\r");
        } else if (c == '\t') {
            buf_str(b, "\\t");
        } else {
            char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            buf_put(b, u, sizeof(u));
        }
        from = ++i;
    }
    if (s.n) /* an empty view may have no address to add to */
        buf_put(b, s.p + from, s.n - from);
    buf_ch(b, '"');
}

void json_str(struct buf *b, struct sv s)
{
    escape(b, s, false);
}

void json_str_html(struct buf *b, struct sv s)
{
    escape(b, s, true);
}

void json_key(struct buf *b, const char *key)
{
    escape(b, sv_of(key), false);
    buf_ch(b, ':');
}

/* struct json is jansson's json_t, struct json_doc owns the root. */
struct json_doc {
    json_t *root;
};

static const json_t *in(const struct json *j)
{
    return (const json_t *)j;
}

enum status json_parse(struct sv text, struct json_doc **ret, struct err *err)
{
    json_error_t je;
    json_t *root =
        json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    struct json_doc *d;

    if (!root)
        return err_set(err, ST_INVALID, "JSON: line %d column %d: %s", je.line, je.column, je.text);
    d = heap_new(struct json_doc);
    d->root = root;
    *ret = d;
    return ST_OK;
}

void json_free(struct json_doc *doc)
{
    if (!doc)
        return;
    json_decref(doc->root);
    heap_free(doc);
}

const struct json *json_root(const struct json_doc *doc)
{
    return (const struct json *)doc->root;
}

const struct json *json_get(const struct json *obj, const char *key)
{
    return obj ? (const struct json *)json_object_get(in(obj), key) : NULL;
}

size_t json_len(const struct json *j)
{
    if (!j)
        return 0;
    return json_typeof(in(j)) == JSON_ARRAY ? json_array_size(in(j)) : json_object_size(in(j));
}

const struct json *json_at(const struct json *array, size_t i)
{
    return array ? (const struct json *)json_array_get(in(array), i) : NULL;
}

bool json_sv(const struct json *j, struct sv *ret)
{
    if (!j || !json_is_string(in(j)))
        return false;
    *ret = sv_make(json_string_value(in(j)), json_string_length(in(j)));
    return true;
}

bool json_i64(const struct json *j, int64_t *ret)
{
    if (!j || !json_is_integer(in(j)))
        return false;
    *ret = json_integer_value(in(j));
    return true;
}

bool json_double(const struct json *j, double *ret)
{
    if (!j || !json_is_number(in(j)))
        return false;
    *ret = json_number_value(in(j));
    return true;
}

bool json_is_obj(const struct json *j)
{
    return j && json_is_object(in(j));
}

bool json_is_arr(const struct json *j)
{
    return j && json_typeof(in(j)) == JSON_ARRAY;
}

void json_each(const struct json *obj, json_visit visit, void *arg)
{
    json_t *o = (json_t *)(uintptr_t)obj;

    if (!json_is_obj(obj))
        return;
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it))
        visit(arg, sv_of(json_object_iter_key(it)),
              (const struct json *)json_object_iter_value(it));
}
