/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A prompt is a row of control tokens with plain text between them. The plain text from one control
 * token to the next (a role, a line end and a content, say) is encoded in one run, without control
 * words: so the ids are those of the whole prompt's text, except that nothing inside of a content
 * can become a control token.
 *
 * A template counts as known when its control words are those of a known form and nothing in it,
 * such as a default system message, says something else. Better to refuse chat than to answer from
 * a prompt that the model was not trained on.
 */
#include "model/chat.h"

#include "common/json.h"
#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char smollm_system[] =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
/* The dates are the ones that the template itself falls back to: a prompt depends on no clock. */
static const char llama31_dates[] =
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";

static const char *const role_names[] = {
    [CHOIR_CHAT_SYSTEM] = "system",
    [CHOIR_CHAT_USER] = "user",
    [CHOIR_CHAT_ASSISTANT] = "assistant",
};
enum { N_ROLES = sizeof role_names / sizeof role_names[0] };

/* ---- Recognising ---- */

static bool contains(choir_gguf_string text, const char *words)
{
    return memmem(text.text, text.length, words, strlen(words)) != NULL;
}

/* Whether all words written <|…|> in the template are among those of the list, ended by NULL. */
static bool has_only(choir_gguf_string text, const char *const *words)
{
    const char *end = text.text + text.length;
    const char *at = text.text;
    while ((at = memmem(at, (size_t)(end - at), "<|", 2))) {
        const char *const *word = words;
        while (*word && ((size_t)(end - at) < strlen(*word) || memcmp(at, *word, strlen(*word))))
            word++;
        if (!*word)
            return false;
        at += 2;
    }
    return true;
}

/*
 * Whether `header`, a line end (as it is or escaped) and then words of text, no end of the literal,
 * stand in the template: a message that it adds by itself.
 */
static bool has_own_message(choir_gguf_string text, const char *header)
{
    const char *end = text.text + text.length;
    const char *at = text.text;
    while ((at = memmem(at, (size_t)(end - at), header, strlen(header)))) {
        at += strlen(header);
        if (end - at > 2 && at[0] == '\\' && at[1] == 'n')
            at += 2;
        else if (end - at > 1 && at[0] == '\n')
            at++;
        if (at < end && !strchr("'\"{<", *at))
            return true;
    }
    return false;
}

static choir_chat_template recognise_chatml(choir_gguf_string text)
{
    static const char *const words[] = {"<|im_start|>", "<|im_end|>", "<|endoftext|>", NULL};
    if (!contains(text, "<|im_start|>") || !contains(text, "<|im_end|>") ||
        !has_only(text, words) || contains(text, "bos_token"))
        return CHOIR_CHAT_NONE;
    if (!has_own_message(text, "<|im_start|>system"))
        return CHOIR_CHAT_CHATML;
    return contains(text, smollm_system) ? CHOIR_CHAT_SMOLLM : CHOIR_CHAT_NONE;
}

static choir_chat_template recognise_llama3(choir_gguf_string text)
{
    static const char *const words[] = {"<|begin_of_text|>",
                                        "<|start_header_id|>",
                                        "<|end_header_id|>",
                                        "<|eot_id|>",
                                        "<|eom_id|>",
                                        "<|python_tag|>",
                                        NULL};
    if (!contains(text, "<|start_header_id|>") || !contains(text, "<|end_header_id|>") ||
        !contains(text, "<|eot_id|>") || !has_only(text, words))
        return CHOIR_CHAT_NONE;
    if (contains(text, "Cutting Knowledge Date: December 2023") && contains(text, "26 Jul 2024"))
        return CHOIR_CHAT_LLAMA31;
    return contains(text, "Cutting Knowledge Date") ||
                   has_own_message(text, "<|start_header_id|>system<|end_header_id|>")
               ? CHOIR_CHAT_NONE
               : CHOIR_CHAT_LLAMA3;
}

choir_status choir_chat_recognise(const choir_gguf *gguf, choir_chat_template *result)
{
    static const char key[] = "tokenizer.chat_template";
    choir_gguf_string text;
    *result = CHOIR_CHAT_NONE;
    if (!choir_gguf_has(gguf, key))
        return choir_fail(
            CHOIR_EUNSUPPORTED,
            "the model file has no chat template: it continues texts, but cannot chat");
    choir_status status = choir_gguf_get_string(gguf, key, &text);
    if (status != CHOIR_OK)
        return status;
    *result = recognise_chatml(text);
    if (*result == CHOIR_CHAT_NONE)
        *result = recognise_llama3(text);
    if (*result == CHOIR_CHAT_NONE)
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "the model file's chat template is none of those that this version knows "
                          "(ChatML, SmolLM, Llama 3): it continues texts, but cannot chat");
    return CHOIR_OK;
}

const char *choir_chat_template_name(choir_chat_template template)
{
    static const char *const names[] = {
        [CHOIR_CHAT_NONE] = "none",        [CHOIR_CHAT_CHATML] = "chatml",
        [CHOIR_CHAT_SMOLLM] = "smollm",    [CHOIR_CHAT_LLAMA3] = "llama3",
        [CHOIR_CHAT_LLAMA31] = "llama3.1",
    };
    const unsigned index = (unsigned)template;
    return index < sizeof names / sizeof names[0] ? names[index] : "none";
}

/* ---- Encoding ---- */

/* A prompt that grows. After the first failure nothing more is added. */
typedef struct prompt {
    const choir_tokenizer *tokenizer;
    choir_status status;
    int32_t *ids;
    size_t n_ids, ids_capacity;
    char *text; /* what stands behind the last control token */
    size_t length, text_capacity;
} prompt;

static void add_text(prompt *made, const char *text, size_t length)
{
    if (made->status == CHOIR_OK)
        made->status =
            choir_grow((void **)&made->text, &made->text_capacity, made->length + length + 1, 1);
    if (made->status == CHOIR_OK && length > 0)
        memcpy(made->text + made->length, text, length);
    if (made->status == CHOIR_OK)
        made->length += length;
}

static void add_words(prompt *made, const char *words)
{
    add_text(made, words, strlen(words));
}

static void add_ids(prompt *made, const int32_t *ids, size_t n_ids)
{
    made->status = choir_grow((void **)&made->ids, &made->ids_capacity, made->n_ids + n_ids + 1,
                              sizeof *made->ids);
    if (made->status != CHOIR_OK)
        return;
    if (n_ids > 0)
        memcpy(made->ids + made->n_ids, ids, n_ids * sizeof *ids);
    made->n_ids += n_ids;
}

/* Encodes the text that waits. */
static void end_run(prompt *made)
{
    int32_t *ids = NULL;
    size_t n_ids;
    if (made->status == CHOIR_OK)
        made->status =
            choir_tokenizer_encode(made->tokenizer, made->text, made->length, false, &ids, &n_ids);
    if (made->status == CHOIR_OK)
        add_ids(made, ids, n_ids);
    made->length = 0;
    free(ids);
}

static void add_control(prompt *made, const char *word)
{
    end_run(made);
    const int32_t id = choir_tokenizer_find_control(made->tokenizer, word);
    if (made->status != CHOIR_OK)
        return;
    if (id < 0)
        made->status = choir_fail(
            CHOIR_EFORMAT, "the chat template uses %s, which is no control token here", word);
    else
        add_ids(made, &id, 1);
}

static void add_bos(prompt *made)
{
    const int32_t id = choir_tokenizer_bos(made->tokenizer);
    if (id < 0)
        made->status = choir_fail(CHOIR_EFORMAT, "the chat template needs a bos token; the file "
                                                 "has no tokenizer.ggml.bos_token_id");
    else
        add_ids(made, &id, 1);
}

static void add_chatml_header(prompt *made, choir_chat_role role)
{
    add_control(made, "<|im_start|>");
    add_words(made, role_names[role]);
    add_words(made, "\n");
}

static void add_chatml_message(prompt *made, choir_chat_role role, const char *text, size_t length)
{
    add_chatml_header(made, role);
    add_text(made, text, length);
    add_control(made, "<|im_end|>");
    add_words(made, "\n");
}

static void add_llama3_header(prompt *made, choir_chat_role role)
{
    add_control(made, "<|start_header_id|>");
    add_words(made, role_names[role]);
    add_control(made, "<|end_header_id|>");
    add_words(made, "\n\n");
}

/* The content without white space (of ASCII) around it, as these templates have it. */
static void add_trimmed(prompt *made, const char *text, size_t length)
{
    static const char spaces[] = " \t\n\v\f\r";
    while (length > 0 && memchr(spaces, text[length - 1], sizeof spaces - 1))
        length--;
    while (length > 0 && memchr(spaces, text[0], sizeof spaces - 1)) {
        text++;
        length--;
    }
    add_text(made, text, length);
}

/* The templates of Llama 3.1 and later always have a system message: the dates, then the given. */
static size_t add_llama31_system(prompt *made, const choir_chat_message *messages)
{
    const bool is_given = messages[0].role == CHOIR_CHAT_SYSTEM;
    add_llama3_header(made, CHOIR_CHAT_SYSTEM);
    add_words(made, llama31_dates);
    if (is_given)
        add_trimmed(made, messages[0].content, messages[0].length);
    add_control(made, "<|eot_id|>");
    return is_given;
}

static void render_chatml(prompt *made, choir_chat_template template,
                          const choir_chat_message *messages, size_t n_messages,
                          bool add_generation_prompt)
{
    if (choir_tokenizer_adds_bos(made->tokenizer))
        add_bos(made);
    if (template == CHOIR_CHAT_SMOLLM && messages[0].role != CHOIR_CHAT_SYSTEM)
        add_chatml_message(made, CHOIR_CHAT_SYSTEM, smollm_system, strlen(smollm_system));
    for (size_t i = 0; i < n_messages; i++)
        add_chatml_message(made, messages[i].role, messages[i].content, messages[i].length);
    if (add_generation_prompt)
        add_chatml_header(made, CHOIR_CHAT_ASSISTANT);
}

static void render_llama3(prompt *made, choir_chat_template template,
                          const choir_chat_message *messages, size_t n_messages,
                          bool add_generation_prompt)
{
    add_bos(made);
    size_t i = template == CHOIR_CHAT_LLAMA31 ? add_llama31_system(made, messages) : 0;
    for (; i < n_messages; i++) {
        add_llama3_header(made, messages[i].role);
        add_trimmed(made, messages[i].content, messages[i].length);
        add_control(made, "<|eot_id|>");
    }
    if (add_generation_prompt)
        add_llama3_header(made, CHOIR_CHAT_ASSISTANT);
}

static choir_status check_messages(const choir_chat_message *messages, size_t n_messages)
{
    size_t total = 0;
    if (n_messages == 0 || n_messages > CHOIR_CHAT_MAX_MESSAGES)
        return choir_fail(CHOIR_EINVALID, "messages: %zu of them; 1 to %d", n_messages,
                          CHOIR_CHAT_MAX_MESSAGES);
    for (size_t i = 0; i < n_messages; i++) {
        if ((unsigned)messages[i].role >= N_ROLES)
            return choir_fail(CHOIR_EINVALID, "messages[%zu].role is out of range", i);
        if (!choir_size_add(total, messages[i].length, &total) || total > CHOIR_CHAT_MAX_BYTES)
            return choir_fail(CHOIR_EINVALID, "messages: contents over %d bytes",
                              CHOIR_CHAT_MAX_BYTES);
    }
    return CHOIR_OK;
}

choir_status choir_chat_encode(choir_chat_template template, const choir_tokenizer *tokenizer,
                               const choir_chat_message *messages, size_t n_messages,
                               bool add_generation_prompt, int32_t **ids, size_t *n_ids)
{
    prompt made = {.tokenizer = tokenizer};
    *ids = NULL;
    *n_ids = 0;
    if (template == CHOIR_CHAT_NONE)
        return choir_fail(CHOIR_EUNSUPPORTED, "this model has no chat template that this version "
                                              "knows: send a text to continue instead");
    made.status = check_messages(messages, n_messages);
    if (made.status != CHOIR_OK)
        return made.status;
    if (template == CHOIR_CHAT_LLAMA3 || template == CHOIR_CHAT_LLAMA31)
        render_llama3(&made, template, messages, n_messages, add_generation_prompt);
    else
        render_chatml(&made, template, messages, n_messages, add_generation_prompt);
    end_run(&made);
    free(made.text);
    if (made.status != CHOIR_OK) {
        free(made.ids);
        return made.status;
    }
    *ids = made.ids;
    *n_ids = made.n_ids;
    return CHOIR_OK;
}

/* ---- Messages from JSON ---- */

static choir_status parse_message(const choir_json *json, size_t index, choir_chat_message *message)
{
    size_t position = 0;
    const char *key;
    const choir_json *value;
    if (choir_json_kind(json) != CHOIR_JSON_OBJECT)
        return choir_fail(CHOIR_EINVALID, "messages[%zu] is not an object", index);
    while (choir_json_next(json, &position, &key, &value))
        if (strcmp(key, "role") != 0 && strcmp(key, "content") != 0)
            return choir_fail(CHOIR_EINVALID,
                              "messages[%zu] has a field other than role and content", index);
    const char *role = choir_json_string(choir_json_get(json, "role"), "");
    size_t found = 0;
    while (found < N_ROLES && strcmp(role, role_names[found]) != 0)
        found++;
    if (found == N_ROLES)
        return choir_fail(CHOIR_EINVALID,
                          "messages[%zu].role is not \"system\", \"user\" or \"assistant\"", index);
    const char *content = choir_json_string(choir_json_get(json, "content"), NULL);
    if (!content)
        return choir_fail(CHOIR_EINVALID, "messages[%zu].content is not a string", index);
    message->role = (choir_chat_role)found;
    message->length = strlen(content);
    char *copy = NULL;
    choir_status status = choir_copy_string(content, message->length, &copy);
    message->content = copy;
    return status;
}

choir_status choir_chat_parse_messages(const char *json, size_t length, choir_chat_messages *result)
{
    choir_json *root = NULL;
    *result = (choir_chat_messages){0};
    /* A content of the largest size may need two bytes for one, but not much more. */
    if (length > 2 * (size_t)CHOIR_CHAT_MAX_BYTES)
        return choir_fail(CHOIR_EINVALID, "messages: %zu bytes of JSON; at most %d", length,
                          2 * CHOIR_CHAT_MAX_BYTES);
    if (choir_json_parse(json, length, &root) != CHOIR_OK)
        return choir_fail(CHOIR_EINVALID, "messages: %s", choir_error());
    choir_status status = CHOIR_OK;
    const size_t n = choir_json_size(root);
    if (choir_json_kind(root) != CHOIR_JSON_ARRAY)
        status = choir_fail(CHOIR_EINVALID, "messages: not an array");
    else if (n == 0 || n > CHOIR_CHAT_MAX_MESSAGES)
        status = choir_fail(CHOIR_EINVALID, "messages: %zu of them; 1 to %d", n,
                            CHOIR_CHAT_MAX_MESSAGES);
    else
        status = choir_alloc(n, sizeof *result->messages, (void **)&result->messages);
    for (size_t i = 0; i < n && status == CHOIR_OK; i++) {
        result->n_messages = i + 1;
        status = parse_message(choir_json_at(root, i), i, &result->messages[i]);
    }
    if (status == CHOIR_OK)
        status = check_messages(result->messages, result->n_messages);
    if (status != CHOIR_OK)
        choir_chat_messages_destroy(result);
    choir_json_destroy(&root);
    return status;
}

void choir_chat_messages_destroy(choir_chat_messages *messages)
{
    for (size_t i = 0; i < messages->n_messages; i++)
        free((char *)(uintptr_t)messages->messages[i].content);
    free(messages->messages);
    *messages = (choir_chat_messages){0};
}
