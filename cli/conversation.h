/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history of a chat: an optional system message, then questions and answers in turn. What no
 * longer fits the context is forgotten from its old end, a question with its answer at a time.
 */
#ifndef CHOIR_CLI_CONVERSATION_H
#define CHOIR_CLI_CONVERSATION_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct choir_conversation_message {
    char *content; /* owned */
    size_t length;
    size_t n_tokens; /* of the content */
} choir_conversation_message;

/* Zero it. The content of `system` is NULL if there is none. */
typedef struct choir_conversation {
    choir_conversation_message system;
    choir_conversation_message *messages; /* questions at even places, answers at odd ones */
    size_t n_messages, capacity;
} choir_conversation;

/* Copies the content. */
choir_status choir_conversation_set_system(choir_conversation *conversation, const char *content,
                                           size_t length, size_t n_tokens) CHOIR_MUST_CHECK;
/* Adds a question, or the answer to the last one. */
choir_status choir_conversation_add(choir_conversation *conversation, const char *content,
                                    size_t length, size_t n_tokens) CHOIR_MUST_CHECK;
/* Takes the last message back: a question that got no answer. */
void choir_conversation_drop_last(choir_conversation *conversation);
/*
 * Forgets the oldest pairs of question and answer until the rest, with what templates add to it,
 * leaves `n_answer` of `n_context` tokens free; the last question always stays. Returns how many
 * pairs are gone.
 */
size_t choir_conversation_trim(choir_conversation *conversation, size_t n_context, size_t n_answer);
/* [{"role", "content"}, …] on one line; free() releases it. */
choir_status choir_conversation_to_json(const choir_conversation *conversation,
                                        char **json) CHOIR_MUST_CHECK;
void choir_conversation_destroy(choir_conversation *conversation);

#endif
