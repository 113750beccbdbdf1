/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault list's T16 to T29, as far as they can be shown without a model: what clients do wrong
 * costs them, and nobody else. T20 to T22: test_frontend_fields.c.
 */
#include "tests/unit/rude_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <zmq.h>

static uint64_t bad_frames(echo_service *service)
{
    choir_frontend_counters counters;
    choir_frontend_count(service->frontend, &counters);
    return counters.n_bad_frames;
}

static void wait_bad_frames(echo_service *service, uint64_t n)
{
    const int64_t deadline = choir_clock_us() + PATIENCE_US;
    while (bad_frames(service) < n) {
        assert_true(choir_clock_us() < deadline);
        usleep(1000);
    }
    assert_int_equal(bad_frames(service), n);
}

static size_t resident_bytes(void)
{
#ifdef __SANITIZE_ADDRESS__
    return 0; /* it keeps what was freed */
#endif
    size_t pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu", &pages, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static int connect_raw(const char *endpoint)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1));
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void t16_strangers_on_the_port_do_no_harm(void **state)
{
    enum { HALF_OPEN = 200 };
    static const char http[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                      tls[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    echo_service *service = calloc(1, sizeof *service);
    int fds[HALF_OPEN + 3];
    char noise[4096];
    uint32_t seed = 1;
    (void)state;
    echo_open_frontend(service, "tcp://127.0.0.1:*", 0);
    echo_open_engine(service, ECHO_MAX_LEN);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)((seed = seed * 1664525u + 1013904223u) >> 24);
    for (int i = 0; i < HALF_OPEN + 3; i++)
        fds[i] = connect_raw(i % 2 ? choir_frontend_endpoint(service->frontend)
                                   : choir_frontend_control_endpoint(service->frontend));
    assert_true(send(fds[0], http, sizeof http - 1, MSG_NOSIGNAL) > 0);
    assert_true(send(fds[1], tls, sizeof tls - 1, MSG_NOSIGNAL) > 0);
    assert_true(send(fds[2], noise, sizeof noise, MSG_NOSIGNAL) > 0);
    expect_service(service);
    for (int i = 0; i < HALF_OPEN + 3; i++)
        close(fds[i]);
    expect_service(service);
    echo_close(service);
    free(service);
}

static void t17_wrong_frames_are_counted_and_answered(void **state)
{
    echo_service *service = *state;
    rude_client client = rude_connect(service->endpoint);
    static const uint8_t verb[] = {0x7a, 0}, group[] = {0x0b, 0x0c}; /* field 15; a group */
    static const struct {
        choir_part parts[3];
        size_t n;
        uint32_t code;
    } cases[] = {
        {{{"CHO1", 5}}, 1, 3},
        {{{"", 0}}, 1, 3},
        {{{"CHO1", 5}, {"a", 1}, {"b", 1}}, 3, 3},
        {{{"CHO1", 5}, {"", 0}}, 2, 3},
        {{{"CHO2", 5}, {"", 0}}, 2, 12},
        {{{"CHO1\1", 5}, {"", 0}}, 2, 12},
        {{{"CHO1", 4}, {"", 0}}, 2, 12},
        {{{"", 0}, {"\x08\x01\x1a\x00", 4}}, 2, 12},
    };
    const size_t n_cases = sizeof cases / sizeof cases[0];
    for (size_t i = 0; i < n_cases; i++) {
        rude_send_parts(&client, cases[i].parts, cases[i].n);
        expect_error(&client, cases[i].code, "", "");
    }
    rude_send(&client, verb, 2);
    expect_error(&client, 12, "ClientMessage", "");
    rude_send(&client, group, 2);
    expect_error(&client, 3, "seq", "");
    wait_bad_frames(service, n_cases + 2);
    expect_service(service);
    rude_close(&client);
}

static void t17_errors_about_frames_are_limited(void **state)
{
    enum { N = 2000 };
    echo_service *service = *state;
    const char *endpoints[] = {service->endpoint,
                               choir_frontend_control_endpoint(service->frontend)};
    for (uint64_t i = 0; i < 2; i++) {
        rude_client client = rude_connect(endpoints[i]);
        size_t n_answers = 0;
        for (int j = 0; j < N; j++)
            rude_send(&client, "\xff", 1);
        wait_bad_frames(service, (i + 1) * N);
        for (Choir__Client__ServerMessage *message; (message = rude_receive(&client, 20));
             n_answers++)
            choir_server_message_destroy(&message);
        assert_in_range(n_answers, 90, 1000); /* 100, and 20 for each second that it took */
        rude_close(&client);
    }
    expect_service(service);
}

/* Says hello; whether a welcome came in time, and its session, which is another for each
 * connection. */
static bool greet(const rude_client *client, uint8_t session[16])
{
    Choir__Client__ServerMessage *message;
    rude_send(client, "\x08\x01\x12\x02\x08\x01", 6);
    message = rude_receive(client, 200);
    if (!message)
        return false;
    assert_int_equal(message->body_case, CHOIR__CLIENT__SERVER_MESSAGE__BODY_WELCOME);
    assert_int_equal(message->welcome->session.len, 16);
    memcpy(session, message->welcome->session.data, 16);
    choir_server_message_destroy(&message);
    return true;
}

static void t18_too_large_a_message_costs_its_sender(void **state)
{
    enum { BYTES = (8 << 20) + 1 };
    echo_service *service = *state;
    uint8_t *bytes = calloc(1, BYTES), before[16], after[16];
    expect_service(service);
    const size_t resident = resident_bytes();
    for (int i = 0; i < 3; i++) {
        const int64_t deadline = choir_clock_us() + PATIENCE_US;
        rude_client client = rude_connect(service->endpoint);
        while (!greet(&client, before))
            assert_true(choir_clock_us() < deadline);
        rude_send(&client, bytes, BYTES);
        do /* until it had to connect again */
            assert_true(choir_clock_us() < deadline);
        while (!greet(&client, after) || memcmp(before, after, 16) == 0);
        rude_close(&client);
    }
    expect_service(service);
    assert_int_equal(bad_frames(service), 0); /* it never got that far */
    assert_true(resident_bytes() < resident + (64u << 20));
    free(bytes);
}

static void t19_hostile_protobuf_is_a_request_error(void **state)
{
    echo_service *service = *state;
    rude_client client = rude_connect(service->endpoint);
    /* Generate{request_id "r", text "a"} with field 31, which this version does not know */
    static const uint8_t unknown[] = {0x22, 9, 0x0a, 1, 'r', 0x22, 1, 'a', 0xf8, 1, 1};
    static const uint8_t cut[] = {0x22, 20, 0x0a, 1, 'r'};
    static const uint8_t wrong_type[] = {0x22, 2, 0x08, 1};
    static const uint8_t endless[] = {0x08, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff};
    const size_t n = 1000000;
    rude_send(&client, unknown, sizeof unknown);
    expect_error(&client, 12, "Generate", "r");
    rude_send(&client, cut, sizeof cut);
    expect_error(&client, 3, "generate", "");
    rude_send(&client, wrong_type, sizeof wrong_type);
    expect_error(&client, 3, "request_id", "");
    rude_send(&client, endless, sizeof endless);
    expect_error(&client, 3, "seq", "");
    /* SamplingParams with a million empty stop strings: 2 bytes each */
    uint8_t *bytes = malloc(2 * n + 32), *at = bytes;
    *at++ = 0x22;
    for (size_t length = 2 * n + 3 + 5, i = 0; i < 4; i++, length >>= 7)
        *at++ = (uint8_t)((length & 0x7f) | (i < 3 ? 0x80 : 0));
    memcpy(at, "\x0a\x01r", 3);
    at += 3;
    *at++ = 0x32;
    for (size_t length = 2 * n, i = 0; i < 4; i++, length >>= 7)
        *at++ = (uint8_t)((length & 0x7f) | (i < 3 ? 0x80 : 0));
    for (size_t i = 0; i < n; i++, at += 2)
        memcpy(at, "\x6a\x00", 2);
    rude_send(&client, bytes, (size_t)(at - bytes));
    expect_error(&client, 3, "stop", "r");
    free(bytes);
    expect_service(service);
    rude_close(&client);
}

static void t23_second_request_of_the_same_id_is_refused(void **state)
{
    echo_service *service = *state;
    rude_client client = rude_connect(service->endpoint), other = rude_connect(service->endpoint);
    generate_parts parts;
    echo_set(service, &service->engine.is_held, true);
    begin_generate(&parts, "a");
    rude_send_message(&client, &parts.message);
    expect_kind(&client, CHOIR__CLIENT__SERVER_MESSAGE__BODY_ACCEPTED);
    expect_refused(&client, &parts, 6, "request_id");
    /* Another client's ids are its own. */
    rude_send_message(&other, &parts.message);
    expect_kind(&other, CHOIR__CLIENT__SERVER_MESSAGE__BODY_ACCEPTED);
    echo_wait(service, &service->engine.n_submits, 2);
    rude_close(&client);
    rude_close(&other);
}

static void t24_vanished_client_is_cancelled(void **state)
{
    echo_service *service = *state;
    choir_client *streaming = echo_connect(service), *waiting = echo_connect(service);
    const choir_generate_request request = echo_request_text("on and on ", 0);
    choir_event event;
    echo_answer *answer = echo_start(streaming, &request);
    do
        assert_int_equal(choir_client_next_event(streaming, 30000, &event), CHOIR_OK);
    while (event.kind != CHOIR_EVENT_CHUNK);
    choir_client_destroy(&streaming);
    echo_wait(service, &service->engine.n_active, 0);
    assert_int_equal(echo_get(service, &service->engine.n_aborts), 1);
    free(answer);
    /* One to whom nothing is sent meanwhile is found out by a heartbeat. */
    echo_set(service, &service->engine.is_held, true);
    answer = echo_start(waiting, &request);
    assert_int_equal(choir_client_next_event(waiting, 30000, &event), CHOIR_OK);
    choir_client_destroy(&waiting);
    echo_wait(service, &service->engine.n_active, 0);
    echo_wait_open(service, 0);
    free(answer);
}

/* A client with short queues, made without this project's settings, that asks for a long answer. */
static void *ask_and_do_not_read(void *context, const char *endpoint)
{
    const int one = 1, patience_ms = 10000;
    generate_parts parts;
    uint8_t *bytes;
    size_t length;
    void *client = zmq_socket(context, ZMQ_DEALER);
    assert_non_null(client);
    assert_int_equal(zmq_setsockopt(client, ZMQ_RCVHWM, &one, sizeof one), 0);
    assert_int_equal(zmq_setsockopt(client, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms), 0);
    assert_int_equal(zmq_connect(client, endpoint), 0);
    begin_generate(&parts, "on and on ");
    parts.output.logprobs_presence_case = 1;
    parts.output.logprobs = 64;
    assert_int_equal(choir_wire_pack(&parts.message.base, 0, &bytes, &length), CHOIR_OK);
    assert_int_equal(zmq_send(client, "CHO1", 5, ZMQ_SNDMORE), 5);
    assert_int_equal(zmq_send(client, bytes, length, 0), length);
    free(bytes);
    return client;
}

/* Reads until the Error that says why; false if nothing comes any more. */
static bool await_slow_error(void *client)
{
    for (bool is_error = false; !is_error;) {
        zmq_msg_t parts[2];
        Choir__Client__ServerMessage *message;
        choir_part frames[2];
        for (size_t i = 0; i < 2; i++) {
            zmq_msg_init(&parts[i]);
            if (zmq_msg_recv(&parts[i], client, 0) < 0)
                return false;
            frames[i] = (choir_part){zmq_msg_data(&parts[i]), zmq_msg_size(&parts[i])};
        }
        assert_int_equal(choir_envelope_read_server(frames, 2, &message), CHOIR_OK);
        is_error = message->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_ERROR;
        if (is_error) {
            assert_int_equal(message->error->code, 8);
            assert_string_equal(message->error->request_id, "r");
            assert_non_null(strstr(message->error->message, "slowly"));
        }
        choir_server_message_destroy(&message);
        zmq_msg_close(&parts[0]);
        zmq_msg_close(&parts[1]);
    }
    return true;
}

static void t25_client_that_does_not_read_is_cancelled(void **state)
{
    echo_service *service = calloc(1, sizeof *service);
    choir_frontend_counters counters;
    (void)state;
    echo_open_frontend(service, NULL, 0);
    echo_open_engine(service, 1 << 30); /* answers without end */
    service->engine.is_many = true;
    const size_t before = resident_bytes();
    void *context = zmq_ctx_new(), *client = ask_and_do_not_read(context, service->endpoint);
    echo_wait(service, &service->engine.n_aborts, 1);
    echo_wait(service, &service->engine.n_active, 0);
    assert_true(resident_bytes() < before + (128u << 20));
    expect_service(service);
    /* On a very slow machine the transport's heartbeat has ended the connection before. */
    if (!await_slow_error(client)) {
        choir_frontend_count(service->frontend, &counters);
        assert_int_equal(counters.n_clients, 0);
    }
    echo_wait_open(service, 0);
    zmq_close(client);
    zmq_ctx_term(context);
    echo_close(service);
    free(service);
}

static void t27_client_may_have_so_many_requests(void **state)
{
    echo_service *service = calloc(1, sizeof *service);
    generate_parts parts;
    char id[16];
    (void)state;
    echo_open_frontend(service, NULL, 4);
    echo_open_engine(service, ECHO_MAX_LEN);
    echo_set(service, &service->engine.is_held, true);
    rude_client client = rude_connect(service->endpoint);
    for (int i = 0; i < 6; i++) {
        begin_generate(&parts, "a");
        snprintf(id, sizeof id, "r%d", i);
        parts.generate.request_id = id;
        rude_send_message(&client, &parts.message);
        if (i < 4) {
            expect_kind(&client, CHOIR__CLIENT__SERVER_MESSAGE__BODY_ACCEPTED);
            continue;
        }
        Choir__Client__ServerMessage *message = rude_receive(&client, 30000);
        assert_int_equal(message->body_case, CHOIR__CLIENT__SERVER_MESSAGE__BODY_ERROR);
        assert_int_equal(message->error->code, 8);
        assert_true(message->error->retryable && message->error->retry_after_ms > 0);
        choir_server_message_destroy(&message);
    }
    echo_set(service, &service->engine.is_held, false);
    expect_service(service);
    rude_close(&client);
    echo_close(service);
    free(service);
}

/* More than the front end keeps: all are answered, though the engine says nothing. */
static void t27_flood_of_status_is_answered(void **state)
{
    enum { N = 100 };
    echo_service *service = *state;
    rude_client client = rude_connect(choir_frontend_control_endpoint(service->frontend));
    Choir__Client__Status status = CHOIR__CLIENT__STATUS__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    echo_set(service, &service->engine.is_silent, true);
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_STATUS;
    message.status = &status;
    for (int i = 0; i < N; i++)
        rude_send_message(&client, &message);
    for (int i = 0; i < N; i++)
        expect_kind(&client, CHOIR__CLIENT__SERVER_MESSAGE__BODY_CLUSTER_STATUS);
    rude_close(&client);
}

/* Cancels on a socket and gives the answer's bytes but for the number that it answers. */
static void cancel_and_pack(const rude_client *client, const char *id,
                            const ProtobufCBinaryData *session, uint8_t **bytes, size_t *length)
{
    char *ids[] = {(char *)id};
    Choir__Client__Cancel cancel = CHOIR__CLIENT__CANCEL__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    cancel.request_ids = ids;
    cancel.n_request_ids = 1;
    cancel.session = *session;
    message.seq = 99;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_CANCEL;
    message.cancel = &cancel;
    rude_send_message(client, &message);
    Choir__Client__ServerMessage *answer;
    while ((answer = rude_receive(client, 30000))->seq != 99)
        choir_server_message_destroy(&answer);
    assert_int_equal(choir_wire_pack(&answer->base, 0, bytes, length), CHOIR_OK);
    choir_server_message_destroy(&answer);
}

static void t29_cancel_has_one_answer_for_all(void **state)
{
    echo_service *service = *state;
    rude_client owner = rude_connect(service->endpoint), thief = rude_connect(service->endpoint);
    rude_client control = rude_connect(choir_frontend_control_endpoint(service->frontend));
    uint8_t guess[CHOIR_SHA256_BYTES / 2] = {0};
    const ProtobufCBinaryData none = {0}, wrong = {sizeof guess, guess};
    generate_parts parts;
    uint8_t *first, *bytes;
    size_t n_first, n_bytes;
    echo_set(service, &service->engine.is_held, true);
    begin_generate(&parts, "a");
    rude_send_message(&owner, &parts.message);
    expect_kind(&owner, CHOIR__CLIENT__SERVER_MESSAGE__BODY_ACCEPTED);
    cancel_and_pack(&thief, "unknown", &none, &first, &n_first);
    const struct {
        const rude_client *client;
        const ProtobufCBinaryData *session;
    } cases[] = {
        {&thief, &none}, {&control, &none}, {&control, &wrong}, {&owner, &none}, {&owner, &none}};
    for (size_t i = 0; i < 5; i++) { /* foreign three times, the owner's own, one that has ended */
        assert_int_equal(echo_get(service, &service->engine.n_aborts), i < 4 ? 0 : 1);
        cancel_and_pack(cases[i].client, "r", cases[i].session, &bytes, &n_bytes);
        assert_int_equal(n_bytes, n_first);
        assert_memory_equal(bytes, first, n_first);
        free(bytes);
        if (i == 3)
            echo_wait(service, &service->engine.n_aborts, 1);
    }
    free(first);
    echo_wait_open(service, 0);
    rude_close(&owner);
    rude_close(&thief);
    rude_close(&control);
}

int main(void)
{
#define SERVICE_TEST(f) cmocka_unit_test_setup_teardown(f, echo_setup, echo_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t16_strangers_on_the_port_do_no_harm),
        SERVICE_TEST(t17_wrong_frames_are_counted_and_answered),
        SERVICE_TEST(t17_errors_about_frames_are_limited),
        SERVICE_TEST(t18_too_large_a_message_costs_its_sender),
        SERVICE_TEST(t19_hostile_protobuf_is_a_request_error),
        SERVICE_TEST(t23_second_request_of_the_same_id_is_refused),
        SERVICE_TEST(t24_vanished_client_is_cancelled),
        cmocka_unit_test(t25_client_that_does_not_read_is_cancelled),
        cmocka_unit_test(t27_client_may_have_so_many_requests),
        SERVICE_TEST(t27_flood_of_status_is_answered),
        SERVICE_TEST(t29_cancel_has_one_answer_for_all),
    };
    return cmocka_run_group_tests_name("frontend_faults", tests, NULL, NULL);
}
