/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of rotary angles (docs/numerics.md, "Rotary"): for each position and pair the f32
 * nearest to the cosine and sine of position times frequency.
 */
#ifndef CHOIR_WORKER_ROTARY_H
#define CHOIR_WORKER_ROTARY_H

#include "common/status.h"

#include <stdint.h>

/*
 * frequencies[i], i in [0, n_rot / 2): the double nearest to base^(-2i/n_rot), divided by
 * factors[i] where factors is not NULL. n_rot even, > 0; base > 0 and finite.
 */
void choir_rotary_frequencies(double *frequencies, int64_t n_rot, float base, const float *factors);

/* cosines, sines [n_positions][n_pairs] f32 for positions 0, 1, .... */
void choir_rotary_table(float *cosines, float *sines, const double *frequencies, int64_t n_pairs,
                        int64_t n_positions);

#endif
