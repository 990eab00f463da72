/* include/ingester/ship.h
 *
 * A finished block's way into the bucket: <tenant>/<ULID>/chunks/NNNNNN, index, tombstones, and
 * meta.json last, which is what makes it a block. Every object is confirmed by its size (HEAD)
 * before meta.json is put, and meta.json afterwards: on ST_OK the local copy may go.
 *
 * Threads: any, one upload of a block at a time. Memory: none kept.
 * Errors:  of the bucket and the disk; ST_IO when a size does not agree. An upload that failed or
 *          died leaves nothing that a reader takes for a block; called again it begins anew, and a
 *          block that is there whole is only confirmed.
 */
#ifndef ENGRAM_INGESTER_SHIP_H
#define ENGRAM_INGESTER_SHIP_H

#include "objstore/obj.h"
#include "tsdb/block.h"

enum status ship_block(struct obj *bucket, const struct fs *fs, const char *block_dir,
                       struct sv tenant, const struct block_meta *m, struct err *err);

#endif
