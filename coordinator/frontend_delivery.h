/* SPDX-License-Identifier: Apache-2.0 */
/* From finished and growing answers to messages for their client. Used by the request thread alone.
 */
#ifndef CHOIR_COORDINATOR_FRONTEND_DELIVERY_H
#define CHOIR_COORDINATOR_FRONTEND_DELIVERY_H

#include "coordinator/frontend_requests.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Sends a peer what its requests have to say: one Batch, and the Scores and Embeddings that are
 * complete. False if something has to wait, because the client reads too slowly; chunks then go on
 * growing.
 */
bool choir_frontend_deliver(choir_requests *requests, choir_peer *peer, int64_t now_us);

#endif
