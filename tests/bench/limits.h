/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine could do at most, measured when first asked for and kept: the best
 * sample, since a limit is what is never passed. */
#ifndef CHOIR_TESTS_BENCH_LIMITS_H
#define CHOIR_TESTS_BENCH_LIMITS_H

#include "kernels/kernels.h"
#include "tests/bench/peak.h"
#include "tests/bench/timing.h"

typedef struct choir_limits choir_limits;

/* `read_bytes` is the region that is read for the bandwidth: more than all caches. */
choir_status choir_limits_create(size_t read_bytes, const choir_bench_effort *effort,
                                 choir_limits **result) CHOIR_MUST_CHECK;
void choir_limits_destroy(choir_limits **limits);

enum { CHOIR_LIMITS_THREADS = 64 };

/* Bytes a second that n_threads <= CHOIR_LIMITS_THREADS threads read together. */
double choir_limits_read(choir_limits *limits, int n_threads);
/* The same over all samples, for comparisons with what is a mean over seconds itself. */
double choir_limits_read_mean(choir_limits *limits, int n_threads);
/* Multiply-adds a second between the registers of n_threads threads; 0: the level has no peak. */
double choir_limits_peak(choir_limits *limits, choir_level level, choir_peak_kind kind,
                         int n_threads);

/* The processor's name as /proc/cpuinfo has it, cut to fit. */
void choir_limits_cpu_name(char *name, size_t size);

#endif
