/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread: hello, ping, list of models, status and cancel, answered at once whatever the
 * request thread is busy with. It keeps nothing of its clients but the Status requests that wait
 * for the engine's figures, one second at most.
 */
#ifndef CHOIR_COORDINATOR_FRONTEND_CONTROL_H
#define CHOIR_COORDINATOR_FRONTEND_CONTROL_H

#include "coordinator/frontend_shared.h"
#include "proto/socket.h"

typedef struct choir_frontend_control {
    choir_frontend_shared *shared; /* borrowed */
    choir_socket *socket;          /* bound; owned by the thread while it runs */
} choir_frontend_control;

/* The thread's function, for pthread_create(); takes a choir_frontend_control, gives NULL. */
void *choir_frontend_control_run(void *control);

/* Fills a Models with the one model; also used on the request socket. */
void choir_frontend_model(choir_frontend_shared *shared, Choir__Client__Model *model);

/*
 * Errors about frames, at most so many: 100 at once and 20 a second. Whether one more may be sent.
 */
typedef struct choir_error_budget {
    double n_left;
    int64_t since_us;
} choir_error_budget;
bool choir_error_budget_take(choir_error_budget *budget, int64_t now_us);

#endif
