/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops that do nothing but reach one of a core's limits, for each level in the file with its
 * suffix: loads of whole vectors, and multiply-adds between registers with the instructions that
 * the level's kernels use.
 */
#ifndef CHOIR_TESTS_BENCH_PEAK_H
#define CHOIR_TESTS_BENCH_PEAK_H

#include <stddef.h>
#include <stdint.h>

typedef enum choir_peak_kind {
    CHOIR_PEAK_NARROW, /* products of weights of at most 5 bits: several may add up in 16 bits */
    CHOIR_PEAK_WIDE,   /* products of wider weights: each goes to 32 bits by itself */
    CHOIR_PEAK_FMA,    /* f32 */
    CHOIR_PEAK_COUNT,
} choir_peak_kind;

typedef struct choir_peak_loop {
    void (*run)(int64_t n_steps); /* NULL where the level has no such loop */
    double macs_per_step;
} choir_peak_loop;

typedef struct choir_peak_loops {
    void (*read)(const uint8_t *region, size_t bytes); /* bytes a multiple of 256 */
    choir_peak_loop loops[CHOIR_PEAK_COUNT];
} choir_peak_loops;

extern const choir_peak_loops choir_peak_ref, choir_peak_avx2, choir_peak_avx512, choir_peak_neon;

#endif
