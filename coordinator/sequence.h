/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request inside the scheduler: a list of known tokens (prompt, then what was sampled) of which
 * the first n_scheduled are in steps or came from the cache.
 *
 *     tokens   | prompt .............. | sampled ... |
 *              |<-- n_scheduled -->|<--- ready ----->|
 *     pages    |  0  |  1  |  2  |                       page k holds positions [64k, 64k + 64)
 *
 * When it is put back, n_scheduled and its pages are gone and all known tokens are computed again.
 */
#ifndef CHOIR_COORDINATOR_SEQUENCE_H
#define CHOIR_COORDINATOR_SEQUENCE_H

#include "coordinator/page_pool.h"
#include "coordinator/scheduler.h"

typedef struct choir_user choir_user; /* of coordinator/fair_queue.h */

typedef struct choir_sequence {
    struct choir_sequence *previous, *next; /* in its list */
    choir_sampling sampling;
    choir_token_rules *rules; /* NULL: none */
    uint64_t id, user_id;
    choir_user *user;
    int32_t *tokens;        /* [n_prompt + n_new_max] once prepared, n_tokens of them known */
    int32_t *stop_ids;      /* [n_stop_ids] */
    float *embedding;       /* [width], what was pooled so far; NULL: none is wanted */
    int32_t *pages;         /* [n_pages_most] once prepared, n_pages of them held */
    choir_page_name *names; /* [n_pages_most] once prepared, n_names of them known */
    choir_page_name root;   /* what the names begin with */
    int64_t n_prompt, n_tokens;
    int64_t n_rows;       /* that its prompt needs: n_prompt, a score one fewer */
    int64_t n_score_rows; /* of them so many tell of the prompt's own tokens; the first ones */
    int64_t n_new_max;    /* tokens that it may generate */
    int64_t n_scheduled;  /* positions that are in steps or came from the cache */
    int64_t n_refill;     /* positions to compute before it decodes, since it was admitted last */
    int64_t n_scored;     /* tokens of the prompt that were told */
    int64_t width;        /* of the embedding */
    int64_t n_pooled;     /* positions in it */
    int64_t wanted_from;  /* of the prompt's rows that are wanted, the first that still is */
    int64_t n_pages, n_pages_most;
    int64_t n_told;               /* of its pages the ranks know so many */
    int64_t n_names, n_published; /* known names; pages whose name the pool was told */
    int64_t n_cached; /* positions of the prompt that came from the cache, before its answer */
    int64_t arrival_us, admitted_us, first_token_us, deadline_us;
    uint64_t step_id; /* the last step that it is part of */
    int32_t priority;
    int n_stop_ids, n_top, n_prompt_top, slot;
    int n_in_flight;  /* steps that it is part of */
    int n_candidates; /* that its filters want of the shards; 0: they get the whole row */
    choir_pooling pooling;
    bool wants_logprobs, wants_prompt_logprobs, is_score, is_normalized;
    bool is_generating; /* an answer is wanted; else something about the prompt */
    bool needs_row;     /* the candidates proved nothing: the last position comes once more */
    bool is_sharing;    /* its pages have names */
    bool is_waiting, is_running, was_admitted;
    bool is_ended; /* its end was told */
} choir_sequence;

/* A doubly linked list; owns nothing by itself. All zero: empty. */
typedef struct choir_sequence_list {
    choir_sequence *first, *last;
    int n;
} choir_sequence_list;

void choir_sequence_append(choir_sequence_list *list, choir_sequence *sequence);
/* Behind `before`, which is of the list, or at its front where that is NULL. */
void choir_sequence_insert(choir_sequence_list *list, choir_sequence *before,
                           choir_sequence *sequence);
void choir_sequence_remove(choir_sequence_list *list, choir_sequence *sequence);

/*
 * Checks a request against the limits and copies it. EINVALID, naming the field: out of its range,
 * or more than the engine can ever hold; ENOMEM.
 */
choir_status choir_sequence_create(const choir_scheduler_options *options,
                                   const choir_request *request, int64_t now_us,
                                   choir_sequence **sequence) CHOIR_MUST_CHECK;
void choir_sequence_destroy(choir_sequence **sequence);
/*
 * Makes room for its answer and its pages, which it needs before it is admitted the first time:
 * until then it costs little more than its prompt. ENOMEM: nothing has changed.
 */
choir_status choir_sequence_prepare(choir_sequence *sequence) CHOIR_MUST_CHECK;

/* Known tokens that are not in a step yet; 0 for one that has ended. */
int64_t choir_sequence_ready(const choir_sequence *sequence);
/* Whether its next rows tell of the prompt itself. */
bool choir_sequence_is_reading(const choir_sequence *sequence);
/* Whether all that was known when it was admitted is in steps: then it takes one token a step. */
bool choir_sequence_is_decoding(const choir_sequence *sequence);
/*
 * Of two, the one that is put back first where pages run out: of the higher priority number, then
 * the newer one. A strict order, so that one of all sequences always gets on.
 */
bool choir_sequence_yields_to(const choir_sequence *sequence, const choir_sequence *other);
/* The name of its page `index`, all of whose tokens are known. */
const choir_page_name *choir_sequence_page_name(choir_sequence *sequence, int64_t index,
                                                int64_t page_positions);
/* Whether its tokens can be told from the best logits alone: the argmax, and nothing changes them.
 */
bool choir_sequence_is_plain(const choir_sequence *sequence);
bool choir_sequence_stops_at(const choir_sequence *sequence, int32_t id);
choir_timings choir_sequence_timings(const choir_sequence *sequence, int64_t now_us);

#endif
