/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/engine_link.h"

#include "common/clock.h"
#include "common/mem.h"
#include "proto/socket.h"
#include "proto/wire.h"

#include <stdlib.h>

enum {
    LINK_MAX_BYTES = 256 << 20, /* of a message: the scores of a long text with many alternatives */
    LINK_SEND_MS = 10000,
};

struct choir_engine_link {
    choir_socket *socket;
    choir_message *message;
    bool was_up; /* once connected */
};

static choir_status link_create(choir_engine_link **link)
{
    choir_status status = choir_alloc(1, sizeof **link, (void **)link);
    if (status == CHOIR_OK)
        status = choir_socket_create(CHOIR_SOCKET_PAIR, LINK_MAX_BYTES, &(*link)->socket);
    if (status == CHOIR_OK)
        status = choir_message_create(&(*link)->message);
    return status;
}

choir_status choir_engine_link_connect(const char *endpoint, choir_engine_link **link)
{
    choir_status status = link_create(link);
    if (status == CHOIR_OK)
        status = choir_socket_connect((*link)->socket, endpoint);
    if (status != CHOIR_OK)
        choir_engine_link_destroy(link);
    return status;
}

choir_status choir_engine_link_bind(const char *endpoint, choir_engine_link **link)
{
    choir_status status = link_create(link);
    if (status == CHOIR_OK)
        status = choir_socket_bind((*link)->socket, endpoint);
    if (status != CHOIR_OK)
        choir_engine_link_destroy(link);
    return status;
}

void choir_engine_link_destroy(choir_engine_link **link)
{
    if (!*link)
        return;
    choir_message_destroy(&(*link)->message);
    choir_socket_destroy(&(*link)->socket);
    free(*link);
    *link = NULL;
}

choir_socket *choir_engine_link_socket(const choir_engine_link *link)
{
    return link->socket;
}

static choir_status link_receive(choir_engine_link *link, int timeout_ms,
                                 const ProtobufCMessageDescriptor *type, ProtobufCMessage **message)
{
    *message = NULL;
    if (!choir_socket_receive(link->socket, link->message)) {
        choir_poll_item item = {.socket = link->socket};
        if (timeout_ms == 0)
            return CHOIR_OK;
        const choir_status status = choir_socket_poll(&item, 1, timeout_ms);
        if (status != CHOIR_OK || !choir_socket_receive(link->socket, link->message))
            return status;
    }
    const choir_part part = choir_message_part(link->message, 0);
    /* Unpacked fields are larger than their bytes: a one-byte varint becomes eight bytes or more.
     */
    return choir_wire_unpack(type, part.bytes, part.length, (size_t)LINK_MAX_BYTES * 8, message);
}

bool choir_engine_link_is_lost(choir_engine_link *link)
{
    const bool is_up = choir_socket_is_up(link->socket);
    link->was_up |= is_up;
    return link->was_up && !is_up;
}

static choir_status link_send(choir_engine_link *link, const ProtobufCMessage *message,
                              int timeout_ms)
{
    uint8_t *bytes;
    size_t length;
    choir_status status = choir_wire_pack(message, 0, &bytes, &length);
    if (status != CHOIR_OK)
        return status;
    const choir_part part = {bytes, length};
    const int64_t deadline = choir_clock_us() + timeout_ms * INT64_C(1000);
    /* Before the first connection a message waits; one whose taker has gone would wait in vain. */
    while (choir_engine_link_is_lost(link) ||
           choir_socket_send(link->socket, &part, 1) != CHOIR_DELIVERED) {
        if (choir_clock_us() >= deadline || choir_engine_link_is_lost(link)) {
            status = choir_fail(CHOIR_EUNAVAILABLE, "the other end of the engine link is gone");
            break;
        }
        choir_clock_sleep_us(1000);
    }
    free(bytes);
    return status;
}

choir_status choir_engine_link_receive(choir_engine_link *link, int timeout_ms,
                                       Choir__Engine__ToEngine **message)
{
    choir_status status = link_receive(link, timeout_ms, &choir__engine__to_engine__descriptor,
                                       (ProtobufCMessage **)message);
    if (*message && (*message)->body_case == CHOIR__ENGINE__TO_ENGINE__BODY__NOT_SET) {
        choir_to_engine_destroy(message);
        status = choir_fail(CHOIR_EFORMAT, "a message to the engine without a body");
    }
    return status;
}

choir_status choir_engine_link_receive_reply(choir_engine_link *link, int timeout_ms,
                                             Choir__Engine__FromEngine **message)
{
    choir_status status = link_receive(link, timeout_ms, &choir__engine__from_engine__descriptor,
                                       (ProtobufCMessage **)message);
    if (*message && (*message)->body_case == CHOIR__ENGINE__FROM_ENGINE__BODY__NOT_SET) {
        choir_from_engine_destroy(message);
        status = choir_fail(CHOIR_EFORMAT, "a message from the engine without a body");
    }
    return status;
}

choir_status choir_engine_link_send(choir_engine_link *link,
                                    const Choir__Engine__FromEngine *message)
{
    return link_send(link, &message->base, LINK_SEND_MS);
}

choir_status choir_engine_link_send_request(choir_engine_link *link,
                                            const Choir__Engine__ToEngine *message)
{
    return link_send(link, &message->base, 0);
}

void choir_to_engine_destroy(Choir__Engine__ToEngine **message)
{
    choir_wire_free(*message ? &(*message)->base : NULL);
    *message = NULL;
}

void choir_from_engine_destroy(Choir__Engine__FromEngine **message)
{
    choir_wire_free(*message ? &(*message)->base : NULL);
    *message = NULL;
}
