/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place in bytes that nobody vouches for: every read checks what remains first. The words of a
 * failure name the file, what was being read and where.
 */
#ifndef CHOIR_MODEL_CURSOR_H
#define CHOIR_MODEL_CURSOR_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct choir_cursor {
    const uint8_t *bytes;
    size_t length;     /* nothing is read from here on */
    size_t position;   /* <= length */
    const char *label; /* the file's name */
    bool is_capped;    /* length is a cap of ours: the file goes on */
} choir_cursor;

size_t choir_cursor_remaining(const choir_cursor *cursor);
/* `length` bytes, borrowed; EFORMAT if there are fewer. `what` as in "the file ends inside WHAT".
 */
choir_status choir_cursor_take(choir_cursor *cursor, uint64_t length, const char *what,
                               const uint8_t **bytes) CHOIR_MUST_CHECK;
/* Little-endian. */
choir_status choir_cursor_u32(choir_cursor *cursor, const char *what,
                              uint32_t *value) CHOIR_MUST_CHECK;
choir_status choir_cursor_u64(choir_cursor *cursor, const char *what,
                              uint64_t *value) CHOIR_MUST_CHECK;
/*
 * A u64 length, at most `cap`, and as many bytes, which must be valid UTF-8 without NUL. *text
 * borrows the cursor's bytes.
 */
choir_status choir_cursor_string(choir_cursor *cursor, const char *what, size_t cap,
                                 const char **text, size_t *length) CHOIR_MUST_CHECK;

#endif
