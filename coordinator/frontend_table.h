/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The open requests. Each has one or more answers (its choices), which are sequences of their own
 * for the engine; each choice goes to the engine once and ends exactly once.
 *
 *     submit ──▶ RUNNING ──engine's finish──────────────▶ DONE ──last chunk delivered──▶ freed
 *                   │                                       ▲
 *                   └─stop string, cancel, client gone─▶ ENDING (aborted; the engine's finish, or 5
 * s)
 *
 * An error ends all choices of its request. A request whose client is gone, or was told of an
 * error, has no peer; its choices are freed instead of DONE. A request is freed with its last one.
 * Used by the request thread alone.
 */
#ifndef CHOIR_COORDINATOR_FRONTEND_TABLE_H
#define CHOIR_COORDINATOR_FRONTEND_TABLE_H

#include "coordinator/answer.h"
#include "coordinator/frontend_clients.h"
#include "proto/engine_link.h"
#include "proto/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum choir_request_kind {
    CHOIR_REQUEST_GENERATE,
    CHOIR_REQUEST_SCORE, /* these two have one message, at their end */
    CHOIR_REQUEST_EMBED,
} choir_request_kind;

typedef enum choir_request_phase {
    CHOIR_REQUEST_RUNNING,
    CHOIR_REQUEST_ENDING,
    CHOIR_REQUEST_DONE,
} choir_request_phase;

enum { CHOIR_REQUEST_SLOTS_MAX = 65536, CHOIR_REQUEST_ID_BYTES = CHOIR_REQUEST_ID_BYTES_MAX + 1 };

/* One answer of a request. */
typedef struct choir_choice {
    choir_request *request;
    uint64_t id; /* the engine's; its low 16 bits are the slot */
    uint32_t index;
    choir_answer *answer; /* NULL: freed */
    choir_answer *prompt; /* log-probabilities of the prompt's tokens; NULL: not asked for */
    float *embedding;     /* [n_embedding]; NULL: none came yet */
    size_t n_embedding;
    size_t n_cached;
    choir_request_phase phase;
    int64_t ending_us;                  /* since when it is ENDING or DONE */
    Choir__Client__FinishReason reason; /* UNSPECIFIED until it is known */
    bool has_stop_token;
    int32_t stop_token;
    Choir__Client__Timings timings;
    int64_t output_us; /* of its last tokens; 0: none yet */
    bool is_counted;   /* in the metrics, as ended */
} choir_choice;

struct choir_request {
    choir_request *next, *previous; /* of the same peer */
    choir_peer *peer;               /* NULL: gone */
    char request_id[CHOIR_REQUEST_ID_BYTES];
    choir_request_kind kind;
    bool is_streamed; /* else a choice has one chunk, at its end */
    bool has_credit;  /* only so many chunks may be sent: */
    uint64_t credit;
    size_t n_prompt, n_score_entries;
    int64_t submitted_us;
    size_t n_choices, n_left; /* of them not freed */
    choir_choice choices[];   /* [n_choices] */
};

typedef struct choir_requests {
    const choir_frontend_setup *setup; /* borrowed, like the next two */
    choir_clients *clients;
    choir_engine_link *link;
    choir_choice **slots; /* [max_requests] */
    size_t n_open;        /* slots taken */
    uint64_t n_submitted;
    uint64_t n_finished, n_prompt_tokens, n_generated_tokens;
    choir_request_metrics metrics;
} choir_requests;

/* Makes the slots in a struct whose borrowed members are set and whose rest is zero. */
choir_status choir_requests_open(choir_requests *requests) CHOIR_MUST_CHECK;
/* Frees all requests without a word to anybody. */
void choir_requests_close(choir_requests *requests);

/* What a new request is made of. */
typedef struct choir_request_plan {
    const char *request_id;
    choir_request_kind kind;
    choir_answer_options answer;
    size_t n_choices, n_score_entries;
    bool wants_prompt; /* log-probabilities of its tokens, beside an answer */
} choir_request_plan;

/* A request of this peer with all of its choices, for which there is room. NULL: no memory. */
choir_request *choir_requests_add(choir_requests *requests, choir_peer *peer,
                                  const choir_request_plan *plan);
/* NULL: there is none. */
choir_choice *choir_requests_find_engine_id(const choir_requests *requests, uint64_t id);
choir_request *choir_requests_find(const choir_peer *peer, const char *request_id);

/* Its peer knows it no more. */
void choir_requests_take_from_peer(choir_request *request);
/* Frees a choice; its request stays, even without any. */
void choir_requests_drop_choice(choir_requests *requests, choir_choice *choice);
void choir_requests_free_if_empty(choir_requests *requests, choir_request *request);
/* Frees a choice, and its request with the last one. */
void choir_requests_free(choir_requests *requests, choir_choice *choice);
/* Frees a request whatever state its choices have. */
void choir_requests_free_all(choir_requests *requests, choir_request *request);

#endif
