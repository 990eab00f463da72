/* Fuzz target: chunks. What decodes must come out the same after being encoded again; what the check
 * calls sound must decode to what the check says. The same bytes are also taken as a framed chunk. */
#include "../../tsdb/block_int.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const struct trange all = {INT64_MIN, INT64_MAX};

static void encode_again(const struct samples *s)
{
    struct chunk_list list;
    struct samples again;
    struct arena a;
    struct err err;

    arena_init(&a, (size_t)64 << 20);
    samples_init(&again);
    assert(chunk_encode(s, &a, &list, &err) == ST_OK);
    for (size_t i = 0; i < list.n; i++) {
        int64_t first, last;
        unsigned count;

        assert(list.p[i].data.n <= CHUNK_XOR_MAX_BYTES);
        assert(chunk_xor_decode(list.p[i].data, all, &again, &err) == ST_OK);
        assert(chunk_xor_check(list.p[i].data, &first, &last, &count, &err) == ST_OK);
        assert(first == list.p[i].first_ms && last == list.p[i].last_ms);
    }
    assert(again.n == s->n);
    for (size_t i = 0; i < s->n; i++)
        assert(again.t_ms[i] == s->t_ms[i] && f64_bits(again.f[i]) == f64_bits(s->f[i]));
    samples_fini(&again);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    enum chunk_enc enc = CHUNK_NONE;
    int64_t first, last;
    struct samples s;
    unsigned count;
    struct sv data;
    struct err err;
    size_t need;

    samples_init(&s);
    if (chunk_xor_decode(sv_make(p, n), all, &s, &err) == ST_OK)
        encode_again(&s);
    for (size_t i = 1; i < s.n; i++)
        assert(s.t_ms[i] > s.t_ms[i - 1]);
    if (chunk_xor_check(sv_make(p, n), &first, &last, &count, &err) == ST_OK && last < INT64_MAX) {
        assert(s.n == count && s.t_ms[0] == first && s.t_ms[count - 1] == last);
    }
    if (chunk_file_parse(sv_make(p, n), &enc, &data, &need, false, &err) == ST_OK && need <= n) {
        samples_clear(&s);
        (void)chunk_xor_decode(data, all, &s, &err);
    }
    samples_fini(&s);
    return 0;
}
