/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request inside the scheduler: a list of known tokens (prompt, then what was sampled) of which
 * the first n_scheduled have been put into steps.
 *
 *     tokens   | prompt .............. | sampled ... |
 *              |<-- n_scheduled -->|<--- ready ----->|
 */
#ifndef CHOIR_COORDINATOR_SEQUENCE_H
#define CHOIR_COORDINATOR_SEQUENCE_H

#include "coordinator/scheduler.h"

typedef struct choir_sequence {
    struct choir_sequence *previous, *next; /* in its list */
    choir_sampling sampling;
    uint64_t id;
    int32_t *tokens;   /* [n_prompt + n_new_max], n_tokens of them known */
    int32_t *stop_ids; /* [n_stop_ids] */
    int32_t *pages;    /* [n_reserved], n_pages of them handed out */
    int64_t n_prompt, n_tokens;
    int64_t n_rows;      /* that its prompt needs: n_prompt, a score one fewer */
    int64_t n_new_max;   /* tokens that it may generate */
    int64_t n_scheduled; /* positions put into steps */
    int64_t n_scored;    /* tokens of a score that were told */
    int64_t n_pages, n_reserved;
    int64_t arrival_us, admitted_us, first_token_us;
    int n_stop_ids, n_top, slot;
    int n_in_flight; /* steps that it is part of */
    bool wants_logprobs, is_score, is_admitted;
    bool is_ended; /* its end was told */
} choir_sequence;

/* A doubly linked list; owns nothing by itself. All zero: empty. */
typedef struct choir_sequence_list {
    choir_sequence *first, *last;
    int n;
} choir_sequence_list;

void choir_sequence_append(choir_sequence_list *list, choir_sequence *sequence);
void choir_sequence_remove(choir_sequence_list *list, choir_sequence *sequence);

/*
 * Checks a request against the limits and copies it. EINVALID, naming the field: out of its range,
 * or more than the engine can ever hold; ENOMEM.
 */
choir_status choir_sequence_create(const choir_step_limits *limits, const choir_request *request,
                                   int64_t now_us, choir_sequence **sequence) CHOIR_MUST_CHECK;
void choir_sequence_destroy(choir_sequence **sequence);

/* Known tokens that are not in a step yet; 0 for one that has ended. */
int64_t choir_sequence_ready(const choir_sequence *sequence);
/* Whether all of its prompt is in steps: then it takes one token a step. */
bool choir_sequence_is_decoding(const choir_sequence *sequence);
bool choir_sequence_stops_at(const choir_sequence *sequence, int32_t id);
choir_timings choir_sequence_timings(const choir_sequence *sequence, int64_t now_us);

#endif
