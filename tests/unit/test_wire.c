/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire.h"

#include "common/philox.h"
#include "proto/client.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const ProtobufCMessageDescriptor *const type = &choir__client__client_message__descriptor;

static void expect(const char *bytes, size_t length, choir_wire_verdict verdict, const char *field)
{
    const char *found;
    assert_int_equal(choir_wire_check(type, (const uint8_t *)bytes, length, false, &found),
                     verdict);
    assert_string_equal(found, field);
}

static void what_is_wrong_and_where(void **state)
{
    (void)state;
    expect("", 0, CHOIR_WIRE_OK, "");
    expect("\x08\x96\x01", 3, CHOIR_WIRE_OK, "");   /* seq 150 */
    expect("\x08", 1, CHOIR_WIRE_MALFORMED, "seq"); /* no value */
    expect("\x09"
           "12345678",
           9, CHOIR_WIRE_MALFORMED, "seq");                           /* 64 bits for a varint */
    expect("\x00\x01", 2, CHOIR_WIRE_MALFORMED, "");                  /* field 0 */
    expect("\xf8\x01\x01", 3, CHOIR_WIRE_UNKNOWN, "ClientMessage");   /* field 31 */
    expect("\x22\x03\x0a\x01r", 5, CHOIR_WIRE_OK, "");                /* Generate.request_id "r" */
    expect("\x22\x04\x0a\x01r", 5, CHOIR_WIRE_MALFORMED, "generate"); /* a byte is missing */
    expect("\x22\x02\x0a\x01r", 5, CHOIR_WIRE_MALFORMED,
           "request_id"); /* longer than its message */
    expect("\x22\x03\x0a\x01\xff", 5, CHOIR_WIRE_TEXT, "request_id");
    expect("\x22\x03\x0a\x01\0", 5, CHOIR_WIRE_TEXT, "request_id");
    expect("\x22\x04\x32\x02\x68\x01", 6, CHOIR_WIRE_MALFORMED, "stop"); /* a number */
    /* field 21 of SamplingParams, of a version to come */
    expect("\x22\x08\x32\x06\xad\x01\0\0\0\0", 10, CHOIR_WIRE_UNKNOWN, "SamplingParams");
}

static void lists_may_be_packed_or_not(void **state)
{
    (void)state;
    /* Detokenize.token_ids: 1, 2 packed; one by one; packed with a half varint; as a float */
    expect("\x5a\x04\x0a\x02\x01\x02", 6, CHOIR_WIRE_OK, "");
    expect("\x5a\x04\x08\x01\x08\x02", 6, CHOIR_WIRE_OK, "");
    expect("\x5a\x04\x0a\x02\x01\x82", 6, CHOIR_WIRE_MALFORMED, "token_ids");
    expect("\x5a\x05\x0d\x00\x00\x00\x00", 7, CHOIR_WIRE_MALFORMED, "token_ids");
    /* what is no list may not be packed: ClientMessage.seq */
    expect("\x0a\x01\x01", 3, CHOIR_WIRE_MALFORMED, "seq");
}

static void unknown_fields_can_be_let_through(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        choir_wire_verdict verdict;
    } cases[] = {
        {"\xf8\x01\x05", 3, CHOIR_WIRE_OK},
        {"\xf9\x01"
         "12345678",
         10, CHOIR_WIRE_OK},
        {"\xfa\x01\x02\xff\xff", 5, CHOIR_WIRE_OK},
        {"\xfd\x01"
         "1234",
         6, CHOIR_WIRE_OK},
        {"\xfd\x01"
         "123",
         5, CHOIR_WIRE_MALFORMED},
        {"\xfb\x01\xfc\x01", 4, CHOIR_WIRE_MALFORMED}, /* a group */
        {"\xfa\x01\x02\xff", 4, CHOIR_WIRE_MALFORMED},
    };
    const char *field;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(
            choir_wire_check(type, (const uint8_t *)cases[i].bytes, cases[i].length, true, &field),
            cases[i].verdict);
}

static void memory_has_a_limit(void **state)
{
    enum { N = 100000 };
    uint8_t *bytes = malloc(N + 16);
    ProtobufCMessage *message;
    const char *field;
    (void)state;
    /* Detokenize with N ids of one byte each, which take four unpacked */
    static const uint8_t head[] = {0x5a, 0xa4, 0x8d, 0x06, 0x0a, 0xa0, 0x8d, 0x06};
    memcpy(bytes, head, sizeof head);
    memset(bytes + sizeof head, 1, N);
    assert_int_equal(choir_wire_check(type, bytes, sizeof head + N, false, &field), CHOIR_WIRE_OK);
    assert_int_equal(choir_wire_unpack(type, bytes, sizeof head + N, 4 * N, &message),
                     CHOIR_EFORMAT);
    assert_null(message);
    assert_int_equal(choir_wire_unpack(type, bytes, sizeof head + N, 5 * N, &message), CHOIR_OK);
    assert_int_equal(((Choir__Client__ClientMessage *)message)->detokenize->n_token_ids, N);
    choir_wire_free(message);
    choir_wire_free(NULL);
    free(bytes);
}

/* A request with something of every kind. */
static void pack_example(uint8_t **bytes, size_t *length)
{
    char *stops[] = {(char *)"a", (char *)"\xc3\xa4"};
    int32_t ids[] = {1, -1, 300};
    Choir__Client__SamplingParams sampling = CHOIR__CLIENT__SAMPLING_PARAMS__INIT;
    Choir__Client__Chat chat = CHOIR__CLIENT__CHAT__INIT;
    Choir__Client__Generate generate = CHOIR__CLIENT__GENERATE__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    sampling.temperature_presence_case =
        CHOIR__CLIENT__SAMPLING_PARAMS__TEMPERATURE_PRESENCE_TEMPERATURE;
    sampling.temperature = 0.5f;
    sampling.stop = stops;
    sampling.n_stop = 2;
    sampling.stop_token_ids = ids;
    sampling.n_stop_token_ids = 3;
    chat.messages_json = (char *)"[]";
    generate.request_id = (char *)"request";
    generate.sampling = &sampling;
    generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_CHAT;
    generate.chat = &chat;
    message.seq = 1234567;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_GENERATE;
    message.generate = &generate;
    assert_int_equal(choir_wire_pack(&message.base, 3, bytes, length), CHOIR_OK);
    *length -= 3; /* reserved in front */
    memmove(*bytes, *bytes + 3, *length);
}

/* What the check lets through the unpacker takes, with valid strings, and packs again. */
static void damaged_messages_never_pass_as_good_ones(void **state)
{
    uint8_t *bytes;
    size_t length, n_good = 0;
    (void)state;
    pack_example(&bytes, &length);
    uint8_t *damaged = malloc(length);
    for (uint32_t round = 0; round < 20000; round++) {
        const uint32_t key[2] = {1, 2}, counter[4] = {round, 0, 0, 0};
        uint32_t words[4];
        ProtobufCMessage *message;
        const char *field;
        choir_philox(key, counter, words);
        memcpy(damaged, bytes, length);
        damaged[words[0] % length] = (uint8_t)words[1];
        const size_t n = words[2] % 4 ? length : words[3] % length;
        if (choir_wire_check(type, damaged, n, false, &field) != CHOIR_WIRE_OK)
            continue;
        n_good++;
        assert_int_equal(choir_wire_unpack(type, damaged, n, 1 << 20, &message), CHOIR_OK);
        assert_true(protobuf_c_message_check(message));
        assert_int_equal(message->n_unknown_fields, 0);
        choir_wire_free(message);
    }
    assert_in_range(n_good, 1000, 19000);
    free(damaged);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_and_where),
        cmocka_unit_test(lists_may_be_packed_or_not),
        cmocka_unit_test(unknown_fields_can_be_let_through),
        cmocka_unit_test(memory_has_a_limit),
        cmocka_unit_test(damaged_messages_never_pass_as_good_ones),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
