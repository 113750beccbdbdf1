/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting a text into the pieces inside of which byte pairs may merge, roughly words. The rules are
 * those that the names of `tokenizer.ggml.pre` stand for.
 */
#ifndef CHOIR_MODEL_PRETOKENIZE_H
#define CHOIR_MODEL_PRETOKENIZE_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct choir_pretokenizer choir_pretokenizer;

/* What takes the pieces of a text, in order; a failure ends the cutting and is passed up. */
typedef choir_status (*choir_piece_fn)(void *context, const char *piece, size_t length);

/* name[0..length): smollm, gpt-2 or llama-bpe; EUNSUPPORTED for others. Constant once made. */
choir_status choir_pretokenizer_create(const char *name, size_t length,
                                       choir_pretokenizer **result) CHOIR_MUST_CHECK;
void choir_pretokenizer_destroy(choir_pretokenizer **pretokenizer);

/* Whether a piece that is a token as a whole is taken as that token, whatever the merges say. */
bool choir_pretokenizer_takes_whole(const choir_pretokenizer *pretokenizer);
/* Whether texts begin with bos where the file does not say. */
bool choir_pretokenizer_adds_bos(const choir_pretokenizer *pretokenizer);

/*
 * Calls take(context, piece) for pieces that together are text[0..length). Any bytes are good: runs
 * of bytes that are not UTF-8 are pieces of their own. Linear in `length`.
 */
choir_status choir_pretokenize(const choir_pretokenizer *pretokenizer, const char *text,
                               size_t length, choir_piece_fn take, void *context) CHOIR_MUST_CHECK;

#endif
