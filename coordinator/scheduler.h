/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler: decides what the ranks compute next (continuous batching). Pure: no I/O, time is
 * an argument; the lead rank feeds it requests and results and broadcasts the steps it makes.
 *
 *     submit ──▶ waiting ──(slot, pages)──▶ running: prefill ──▶ decode ──▶ ended
 *                   ▲                          │                    │
 *                   └──── put back: pages ran out, or another user has far less
 *
 * A step takes a token of each decoding sequence and fills its other rows with chunks of prompts,
 * as many as --max-num-batched-tokens and --max-step-ms allow. Up to n_stages steps are in flight;
 * they complete in order.
 *
 * By unison no decision can change an answer, so all of them are free: whose turn it is (priority,
 * then fair among users: fair_queue.h), who is put back and computed again when pages run out (the
 * newest), which full pages are shared (those of equal content: page_pool.h). A sequence whose next
 * page is just being computed by another one waits for it.
 *
 * One of all running sequences is in front of all others (choir_sequence_yields_to) and never put
 * back for another one's pages, and a request that needs more pages than there are is refused: so
 * one can always finish.
 */
#ifndef CHOIR_COORDINATOR_SCHEDULER_H
#define CHOIR_COORDINATOR_SCHEDULER_H

#include "common/status.h"
#include "coordinator/pooling.h"
#include "coordinator/sampler.h"
#include "coordinator/token_rules.h"
#include "proto/step.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHOIR_MAX_STOP_IDS = 256,     /* of one request */
    CHOIR_DEFAULT_WAITING = 4096, /* requests that may wait */
    CHOIR_PRIORITY_MAX = 1000,    /* priorities are -1,000 to 1,000 */
};

#define CHOIR_TIMEOUT_MAX_US INT64_C(1000000000000) /* 11 days */

typedef struct choir_request {
    uint64_t id;              /* never used twice */
    uint64_t user_id;         /* whom fairness is for, and who may share its pages */
    int32_t priority;         /* lower goes first */
    int64_t timeout_us;       /* from now to its end; 0: none */
    const void *cache_salt;   /* [n_cache_salt], copied: all that give the same share pages */
    size_t n_cache_salt;      /* 0: none */
    uint64_t group_id;        /* 0: none; those of one share pages also where none are kept */
    const int32_t *token_ids; /* [n_token_ids] the prompt, copied */
    int64_t n_token_ids;
    choir_sampling sampling;
    choir_token_wishes wishes; /* copied */
    int64_t max_tokens; /* > 0; read where something is generated; cut where the context ends */
    const int32_t *stop_token_ids; /* copied */
    int n_stop_token_ids;
    bool wants_logprobs;
    int n_top;     /* alternatives a token, 0..CHOIR_STEP_MAX_TOP */
    bool is_score; /* log-probabilities of the prompt's own tokens, nothing generated */
    bool wants_prompt_logprobs; /* those, and then an answer */
    int n_prompt_top;           /* alternatives for each of those */
    choir_pooling pooling;      /* wanted is an embedding of the prompt, nothing generated */
    bool is_normalized;         /* the embedding has length 1 */
} choir_request;

/* Values are those of FinishReason in proto/engine.proto. */
typedef enum choir_finish {
    CHOIR_FINISH_NONE = 0,
    CHOIR_FINISH_STOP = 1, /* a stop token id, which is the last token listed */
    CHOIR_FINISH_LENGTH = 2,
    CHOIR_FINISH_ABORT = 3,
    CHOIR_FINISH_ERROR = 4,
    CHOIR_FINISH_SCORED = 5,
    CHOIR_FINISH_EMBEDDED = 6,
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
    bool is_prompt;         /* they are the prompt's */
    const float *embedding; /* [n_embedding] with CHOIR_FINISH_EMBEDDED */
    int64_t n_embedding;
    choir_finish finish;
    choir_status status;    /* CHOIR_OK, but with CHOIR_FINISH_ERROR */
    const char *error;      /* a fixed text; "" unless CHOIR_FINISH_ERROR */
    int64_t n_cached;       /* with a finish: tokens of the prompt that came from the cache */
    choir_timings timings;  /* with a finish */
    int64_t retry_after_us; /* of a refusal, by the caller of submit(); 0: none */
} choir_output;

/* Takes an output. Pointers in it are valid during the call; it may not call the scheduler. */
typedef void (*choir_output_fn)(void *context, const choir_output *output);

typedef struct choir_scheduler_options {
    choir_step_limits limits;
    int64_t width;       /* D, of the states that embeddings are made of; > 0 */
    int n_stages;        /* steps in flight, >= 1 */
    int max_waiting;     /* 0: CHOIR_DEFAULT_WAITING */
    bool keeps_pages;    /* for later requests with the same beginning */
    int64_t max_step_us; /* prompts leave a step that decodes at that, where they can; 0: at 1.5
                          * times what its decodes cost alone */
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

/* How long a client that was told that the queue is full should wait: 100 ms to a minute. */
int64_t choir_scheduler_retry_after_us(const choir_scheduler *scheduler, int64_t now_us);

/*
 * Ends a request with CHOIR_FINISH_ABORT; an id that is not there is no error. What it holds is
 * free at once.
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
    int64_t n_pages, n_pages_used, n_pages_kept; /* kept: for later, taken when needed */

    uint64_t n_steps, n_prompt_tokens, n_generated_tokens;
    uint64_t n_preemptions;
    uint64_t n_cache_queries, n_cache_hits; /* tokens that were looked for and found */
    uint64_t n_shared_waits;                /* turns spent waiting for another one's page */
    uint64_t n_rows_gathered;               /* whole rows of logits that the sampler needed */
} choir_scheduler_load;

void choir_scheduler_get_load(const choir_scheduler *scheduler, choir_scheduler_load *load);

#endif
