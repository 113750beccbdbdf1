/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pow() alone misses the nearest double for half of the frequencies of some n_rot. So the ratio
 * r = base^(-2/n_rot) is found in double-double arithmetic (about 106 bits): pow() gives 53 bits,
 * and two Newton steps on base * r^(n_rot/2) = 1 give the rest; the frequencies are its powers,
 * rounded once. Double-double sums and products: Dekker 1971, with fma for the exact product.
 */
#include "worker/rotary.h"

#include <math.h>

typedef struct pair {
    double high, low; /* value = high + low, |low| <= half an ulp of high */
} pair;

static pair fast_sum(double a, double b)
{
    const double high = a + b;
    return (pair){high, b - (high - a)};
}

static pair multiply(pair a, pair b)
{
    const double high = a.high * b.high;
    const double low = fma(a.high, b.high, -high) + (a.high * b.low + a.low * b.high);
    return fast_sum(high, low);
}

static pair power(pair base, int64_t exponent)
{
    pair result = {1.0, 0.0};
    for (pair square = base; exponent > 0; exponent >>= 1) {
        if (exponent & 1)
            result = multiply(result, square);
        square = multiply(square, square);
    }
    return result;
}

void choir_rotary_frequencies(double *frequencies, int64_t n_rot, float base, const float *factors)
{
    const int64_t n_pairs = n_rot / 2;
    pair ratio = {pow((double)base, -2.0 / (double)n_rot), 0.0};
    for (int step = 0; step < 2; step++) {
        /* 1 - base * r^m is tiny and its leading bits cancel exactly. */
        const pair product = multiply((pair){(double)base, 0.0}, power(ratio, n_pairs));
        const double rest = (1.0 - product.high) - product.low;
        const pair correction = {1.0, rest / (double)n_pairs};
        ratio = multiply(ratio, correction);
    }
    pair value = {1.0, 0.0};
    for (int64_t i = 0; i < n_pairs; i++) {
        frequencies[i] = factors ? value.high / (double)factors[i] : value.high;
        value = multiply(value, ratio);
    }
}

void choir_rotary_table(float *cosines, float *sines, const double *frequencies, int64_t n_pairs,
                        int64_t n_positions)
{
    for (int64_t position = 0; position < n_positions; position++)
        for (int64_t i = 0; i < n_pairs; i++) {
            const double angle = (double)position * frequencies[i];
            cosines[position * n_pairs + i] = (float)cos(angle);
            sines[position * n_pairs + i] = (float)sin(angle);
        }
}
