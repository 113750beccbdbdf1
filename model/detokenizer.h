/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of token ids to a stream of text: every piece of text it gives is whole, valid UTF-8, so
 * a character whose bytes come in several tokens appears with the last of them. Bytes that begin no
 * character become U+FFFD.
 */
#ifndef CHOIR_MODEL_DETOKENIZER_H
#define CHOIR_MODEL_DETOKENIZER_H

#include "model/tokenizer.h"

typedef struct choir_detokenizer choir_detokenizer;

enum {
    CHOIR_DETOKENIZE_SKIP_CONTROL = 1, /* control tokens give no text */
    CHOIR_DETOKENIZE_REPLACE_NUL = 2,  /* a NUL byte becomes U+FFFD, as on a wire without NULs */
};

/* Borrows the tokenizer as long as it lives. `flags` are those above. */
choir_status choir_detokenizer_create(const choir_tokenizer *tokenizer, unsigned flags,
                                      choir_detokenizer **result) CHOIR_MUST_CHECK;
void choir_detokenizer_destroy(choir_detokenizer **detokenizer);

/*
 * The text that `id` completes: *text[0..*length), possibly empty, NUL behind it, valid until the
 * next call. EINVALID for an id outside the vocabulary; the stream then is as before.
 */
choir_status choir_detokenizer_add(choir_detokenizer *detokenizer, int32_t id, const char **text,
                                   size_t *length) CHOIR_MUST_CHECK;
/* The same for what is held back when the ids end, as U+FFFD; then the stream is as new. */
choir_status choir_detokenizer_flush(choir_detokenizer *detokenizer, const char **text,
                                     size_t *length) CHOIR_MUST_CHECK;

/*
 * All of ids[0..n_ids) at once, with flush. *text is for free(), NUL behind its *length bytes.
 */
choir_status choir_detokenize(const choir_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                              unsigned flags, char **text, size_t *length) CHOIR_MUST_CHECK;

#endif
