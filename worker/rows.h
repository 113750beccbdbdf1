/* SPDX-License-Identifier: Apache-2.0 */
/* The input rows of linear layers, in the forms that their matrices take: f32 and blocks. */
#ifndef CHOIR_WORKER_ROWS_H
#define CHOIR_WORKER_ROWS_H

#include "common/status.h"
#include "kernels/kernels.h"
#include "model/partition.h"

typedef struct choir_rows {
    float *f32;   /* [T][cols], or NULL where no matrix takes floats */
    void *blocks; /* panels of T x cols / 32, see kernels.h */
    bool is_q15;  /* they are choir_q15, else choir_q8 */
    int64_t cols;
} choir_rows;

/* Room for up to `rows` rows, with or without f32. */
choir_status choir_rows_allocate(choir_rows *a, size_t rows, int64_t cols, bool is_q15,
                                 bool has_floats) CHOIR_MUST_CHECK;
void choir_rows_release(choir_rows *a);

/* Whether the matrix takes blocks, or floats; an empty one takes nothing. */
bool choir_rows_are_blocks_for(const choir_matrix *w);
bool choir_rows_are_floats_for(const choir_matrix *w);
/* Fills some blocks of row t of T; x: their elements. */
void choir_rows_quantize(const choir_rows *a, const choir_kernels *kernels, int T, int t,
                         choir_range blocks, const float *x);
/*
 * y [rows][y_stride] = W a of some of T rows, all of them or those of one panel (kernels.h), and
 * some groups of the matrix; `leaves` NULL: one leaf of all columns.
 */
void choir_rows_multiply(const choir_rows *a, const choir_kernels *kernels, choir_range rows,
                         float *y, int64_t y_stride, const choir_matrix *w, choir_range groups,
                         const choir_leaves *leaves);

#endif
