/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The errors a client can be told: one table of fixed texts (robustness rule 8). The field in
 * question travels beside them as `param`.
 */
#ifndef CHOIR_PROTO_ERRORS_H
#define CHOIR_PROTO_ERRORS_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum choir_error_kind {
    CHOIR_ERROR_NONE,
    /* about a frame */
    CHOIR_ERROR_FRAMES,
    CHOIR_ERROR_TAG,
    CHOIR_ERROR_MALFORMED,
    CHOIR_ERROR_UNKNOWN_FIELD,
    CHOIR_ERROR_TEXT,
    CHOIR_ERROR_BODY,
    CHOIR_ERROR_WRONG_SOCKET,
    CHOIR_ERROR_PROTOCOL_VERSION,
    /* about a field, in the order of proto/client.proto */
    CHOIR_ERROR_REQUEST_ID,
    CHOIR_ERROR_DUPLICATE,
    CHOIR_ERROR_MODEL,
    CHOIR_ERROR_INPUT,
    CHOIR_ERROR_INPUT_EMPTY,
    CHOIR_ERROR_INPUT_BYTES,
    CHOIR_ERROR_INPUT_TOKENS,
    CHOIR_ERROR_TOKEN_ID,
    CHOIR_ERROR_MESSAGES,
    CHOIR_ERROR_NO_TEMPLATE,
    CHOIR_ERROR_TEMPERATURE,
    CHOIR_ERROR_TOP_K,
    CHOIR_ERROR_TOP_P,
    CHOIR_ERROR_MIN_P,
    CHOIR_ERROR_TYPICAL_P,
    CHOIR_ERROR_REPETITION_PENALTY,
    CHOIR_ERROR_PENALTY,
    CHOIR_ERROR_MAX_TOKENS,
    CHOIR_ERROR_MIN_TOKENS,
    CHOIR_ERROR_N,
    CHOIR_ERROR_STOP,
    CHOIR_ERROR_STOP_TOKEN_IDS,
    CHOIR_ERROR_BAD_WORDS,
    CHOIR_ERROR_ALLOWED_TOKEN_IDS,
    CHOIR_ERROR_LOGIT_BIAS,
    CHOIR_ERROR_TRUNCATE,
    CHOIR_ERROR_LOGPROBS,
    CHOIR_ERROR_PRIORITY,
    CHOIR_ERROR_CREDIT,
    CHOIR_ERROR_POOLING,
    CHOIR_ERROR_TIMEOUT_MS,
    CHOIR_ERROR_CACHE_SALT,
    CHOIR_ERROR_SCORE_SIZE,
    CHOIR_ERROR_REQUEST_IDS,
    /* about the service */
    CHOIR_ERROR_CLIENT_BUSY,
    CHOIR_ERROR_CLIENT_ENTRIES,
    CHOIR_ERROR_BUSY,
    CHOIR_ERROR_TIMEOUT,
    CHOIR_ERROR_TOO_MANY_CLIENTS,
    CHOIR_ERROR_SLOW_CLIENT,
    CHOIR_ERROR_LAUNCHING,
    CHOIR_ERROR_LOST,
    CHOIR_ERROR_SHUTDOWN,
    CHOIR_ERROR_MEMORY,
    CHOIR_ERROR_REFUSED,
    CHOIR_ERROR_ENGINE_REQUEST,
    CHOIR_ERROR_INTERNAL,
    CHOIR_ERROR_KINDS,
} choir_error_kind;

/* gRPC's numbers (grpc.github.io/grpc/core/md_doc_statuscodes.html), as far as they are used. */
enum {
    CHOIR_CODE_CANCELLED = 1,
    CHOIR_CODE_INVALID_ARGUMENT = 3,
    CHOIR_CODE_DEADLINE_EXCEEDED = 4,
    CHOIR_CODE_NOT_FOUND = 5,
    CHOIR_CODE_ALREADY_EXISTS = 6,
    CHOIR_CODE_RESOURCE_EXHAUSTED = 8,
    CHOIR_CODE_FAILED_PRECONDITION = 9,
    CHOIR_CODE_UNIMPLEMENTED = 12,
    CHOIR_CODE_INTERNAL = 13,
    CHOIR_CODE_UNAVAILABLE = 14,
};

typedef struct choir_error_entry {
    uint32_t code; /* gRPC */
    uint32_t http_status;
    bool is_retryable;
    uint32_t retry_after_ms;
    const char *message;
} choir_error_entry;

/* The entry of a kind other than NONE; static. */
const choir_error_entry *choir_error_entry_of(choir_error_kind kind);
/* What a gRPC code means for a program of ours; never OK. */
choir_status choir_status_of_code(uint32_t code);

#endif
