/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which tokens a request wants or does not want: logit bias, allowed tokens, bad words, and no end
 * before min_tokens. Turned into the lists of kernels/sampling.h anew at each position. Pure.
 */
#ifndef CHOIR_COORDINATOR_TOKEN_RULES_H
#define CHOIR_COORDINATOR_TOKEN_RULES_H

#include "common/status.h"
#include "kernels/sampling.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHOIR_MAX_LOGIT_BIAS = 1024,
    CHOIR_MAX_ALLOWED = 65536,
    CHOIR_MAX_BAD_WORDS = 128,
    CHOIR_MAX_BAD_WORD_TOKENS = 32768, /* of all of them together */
};

/* Borrowed by choir_token_rules_create(), which copies. All zero: no rules. */
typedef struct choir_token_wishes {
    const choir_logit_bias *bias; /* [n_bias], no id twice, |bias| <= 100 */
    size_t n_bias;
    const int32_t *allowed; /* [n_allowed]; none: all are allowed */
    size_t n_allowed;
    /* Bad words: n_bad_words runs of bad_lengths[i] > 0 ids, one after the other. */
    const int32_t *bad_ids, *bad_lengths;
    size_t n_bad_words;
    int64_t min_tokens; /* of the answer, before a stop token may come */
} choir_token_wishes;

typedef struct choir_token_rules choir_token_rules;

/* *rules is NULL where nothing is wished. EINVALID, naming the field; ENOMEM. */
choir_status choir_token_rules_create(const choir_token_wishes *wishes, int32_t vocab_size,
                                      int64_t n_stop_ids,
                                      choir_token_rules **rules) CHOIR_MUST_CHECK;
void choir_token_rules_destroy(choir_token_rules **rules);

/*
 * Fills `lists` for the token behind tokens [n_tokens], the first n_prompt of which are the
 * prompt's; rules may be NULL. stop_ids [n_stop_ids] as many as create() was told. What it points
 * to lives until the next call, and as long as tokens.
 */
void choir_token_rules_lists(choir_token_rules *rules, const int32_t *tokens, int64_t n_tokens,
                             int64_t n_prompt, const int32_t *stop_ids,
                             choir_sampling_lists *lists);

#endif
