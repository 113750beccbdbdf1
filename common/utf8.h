/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as Unicode 15, table 3-7 defines it: no surrogates, no overlong forms, at most U+10FFFF. */
#ifndef CHOIR_COMMON_UTF8_H
#define CHOIR_COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes (1 to 4) of the valid character that begins text[0..length); 0 if none does. */
size_t choir_utf8_character(const char *text, size_t length);
/* Whether all of it is valid. A NUL byte is a character like others. */
bool choir_utf8_is_valid(const char *text, size_t length);
/*
 * Bytes at the end of text[0..length) that begin a character and may become valid with more bytes
 * (0 to 3): what a stream has to hold back.
 */
size_t choir_utf8_incomplete_tail(const char *text, size_t length);

#endif
