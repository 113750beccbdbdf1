/* SPDX-License-Identifier: Apache-2.0 */
/* The input rows of linear layers, in the forms that their matrices take: f32 and blocks. */
#ifndef CHOIR_WORKER_ROWS_H
#define CHOIR_WORKER_ROWS_H

#include "common/status.h"
#include "kernels/kernels.h"
#include "model/partition.h"

typedef struct choir_rows {
    float *f32;   /* [T][cols] */
    void *blocks; /* panels of T x cols / 32, see kernels.h */
    bool is_q15;  /* they are choir_q15, else choir_q8 */
    int64_t cols;
} choir_rows;

/* Room for up to `rows` rows. */
choir_status choir_rows_allocate(choir_rows *a, size_t rows, int64_t cols,
                                 bool is_q15) CHOIR_MUST_CHECK;
void choir_rows_release(choir_rows *a);

/* Whether the matrix takes blocks; an empty one takes nothing. */
bool choir_rows_are_blocks_for(const choir_matrix *w);
/* Fills some blocks of row t of T. */
void choir_rows_quantize(const choir_rows *a, const choir_kernels *kernels, int T, int t,
                         choir_range blocks);
/*
 * y [T][y_stride] = W a, the rows of some groups of the matrix; `leaves` NULL: one leaf of all
 * columns.
 */
void choir_rows_multiply(const choir_rows *a, const choir_kernels *kernels, int T, float *y,
                         int64_t y_stride, const choir_matrix *w, choir_range groups,
                         const choir_leaves *leaves);

#endif
