/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/step_cost.h"

#include <math.h>
#include <string.h>

enum { N = 3, WARM_UP = 2, LEARN_FIRST = 8, OUTLIER = 2 };

/* Of what a step taught so much is left after the next one: half after 138 steps. */
static const double remembered = 0.995;
/* The covariance before anything is known, and what it may grow to again where steps are alike for
 * long: beyond that, noise would decide what the weights of the other steps are. */
static const double unknown = 100, forgotten = 0.02;

void choir_step_cost_init(choir_step_cost *cost)
{
    memset(cost, 0, sizeof *cost);
    for (int i = 0; i < N; i++)
        cost->covariance[i][i] = unknown;
}

choir_step_size choir_step_size_of(int64_t position, int64_t n)
{
    return (choir_step_size){n, n * position + n * (n + 1) / 2};
}

choir_step_size choir_step_size_add(choir_step_size a, choir_step_size b)
{
    return (choir_step_size){a.n_rows + b.n_rows, a.n_attended + b.n_attended};
}

static void features(choir_step_size size, double x[N])
{
    x[0] = 1;
    x[1] = (double)size.n_rows / 64; /* all of them about 1, so that one bound fits all */
    x[2] = (double)size.n_attended / 65536;
}

static double expected(const choir_step_cost *cost, const double x[N])
{
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += x[i] * fmax(cost->weights[i], 0); /* noise may make one negative */
    return sum;
}

void choir_step_cost_learn(choir_step_cost *cost, choir_step_size size, int64_t us)
{
    double x[N], gain[N], scale = 1, y = (double)us, error;
    features(size, x);
    cost->most_rows = size.n_rows > cost->most_rows ? size.n_rows : cost->most_rows;
    const double limit = OUTLIER * expected(cost, x);
    if (cost->n_learnt++ < WARM_UP)
        return; /* memory is touched for the first time */
    if (cost->n_learnt > LEARN_FIRST && y > limit)
        y = limit;
    error = y;
    for (int i = 0; i < N; i++) {
        gain[i] = 0;
        for (int j = 0; j < N; j++)
            gain[i] += cost->covariance[i][j] * x[j];
        scale += x[i] * gain[i];
        error -= x[i] * cost->weights[i];
    }
    for (int i = 0; i < N; i++)
        cost->weights[i] += gain[i] / scale * error;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            cost->covariance[i][j] -= gain[i] * gain[j] / scale;
    for (int i = 0; i < N; i++)
        if (cost->covariance[i][i] < forgotten)
            for (int j = 0; j < N; j++) { /* on both sides, so that it stays symmetric */
                cost->covariance[i][j] /= sqrt(remembered);
                cost->covariance[j][i] /= sqrt(remembered);
            }
}

int64_t choir_step_cost_predict(const choir_step_cost *cost, choir_step_size size)
{
    double x[N];
    features(size, x);
    const double us = cost->n_learnt < LEARN_FIRST ? 0 : expected(cost, x);
    return us < 1e15 ? (int64_t)us : INT64_MAX;
}

int64_t choir_step_cost_rows(const choir_step_cost *cost, choir_step_size before, int64_t position,
                             int64_t least, int64_t most, int64_t max_us)
{
    int64_t low = least < most ? least : most, high = most;
    while (low < high) { /* the cost grows with the rows */
        const int64_t n = low + (high - low + 1) / 2;
        const choir_step_size all = choir_step_size_add(before, choir_step_size_of(position, n));
        if (choir_step_cost_predict(cost, all) <= max_us)
            low = n;
        else
            high = n - 1;
    }
    return low;
}
