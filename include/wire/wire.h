/* include/wire/wire.h
 *
 * The only room that knows protobuf and snappy: bytes <-> model.
 *
 * Threads: plain functions. Memory: results are views into `body` or live in the batch's arena,
 * whose ceiling bounds what hostile input can make of itself.
 * Errors:  ST_INVALID malformed; ST_TOOBIG decoded size over the limit; ST_LIMIT arena.
 */
#ifndef ENGRAM_WIRE_WIRE_H
#define ENGRAM_WIRE_WIRE_H

#include "base/arena.h"
#include "model/batch.h"

/* Snappy block format into arena. The announced length is held against max_bytes, and against
 * what `in` could possibly make, before anything is allocated. */
enum status wire_unsnap(struct sv in, size_t max_bytes, struct arena *arena, struct sv *ret,
                        struct err *err);

/* prometheus.WriteRequest (remote write 1.0). Hot: walks the bytes, allocates only the columns.
 * A histogram that is well-formed but breaks Prometheus's rules (spans, counts, bounds) has h NULL,
 * to be refused as VERDICT_BAD_HIST; its neighbours are fine. Labels are not checked here, but
 * labels_from_wire() will read raw (ST_LIMIT aside). */
enum status wire_write_v1(struct sv body, struct batch *batch, struct err *err);
/* The same by protobuf-c: the oracle of the tests and of the fuzz target. */
enum status wire_write_v1_slow(struct sv body, struct batch *batch, struct err *err);
/* io.prometheus.write.v2.Request (remote write 2.0). As above, but labels come as references to the
 * request's symbols: raw is written into the arena, in 1.0's form, so that a series has the same name
 * and alias whichever version brought it. The batch's texts are views into body. A reference out of
 * range, an odd number of them, or a first symbol that is not empty is ST_INVALID. Metadata is one row
 * for each series name and text, under the name of the family. */
enum status wire_write_v2(struct sv body, struct batch *batch, struct err *err);
enum status wire_write_v2_slow(struct sv body, struct batch *batch, struct err *err);
/* Metadata goes with the first series of its family, or with one made for it. */
void wire_write_v2_encode(struct buf *out, const struct batch *batch);

/* Encodes (tests, bench, self-made requests). */
void wire_write_v1_encode(struct buf *out, const struct batch *batch);
void wire_snap(struct buf *out, struct sv in);

#endif
