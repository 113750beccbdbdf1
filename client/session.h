/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two sockets of a client, what the service said in its welcome, and liveness: the service is
 * gone when its connection is, when it says goodbye, or when nothing came for 15 s while we wait.
 */
#ifndef CHOIR_CLIENT_SESSION_H
#define CHOIR_CLIENT_SESSION_H

#include "common/status.h"
#include "proto/client.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct choir_session choir_session;

typedef enum choir_session_socket {
    CHOIR_SESSION_REQUEST,
    CHOIR_SESSION_CONTROL
} choir_session_socket;

/* Connects both sockets and exchanges Hello and Welcome on the request socket. */
choir_status choir_session_open(const char *endpoint, const char *control_endpoint, int timeout_ms,
                                choir_session **session) CHOIR_MUST_CHECK;
void choir_session_close(choir_session **session);

/* The welcome; lives as long as the session. */
const Choir__Client__Welcome *choir_session_welcome(const choir_session *session);

/* Sends a message under a fresh sequence number, which *seq gets. */
choir_status choir_session_send(choir_session *session, choir_session_socket where,
                                Choir__Client__ClientMessage *message,
                                uint64_t *seq) CHOIR_MUST_CHECK;
/*
 * The next message, waiting up to timeout_ms (-1: until one comes): CHOIR_OK with *message NULL
 * when none came. EUNAVAILABLE: the service is gone. Heartbeats are swallowed. Give the message to
 * choir_server_message_destroy().
 */
choir_status choir_session_receive(choir_session *session, choir_session_socket where,
                                   int timeout_ms,
                                   Choir__Client__ServerMessage **message) CHOIR_MUST_CHECK;

/* The failure that an Error of the service stands for, as this thread's words. */
choir_status choir_session_fail(const Choir__Client__Error *error) CHOIR_MUST_CHECK;

#endif
