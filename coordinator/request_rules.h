/* SPDX-License-Identifier: Apache-2.0 */
/* Which tokens a checked request wants or does not want, as the engine takes it: ids only. */
#ifndef CHOIR_COORDINATOR_REQUEST_RULES_H
#define CHOIR_COORDINATOR_REQUEST_RULES_H

#include "common/status.h"
#include "model/tokenizer.h"
#include "proto/client.pb-c.h"
#include "proto/engine.pb-c.h"

/* What a Submit's lists point to, besides the request itself. All zero at first. */
typedef struct choir_request_rules {
    int32_t *stop_ids;
    Choir__Engine__LogitBias *bias, **bias_list;
    int32_t *bad_ids, *bad_lengths;
    size_t n_bad_ids, n_bad_words;
    size_t bad_ids_capacity, bad_lengths_capacity;
} choir_request_rules;

/*
 * Points `submit` to the stop tokens (the model's ends among them), logit bias, allowed tokens and
 * bad words of `params`, which may be NULL, and lives as long as `rules`. A bad word stands for
 * itself at the beginning of a text and behind a space, which the tokenizer tells apart. Release in
 * any case. ENOMEM.
 */
choir_status choir_request_rules_fill(choir_request_rules *rules,
                                      const Choir__Client__SamplingParams *params,
                                      const choir_tokenizer *tokenizer,
                                      Choir__Engine__Submit *submit) CHOIR_MUST_CHECK;
void choir_request_rules_release(choir_request_rules *rules);

#endif
