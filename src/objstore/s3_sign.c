/* AWS Signature Version 4 of one request.
 *
 *   canonical request = method \n path \n query \n (name:value\n)... \n names \n payload hash
 *   string to sign    = "AWS4-HMAC-SHA256" \n date \n day/region/s3/aws4_request \n its SHA-256
 *   key               = HMAC chain over day, region, "s3", "aws4_request" from "AWS4" + secret
 */
#include "s3_int.h"

#include "base/codec.h"
#include "base/heap.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DIGEST_BYTES 32u
#define READ_BYTES   ((size_t)256 << 10)
#define REQUEST_MAX  ((size_t)64 << 10) /* of a canonical request */

void s3_sign_date(char out[S3_DATE_LEN + 1], int64_t wall_ms)
{
    time_t s = (time_t)(wall_ms / 1000);
    struct tm tm;

    if (!gmtime_r(&s, &tm) || strftime(out, S3_DATE_LEN + 1, "%Y%m%dT%H%M%SZ", &tm) != S3_DATE_LEN)
        memcpy(out, "19700101T000000Z", S3_DATE_LEN + 1);
}

void s3_sign_hash(struct sv bytes, char out[S3_HASH_LEN + 1])
{
    unsigned char digest[DIGEST_BYTES];

    if (EVP_Digest(bytes.p, bytes.n, digest, NULL, EVP_sha256(), NULL) != 1)
        abort(); /* OpenSSL without SHA-256 */
    hex_encode(out, digest, sizeof(digest));
}

enum status s3_sign_hash_fd(int fd, uint64_t off, uint64_t n, char out[S3_HASH_LEN + 1],
                            struct err *err)
{
    unsigned char digest[DIGEST_BYTES];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    char *p = heap_alloc(READ_BYTES);
    enum status st = ST_OK;

    if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
        abort();
    while (n && st == ST_OK) {
        ssize_t got = pread(fd, p, n < READ_BYTES ? (size_t)n : READ_BYTES, (off_t)off);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            st = err_os(err, "read");
        } else if (got == 0) {
            st = err_set(err, ST_IO, "file is shorter than it was");
        } else {
            EVP_DigestUpdate(ctx, p, (size_t)got);
            off += (uint64_t)got;
            n -= (uint64_t)got;
        }
    }
    EVP_DigestFinal_ex(ctx, digest, NULL);
    hex_encode(out, digest, sizeof(digest));
    EVP_MD_CTX_free(ctx);
    heap_free(p);
    return st;
}

static void hmac(const unsigned char key[DIGEST_BYTES], struct sv text,
                 unsigned char out[DIGEST_BYTES])
{
    if (!HMAC(EVP_sha256(), key, DIGEST_BYTES, (const unsigned char *)text.p, text.n, out, NULL))
        abort();
}

static void signing_key(const struct s3_sign *in, unsigned char key[DIGEST_BYTES])
{
    struct buf secret;

    buf_init(&secret, 4096);
    buf_str(&secret, "AWS4");
    buf_sv(&secret, in->secret_key);
    if (!HMAC(EVP_sha256(), secret.p, (int)secret.n, (const unsigned char *)in->date, 8, key, NULL))
        abort();
    OPENSSL_cleanse(secret.p, secret.n);
    buf_fini(&secret);
    hmac(key, in->region, key);
    hmac(key, SV("s3"), key);
    hmac(key, SV("aws4_request"), key);
}

static void header_names(const struct s3_sign *in, struct buf *out)
{
    for (size_t i = 0; i < in->headers_n; i++) {
        if (i)
            buf_ch(out, ';');
        buf_str(out, in->headers[i].name);
    }
}

static void canonical_request(const struct s3_sign *in, struct buf *out)
{
    buf_printf(out, "%s\n", in->method);
    buf_sv(out, in->path);
    buf_ch(out, '\n');
    buf_sv(out, in->query);
    buf_ch(out, '\n');
    for (size_t i = 0; i < in->headers_n; i++) {
        buf_printf(out, "%s:", in->headers[i].name);
        buf_sv(out, in->headers[i].value);
        buf_ch(out, '\n');
    }
    buf_ch(out, '\n');
    header_names(in, out);
    buf_ch(out, '\n');
    buf_sv(out, in->payload);
}

void s3_sign(const struct s3_sign *in, struct buf *out)
{
    unsigned char key[DIGEST_BYTES], mac[DIGEST_BYTES];
    char hash[S3_HASH_LEN + 1], signature[S3_HASH_LEN + 1];
    struct buf text;

    buf_init(&text, REQUEST_MAX);
    canonical_request(in, &text);
    s3_sign_hash(buf_view(&text), hash);
    buf_clear(&text);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%.8s/" SV_FMT "/s3/aws4_request\n%s", in->date,
               in->date, SV_ARG(in->region), hash);
    signing_key(in, key);
    hmac(key, buf_view(&text), mac);
    OPENSSL_cleanse(key, sizeof(key));
    hex_encode(signature, mac, sizeof(mac));
    buf_printf(out,
               "AWS4-HMAC-SHA256 Credential=" SV_FMT "/%.8s/" SV_FMT
               "/s3/aws4_request,SignedHeaders=",
               SV_ARG(in->access_key), in->date, SV_ARG(in->region));
    header_names(in, out);
    buf_printf(out, ",Signature=%s", signature);
    buf_fini(&text);
}
