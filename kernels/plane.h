/* SPDX-License-Identifier: Apache-2.0 */
/* One plane of the activations of some tokens, as cells_<level>.h take it. Private to kernels/. */
#ifndef CHOIR_KERNELS_PLANE_H
#define CHOIR_KERNELS_PLANE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct plane {
    const int8_t *q;      /* [32] of token 0 */
    const int16_t *minus; /* [2][2] of token 0: minus_sums of choir_q8 or choir_q15 */
    size_t stride;        /* bytes from token to token, of both */
} plane;

/* Activations 4c..4c+3 of token t. */
static inline int32_t plane_four(plane x, int t, int c)
{
    int32_t four;
    memcpy(&four, x.q + (size_t)t * x.stride + 4 * c, sizeof four);
    return four;
}

/* Both sums of a half, as a pair of int16. */
static inline int32_t plane_minus(plane x, int t, int half)
{
    int32_t pair;
    memcpy(&pair, (const char *)(x.minus + 2 * half) + (size_t)t * x.stride, sizeof pair);
    return pair;
}

#endif
