/* src/catalogue/catalogue_int.h - the look at LMDB's pages before LMDB trusts them. */
#ifndef ENGRAM_CATALOGUE_CATALOGUE_INT_H
#define ENGRAM_CATALOGUE_CATALOGUE_INT_H

#include "base/err.h"

/* ST_CORRUPT when a page that the newest meta page reaches is missing, cut off, of the wrong kind
 * or points outside itself. An absent or empty file is fine: LMDB makes it. */
enum status catalogue_pages_check(const char *file, struct err *err);

#endif
