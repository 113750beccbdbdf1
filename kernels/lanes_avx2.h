/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen lanes as two AVX2 vectors; lanes_ref.h says what each function does. */
#ifndef CHOIR_KERNELS_LANES_AVX2_H
#define CHOIR_KERNELS_LANES_AVX2_H

#include "kernels/exp.h"

#include <immintrin.h>

/* 4 x 2 of 16 registers. */
enum { LANES_TILE = 4 };

typedef struct lanes {
    __m256 low, high;
} lanes;

static inline lanes lanes_set(float value)
{
    return (lanes){_mm256_set1_ps(value), _mm256_set1_ps(value)};
}

static inline lanes lanes_load(const float *from)
{
    return (lanes){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}

static inline void lanes_store(float *to, lanes a)
{
    _mm256_storeu_ps(to, a.low);
    _mm256_storeu_ps(to + 8, a.high);
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

static inline lanes lanes_load_half(const void *from)
{
    const __m128i *halves = from;
    return (lanes){_mm256_cvtph_ps(_mm_loadu_si128(halves)),
                   _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}

static inline lanes lanes_load_bf16(const void *from)
{
    const __m128i *bf16 = from;
    __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128(bf16));
    __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128(bf16 + 1));
    return (lanes){_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
                   _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
}

static inline lanes lanes_load_int8(const int8_t *from)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)from);
    __m256i low = _mm256_cvtepi8_epi32(bytes);
    __m256i high = _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8));
    return (lanes){_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)};
}

static inline lanes lanes_add(lanes a, lanes b)
{
    return (lanes){_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}

static inline lanes lanes_sub(lanes a, lanes b)
{
    return (lanes){_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}

static inline lanes lanes_mul(lanes a, lanes b)
{
    return (lanes){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

static inline lanes lanes_div(lanes a, lanes b)
{
    return (lanes){_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return (lanes){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

static inline lanes lanes_max(lanes a, lanes b)
{
    return (lanes){_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}

static inline lanes lanes_min(lanes a, lanes b)
{
    return (lanes){_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}

static inline lanes lanes_select(lanes a, lanes b, lanes yes, lanes no)
{
    __m256 low = _mm256_cmp_ps(a.low, b.low, _CMP_GT_OQ);
    __m256 high = _mm256_cmp_ps(a.high, b.high, _CMP_GT_OQ);
    return (lanes){_mm256_blendv_ps(no.low, yes.low, low),
                   _mm256_blendv_ps(no.high, yes.high, high)};
}

static inline lanes lanes_keep(lanes a, int64_t n, float rest)
{
    int kept = n < 0 ? 0 : n > 16 ? 16 : (int)n;
    const __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i low = _mm256_cmpgt_epi32(_mm256_set1_epi32(kept), places);
    __m256i high = _mm256_cmpgt_epi32(_mm256_set1_epi32(kept - 8), places);
    __m256 other = _mm256_set1_ps(rest);
    return (lanes){_mm256_blendv_ps(other, a.low, _mm256_castsi256_ps(low)),
                   _mm256_blendv_ps(other, a.high, _mm256_castsi256_ps(high))};
}

static inline lanes lanes_rint(lanes a)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return (lanes){_mm256_round_ps(a.low, NEAREST), _mm256_round_ps(a.high, NEAREST)};
}

static inline __m256 lanes_scale_half(__m256 p, __m256 n)
{
    const __m256i bias = _mm256_set1_epi32(127);
    __m256i whole = _mm256_cvtps_epi32(n);
    __m256i a = _mm256_srai_epi32(whole, 1);
    __m256i b = _mm256_sub_epi32(whole, a);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(a, bias), 23)));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(b, bias), 23)));
}

static inline lanes lanes_scale(lanes p, lanes n)
{
    return (lanes){lanes_scale_half(p.low, n.low), lanes_scale_half(p.high, n.high)};
}

static inline float lanes_sum(lanes a)
{
    __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline float lanes_largest(lanes a)
{
    __m256 eight = _mm256_max_ps(a.low, a.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

#endif
