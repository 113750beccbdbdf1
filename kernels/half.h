/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IEEE halves, bf16 and the bits of floats, inline so that loops over them vectorise. Private to
 * kernels/; others use choir_half_to_float() and choir_float_to_half().
 */
#ifndef CHOIR_KERNELS_HALF_H
#define CHOIR_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t choir_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float choir_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/*
 * Exact. A half's exponent and mantissa moved into a float's place are the value times 2^-112, also
 * for subnormal halves, so one exact product does it; infinity and NaN get the full exponent.
 */
static inline float choir_half_widen(uint16_t half)
{
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t finite = choir_float_bits(choir_float_of_bits(magnitude) * 0x1p112f);
    uint32_t special = magnitude | 0x7f800000;
    return choir_float_of_bits(sign | (magnitude >= 0x7c00u << 13 ? special : finite));
}

/* To nearest even. */
static inline uint16_t choir_half_narrow(float value)
{
    uint32_t bits = choir_float_bits(value);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) /* 65520, half way from the largest half to 2^16 */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 rounds to multiples of 2^-24 */
        float rounded = choir_float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (choir_float_bits(rounded) - 0x3f000000));
    }
    magnitude -= 112u << 23;
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | magnitude >> 13);
}

static inline float choir_bf16_widen(uint16_t bf16)
{
    return choir_float_of_bits((uint32_t)bf16 << 16);
}

/* MXFP4's scale 2^(e - 128), subnormal for e = 0 and 1; e = 255 is a NaN. */
static inline float choir_e8m0_widen(uint8_t e)
{
    uint32_t bits = e < 2 ? (uint32_t)0x200000 << e : (uint32_t)(e - 1) << 23;
    return choir_float_of_bits(e == 255 ? 0x7fc00000 : bits);
}

/* Two bytes of a file or packed block, at any address, as a half's bits. */
static inline uint16_t choir_half_load(const void *bytes)
{
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return half;
}

#endif
