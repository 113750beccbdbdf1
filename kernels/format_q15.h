/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of activations that linear.inc is compiled for: two planes of int8, 128 * h + l. */
#ifndef CHOIR_KERNELS_FORMAT_Q15_H
#define CHOIR_KERNELS_FORMAT_Q15_H

#include "kernels/kernels.h"
#include "kernels/plane.h"

enum { X_PLANES = 2 };

typedef choir_q15 x_block;

static inline plane x_plane(const x_block *x, int number)
{
    return (plane){number == 0 ? x->h : x->l, number == 0 ? x->minus_sums_h[0] : x->minus_sums_l[0],
                   sizeof *x};
}

#endif
