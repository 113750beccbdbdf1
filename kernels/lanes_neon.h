/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sixteen lanes as four vectors of AArch64; lanes_ref.h says what each function does. Minimum,
 * maximum and selection go by comparison: the instructions of those names treat NaN and -0
 * otherwise.
 */
#ifndef CHOIR_KERNELS_LANES_NEON_H
#define CHOIR_KERNELS_LANES_NEON_H

#include "kernels/exp.h"

#include <arm_neon.h>

/* 4 x 4 of 32 registers. */
enum { LANES_TILE = 4 };

typedef struct lanes {
    float32x4_t v[4];
} lanes;

static inline lanes lanes_set(float value)
{
    float32x4_t all = vdupq_n_f32(value);
    return (lanes){{all, all, all, all}};
}

static inline lanes lanes_load(const float *from)
{
    return (lanes){
        {vld1q_f32(from), vld1q_f32(from + 4), vld1q_f32(from + 8), vld1q_f32(from + 12)}};
}

static inline void lanes_store(float *to, lanes a)
{
    for (int i = 0; i < 4; i++)
        vst1q_f32(to + 4 * i, a.v[i]);
}

static inline lanes lanes_load_part(const float *from, int64_t n, float rest)
{
    float buffer[16];
    lanes_store(buffer, lanes_set(rest));
    memcpy(buffer, from, (size_t)n * sizeof *from);
    return lanes_load(buffer);
}

static inline void lanes_store_part(float *to, lanes a, int64_t n)
{
    float buffer[16];
    lanes_store(buffer, a);
    memcpy(to, buffer, (size_t)n * sizeof *to);
}

/* Four halves or bf16 of 2 bytes each, at any address. */
static inline uint16x4_t lanes_load_short(const void *from, int i)
{
    return vreinterpret_u16_u8(vld1_u8((const uint8_t *)from + 8 * i));
}

static inline lanes lanes_load_half(const void *from)
{
    lanes r;
    for (int i = 0; i < 4; i++)
        r.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(lanes_load_short(from, i)));
    return r;
}

static inline lanes lanes_load_bf16(const void *from)
{
    lanes r;
    for (int i = 0; i < 4; i++)
        r.v[i] = vreinterpretq_f32_u32(vshll_n_u16(lanes_load_short(from, i), 16));
    return r;
}

static inline lanes lanes_load_int8(const int8_t *from)
{
    int8x16_t bytes = vld1q_s8(from);
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    return (lanes){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                    vcvtq_f32_s32(vmovl_high_s16(high))}};
}

static inline lanes lanes_add(lanes a, lanes b)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = vaddq_f32(a.v[i], b.v[i]);
    return a;
}

static inline lanes lanes_sub(lanes a, lanes b)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = vsubq_f32(a.v[i], b.v[i]);
    return a;
}

static inline lanes lanes_mul(lanes a, lanes b)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = vmulq_f32(a.v[i], b.v[i]);
    return a;
}

static inline lanes lanes_div(lanes a, lanes b)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = vdivq_f32(a.v[i], b.v[i]);
    return a;
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    for (int i = 0; i < 4; i++)
        c.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
    return c;
}

static inline float32x4_t lanes_larger(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

static inline lanes lanes_max(lanes a, lanes b)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = lanes_larger(a.v[i], b.v[i]);
    return a;
}

static inline lanes lanes_min(lanes a, lanes b)
{
    for (int i = 0; i < 4; i++)
        b.v[i] = vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]);
    return b;
}

static inline lanes lanes_select(lanes a, lanes b, lanes yes, lanes no)
{
    for (int i = 0; i < 4; i++)
        no.v[i] = vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), yes.v[i], no.v[i]);
    return no;
}

static inline lanes lanes_keep(lanes a, int64_t n, float rest)
{
    static const int32_t places[4] = {0, 1, 2, 3};
    int32_t kept = n < 0 ? 0 : n > 16 ? 16 : (int32_t)n;
    for (int i = 0; i < 4; i++) {
        uint32x4_t is_kept = vcgtq_s32(vdupq_n_s32(kept - 4 * i), vld1q_s32(places));
        a.v[i] = vbslq_f32(is_kept, a.v[i], vdupq_n_f32(rest));
    }
    return a;
}

static inline lanes lanes_rint(lanes a)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = vrndnq_f32(a.v[i]);
    return a;
}

static inline float32x4_t lanes_power(int32x4_t n)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

static inline lanes lanes_scale(lanes p, lanes n)
{
    for (int i = 0; i < 4; i++) {
        int32x4_t whole = vcvtq_s32_f32(n.v[i]);
        int32x4_t a = vshrq_n_s32(whole, 1);
        p.v[i] = vmulq_f32(p.v[i], lanes_power(a));
        p.v[i] = vmulq_f32(p.v[i], lanes_power(vsubq_s32(whole, a)));
    }
    return p;
}

static inline float lanes_sum(lanes a)
{
    float32x4_t four = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

static inline float lanes_largest(lanes a)
{
    float32x4_t four = lanes_larger(lanes_larger(a.v[0], a.v[2]), lanes_larger(a.v[1], a.v[3]));
    float32x4_t two = lanes_larger(four, vextq_f32(four, four, 2));
    return vgetq_lane_f32(lanes_larger(two, vextq_f32(two, two, 1)), 0);
}

#endif
