/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells on AVX2: 4 columns of 16 rows as 64 bytes, and their dot products with 4 activations each.
 *
 * maddubs multiplies unsigned by signed bytes and adds pairs in 16 bits, where it would saturate;
 * the bounds that keep each sum below 2^15 hold for activations of -127..127. cells_avx512.h
 * defines the same functions.
 */
#ifndef CHOIR_KERNELS_CELLS_AVX2_H
#define CHOIR_KERNELS_CELLS_AVX2_H

#include "kernels/lanes_avx2.h"

/* Tokens that meet a block once it is taken apart, at most. */
enum { CELLS_TOKENS = 4 };

typedef struct cells {
    __m256i low, high; /* rows 0..7, 8..15 */
} cells;

/* One int32 for each row. */
typedef struct counts {
    __m256i low, high;
} counts;

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

/* 32 bytes' bits 2 * plane and 2 * plane + 1, moved to 4 and 5. */
static inline __m256i cells_move_bits(__m256i bits, const int plane)
{
    __m256i moved =
        plane < 2 ? _mm256_slli_epi16(bits, 4 - 2 * plane) : _mm256_srli_epi16(bits, 2 * plane - 4);
    return _mm256_and_si256(moved, _mm256_set1_epi8(0x30));
}

/* Puts those bits into a. */
static inline cells cells_put_high_bits(cells a, cells bits, const int plane)
{
    return (cells){_mm256_or_si256(a.low, cells_move_bits(bits.low, plane)),
                   _mm256_or_si256(a.high, cells_move_bits(bits.high, plane))};
}

/* Makes signed weights what cells_dot_signed() takes. */
static inline cells cells_from_signed(cells a)
{
    return a;
}

static inline counts counts_set(int32_t value)
{
    return (counts){_mm256_set1_epi32(value), _mm256_set1_epi32(value)};
}

/* One byte for each row. */
static inline counts counts_load_int8(const uint8_t *from)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)from);
    return (counts){_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))};
}

static inline counts counts_add(counts a, counts b)
{
    return (counts){_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}

static inline counts counts_mul(counts a, counts b)
{
    return (counts){_mm256_mullo_epi32(a.low, b.low), _mm256_mullo_epi32(a.high, b.high)};
}

static inline lanes counts_to_lanes(counts a)
{
    return (lanes){_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}

/* Four activations for every row. */
static inline __m256i cells_activations(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* start + pairs added up to one int32 a row. */
static inline counts counts_add_pairs(counts start, __m256i low, __m256i high)
{
    const __m256i ones = _mm256_set1_epi16(1);
    return (counts){_mm256_add_epi32(start.low, _mm256_madd_epi16(low, ones)),
                    _mm256_add_epi32(start.high, _mm256_madd_epi16(high, ones))};
}

/* start + sum of 32 weights of 0..15 times x: 8 pairs of at most 2 * 15 * 127 stay below 2^15. */
static inline counts cells_dot_nibbles(counts start, const cells w[8], const int8_t *x)
{
    __m256i four = cells_activations(x);
    __m256i low = _mm256_maddubs_epi16(w[0].low, four);
    __m256i high = _mm256_maddubs_epi16(w[0].high, four);
#pragma GCC unroll 8
    for (int c = 1; c < 8; c++) {
        four = cells_activations(x + 4 * c);
        low = _mm256_add_epi16(low, _mm256_maddubs_epi16(w[c].low, four));
        high = _mm256_add_epi16(high, _mm256_maddubs_epi16(w[c].high, four));
    }
    return counts_add_pairs(start, low, high);
}

/* start + sum of 16 weights of 0..63 times x: 2 pairs of at most 2 * 63 * 127 do. */
static inline counts cells_dot_six_bits(counts start, const cells w[4], const int8_t *x)
{
#pragma GCC unroll 2
    for (int c = 0; c < 4; c += 2) {
        __m256i first = cells_activations(x + 4 * c);
        __m256i second = cells_activations(x + 4 * c + 4);
        __m256i low = _mm256_add_epi16(_mm256_maddubs_epi16(w[c].low, first),
                                       _mm256_maddubs_epi16(w[c + 1].low, second));
        __m256i high = _mm256_add_epi16(_mm256_maddubs_epi16(w[c].high, first),
                                        _mm256_maddubs_epi16(w[c + 1].high, second));
        start = counts_add_pairs(start, low, high);
    }
    return start;
}

/*
 * Sum of 32 signed weights times x, whose own sum is x_sum (not needed here). The weight's sign
 * goes over to the activation; |-128| is 128 as an unsigned byte, so a pair is at most 2 * 128 *
 * 127.
 */
static inline counts cells_dot_signed(const cells w[8], const int8_t *x, int32_t x_sum)
{
    (void)x_sum;
    counts sum = counts_set(0);
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++) {
        __m256i four = cells_activations(x + 4 * c);
        __m256i low =
            _mm256_maddubs_epi16(_mm256_abs_epi8(w[c].low), _mm256_sign_epi8(four, w[c].low));
        __m256i high =
            _mm256_maddubs_epi16(_mm256_abs_epi8(w[c].high), _mm256_sign_epi8(four, w[c].high));
        sum = counts_add_pairs(sum, low, high);
    }
    return sum;
}

#endif
