/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir eval perplexity`: how well the model predicts a text. The text is tokenized as a whole and
 * cut into windows of W tokens, apart from each other; the first token of a window has no
 * prediction and is not scored, a shorter rest at the end is dropped. The perplexity is
 * exp(-mean log-probability) over all scored tokens.
 */
#include "cli/batch.h"
#include "cli/contact.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/print.h"
#include "cli/verbs.h"
#include "common/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct eval_options {
    const char *file;
    int64_t window;
    bool is_json;
    choir_contact_options contact;
} eval_options;

#define AT(member) offsetof(eval_options, member)

static const choir_flag flags[] = {
    {"--file -f", "FILE", "the text; - is standard input", CHOIR_FLAG_STRING, AT(file), 0, 0, NULL},
    {"--window", "W", "tokens of a window (default 512)", CHOIR_FLAG_INTEGER, AT(window), 2,
     1 << 24, NULL},
    {"--json", NULL, "one JSON object: perplexity, tokens, windows, tokens_per_second, …",
     CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
};

typedef struct evaluation {
    int32_t *ids;
    size_t n_ids, window, n_windows;
    double sum; /* of log-probabilities, in the order of the text */
    size_t n_scored;
    double seconds;
} evaluation;

static choir_status start_window(void *context, choir_client *client, size_t index, const char *id)
{
    const evaluation *eval = context;
    char used[CHOIR_REQUEST_ID_SIZE];
    const choir_score_request request = {.request_id = id,
                                         .token_ids = eval->ids + index * eval->window,
                                         .n_token_ids = eval->window};
    return choir_client_score(client, &request, used);
}

static choir_status take_window(void *context, size_t index, choir_reply *answer)
{
    evaluation *eval = context;
    (void)index;
    for (size_t i = 0; i < choir_json_size(answer->logprobs); i++) {
        const choir_json *logprob = choir_json_get(choir_json_at(answer->logprobs, i), "logprob");
        if (choir_json_kind(logprob) == CHOIR_JSON_REAL) {
            eval->sum += choir_json_real(logprob, 0);
            eval->n_scored++;
        }
    }
    return CHOIR_OK;
}

static choir_status cut_windows(choir_contact *contact, const eval_options *options,
                                const char *text, size_t length, evaluation *eval)
{
    const choir_status status = choir_client_tokenize(choir_contact_client(contact), text, length,
                                                      false, &eval->ids, &eval->n_ids);
    if (status != CHOIR_OK)
        return status;
    eval->window = (size_t)options->window;
    eval->n_windows = eval->n_ids / eval->window;
    if (eval->n_windows == 0)
        return choir_fail(CHOIR_EINVALID,
                          "%s: %zu tokens, fewer than one window of %zu; take a smaller --window",
                          options->file, eval->n_ids, eval->window);
    return CHOIR_OK;
}

static choir_status print_result(const evaluation *eval, bool is_json)
{
    const double mean = eval->sum / (double)eval->n_scored;
    const double speed = (double)eval->n_scored / eval->seconds;
    if (!is_json)
        return choir_print("perplexity      %.4f\n"
                           "tokens scored   %zu, in %zu windows of %zu\n"
                           "speed           %.1f tokens/s\n",
                           exp(-mean), eval->n_scored, eval->n_windows, eval->window, speed);
    choir_json *json = choir_json_make_object();
    choir_json_set_real(json, "perplexity", exp(-mean));
    choir_json_set_real(json, "mean_logprob", mean);
    choir_json_set_integer(json, "tokens", (int64_t)eval->n_scored);
    choir_json_set_integer(json, "windows", (int64_t)eval->n_windows);
    choir_json_set_integer(json, "window", (int64_t)eval->window);
    choir_json_set_real(json, "seconds", eval->seconds);
    choir_json_set_real(json, "tokens_per_second", speed);
    return choir_print_json(json);
}

static choir_status measure(choir_contact *contact, const eval_options *options, const char *text,
                            size_t length)
{
    evaluation eval = {0};
    choir_status status = cut_windows(contact, options, text, length, &eval);
    const choir_batch batch = {.n_requests = eval.n_windows,
                               .start = start_window,
                               .take = take_window,
                               .context = &eval,
                               .noun = "windows"};
    const int64_t start_us = choir_clock_us();
    if (status == CHOIR_OK)
        status = choir_batch_run(contact, &batch);
    eval.seconds = (double)(choir_clock_us() - start_us) / 1e6;
    if (status == CHOIR_OK)
        status = print_result(&eval, options->is_json);
    free(eval.ids);
    return status;
}

static choir_status eval_perplexity(const eval_options *options)
{
    choir_contact *contact = NULL;
    char *text = NULL;
    size_t length;
    choir_status status = choir_input_read(options->file, &text, &length);
    if (status == CHOIR_OK)
        status = choir_contact_open(&options->contact, &contact);
    if (status == CHOIR_OK)
        status = measure(contact, options, text, length);
    free(text);
    return choir_contact_close(&contact, status);
}

choir_status choir_verb_eval(int argc, char **argv)
{
    eval_options options = {.window = 512, .contact = choir_contact_options_default()};
    choir_flag_group groups[1 + CHOIR_CONTACT_GROUPS] = {
        {"Options", flags, sizeof flags / sizeof flags[0], &options}};
    choir_contact_flags(&options.contact, &groups[1]);
    const choir_command command = {
        "choir eval",
        "perplexity --file FILE [FLAGS]",
        "Measures how well the model predicts a text: exp of the mean negative log-probability of "
        "its tokens, in windows apart from each other, the first token of each not scored, the "
        "tail "
        "dropped. Without --model it asks the running service.",
        "choir eval perplexity --model model.gguf --file /usr/share/common-licenses/GPL-3",
        groups,
        sizeof groups / sizeof groups[0],
    };
    int n_rest;
    bool is_help_shown;
    const choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest != 1 || strcmp(argv[0], "perplexity") != 0)
        return choir_fail(CHOIR_EUSAGE,
                          "one measure is wanted: `choir eval perplexity --file FILE`");
    if (options.file == NULL)
        return choir_fail(CHOIR_EUSAGE, "no text: name it with --file FILE");
    return eval_perplexity(&options);
}
