/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir generate`: one request whose text streams to the terminal, or a file of them, all of which
 * are started at once and answered in the order of the file.
 */
#include "cli/batch.h"
#include "cli/contact.h"
#include "cli/flags.h"
#include "cli/generation.h"
#include "cli/input.h"
#include "cli/inquiry.h"
#include "cli/print.h"
#include "cli/reply.h"
#include "cli/verbs.h"
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

typedef struct generate_options {
    const char *file, *ids, *jsonl;
    bool is_json;
    int64_t n_choices;
    choir_sampling_options sampling;
    choir_contact_options contact;
} generate_options;

#define AT(member) offsetof(generate_options, member)

static const choir_flag flags[] = {
    {"--file -f", "FILE", "the prompt is the content of this file; - is standard input",
     CHOIR_FLAG_STRING, AT(file), 0, 0, NULL},
    {"--ids", "A,B,…", "the prompt as token ids, taken as they stand", CHOIR_FLAG_STRING, AT(ids),
     0, 0, NULL},
    {"--jsonl", "FILE",
     "many requests at once, an object a line: \"prompt\", \"messages\" or \"token_ids\", and "
     "temperature, max_tokens, … for that line; answers as of --json, in the same order",
     CHOIR_FLAG_STRING, AT(jsonl), 0, 0, NULL},
    {"--choices", "N", "so many answers to the prompt (default 1)", CHOIR_FLAG_INTEGER,
     AT(n_choices), 1, 128, NULL},
    {"--json", NULL,
     "one JSON object: token_ids, text, finish_reason, logprobs (always), usage, timings; of "
     "several answers one with the array choices",
     CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
};

/* ---- one request ---- */

static choir_status print_table(const choir_json *logprobs)
{
    const choir_status status = choir_print("\n");
    return status == CHOIR_OK ? choir_reply_print_logprobs(logprobs) : status;
}

/* The log-probabilities that were asked for. */
static choir_status print_tables(const choir_reply *reply, const choir_sampling_options *wanted)
{
    choir_status status = CHOIR_OK;
    if (wanted->prompt_logprobs >= 0)
        status = print_table(reply->prompt_logprobs);
    for (size_t i = 0; wanted->logprobs >= 0 && i <= reply->n_others && status == CHOIR_OK; i++)
        status = print_table(i == 0 ? reply->logprobs : reply->others[i - 1].logprobs);
    return status;
}

static choir_status run_one(choir_contact *contact, const choir_inquiry *request,
                            const generate_options *options)
{
    choir_reply answer = {0};
    char words[256];
    choir_status status =
        choir_generation_run(contact, &request->generate, !options->is_json, &answer);
    const bool has_result = status == CHOIR_OK || status == CHOIR_ECANCELLED;
    choir_reply_describe(&answer, words, sizeof words);
    if (has_result && answer.is_finished && options->is_json) {
        const choir_status printed = choir_print_json(choir_reply_to_json(&answer));
        status = status == CHOIR_OK ? printed : choir_fail(status, "interrupted");
    } else if (status == CHOIR_OK) {
        status = print_tables(&answer, &options->sampling);
    }
    if (status == CHOIR_OK && choir_contact_is_talkative(contact))
        choir_remark("%s", words);
    choir_reply_destroy(&answer);
    return status;
}

/* The prompt of the command line: --ids, an argument, a file, standard input. */
static choir_status read_prompt(const generate_options *options, char **arguments, int n_arguments,
                                choir_inquiry *request, char **text)
{
    choir_generate_request *generate = &request->generate;
    if (options->ids == NULL) {
        const choir_status status =
            choir_input_text(arguments, n_arguments, options->file, text, &generate->text_length);
        generate->text = *text;
        return status;
    }
    if (n_arguments > 0 || options->file != NULL)
        return choir_fail(CHOIR_EUSAGE, "--ids and a text; give one of them");
    const choir_status status = choir_ids_parse(&request->ids, options->ids);
    generate->token_ids = request->ids.ids;
    generate->n_token_ids = request->ids.n_ids;
    if (status == CHOIR_OK && request->ids.n_ids == 0)
        return choir_fail(CHOIR_EINVALID, "--ids: no token id");
    return status;
}

static choir_status generate_one(const generate_options *options, char **arguments, int n_arguments)
{
    choir_contact *contact = NULL;
    choir_inquiry request;
    char *text = NULL;
    choir_status status = choir_inquiry_create(&options->sampling, &request);
    request.generate.sampling.n = options->n_choices;
    if (options->is_json)
        request.generate.wants_logprobs = true;
    if (status == CHOIR_OK)
        status = read_prompt(options, arguments, n_arguments, &request, &text);
    if (status == CHOIR_OK)
        status = choir_contact_open(&options->contact, &contact);
    if (status == CHOIR_OK)
        status = run_one(contact, &request, options);
    status = choir_contact_close(&contact, status);
    choir_inquiry_destroy(&request);
    free(text);
    return status;
}

/* ---- many requests ---- */

typedef struct request_list {
    choir_inquiry *requests;
    size_t n_requests, capacity;
} request_list;

/* Takes the object over. */
static choir_status add_request(request_list *list, const generate_options *options,
                                choir_json *object)
{
    choir_status status = choir_grow((void **)&list->requests, &list->capacity,
                                     list->n_requests + 1, sizeof *list->requests);
    if (status != CHOIR_OK) {
        choir_json_destroy(&object);
        return status;
    }
    choir_inquiry *request = &list->requests[list->n_requests++];
    status = choir_inquiry_create(&options->sampling, request);
    request->generate.sampling.n = options->n_choices;
    request->generate.wants_logprobs = true;
    if (status == CHOIR_OK)
        return choir_inquiry_add_json(request, object);
    choir_json_destroy(&object);
    return status;
}

/* All lines are read and checked before an engine is started for them. */
static choir_status read_requests(const generate_options *options, request_list *list)
{
    choir_jsonl lines;
    choir_json *object = NULL;
    choir_status status = choir_jsonl_open(&lines, options->jsonl);
    while (status == CHOIR_OK) {
        status = choir_jsonl_next(&lines, &object);
        if (status != CHOIR_OK || object == NULL)
            break;
        status = add_request(list, options, object);
        if (status != CHOIR_OK)
            status = choir_jsonl_fail(&lines, status);
    }
    choir_jsonl_close(&lines);
    return status;
}

static choir_status start_request(void *context, choir_client *client, size_t index, const char *id)
{
    const request_list *list = context;
    char used[CHOIR_REQUEST_ID_SIZE];
    choir_generate_request request = list->requests[index].generate;
    request.request_id = id;
    return choir_client_generate(client, &request, used);
}

static choir_status print_answer(void *context, size_t index, choir_reply *answer)
{
    (void)context, (void)index;
    return choir_print_json(choir_reply_to_json(answer));
}

static choir_status generate_many(const generate_options *options)
{
    request_list list = {0};
    choir_status status = read_requests(options, &list);
    const choir_batch batch = {.n_requests = list.n_requests,
                               .start = start_request,
                               .take = print_answer,
                               .context = &list,
                               .noun = "answers"};
    if (status == CHOIR_OK)
        status = choir_batch_meet_and_run(&options->contact, &batch);
    for (size_t i = 0; i < list.n_requests; i++)
        choir_inquiry_destroy(&list.requests[i]);
    free(list.requests);
    return status;
}

choir_status choir_verb_generate(int argc, char **argv)
{
    generate_options options = {.sampling = choir_sampling_options_default(),
                                .contact = choir_contact_options_default()};
    choir_flag_group groups[2 + CHOIR_CONTACT_GROUPS] = {
        {"Options", flags, sizeof flags / sizeof flags[0], &options},
        choir_sampling_flags(&options.sampling),
    };
    choir_contact_flags(&options.contact, &groups[2]);
    const choir_command command = {
        "choir generate",
        "[FLAGS] [PROMPT]",
        "Continues a prompt: the argument, a file, standard input, or token ids. The text streams "
        "to standard output as it comes; Ctrl-C stops it. Without --model it asks the running "
        "service.",
        "choir generate --model model.gguf --max-tokens 64 --temperature 0 \"Once upon a time\"\n"
        "choir generate --model model.gguf -n 2 --jsonl requests.jsonl > answers.jsonl",
        groups,
        sizeof groups / sizeof groups[0],
    };
    int n_rest;
    bool is_help_shown;
    const choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (options.jsonl == NULL)
        return generate_one(&options, argv, n_rest);
    if (n_rest > 0 || options.file != NULL || options.ids != NULL)
        return choir_fail(CHOIR_EUSAGE, "--jsonl brings its own prompts; leave the other out");
    return generate_many(&options);
}
