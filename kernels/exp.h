/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exp of docs/numerics.md for one value, inline so that each level's fmaf becomes its instruction.
 * The sixteen-lane form stands in lanes_exp.inc. Private to kernels/.
 */
#ifndef CHOIR_KERNELS_EXP_H
#define CHOIR_KERNELS_EXP_H

#include "kernels/half.h"

#include <math.h>

/* Above the first the result is +inf, below the second +0. */
#define CHOIR_EXP_HIGHEST 0x1.62e42ep6f
#define CHOIR_EXP_LOWEST -0x1.9fe368p6f

/* 2^n for n in -126..127. */
static inline float choir_exp_power(int32_t n)
{
    return choir_float_of_bits((uint32_t)(n + 127) << 23);
}

static inline float choir_exp_one(float x)
{
    if (x > CHOIR_EXP_HIGHEST)
        return INFINITY;
    if (x < CHOIR_EXP_LOWEST)
        return 0.0f;
    if (x != x)
        return x;
    float n = rintf(x * 0x1.715476p0f);
    float r = fmaf(n, -0x1.62e43p-1f, x);
    r = fmaf(n, 0x1.05c61p-29f, r);
    float p = 0x1.6a2430p-10f;
    p = fmaf(p, r, 0x1.1239e4p-7f);
    p = fmaf(p, r, 0x1.5558f2p-5f);
    p = fmaf(p, r, 0x1.555492p-3f);
    p = fmaf(p, r, 0x1.fffffcp-2f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    int32_t a = (int32_t)n >> 1;
    return p * choir_exp_power(a) * choir_exp_power((int32_t)n - a);
}

#endif
