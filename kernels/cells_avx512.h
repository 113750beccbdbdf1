/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells on AVX-512 VNNI; cells_avx2.h says what each function does. dpbusd multiplies unsigned by
 * signed row_bytes and adds four products to an int32 without saturating, so the sums need no
 * bounds. Signed weights become unsigned by adding 128.
 */
#ifndef CHOIR_KERNELS_CELLS_AVX512_H
#define CHOIR_KERNELS_CELLS_AVX512_H

#include "kernels/bytes_avx2.h"
#include "kernels/lanes_avx512.h"
#include "kernels/levels.h"
#include "kernels/plane.h"

enum {
    CELLS_GROUPS = 2, /* 16 registers of weights */
    CELLS_TILE = 1,   /* one token's products after another: tokens overlap out of order */
    CELLS_GROUPS_TILE = 1,
    CELLS_SUMS = 2,
    CELLS_FEW = 4,
    CELLS_MANY = 12,
    CELLS_MANY_SIGNED = 12,
    CELLS_MANY_Q15 = 12,
    CELLS_FLOAT_TILE = 8,
    CELLS_START_LATE = 0,
    CELLS_HAVE_SIZES = 0,
    CELLS_SIGNED_OFFSET = 128,
    CELLS_PREFETCH_BYTES = 4096,
};

typedef __m512i cells;
typedef __m512i counts;
typedef struct scales {
    lanes half[2];
} scales;

static inline cells cells_load(const uint8_t *from)
{
    return _mm512_loadu_si512(from);
}

static inline cells cells_low_nibbles(cells a)
{
    return _mm512_and_si512(a, _mm512_set1_epi8(15));
}

static inline cells cells_high_nibbles(cells a)
{
    return cells_low_nibbles(_mm512_srli_epi16(a, 4));
}

CHOIR_INLINE cells cells_put_bits(cells a, cells bits, const int from, const int to, const int mask)
{
    cells moved = from < to ? _mm512_slli_epi16(bits, (unsigned)(to - from))
                            : _mm512_srli_epi16(bits, (unsigned)(from - to));
    return _mm512_or_si512(a, _mm512_and_si512(moved, _mm512_set1_epi8((char)(mask << to))));
}

static inline cells cells_zero(void)
{
    return _mm512_setzero_si512();
}

static inline cells cells_from_signed(cells a)
{
    return _mm512_xor_si512(a, _mm512_set1_epi8(-128));
}

static inline cells cells_size(cells a)
{
    return a; /* not used */
}

static inline cells cells_look_up(const int8_t table[16], cells nibbles)
{
    __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
    return _mm512_shuffle_epi8(values, nibbles);
}

static inline counts counts_set(int32_t value)
{
    return _mm512_set1_epi32(value);
}

CHOIR_INLINE counts counts_shift(counts a, const int n)
{
    return _mm512_slli_epi32(a, (unsigned)n);
}

static inline counts counts_add(counts a, counts b)
{
    return _mm512_add_epi32(a, b);
}

static inline lanes counts_to_lanes(counts a)
{
    return _mm512_cvtepi32_ps(a);
}

static inline lanes lanes_from_bytes(row_bytes a)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(a));
}

static inline lanes lanes_from_e8m0(row_bytes e)
{
    __m256i low = _mm256_castps_si256(bytes_e8m0(e));
    __m256i high = _mm256_castps_si256(bytes_e8m0(_mm_srli_si128(e, 8)));
    return _mm512_castsi512_ps(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
}

static inline scales scales_from_bytes(row_bytes first, row_bytes second)
{
    return (scales){{lanes_from_bytes(first), lanes_from_bytes(second)}};
}

CHOIR_INLINE bool cells_take_offset(const int highest, const int offset_bits)
{
    (void)highest, (void)offset_bits;
    return false;
}

/* sums[g * n + t] += the products of cells [first, last). */
CHOIR_INLINE void cells_dot_some(counts *sums, const cells w[][8], const int first, const int last,
                                 const plane x, const int n_groups, const int n)
{
    CHOIR_UNROLL
    for (int c = first; c < last; c++)
        CHOIR_UNROLL
    for (int t = 0; t < n; t++) {
        const __m512i four = _mm512_set1_epi32(plane_four(x, t, c));
        CHOIR_UNROLL
        for (int g = 0; g < n_groups; g++) {
            counts *sum = &sums[g * n + t];
            *sum = _mm512_dpbusd_epi32(*sum, w[g][c], four);
        }
    }
}

CHOIR_INLINE void cells_dot(counts *sums, const cells w[][8], const int highest,
                            const int offset_bits, const plane x, const int n_groups, const int n)
{
    counts second[CELLS_SUMS];
    (void)highest, (void)offset_bits;
    CHOIR_UNROLL
    for (int i = 0; i < n * n_groups; i++)
        second[i] = counts_set(0);
    /* Two chains, so that fewer products wait for the one before. */
    cells_dot_some(sums, w, 0, 4, x, n_groups, n);
    cells_dot_some(second, w, 4, 8, x, n_groups, n);
    CHOIR_UNROLL
    for (int i = 0; i < n * n_groups; i++)
        sums[i] = counts_add(sums[i], second[i]);
}

CHOIR_INLINE void cells_dot_signed(counts *sums, const cells w[][8], const cells size[][8],
                                   const plane x, const int n_groups, const int n)
{
    (void)size;
    cells_dot(sums, w, 255, -1, x, n_groups, n);
}

/*
 * As floats, which multiply four times as fast as int32: a half's product is at most 16 * 32 * 127
 * once its offset is taken away, its scale 128, so both halves together stay below 2^24 and exact.
 */
CHOIR_INLINE void cells_dot_scaled_lanes(lanes *products, const cells w[][8], const scales *by,
                                         const int highest, const int offset_bits, const plane x,
                                         const int n_groups, const int n)
{
    counts halves[2][CELLS_SUMS];
    (void)highest;
    CHOIR_UNROLL
    for (int h = 0; h < 2; h++) {
        CHOIR_UNROLL
        for (int i = 0; i < n * n_groups; i++) {
            const __m512i minus = _mm512_set1_epi32(plane_minus(x, i % n, h));
            halves[h][i] =
                offset_bits < 0
                    ? counts_set(0)
                    : _mm512_madd_epi16(minus, _mm512_set1_epi16((short)(1 << offset_bits)));
        }
        cells_dot_some(halves[h], w, 4 * h, 4 * h + 4, x, n_groups, n);
    }
    CHOIR_UNROLL
    for (int i = 0; i < n * n_groups; i++) {
        lanes scaled = lanes_mul(by[i / n].half[1], counts_to_lanes(halves[1][i]));
        products[i] = lanes_fma(by[i / n].half[0], counts_to_lanes(halves[0][i]), scaled);
    }
}

CHOIR_INLINE void cells_dot_scaled(counts *sums, const cells w[][8], const scales *by,
                                   const int highest, const int offset_bits, const plane x,
                                   const int n_groups, const int n)
{
    lanes products[CELLS_SUMS];
    cells_dot_scaled_lanes(products, w, by, highest, offset_bits, x, n_groups, n);
    CHOIR_UNROLL
    for (int i = 0; i < n * n_groups; i++)
        sums[i] = counts_add(sums[i], _mm512_cvtps_epi32(products[i]));
}

#endif
