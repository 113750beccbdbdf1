/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire.h"

#include "common/mem.h"
#include "common/utf8.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The wire types; groups (3, 4) are not proto3. */
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* The part of the bytes that belongs to one message, and how far it was walked. */
typedef struct wire_span {
    const ProtobufCMessageDescriptor *type;
    const uint8_t *bytes;
    size_t length;
} wire_span;

static bool take_varint(wire_span *span, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < 10 && i < span->length; i++) {
        *value |= (uint64_t)(span->bytes[i] & 0x7f) << (7 * i);
        if (!(span->bytes[i] & 0x80)) {
            span->bytes += i + 1;
            span->length -= i + 1;
            return true;
        }
    }
    return false;
}

static bool take_bytes(wire_span *span, uint64_t length, const uint8_t **bytes)
{
    if (length > span->length)
        return false;
    *bytes = span->bytes;
    span->bytes += length;
    span->length -= (size_t)length;
    return true;
}

static uint32_t scalar_wire_type(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

/* A value of a wire type that says its own length; groups have none. */
static bool take_value(wire_span *span, uint32_t wire_type)
{
    uint64_t value;
    const uint8_t *bytes;
    switch (wire_type) {
    case WIRE_VARINT:
        return take_varint(span, &value);
    case WIRE_64:
        return take_bytes(span, 8, &bytes);
    case WIRE_BYTES:
        return take_varint(span, &value) && take_bytes(span, value, &bytes);
    case WIRE_32:
        return take_bytes(span, 4, &bytes);
    default:
        return false;
    }
}

/* A packed array: as many whole scalars as its bytes hold. */
static bool is_packed(wire_span array, uint32_t wire_type)
{
    while (array.length > 0)
        if (!take_value(&array, wire_type))
            return false;
    return true;
}

/* One field of *span. A message in it is not entered but handed out as *inner. */
static choir_wire_verdict check_field(wire_span *span, bool allows_unknown, wire_span *inner,
                                      const char **field)
{
    uint64_t tag, length;
    inner->type = NULL;
    if (!take_varint(span, &tag) || tag >> 3 == 0 || tag >> 3 > 536870911)
        return CHOIR_WIRE_MALFORMED;
    const ProtobufCFieldDescriptor *known =
        protobuf_c_message_descriptor_get_field(span->type, (unsigned)(tag >> 3));
    if (!known && allows_unknown)
        return take_value(span, tag & 7) ? CHOIR_WIRE_OK : CHOIR_WIRE_MALFORMED;
    if (!known) {
        *field = span->type->short_name;
        return CHOIR_WIRE_UNKNOWN;
    }
    *field = known->name;
    const uint32_t wire_type = tag & 7, scalar = scalar_wire_type(known->type);
    if (scalar != WIRE_BYTES && wire_type == scalar)
        return take_value(span, scalar) ? CHOIR_WIRE_OK : CHOIR_WIRE_MALFORMED;
    wire_span part = {.type = known->descriptor};
    if (wire_type != WIRE_BYTES || !take_varint(span, &length) ||
        !take_bytes(span, length, &part.bytes))
        return CHOIR_WIRE_MALFORMED;
    part.length = (size_t)length;
    if (scalar != WIRE_BYTES)
        return known->label == PROTOBUF_C_LABEL_REPEATED && is_packed(part, scalar)
                   ? CHOIR_WIRE_OK
                   : CHOIR_WIRE_MALFORMED;
    if (known->type == PROTOBUF_C_TYPE_STRING &&
        ((length > 0 && memchr(part.bytes, 0, part.length)) ||
         !choir_utf8_is_valid((const char *)part.bytes, part.length)))
        return CHOIR_WIRE_TEXT;
    if (known->type == PROTOBUF_C_TYPE_MESSAGE)
        *inner = part;
    return CHOIR_WIRE_OK;
}

choir_wire_verdict choir_wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                                    size_t length, bool allows_unknown, const char **field)
{
    wire_span open[CHOIR_WIRE_DEPTH] = {{type, bytes, length}};
    size_t depth = 1;
    *field = "";
    while (depth > 0) {
        wire_span inner;
        if (open[depth - 1].length == 0) {
            depth--;
            continue;
        }
        const choir_wire_verdict verdict =
            check_field(&open[depth - 1], allows_unknown, &inner, field);
        if (verdict != CHOIR_WIRE_OK)
            return verdict;
        if (inner.type && depth == CHOIR_WIRE_DEPTH)
            return CHOIR_WIRE_MALFORMED;
        if (inner.type)
            open[depth++] = inner;
    }
    *field = "";
    return CHOIR_WIRE_OK;
}

/* Each block remembers nothing: what unpacking frees on its way is little, and is not counted back.
 */
static void *limited_alloc(void *data, size_t size)
{
    size_t *bytes_left = data;
    if (size > *bytes_left)
        return NULL;
    *bytes_left -= size;
    return malloc(size);
}

static void limited_free(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

choir_status choir_wire_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                               size_t length, size_t max_bytes, ProtobufCMessage **message)
{
    ProtobufCAllocator allocator = {limited_alloc, limited_free, &max_bytes};
    *message = protobuf_c_message_unpack(type, &allocator, length, bytes);
    if (!*message)
        return choir_fail(CHOIR_EFORMAT, "not a %s message, or too large", type->short_name);
    return CHOIR_OK;
}

void choir_wire_free(ProtobufCMessage *message)
{
    if (message) /* the default allocator's free() is limited_free()'s */
        protobuf_c_message_free_unpacked(message, NULL);
}

choir_status choir_wire_pack(const ProtobufCMessage *message, size_t reserved, uint8_t **bytes,
                             size_t *length)
{
    if (!choir_size_add(protobuf_c_message_get_packed_size(message), reserved, length))
        return choir_fail(CHOIR_ENOMEM, "message too large");
    const choir_status status = choir_alloc(*length, 1, (void **)bytes);
    if (status == CHOIR_OK)
        protobuf_c_message_pack(message, *bytes + reserved);
    return status;
}
