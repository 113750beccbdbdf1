/* SPDX-License-Identifier: Apache-2.0 */
/* How long something takes on N threads: samples of many iterations, their median, best and spread.
 */
#ifndef CHOIR_TESTS_BENCH_TIMING_H
#define CHOIR_TESTS_BENCH_TIMING_H

#include <stdbool.h>
#include <stdint.h>

/* Thread `thread` of `n_threads` does its share of iteration `iteration`, which never repeats. */
typedef void (*choir_bench_body)(const void *context, int64_t iteration, int thread, int n_threads);

typedef struct choir_bench_effort {
    int n_samples;    /* 1..CHOIR_BENCH_SAMPLES */
    double sample_us; /* a sample takes at least so long */
    /*
     * Counts only while a thread has a CPU, the longest of the threads' times: what it measures
     * under load is near to what a quiet machine does, but for the caches and the memory that it
     * shares with others.
     */
    bool is_cpu_time;
} choir_bench_effort;

enum { CHOIR_BENCH_SAMPLES = 101 };

/* Seconds per iteration. */
typedef struct choir_bench_time {
    double median, best, worst, mean;
} choir_bench_time;

/*
 * Each sample is one parallel region: all threads do the same number of iterations without waiting
 * for each other, so that the figure is the body's and not a barrier's. The first, shorter samples
 * find the number of iterations and are thrown away.
 */
choir_bench_time choir_bench_measure(choir_bench_body body, const void *context, int n_threads,
                                     const choir_bench_effort *effort);

/* The middle of values[0..n), the mean of two where n is even; sorts them. */
double choir_bench_median(double *values, int n);

#endif
