/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of the client protocol: frame 0 is the tag, "CHO1" and a byte of flags (0), frame 1
 * the envelope, a ClientMessage or ServerMessage of client.proto. A ROUTER sees the peer's routing
 * id in front of them.
 */
#ifndef CHOIR_PROTO_ENVELOPE_H
#define CHOIR_PROTO_ENVELOPE_H

#include "proto/client.pb-c.h"
#include "proto/errors.h"
#include "proto/socket.h"

enum {
    CHOIR_PROTOCOL = 1,
    CHOIR_CLIENT_MESSAGE_MAX = 8 << 20,   /* bytes of a frame from a client */
    CHOIR_CLIENT_UNPACKED_MAX = 64 << 20, /* memory that one may unpack to */
    CHOIR_SERVER_MESSAGE_MAX = 64 << 20,
    CHOIR_SERVER_UNPACKED_MAX = 1 << 30,
};

/*
 * Reads a client's message from its frames (without the routing id). *kind is CHOIR_ERROR_NONE or
 * says what is wrong, *field then which field or message ("" if none). *message may be there even
 * so, for its seq and request id; it is NULL if the bytes are no envelope. Give it back to
 * choir_client_message_destroy(). ENOMEM is told as CHOIR_ERROR_MALFORMED. Pure.
 */
void choir_envelope_read_client(const choir_part *frames, size_t n_frames,
                                Choir__Client__ClientMessage **message, choir_error_kind *kind,
                                const char **field);
/* Reads a service's message: EFORMAT if it is none. Fields that are not known are skipped. Pure. */
choir_status choir_envelope_read_server(const choir_part *frames, size_t n_frames,
                                        Choir__Client__ServerMessage **message) CHOIR_MUST_CHECK;

/*
 * Sends one envelope; `peer` is the routing id for a ROUTER, NULL for a DEALER. Memory that is out
 * counts as CHOIR_FULL.
 */
choir_delivery choir_envelope_send(choir_socket *socket, const choir_part *peer,
                                   const ProtobufCMessage *message) CHOIR_MUST_CHECK;
/* The same for an envelope that choir_wire_pack() made. */
choir_delivery choir_envelope_send_packed(choir_socket *socket, const choir_part *peer,
                                          choir_part envelope) CHOIR_MUST_CHECK;

/* Accept NULL, null the pointer. */
void choir_client_message_destroy(Choir__Client__ClientMessage **message);
void choir_server_message_destroy(Choir__Client__ServerMessage **message);

#endif
