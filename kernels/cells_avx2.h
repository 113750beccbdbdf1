/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells on AVX2: 4 columns of 16 rows as 64 bytes, and their dot products with the activations of a
 * tile of tokens.
 *
 * maddubs multiplies unsigned by signed row_bytes and adds pairs in 16 bits, where it would
 * saturate; how many pairs add up there depends on the highest weight, for activations of
 * -127..127. Cells are the outer loop and tokens the inner one: a cell of weights is loaded once
 * for the tile, and 8 sums of 16 bits, 2 weights and an activation fit the 16 registers.
 *
 * The other levels' cells_<level>.h define the same functions.
 */
#ifndef CHOIR_KERNELS_CELLS_AVX2_H
#define CHOIR_KERNELS_CELLS_AVX2_H

#include "kernels/bytes_avx2.h"
#include "kernels/lanes_avx2.h"
#include "kernels/levels.h"

enum {
    CELLS_TILE = 4,          /* tokens that meet a cell once it is loaded */
    CELLS_FEW = 4,           /* tokens of a pass that takes weights apart in registers */
    CELLS_MANY = 16,         /* from so many tokens on they are taken apart once, in memory */
    CELLS_FLOAT_TILE = 4,    /* the same of float weights */
    CELLS_SIGNED_OFFSET = 0, /* what cells_from_signed() adds */
};

typedef struct cells {
    __m256i low, high; /* rows 0..7, 8..15 */
} cells;

/* One int32 for each row. */
typedef struct counts {
    __m256i low, high;
} counts;

/* Two int16 for each row. */
typedef counts pairs;
/* One scale for each row, as a pair of twice the same. */
typedef counts scales;

static inline cells cells_load(const uint8_t *from)
{
    const __m256i *halves = (const __m256i *)from;
    return (cells){_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}

/* The low or high nibble of each byte. */
static inline cells cells_low_nibbles(cells a)
{
    const __m256i mask = _mm256_set1_epi8(15);
    return (cells){_mm256_and_si256(a.low, mask), _mm256_and_si256(a.high, mask)};
}

static inline cells cells_high_nibbles(cells a)
{
    return cells_low_nibbles((cells){_mm256_srli_epi16(a.low, 4), _mm256_srli_epi16(a.high, 4)});
}

CHOIR_INLINE __m256i cells_move_bits(__m256i bits, const int from, const int to, const int mask)
{
    __m256i moved =
        from < to ? _mm256_slli_epi16(bits, to - from) : _mm256_srli_epi16(bits, from - to);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(mask << to)));
}

/* a | (bits >> from & mask) << to, each byte for itself. */
CHOIR_INLINE cells cells_put_bits(cells a, cells bits, const int from, const int to, const int mask)
{
    return (cells){_mm256_or_si256(a.low, cells_move_bits(bits.low, from, to, mask)),
                   _mm256_or_si256(a.high, cells_move_bits(bits.high, from, to, mask))};
}

static inline cells cells_zero(void)
{
    return (cells){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

/* Makes signed weights what cells_dot_signed() takes. */
static inline cells cells_from_signed(cells a)
{
    return a;
}

/* table[nibble]. */
static inline cells cells_look_up(const int8_t table[16], cells nibbles)
{
    __m256i values = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    return (cells){_mm256_shuffle_epi8(values, nibbles.low),
                   _mm256_shuffle_epi8(values, nibbles.high)};
}

static inline counts counts_set(int32_t value)
{
    return (counts){_mm256_set1_epi32(value), _mm256_set1_epi32(value)};
}

/* a * 2^n. */
CHOIR_INLINE counts counts_shift(counts a, const int n)
{
    return (counts){_mm256_slli_epi32(a.low, n), _mm256_slli_epi32(a.high, n)};
}

static inline counts counts_add(counts a, counts b)
{
    return (counts){_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}

static inline lanes counts_to_lanes(counts a)
{
    return (lanes){_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}

/* 16 int8 as floats. */
static inline lanes lanes_from_bytes(row_bytes a)
{
    return (lanes){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(a)),
                   _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)))};
}

/* 2^(e - 128), subnormal for e < 2; NaN for 255. */
static inline lanes lanes_from_e8m0(row_bytes e)
{
    return (lanes){bytes_e8m0(e), bytes_e8m0(_mm_srli_si128(e, 8))};
}

static inline pairs pairs_from_bytes(row_bytes first, row_bytes second)
{
    return (pairs){_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second)),
                   _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second))};
}

static inline scales scales_from_bytes(row_bytes a)
{
    return pairs_from_bytes(a, a);
}

/* first * x[0] + second * x[1] of each row. */
static inline counts pairs_dot(pairs a, const int16_t x[2])
{
    int32_t two;
    memcpy(&two, x, sizeof two);
    __m256i both = _mm256_set1_epi32(two);
    return (counts){_mm256_madd_epi16(a.low, both), _mm256_madd_epi16(a.high, both)};
}

/* Four activations for every row. */
static inline __m256i cells_activations(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* sums[t] += `by` * the sum over cells [first, last), in 16 bits, of token t's x + t * stride. */
CHOIR_INLINE void cells_dot_some(counts *sums, const cells w[8], const int first, const int last,
                                 const scales by, const int8_t *x, const size_t stride, const int n)
{
    __m256i low[CELLS_TILE], high[CELLS_TILE];
#pragma GCC unroll 8
    for (int c = first; c < last; c++) {
        const __m256i w_low = w[c].low, w_high = w[c].high;
#pragma GCC unroll 4
        for (int t = 0; t < n; t++) {
            __m256i four = cells_activations(x + (size_t)t * stride + 4 * c);
            __m256i a = _mm256_maddubs_epi16(w_low, four);
            __m256i b = _mm256_maddubs_epi16(w_high, four);
            low[t] = c == first ? a : _mm256_add_epi16(low[t], a);
            high[t] = c == first ? b : _mm256_add_epi16(high[t], b);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < n; t++)
        sums[t] = counts_add(sums[t], (counts){_mm256_madd_epi16(low[t], by.low),
                                               _mm256_madd_epi16(high[t], by.high)});
}

/* Cells whose pairs, 2 * highest * 127 each at most, add up below 2^15. */
CHOIR_INLINE int cells_in_16_bits(const int highest)
{
    return highest <= 15 ? 8 : highest <= 31 ? 4 : 2;
}

/*
 * sums[t] += sum of 32 weights of 0..highest times token t's activations, x + t * stride; n <=
 * CELLS_TILE tokens. 8 cells of weights to 15: 8 * 2 * 15 * 127 = 30,480; 4 to 31; 2 to 63.
 */
CHOIR_INLINE void cells_dot(counts *sums, const cells w[8], const int highest, const int8_t *x,
                            const size_t stride, const int n)
{
    const scales ones = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
    const int step = cells_in_16_bits(highest);
#pragma GCC unroll 4
    for (int c = 0; c < 8; c += step)
        cells_dot_some(sums, w, c, c + step, ones, x, stride, n);
}

/* The same with a scale for each half of 16 columns. */
CHOIR_INLINE void cells_dot_scaled(counts *sums, const cells w[8], const scales by[2],
                                   const int highest, const int8_t *x, const size_t stride,
                                   const int n)
{
    const int step = cells_in_16_bits(highest) < 4 ? cells_in_16_bits(highest) : 4;
#pragma GCC unroll 4
    for (int c = 0; c < 8; c += step)
        cells_dot_some(sums, w, c, c + step, by[c / 4], x, stride, n);
}

/*
 * sums[t] += sum of 32 weights from cells_from_signed() times x. The weight's sign goes over to the
 * activation; |-128| is 128 as an unsigned byte, so a pair is at most 2 * 128 * 127.
 */
CHOIR_INLINE void cells_dot_signed(counts *sums, const cells w[8], const int8_t *x,
                                   const size_t stride, const int n)
{
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++) {
        const cells size = {_mm256_abs_epi8(w[c].low), _mm256_abs_epi8(w[c].high)};
#pragma GCC unroll 4
        for (int t = 0; t < n; t++) {
            __m256i four = cells_activations(x + (size_t)t * stride + 4 * c);
            __m256i low = _mm256_maddubs_epi16(size.low, _mm256_sign_epi8(four, w[c].low));
            __m256i high = _mm256_maddubs_epi16(size.high, _mm256_sign_epi8(four, w[c].high));
            sums[t] = counts_add(
                sums[t], (counts){_mm256_madd_epi16(low, ones), _mm256_madd_epi16(high, ones)});
        }
    }
}

#endif
