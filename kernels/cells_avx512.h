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

enum {
    CELLS_TILE = 1, /* one token's 8 products after another: tokens overlap out of order */
    CELLS_FEW = 4,
    CELLS_MANY = 12,
    CELLS_FLOAT_TILE = 8,
    CELLS_SIGNED_OFFSET = 128,
};

typedef __m512i cells;
typedef __m512i counts;
typedef __m512i scales; /* int32 */
typedef __m512i pairs;

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

static inline scales scales_from_bytes(row_bytes a)
{
    return _mm512_cvtepi8_epi32(a);
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

static inline pairs pairs_from_bytes(row_bytes first, row_bytes second)
{
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi8(first, second)),
                                           _mm_unpackhi_epi8(first, second), 1);
    return _mm512_cvtepi8_epi16(both);
}

static inline counts pairs_dot(pairs a, const int16_t x[2])
{
    int32_t two;
    memcpy(&two, x, sizeof two);
    return _mm512_madd_epi16(a, _mm512_set1_epi32(two));
}

CHOIR_INLINE counts cells_dot_one(counts sum, const cells *w, const int8_t *x, const int n_cells)
{
#pragma GCC unroll 8
    for (int c = 0; c < n_cells; c++) {
        int32_t four;
        memcpy(&four, x + 4 * c, sizeof four);
        sum = _mm512_dpbusd_epi32(sum, w[c], _mm512_set1_epi32(four));
    }
    return sum;
}

CHOIR_INLINE void cells_dot(counts *sums, const cells w[8], const int highest, const int8_t *x,
                            const size_t stride, const int n)
{
    (void)highest;
#pragma GCC unroll 4
    for (int t = 0; t < n; t++)
        sums[t] = cells_dot_one(sums[t], w, x + (size_t)t * stride, 8);
}

CHOIR_INLINE void cells_dot_signed(counts *sums, const cells w[8], const int8_t *x,
                                   const size_t stride, const int n)
{
    cells_dot(sums, w, 255, x, stride, n);
}

CHOIR_INLINE void cells_dot_scaled(counts *sums, const cells w[8], const scales by[2],
                                   const int highest, const int8_t *x, const size_t stride,
                                   const int n)
{
    (void)highest;
#pragma GCC unroll 4
    for (int t = 0; t < n; t++) {
        const int8_t *xt = x + (size_t)t * stride;
        counts first = cells_dot_one(counts_set(0), w, xt, 4);
        counts second = cells_dot_one(counts_set(0), w + 4, xt + 16, 4);
        sums[t] = counts_add(sums[t], counts_add(_mm512_mullo_epi32(by[0], first),
                                                 _mm512_mullo_epi32(by[1], second)));
    }
}

#endif
