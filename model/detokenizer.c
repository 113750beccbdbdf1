/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is held back is at most the three bytes that begin a character. Everything in front of it
 * goes out at once, with U+FFFD for each longest part of a character that cannot go on (Unicode
 * 15, 3.9).
 */
#include "model/detokenizer.h"

#include "common/mem.h"
#include "common/utf8.h"

#include <stdlib.h>
#include <string.h>

struct choir_detokenizer {
    const choir_tokenizer *tokenizer;
    unsigned flags;
    char held[4];
    size_t n_held;
    char *bytes, *text; /* held and the new piece; the text of the last call */
    size_t bytes_capacity, text_capacity;
};

choir_status choir_detokenizer_create(const choir_tokenizer *tokenizer, unsigned flags,
                                      choir_detokenizer **result)
{
    choir_status status = choir_alloc(1, sizeof **result, (void **)result);
    if (status != CHOIR_OK)
        return status;
    (*result)->tokenizer = tokenizer;
    (*result)->flags = flags;
    return CHOIR_OK;
}

void choir_detokenizer_destroy(choir_detokenizer **detokenizer)
{
    if (*detokenizer) {
        free((*detokenizer)->bytes);
        free((*detokenizer)->text);
    }
    free(*detokenizer);
    *detokenizer = NULL;
}

/* Bytes of the longest begin of a character at bytes[0], where no whole one is; at least 1. */
static size_t broken_length(const char *bytes, size_t length)
{
    for (size_t n = length < 3 ? length : 3; n > 1; n--)
        if (choir_utf8_incomplete_tail(bytes, n) == n)
            return n;
    return 1;
}

/* Makes `text` from bytes[0..length), broken parts replaced; it grows threefold at most. */
static choir_status repair(choir_detokenizer *detokenizer, const char *bytes, size_t length,
                           const char **text, size_t *text_length)
{
    choir_status status =
        choir_grow((void **)&detokenizer->text, &detokenizer->text_capacity, 3 * length + 1, 1);
    if (status != CHOIR_OK)
        return status;
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        const bool is_refused =
            bytes[i] == '\0' && (detokenizer->flags & CHOIR_DETOKENIZE_REPLACE_NUL);
        const size_t character = is_refused ? 0 : choir_utf8_character(bytes + i, length - i);
        memcpy(detokenizer->text + n, character ? bytes + i : "\xef\xbf\xbd",
               character ? character : 3);
        n += character ? character : 3;
        i += character ? character : broken_length(bytes + i, length - i);
    }
    detokenizer->text[n] = '\0';
    *text = detokenizer->text;
    *text_length = n;
    return CHOIR_OK;
}

choir_status choir_detokenizer_add(choir_detokenizer *detokenizer, int32_t id, const char **text,
                                   size_t *length)
{
    const choir_tokenizer *tokenizer = detokenizer->tokenizer;
    const char *piece = "";
    size_t piece_length = 0;
    *text = "";
    *length = 0;
    if (id < 0 || id >= choir_tokenizer_size(tokenizer))
        return choir_fail(CHOIR_EINVALID, "token id %d; the vocabulary has %d tokens", (int)id,
                          (int)choir_tokenizer_size(tokenizer));
    if (!(detokenizer->flags & CHOIR_DETOKENIZE_SKIP_CONTROL) ||
        !choir_tokenizer_is_control(tokenizer, id))
        choir_tokenizer_piece(tokenizer, id, &piece, &piece_length);
    size_t n = detokenizer->n_held;
    choir_status status = choir_grow((void **)&detokenizer->bytes, &detokenizer->bytes_capacity,
                                     n + piece_length + 1, 1);
    if (status != CHOIR_OK)
        return status;
    memcpy(detokenizer->bytes, detokenizer->held, n);
    memcpy(detokenizer->bytes + n, piece, piece_length);
    n += piece_length;
    const size_t tail = choir_utf8_incomplete_tail(detokenizer->bytes, n);
    status = repair(detokenizer, detokenizer->bytes, n - tail, text, length);
    if (status != CHOIR_OK)
        return status;
    memcpy(detokenizer->held, detokenizer->bytes + n - tail, tail);
    detokenizer->n_held = tail;
    return CHOIR_OK;
}

choir_status choir_detokenizer_flush(choir_detokenizer *detokenizer, const char **text,
                                     size_t *length)
{
    *text = "";
    *length = 0;
    choir_status status = repair(detokenizer, detokenizer->held, detokenizer->n_held, text, length);
    if (status == CHOIR_OK)
        detokenizer->n_held = 0;
    return status;
}

static choir_status append(char **all, size_t *capacity, size_t *n, const char *text, size_t length)
{
    choir_status status = choir_grow((void **)all, capacity, *n + length + 1, 1);
    if (status != CHOIR_OK)
        return status;
    memcpy(*all + *n, text, length);
    *n += length;
    (*all)[*n] = '\0';
    return CHOIR_OK;
}

choir_status choir_detokenize(const choir_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                              unsigned flags, char **text, size_t *length)
{
    choir_detokenizer *detokenizer = NULL;
    size_t capacity = 0;
    const char *part;
    size_t part_length;
    *text = NULL;
    *length = 0;
    choir_status status = choir_detokenizer_create(tokenizer, flags, &detokenizer);
    for (size_t i = 0; i < n_ids && status == CHOIR_OK; i++) {
        status = choir_detokenizer_add(detokenizer, ids[i], &part, &part_length);
        if (status == CHOIR_OK)
            status = append(text, &capacity, length, part, part_length);
    }
    if (status == CHOIR_OK)
        status = choir_detokenizer_flush(detokenizer, &part, &part_length);
    if (status == CHOIR_OK)
        status = append(text, &capacity, length, part, part_length);
    choir_detokenizer_destroy(&detokenizer);
    if (status != CHOIR_OK) {
        free(*text);
        *text = NULL;
        *length = 0;
    }
    return status;
}
