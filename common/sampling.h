/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request asks of the choice of its tokens, as plain data: the front end's, the lead's and
 * the ranks'. docs/numerics.md, "Sampling", says what it does.
 */
#ifndef CHOIR_COMMON_SAMPLING_H
#define CHOIR_COMMON_SAMPLING_H

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

#endif
