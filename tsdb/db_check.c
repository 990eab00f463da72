/* Figures of a database, and the walk over all its invariants. */
#include "head_int.h"

void db_stats(struct db *d, struct db_stats *ret)
{
    head_stats(d->head, ret);
    LOCK_SCOPE(&d->lock);
    ret->blocks = d->blocks.n;
}

enum status db_check(struct db *d, struct err *err)
{
    enum status st = ST_OK;

    lock_take(&d->lock);
    for (size_t i = 1; i < d->blocks.n && st == ST_OK; i++)
        if (block_meta_of(d->blocks.p[i - 1])->cut_seq > block_meta_of(d->blocks.p[i])->cut_seq)
            st = err_set(err, ST_CORRUPT, "db: blocks not in the order of their cuts");
    lock_drop(&d->lock);
    return st == ST_OK ? head_check(d->head, err) : st;
}
