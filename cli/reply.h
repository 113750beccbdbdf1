/* SPDX-License-Identifier: Apache-2.0 */
/* What comes back for a request, gathered from the client's events, and its JSON forms. */
#ifndef CHOIR_CLI_REPLY_H
#define CHOIR_CLI_REPLY_H

#include "client/client.h"
#include "common/json.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero it; choir_reply_destroy() releases it. */
typedef struct choir_reply {
    struct choir_reply *others; /* [n_others] answers 1, 2, … of a request that has several */
    size_t n_others, others_capacity;
    choir_json *prompt_logprobs; /* array of choir_logprob_to_json(), where they were asked for */
    char *text;                  /* [text_length], a NUL behind; NULL before the first */
    size_t text_length, text_capacity;
    choir_json *token_ids; /* array of integers, of chunks that have ids */
    choir_json *logprobs;  /* array of choir_logprob_to_json() */
    choir_json *embedding; /* array of numbers */
    uint64_t seed;
    bool is_finished; /* the request has ended */
    choir_finish_reason reason;
    choir_usage usage;
    choir_timings timings;
    choir_status status; /* of an ERROR; words and param copied */
    char param[64];
    char message[512];
} choir_reply;

/* Takes an event of this request in. */
choir_status choir_reply_add(choir_reply *answer, const choir_event *event) CHOIR_MUST_CHECK;
void choir_reply_destroy(choir_reply *answer);

/* CHOIR_OK, or the failure that an ERROR told, its words as choir_error(). */
choir_status choir_reply_status(const choir_reply *answer) CHOIR_MUST_CHECK;

/*
 * The forms below are stable: README lists them. They take the arrays out of the answer, so each is
 * made once; after an ERROR it is {"error": {"status", "param", "message"}}.
 */
/*
 * {"token_ids", "text", "finish_reason", "logprobs", "usage", "timings"}, and "prompt_logprobs"
 * where they were asked for. Of several answers: {"choices": [...]} of such objects, in order.
 */
choir_json *choir_reply_to_json(choir_reply *answer);
/* {"tokens": [...]} of a Score */
choir_json *choir_reply_to_score_json(choir_reply *answer);
/* {"embedding": [...], "usage"} of an Embed */
choir_json *choir_reply_to_embedding_json(choir_reply *answer);
/*
 * {"token_id", "logprob", "logprob_bits", "top": [{"token_id", "logprob"}, ...]}; log-probabilities
 * are natural; the bits are 8 hex digits; both are null where there is none.
 */
choir_json *choir_logprob_to_json(const choir_token_logprob *token);

/* Log-probabilities of a reply whose arrays are still there as a table, a token a line. */
choir_status choir_reply_print_logprobs(const choir_json *logprobs) CHOIR_MUST_CHECK;
/* "31 tokens, 45.1 tokens/s, ..." of a finished answer, for people. */
void choir_reply_describe(const choir_reply *answer, char *text, size_t size);

#endif
