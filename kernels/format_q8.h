/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of activations that linear.inc is compiled for: one plane of int8. */
#ifndef CHOIR_KERNELS_FORMAT_Q8_H
#define CHOIR_KERNELS_FORMAT_Q8_H

#include "kernels/kernels.h"
#include "kernels/plane.h"

enum { X_PLANES = 1 };

typedef choir_q8 x_block;

static inline plane x_plane(const x_block *x, int number)
{
    (void)number;
    return (plane){x->q, x->minus_sums[0], sizeof *x};
}

#endif
