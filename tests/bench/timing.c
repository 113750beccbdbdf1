/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/timing.h"

#include "common/clock.h"

#include <assert.h>
#include <omp.h>
#include <stdlib.h>

static int64_t run_us(choir_bench_body body, const void *context, int n_threads, int64_t first,
                      int64_t n_iterations)
{
    const int64_t begin = choir_clock_us();
#pragma omp parallel num_threads(n_threads)
    for (int64_t i = 0; i < n_iterations; i++)
        body(context, first + i, omp_get_thread_num(), n_threads);
    return choir_clock_us() - begin;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double choir_bench_median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

choir_bench_time choir_bench_measure(choir_bench_body body, const void *context, int n_threads,
                                     const choir_bench_effort *effort)
{
    assert(effort->n_samples >= 1 && effort->n_samples <= CHOIR_BENCH_SAMPLES);
    omp_set_dynamic(0);
    int64_t n = 1, first = 0;
    for (;;) {
        /* The shortest of a few: one that the system interrupted would end this too early. */
        int64_t us = INT64_MAX;
        for (int i = 0; i < 3 && us >= effort->sample_us; i++, first += n) {
            const int64_t once = run_us(body, context, n_threads, first, n);
            us = once < us ? once : us;
        }
        if (us >= effort->sample_us)
            break;
        /* Straight to the goal once a sample is long enough to tell the rate. */
        n = us * 8 < effort->sample_us ? n * 2 : n * effort->sample_us / us + 1;
    }
    double seconds[CHOIR_BENCH_SAMPLES];
    for (int s = 0; s < effort->n_samples; s++) {
        seconds[s] = (double)run_us(body, context, n_threads, first, n) * 1e-6 / (double)n;
        first += n;
    }
    const double median = choir_bench_median(seconds, effort->n_samples);
    return (choir_bench_time){median, seconds[0], seconds[effort->n_samples - 1]};
}
