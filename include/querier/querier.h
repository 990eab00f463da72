/* include/querier/querier.h
 *
 * The storage that PromQL reads: ingester (head, local blocks) and store gateway (bucket), merged.
 * Which tier serves a block follows from facts, never from clocks: what the ingester has locally
 * it serves, and the gateway leaves that out.
 */
#ifndef ENGRAM_QUERIER_QUERIER_H
#define ENGRAM_QUERIER_QUERIER_H

#include "ingester/ingester.h"
#include "storegateway/sgw.h"

/* Both borrowed; either may be NULL (roles). Free with querier_free(). */
struct storage *querier_new(struct ingester *ingester, struct sgw *sgw);
void querier_free(struct storage *own_s);

#endif
