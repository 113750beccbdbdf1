/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a step will cost, learnt from the steps before it: microseconds =
 *
 *     a + b x rows + c x (positions that the rows attend to, summed)
 *
 * by recursive least squares that forgets (Ljung, System Identification, 1999, section 11.2), since
 * a machine warms up and has other users. Weights are read once a step (a), rows are computed (b),
 * keys and values are read (c). A step that shared the machine with something else teaches little:
 * one much slower than expected counts as twice what was expected. Pure.
 */
#ifndef CHOIR_COORDINATOR_STEP_COST_H
#define CHOIR_COORDINATOR_STEP_COST_H

#include <stdint.h>

typedef struct choir_step_size {
    int64_t n_rows;
    int64_t n_attended; /* sum over the rows of position + 1 */
} choir_step_size;

typedef struct choir_step_cost {
    double weights[3];           /* a, b per 64 rows, c per 65,536 positions; in us */
    double covariance[3][3];     /* up to the scale of the noise */
    int64_t n_learnt, most_rows; /* steps; rows of the largest */
} choir_step_cost;

void choir_step_cost_init(choir_step_cost *cost);
/* A step of that size took so long. */
void choir_step_cost_learn(choir_step_cost *cost, choir_step_size size, int64_t us);
/* >= 0; 0 while hardly anything was learnt. */
int64_t choir_step_cost_predict(const choir_step_cost *cost, choir_step_size size);
/*
 * How many rows of a prompt, at most `most`, fit beside a step of size `before`, the first of them
 * at `position`, if it all may take max_us; at least `least`, however long that takes.
 */
int64_t choir_step_cost_rows(const choir_step_cost *cost, choir_step_size before, int64_t position,
                             int64_t least, int64_t most, int64_t max_us);
/* The size of n rows from `position` on. */
choir_step_size choir_step_size_of(int64_t position, int64_t n);
/* Both together. */
choir_step_size choir_step_size_add(choir_step_size a, choir_step_size b);

#endif
