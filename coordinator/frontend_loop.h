/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request thread: one loop over the request socket, the engine link and wake-ups. A flood on
 * one of them cannot starve the others, for each gets so many messages a turn.
 */
#ifndef CHOIR_COORDINATOR_FRONTEND_LOOP_H
#define CHOIR_COORDINATOR_FRONTEND_LOOP_H

#include "coordinator/frontend_shared.h"
#include "proto/engine_link.h"
#include "proto/socket.h"

typedef struct choir_frontend_loop {
    choir_frontend_shared *shared; /* borrowed */
    choir_engine_link *link;       /* bound; owned by the thread while it runs, like the socket */
    choir_socket *socket;          /* bound; NULL: no clients are served */
} choir_frontend_loop;

/* The thread's function, for pthread_create(); takes a choir_frontend_loop, gives NULL. */
void *choir_frontend_loop_run(void *loop);

#endif
