/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to open requests (frontend_table.h) until their end. */
#ifndef CHOIR_COORDINATOR_FRONTEND_REQUESTS_H
#define CHOIR_COORDINATOR_FRONTEND_REQUESTS_H

#include "coordinator/frontend_table.h"

/* Ends one request of a peer early. Silent if there is none of that id. */
void choir_requests_cancel(choir_requests *requests, choir_peer *peer, const char *request_id,
                           int64_t now_us);
/* A request may have so many more chunks. Silent if there is none of that id, or it has no bound.
 */
void choir_requests_add_credit(choir_peer *peer, const char *request_id, uint32_t n_chunks);
/* The peer is gone: ends all of its requests and takes them from it. */
void choir_requests_abandon(choir_requests *requests, choir_peer *peer, int64_t now_us);
/* The engine is gone: every request ends with this error. */
void choir_requests_fail_all(choir_requests *requests, choir_error_kind kind, const char *words,
                             int64_t now_us);

/* Takes one output of the engine; those of requests that are no more are ignored. */
void choir_requests_take_output(choir_requests *requests, const Choir__Engine__Output *output,
                                int64_t now_us);
/* Ends choices whose abort the engine did not confirm. */
void choir_requests_check_ending(choir_requests *requests, int64_t now_us);

/* Has the engine stop a choice. */
void choir_requests_send_abort(choir_requests *requests, const choir_choice *choice);

#endif
