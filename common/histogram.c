/* SPDX-License-Identifier: Apache-2.0 */
#include "common/histogram.h"

#include <math.h>

bool choir_histogram_init(choir_histogram *histogram, const double *bounds, size_t n_bounds)
{
    *histogram = (choir_histogram){0};
    if (n_bounds > CHOIR_HISTOGRAM_BOUNDS_MAX)
        return false;
    for (size_t i = 0; i < n_bounds; i++)
        if (!isfinite(bounds[i]) || !(bounds[i] > (i > 0 ? bounds[i - 1] : 0)))
            return false;
    for (size_t i = 0; i < n_bounds; i++)
        histogram->bounds[i] = bounds[i];
    histogram->n_bounds = n_bounds;
    return true;
}

void choir_histogram_observe(choir_histogram *histogram, double value)
{
    size_t i = 0;
    while (i < histogram->n_bounds && value > histogram->bounds[i])
        i++;
    histogram->counts[i]++;
    histogram->sum += value > 0 ? value : 0;
}

uint64_t choir_histogram_total(const choir_histogram *histogram)
{
    uint64_t total = 0;
    for (size_t i = 0; i <= histogram->n_bounds; i++)
        total += histogram->counts[i];
    return total;
}

double choir_histogram_quantile(const choir_histogram *histogram, double q)
{
    const double wanted = q * (double)choir_histogram_total(histogram);
    double below = 0, low = 0;
    if (wanted <= 0)
        return 0;
    for (size_t i = 0; i < histogram->n_bounds; i++) {
        const double count = (double)histogram->counts[i], high = histogram->bounds[i];
        if (below + count >= wanted)
            return low + (high - low) * (wanted - below) / count;
        below += count;
        low = high;
    }
    return low;
}
