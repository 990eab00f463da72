/* include/catalogue/catalogue.h
 *
 * The blocks that exist, local and in the bucket, in LMDB: ranges, provenance, what is shipped.
 * Only a memory of what folders and bucket say: missing, damaged or doubted it is rebuilt.
 *
 * Threads: any. Memory: rows are values. Errors: ST_IO, ST_CORRUPT (the caller rebuilds).
 */
#ifndef ENGRAM_CATALOGUE_CATALOGUE_H
#define ENGRAM_CATALOGUE_CATALOGUE_H

#include "base/codec.h"
#include "base/err.h"
#include "model/trange.h"

struct catalogue;

enum catalogue_where { CATALOGUE_LOCAL = 1, CATALOGUE_BUCKET = 2 };

struct catalogue_row {
    char ulid[ULID_LEN + 1];
    struct trange range;
    uint64_t cut_seq, num_series, num_samples;
    unsigned where; /* bits of enum catalogue_where */
};

/* Opens data/catalogue, or begins anew when it is absent or unsound (*ret_fresh). */
enum status catalogue_open(const char *dir, struct catalogue **ret, bool *ret_fresh,
                           struct err *err);
void catalogue_close(struct catalogue *own_c);
/* Sets (where bits are or-ed to what is there) or takes away bits; a row without bits goes. */
enum status catalogue_add(struct catalogue *c, struct sv tenant, const struct catalogue_row *row,
                          struct err *err);
enum status catalogue_remove(struct catalogue *c, struct sv tenant, struct sv ulid, unsigned where,
                             struct err *err);
typedef enum status (*catalogue_visit)(void *arg, struct sv tenant, const struct catalogue_row *row,
                                       struct err *err);
/* Rows of a tenant (p NULL: of all) whose range overlaps, oldest first. */
enum status catalogue_each(struct catalogue *c, struct sv tenant, struct trange range,
                           catalogue_visit visit, void *arg, struct err *err);
uint64_t catalogue_generation(struct catalogue *c); /* changes with every change */

#endif
