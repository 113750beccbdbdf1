/* SPDX-License-Identifier: Apache-2.0 */
/* sdot adds four products to 32 bits at once, so that narrow and wide weights have the same peak.
 */
#include "tests/bench/peak.h"

#include <arm_neon.h>

enum { CHAINS = 16 };

static void read_bytes(const uint8_t *region, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        for (size_t k = 0; k < 64; k += 16) {
            uint8x16_t loaded = vld1q_u8(region + i + k);
            __asm__ volatile("" : : "w"(loaded));
        }
}

static void run_dots(int64_t n_steps)
{
    int32x4_t sums[CHAINS];
    int8x16_t w = vdupq_n_s8(15), x = vdupq_n_s8(1);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        sums[i] = vdupq_n_s32(0);
    for (int64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            __asm__("" : "+w"(x)); /* peak_avx2.c says what for */
            sums[i] = vdotq_s32(sums[i], w, x);
        }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        __asm__ volatile("" : : "w"(sums[i]));
}

static void run_fma(int64_t n_steps)
{
    float32x4_t sums[CHAINS], w = vdupq_n_f32(0.5f), x = vdupq_n_f32(0.25f);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        sums[i] = vdupq_n_f32(0.0f);
    for (int64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            __asm__("" : "+w"(x));
            sums[i] = vfmaq_f32(sums[i], w, x);
        }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        __asm__ volatile("" : : "w"(sums[i]));
}

const choir_peak_loops choir_peak_neon = {
    .read = read_bytes,
    .loops = {[CHOIR_PEAK_NARROW] = {run_dots, 16.0 * CHAINS},
              [CHOIR_PEAK_WIDE] = {run_dots, 16.0 * CHAINS},
              [CHOIR_PEAK_FMA] = {run_fma, 4.0 * CHAINS}},
};
