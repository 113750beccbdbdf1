/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the states of a sequence's positions to one embedding; docs/numerics.md, "Embeddings", has
 * the order of the roundings. Pure; vectors have n floats.
 */
#ifndef CHOIR_COORDINATOR_POOLING_H
#define CHOIR_COORDINATOR_POOLING_H

#include <stdbool.h>
#include <stdint.h>

typedef enum choir_pooling {
    CHOIR_POOLING_NONE, /* no embedding is wanted */
    CHOIR_POOLING_LAST, /* the last position's */
    CHOIR_POOLING_MEAN, /* of all positions */
} choir_pooling;

/* Adds the state of the next position; is_first: takes it as it is. */
void choir_pooling_add(float *sum, const float *state, int64_t n, bool is_first);
/* From the sum of so many positions to their mean. */
void choir_pooling_divide(float *sum, int64_t n, int64_t n_positions);
/* To length 1; zeros stay. */
void choir_pooling_normalize(float *embedding, int64_t n);

#endif
