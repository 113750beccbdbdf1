/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request may ask for: every field has a range and is refused outside of it, naming the
 * field (fault list, T20). Pure.
 */
#ifndef CHOIR_COORDINATOR_REQUEST_CHECK_H
#define CHOIR_COORDINATOR_REQUEST_CHECK_H

#include "model/tokenizer.h"
#include "proto/client.pb-c.h"
#include "proto/engine.pb-c.h"
#include "proto/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHOIR_REQUEST_ID_BYTES_MAX = 64,
    CHOIR_INPUT_BYTES_MAX = 4 << 20,   /* of a text or of a chat's JSON */
    CHOIR_SCORE_ENTRIES_MAX = 1 << 20, /* log-probabilities that a request may have kept */
    CHOIR_CHOICES_MAX = 128,           /* answers of one request */
};

typedef struct choir_request_limits {
    int32_t n_vocab;
    const char *model; /* the name that is served */
    bool has_template;
    size_t longest_piece; /* bytes of the vocabulary's longest token */
} choir_request_limits;

/*
 * CHOIR_ERROR_NONE, or the first thing that is wrong, *param the field's name. Sizes in tokens are
 * checked when the tokens are there, by choir_request_check_length().
 */
choir_error_kind choir_request_check_generate(const Choir__Client__Generate *generate,
                                              const choir_request_limits *limits,
                                              const char **param) CHOIR_MUST_CHECK;
choir_error_kind choir_request_check_score(const Choir__Client__Score *score,
                                           const choir_request_limits *limits,
                                           const char **param) CHOIR_MUST_CHECK;
choir_error_kind choir_request_check_embed(const Choir__Client__Embed *embed,
                                           const choir_request_limits *limits,
                                           const char **param) CHOIR_MUST_CHECK;
/* Answers that a checked request asks for. */
size_t choir_request_n_choices(const Choir__Client__Generate *generate);
/*
 * Log-probabilities that may have to be kept until they are all there, alternatives included: of
 * the prompt's tokens, and of an answer of max_tokens that is not streamed. *param: what is most.
 */
size_t choir_request_kept_entries(const Choir__Client__Generate *generate, size_t n_prompt,
                                  size_t max_tokens, const char **param);
/* A model's name of a request, "" standing for the one that is served. */
choir_error_kind choir_request_check_model(const char *name, const choir_request_limits *limits,
                                           const char **param) CHOIR_MUST_CHECK;
choir_error_kind choir_request_check_token_ids(const int32_t *ids, size_t n_ids, int32_t n_vocab,
                                               const char **param) CHOIR_MUST_CHECK;
/* Small ids may stand for large pieces, so the text's size is known before it is made. */
choir_error_kind choir_request_check_detokenize(const Choir__Client__Detokenize *what,
                                                const choir_tokenizer *tokenizer, int32_t n_vocab,
                                                const char **param) CHOIR_MUST_CHECK;

/*
 * n_prompt tokens and n_new more have to fit a sequence of max_model_len positions; n_new is 1 for
 * generation, 0 for scores. *param is left alone.
 */
choir_error_kind choir_request_check_length(size_t n_prompt, size_t n_new,
                                            uint32_t max_model_len) CHOIR_MUST_CHECK;

/*
 * Bytes that max_model_len tokens can stand for at most. A longer text is refused before its tokens
 * are made, which would keep every client waiting. (Bytes for which the vocabulary has no token
 * count too.)
 */
size_t choir_request_max_bytes(const choir_request_limits *limits, uint32_t max_model_len);

/* The sampling settings of a checked request; `seed` where it has none. */
void choir_request_sampling(const Choir__Client__SamplingParams *params, uint64_t seed,
                            Choir__Engine__Sampling *sampling);
/* How many tokens a checked request may make; 1 <= result <= room. */
uint32_t choir_request_max_tokens(const Choir__Client__SamplingParams *params, uint32_t room);

#endif
