/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sampling rule of docs/numerics.md, "Sampling", for a whole row: what kernels/sampling.h does
 * to the logits, then min_p, top_k, typical_p, top_p, then the argmax of logits plus Gumbel noise,
 * a function of (seed, position, choice, id). Pure.
 */
#ifndef CHOIR_COORDINATOR_SAMPLER_H
#define CHOIR_COORDINATOR_SAMPLER_H

#include "common/status.h"
#include "kernels/kernels.h"
#include "kernels/sampling.h"
#include "proto/step.h"

#include <stdint.h>

/* EINVALID, naming the field that is out of its range. */
choir_status choir_sampling_check(const choir_sampling *sampling) CHOIR_MUST_CHECK;

/* The memory one pick needs, for rows of V logits; one thread at a time. */
typedef struct choir_sampler choir_sampler;

/* kernels: any level, borrowed for the sampler's life. V > 0. */
choir_status choir_sampler_create(int64_t V, const choir_kernels *kernels,
                                  choir_sampler **sampler) CHOIR_MUST_CHECK;
void choir_sampler_destroy(choir_sampler **sampler);

/*
 * The token for a row of V finite logits. position: the new token's index in its sequence. -1
 * where the lists leave no token.
 */
int32_t choir_sampler_pick(choir_sampler *sampler, const choir_sampling *sampling,
                           const choir_sampling_lists *lists, const float *logits,
                           int64_t position);

/*
 * The same from the candidates that the shards gave of the row instead: the token and its logit, or
 * CHOIR_PICK_UNPROVED where they do not show what is kept, and the row has to be looked at.
 * Settings that shards cannot apply (typical_p) are the caller's to know.
 */
enum { CHOIR_PICK_NONE = -1, CHOIR_PICK_UNPROVED = -2 };
int32_t choir_sampler_pick_from(const choir_sampler *sampler, const choir_sampling *sampling,
                                const choir_row_result *row, int64_t position, float *logit);

#endif
