/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/prompt.h"

#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

static choir_error_kind kind_of(choir_status status, choir_error_kind invalid)
{
    if (status == CHOIR_OK)
        return CHOIR_ERROR_NONE;
    if (status == CHOIR_ENOMEM)
        return CHOIR_ERROR_MEMORY;
    return status == CHOIR_EINVALID ? invalid : CHOIR_ERROR_INTERNAL;
}

static choir_error_kind from_ids(const Choir__Client__TokenIds *tokens, int32_t **ids,
                                 size_t *n_ids)
{
    const choir_status status = choir_alloc(tokens->n_ids, sizeof **ids, (void **)ids);
    if (status != CHOIR_OK)
        return CHOIR_ERROR_MEMORY;
    *n_ids = tokens->n_ids;
    if (*n_ids > 0)
        memcpy(*ids, tokens->ids, *n_ids * sizeof **ids);
    return CHOIR_ERROR_NONE;
}

static choir_error_kind add_bos(const choir_tokenizer *tokenizer, int32_t **ids, size_t *n_ids)
{
    int32_t *longer = NULL;
    size_t count;
    if (!choir_size_add(*n_ids, 1, &count) ||
        choir_alloc(count, sizeof *longer, (void **)&longer) != CHOIR_OK) {
        free(*ids);
        *ids = NULL;
        return CHOIR_ERROR_MEMORY;
    }
    longer[0] = choir_tokenizer_bos(tokenizer);
    memcpy(longer + 1, *ids, *n_ids * sizeof *longer);
    free(*ids);
    *ids = longer;
    *n_ids = count;
    return CHOIR_ERROR_NONE;
}

static choir_error_kind from_text(const char *text, const choir_tokenizer *tokenizer,
                                  size_t max_bytes, int32_t **ids, size_t *n_ids,
                                  const char **param)
{
    const size_t length = strlen(text);
    *param = "text";
    if (length > max_bytes)
        return CHOIR_ERROR_INPUT_TOKENS;
    const choir_status status = choir_tokenizer_encode(tokenizer, text, length, false, ids, n_ids);
    if (status != CHOIR_OK)
        return kind_of(status, CHOIR_ERROR_INPUT_BYTES);
    return choir_tokenizer_adds_bos(tokenizer) ? add_bos(tokenizer, ids, n_ids) : CHOIR_ERROR_NONE;
}

static size_t content_bytes(const choir_chat_messages *messages)
{
    size_t bytes = 0; /* at most those of the JSON */
    for (size_t i = 0; i < messages->n_messages; i++)
        bytes += messages->messages[i].length;
    return bytes;
}

static choir_error_kind from_chat(const char *json, const choir_tokenizer *tokenizer,
                                  choir_chat_template chat_template, size_t max_bytes,
                                  int32_t **ids, size_t *n_ids)
{
    choir_chat_messages messages = {0};
    choir_status status = choir_chat_parse_messages(json, strlen(json), &messages);
    const bool is_too_long = status == CHOIR_OK && content_bytes(&messages) > max_bytes;
    if (status == CHOIR_OK && !is_too_long)
        status = choir_chat_encode(chat_template, tokenizer, messages.messages, messages.n_messages,
                                   true, ids, n_ids);
    choir_chat_messages_destroy(&messages);
    return is_too_long ? CHOIR_ERROR_INPUT_TOKENS : kind_of(status, CHOIR_ERROR_MESSAGES);
}

choir_error_kind choir_prompt_of_generate(const Choir__Client__Generate *generate,
                                          const choir_tokenizer *tokenizer,
                                          choir_chat_template chat_template, size_t max_bytes,
                                          int32_t **ids, size_t *n_ids, const char **param)
{
    *ids = NULL;
    *n_ids = 0;
    switch (generate->input_case) {
    case CHOIR__CLIENT__GENERATE__INPUT_TEXT:
        return from_text(generate->text, tokenizer, max_bytes, ids, n_ids, param);
    case CHOIR__CLIENT__GENERATE__INPUT_CHAT:
        *param = "messages_json";
        return from_chat(generate->chat->messages_json, tokenizer, chat_template, max_bytes, ids,
                         n_ids);
    case CHOIR__CLIENT__GENERATE__INPUT_TOKEN_IDS:
        *param = "token_ids";
        return from_ids(generate->token_ids, ids, n_ids);
    default:
        *param = "input";
        return CHOIR_ERROR_INPUT;
    }
}

choir_error_kind choir_prompt_of_plain(const char *text, const Choir__Client__TokenIds *tokens,
                                       const choir_tokenizer *tokenizer, size_t max_bytes,
                                       int32_t **ids, size_t *n_ids, const char **param)
{
    *ids = NULL;
    *n_ids = 0;
    if (text)
        return from_text(text, tokenizer, max_bytes, ids, n_ids, param);
    *param = "token_ids";
    return from_ids(tokens, ids, n_ids);
}
