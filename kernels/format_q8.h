/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of activations that linear.inc is compiled for: one plane of int8. */
#ifndef CHOIR_KERNELS_FORMAT_Q8_H
#define CHOIR_KERNELS_FORMAT_Q8_H

#include "kernels/kernels.h"

enum { X_PLANES = 1 };

typedef choir_q8 x_block;

static inline const int8_t *x_plane(const x_block *x, int plane)
{
    (void)plane;
    return x->q;
}

static inline const int16_t *x_minus_half(const x_block *x, int plane)
{
    (void)plane;
    return x->minus_sum_half;
}

#endif
