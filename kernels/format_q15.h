/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of activations that linear.inc is compiled for: two planes of int8, 128 * h + l. */
#ifndef CHOIR_KERNELS_FORMAT_Q15_H
#define CHOIR_KERNELS_FORMAT_Q15_H

#include "kernels/kernels.h"

enum { X_PLANES = 2 };

typedef choir_q15 x_block;

static inline const int8_t *x_plane(const x_block *x, int plane)
{
    return plane == 0 ? x->h : x->l;
}

static inline const int16_t *x_minus_half(const x_block *x, int plane)
{
    return plane == 0 ? x->minus_sum_half_h : x->minus_sum_half_l;
}

#endif
