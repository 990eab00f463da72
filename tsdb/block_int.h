/* tsdb/block_int.h
 *
 * What the files of a block share and nobody else sees: buffered writing, chunk files, the index
 * writer and reader.
 *
 * Threads: writers belong to one thread; a struct index is immutable once open.
 */
#ifndef ENGRAM_TSDB_BLOCK_INT_H
#define ENGRAM_TSDB_BLOCK_INT_H

#include "tsdb/block.h"
#include "tsdb/postings.h"

#define BLOCK_INDEX       "index"
#define BLOCK_CHUNKS      "chunks"
#define BLOCK_META        "meta.json"
#define BLOCK_TOMBSTONES  "tombstones"
#define BLOCK_META_MAX    ((size_t)4 << 20) /* a meta.json larger than this isn't one */
#define BLOCK_FILE_NAME   24                /* "chunks/000001" with room to spare */

#define TOMBSTONES_MAGIC   0x0130ba30u
#define TOMBSTONES_VERSION 1

/* --- a file being written: 256 KiB at a time, with a running checksum --- */

struct block_out {
    const struct fs *fs;
    int fd; /* -1: not open */
    char path[FS_PATH_MAX];
    struct buf buf;
    uint64_t off; /* of the next byte */
    uint32_t crc; /* since block_out_crc_begin() */
    size_t crc_from; /* where in buf the part not yet summed begins */
};
enum status block_out_open(struct block_out *o, const struct fs *fs, const char *path,
                           struct err *err);
enum status block_out_put(struct block_out *o, struct sv bytes, struct err *err);
enum status block_out_pad(struct block_out *o, unsigned align, struct err *err); /* with zeros */
void block_out_crc_begin(struct block_out *o);
enum status block_out_crc_end(struct block_out *o, struct err *err); /* writes it, big-endian */
enum status block_out_flush(struct block_out *o, struct err *err);
/* Flushes, syncs, closes. */
enum status block_out_finish(struct block_out *o, struct err *err);
void block_out_fini(struct block_out *o); /* after finish, or to give up */

/* --- chunk files: chunk_file.c --- */

#define CHUNK_MAGIC         0x85bd40ddu
#define CHUNK_VERSION       1
#define CHUNK_FILE_HEADER   8
#define CHUNK_FILE_BYTES    ((uint64_t)512 << 20)
#define CHUNK_FRAME_MAX     (5 + 1 + 4)        /* length, encoding, checksum around the data */
#define CHUNK_DATA_MAX      ((size_t)64 << 20) /* a longer one is damage */

struct chunk_file_writer {
    const struct fs *fs;
    char dir[FS_PATH_MAX];
    struct block_out out;
    uint64_t file_max; /* CHUNK_FILE_BYTES, less in tests */
    uint32_t files;
};
void chunk_file_begin(struct chunk_file_writer *w, const struct fs *fs, const char *dir);
/* ret_ref: number of the file (from 0) << 32 | offset. */
enum status chunk_file_put(struct chunk_file_writer *w, const struct chunk *c, uint64_t *ret_ref,
                           struct err *err);
enum status chunk_file_finish(struct chunk_file_writer *w, struct err *err);
void chunk_file_fini(struct chunk_file_writer *w);

void chunk_file_name(char out[BLOCK_FILE_NAME], uint64_t ref);
/* One framed chunk at the beginning of s. *ret_need > s.n: that many bytes are needed to tell. */
enum status chunk_file_parse(struct sv s, enum chunk_enc *ret_enc, struct sv *ret_data,
                             size_t *ret_need, bool verify, struct err *err);
const char *chunk_enc_name(unsigned enc);

/* --- the index --- */

#define INDEX_MAGIC     0xbaaad700u
#define INDEX_VERSION   2
#define INDEX_HEADER    5
#define INDEX_TOC_BYTES (6 * 8 + 4)
#define INDEX_ALIGN     16 /* of series; a reference is offset / 16 */
#define INDEX_SPARSE    32 /* every 32nd symbol and value is held by an open block */

struct index_chunk {
    int64_t first_ms, last_ms;
    uint64_t ref;
};

struct index_writer;
enum status index_writer_open(const struct fs *fs, const char *dir, struct index_writer **ret,
                              struct err *err);
/* Labels greater than the last; chunks ascending and disjoint. */
enum status index_writer_series(struct index_writer *w, struct labels labels,
                                const struct index_chunk *chunks, size_t n, struct err *err);
/* Writes <dir>/index and syncs it; the temporary part is gone. */
enum status index_writer_finish(struct index_writer *w, struct err *err);
void index_writer_free(struct index_writer *w); /* takes NULL */
/* Postings are gathered in rounds of this many ids; less in tests. */
void index_writer_window(struct index_writer *w, size_t ids);

/* Strings and pairs of strings by number, in the order of their coming: index_intern.c. */
struct index_intern {
    VEC(char) bytes;
    VEC(uint64_t) off;     /* of string i; off[n] is the end */
    uint32_t *slots;       /* number + 1, 0 empty */
    size_t slots_n;
};
struct index_pairs {
    VEC(uint64_t) key;     /* name << 32 | value, numbers of strings */
    VEC(uint32_t) count;   /* series that have it */
    uint32_t *slots;
    size_t slots_n;
};
void index_intern_init(struct index_intern *t);
void index_intern_fini(struct index_intern *t);
uint32_t index_intern_put(struct index_intern *t, struct sv s);
struct sv index_intern_get(const struct index_intern *t, uint32_t i);
size_t index_intern_n(const struct index_intern *t);
void index_pairs_init(struct index_pairs *t);
void index_pairs_fini(struct index_pairs *t);
uint32_t index_pairs_put(struct index_pairs *t, uint32_t name, uint32_t value);

#endif
