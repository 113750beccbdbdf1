/* SPDX-License-Identifier: Apache-2.0 */
/* The answers to Tokenize and Detokenize. Used by the request thread alone. */
#ifndef CHOIR_COORDINATOR_FRONTEND_TEXT_H
#define CHOIR_COORDINATOR_FRONTEND_TEXT_H

#include "coordinator/frontend_clients.h"

void choir_frontend_tokenize(choir_clients *clients, const choir_frontend_setup *setup,
                             choir_peer *peer, uint64_t seq, const Choir__Client__Tokenize *what,
                             int64_t now_us);
void choir_frontend_detokenize(choir_clients *clients, const choir_frontend_setup *setup,
                               choir_peer *peer, uint64_t seq,
                               const Choir__Client__Detokenize *what, int64_t now_us);

#endif
