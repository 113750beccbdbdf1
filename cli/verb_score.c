/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/batch.h"
#include "cli/contact.h"
#include "cli/flags.h"
#include "cli/print.h"
#include "cli/reply.h"
#include "cli/texts.h"
#include "cli/verbs.h"

typedef struct score_options {
    int64_t top;
    bool is_json;
    choir_texts_options texts;
    choir_contact_options contact;
} score_options;

#define AT(member) offsetof(score_options, member)

static const choir_flag flags[] = {
    {"--top", "K",
     "alternatives for each token, 0 to 64 (default 0); a line of --jsonl may have its own \"top\"",
     CHOIR_FLAG_INTEGER, AT(top), 0, 64, NULL},
    {"--json", NULL, "one JSON object: {\"tokens\": […]}", CHOIR_FLAG_BOOL, AT(is_json), 0, 0,
     NULL},
};

typedef struct score_run {
    const score_options *options;
    choir_texts texts;
} score_run;

/* Of the line, or where it says nothing of the flags; -1: it is no number of alternatives. */
static int64_t top_of(const score_run *run, const choir_text_input *input)
{
    const choir_json *own = input->json ? choir_json_get(input->json, "top") : NULL;
    return own ? choir_json_integer(own, -1) : run->options->top;
}

static choir_status check_tops(const score_run *run)
{
    for (size_t i = 0; i < run->texts.n_inputs; i++)
        if (top_of(run, &run->texts.inputs[i]) < 0)
            return choir_fail(CHOIR_EINVALID, "%s: object %zu: top: not an integer of at least 0",
                              run->options->texts.jsonl, i + 1);
    return CHOIR_OK;
}

static choir_status start_request(void *context, choir_client *client, size_t index, const char *id)
{
    const score_run *run = context;
    const choir_text_input *input = &run->texts.inputs[index];
    const choir_score_request request = {
        .request_id = id,
        .text = input->text,
        .text_length = input->text_length,
        .token_ids = input->token_ids,
        .n_token_ids = input->n_token_ids,
        .n_top = top_of(run, input),
    };
    char used[CHOIR_REQUEST_ID_SIZE];
    return choir_client_score(client, &request, used);
}

static choir_status print_answer(void *context, size_t index, choir_reply *answer)
{
    const score_run *run = context;
    (void)index;
    if (run->options->texts.jsonl == NULL && answer->status != CHOIR_OK)
        return CHOIR_OK; /* the verb's own error tells it */
    if (run->options->texts.jsonl != NULL || run->options->is_json)
        return choir_print_json(choir_reply_to_score_json(answer));
    return choir_reply_print_logprobs(answer->logprobs);
}

static choir_status score(score_run *run)
{
    const choir_batch batch = {.n_requests = run->texts.n_inputs,
                               .start = start_request,
                               .take = print_answer,
                               .context = run,
                               .noun = "texts"};
    return choir_batch_meet_and_run(&run->options->contact, &batch);
}

choir_status choir_verb_score(int argc, char **argv)
{
    score_options options = {.contact = choir_contact_options_default()};
    choir_flag_group groups[2 + CHOIR_CONTACT_GROUPS] = {
        {"Options", flags, sizeof flags / sizeof flags[0], &options},
        choir_texts_flags(&options.texts)};
    choir_contact_flags(&options.contact, &groups[2]);
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
    score_run run = {.options = &options};
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    status = choir_texts_read(&options.texts, argv, n_rest, "top", &run.texts);
    if (status == CHOIR_OK)
        status = check_tops(&run);
    if (status == CHOIR_OK)
        status = score(&run);
    choir_texts_destroy(&run.texts);
    return status;
}
