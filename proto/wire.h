/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf messages in and out of bytes. protobuf-c decodes with few questions asked: it accepts
 * strings that are not UTF-8 or hold NUL (and then shows only their beginning), keeps unknown
 * fields, and allocates what the message asks for. So bytes from a client are walked by
 * choir_wire_check() first, and unpacked through an allocator with a limit.
 *
 * Pure; any thread. Wire format: protobuf.dev/programming-guides/encoding.
 */
#ifndef CHOIR_PROTO_WIRE_H
#define CHOIR_PROTO_WIRE_H

#include "common/status.h"
#include "proto/engine.pb-c.h" /* brings protobuf-c's types */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum choir_wire_verdict {
    CHOIR_WIRE_OK,
    CHOIR_WIRE_MALFORMED, /* not a message of this type at all */
    CHOIR_WIRE_UNKNOWN,   /* has a field that this version does not know */
    CHOIR_WIRE_TEXT,      /* a string is not UTF-8 or holds a NUL character */
} choir_wire_verdict;

enum { CHOIR_WIRE_DEPTH = 8 }; /* of messages in messages; ours have 4 */

/*
 * Walks bytes[0..length) as a message of this type, without recursion or allocation. The first
 * thing that is wrong decides; *field is then the name of the field in question, "" if it has none,
 * and the name of the message that holds the unknown field for UNKNOWN.
 */
choir_wire_verdict choir_wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                                    size_t length, bool allows_unknown,
                                    const char **field) CHOIR_MUST_CHECK;

/*
 * Unpacks with at most max_bytes of memory. EFORMAT: malformed or over it. Must be given back to
 * choir_wire_free(). Check client bytes first.
 */
choir_status choir_wire_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                               size_t length, size_t max_bytes,
                               ProtobufCMessage **message) CHOIR_MUST_CHECK;
/* Accepts NULL. */
void choir_wire_free(ProtobufCMessage *message);

/* Packs behind `reserved` bytes that the caller fills; *length counts them too. free(*bytes). */
choir_status choir_wire_pack(const ProtobufCMessage *message, size_t reserved, uint8_t **bytes,
                             size_t *length) CHOIR_MUST_CHECK;

#endif
