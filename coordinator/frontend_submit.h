/* SPDX-License-Identifier: Apache-2.0 */
/* How requests begin: checked, made into tokens, handed to the engine, accepted. */
#ifndef CHOIR_COORDINATOR_FRONTEND_SUBMIT_H
#define CHOIR_COORDINATOR_FRONTEND_SUBMIT_H

#include "coordinator/frontend_requests.h"

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
void choir_requests_embed(choir_requests *requests, choir_peer *peer, uint64_t seq,
                          const Choir__Client__Embed *embed, uint32_t max_model_len,
                          int64_t now_us);

#endif
