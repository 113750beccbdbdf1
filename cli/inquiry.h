/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of `choir generate` and `choir chat`, from flags and from lines of JSON. */
#ifndef CHOIR_CLI_INQUIRY_H
#define CHOIR_CLI_INQUIRY_H

#include "cli/flags.h"
#include "cli/input.h"
#include "client/client.h"
#include "common/json.h"
#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

/* What the sampling flags say; NaN and -1 where a flag was not given. */
typedef struct choir_sampling_options {
    double temperature, top_p, min_p, typical_p;
    double repetition_penalty, presence_penalty, frequency_penalty;
    int64_t min_tokens, truncate_prompt_tokens;
    int64_t top_k, max_tokens, seed, priority, timeout_ms;
    const char *cache_salt;
    int64_t logprobs, prompt_logprobs; /* alternatives for each token; -1: no log-probabilities */
    bool ignore_eos, include_stop_str_in_output, keep_special_tokens;
    choir_flag_strings stop, bad_words;
    const char *stop_token_ids, *allowed_token_ids;
} choir_sampling_options;

choir_sampling_options choir_sampling_options_default(void);
choir_flag_group choir_sampling_flags(choir_sampling_options *options);

/* A request with the memory that it points into. Zero it; choir_inquiry_destroy() releases it. */
typedef struct choir_inquiry {
    choir_generate_request generate;
    choir_json *json; /* where strings are borrowed from */
    char *messages;
    const char **stop, **bad_words;
    choir_token_bias *bias;
    choir_ids ids, stop_ids, allowed_ids;
} choir_inquiry;

/*
 * A request with these settings and no input yet; ids are returned with its tokens. `options` is
 * borrowed as long as the request lives. EUSAGE for --stop-token-ids and --allowed-token-ids that
 * are none.
 */
choir_status choir_inquiry_create(const choir_sampling_options *options,
                                  choir_inquiry *request) CHOIR_MUST_CHECK;

/*
 * Takes over `json`, an object with one of "prompt", "messages" and "token_ids", and any of
 * temperature, top_k, top_p, min_p, typical_p, repetition_penalty, presence_penalty,
 * frequency_penalty, seed, max_tokens, min_tokens, stop, stop_token_ids, bad_words,
 * allowed_token_ids, logit_bias ({"id": bias, …}), ignore_eos, include_stop_str_in_output,
 * truncate_prompt_tokens, n, logprobs, prompt_logprobs, skip_special_tokens, priority, timeout_ms
 * and cache_salt, which replace what the request has. null counts as not given. EINVALID names a
 * field that is unknown or of the wrong type; ranges are checked by the service.
 */
choir_status choir_inquiry_add_json(choir_inquiry *request, choir_json *json) CHOIR_MUST_CHECK;

void choir_inquiry_destroy(choir_inquiry *request);

#endif
