/* The scanner of S3's answers: real ones, odd ones, hostile ones. */
#include "unit.h"

#include "base/heap.h"
#include "s3_int.h"

#include <stdio.h>

#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"

static void errors_give_code_and_message(void **state)
{
    struct s3_error e;

    (void)state;
    assert_true(s3_xml_error(SV(XML "<Error><Code>NoSuchKey</Code><Message>a &lt;b&gt; &amp; "
                                    "&#233;&#x1F600;</Message><BucketName>x</BucketName></Error>"),
                             &e));
    assert_string_equal(e.code, "NoSuchKey");
    assert_string_equal(e.message, "a <b> & \xc3\xa9\xf0\x9f\x98\x80");
    assert_true(s3_xml_error(SV("<Error><Code>X</Code>"), &e)); /* cut off: still an error */
    assert_string_equal(e.code, "X");
    assert_false(s3_xml_error(SV(""), &e));
    assert_false(s3_xml_error(SV("<html>Bad Gateway</html>"), &e));
    assert_string_equal(e.code, "");
}

static void a_long_message_is_cut_at_a_character(void **state)
{
    struct s3_error e;
    struct buf b;

    (void)state;
    buf_init(&b, 10000);
    buf_str(&b, "<Error><Message>");
    for (int i = 0; i < 300; i++)
        buf_str(&b, "\xc3\xa9");
    buf_str(&b, "</Message></Error>");
    assert_true(s3_xml_error(buf_view(&b), &e));
    assert_int_equal(strlen(e.message), 254);
    assert_true(sv_utf8(sv_of(e.message)));
    buf_fini(&b);
}

static void pages_come_in_key_order(void **state)
{
    struct err err = ERR_INIT;
    struct s3_page p;

    (void)state;
    OK(s3_xml_page(SV(XML "\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                          "<Name>b</Name><Prefix></Prefix><IsTruncated>true</IsTruncated>"
                          "<Contents><Key>b&amp;c</Key><ETag>&quot;x&quot;</ETag><Size>12</Size>"
                          "<Owner><ID>me</ID></Owner></Contents>"
                          "<Contents><Size>3</Size><Key><![CDATA[z<&>]]></Key></Contents>"
                          "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"
                          "<CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>"
                          "<NextContinuationToken>t&gt;1</NextContinuationToken><X/>"
                          "<!-- and a comment --></ListBucketResult>\n"),
                   &p, &err));
    assert_int_equal(p.n, 4);
    assert_true(p.truncated && p.p[0].is_prefix && !p.p[1].is_prefix);
    assert_string_equal(p.token, "t>1");
    assert_int_equal(p.p[1].bytes, 12);
    buf_ch(&p.keys, 0);
    assert_true(sv_is(sv_make(p.keys.p + p.p[1].key_at, p.p[1].key_n), "b&c"));
    assert_true(sv_is(sv_make(p.keys.p + p.p[3].key_at, p.p[3].key_n), "z<&>"));
    s3_xml_page_free(&p);
    OK(s3_xml_page(SV("<ListBucketResult/>"), &p, &err));
    assert_int_equal(p.n, 0);
    s3_xml_page_free(&p);
}

static void malformed_pages_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "no xml",
        "<ListBucketResult>",
        "<Other></Other>",
        "<ListBucketResult></Wrong>",
        "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>99999999999999999999999</Size></Contents>"
        "</ListBucketResult>",
        "<ListBucketResult><Contents><Key>&bogus;</Key><Size>1</Size></Contents>"
        "</ListBucketResult>",
        "<ListBucketResult><Contents><Key>&#0;</Key><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>&#xD800;</Key><Size>1</Size></Contents>"
        "</ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult></ListBucketResult>",
        "<ListBucketResult a=\"<\" <b></ListBucketResult>",
        "<ListBucketResult>x",
        "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>",
        "<ListBucketResult></ListBucketResult>trailing",
    };
    struct err err = ERR_INIT;
    struct s3_page p;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (s3_xml_page(sv_of(bad[i]), &p, &err) != ST_IO)
            fail_msg("taken: %s", bad[i]);
}

static void one_element_is_found_below_the_root_only(void **state)
{
    struct err err = ERR_INIT;
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    OK(s3_xml_text(SV("<s3:R><s3:Key>k</s3:Key><s3:UploadId>2~abc</s3:UploadId></s3:R>"),
                   "UploadId", &b, &err));
    assert_true(sv_is(buf_view(&b), "2~abc"));
    buf_clear(&b);
    assert_int_equal(s3_xml_text(SV("<R><X><UploadId>a</UploadId></X></R>"), "UploadId", &b, &err),
                     ST_IO);
    assert_int_equal(s3_xml_text(SV("<R><UploadId></UploadId></R>"), "UploadId", &b, &err), ST_IO);
    assert_int_equal(s3_xml_text(SV("<UploadId>a</UploadId>"), "UploadId", &b, &err), ST_IO);
    buf_fini(&b);
}

/* Every prefix of a good answer: an error or an answer, nothing read beyond (the copy is exact). */
static void cut_answers_are_survived(void **state)
{
    static const char text[] = XML "<ListBucketResult a='1'><Contents><Key>k&amp;&#x41;</Key>"
                                   "<Size>1</Size></Contents><!-- c --></ListBucketResult>";
    struct s3_error e;
    struct s3_page p;
    struct buf b;

    (void)state;
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        char *copy = heap_dup(text, n);

        assert_int_equal(s3_xml_page(sv_make(copy, n), &p, NULL), ST_IO);
        s3_xml_error(sv_make(copy, n), &e);
        buf_init(&b, 100);
        s3_xml_text(sv_make(copy, n), "Contents", &b, NULL);
        buf_fini(&b);
        heap_free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_give_code_and_message),
        cmocka_unit_test(a_long_message_is_cut_at_a_character),
        cmocka_unit_test(pages_come_in_key_order),
        cmocka_unit_test(malformed_pages_are_refused),
        cmocka_unit_test(one_element_is_found_below_the_root_only),
        cmocka_unit_test(cut_answers_are_survived),
    };

    return RUN(tests);
}
