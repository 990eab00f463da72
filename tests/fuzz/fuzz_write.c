/* The hot WriteRequest decoder against protobuf-c: the same bytes must be taken by both, with the same
 * columns, or refused by both; and taken bytes must survive encoding and decoding again. The first byte
 * chooses: snappy-packed (odd) or plain. */
#include "base/heap.h"
#include "fuzz_batch.h"
#include "wire/wire.h"

#define DECODED_MAX ((size_t)1 << 20)
#define ARENA_MAX   ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    struct batch fast, slow, again;
    struct buf out;
    struct sv body;
    enum status x, y;

    arena_init(&a, ARENA_MAX);
    body = n ? sv_make(p + 1, n - 1) : (struct sv){NULL, 0};
    if (n && (p[0] & 1) && wire_unsnap(body, DECODED_MAX, &a, &body, NULL) != ST_OK) {
        arena_fini(&a);
        return 0;
    }
    batch_init(&fast, &a, 1);
    batch_init(&slow, &a, 1);
    batch_init(&again, &a, 1);
    x = wire_write_v1(body, &fast, NULL);
    y = wire_write_v1_slow(body, &slow, NULL);
    /* Out of memory is no verdict on the bytes. */
    if (x != ST_LIMIT && y != ST_LIMIT)
        must(x == y);
    if (x == ST_OK && y == ST_OK) {
        must_be_same_series(&fast, &slow, &a);
        must_be_same_metadata(&fast, &slow);
        buf_init(&out, ARENA_MAX);
        wire_write_v1_encode(&out, &fast);
        must(buf_ok(&out));
        x = wire_write_v1(buf_view(&out), &again, NULL);
        must(x == ST_OK || x == ST_LIMIT);
        if (x == ST_OK) {
            must_be_same_series(&fast, &again, &a);
            must_be_same_metadata(&fast, &again);
        }
        buf_fini(&out);
    }
    arena_fini(&a);
    return 0;
}
