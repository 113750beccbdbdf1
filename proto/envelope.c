/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/envelope.h"

#include "proto/wire.h"

#include <stdlib.h>
#include <string.h>

static const char tag[5] = {'C', 'H', 'O', '1', 0};

static choir_error_kind check_frames(const choir_part *frames, size_t n_frames)
{
    if (n_frames != 2)
        return CHOIR_ERROR_FRAMES;
    if (frames[0].length != sizeof tag || memcmp(frames[0].bytes, tag, sizeof tag) != 0)
        return CHOIR_ERROR_TAG;
    if (frames[1].length == 0)
        return CHOIR_ERROR_BODY;
    return CHOIR_ERROR_NONE;
}

void choir_envelope_read_client(const choir_part *frames, size_t n_frames,
                                Choir__Client__ClientMessage **message, choir_error_kind *kind,
                                const char **field)
{
    static const choir_error_kind kinds[] = {
        [CHOIR_WIRE_OK] = CHOIR_ERROR_NONE,
        [CHOIR_WIRE_MALFORMED] = CHOIR_ERROR_MALFORMED,
        [CHOIR_WIRE_UNKNOWN] = CHOIR_ERROR_UNKNOWN_FIELD,
        [CHOIR_WIRE_TEXT] = CHOIR_ERROR_TEXT,
    };
    const ProtobufCMessageDescriptor *type = &choir__client__client_message__descriptor;
    *message = NULL;
    *field = "";
    *kind = check_frames(frames, n_frames);
    if (*kind != CHOIR_ERROR_NONE)
        return;
    *kind = kinds[choir_wire_check(type, frames[1].bytes, frames[1].length, false, field)];
    if (*kind == CHOIR_ERROR_MALFORMED)
        return;
    if (choir_wire_unpack(type, frames[1].bytes, frames[1].length, CHOIR_CLIENT_UNPACKED_MAX,
                          (ProtobufCMessage **)message) != CHOIR_OK)
        *kind = CHOIR_ERROR_MALFORMED;
    else if (*kind == CHOIR_ERROR_NONE &&
             (*message)->body_case == CHOIR__CLIENT__CLIENT_MESSAGE__BODY__NOT_SET)
        *kind = CHOIR_ERROR_BODY;
}

choir_status choir_envelope_read_server(const choir_part *frames, size_t n_frames,
                                        Choir__Client__ServerMessage **message)
{
    const ProtobufCMessageDescriptor *type = &choir__client__server_message__descriptor;
    const char *field = "";
    *message = NULL;
    if (check_frames(frames, n_frames) != CHOIR_ERROR_NONE ||
        choir_wire_check(type, frames[1].bytes, frames[1].length, true, &field) != CHOIR_WIRE_OK)
        return choir_fail(CHOIR_EFORMAT, "the service sent something that is no message%s%s",
                          field[0] ? "; field " : "", field);
    return choir_wire_unpack(type, frames[1].bytes, frames[1].length, CHOIR_SERVER_UNPACKED_MAX,
                             (ProtobufCMessage **)message);
}

choir_delivery choir_envelope_send_packed(choir_socket *socket, const choir_part *peer,
                                          choir_part envelope)
{
    const choir_part frame = {tag, sizeof tag};
    const choir_part parts[] = {peer ? *peer : frame, frame, envelope};
    const size_t first = peer ? 0 : 1;
    return choir_socket_send(socket, parts + first, 3 - first);
}

choir_delivery choir_envelope_send(choir_socket *socket, const choir_part *peer,
                                   const ProtobufCMessage *message)
{
    uint8_t *bytes;
    size_t length;
    if (choir_wire_pack(message, 0, &bytes, &length) != CHOIR_OK)
        return CHOIR_FULL;
    const choir_delivery delivery =
        choir_envelope_send_packed(socket, peer, (choir_part){bytes, length});
    free(bytes);
    return delivery;
}

void choir_client_message_destroy(Choir__Client__ClientMessage **message)
{
    choir_wire_free(*message ? &(*message)->base : NULL);
    *message = NULL;
}

void choir_server_message_destroy(Choir__Client__ServerMessage **message)
{
    choir_wire_free(*message ? &(*message)->base : NULL);
    *message = NULL;
}
