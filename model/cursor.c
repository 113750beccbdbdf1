/* SPDX-License-Identifier: Apache-2.0 */
#include "model/cursor.h"
#include "common/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read as they stand");

size_t choir_cursor_remaining(const choir_cursor *cursor)
{
    return cursor->length - cursor->position;
}

choir_status choir_cursor_take(choir_cursor *cursor, uint64_t length, const char *what,
                               const uint8_t **bytes)
{
    *bytes = NULL;
    if (length > choir_cursor_remaining(cursor))
        return choir_fail(
            CHOIR_EFORMAT, "%s: %s inside %s: %" PRIu64 " bytes needed at byte %zu, %zu are left",
            cursor->label,
            cursor->is_capped ? "the header reaches its cap of 256 MiB" : "the file ends", what,
            length, cursor->position, choir_cursor_remaining(cursor));
    *bytes = cursor->bytes + cursor->position;
    cursor->position += (size_t)length;
    return CHOIR_OK;
}

choir_status choir_cursor_u32(choir_cursor *cursor, const char *what, uint32_t *value)
{
    const uint8_t *bytes;
    choir_status status = choir_cursor_take(cursor, sizeof *value, what, &bytes);
    if (bytes)
        memcpy(value, bytes, sizeof *value);
    return status;
}

choir_status choir_cursor_u64(choir_cursor *cursor, const char *what, uint64_t *value)
{
    const uint8_t *bytes;
    choir_status status = choir_cursor_take(cursor, sizeof *value, what, &bytes);
    if (bytes)
        memcpy(value, bytes, sizeof *value);
    return status;
}

choir_status choir_cursor_string(choir_cursor *cursor, const char *what, size_t cap,
                                 const char **text, size_t *length)
{
    const size_t start = cursor->position;
    uint64_t n = 0;
    choir_status status = choir_cursor_u64(cursor, what, &n);
    if (status != CHOIR_OK)
        return status;
    if (n <= choir_cursor_remaining(cursor) && n > cap)
        return choir_fail(CHOIR_EFORMAT, "%s: %s at byte %zu has %" PRIu64 " bytes; the cap is %zu",
                          cursor->label, what, start, n, cap);
    const uint8_t *bytes;
    status = choir_cursor_take(cursor, n, what, &bytes);
    if (status != CHOIR_OK)
        return status;
    if (memchr(bytes, 0, (size_t)n) || !choir_utf8_is_valid((const char *)bytes, (size_t)n))
        return choir_fail(CHOIR_EFORMAT, "%s: %s at byte %zu is not UTF-8 text without NUL",
                          cursor->label, what, start);
    *text = (const char *)bytes;
    *length = (size_t)n;
    return CHOIR_OK;
}
