/* include/model/merge.h
 *
 * Several series_sets as one: k-way by labels; of samples with the same timestamp the one of the
 * set with the lowest index wins ("first written wins": hand the sets over in order of writing).
 *
 * Takes the sets (closes them). complete only when every one is; warnings are gathered.
 */
#ifndef ENGRAM_MODEL_MERGE_H
#define ENGRAM_MODEL_MERGE_H

#include "model/storage.h"

enum status merge_sets(const struct query_ctx *ctx, struct series_set **own_sets, size_t n,
                       struct series_set **ret, struct err *err);
/* A set without series, complete. */
struct series_set *merge_empty(void);
/* Sorted, distinct union into ctx->arena; limit 0: all. */
enum status merge_names(const struct query_ctx *ctx, const struct names *lists, size_t n,
                        size_t limit, struct names *ret, struct err *err);

#endif
