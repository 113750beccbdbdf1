/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/pooling.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

void choir_pooling_add(float *sum, const float *state, int64_t n, bool is_first)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] = is_first ? state[i] : sum[i] + state[i];
}

void choir_pooling_divide(float *sum, int64_t n, int64_t n_positions)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] /= (float)n_positions;
}

/* The lane sum of numerics.md, each square added by a fused multiply-add. */
static float sum_of_squares(const float *x, int64_t n)
{
    float lanes[LANES] = {0};
    for (int64_t i = 0; i < n; i++)
        lanes[i % LANES] = fmaf(x[i], x[i], lanes[i % LANES]);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

void choir_pooling_normalize(float *embedding, int64_t n)
{
    const float square = sum_of_squares(embedding, n);
    if (!(square > 0))
        return;
    const float scale = 1.0f / sqrtf(square);
    for (int64_t i = 0; i < n; i++)
        embedding[i] *= scale;
}
