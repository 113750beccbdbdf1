/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The open requests: each goes to the engine once and ends exactly once.
 *
 *     submit ──▶ RUNNING ──engine's finish──────────────▶ DONE ──last chunk delivered──▶ freed
 *                   │                                       ▲
 *                   └─stop string, cancel, client gone─▶ ENDING (aborted; the engine's finish, or 5
 * s)
 *
 * A request whose client is gone has no peer and is freed instead of DONE.
 * Used by the request thread alone.
 */
#ifndef CHOIR_COORDINATOR_FRONTEND_REQUESTS_H
#define CHOIR_COORDINATOR_FRONTEND_REQUESTS_H

#include "coordinator/answer.h"
#include "coordinator/frontend_clients.h"
#include "proto/engine_link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum choir_request_phase {
    CHOIR_REQUEST_RUNNING,
    CHOIR_REQUEST_ENDING,
    CHOIR_REQUEST_DONE,
} choir_request_phase;

enum { CHOIR_REQUEST_SLOTS_MAX = 65536, CHOIR_REQUEST_ID_BYTES = CHOIR_REQUEST_ID_BYTES_MAX + 1 };

struct choir_request {
    choir_request *next, *previous; /* of the same peer */
    choir_peer *peer;               /* NULL: gone */
    uint64_t id;                    /* the engine's; its low 16 bits are the slot */
    char request_id[CHOIR_REQUEST_ID_BYTES];
    bool is_score;
    choir_answer *answer;
    size_t n_prompt, n_cached, n_score_entries;
    choir_request_phase phase;
    int64_t ending_us;
    Choir__Client__FinishReason reason; /* UNSPECIFIED until it is known */
    bool has_stop_token;
    int32_t stop_token;
    Choir__Client__Timings timings;
};

typedef struct choir_requests {
    const choir_frontend_setup *setup; /* borrowed, like the next two */
    choir_clients *clients;
    choir_engine_link *link;
    choir_request **slots; /* [max_requests] */
    size_t n_open;         /* slots taken */
    uint64_t n_submitted;
    uint64_t n_finished, n_prompt_tokens, n_generated_tokens;
} choir_requests;

/* Makes the slots in a struct whose borrowed members are set and whose rest is zero. */
choir_status choir_requests_open(choir_requests *requests) CHOIR_MUST_CHECK;
/* Frees all requests without a word to anybody. */
void choir_requests_close(choir_requests *requests);

/*
 * Checks a request, submits it to the engine and tells the client Accepted, or why not.
 * max_model_len is the engine's.
 */
void choir_requests_generate(choir_requests *requests, choir_peer *peer, uint64_t seq,
                             const Choir__Client__Generate *generate, uint32_t max_model_len,
                             int64_t now_us);
void choir_requests_score(choir_requests *requests, choir_peer *peer, uint64_t seq,
                          const Choir__Client__Score *score, uint32_t max_model_len,
                          int64_t now_us);

/* Ends one request of a peer early. Silent if there is none of that id. */
void choir_requests_cancel(choir_requests *requests, choir_peer *peer, const char *request_id,
                           int64_t now_us);
/* The peer is gone: ends all of its requests and takes them from it. */
void choir_requests_abandon(choir_requests *requests, choir_peer *peer, int64_t now_us);
/* The engine is gone: every request ends with this error. */
void choir_requests_fail_all(choir_requests *requests, choir_error_kind kind, const char *words,
                             int64_t now_us);

/* Takes one output of the engine; those of requests that are no more are ignored. */
void choir_requests_take_output(choir_requests *requests, const Choir__Engine__Output *output,
                                int64_t now_us);
/* Ends requests whose abort the engine did not confirm. */
void choir_requests_check_ending(choir_requests *requests, int64_t now_us);
/* Takes a request off all lists and frees it. */
void choir_requests_free(choir_requests *requests, choir_request *request);

#endif
