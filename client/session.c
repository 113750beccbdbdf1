/* SPDX-License-Identifier: Apache-2.0 */
#include "client/session.h"

#include "common/clock.h"
#include "common/mem.h"
#include "proto/endpoint.h"
#include "proto/envelope.h"
#include "proto/socket.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SILENCE_US = 15000000, TURN_MS = 1000 };

struct choir_session {
    choir_socket *sockets[2]; /* by choir_session_socket */
    choir_message *received;
    Choir__Client__ServerMessage *welcome;
    char endpoint[CHOIR_ENDPOINT_BYTES];
    uint64_t seq;
    size_t n_lost; /* connections of the request socket before the welcome */
};

static choir_status fail_gone(const choir_session *session, const char *how)
{
    return choir_fail(CHOIR_EUNAVAILABLE, "the service at %s %s", session->endpoint, how);
}

static choir_status connect_socket(choir_session *session, choir_session_socket where,
                                   const char *endpoint)
{
    choir_socket **socket = &session->sockets[where];
    if (strncmp(endpoint, "ipc://", 6) == 0 && access(endpoint + 6, F_OK) != 0)
        return choir_fail(CHOIR_EUNAVAILABLE,
                          "no service at %s; start one with choir serve, or see --connection-file",
                          endpoint);
    const choir_status status =
        choir_socket_create(CHOIR_SOCKET_DEALER, CHOIR_SERVER_MESSAGE_MAX, socket);
    return status == CHOIR_OK ? choir_socket_connect(*socket, endpoint) : status;
}

static choir_status say_hello(choir_session *session)
{
    static char name[] = "choir " CHOIR_VERSION;
    Choir__Client__Hello hello = CHOIR__CLIENT__HELLO__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    uint64_t seq;
    hello.protocol = CHOIR_PROTOCOL;
    hello.client = name;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_HELLO;
    message.hello = &hello;
    return choir_session_send(session, CHOIR_SESSION_REQUEST, &message, &seq);
}

static choir_status await_welcome(choir_session *session, int64_t deadline_us)
{
    Choir__Client__ServerMessage *message = NULL;
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && !message) {
        const int64_t left_us = deadline_us - choir_clock_us();
        if (left_us <= 0)
            return choir_fail(CHOIR_EUNAVAILABLE,
                              "no service answers at %s; start one with choir serve",
                              session->endpoint);
        status = choir_session_receive(session, CHOIR_SESSION_REQUEST, (int)(left_us / 1000) + 1,
                                       &message);
    }
    if (status != CHOIR_OK)
        return status;
    if (message->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_WELCOME) {
        session->welcome = message;
        session->n_lost = choir_socket_n_lost(session->sockets[CHOIR_SESSION_REQUEST]);
        return CHOIR_OK;
    }
    status = message->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_ERROR
                 ? choir_session_fail(message->error)
                 : choir_fail(CHOIR_EFORMAT, "the service at %s does not answer a hello",
                              session->endpoint);
    choir_server_message_destroy(&message);
    return status;
}

choir_status choir_session_open(const char *endpoint, const char *control_endpoint, int timeout_ms,
                                choir_session **session)
{
    char control[CHOIR_ENDPOINT_BYTES];
    const int64_t deadline_us = choir_clock_us() + timeout_ms * INT64_C(1000);
    *session = NULL;
    choir_status status = choir_endpoint_control(endpoint, control);
    if (status != CHOIR_OK)
        return status;
    status = choir_alloc(1, sizeof **session, (void **)session);
    if (status != CHOIR_OK)
        return status;
    memcpy((*session)->endpoint, endpoint, strlen(endpoint) + 1);
    status = choir_message_create(&(*session)->received);
    if (status == CHOIR_OK)
        status = connect_socket(*session, CHOIR_SESSION_REQUEST, endpoint);
    if (status == CHOIR_OK)
        status = connect_socket(*session, CHOIR_SESSION_CONTROL,
                                control_endpoint ? control_endpoint : control);
    if (status == CHOIR_OK)
        status = say_hello(*session);
    if (status == CHOIR_OK)
        status = await_welcome(*session, deadline_us);
    if (status != CHOIR_OK)
        choir_session_close(session);
    return status;
}

void choir_session_close(choir_session **session)
{
    if (!*session)
        return;
    choir_socket_destroy(&(*session)->sockets[CHOIR_SESSION_REQUEST]);
    choir_socket_destroy(&(*session)->sockets[CHOIR_SESSION_CONTROL]);
    choir_message_destroy(&(*session)->received);
    choir_server_message_destroy(&(*session)->welcome);
    free(*session);
    *session = NULL;
}

const Choir__Client__Welcome *choir_session_welcome(const choir_session *session)
{
    return session->welcome->welcome;
}

choir_status choir_session_send(choir_session *session, choir_session_socket where,
                                Choir__Client__ClientMessage *message, uint64_t *seq)
{
    message->seq = *seq = ++session->seq;
    if (choir_envelope_send(session->sockets[where], NULL, &message->base) == CHOIR_DELIVERED)
        return CHOIR_OK;
    return choir_fail(CHOIR_ENOMEM, "no memory for a message");
}

static choir_status read_message(choir_session *session, Choir__Client__ServerMessage **message)
{
    choir_part frames[CHOIR_MESSAGE_PARTS];
    const size_t n = choir_message_n_parts(session->received);
    for (size_t i = 0; i < n && i < CHOIR_MESSAGE_PARTS; i++)
        frames[i] = choir_message_part(session->received, i);
    choir_status status = choir_envelope_read_server(frames, n, message);
    if (status != CHOIR_OK)
        return status;
    if ((*message)->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_GOODBYE) {
        choir_server_message_destroy(message);
        return fail_gone(session, "is shutting down");
    }
    /* A heartbeat, or an answer of a newer service that we never asked for. */
    if ((*message)->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY__NOT_SET ||
        ((*message)->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_PONG && (*message)->seq == 0))
        choir_server_message_destroy(message);
    return CHOIR_OK;
}

/* Waits at most one turn for something on the socket, taking it. */
static choir_status wait_turn(choir_session *session, choir_socket *socket, int64_t left_us,
                              bool *has_message)
{
    choir_poll_item item = {.socket = socket};
    const int turn_ms = left_us < TURN_MS * 1000 ? (int)((left_us + 999) / 1000) : TURN_MS;
    *has_message = choir_socket_receive(socket, session->received);
    if (*has_message || left_us <= 0)
        return CHOIR_OK;
    const choir_status status = choir_socket_poll(&item, 1, turn_ms);
    if (status == CHOIR_OK)
        *has_message = choir_socket_receive(socket, session->received);
    return status;
}

/* A connection made again is that of another client to the service: our requests have ended. */
static bool is_lost(const choir_session *session)
{
    choir_socket *socket = session->sockets[CHOIR_SESSION_REQUEST];
    return !choir_socket_is_up(socket) || choir_socket_n_lost(socket) != session->n_lost;
}

choir_status choir_session_receive(choir_session *session, choir_session_socket where,
                                   int timeout_ms, Choir__Client__ServerMessage **message)
{
    choir_socket *socket = session->sockets[where];
    const int64_t start_us = choir_clock_us();
    int64_t heard_us = start_us;
    *message = NULL;
    for (;;) {
        const int64_t now_us = choir_clock_us();
        const int64_t left_us =
            timeout_ms < 0 ? INT64_MAX : start_us + timeout_ms * INT64_C(1000) - now_us;
        bool has_message;
        choir_status status = wait_turn(session, socket, left_us, &has_message);
        if (status == CHOIR_OK && has_message) {
            heard_us = now_us;
            status = read_message(session, message);
        } else if (status == CHOIR_OK && session->welcome && is_lost(session)) {
            status = fail_gone(session, "is gone");
        } else if (status == CHOIR_OK && now_us - heard_us > SILENCE_US) {
            status = fail_gone(session, "has not answered for 15 s");
        }
        if (status != CHOIR_OK || *message || (!has_message && left_us <= 0))
            return status;
    }
}

choir_status choir_session_fail(const Choir__Client__Error *error)
{
    return choir_fail(choir_status_of_code(error->code), "%s%s%s", error->param,
                      error->param[0] ? ": " : "", error->message);
}
