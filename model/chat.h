/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversations to token ids. No template language from a model file is executed: the file's
 * template is recognised as one of those built in here.
 */
#ifndef CHOIR_MODEL_CHAT_H
#define CHOIR_MODEL_CHAT_H

#include "model/gguf.h"
#include "model/tokenizer.h"

typedef enum choir_chat_template {
    CHOIR_CHAT_NONE = 0, /* the file has none, or one that is not known: completion only */
    CHOIR_CHAT_CHATML,   /* <|im_start|>ROLE\nTEXT<|im_end|>\n */
    CHOIR_CHAT_SMOLLM,   /* ChatML with a system message of its own where the first is none */
    CHOIR_CHAT_LLAMA3,   /* <|start_header_id|>ROLE<|end_header_id|>\n\nTEXT<|eot_id|> */
    CHOIR_CHAT_LLAMA31,  /* the same with dates in a system message that is always there */
} choir_chat_template;

typedef enum choir_chat_role {
    CHOIR_CHAT_SYSTEM,
    CHOIR_CHAT_USER,
    CHOIR_CHAT_ASSISTANT,
} choir_chat_role;

typedef struct choir_chat_message {
    choir_chat_role role;
    const char *content; /* UTF-8, may hold control words: they stay plain text */
    size_t length;       /* of content, bytes */
} choir_chat_message;

/* A list that owns its texts; choir_chat_messages_destroy() releases it. */
typedef struct choir_chat_messages {
    choir_chat_message *messages;
    size_t n_messages;
} choir_chat_messages;

enum { CHOIR_CHAT_MAX_MESSAGES = 1024, CHOIR_CHAT_MAX_BYTES = 4 << 20 };

/*
 * The template of the file, recognised in `tokenizer.chat_template`. EUNSUPPORTED, with words for
 * the user, where there is none or it is unknown; *result is then CHOIR_CHAT_NONE, which may be
 * kept: everything but chat works.
 */
choir_status choir_chat_recognise(const choir_gguf *gguf,
                                  choir_chat_template *result) CHOIR_MUST_CHECK;
/* A fixed name such as "chatml". */
const char *choir_chat_template_name(choir_chat_template template);

/*
 * The ids of the whole prompt: the messages, then, if `add_generation_prompt`, the begin of the
 * assistant's answer. Includes the bos token where there is to be one. *ids is for free(). Contents
 * never give control tokens. EUNSUPPORTED for CHOIR_CHAT_NONE, EFORMAT where the vocabulary lacks a
 * control word of the template, EINVALID for n_messages = 0 or over the caps.
 */
choir_status choir_chat_encode(choir_chat_template template, const choir_tokenizer *tokenizer,
                               const choir_chat_message *messages, size_t n_messages,
                               bool add_generation_prompt, int32_t **ids,
                               size_t *n_ids) CHOIR_MUST_CHECK;

/*
 * Messages from JSON: [{"role": "system"|"user"|"assistant", "content": "…"}, …], at least one.
 * EINVALID for anything else, naming the field, such as "messages[3].role". *result is emptied on
 * failure.
 */
choir_status choir_chat_parse_messages(const char *json, size_t length,
                                       choir_chat_messages *result) CHOIR_MUST_CHECK;
/* Accepts an empty or zeroed list; may be called twice. */
void choir_chat_messages_destroy(choir_chat_messages *messages);

#endif
