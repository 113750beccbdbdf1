/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client has on its way: requests that the service has no room for yet, requests that it
 * has, and messages that came and were not made into events yet. Knows nothing of what is asked.
 */
#ifndef CHOIR_CLIENT_QUEUE_H
#define CHOIR_CLIENT_QUEUE_H

#include "client/event.h"
#include "client/session.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct choir_queue choir_queue;

/* Borrows the session as long as it lives. */
choir_status choir_queue_create(choir_session *session, choir_queue **queue) CHOIR_MUST_CHECK;
void choir_queue_destroy(choir_queue **queue);

/* Copies a Generate, Score or Embed of this id, and sends it as soon as the service has room. */
choir_status choir_queue_start(choir_queue *queue, const Choir__Client__ClientMessage *message,
                               const char *id) CHOIR_MUST_CHECK;
/* Sends what there is room for. */
choir_status choir_queue_send(choir_queue *queue) CHOIR_MUST_CHECK;
/* Every open request is lost. */
void choir_queue_forget(choir_queue *queue);

typedef enum choir_queue_state {
    CHOIR_QUEUE_NONE, /* no such request is open */
    CHOIR_QUEUE_WAITING,
    CHOIR_QUEUE_SENT,
    CHOIR_QUEUE_ACCEPTED, /* the service has told of it */
} choir_queue_state;

choir_queue_state choir_queue_look(const choir_queue *queue, const char *id);
bool choir_queue_is_empty(const choir_queue *queue); /* no request is open */
/* Ends a WAITING request, with an event as if the service had cancelled it. */
choir_status choir_queue_drop(choir_queue *queue, const char *id) CHOIR_MUST_CHECK;

/* Takes a message over, for its events. */
choir_status choir_queue_keep(choir_queue *queue,
                              Choir__Client__ServerMessage **message) CHOIR_MUST_CHECK;
/* The next event for an open request, of what was kept; *has_event is false if there is none. */
choir_status choir_queue_take(choir_queue *queue, choir_event *event,
                              bool *has_event) CHOIR_MUST_CHECK;

#endif
