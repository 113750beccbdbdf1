/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen bytes, one for each row of a group: how AVX2 and AVX-512 take scales apart. */
#ifndef CHOIR_KERNELS_BYTES_AVX2_H
#define CHOIR_KERNELS_BYTES_AVX2_H

#include <immintrin.h>
#include <stdint.h>

typedef __m128i row_bytes;

static inline row_bytes bytes_load(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

/* The low or high nibble of each byte. */
static inline row_bytes bytes_low_nibbles(row_bytes a)
{
    return _mm_and_si128(a, _mm_set1_epi8(15));
}

static inline row_bytes bytes_high_nibbles(row_bytes a)
{
    return bytes_low_nibbles(_mm_srli_epi16(a, 4));
}

/* Nibble r of 8 bytes, the low one of a byte first. */
static inline row_bytes bytes_spread_nibbles(const uint8_t *from)
{
    row_bytes both = _mm_loadl_epi64((const __m128i *)from);
    return bytes_low_nibbles(_mm_unpacklo_epi8(both, _mm_srli_epi16(both, 4)));
}

/* Bits 2 * pair and 2 * pair + 1 of each nibble, moved to bits 4 and 5. */
static inline row_bytes bytes_top_bits(row_bytes nibbles, const int pair)
{
    return _mm_and_si128(_mm_slli_epi16(nibbles, 4 - 2 * pair), _mm_set1_epi8(0x30));
}

static inline row_bytes bytes_or(row_bytes a, row_bytes b)
{
    return _mm_or_si128(a, b);
}

static inline row_bytes bytes_subtract(row_bytes a, int8_t b)
{
    return _mm_sub_epi8(a, _mm_set1_epi8(b));
}

/* 2^(e - 128) of the lower 8 bytes, subnormal for e < 2; NaN for 255. */
static inline __m256 bytes_e8m0(row_bytes e)
{
    __m256i wide = _mm256_cvtepu8_epi32(e);
    __m256i bits = _mm256_slli_epi32(_mm256_sub_epi32(wide, _mm256_set1_epi32(1)), 23);
    __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), wide);
    __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), wide);
    __m256i is_nan = _mm256_cmpeq_epi32(wide, _mm256_set1_epi32(255));
    bits = _mm256_blendv_epi8(bits, small, is_small);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(bits, _mm256_set1_epi32(0x7fc00000), is_nan));
}

#endif
