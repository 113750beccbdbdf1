/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells on AVX-512 VNNI; cells_avx2.h says what each function does. dpbusd multiplies unsigned by
 * signed bytes and adds four products to an int32 without saturating, so the sums need no bounds.
 */
#ifndef CHOIR_KERNELS_CELLS_AVX512_H
#define CHOIR_KERNELS_CELLS_AVX512_H

#include "kernels/lanes_avx512.h"

enum { CELLS_TOKENS = 8 };

typedef __m512i cells;
typedef __m512i counts;

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

static inline cells cells_put_high_bits(cells a, cells bits, int plane)
{
    cells moved = plane < 2 ? _mm512_slli_epi16(bits, (unsigned)(4 - 2 * plane))
                            : _mm512_srli_epi16(bits, (unsigned)(2 * plane - 4));
    return _mm512_or_si512(a, _mm512_and_si512(moved, _mm512_set1_epi8(0x30)));
}

/* Unsigned, by adding 128; cells_dot_signed() takes 128 * x_sum away again. */
static inline cells cells_from_signed(cells a)
{
    return _mm512_xor_si512(a, _mm512_set1_epi8(-128));
}

static inline counts counts_set(int32_t value)
{
    return _mm512_set1_epi32(value);
}

static inline counts counts_load_int8(const uint8_t *from)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from));
}

static inline counts counts_add(counts a, counts b)
{
    return _mm512_add_epi32(a, b);
}

static inline counts counts_mul(counts a, counts b)
{
    return _mm512_mullo_epi32(a, b);
}

static inline lanes counts_to_lanes(counts a)
{
    return _mm512_cvtepi32_ps(a);
}

static inline counts cells_dot(counts sum, const cells *w, const int8_t *x, const int n_cells)
{
#pragma GCC unroll 8
    for (int c = 0; c < n_cells; c++) {
        int32_t four;
        memcpy(&four, x + 4 * c, sizeof four);
        sum = _mm512_dpbusd_epi32(sum, w[c], _mm512_set1_epi32(four));
    }
    return sum;
}

static inline counts cells_dot_nibbles(counts start, const cells w[8], const int8_t *x)
{
    return cells_dot(start, w, x, 8);
}

static inline counts cells_dot_six_bits(counts start, const cells w[4], const int8_t *x)
{
    return cells_dot(start, w, x, 4);
}

static inline counts cells_dot_signed(const cells w[8], const int8_t *x, int32_t x_sum)
{
    return cells_dot(counts_set(-128 * x_sum), w, x, 8);
}

#endif
