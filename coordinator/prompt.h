/* SPDX-License-Identifier: Apache-2.0 */
/* The input of a request as token ids. */
#ifndef CHOIR_COORDINATOR_PROMPT_H
#define CHOIR_COORDINATOR_PROMPT_H

#include "model/chat.h"
#include "model/tokenizer.h"
#include "proto/client.pb-c.h"
#include "proto/errors.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A text gets the bos token where the model file says so; a chat goes through the model's template;
 * token ids are taken as they stand. Control words in texts and chats stay plain text. The input is
 * one that choir_request_check_generate() and so on have passed; of its text max_bytes at most are
 * read, else it is too long. free(*ids). On an error *ids is NULL and *param the field's name.
 * Pure; time is nearly linear in the bytes.
 */
choir_error_kind choir_prompt_of_generate(const Choir__Client__Generate *generate,
                                          const choir_tokenizer *tokenizer,
                                          choir_chat_template chat_template, size_t max_bytes,
                                          int32_t **ids, size_t *n_ids,
                                          const char **param) CHOIR_MUST_CHECK;
/* The same of a Score or Embed: its text, or where that is NULL its ids. */
choir_error_kind choir_prompt_of_plain(const char *text, const Choir__Client__TokenIds *tokens,
                                       const choir_tokenizer *tokenizer, size_t max_bytes,
                                       int32_t **ids, size_t *n_ids,
                                       const char **param) CHOIR_MUST_CHECK;

#endif
