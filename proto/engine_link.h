/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link between the front end and the lead rank: one ZeroMQ PAIR socket that carries the
 * messages of engine.proto, one a frame. The front end binds, the lead connects; `inproc://` works
 * inside one process because every socket of a process shares one ZeroMQ context.
 *
 * The messages are the structs that protoc-c makes (Choir__Engine__ToEngine and …FromEngine): a
 * sender fills one on its stack after …__init() and points to its own memory, which send only
 * reads; a receiver owns what it got and gives it back to choir_to_engine_destroy() /
 * choir_from_engine_destroy(). A received message has a body (body_case is set); what the body
 * holds is still to be checked.
 *
 * One thread uses a link at a time.
 */
#ifndef CHOIR_PROTO_ENGINE_LINK_H
#define CHOIR_PROTO_ENGINE_LINK_H

#include "common/status.h"
#include "proto/engine.pb-c.h"
#include "proto/socket.h"

#include <stdbool.h>

typedef struct choir_engine_link choir_engine_link;

/* The lead's side. Does not wait for the other side: messages are queued until it is there. */
choir_status choir_engine_link_connect(const char *endpoint,
                                       choir_engine_link **link) CHOIR_MUST_CHECK;
/* The front end's side. EIO if the endpoint cannot be bound. */
choir_status choir_engine_link_bind(const char *endpoint,
                                    choir_engine_link **link) CHOIR_MUST_CHECK;
/* What was sent leaves within a second or is dropped. */
void choir_engine_link_destroy(choir_engine_link **link);

/*
 * The lead: waits up to timeout_ms (0: looks only, -1: for ever) for a message. CHOIR_OK with
 * *message NULL when none came. EFORMAT: a message that is none of engine.proto; it is dropped.
 */
choir_status choir_engine_link_receive(choir_engine_link *link, int timeout_ms,
                                       Choir__Engine__ToEngine **message) CHOIR_MUST_CHECK;
/* EUNAVAILABLE: the front end is gone, or took nothing for 10 s. */
choir_status choir_engine_link_send(choir_engine_link *link,
                                    const Choir__Engine__FromEngine *message) CHOIR_MUST_CHECK;
/*
 * Whether the other side was connected, when something was sent or this was asked, and is no
 * longer: a lead that sees this has lost its front end, and ends.
 */
bool choir_engine_link_is_lost(choir_engine_link *link);

/* The front end: the same the other way round; its send does not wait. */
choir_status choir_engine_link_receive_reply(choir_engine_link *link, int timeout_ms,
                                             Choir__Engine__FromEngine **message) CHOIR_MUST_CHECK;
choir_status
choir_engine_link_send_request(choir_engine_link *link,
                               const Choir__Engine__ToEngine *message) CHOIR_MUST_CHECK;

/* For choir_socket_poll() beside other sockets; borrowed. */
choir_socket *choir_engine_link_socket(const choir_engine_link *link);

/* Accept NULL, null the pointer. */
void choir_to_engine_destroy(Choir__Engine__ToEngine **message);
void choir_from_engine_destroy(Choir__Engine__FromEngine **message);

#endif
