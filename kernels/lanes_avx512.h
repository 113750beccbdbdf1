/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen lanes as one AVX-512 vector; lanes_ref.h says what each function does. */
#ifndef CHOIR_KERNELS_LANES_AVX512_H
#define CHOIR_KERNELS_LANES_AVX512_H

#include "kernels/exp.h"

#include <immintrin.h>

/* Half of 32 registers. */
enum { LANES_TILE = 16 };

typedef __m512 lanes;

static inline lanes lanes_set(float value)
{
    return _mm512_set1_ps(value);
}

static inline lanes lanes_load(const float *from)
{
    return _mm512_loadu_ps(from);
}

static inline void lanes_store(float *to, lanes a)
{
    _mm512_storeu_ps(to, a);
}

/* The first n lanes, any n. */
static inline __mmask16 lanes_mask(int64_t n)
{
    int kept = n < 0 ? 0 : n > 16 ? 16 : (int)n;
    return (__mmask16)((1u << kept) - 1);
}

static inline lanes lanes_load_part(const float *from, int64_t n, float rest)
{
    return _mm512_mask_loadu_ps(_mm512_set1_ps(rest), lanes_mask(n), from);
}

static inline void lanes_store_part(float *to, lanes a, int64_t n)
{
    _mm512_mask_storeu_ps(to, lanes_mask(n), a);
}

static inline lanes lanes_load_half(const void *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(from));
}

static inline lanes lanes_load_bf16(const void *from)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline lanes lanes_load_int8(const int8_t *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}

static inline lanes lanes_add(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}

static inline lanes lanes_sub(lanes a, lanes b)
{
    return _mm512_sub_ps(a, b);
}

static inline lanes lanes_mul(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}

static inline lanes lanes_div(lanes a, lanes b)
{
    return _mm512_div_ps(a, b);
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline lanes lanes_max(lanes a, lanes b)
{
    return _mm512_max_ps(a, b);
}

static inline lanes lanes_min(lanes a, lanes b)
{
    return _mm512_min_ps(a, b);
}

static inline lanes lanes_select(lanes a, lanes b, lanes yes, lanes no)
{
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), yes);
}

static inline lanes lanes_keep(lanes a, int64_t n, float rest)
{
    return _mm512_mask_mov_ps(_mm512_set1_ps(rest), lanes_mask(n), a);
}

static inline lanes lanes_rint(lanes a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline lanes lanes_scale(lanes p, lanes n)
{
    const __m512i bias = _mm512_set1_epi32(127);
    __m512i whole = _mm512_cvtps_epi32(n);
    __m512i a = _mm512_srai_epi32(whole, 1);
    __m512i b = _mm512_sub_epi32(whole, a);
    p = _mm512_mul_ps(p, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(a, bias), 23)));
    return _mm512_mul_ps(p, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(b, bias), 23)));
}

static inline float lanes_sum(lanes a)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline float lanes_largest(lanes a)
{
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

#endif
