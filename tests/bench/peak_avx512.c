/* SPDX-License-Identifier: Apache-2.0 */
/* dpbusd adds to 32 bits at once, so that narrow and wide weights have the same peak. */
#include "tests/bench/peak.h"

#include <immintrin.h>

enum { CHAINS = 16 };

static void read_bytes(const uint8_t *region, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 256)
        for (size_t k = 0; k < 256; k += 64) {
            __m512i loaded = _mm512_loadu_si512(region + i + k);
            __asm__ volatile("" : : "v"(loaded));
        }
}

static void run_dots(int64_t n_steps)
{
    __m512i sums[CHAINS], w = _mm512_set1_epi8(15), x = _mm512_set1_epi8(1);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_setzero_si512();
    for (int64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            __asm__("" : "+v"(x)); /* peak_avx2.c says what for */
            sums[i] = _mm512_dpbusd_epi32(sums[i], w, x);
        }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        __asm__ volatile("" : : "v"(sums[i]));
}

static void run_fma(int64_t n_steps)
{
    __m512 sums[CHAINS], w = _mm512_set1_ps(0.5f), x = _mm512_set1_ps(0.25f);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_setzero_ps();
    for (int64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            __asm__("" : "+v"(x));
            sums[i] = _mm512_fmadd_ps(w, x, sums[i]);
        }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        __asm__ volatile("" : : "v"(sums[i]));
}

const choir_peak_loops choir_peak_avx512 = {
    .read = read_bytes,
    .loops = {[CHOIR_PEAK_NARROW] = {run_dots, 64.0 * CHAINS},
              [CHOIR_PEAK_WIDE] = {run_dots, 64.0 * CHAINS},
              [CHOIR_PEAK_FMA] = {run_fma, 16.0 * CHAINS}},
};
