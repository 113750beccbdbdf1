/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells on AArch64 with the dot product; cells_avx2.h says what each function does.
 *
 * sdot multiplies signed bytes and adds four products to an int32, exactly. One of its operands may
 * be four bytes of a register, the same for all rows: so the 32 activations of a token are two
 * registers. A cell of weights is four registers of 4 rows x 4 columns; a tile of 4 tokens has 16
 * of sums and 8 of activations, which with a cell's makes 28 of 32. Unpacked weights are at most
 * 63, so unsigned ones are signed bytes as they are.
 */
#ifndef CHOIR_KERNELS_CELLS_NEON_H
#define CHOIR_KERNELS_CELLS_NEON_H

#include "kernels/bytes_neon.h"
#include "kernels/lanes_neon.h"
#include "kernels/levels.h"
#include "kernels/plane.h"

/* As cells_avx2.h has them: there is no measurement behind CELLS_FEW and CELLS_MANY here. */
enum {
    CELLS_GROUPS = 1,
    CELLS_TILE = 4,
    CELLS_GROUPS_TILE = 4,
    CELLS_SUMS = 4,
    CELLS_FEW = 4,
    CELLS_MANY = 16,
    CELLS_MANY_SIGNED = 16,
    CELLS_MANY_Q15 = 16,
    CELLS_FLOAT_TILE = 4,
    CELLS_START_LATE = 0,
    CELLS_HAVE_SIZES = 0,
    CELLS_SIGNED_OFFSET = 0,
    CELLS_PREFETCH_BYTES = 4096,
};

/* Rows 4i..4i+3 in v[i], here and below. */
typedef struct cells {
    uint8x16_t v[4];
} cells;

typedef struct counts {
    int32x4_t v[4];
} counts;

typedef struct scales {
    counts half[2];
} scales;

static inline cells cells_load(const uint8_t *from)
{
    return (cells){{vld1q_u8(from), vld1q_u8(from + 16), vld1q_u8(from + 32), vld1q_u8(from + 48)}};
}

static inline cells cells_low_nibbles(cells a)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = a.v[i] & 15;
    return a;
}

static inline cells cells_high_nibbles(cells a)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = a.v[i] >> 4;
    return a;
}

CHOIR_INLINE cells cells_put_bits(cells a, cells bits, const int from, const int to, const int mask)
{
    for (int i = 0; i < 4; i++) {
        uint8x16_t moved = from < to ? bits.v[i] << (to - from) : bits.v[i] >> (from - to);
        a.v[i] |= moved & (uint8_t)(mask << to);
    }
    return a;
}

static inline cells cells_zero(void)
{
    return (cells){{vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)}};
}

static inline cells cells_from_signed(cells a)
{
    return a;
}

static inline cells cells_size(cells a)
{
    return a; /* not used */
}

static inline cells cells_look_up(const int8_t table[16], cells nibbles)
{
    uint8x16_t values = vreinterpretq_u8_s8(vld1q_s8(table));
    for (int i = 0; i < 4; i++)
        nibbles.v[i] = vqtbl1q_u8(values, nibbles.v[i]);
    return nibbles;
}

static inline counts counts_set(int32_t value)
{
    int32x4_t all = vdupq_n_s32(value);
    return (counts){{all, all, all, all}};
}

CHOIR_INLINE counts counts_shift(counts a, const int n)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = vshlq_s32(a.v[i], vdupq_n_s32(n));
    return a;
}

static inline counts counts_add(counts a, counts b)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = vaddq_s32(a.v[i], b.v[i]);
    return a;
}

static inline lanes counts_to_lanes(counts a)
{
    return (lanes){{vcvtq_f32_s32(a.v[0]), vcvtq_f32_s32(a.v[1]), vcvtq_f32_s32(a.v[2]),
                    vcvtq_f32_s32(a.v[3])}};
}

static inline counts counts_from_bytes(row_bytes a)
{
    int8x16_t bytes = vreinterpretq_s8_u8(a);
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    return (counts){{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low),
                     vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)}};
}

static inline lanes lanes_from_bytes(row_bytes a)
{
    return counts_to_lanes(counts_from_bytes(a));
}

static inline lanes lanes_from_e8m0(row_bytes e)
{
    lanes r;
    uint16x8_t low = vmovl_u8(vget_low_u8(e)), high = vmovl_high_u8(e);
    uint32x4_t wide[4] = {vmovl_u16(vget_low_u16(low)), vmovl_high_u16(low),
                          vmovl_u16(vget_low_u16(high)), vmovl_high_u16(high)};
    for (int i = 0; i < 4; i++) {
        uint32x4_t bits = vshlq_n_u32(vsubq_u32(wide[i], vdupq_n_u32(1)), 23);
        uint32x4_t small = vshlq_u32(vdupq_n_u32(0x200000), vreinterpretq_s32_u32(wide[i]));
        bits = vbslq_u32(vcltq_u32(wide[i], vdupq_n_u32(2)), small, bits);
        bits = vbslq_u32(vceqq_u32(wide[i], vdupq_n_u32(255)), vdupq_n_u32(0x7fc00000), bits);
        r.v[i] = vreinterpretq_f32_u32(bits);
    }
    return r;
}

static inline scales scales_from_bytes(row_bytes first, row_bytes second)
{
    return (scales){{counts_from_bytes(first), counts_from_bytes(second)}};
}

/* Adds 4 rows' products with four of 16 activations; the instruction has the lane's number in it.
 */
CHOIR_INLINE int32x4_t cells_dot_lane(int32x4_t sum, uint8x16_t w, int8x16_t x, const int lane)
{
    int8x16_t weights = vreinterpretq_s8_u8(w);
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sum, weights, x, 0);
    case 1:
        return vdotq_laneq_s32(sum, weights, x, 1);
    case 2:
        return vdotq_laneq_s32(sum, weights, x, 2);
    default:
        return vdotq_laneq_s32(sum, weights, x, 3);
    }
}

CHOIR_INLINE bool cells_take_offset(const int highest, const int offset_bits)
{
    (void)highest, (void)offset_bits;
    return false;
}

/* sums[t] += the products of 4 cells with half `half` of each token. */
CHOIR_INLINE void cells_dot_half(counts *sums, const cells w[4], const plane x, const int half,
                                 const int n)
{
    int8x16_t xt[CELLS_TILE];
    CHOIR_UNROLL
    for (int t = 0; t < n; t++)
        xt[t] = vld1q_s8(x.q + (size_t)t * x.stride + 16 * half);
    CHOIR_UNROLL
    for (int c = 0; c < 4; c++)
        CHOIR_UNROLL
    for (int i = 0; i < 4; i++)
        CHOIR_UNROLL
    for (int t = 0; t < n; t++)
        sums[t].v[i] = cells_dot_lane(sums[t].v[i], w[c].v[i], xt[t], c);
}

CHOIR_INLINE void cells_dot(counts *sums, const cells w[][8], const int highest,
                            const int offset_bits, const plane x, const int n_groups, const int n)
{
    (void)highest, (void)offset_bits, (void)n_groups;
    cells_dot_half(sums, w[0], x, 0, n);
    cells_dot_half(sums, w[0] + 4, x, 1, n);
}

CHOIR_INLINE void cells_dot_signed(counts *sums, const cells w[][8], const cells size[][8],
                                   const plane x, const int n_groups, const int n)
{
    (void)size;
    cells_dot(sums, w, 127, -1, x, n_groups, n);
}

CHOIR_INLINE void cells_dot_scaled(counts *sums, const cells w[][8], const scales *by,
                                   const int highest, const int offset_bits, const plane x,
                                   const int n_groups, const int n)
{
    (void)highest, (void)n_groups;
    CHOIR_UNROLL
    for (int half = 0; half < 2; half++) {
        counts parts[CELLS_TILE];
        CHOIR_UNROLL
        for (int t = 0; t < n; t++) {
            const int32_t pair = plane_minus(x, t, half);
            const int minus = (int16_t)pair + (pair >> 16);
            parts[t] = counts_set(offset_bits < 0 ? 0 : minus * (1 << offset_bits));
        }
        cells_dot_half(parts, w[0] + 4 * half, x, half, n);
        CHOIR_UNROLL
        for (int t = 0; t < n; t++)
            CHOIR_UNROLL
        for (int i = 0; i < 4; i++)
            sums[t].v[i] = vmlaq_s32(sums[t].v[i], by->half[half].v[i], parts[t].v[i]);
    }
}

#include "kernels/cells_scaled.inc"

#endif
