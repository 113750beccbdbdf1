/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX-512 for CPUs without it, put in front of a kernel's source by the compiler's -include: SIMDe
 * (Debian's libsimde-dev) computes what a 512-bit instruction does by narrower ones, and what SIMDe
 * 0.7 lacks follows here on top of AVX2. So the sources of that level are compiled as they stand,
 * with AVX2's flags. -mfma is needed: SIMDe's fma is two roundings without it. An intrinsic that
 * neither has is an error: the compiler's own may not be inlined into this target.
 */
#ifndef CHOIR_TESTS_KERNELS_EMULATED_SIMDE_AVX512_H
#define CHOIR_TESTS_KERNELS_EMULATED_SIMDE_AVX512_H

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__) || defined(__AVX512F__)
#error "compile with -mavx2 -mfma -mf16c and nothing above"
#endif

#define SIMDE_ENABLE_NATIVE_ALIASES
#define SIMDE_NO_CHECK_IMMEDIATE_CONSTANT /* clang: constant only after inlining */
#include <simde/x86/avx512.h>

/* A 512-bit register as the two halves that AVX2 works on. */
typedef union simde_halves {
    __m512i whole;
    __m512 floats;
    __m256i i[2];
    __m256 f[2];
} simde_halves;

static inline __m512 simde_mm512_cvtph_ps(__m256i a)
{
    simde_halves r;
    r.f[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(a));
    r.f[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1));
    return r.floats;
}
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(a) simde_mm512_cvtph_ps(a)

static inline __m512 simde_mm512_cvtepi32_ps(__m512i a)
{
    simde_halves from = {.whole = a};
    simde_halves r = {.f = {_mm256_cvtepi32_ps(from.i[0]), _mm256_cvtepi32_ps(from.i[1])}};
    return r.floats;
}
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps(a) simde_mm512_cvtepi32_ps(a)

static inline __m512i simde_mm512_cvtps_epi32(__m512 a)
{
    simde_halves from = {.floats = a};
    simde_halves r = {.i = {_mm256_cvtps_epi32(from.f[0]), _mm256_cvtps_epi32(from.f[1])}};
    return r.whole;
}
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32(a) simde_mm512_cvtps_epi32(a)

static inline __m512i simde_mm512_cvtepi8_epi32(__m128i a)
{
    simde_halves r = {.i = {_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8))}};
    return r.whole;
}
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32(a) simde_mm512_cvtepi8_epi32(a)

static inline __m512i simde_mm512_cvtepu8_epi32(__m128i a)
{
    simde_halves r = {.i = {_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8))}};
    return r.whole;
}
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32(a) simde_mm512_cvtepu8_epi32(a)

/* SIMDe has it, but its alias takes four arguments. */
static inline __m512i simde_mm512_madd_of_halves(__m512i a, __m512i b)
{
    simde_halves x = {.whole = a}, y = {.whole = b};
    simde_halves r = {.i = {_mm256_madd_epi16(x.i[0], y.i[0]), _mm256_madd_epi16(x.i[1], y.i[1])}};
    return r.whole;
}
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_of_halves(a, b)

static inline __m512i simde_mm512_cvtepi16_epi32(__m256i a)
{
    simde_halves r = {.i = {_mm256_cvtepi16_epi32(_mm256_castsi256_si128(a)),
                            _mm256_cvtepi16_epi32(_mm256_extracti128_si256(a, 1))}};
    return r.whole;
}
#undef _mm512_cvtepi16_epi32
#define _mm512_cvtepi16_epi32(a) simde_mm512_cvtepi16_epi32(a)

static inline __m512i simde_mm512_cvtepu16_epi32(__m256i a)
{
    simde_halves r = {.i = {_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
                            _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1))}};
    return r.whole;
}
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(a) simde_mm512_cvtepu16_epi32(a)

static inline __m512i simde_mm512_srai_epi32(__m512i a, unsigned count)
{
    simde_halves from = {.whole = a};
    simde_halves r = {
        .i = {_mm256_srai_epi32(from.i[0], (int)count), _mm256_srai_epi32(from.i[1], (int)count)}};
    return r.whole;
}
#undef _mm512_srai_epi32
#define _mm512_srai_epi32(a, count) simde_mm512_srai_epi32(a, count)

static inline __m256 simde_mm512_extractf32x8_ps(__m512 a, int half)
{
    simde_halves from = {.floats = a};
    return from.f[half];
}
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(a, half) simde_mm512_extractf32x8_ps(a, half)

/* Lanes whose bit is set as the sign bits that AVX2's masked loads and stores look at. */
static inline __m256i simde_half_mask(__mmask16 mask, int half)
{
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i ours = _mm256_and_si256(_mm256_set1_epi32(mask >> 8 * half), bits);
    return _mm256_cmpeq_epi32(ours, bits);
}

/* Touches no memory of a lane that is left out, as the instruction does not. */
static inline __m512 simde_mm512_mask_loadu_ps(__m512 rest, __mmask16 mask, const void *from)
{
    simde_halves r = {.floats = rest};
    for (int half = 0; half < 2; half++) {
        __m256i lanes = simde_half_mask(mask, half);
        __m256 loaded = _mm256_maskload_ps((const float *)from + 8 * half, lanes);
        r.f[half] = _mm256_blendv_ps(r.f[half], loaded, _mm256_castsi256_ps(lanes));
    }
    return r.floats;
}
#undef _mm512_mask_loadu_ps
#define _mm512_mask_loadu_ps(rest, mask, from) simde_mm512_mask_loadu_ps(rest, mask, from)

static inline void simde_mm512_mask_storeu_ps(void *to, __mmask16 mask, __m512 a)
{
    simde_halves from = {.floats = a};
    for (int half = 0; half < 2; half++)
        _mm256_maskstore_ps((float *)to + 8 * half, simde_half_mask(mask, half), from.f[half]);
}
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps(to, mask, a) simde_mm512_mask_storeu_ps(to, mask, a)

/*
 * SIMDe has this one, but by shuffles that take gcc a minute to compile. Bytes at even and odd
 * places become 16 bits, so no product or sum of two saturates.
 */
static inline __m256i simde_half_dpbusd(__m256i sum, __m256i a, __m256i b)
{
    __m256i a_even = _mm256_and_si256(a, _mm256_set1_epi16(255));
    __m256i b_even = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8);
    __m256i even = _mm256_madd_epi16(a_even, b_even);
    __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}

static inline __m512i simde_halves_dpbusd(__m512i sum, __m512i a, __m512i b)
{
    simde_halves s = {.whole = sum}, x = {.whole = a}, y = {.whole = b};
    simde_halves r = {.i = {simde_half_dpbusd(s.i[0], x.i[0], y.i[0]),
                            simde_half_dpbusd(s.i[1], x.i[1], y.i[1])}};
    return r.whole;
}
#undef _mm512_dpbusd_epi32
#define _mm512_dpbusd_epi32(sum, a, b) simde_halves_dpbusd(sum, a, b)

#endif
