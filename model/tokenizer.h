/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts to token ids and back, as the model file says: byte-level BPE (`tokenizer.ggml.model` =
 * gpt2) with the pre-tokenizers smollm, gpt-2 and llama-bpe.
 *
 * A choir_tokenizer is constant once made: any number of threads may use it at once. It keeps
 * nothing of the choir_gguf it was made from. Ids are 0 <= id < choir_tokenizer_size().
 */
#ifndef CHOIR_MODEL_TOKENIZER_H
#define CHOIR_MODEL_TOKENIZER_H

#include "common/status.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct choir_tokenizer choir_tokenizer;

/* Texts longer than this are refused (EINVALID); requests are capped far below it. */
enum { CHOIR_TOKENIZER_MAX_TEXT = 1 << 30 };

/*
 * EFORMAT for tokenizer data that contradicts itself, naming what; EUNSUPPORTED for another kind of
 * tokenizer or pre-tokenizer, naming it. *result is NULL on failure.
 */
choir_status choir_tokenizer_create(const choir_gguf *gguf,
                                    choir_tokenizer **result) CHOIR_MUST_CHECK;
void choir_tokenizer_destroy(choir_tokenizer **tokenizer);

/*
 * The ids of text[0..length), which may be NULL if empty; *ids is for free(), never NULL on
 * success, and *n_ids may be 0. Adds no bos token.
 *
 * Control words such as <|im_end|> become their control tokens only if `with_control`; text of
 * users is encoded without, and then no bytes whatever give a control token.
 *
 * The text should be UTF-8; bytes that are none are encoded one by one. A byte for which the
 * vocabulary has no token (choir_tokenizer_create() allows that for C0 controls and bytes of
 * unassigned planes, which the default model lacks) is left out, as in the tokenizer the model was
 * trained with. Time is O(n log n) for every text.
 */
choir_status choir_tokenizer_encode(const choir_tokenizer *tokenizer, const char *text,
                                    size_t length, bool with_control, int32_t **ids,
                                    size_t *n_ids) CHOIR_MUST_CHECK;

/* Number of tokens in the vocabulary. */
int32_t choir_tokenizer_size(const choir_tokenizer *tokenizer);
/* The bytes an id stands for, borrowed from the tokenizer; they may be a part of a character. */
void choir_tokenizer_piece(const choir_tokenizer *tokenizer, int32_t id, const char **bytes,
                           size_t *length);
/* Whether the id is a control token: a mark of the template, not text. */
bool choir_tokenizer_is_control(const choir_tokenizer *tokenizer, int32_t id);
/* The id of the control token that is written as `word`; -1 if there is none. */
int32_t choir_tokenizer_find_control(const choir_tokenizer *tokenizer, const char *word);

/* Whether texts (not token ids) get the bos token in front; then choir_tokenizer_bos() is >= 0. */
bool choir_tokenizer_adds_bos(const choir_tokenizer *tokenizer);
int32_t choir_tokenizer_bos(const choir_tokenizer *tokenizer); /* -1 if there is none */

/* The tokens that end an answer, ascending, borrowed; *n_ids may be 0. */
const int32_t *choir_tokenizer_end_ids(const choir_tokenizer *tokenizer, size_t *n_ids);
bool choir_tokenizer_is_end(const choir_tokenizer *tokenizer, int32_t id);

#endif
