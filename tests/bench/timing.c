/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/timing.h"

#include "common/clock.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <time.h>

static double thread_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

/* Wall time, or the CPU time of the thread that had most. */
static double run_us(choir_bench_body body, const void *context, int n_threads, int64_t first,
                     int64_t n_iterations, bool is_cpu_time)
{
    const int64_t begin = choir_clock_us();
    double longest = 0;
#pragma omp parallel num_threads(n_threads) reduction(max : longest)
    {
        const double thread_begin = thread_us();
        for (int64_t i = 0; i < n_iterations; i++)
            body(context, first + i, omp_get_thread_num(), n_threads);
        longest = thread_us() - thread_begin;
    }
    return is_cpu_time ? longest : (double)(choir_clock_us() - begin);
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
        const double goal = effort->sample_us;
        double us = INFINITY;
        for (int i = 0; i < 3 && us >= goal; i++, first += n)
            us = fmin(us, run_us(body, context, n_threads, first, n, effort->is_cpu_time));
        if (us >= goal)
            break;
        /* Straight to the goal once a sample is long enough to tell the rate. */
        n = us * 8 < goal ? n * 2 : (int64_t)((double)n * goal / us) + 1;
    }
    double seconds[CHOIR_BENCH_SAMPLES], sum = 0;
    for (int s = 0; s < effort->n_samples; s++) {
        seconds[s] =
            run_us(body, context, n_threads, first, n, effort->is_cpu_time) * 1e-6 / (double)n;
        sum += seconds[s];
        first += n;
    }
    const double median = choir_bench_median(seconds, effort->n_samples);
    return (choir_bench_time){median, seconds[0], seconds[effort->n_samples - 1],
                              sum / effort->n_samples};
}
