/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One answer on its way: the engine's tokens go in, the chunk that the client is to get next comes
 * out. Between two deliveries the chunk grows, so a slow client gets fewer, larger chunks.
 *
 * Text comes in whole UTF-8 characters and never holds any part of a stop string. A token's id and
 * log-probability go into the chunk at once, its text when it can no longer belong to a stop
 * string.
 */
#ifndef CHOIR_COORDINATOR_ANSWER_H
#define CHOIR_COORDINATOR_ANSWER_H

#include "common/status.h"
#include "model/tokenizer.h"
#include "proto/client.pb-c.h"
#include "proto/engine.pb-c.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct choir_answer choir_answer;

typedef struct choir_answer_options {
    const choir_tokenizer *tokenizer; /* borrowed as long as the answer lives */
    bool has_text;                    /* false: scores */
    bool keeps_control;               /* control words appear in the text */
    bool has_token_ids;
    bool has_logprobs;
    bool has_stop_string;    /* the text ends with the one that matched */
    const char *const *stop; /* copied */
    size_t n_stop;
} choir_answer_options;

choir_status choir_answer_create(const choir_answer_options *options,
                                 choir_answer **result) CHOIR_MUST_CHECK;
void choir_answer_destroy(choir_answer **answer);

/*
 * Takes the next token; is_end: the token that ends the answer, which gives no text. Must not be
 * called after a stop string matched. EINVALID: an id outside of the vocabulary.
 */
choir_status choir_answer_add(choir_answer *answer, const Choir__Engine__Token *token,
                              bool is_end) CHOIR_MUST_CHECK;
/* No more tokens come: what was held back becomes text. After a match there is nothing to do. */
choir_status choir_answer_end(choir_answer *answer) CHOIR_MUST_CHECK;

/* The stop string that matched, or NULL; lives as long as the answer. */
const char *choir_answer_matched(const choir_answer *answer);
size_t choir_answer_n_tokens(const choir_answer *answer); /* since the start */

/* Whether the chunk has anything in it, and the memory that it takes with its view. */
bool choir_answer_has_chunk(const choir_answer *answer);
size_t choir_answer_bytes(const choir_answer *answer);

/* A view of the chunk for packing; it borrows from the answer, until the next call on it. */
typedef struct choir_answer_view {
    uint32_t first_token_index;
    const char *text; /* NUL-terminated */
    const int32_t *token_ids;
    size_t n_token_ids;
    Choir__Client__TokenLogprob **logprobs; /* [n_logprobs] */
    size_t n_logprobs;
} choir_answer_view;

choir_status choir_answer_view_chunk(choir_answer *answer,
                                     choir_answer_view *view) CHOIR_MUST_CHECK;
/* The chunk could not be sent: it stays, without the memory of its view. */
void choir_answer_drop_view(choir_answer *answer);
/* The chunk was delivered, or given up: the next one begins empty. */
void choir_answer_clear_chunk(choir_answer *answer);

#endif
