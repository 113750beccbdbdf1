/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of the front end's faults: a client that may send anything. */
#ifndef CHOIR_TESTS_UNIT_RUDE_CLIENT_H
#define CHOIR_TESTS_UNIT_RUDE_CLIENT_H

#include "proto/envelope.h"
#include "proto/wire.h"
#include "tests/unit/echo_engine.h"

typedef struct rude_client {
    choir_socket *socket;
    choir_message *received;
} rude_client;

static inline rude_client rude_connect(const char *endpoint)
{
    rude_client client = {0};
    assert_int_equal(
        choir_socket_create(CHOIR_SOCKET_DEALER, CHOIR_SERVER_MESSAGE_MAX, &client.socket),
        CHOIR_OK);
    assert_int_equal(choir_socket_connect(client.socket, endpoint), CHOIR_OK);
    assert_int_equal(choir_message_create(&client.received), CHOIR_OK);
    return client;
}

static inline void rude_close(rude_client *client)
{
    choir_message_destroy(&client->received);
    choir_socket_destroy(&client->socket);
}

static inline void rude_send_parts(const rude_client *client, const choir_part *parts,
                                   size_t n_parts)
{
    const int64_t deadline = choir_clock_us() + PATIENCE_US;
    while (choir_socket_send(client->socket, parts, n_parts) != CHOIR_DELIVERED) {
        assert_true(choir_clock_us() < deadline);
        usleep(1000);
    }
}

static inline void rude_send(const rude_client *client, const void *envelope, size_t length)
{
    const choir_part parts[] = {{"CHO1", 5}, {envelope, length}};
    rude_send_parts(client, parts, 2);
}

static inline void rude_send_message(const rude_client *client,
                                     const Choir__Client__ClientMessage *message)
{
    uint8_t *bytes;
    size_t length;
    assert_int_equal(choir_wire_pack(&message->base, 0, &bytes, &length), CHOIR_OK);
    rude_send(client, bytes, length);
    free(bytes);
}

/* The next message but heartbeats; NULL if none comes in time. */
static inline Choir__Client__ServerMessage *rude_receive(const rude_client *client, int timeout_ms)
{
    choir_poll_item item = {.socket = client->socket};
    choir_part frames[2];
    Choir__Client__ServerMessage *message;
    const int64_t deadline = choir_clock_us() + timeout_ms * INT64_C(1000);
    while (!choir_socket_receive(client->socket, client->received)) {
        if (choir_clock_us() > deadline)
            return NULL;
        assert_int_equal(choir_socket_poll(&item, 1, 10), CHOIR_OK);
    }
    assert_int_equal(choir_message_n_parts(client->received), 2);
    for (size_t i = 0; i < 2; i++)
        frames[i] = choir_message_part(client->received, i);
    assert_int_equal(choir_envelope_read_server(frames, 2, &message), CHOIR_OK);
    return message;
}

/* The next message is an Error with this code, field and request. */
static inline void expect_error(const rude_client *client, uint32_t code, const char *param,
                                const char *request_id)
{
    Choir__Client__ServerMessage *message = rude_receive(client, 30000);
    assert_non_null(message);
    assert_int_equal(message->body_case, CHOIR__CLIENT__SERVER_MESSAGE__BODY_ERROR);
    assert_string_equal(message->error->param, param);
    assert_int_equal(message->error->code, code);
    assert_string_equal(message->error->request_id, request_id);
    assert_true(message->error->message[0] != 0);
    choir_server_message_destroy(&message);
}

static inline void expect_kind(const rude_client *client,
                               Choir__Client__ServerMessage__BodyCase kind)
{
    Choir__Client__ServerMessage *message = rude_receive(client, 30000);
    assert_non_null(message);
    assert_int_equal(message->body_case, kind);
    choir_server_message_destroy(&message);
}

/* A good client gets its answer, whatever others do. */
static inline void expect_service(echo_service *service)
{
    choir_client *client = echo_connect(service);
    const choir_generate_request request = echo_request_text("still here", 9);
    echo_answer *answer = echo_generate(client, &request);
    assert_false(answer->is_error);
    assert_int_equal(answer->n_ids, 9);
    free(answer);
    choir_client_destroy(&client);
}

/* A Generate to be changed by a case, and what it points to. */
typedef struct generate_parts {
    Choir__Client__ClientMessage message;
    Choir__Client__Generate generate;
    Choir__Client__SamplingParams sampling;
    Choir__Client__OutputOptions output;
} generate_parts;

static inline void begin_generate(generate_parts *parts, const char *text)
{
    parts->message = (Choir__Client__ClientMessage)CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    parts->generate = (Choir__Client__Generate)CHOIR__CLIENT__GENERATE__INIT;
    parts->sampling = (Choir__Client__SamplingParams)CHOIR__CLIENT__SAMPLING_PARAMS__INIT;
    parts->output = (Choir__Client__OutputOptions)CHOIR__CLIENT__OUTPUT_OPTIONS__INIT;
    parts->message.seq = 1;
    parts->message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_GENERATE;
    parts->message.generate = &parts->generate;
    parts->generate.request_id = (char *)"r";
    parts->generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_TEXT;
    parts->generate.text = (char *)text;
    parts->generate.sampling = &parts->sampling;
    parts->generate.output = &parts->output;
}

static inline void expect_refused(const rude_client *client, const generate_parts *parts,
                                  uint32_t code, const char *param)
{
    rude_send_message(client, &parts->message);
    expect_error(client, code, param, parts->generate.request_id);
}

#endif
