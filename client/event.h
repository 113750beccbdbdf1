/* SPDX-License-Identifier: Apache-2.0 */
/* From the service's messages to events: one message after the other, its events one by one. Pure.
 */
#ifndef CHOIR_CLIENT_EVENT_H
#define CHOIR_CLIENT_EVENT_H

#include "client/client.h"
#include "proto/client.pb-c.h"

typedef struct choir_event_reader choir_event_reader;

choir_status choir_event_reader_create(choir_event_reader **reader) CHOIR_MUST_CHECK;
void choir_event_reader_destroy(choir_event_reader **reader);

/* Takes the next message over; the one before has been read to its end. */
void choir_event_reader_give(choir_event_reader *reader, Choir__Client__ServerMessage **message);
/*
 * The next event of the message, *seq the message's number; *has_event is false at its end, when
 * the message is freed. The event's pointers live until the next call.
 */
choir_status choir_event_read(choir_event_reader *reader, choir_event *event, uint64_t *seq,
                              bool *has_event) CHOIR_MUST_CHECK;

#endif
