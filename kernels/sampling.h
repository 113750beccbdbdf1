/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of docs/numerics.md, "Sampling", that every rank can do for its own part of the
 * vocabulary: what a request does to its logits before a token is drawn, and the noise of each id.
 * Every operation is one of IEEE-754, so all ranks and levels get the same bits. Pure.
 */
#ifndef CHOIR_KERNELS_SAMPLING_H
#define CHOIR_KERNELS_SAMPLING_H

#include "common/sampling.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether the history is looked at: with a penalty. */
bool choir_sampling_needs_history(const choir_sampling *sampling);

/*
 * z [n] from the logits [n] of ids [begin, begin + n): logit bias, then -inf for what is not
 * allowed or banned, repetition, frequency, presence, temperature, in this order. z may be logits.
 * counts [n] must be zero, and is zero again.
 */
void choir_sampling_apply(float *z, const float *logits, int64_t begin, int64_t n,
                          const choir_sampling *sampling, const choir_sampling_lists *lists,
                          int32_t *counts);

/* The four words of Philox that belong to ids 4 * block to 4 * block + 3 at a position. */
void choir_sampling_noise(const choir_sampling *sampling, int64_t position, int64_t block,
                          uint32_t words[4]);
/* g of numerics.md, from word (id mod 4) of block (id div 4). */
float choir_sampling_gumbel(uint32_t word);

/*
 * The argmax of z + g over n > 0 candidates, the lower id where sums are equal: its place in z [n].
 * ids [n] may be NULL: they are first_id, first_id + 1, … *best_sum is its z + g.
 */
int64_t choir_sampling_draw(const choir_sampling *sampling, int64_t position, const float *z,
                            const int32_t *ids, int64_t first_id, int64_t n, float *best_sum);

#endif
