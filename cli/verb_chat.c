/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir chat`: one question, or a conversation. The service keeps nothing of it: every turn sends
 * the whole history again, and its prefix costs what the engine's caches do not save.
 */
#include "cli/contact.h"
#include "cli/conversation.h"
#include "cli/flags.h"
#include "cli/generation.h"
#include "cli/inquiry.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/reply.h"
#include "cli/verbs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USUAL_ANSWER_TOKENS = 512 };

typedef struct chat_options {
    const char *system;
    bool is_json;
    choir_sampling_options sampling;
    choir_contact_options contact;
} chat_options;

/* One chat that is going on. */
typedef struct chat_state {
    const chat_options *options;
    choir_contact *contact;
    choir_conversation conversation;
    bool is_interactive; /* a person types */
} chat_state;

static const choir_flag flags[] = {
    {"--system", "TEXT", "a system message in front (default: what the model file has)",
     CHOIR_FLAG_STRING, offsetof(chat_options, system), 0, 0, NULL},
    {"--json", NULL, "answers as JSON objects, as `choir generate --json` gives them",
     CHOIR_FLAG_BOOL, offsetof(chat_options, is_json), 0, 0, NULL},
};

static choir_status count_tokens(chat_state *chat, const char *text, size_t length,
                                 size_t *n_tokens)
{
    int32_t *ids = NULL;
    const choir_status status = choir_client_tokenize(choir_contact_client(chat->contact), text,
                                                      length, false, &ids, n_tokens);
    free(ids);
    return status;
}

static choir_status add_message(chat_state *chat, const char *text, size_t length)
{
    size_t n_tokens = 0;
    const choir_status status = count_tokens(chat, text, length, &n_tokens);
    if (status != CHOIR_OK)
        return status;
    return choir_conversation_add(&chat->conversation, text, length, n_tokens);
}

/* Makes room for the answer, and says so where something is forgotten for it. */
static void trim_history(chat_state *chat)
{
    const size_t n_context = choir_client_max_model_len(choir_contact_client(chat->contact));
    const int64_t max_tokens = chat->options->sampling.max_tokens;
    size_t n_answer = max_tokens > 0 ? (size_t)max_tokens : USUAL_ANSWER_TOKENS;
    if (n_answer > n_context / 4)
        n_answer = n_context / 4;
    const size_t n_gone = choir_conversation_trim(&chat->conversation, n_context, n_answer);
    if (n_gone > 0)
        choir_remark("(the context is full: the oldest %zu of the questions and answers %s "
                     "forgotten)",
                     n_gone, n_gone == 1 ? "is" : "are");
}

static choir_status show_answer(const chat_state *chat, choir_reply *answer)
{
    char words[256];
    choir_reply_describe(answer, words, sizeof words);
    if (chat->options->is_json)
        return choir_print_json(choir_reply_to_json(answer));
    if (answer->reason == CHOIR_FINISH_LENGTH && choir_contact_is_talkative(chat->contact))
        choir_remark("(the answer is cut: it has reached its largest length)");
    if (choir_contact_is_talkative(chat->contact))
        choir_remark("%s", words);
    return CHOIR_OK;
}

/* Sends the conversation and adds the answer to it. A part of an answer counts as one. */
static choir_status run_turn(chat_state *chat)
{
    choir_reply answer = {0};
    choir_inquiry request;
    trim_history(chat);
    choir_status status = choir_inquiry_create(&chat->options->sampling, &request);
    request.generate.wants_logprobs |= chat->options->is_json;
    if (status == CHOIR_OK)
        status = choir_conversation_to_json(&chat->conversation, &request.messages);
    request.generate.messages_json = request.messages;
    if (status == CHOIR_OK)
        status = choir_generation_run(chat->contact, &request.generate, !chat->options->is_json,
                                      &answer);
    const bool is_cancelled = status == CHOIR_ECANCELLED;
    if (status == CHOIR_OK)
        status = show_answer(chat, &answer);
    if ((status == CHOIR_OK || is_cancelled) && answer.text_length > 0) {
        const choir_status added = add_message(chat, answer.text, answer.text_length);
        status = added == CHOIR_OK ? status : added;
    } else {
        choir_conversation_drop_last(&chat->conversation);
    }
    choir_reply_destroy(&answer);
    choir_inquiry_destroy(&request);
    return is_cancelled && status == CHOIR_ECANCELLED ? choir_fail(status, "interrupted") : status;
}

static choir_status ask(chat_state *chat, const char *question, size_t length)
{
    const choir_status status = add_message(chat, question, length);
    return status == CHOIR_OK ? run_turn(chat) : status;
}

/*
 * Whether the conversation goes on after a turn: an interrupt ends the answer only, and a person
 * may ask another question where one was refused.
 */
static bool is_survivable(const chat_state *chat, choir_status status)
{
    if (status == CHOIR_ECANCELLED)
        return !choir_interrupt_is_final() && choir_interrupt_count() == 1;
    return chat->is_interactive && status == CHOIR_EINVALID;
}

/* Shows the prompt until a person has typed a line, or wants to end. */
static bool wait_for_person(void)
{
    do {
        choir_interrupt_clear();
        if (choir_print_text("> ", 2) != CHOIR_OK)
            return false;
        if (choir_interrupt_wait_input(STDIN_FILENO))
            return true;
        (void)fputs("\n(Ctrl-D ends)\n", stderr);
    } while (!choir_interrupt_is_final());
    return false;
}

/* The next line without its newline; false at the end of the input. */
static bool read_line(const chat_state *chat, char **line, size_t *capacity, size_t *length)
{
    if (chat->is_interactive && !wait_for_person())
        return false;
    choir_interrupt_clear();
    const ssize_t n = getline(line, capacity, stdin);
    if (n < 0)
        return false;
    *length = n > 0 && (*line)[n - 1] == '\n' ? (size_t)n - 1 : (size_t)n;
    (*line)[*length] = '\0';
    return true;
}

static choir_status converse(chat_state *chat)
{
    char *line = NULL;
    size_t capacity = 0, length;
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && read_line(chat, &line, &capacity, &length)) {
        if (line[strspn(line, " \t\r")] == '\0')
            continue;
        status = ask(chat, line, length);
        if (is_survivable(chat, status)) {
            choir_remark("(%s)", choir_error());
            status = CHOIR_OK;
        }
    }
    free(line);
    if (status == CHOIR_OK && choir_interrupt_is_final())
        return choir_fail(CHOIR_ECANCELLED, "interrupted");
    if (status == CHOIR_OK && chat->is_interactive)
        return choir_print_text("\n", 1);
    return status;
}

static choir_status set_system(chat_state *chat)
{
    const char *text = chat->options->system;
    size_t n_tokens = 0;
    if (text == NULL)
        return CHOIR_OK;
    const choir_status status = count_tokens(chat, text, strlen(text), &n_tokens);
    if (status != CHOIR_OK)
        return status;
    return choir_conversation_set_system(&chat->conversation, text, strlen(text), n_tokens);
}

choir_status choir_verb_chat(int argc, char **argv)
{
    chat_options options = {.sampling = choir_sampling_options_default(),
                            .contact = choir_contact_options_default()};
    choir_flag_group groups[2 + CHOIR_CONTACT_GROUPS] = {
        {"Options", flags, sizeof flags / sizeof flags[0], &options},
        choir_sampling_flags(&options.sampling),
    };
    choir_contact_flags(&options.contact, &groups[2]);
    const choir_command command = {
        "choir chat",
        "[FLAGS] [QUESTION]",
        "Answers a question, or without one talks: a line is a question, the history is "
        "remembered, "
        "Ctrl-C stops an answer, Ctrl-D ends. Without --model it asks the running service.",
        "choir chat --model model.gguf\n"
        "choir chat --model model.gguf --temperature 0 \"What do plants need to grow?\"",
        groups,
        sizeof groups / sizeof groups[0],
    };
    chat_state chat = {.options = &options};
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 1)
        return choir_fail(CHOIR_EUSAGE, "%d questions; quote a question of several words", n_rest);
    chat.is_interactive = isatty(STDIN_FILENO) == 1 && choir_is_terminal_out();
    status = choir_contact_open(&options.contact, &chat.contact);
    if (status == CHOIR_OK)
        status = set_system(&chat);
    if (status == CHOIR_OK)
        status = n_rest == 1 ? ask(&chat, argv[0], strlen(argv[0])) : converse(&chat);
    choir_conversation_destroy(&chat.conversation);
    return choir_contact_close(&chat.contact, status);
}
