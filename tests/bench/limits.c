/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/limits.h"

#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct choir_limits {
    choir_bench_effort effort;
    size_t read_bytes;
    void *region;
    choir_bench_time read[CHOIR_LIMITS_THREADS + 1]; /* seconds of a pass; 0: not measured yet */
    double peak[CHOIR_LEVEL_COUNT][CHOIR_PEAK_COUNT][CHOIR_LIMITS_THREADS + 1];
};

static const choir_peak_loops *const loops[CHOIR_LEVEL_COUNT] = {
    [CHOIR_LEVEL_REF] = &choir_peak_ref,
#if defined(__x86_64__)
    [CHOIR_LEVEL_AVX2] = &choir_peak_avx2,
    [CHOIR_LEVEL_AVX512] = &choir_peak_avx512,
#elif defined(__aarch64__)
    [CHOIR_LEVEL_NEON] = &choir_peak_neon,
#endif
};

choir_status choir_limits_create(size_t read_bytes, const choir_bench_effort *effort,
                                 choir_limits **result)
{
    choir_limits *limits = NULL;
    choir_status status = choir_alloc(1, sizeof *limits, (void **)&limits);
    if (status == CHOIR_OK) {
        limits->effort = *effort;
        limits->read_bytes = read_bytes;
        status = choir_pages_map(read_bytes, &limits->region);
    }
    if (status == CHOIR_OK) /* or all pages are the one page of zeros, which stays in the cache */
        memset(limits->region, 1, read_bytes);
    else
        choir_limits_destroy(&limits);
    *result = limits;
    return status;
}

void choir_limits_destroy(choir_limits **limits)
{
    if (*limits)
        choir_pages_unmap(&(*limits)->region, (*limits)->read_bytes);
    free(*limits);
    *limits = NULL;
}

static void read_share(const void *context, int64_t iteration, int thread, int n_threads)
{
    (void)iteration;
    const choir_limits *limits = context;
    const size_t share = limits->read_bytes / (size_t)n_threads / 256 * 256;
    const choir_peak_loops *best = loops[choir_level_best()];
    (best ? best : &choir_peak_ref)
        ->read((const uint8_t *)limits->region + (size_t)thread * share, share);
}

static const choir_bench_time *measure_read(choir_limits *limits, int n_threads)
{
    choir_bench_time *time = &limits->read[n_threads];
    if (time->best == 0.0)
        *time = choir_bench_measure(read_share, limits, n_threads, &limits->effort);
    return time;
}

double choir_limits_read(choir_limits *limits, int n_threads)
{
    return (double)limits->read_bytes / measure_read(limits, n_threads)->best;
}

double choir_limits_read_mean(choir_limits *limits, int n_threads)
{
    return (double)limits->read_bytes / measure_read(limits, n_threads)->mean;
}

enum { STEPS = 1000 };

static void run_loop(const void *context, int64_t iteration, int thread, int n_threads)
{
    (void)iteration, (void)thread, (void)n_threads;
    ((const choir_peak_loop *)context)->run(STEPS);
}

double choir_limits_peak(choir_limits *limits, choir_level level, choir_peak_kind kind,
                         int n_threads)
{
    if (!loops[level])
        return 0.0;
    const choir_peak_loop *loop = &loops[level]->loops[kind];
    double *rate = &limits->peak[level][kind][n_threads];
    if (loop->run && *rate == 0.0)
        *rate = loop->macs_per_step * STEPS * n_threads /
                choir_bench_measure(run_loop, loop, n_threads, &limits->effort).best;
    return *rate;
}

void choir_limits_cpu_name(char *name, size_t size)
{
    snprintf(name, size, "unknown CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        const char *value = strchr(line, ':');
        if (value && strncmp(line, "model name", 10) == 0) {
            snprintf(name, size, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
            break;
        }
    }
    if (file)
        fclose(file);
}
