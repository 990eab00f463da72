/* include/model/value.h
 *
 * The result of a PromQL evaluation: scalar, string, instant vector or matrix.
 *
 * A matrix row holds points as columns, ascending in time; a point is a float or a histogram. An
 * instant vector is a matrix whose rows have one point. A scalar is a point, or for a range query a
 * matrix with one row without labels.
 *
 * Memory: everything lives in the arena that the evaluation was given.
 */
#ifndef ENGRAM_MODEL_VALUE_H
#define ENGRAM_MODEL_VALUE_H

#include "model/labels.h"
#include "model/samples.h"

enum value_kind { VALUE_NONE, VALUE_SCALAR, VALUE_VECTOR, VALUE_MATRIX, VALUE_STRING };

struct row {
    struct labels labels;
    const int64_t *t_ms;
    const double *f;
    const struct hist *const *h; /* NULL: all floats; else NULL entries are floats */
    size_t n;
};

struct value {
    enum value_kind kind;
    struct row *rows; /* VECTOR, MATRIX; a SCALAR has one row with one point */
    size_t rows_n;
    struct sv string; /* STRING */
    int64_t t_ms;     /* STRING: its time */
    struct sv *warnings, *infos; /* texts of annotations, in order, no duplicates */
    size_t warnings_n, infos_n;
    bool complete;    /* every leaf answered in full: may be cached */
};

/* Bit-for-bit: labels, times, value bits, order. Histograms by content. */
bool value_eq(const struct value *a, const struct value *b);

#endif
