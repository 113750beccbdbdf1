/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/batch.h"
#include "cli/contact.h"
#include "cli/flags.h"
#include "cli/print.h"
#include "cli/reply.h"
#include "cli/texts.h"
#include "cli/verbs.h"

#include <string.h>

typedef struct embed_options {
    const char *pooling;
    bool is_unnormalized, is_json;
    choir_texts_options texts;
    choir_contact_options contact;
} embed_options;

#define AT(member) offsetof(embed_options, member)

static const choir_flag flags[] = {
    {"--pooling", "HOW", "last: of the last token (default); mean: of all tokens",
     CHOIR_FLAG_STRING, AT(pooling), 0, 0, "last mean"},
    {"--no-normalize", NULL, "as long as it comes, instead of length 1", CHOIR_FLAG_BOOL,
     AT(is_unnormalized), 0, 0, NULL},
    {"--json", NULL, "one JSON object: {\"embedding\": […], \"usage\": {…}}", CHOIR_FLAG_BOOL,
     AT(is_json), 0, 0, NULL},
};

typedef struct embed_run {
    const embed_options *options;
    choir_texts texts;
} embed_run;

static choir_status start_request(void *context, choir_client *client, size_t index, const char *id)
{
    const embed_run *run = context;
    const choir_text_input *input = &run->texts.inputs[index];
    const choir_embed_request request = {
        .request_id = id,
        .text = input->text,
        .text_length = input->text_length,
        .token_ids = input->token_ids,
        .n_token_ids = input->n_token_ids,
        .is_mean = strcmp(run->options->pooling, "mean") == 0,
        .is_unnormalized = run->options->is_unnormalized,
    };
    char used[CHOIR_REQUEST_ID_SIZE];
    return choir_client_embed(client, &request, used);
}

static choir_status print_values(const choir_json *values)
{
    const size_t n = choir_json_size(values);
    choir_status status = CHOIR_OK;
    for (size_t i = 0; i < n && status == CHOIR_OK; i++)
        status = choir_print("%.9g%s", choir_json_real(choir_json_at(values, i), 0),
                             i + 1 < n ? " " : "\n");
    return status;
}

static choir_status print_answer(void *context, size_t index, choir_reply *answer)
{
    const embed_run *run = context;
    (void)index;
    if (run->options->texts.jsonl == NULL && answer->status != CHOIR_OK)
        return CHOIR_OK; /* the verb's own error tells it */
    if (run->options->texts.jsonl != NULL || run->options->is_json)
        return choir_print_json(choir_reply_to_embedding_json(answer));
    return print_values(answer->embedding);
}

static choir_status embed(embed_run *run)
{
    const choir_batch batch = {.n_requests = run->texts.n_inputs,
                               .start = start_request,
                               .take = print_answer,
                               .context = run,
                               .noun = "texts"};
    return choir_batch_meet_and_run(&run->options->contact, &batch);
}

choir_status choir_verb_embed(int argc, char **argv)
{
    embed_options options = {.pooling = "last", .contact = choir_contact_options_default()};
    choir_flag_group groups[2 + CHOIR_CONTACT_GROUPS] = {
        {"Options", flags, sizeof flags / sizeof flags[0], &options},
        choir_texts_flags(&options.texts)};
    choir_contact_flags(&options.contact, &groups[2]);
    const choir_command command = {
        "choir embed",
        "[FLAGS] [TEXT]",
        "Turns a text into a vector, the model's state behind its last layer: of the argument, a "
        "file, standard input, or token ids. Prints one number a dimension. Without --model it "
        "asks "
        "the running service.",
        "choir embed --model model.gguf \"Plants need light.\"\n"
        "choir embed --model model.gguf --pooling mean --jsonl texts.jsonl > vectors.jsonl",
        groups,
        sizeof groups / sizeof groups[0],
    };
    embed_run run = {.options = &options};
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    status = choir_texts_read(&options.texts, argv, n_rest, "", &run.texts);
    if (status == CHOIR_OK)
        status = embed(&run);
    choir_texts_destroy(&run.texts);
    return status;
}
