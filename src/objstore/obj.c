/* What every backend asks of a key, so that a name that works in a folder works in S3 and the other
 * way round, and none leaves the bucket. */
#include "obj_int.h"

#define PART_MAX 255u

static enum status check(struct sv key, bool is_prefix, struct err *err)
{
    struct sv rest = key, part;

    if (key.n == 0)
        return is_prefix ? ST_OK : err_set(err, ST_INVALID, "empty object key");
    if (key.n > OBJ_KEY_MAX)
        return err_set(err, ST_INVALID, "object key of %zu bytes, over %u", key.n, OBJ_KEY_MAX);
    for (size_t i = 0; i < key.n; i++)
        if ((unsigned char)key.p[i] < 0x20 || key.p[i] == 0x7f)
            return err_set(err, ST_INVALID, "object key holds a control character");
    if (is_prefix && key.p[key.n - 1] == '/')
        rest.n--; /* a folder */
    do {
        part = sv_cut(rest, '/', &rest);
        if (part.n == 0 || part.n > PART_MAX || sv_is(part, ".") || sv_is(part, ".."))
            return err_set(err, ST_INVALID, "bad part in object key " SV_FMT, SV_ARG(key));
    } while (rest.p);
    return ST_OK;
}

enum status obj_key_check(struct sv key, struct err *err)
{
    return check(key, false, err);
}

enum status obj_prefix_check(struct sv prefix, struct err *err)
{
    return check(prefix, true, err);
}
