/* The signature against the worked examples of Amazon's public documentation ("Signature
 * Calculations for the Authorization Header: Transferring Payload in a Single Chunk"), and URLs in
 * canonical form. */
#include "unit.h"

#include "base/heap.h"
#include "s3_int.h"

#include <stdio.h>

#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define DATE       "20130524T000000Z"
#define HOST       {"host", SV("examplebucket.s3.amazonaws.com")}
#define EMPTY      {"x-amz-content-sha256", SV(EMPTY_HASH)}
#define AT         {"x-amz-date", SV(DATE)}

static void expect(const char *method, const char *path, const char *query,
                   const struct s3_header *headers, size_t n, const char *payload,
                   const char *signature)
{
    struct s3_sign in = {.access_key = SV("AKIAIOSFODNN7EXAMPLE"),
                         .secret_key = SV("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
                         .region = SV("us-east-1"),
                         .method = method,
                         .path = sv_of(path),
                         .query = sv_of(query),
                         .headers = headers,
                         .headers_n = n,
                         .payload = sv_of(payload),
                         .date = DATE};
    struct buf b;

    buf_init(&b, 4096);
    s3_sign(&in, &b);
    assert_true(sv_starts(buf_view(&b), SV("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/"
                                           "20130524/us-east-1/s3/aws4_request,SignedHeaders=")));
    buf_ch(&b, 0);
    assert_string_equal(strstr(b.p, ",Signature=") + 11, signature);
    buf_fini(&b);
}

static void get_object_with_a_range(void **state)
{
    const struct s3_header h[] = {HOST, {"range", SV("bytes=0-9")}, EMPTY, AT};

    (void)state;
    expect("GET", "/test.txt", "", h, 4, EMPTY_HASH,
           "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void put_object(void **state)
{
    char hash[S3_HASH_LEN + 1];
    struct buf path;

    (void)state;
    s3_sign_hash(SV("Welcome to Amazon S3."), hash);
    assert_string_equal(hash, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
    const struct s3_header h[] = {{"date", SV("Fri, 24 May 2013 00:00:00 GMT")},
                                  HOST,
                                  {"x-amz-content-sha256", sv_of(hash)},
                                  AT,
                                  {"x-amz-storage-class", SV("REDUCED_REDUNDANCY")}};
    buf_init(&path, 100);
    s3_url_encode(&path, SV("/test$file.text"), true);
    buf_ch(&path, 0);
    expect("PUT", path.p, "", h, 5, hash,
           "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    buf_fini(&path);
}

static void a_parameter_without_value(void **state)
{
    const struct s3_header h[] = {HOST, EMPTY, AT};
    const struct s3_param p = {"lifecycle", {NULL, 0}};
    struct buf query;

    (void)state;
    buf_init(&query, 100);
    s3_url_query(&query, &p, 1);
    buf_ch(&query, 0);
    expect("GET", "/", query.p, h, 3, EMPTY_HASH,
           "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    buf_fini(&query);
}

static void list_objects(void **state)
{
    const struct s3_header h[] = {HOST, EMPTY, AT};
    const struct s3_param p[] = {{"max-keys", SV("2")}, {"prefix", SV("J")}};
    struct buf query;

    (void)state;
    buf_init(&query, 100);
    s3_url_query(&query, p, 2);
    buf_ch(&query, 0);
    expect("GET", "/", query.p, h, 3, EMPTY_HASH,
           "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    buf_fini(&query);
}

static void every_byte_has_one_form(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    s3_url_encode(&b, SV("a/b c+d=e&\xc3\xa9~-._\0"), true);
    s3_url_encode(&b, SV("/%"), false);
    buf_ch(&b, 0);
    assert_string_equal(b.p, "a/b%20c%2Bd%3De%26%C3%A9~-._%00%2F%25");
    buf_fini(&b);
}

static void dates_are_in_universal_time(void **state)
{
    char d[S3_DATE_LEN + 1];

    (void)state;
    s3_sign_date(d, INT64_C(1369353600123));
    assert_string_equal(d, DATE);
    s3_sign_date(d, INT64_MAX);
    assert_string_equal(d, "19700101T000000Z");
}

static void a_file_hashes_as_its_bytes_do(void **state)
{
    char path[] = "/tmp/engram-sign-XXXXXX", a[S3_HASH_LEN + 1], b[S3_HASH_LEN + 1];
    struct err err = ERR_INIT;
    FILE *f = fdopen(mkstemp(path), "w+");

    (void)state;
    assert_non_null(f);
    for (int i = 0; i < 100000; i++)
        fprintf(f, "%09d\n", i);
    fflush(f);
    OK(s3_sign_hash_fd(fileno(f), 10, 20, a, &err));
    s3_sign_hash(SV("000000001\n000000002\n"), b);
    assert_string_equal(a, b);
    OK(s3_sign_hash_fd(fileno(f), 0, 1000000, a, &err));
    assert_int_equal(s3_sign_hash_fd(fileno(f), 999990, 11, a, &err), ST_IO);
    fclose(f);
    remove(path);
}

static void endpoints_are_taken_apart_or_refused(void **state)
{
    static const char *const bad[] = {"",           "ftp://x",      "host:1",      "http://",
                                      "http://:80", "http://h/path", "http://h?q=1", "http://u@h",
                                      "http://h h"};
    struct err err = ERR_INIT;
    struct s3_endpoint e;

    (void)state;
    OK(s3_url_endpoint("http://10.0.0.1:7480", &e, &err));
    assert_true(!e.tls && sv_is(e.host, "10.0.0.1:7480"));
    OK(s3_url_endpoint("https://s3.example.org:443/", &e, &err));
    assert_true(e.tls && sv_is(e.host, "s3.example.org"));
    OK(s3_url_endpoint("http://s3.example.org:443", &e, &err));
    assert_true(sv_is(e.host, "s3.example.org:443"));
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(s3_url_endpoint(bad[i], &e, &err), ST_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_object_with_a_range),
        cmocka_unit_test(put_object),
        cmocka_unit_test(a_parameter_without_value),
        cmocka_unit_test(list_objects),
        cmocka_unit_test(every_byte_has_one_form),
        cmocka_unit_test(dates_are_in_universal_time),
        cmocka_unit_test(a_file_hashes_as_its_bytes_do),
        cmocka_unit_test(endpoints_are_taken_apart_or_refused),
    };

    return RUN(tests);
}
