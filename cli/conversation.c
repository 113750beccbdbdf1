/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/conversation.h"

#include "common/json.h"
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

/* More than any built-in template adds to a message, and to the whole (a system message of its
 * own). */
enum { TOKENS_PER_MESSAGE = 8, TOKENS_OF_TEMPLATE = 48 };

static choir_status make_message(const char *content, size_t length, size_t n_tokens,
                                 choir_conversation_message *message)
{
    *message = (choir_conversation_message){.length = length, .n_tokens = n_tokens};
    return choir_copy_string(content, length, &message->content);
}

choir_status choir_conversation_set_system(choir_conversation *conversation, const char *content,
                                           size_t length, size_t n_tokens)
{
    free(conversation->system.content);
    return make_message(content, length, n_tokens, &conversation->system);
}

choir_status choir_conversation_add(choir_conversation *conversation, const char *content,
                                    size_t length, size_t n_tokens)
{
    choir_status status = choir_grow((void **)&conversation->messages, &conversation->capacity,
                                     conversation->n_messages + 1, sizeof *conversation->messages);
    if (status == CHOIR_OK)
        status = make_message(content, length, n_tokens,
                              &conversation->messages[conversation->n_messages]);
    if (status == CHOIR_OK)
        conversation->n_messages++;
    return status;
}

void choir_conversation_drop_last(choir_conversation *conversation)
{
    if (conversation->n_messages > 0)
        free(conversation->messages[--conversation->n_messages].content);
}

static size_t count_tokens(const choir_conversation *conversation)
{
    size_t n = TOKENS_OF_TEMPLATE;
    if (conversation->system.content != NULL)
        n += conversation->system.n_tokens + TOKENS_PER_MESSAGE;
    for (size_t i = 0; i < conversation->n_messages; i++)
        n += conversation->messages[i].n_tokens + TOKENS_PER_MESSAGE;
    return n;
}

static void forget_oldest_pair(choir_conversation *conversation)
{
    free(conversation->messages[0].content);
    free(conversation->messages[1].content);
    conversation->n_messages -= 2;
    memmove(conversation->messages, conversation->messages + 2,
            conversation->n_messages * sizeof *conversation->messages);
}

size_t choir_conversation_trim(choir_conversation *conversation, size_t n_context, size_t n_answer)
{
    size_t n_gone = 0;
    while (conversation->n_messages > 2 && count_tokens(conversation) + n_answer > n_context) {
        forget_oldest_pair(conversation);
        n_gone++;
    }
    return n_gone;
}

static void append_message(choir_json *list, const char *role,
                           const choir_conversation_message *message)
{
    choir_json *object = choir_json_make_object();
    choir_json_set(object, "role", choir_json_make_string(role, strlen(role)));
    choir_json_set(object, "content", choir_json_make_string(message->content, message->length));
    choir_json_append(list, object);
}

choir_status choir_conversation_to_json(const choir_conversation *conversation, char **json)
{
    choir_json *list = choir_json_make_array();
    if (conversation->system.content != NULL)
        append_message(list, "system", &conversation->system);
    for (size_t i = 0; i < conversation->n_messages; i++)
        append_message(list, i % 2 == 0 ? "user" : "assistant", &conversation->messages[i]);
    const choir_status status = choir_json_dump(list, json);
    choir_json_destroy(&list);
    return status;
}

void choir_conversation_destroy(choir_conversation *conversation)
{
    while (conversation->n_messages > 0)
        choir_conversation_drop_last(conversation);
    free(conversation->messages);
    free(conversation->system.content);
    *conversation = (choir_conversation){0};
}
