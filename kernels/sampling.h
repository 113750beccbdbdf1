/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of docs/numerics.md, "Sampling", that every rank can do for its own part of the
 * vocabulary: what a request does to its logits before a token is drawn, and the noise of each id.
 * Every operation is one of IEEE-754, so all ranks and levels get the same bits. Pure.
 */
#ifndef CHOIR_KERNELS_SAMPLING_H
#define CHOIR_KERNELS_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

/* What was asked for; all zero but top_p and seed is neutral, and temperature 0 the argmax. */
typedef struct choir_sampling {
    float temperature;        /* 0: argmax; else 0.01..100 */
    int32_t top_k;            /* 0: off */
    float top_p;              /* > 0; >= 1: off */
    float min_p;              /* 0..1; 0: off */
    float typical_p;          /* 0..1; 0 and 1: off */
    float repetition_penalty; /* > 0; 0 and 1: off */
    float frequency_penalty;  /* -2..2; 0: off */
    float presence_penalty;   /* -2..2; 0: off */
    uint64_t seed;
    int32_t choice; /* which of n answers, from 0 */
} choir_sampling;

typedef struct choir_logit_bias {
    int32_t token_id;
    float bias;
} choir_logit_bias;

/* The lists behind it, at one position. Ids are of the vocabulary. All zero: none. */
typedef struct choir_sampling_lists {
    const choir_logit_bias *bias; /* [n_bias], no id twice */
    int32_t n_bias;
    const int32_t *allowed; /* [n_allowed] ascending; none: all are */
    int32_t n_allowed;
    const int32_t *banned; /* [n_banned] at this position, in any order */
    int32_t n_banned;
    const int32_t *history; /* [n_history], the first n_prompt of them the prompt's */
    int32_t n_history, n_prompt;
} choir_sampling_lists;

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

#endif
