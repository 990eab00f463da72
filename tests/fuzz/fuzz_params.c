/* Query strings and forms: whatever the bytes, pairs that lie inside what was given, and no more of them
 * than it has separators for. */
#include "../../src/http/http_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct sv text = sv_make(p, n), plain;
    struct http_param *params = NULL;
    struct arena arena;
    size_t params_n = 0, bytes = 0;

    arena_init(&arena, n % 3 ? (size_t)4 << 20 : n * 2); /* a narrow one as well */
    if (http_params_parse(&arena, text, &params, &params_n, NULL) == ST_OK) {
        for (size_t i = 0; i < params_n; i++) {
            if (!params[i].name.p || !params[i].value.p)
                abort();
            bytes += params[i].name.n + params[i].value.n;
        }
        if (bytes > n || params_n > n)
            abort();
    }
    plain = http_unescape(&arena, text, false);
    if (plain.p && plain.n > n)
        abort();
    http_accepts_gzip(text);
    arena_fini(&arena);
    return 0;
}
