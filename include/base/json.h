/* include/base/json.h
 *
 * JSON out (a streaming writer into a buf) and JSON in (small documents: meta.json, markers; a
 * strict reader over jansson that refuses NUL, bad UTF-8, duplicate keys and deep nesting).
 *
 * Writer: the caller nests; json_ functions only place values and escape. Strings are escaped as
 * Go's encoding/json does without HTML escaping; invalid UTF-8 becomes U+FFFD.
 */
#ifndef ENGRAM_BASE_JSON_H
#define ENGRAM_BASE_JSON_H

#include "base/buf.h"
#include "base/err.h"

void json_str(struct buf *b, struct sv s);       /* with the quotes */
void json_str_html(struct buf *b, struct sv s);  /* also < > & as \u003c \u003e \u0026 */
void json_key(struct buf *b, const char *key);   /* "key": */

struct json; /* a value inside a document; borrowed from its document */
struct json_doc;

enum status json_parse(struct sv text, struct json_doc **ret, struct err *err); /* ST_INVALID */
void json_free(struct json_doc *doc);
const struct json *json_root(const struct json_doc *doc);
/* All are NULL-safe; a wrong type counts as absent. */
const struct json *json_get(const struct json *obj, const char *key);
size_t json_len(const struct json *array_or_obj);
const struct json *json_at(const struct json *array, size_t i);
bool json_sv(const struct json *j, struct sv *ret);
bool json_i64(const struct json *j, int64_t *ret);
bool json_double(const struct json *j, double *ret);
bool json_is_obj(const struct json *j);
bool json_is_arr(const struct json *j);
typedef void (*json_visit)(void *arg, struct sv key, const struct json *value);
void json_each(const struct json *obj, json_visit visit, void *arg);

#endif
