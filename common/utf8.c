/* SPDX-License-Identifier: Apache-2.0 */
#include "common/utf8.h"

/* One row of table 3-7: the range of the first byte, of the second, and the length. */
typedef struct utf8_form {
    unsigned char first_low, first_high;
    unsigned char second_low, second_high;
    size_t bytes;
} utf8_form;

static const utf8_form *form_of(unsigned char first)
{
    static const utf8_form forms[] = {
        {0x00, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (first >= forms[i].first_low && first <= forms[i].first_high)
            return &forms[i];
    return NULL;
}

/* How many of the first `length` bytes agree with the form, at most form->bytes. */
static size_t matching_bytes(const utf8_form *form, const unsigned char *text, size_t length)
{
    size_t n = 1;
    if (n < form->bytes && n < length && text[1] >= form->second_low &&
        text[1] <= form->second_high)
        n++;
    while (n >= 2 && n < form->bytes && n < length && (text[n] & 0xc0) == 0x80)
        n++;
    return n;
}

size_t choir_utf8_character(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    const utf8_form *form = length > 0 ? form_of(bytes[0]) : NULL;
    return form && matching_bytes(form, bytes, length) == form->bytes ? form->bytes : 0;
}

bool choir_utf8_is_valid(const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        const size_t bytes = choir_utf8_character(text + i, length - i);
        if (bytes == 0)
            return false;
        i += bytes;
    }
    return true;
}

size_t choir_utf8_incomplete_tail(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t tail = 1; tail <= 3 && tail <= length; tail++) {
        const unsigned char *start = bytes + length - tail;
        const utf8_form *form = form_of(start[0]);
        if (form && form->bytes > tail && matching_bytes(form, start, tail) == tail)
            return tail;
    }
    return 0;
}
