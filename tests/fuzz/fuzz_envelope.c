/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's message as the front end takes it, from its frames to its checked fields, and the same
 * bytes as a client takes a service's. The first byte of the input says how the rest is cut: 0 to 3
 * frames, frame 0 of so many bytes; 0x40 puts the right tag in front instead.
 */
#include "client/event.h"
#include "common/utf8.h"
#include "coordinator/request_check.h"
#include "proto/envelope.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void check(bool claim)
{
    if (!claim)
        abort();
}

static void check_request(const Choir__Client__ClientMessage *message)
{
    static const choir_request_limits limits = {
        .n_vocab = 1000, .model = "m", .has_template = true};
    const char *param = NULL;
    choir_error_kind kind = CHOIR_ERROR_NONE;
    if (message->body_case == CHOIR__CLIENT__CLIENT_MESSAGE__BODY_GENERATE) {
        const Choir__Client__Generate *generate = message->generate;
        check(choir_utf8_is_valid(generate->request_id, strlen(generate->request_id)));
        kind = choir_request_check_generate(generate, &limits, &param);
        if (kind == CHOIR_ERROR_NONE) {
            Choir__Engine__Sampling sampling;
            choir_request_sampling(generate->sampling, 1, &sampling);
            check(sampling.temperature == 0 ||
                  (sampling.temperature >= 0.01F && sampling.temperature <= 100));
            check(sampling.top_p > 0 && sampling.top_p <= 1 && sampling.min_p >= 0 &&
                  sampling.min_p <= 1);
            const uint32_t n = choir_request_max_tokens(generate->sampling, 5);
            check(n >= 1 && n <= 5);
        }
    } else if (message->body_case == CHOIR__CLIENT__CLIENT_MESSAGE__BODY_SCORE) {
        kind = choir_request_check_score(message->score, &limits, &param);
    }
    check(kind == CHOIR_ERROR_NONE || (param && param[0]));
}

static void as_service(const choir_part *frames, size_t n_frames)
{
    Choir__Client__ClientMessage *message;
    choir_error_kind kind;
    const char *field;
    choir_envelope_read_client(frames, n_frames, &message, &kind, &field);
    check(field != NULL && kind >= CHOIR_ERROR_NONE && kind < CHOIR_ERROR_KINDS);
    check(kind != CHOIR_ERROR_NONE || message);
    if (kind == CHOIR_ERROR_NONE)
        check_request(message);
    choir_client_message_destroy(&message);
}

static void as_client(const choir_part *frames, size_t n_frames)
{
    Choir__Client__ServerMessage *message;
    choir_event_reader *reader;
    choir_event event;
    uint64_t seq;
    if (choir_envelope_read_server(frames, n_frames, &message) != CHOIR_OK)
        return;
    check(choir_event_reader_create(&reader) == CHOIR_OK);
    choir_event_reader_give(reader, &message);
    for (bool has_event = true; has_event;)
        if (choir_event_read(reader, &event, &seq, &has_event) != CHOIR_OK)
            break;
    choir_event_reader_destroy(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    choir_part frames[3] = {{"", 0}, {"", 0}, {"", 0}};
    if (length == 0)
        return 0;
    const uint8_t cut = bytes[0];
    const size_t left = length - 1, n_first = (cut & 7) < left ? cut & 7 : left;
    if (cut & 0x40) {
        frames[0] = (choir_part){"CHO1", 5};
        frames[1] = (choir_part){bytes + 1, left};
    } else {
        frames[0] = (choir_part){bytes + 1, n_first};
        frames[1] = (choir_part){bytes + 1 + n_first, left - n_first};
    }
    const size_t n_frames = cut & 0x40 ? 2 : (cut >> 3) & 3;
    as_service(frames, n_frames);
    as_client(frames, n_frames);
    return 0;
}
