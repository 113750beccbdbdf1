/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler: decides what the ranks compute next (continuous batching). Pure: no I/O, time is
 * an argument; the lead rank feeds it requests and results and broadcasts the steps it makes.
 *
 *     submit ──> waiting ──(slot and pages free)──> running ──> ended
 *                             next_step: decodes first, prompt chunks fill the rest (one row is
 *                             kept for a prompt however many decode)
 *                             complete:  tokens out, sequences end, slots and pages free
 *
 * Pages for prompt + max_tokens are reserved on admission, in order of arrival, so that a running
 * sequence can always finish. Up to n_stages steps are in flight; they complete in order.
 */
#ifndef CHOIR_COORDINATOR_SCHEDULER_H
#define CHOIR_COORDINATOR_SCHEDULER_H

#include "common/status.h"
#include "coordinator/sampler.h"
#include "proto/step.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHOIR_MAX_STOP_IDS = 256,    /* of one request */
    CHOIR_DEFAULT_WAITING = 4096 /* requests that may wait */
};

typedef struct choir_request {
    uint64_t id;              /* never used twice */
    const int32_t *token_ids; /* [n_token_ids] the prompt, copied */
    int64_t n_token_ids;
    choir_sampling sampling;
    int64_t max_tokens;            /* > 0; not read with is_score; cut where the context ends */
    const int32_t *stop_token_ids; /* copied */
    int n_stop_token_ids;
    bool wants_logprobs;
    int n_top;     /* alternatives a token, 0..CHOIR_STEP_MAX_TOP */
    bool is_score; /* log-probabilities of the prompt's own tokens, nothing generated */
} choir_request;

/* Values are those of FinishReason in proto/engine.proto. */
typedef enum choir_finish {
    CHOIR_FINISH_NONE = 0,
    CHOIR_FINISH_STOP = 1, /* a stop token id, which is the last token listed */
    CHOIR_FINISH_LENGTH = 2,
    CHOIR_FINISH_ABORT = 3,
    CHOIR_FINISH_ERROR = 4,
    CHOIR_FINISH_SCORED = 5,
} choir_finish;

typedef struct choir_top_token {
    int32_t id;
    float logprob;
} choir_top_token;

typedef struct choir_output_token {
    int32_t id;
    float logprob; /* NaN where it was not asked for, and for the first scored token */
    int n_top;
    const choir_top_token *top; /* best first */
} choir_output_token;

typedef struct choir_timings {
    int64_t queue_us;   /* until it got its slot and pages */
    int64_t prefill_us; /* from then to its first token (a score: to its end) */
    int64_t decode_us;  /* from the first token to the end */
    int64_t ttft_us;    /* from arrival to the first token; 0 where there was none */
} choir_timings;

/* News of one request. A request's last output is its only one with a finish. */
typedef struct choir_output {
    uint64_t id;
    const choir_output_token *tokens; /* new ones, in order */
    int n_tokens;
    choir_finish finish;
    choir_status status;   /* CHOIR_OK, but with CHOIR_FINISH_ERROR */
    const char *error;     /* a fixed text; "" unless CHOIR_FINISH_ERROR */
    choir_timings timings; /* with a finish */
} choir_output;

/* Takes an output. Pointers in it are valid during the call; it may not call the scheduler. */
typedef void (*choir_output_fn)(void *context, const choir_output *output);

typedef struct choir_scheduler_options {
    choir_step_limits limits;
    int n_stages;                 /* steps in flight, >= 1 */
    int max_waiting;              /* 0: CHOIR_DEFAULT_WAITING */
    const choir_kernels *kernels; /* borrowed; for the sampler */
    choir_output_fn take;         /* called within abort() and complete() */
    void *context;
} choir_scheduler_options;

typedef struct choir_scheduler choir_scheduler;

choir_status choir_scheduler_create(const choir_scheduler_options *options,
                                    choir_scheduler **scheduler) CHOIR_MUST_CHECK;
void choir_scheduler_destroy(choir_scheduler **scheduler);

/*
 * Puts a request in the queue. EINVALID, naming the field: out of range, a prompt that leaves no
 * room in the context, more pages than the pool has; EUNAVAILABLE: the queue is full; ENOMEM. On
 * failure the request was not taken and nothing about it will be told to `take`.
 */
choir_status choir_scheduler_submit(choir_scheduler *scheduler, const choir_request *request,
                                    int64_t now_us) CHOIR_MUST_CHECK;

/*
 * Ends a request with CHOIR_FINISH_ABORT, at once; an id that is not there is no error. What it
 * holds is free when its last step in flight has completed.
 */
void choir_scheduler_abort(choir_scheduler *scheduler, uint64_t id, int64_t now_us);

/*
 * Makes the next step, if there is one and fewer than n_stages are in flight: begins `builder` and
 * adds all sequences; the caller finishes it. Step ids count from 1. False: nothing to do before
 * the next submit() or complete(), and builder is untouched. The builder's limits are the
 * scheduler's.
 */
bool choir_scheduler_next_step(choir_scheduler *scheduler, int64_t now_us,
                               choir_step_builder *builder);

/*
 * Takes the results of the oldest step in flight: one row for each wanted row, in step order.
 * EINTERNAL where step_id or n_rows is not what was asked for; nothing has changed then.
 */
choir_status choir_scheduler_complete(choir_scheduler *scheduler, uint64_t step_id,
                                      const choir_row_result *rows, int64_t n_rows,
                                      int64_t now_us) CHOIR_MUST_CHECK;

/* Counters; the first group is of this moment, the second since the start. */
typedef struct choir_scheduler_load {
    int n_running, n_waiting, n_steps_in_flight;
    int64_t n_pages, n_pages_reserved, n_pages_used; /* used: handed out in a step */

    uint64_t n_steps, n_prompt_tokens, n_generated_tokens;
} choir_scheduler_load;

void choir_scheduler_get_load(const choir_scheduler *scheduler, choir_scheduler_load *load);

#endif
