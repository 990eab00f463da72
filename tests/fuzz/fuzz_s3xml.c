/* S3's XML answers: whatever the bytes, an answer or an error, and entries that lie inside. */
#include "../../src/objstore/s3_int.h"

#include "base/heap.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct sv body = sv_make(p, n);
    struct s3_error error;
    struct s3_page page;
    struct buf b;

    s3_xml_error(body, &error);
    if (strlen(error.code) >= sizeof(error.code) || strlen(error.message) >= sizeof(error.message))
        abort();
    buf_init(&b, 1024);
    if (s3_xml_text(body, "UploadId", &b, NULL) == ST_OK && b.n == 0)
        abort();
    buf_fini(&b);
    if (s3_xml_page(body, &page, NULL) != ST_OK)
        return 0;
    for (size_t i = 0; i < page.n; i++) {
        const struct s3_listed *e = &page.p[i], *last = e - 1;

        if (e->key_n == 0 || e->key_at + e->key_n > page.keys.n)
            abort();
        if (i && sv_cmp(sv_make(page.keys.p + last->key_at, last->key_n),
                        sv_make(page.keys.p + e->key_at, e->key_n)) > 0)
            abort();
    }
    if (page.truncated && !page.token[0])
        abort();
    s3_xml_page_free(&page);
    return 0;
}
