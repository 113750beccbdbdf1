/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/errors.h"

#include <assert.h>

enum {
    INVALID = CHOIR_CODE_INVALID_ARGUMENT,
    EXHAUSTED = CHOIR_CODE_RESOURCE_EXHAUSTED,
    UNIMPLEMENTED = CHOIR_CODE_UNIMPLEMENTED,
    UNAVAILABLE = CHOIR_CODE_UNAVAILABLE,
    INTERNAL = CHOIR_CODE_INTERNAL,
};

static const choir_error_entry entries[CHOIR_ERROR_KINDS] = {
    [CHOIR_ERROR_FRAMES] = {INVALID, 400, false, 0,
                            "a message has two frames: the tag and the envelope"},
    [CHOIR_ERROR_TAG] = {UNIMPLEMENTED, 400, false, 0,
                         "the first frame must be CHO1 and a flags byte of 0"},
    [CHOIR_ERROR_MALFORMED] = {INVALID, 400, false, 0, "the envelope is not a ClientMessage"},
    [CHOIR_ERROR_UNKNOWN_FIELD] = {UNIMPLEMENTED, 501, false, 0,
                                   "this message has a field that this version does not know"},
    [CHOIR_ERROR_TEXT] = {INVALID, 400, false, 0, "must be UTF-8 without NUL characters"},
    [CHOIR_ERROR_BODY] = {INVALID, 400, false, 0, "the envelope has no body"},
    [CHOIR_ERROR_WRONG_SOCKET] = {INVALID, 400, false, 0,
                                  "this message belongs on the request socket, not on control"},
    [CHOIR_ERROR_PROTOCOL_VERSION] = {UNIMPLEMENTED, 501, false, 0,
                                      "this service speaks protocol 1 only"},
    [CHOIR_ERROR_REQUEST_ID] = {INVALID, 400, false, 0, "must have 1 to 64 bytes"},
    [CHOIR_ERROR_DUPLICATE] = {CHOIR_CODE_ALREADY_EXISTS, 409, false, 0,
                               "a request of this id is still open; choose another id"},
    [CHOIR_ERROR_MODEL] = {CHOIR_CODE_NOT_FOUND, 404, false, 0,
                           "no model of this name is served; leave it empty, or see ListModels"},
    [CHOIR_ERROR_INPUT] = {INVALID, 400, false, 0, "set one of text, token_ids and chat"},
    [CHOIR_ERROR_INPUT_EMPTY] = {INVALID, 400, false, 0, "gives no token; write something"},
    [CHOIR_ERROR_INPUT_BYTES] = {INVALID, 413, false, 0, "over 4 MiB"},
    [CHOIR_ERROR_INPUT_TOKENS] = {INVALID, 400, false, 0,
                                  "too long for the model's context; shorten it"},
    [CHOIR_ERROR_TOKEN_ID] = {INVALID, 400, false, 0, "an id is outside of the vocabulary"},
    [CHOIR_ERROR_MESSAGES] = {INVALID, 400, false, 0,
                              "must be a JSON array of 1 to 1024 objects with the strings role "
                              "(system, user or assistant) and content"},
    [CHOIR_ERROR_NO_TEMPLATE] = {CHOIR_CODE_FAILED_PRECONDITION, 400, false, 0,
                                 "the model has no chat template known here; send text instead"},
    [CHOIR_ERROR_TEMPERATURE] = {INVALID, 400, false, 0, "must be 0, or from 0.01 to 100"},
    [CHOIR_ERROR_TOP_K] = {INVALID, 400, false, 0, "must be from 0 (off) to 2147483647"},
    [CHOIR_ERROR_TOP_P] = {INVALID, 400, false, 0, "must be above 0 and at most 1 (off)"},
    [CHOIR_ERROR_MIN_P] = {INVALID, 400, false, 0, "must be from 0 (off) to 1"},
    [CHOIR_ERROR_TYPICAL_P] = {INVALID, 400, false, 0, "must be above 0 and at most 1 (off)"},
    [CHOIR_ERROR_REPETITION_PENALTY] = {INVALID, 400, false, 0,
                                        "must be above 0 and at most 100; 1 is off"},
    [CHOIR_ERROR_PENALTY] = {INVALID, 400, false, 0, "must be from -2 to 2; 0 is off"},
    [CHOIR_ERROR_MIN_TOKENS] = {INVALID, 400, false, 0, "must be from 0 to max_tokens"},
    [CHOIR_ERROR_BAD_WORDS] = {INVALID, 400, false, 0, "at most 64 words of 1 to 256 bytes"},
    [CHOIR_ERROR_ALLOWED_TOKEN_IDS] = {INVALID, 400, false, 0,
                                       "at most 65536 ids, each of the vocabulary"},
    [CHOIR_ERROR_LOGIT_BIAS] = {INVALID, 400, false, 0,
                                "at most 1024 entries of -100 to 100, each for another token of "
                                "the vocabulary"},
    [CHOIR_ERROR_TRUNCATE] = {INVALID, 400, false, 0, "must be from 1 to 2147483647"},
    [CHOIR_ERROR_REFUSED] = {INVALID, 400, false, 0, "the engine cannot serve this request"},
    [CHOIR_ERROR_MAX_TOKENS] = {INVALID, 400, false, 0, "must be from 1 to 2147483647"},
    [CHOIR_ERROR_N] = {INVALID, 400, false, 0, "must be from 1 to 128 answers"},
    [CHOIR_ERROR_STOP] = {INVALID, 400, false, 0, "at most 16 strings of 1 to 256 bytes"},
    [CHOIR_ERROR_STOP_TOKEN_IDS] = {INVALID, 400, false, 0,
                                    "at most 128 ids, each of the vocabulary"},
    [CHOIR_ERROR_LOGPROBS] = {INVALID, 400, false, 0, "must be from 0 to 64 alternatives"},
    [CHOIR_ERROR_PRIORITY] = {INVALID, 400, false, 0, "must be from -1000 to 1000"},
    [CHOIR_ERROR_POOLING] = {INVALID, 400, false, 0, "must be 0 (last), 1 (last) or 2 (mean)"},
    [CHOIR_ERROR_CREDIT] = {INVALID, 400, false, 0, "must be 1 or more"},
    [CHOIR_ERROR_TIMEOUT_MS] = {INVALID, 400, false, 0, "must be from 0 (none) to 1000000000"},
    [CHOIR_ERROR_CACHE_SALT] = {INVALID, 400, false, 0, "must have at most 256 bytes"},
    [CHOIR_ERROR_SCORE_SIZE] = {INVALID, 400, false, 0,
                                "tokens x alternatives over 1048576; ask for fewer"},
    [CHOIR_ERROR_REQUEST_IDS] = {INVALID, 400, false, 0, "at most 1024 ids"},
    [CHOIR_ERROR_CLIENT_BUSY] = {EXHAUSTED, 429, true, 1000,
                                 "this client has as many open requests as it may have"},
    [CHOIR_ERROR_CLIENT_ENTRIES] = {EXHAUSTED, 429, true, 1000,
                                    "this client's open requests may have kept as many "
                                    "log-probabilities as all of them may"},
    [CHOIR_ERROR_BUSY] = {EXHAUSTED, 429, true, 1000, "the service has no room for more requests"},
    [CHOIR_ERROR_TIMEOUT] = {CHOIR_CODE_DEADLINE_EXCEEDED, 408, false, 0,
                             "the request's timeout_ms passed before its end"},
    [CHOIR_ERROR_TOO_MANY_CLIENTS] = {EXHAUSTED, 429, true, 5000,
                                      "the service has no room for more clients"},
    [CHOIR_ERROR_SLOW_CLIENT] = {EXHAUSTED, 429, false, 0,
                                 "the client reads too slowly; the request was cancelled"},
    [CHOIR_ERROR_LAUNCHING] = {UNAVAILABLE, 503, true, 1000, "the service is starting"},
    [CHOIR_ERROR_LOST] = {UNAVAILABLE, 503, true, 1000, "the engine has stopped"},
    [CHOIR_ERROR_SHUTDOWN] = {UNAVAILABLE, 503, false, 0, "the service is shutting down"},
    [CHOIR_ERROR_MEMORY] = {EXHAUSTED, 503, true, 1000, "the service is out of memory"},
    [CHOIR_ERROR_ENGINE_REQUEST] = {INTERNAL, 500, false, 0, "the engine gave this request up"},
    [CHOIR_ERROR_INTERNAL] = {INTERNAL, 500, false, 0, "the service has a fault"},
};

const choir_error_entry *choir_error_entry_of(choir_error_kind kind)
{
    assert(kind > CHOIR_ERROR_NONE && kind < CHOIR_ERROR_KINDS);
    return &entries[kind];
}

choir_status choir_status_of_code(uint32_t code)
{
    switch (code) {
    case CHOIR_CODE_CANCELLED:
        return CHOIR_ECANCELLED;
    case CHOIR_CODE_INVALID_ARGUMENT:
    case CHOIR_CODE_NOT_FOUND:
    case CHOIR_CODE_ALREADY_EXISTS:
        return CHOIR_EINVALID;
    case CHOIR_CODE_DEADLINE_EXCEEDED:
        return CHOIR_ETIMEOUT;
    case CHOIR_CODE_FAILED_PRECONDITION:
    case CHOIR_CODE_UNIMPLEMENTED:
        return CHOIR_EUNSUPPORTED;
    case CHOIR_CODE_RESOURCE_EXHAUSTED:
    case CHOIR_CODE_UNAVAILABLE:
        return CHOIR_EUNAVAILABLE;
    case CHOIR_CODE_INTERNAL:
        return CHOIR_EENGINE;
    default:
        return CHOIR_EINTERNAL;
    }
}
