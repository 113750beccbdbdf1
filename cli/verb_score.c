/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/batch.h"
#include "cli/contact.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/print.h"
#include "cli/reply.h"
#include "cli/verbs.h"
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

typedef struct score_options {
    const char *file, *ids, *jsonl;
    int64_t top;
    bool is_json;
    choir_contact_options contact;
} score_options;

#define AT(member) offsetof(score_options, member)

static const choir_flag flags[] = {
    {"--file -f", "FILE", "the text is the content of this file; - is standard input",
     CHOIR_FLAG_STRING, AT(file), 0, 0, NULL},
    {"--ids", "A,B,…", "token ids in place of a text, taken as they stand", CHOIR_FLAG_STRING,
     AT(ids), 0, 0, NULL},
    {"--jsonl", "FILE",
     "many at once, an object a line: \"text\" or \"token_ids\", and \"top\" for that line; "
     "answers as of --json, in the same order",
     CHOIR_FLAG_STRING, AT(jsonl), 0, 0, NULL},
    {"--top", "K", "alternatives for each token, 0 to 64 (default 0)", CHOIR_FLAG_INTEGER, AT(top),
     0, 64, NULL},
    {"--json", NULL, "one JSON object: {\"tokens\": […]}", CHOIR_FLAG_BOOL, AT(is_json), 0, 0,
     NULL},
};

/* What is scored, with the memory it points into. */
typedef struct score_input {
    choir_score_request request;
    choir_json *json;
    char *text;
    choir_ids ids;
} score_input;

typedef struct score_list {
    const score_options *options;
    score_input *inputs;
    size_t n_inputs, capacity;
} score_list;

/* ---- input ---- */

static choir_status read_field(score_input *input, const char *field, const choir_json *value)
{
    choir_score_request *request = &input->request;
    const bool has_input = request->text != NULL || input->ids.ids != NULL;
    if (strcmp(field, "top") == 0) {
        request->n_top = choir_json_integer(value, -1);
        return request->n_top >= 0
                   ? CHOIR_OK
                   : choir_fail(CHOIR_EINVALID, "top: not an integer of at least 0");
    }
    if (strcmp(field, "text") != 0 && strcmp(field, "prompt") != 0 &&
        strcmp(field, "token_ids") != 0)
        return choir_fail(CHOIR_EINVALID, "%.40s: unknown field", field);
    if (has_input)
        return choir_fail(CHOIR_EINVALID, "%s: give one of text and token_ids", field);
    if (strcmp(field, "token_ids") == 0) {
        const choir_status status = choir_ids_from_json(&input->ids, value, field);
        request->token_ids = input->ids.ids;
        request->n_token_ids = input->ids.n_ids;
        return status;
    }
    request->text = choir_json_string(value, NULL);
    if (request->text == NULL)
        return choir_fail(CHOIR_EINVALID, "%s: not a string", field);
    request->text_length = strlen(request->text);
    return CHOIR_OK;
}

static choir_status read_object(score_input *input, const choir_json *object)
{
    size_t position = 0;
    const char *field;
    const choir_json *value;
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && choir_json_next(object, &position, &field, &value))
        status = read_field(input, field, value);
    if (status == CHOIR_OK && input->request.text == NULL && input->ids.n_ids == 0)
        return choir_fail(CHOIR_EINVALID, "neither a text nor a token id");
    return status;
}

static choir_status add_input(score_list *list, int64_t n_top, score_input **input)
{
    const choir_status status = choir_grow((void **)&list->inputs, &list->capacity,
                                           list->n_inputs + 1, sizeof *list->inputs);
    if (status != CHOIR_OK)
        return status;
    *input = &list->inputs[list->n_inputs++];
    **input = (score_input){.request.n_top = n_top};
    return CHOIR_OK;
}

static choir_status read_lines(const score_options *options, score_list *list)
{
    choir_jsonl lines;
    choir_json *object = NULL;
    choir_status status = choir_jsonl_open(&lines, options->jsonl);
    while (status == CHOIR_OK) {
        score_input *input;
        status = choir_jsonl_next(&lines, &object);
        if (status != CHOIR_OK || object == NULL)
            break;
        status = add_input(list, options->top, &input);
        if (status != CHOIR_OK) {
            choir_json_destroy(&object);
            break;
        }
        input->json = object;
        status = read_object(input, object);
        if (status != CHOIR_OK)
            status = choir_jsonl_fail(&lines, status);
    }
    choir_jsonl_close(&lines);
    return status;
}

/* The one input of the command line. */
static choir_status read_arguments(const score_options *options, char **arguments, int n_arguments,
                                   score_list *list)
{
    score_input *input;
    choir_status status = add_input(list, options->top, &input);
    if (status != CHOIR_OK)
        return status;
    if (options->ids == NULL) {
        status = choir_input_text(arguments, n_arguments, options->file, &input->text,
                                  &input->request.text_length);
        input->request.text = input->text;
        return status;
    }
    if (n_arguments > 0 || options->file != NULL)
        return choir_fail(CHOIR_EUSAGE, "--ids and a text; give one of them");
    status = choir_ids_parse(&input->ids, options->ids);
    input->request.token_ids = input->ids.ids;
    input->request.n_token_ids = input->ids.n_ids;
    if (status == CHOIR_OK && input->ids.n_ids == 0)
        return choir_fail(CHOIR_EINVALID, "--ids: no token id");
    return status;
}

/* ---- requests and answers ---- */

static choir_status start_request(void *context, choir_client *client, size_t index, const char *id)
{
    const score_list *list = context;
    char used[CHOIR_REQUEST_ID_SIZE];
    choir_score_request request = list->inputs[index].request;
    request.request_id = id;
    return choir_client_score(client, &request, used);
}

static choir_status print_answer(void *context, size_t index, choir_reply *answer)
{
    const score_list *list = context;
    (void)index;
    if (list->options->jsonl == NULL && answer->status != CHOIR_OK)
        return CHOIR_OK; /* the verb's own error tells it */
    if (list->options->jsonl != NULL || list->options->is_json)
        return choir_print_json(choir_reply_to_score_json(answer));
    return choir_reply_print_logprobs(answer->logprobs);
}

static choir_status score(score_list *list)
{
    choir_contact *contact = NULL;
    const choir_batch batch = {.n_requests = list->n_inputs,
                               .start = start_request,
                               .take = print_answer,
                               .context = list,
                               .noun = "texts"};
    choir_status status = choir_contact_open(&list->options->contact, &contact);
    if (status == CHOIR_OK)
        status = choir_batch_run(contact, &batch);
    return choir_contact_close(&contact, status);
}

choir_status choir_verb_score(int argc, char **argv)
{
    score_options options = {.contact = choir_contact_options_default()};
    choir_flag_group groups[1 + CHOIR_CONTACT_GROUPS] = {
        {"Options", flags, sizeof flags / sizeof flags[0], &options}};
    choir_contact_flags(&options.contact, &groups[1]);
    const choir_command command = {
        "choir score",
        "[FLAGS] [TEXT]",
        "Tells the natural log-probability that the model gives each token of a text after those "
        "before it: the argument, a file, standard input, or token ids. Texts get a bos token "
        "where "
        "the model file says so. Without --model it asks the running service.",
        "choir score --model model.gguf \"Plants need light.\"\n"
        "choir score --model model.gguf --ids 19556,28,905 --top 5 --json",
        groups,
        sizeof groups / sizeof groups[0],
    };
    score_list list = {.options = &options};
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (options.jsonl != NULL && (n_rest > 0 || options.file != NULL || options.ids != NULL))
        return choir_fail(CHOIR_EUSAGE, "--jsonl brings its own texts; leave the other out");
    status = options.jsonl != NULL ? read_lines(&options, &list)
                                   : read_arguments(&options, argv, n_rest, &list);
    if (status == CHOIR_OK)
        status = score(&list);
    for (size_t i = 0; i < list.n_inputs; i++) {
        choir_json_destroy(&list.inputs[i].json);
        free(list.inputs[i].text);
        free(list.inputs[i].ids.ids);
    }
    free(list.inputs);
    return status;
}
