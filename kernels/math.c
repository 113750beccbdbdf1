/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single values: exp, log, halves, and the merge of log-sum-exp chunks, as docs/numerics.md has
 * them. Nothing here depends on the level: fmaf is one rounding whether it is an instruction or a
 * call.
 */
#include "common/mem.h"
#include "kernels/exp.h"
#include "kernels/kernels.h"

#include <assert.h>
#include <math.h>

float choir_expf(float x)
{
    return choir_exp_one(x);
}

float choir_logf(float x)
{
    if (x == 0.0f)
        return -INFINITY;
    if (!(x > 0.0f))
        return NAN;
    if (x == INFINITY)
        return x;
    int32_t e = 0;
    if (x < 0x1p-126f) {
        x *= 0x1p23f;
        e = -23;
    }
    /* The exponent counts from sqrt(1/2), so that the mantissa lies in [sqrt(1/2), sqrt(2)). */
    int32_t t = (int32_t)(choir_float_bits(x) - 0x3f3504f3);
    e += t >> 23;
    float f = choir_float_of_bits(((uint32_t)t & 0x7fffff) + 0x3f3504f3) - 1.0f;
    float z = f * f;
    float p = -0x1.38b4ccp-4f;
    p = fmaf(p, f, 0x1.055b46p-3f);
    p = fmaf(p, f, -0x1.0d8552p-3f);
    p = fmaf(p, f, 0x1.22da22p-3f);
    p = fmaf(p, f, -0x1.547244p-3f);
    p = fmaf(p, f, 0x1.99a008p-3f);
    p = fmaf(p, f, -0x1.000228p-2f);
    p = fmaf(p, f, 0x1.555554p-2f);
    float y = (f * z) * p;
    y = fmaf((float)e, -0x1.05c61p-29f, y);
    y = fmaf(-0.5f, z, y);
    return fmaf((float)e, 0x1.62e43p-1f, f + y);
}

float choir_half_to_float(uint16_t half)
{
    return choir_half_widen(half);
}

uint16_t choir_float_to_half(float value)
{
    return choir_half_narrow(value);
}

void choir_lse_merge(float *m, float *l, float chunk_m, float chunk_l)
{
    if (chunk_m == -INFINITY)
        return;
    if (*m == -INFINITY) {
        *m = chunk_m;
        *l = chunk_l;
        return;
    }
    float highest = *m > chunk_m ? *m : chunk_m;
    *l = fmaf(*l, choir_expf(*m - highest), chunk_l * choir_expf(chunk_m - highest));
    *m = highest;
}

int64_t choir_lse_chunk_size(int64_t V)
{
    assert(V > 0);
    int64_t size = 16;
    while (choir_ceil_div(V, size) > 64)
        size *= 2;
    return size;
}
