/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts of values in buckets with fixed bounds, as Prometheus has them: cheap to keep for ever,
 * and the sum of two services' counts is that of both. Plain data: a copy is a snapshot.
 */
#ifndef CHOIR_COMMON_HISTOGRAM_H
#define CHOIR_COMMON_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHOIR_HISTOGRAM_BOUNDS_MAX = 24 };

typedef struct choir_histogram {
    double bounds[CHOIR_HISTOGRAM_BOUNDS_MAX]; /* [n_bounds], ascending, above 0 */
    size_t n_bounds;
    /* counts[i]: values above bounds[i - 1], up to bounds[i] inclusive; the last one: above all. */
    uint64_t counts[CHOIR_HISTOGRAM_BOUNDS_MAX + 1];
    double sum;
} choir_histogram;

/* Sets bounds and no counts; false, and an empty histogram, where they are not as above. */
bool choir_histogram_init(choir_histogram *histogram, const double *bounds, size_t n_bounds);
/* Adds one value; below 0 counts as 0 (a clock is no proof). */
void choir_histogram_observe(choir_histogram *histogram, double value);
uint64_t choir_histogram_total(const choir_histogram *histogram);

/*
 * About where the share q, 0 to 1, of the values is below: values lie evenly in their bucket, and
 * those above all bounds at the last one. 0 where there is none.
 */
double choir_histogram_quantile(const choir_histogram *histogram, double q);

#endif
