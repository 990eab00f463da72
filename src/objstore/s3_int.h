/* src/objstore/s3_int.h - the parts of the S3 client: URLs in canonical form, signatures, answers. */
#ifndef ENGRAM_OBJSTORE_S3_INT_H
#define ENGRAM_OBJSTORE_S3_INT_H

#include "base/buf.h"
#include "base/err.h"

/* --- s3_url.c --- */
struct s3_param {
    const char *name;
    struct sv value;
};
/* Percent-encodes all but A-Za-z0-9-._~ (and '/' when keep_slash), in upper case. */
void s3_url_encode(struct buf *out, struct sv s, bool keep_slash);
/* name=value&..., as the signature wants it: params must be sorted by name. */
void s3_url_query(struct buf *out, const struct s3_param *params, size_t n);
/* "http://host:port" in its parts; ST_INVALID when it is anything else. */
struct s3_endpoint {
    bool tls;
    struct sv host; /* with the port unless it is the scheme's own */
};
enum status s3_url_endpoint(const char *url, struct s3_endpoint *ret, struct err *err);

/* --- s3_sign.c: AWS Signature Version 4 --- */
#define S3_HASH_LEN 64 /* hexadecimal characters of SHA-256 */
#define S3_UNSIGNED "UNSIGNED-PAYLOAD"

struct s3_header {
    const char *name; /* lower case */
    struct sv value;  /* without white space around it */
};
struct s3_sign {
    struct sv access_key, secret_key, region;
    const char *method;
    struct sv path, query;           /* canonical: from s3_url_encode, s3_url_query */
    const struct s3_header *headers; /* those to be signed, sorted, with host and x-amz-date */
    size_t headers_n;
    struct sv payload;               /* hexadecimal SHA-256, or S3_UNSIGNED */
    const char *date;                /* from s3_sign_date() */
};
/* yyyymmddThhmmssZ */
#define S3_DATE_LEN 16
void s3_sign_date(char out[S3_DATE_LEN + 1], int64_t wall_ms);
/* The value of the Authorization header. */
void s3_sign(const struct s3_sign *in, struct buf *out);
void s3_sign_hash(struct sv bytes, char out[S3_HASH_LEN + 1]);
/* Of n bytes of a file from off on; ST_IO when they are not there. */
enum status s3_sign_hash_fd(int fd, uint64_t off, uint64_t n, char out[S3_HASH_LEN + 1],
                            struct err *err);

/* --- s3_xml.c --- */
struct s3_error {
    char code[64], message[256]; /* empty when the body holds none */
};
/* true: the body is an error document. */
bool s3_xml_error(struct sv body, struct s3_error *ret);
/* Text of the first element of this name below the root; ST_IO when malformed or absent. */
enum status s3_xml_text(struct sv body, const char *name, struct buf *out, struct err *err);

#define S3_TOKEN_MAX 2048u
struct s3_listed {
    size_t key_at, key_n; /* in keys */
    uint64_t bytes;
    bool is_prefix;
};
struct s3_page { /* of ListObjectsV2; s3_page_free() */
    struct buf keys;
    struct s3_listed *p;
    size_t n, cap;
    bool truncated;
    char token[S3_TOKEN_MAX + 1];
};
/* Entries in key order. ST_IO when malformed or over its ceilings. */
enum status s3_xml_page(struct sv body, struct s3_page *ret, struct err *err);
void s3_xml_page_free(struct s3_page *page);

#endif
