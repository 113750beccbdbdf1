/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The empty assembly makes the compiler believe that an operand has changed, so that nothing is
 * computed once and for all; it costs no instruction.
 */
#include "tests/bench/peak.h"

#include <immintrin.h>

/* Of 16 registers: what maddubs gives needs some too. */
enum { CHAINS = 10 };

static void read_bytes(const uint8_t *region, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 128)
        for (size_t k = 0; k < 128; k += 32) {
            __m256i loaded = _mm256_loadu_si256((const __m256i *)(const void *)(region + i + k));
            __asm__ volatile("" : : "x"(loaded));
        }
}

static void run_narrow(int64_t n_steps)
{
    __m256i sums[CHAINS], w = _mm256_set1_epi8(15), x = _mm256_set1_epi8(1);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm256_setzero_si256();
    for (int64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            __asm__("" : "+x"(x));
            sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(w, x));
        }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        __asm__ volatile("" : : "x"(sums[i]));
}

static void run_wide(int64_t n_steps)
{
    __m256i sums[CHAINS], w = _mm256_set1_epi8(15), x = _mm256_set1_epi8(1);
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm256_setzero_si256();
    for (int64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            __asm__("" : "+x"(x));
            __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones);
            sums[i] = _mm256_add_epi32(sums[i], pairs);
        }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        __asm__ volatile("" : : "x"(sums[i]));
}

static void run_fma(int64_t n_steps)
{
    __m256 sums[CHAINS], w = _mm256_set1_ps(0.5f), x = _mm256_set1_ps(0.25f);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm256_setzero_ps();
    for (int64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            __asm__("" : "+x"(x));
            sums[i] = _mm256_fmadd_ps(w, x, sums[i]);
        }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        __asm__ volatile("" : : "x"(sums[i]));
}

const choir_peak_loops choir_peak_avx2 = {
    .read = read_bytes,
    .loops = {[CHOIR_PEAK_NARROW] = {run_narrow, 32.0 * CHAINS},
              [CHOIR_PEAK_WIDE] = {run_wide, 32.0 * CHAINS},
              [CHOIR_PEAK_FMA] = {run_fma, 8.0 * CHAINS}},
};
