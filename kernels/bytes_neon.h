/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen bytes, one for each row of a group, on AArch64; bytes_avx2.h says what each does. */
#ifndef CHOIR_KERNELS_BYTES_NEON_H
#define CHOIR_KERNELS_BYTES_NEON_H

#include "kernels/levels.h"

#include <arm_neon.h>

typedef uint8x16_t row_bytes;

static inline row_bytes bytes_load(const uint8_t *from)
{
    return vld1q_u8(from);
}

static inline row_bytes bytes_low_nibbles(row_bytes a)
{
    return a & 15;
}

static inline row_bytes bytes_high_nibbles(row_bytes a)
{
    return a >> 4;
}

static inline row_bytes bytes_spread_nibbles(const uint8_t *from)
{
    uint8x8_t both = vld1_u8(from);
    uint8x8x2_t spread = vzip_u8(both & 15, both >> 4);
    return vcombine_u8(spread.val[0], spread.val[1]);
}

CHOIR_INLINE row_bytes bytes_top_bits(row_bytes nibbles, const int pair)
{
    return nibbles << (4 - 2 * pair) & 0x30;
}

static inline row_bytes bytes_or(row_bytes a, row_bytes b)
{
    return a | b;
}

static inline row_bytes bytes_subtract(row_bytes a, int8_t b)
{
    return a - (uint8_t)b;
}

#endif
