/* URLs exactly as the signature's canonical form has them, so that what is signed and what is sent
 * are one text: parameters sorted, everything but the unreserved characters percent-encoded in upper
 * case, `name=` for parameters without a value. */
#include "s3_int.h"

#include <assert.h>
#include <stdlib.h>

void s3_url_encode(struct buf *out, struct sv s, bool keep_slash)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash)) {
            buf_ch(out, (char)c);
        } else {
            buf_ch(out, '%');
            buf_ch(out, hex[c >> 4]);
            buf_ch(out, hex[c & 15]);
        }
    }
}

void s3_url_query(struct buf *out, const struct s3_param *params, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert(i == 0 || strcmp(params[i - 1].name, params[i].name) < 0);
        if (i)
            buf_ch(out, '&');
        s3_url_encode(out, sv_of(params[i].name), false);
        buf_ch(out, '=');
        s3_url_encode(out, params[i].value, false);
    }
}

enum status s3_url_endpoint(const char *url, struct s3_endpoint *ret, struct err *err)
{
    struct sv s = sv_of(url), own_port;

    ret->tls = sv_starts(s, SV("https://"));
    if (!ret->tls && !sv_starts(s, SV("http://")))
        return err_set(err, ST_INVALID, "S3 endpoint %s: begins with neither http:// nor https://",
                       url);
    s = sv_sub(s, ret->tls ? 8 : 7, s.n);
    if (sv_ends(s, SV("/")))
        s.n--;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || strchr("/?#@\\\"<>", s.p[i]))
            return err_set(err, ST_INVALID, "S3 endpoint %s: only scheme, host and port", url);
    own_port = ret->tls ? SV(":443") : SV(":80");
    if (sv_ends(s, own_port))
        s.n -= own_port.n;
    if (s.n == 0 || s.p[0] == ':')
        return err_set(err, ST_INVALID, "S3 endpoint %s: no host", url);
    ret->host = s;
    return ST_OK;
}
