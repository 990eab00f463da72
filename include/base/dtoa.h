/* include/base/dtoa.h
 *
 * Numbers as text, the way Go's strconv prints and reads them.
 */
#ifndef ENGRAM_BASE_DTOA_H
#define ENGRAM_BASE_DTOA_H

#include "base/buf.h"

#define DTOA_MAX 352 /* bytes any of these writes at most, NUL not included */

/* FormatFloat(v, 'f', -1, 64): shortest digits, never an exponent; NaN, +Inf, -Inf. */
size_t dtoa_f(char out[DTOA_MAX], double v);
/* As Prometheus's JSON prints sample values: 'f' for 1e-6 <= |v| < 1e21 and 0, else 'e'. */
size_t dtoa_json(char out[DTOA_MAX], double v);
/* As Go's fmt prints with %v: shortest digits, an exponent below -4 or from 21 on ("1e+21"). */
size_t dtoa_g(char out[DTOA_MAX], double v);
void buf_double(struct buf *b, double v);      /* dtoa_f */
void buf_double_json(struct buf *b, double v); /* dtoa_json */
/* Milliseconds as Prometheus's JSON prints time: 1435781451.781, trailing zeros cut. */
void buf_time_s(struct buf *b, int64_t t_ms);
void buf_i64(struct buf *b, int64_t v);

/* The whole view as strconv.ParseFloat reads it: decimals, exponents, hex floats, underscores
 * not, inf, infinity, nan with sign, any case. false when it is not a number. Out of range gives
 * an infinity and true. */
bool dtoa_parse(struct sv s, double *ret);

#endif
