/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sampling rule of docs/numerics.md, "Sampling": temperature, min_p, top_k, top_p, then the
 * argmax of logits plus Gumbel noise, a function of (seed, position, choice, id). Pure.
 */
#ifndef CHOIR_COORDINATOR_SAMPLER_H
#define CHOIR_COORDINATOR_SAMPLER_H

#include "common/status.h"
#include "kernels/kernels.h"

#include <stdint.h>

typedef struct choir_sampling {
    float temperature; /* 0: argmax; else 0.01..100 */
    int32_t top_k;     /* 0: off */
    float top_p;       /* > 0; >= 1: off */
    float min_p;       /* 0..1; 0: off */
    uint64_t seed;
} choir_sampling;

/* EINVALID, naming the field that is out of its range. */
choir_status choir_sampling_check(const choir_sampling *sampling) CHOIR_MUST_CHECK;

/* The memory one pick needs, for rows of V logits; one thread at a time. */
typedef struct choir_sampler choir_sampler;

/* kernels: any level, borrowed for the sampler's life. V > 0. */
choir_status choir_sampler_create(int64_t V, const choir_kernels *kernels,
                                  choir_sampler **sampler) CHOIR_MUST_CHECK;
void choir_sampler_destroy(choir_sampler **sampler);

/*
 * The token for a row of V finite logits. position: the new token's index in its sequence; choice:
 * 0 for the first of n. Always an id in 0..V-1.
 */
int32_t choir_sampler_pick(choir_sampler *sampler, const choir_sampling *sampling,
                           const float *logits, int64_t position, int choice);

/* The noise g of one id. */
float choir_sampler_gumbel(uint64_t seed, int64_t position, int choice, int64_t id);

#endif
