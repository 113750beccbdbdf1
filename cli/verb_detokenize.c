/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/print.h"
#include "cli/verbs.h"
#include "cli/vocabulary.h"
#include "model/detokenizer.h"

#include <stdlib.h>
#include <string.h>

typedef struct detokenize_options {
    const char *model, *file, *jsonl;
    bool is_json;
} detokenize_options;

#define AT(member) offsetof(detokenize_options, member)

static const choir_flag flags[] = {
    {"--model -m", "FILE", "the model whose tokenizer is used, a GGUF file", CHOIR_FLAG_STRING,
     AT(model), 0, 0, NULL},
    {"--file -f", "FILE", "the ids stand in this file; - is standard input", CHOIR_FLAG_STRING,
     AT(file), 0, 0, NULL},
    {"--jsonl", "FILE",
     "many lists, {\"token_ids\": […]} a line; one JSON object a line comes back",
     CHOIR_FLAG_STRING, AT(jsonl), 0, 0, NULL},
    {"--json", NULL, "one JSON object: {\"text\": …}", CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
};

static choir_status detokenize(const choir_tokenizer *tokenizer, const choir_ids *ids,
                               const detokenize_options *options)
{
    char *text = NULL;
    size_t length;
    choir_status status = choir_detokenize(tokenizer, ids->ids, ids->n_ids, 0, &text, &length);
    if (status == CHOIR_OK && options->is_json) {
        choir_json *json = choir_json_make_object();
        choir_json_set(json, "text", choir_json_make_string(text, length));
        status = choir_print_json(json);
    } else if (status == CHOIR_OK) {
        status = choir_print_text(text, length);
        if (status == CHOIR_OK && choir_is_terminal_out())
            status = choir_print("\n");
    }
    free(text);
    return status;
}

static choir_status detokenize_line(const choir_tokenizer *tokenizer, const choir_json *object,
                                    int64_t line, const detokenize_options *options)
{
    choir_ids ids = {0};
    char field[64];
    (void)snprintf(field, sizeof field, "line %lld: token_ids", (long long)line);
    choir_status status = choir_ids_from_json(&ids, choir_json_get(object, "token_ids"), field);
    if (status == CHOIR_OK)
        status = detokenize(tokenizer, &ids, options);
    free(ids.ids);
    return status;
}

static choir_status detokenize_lines(const choir_tokenizer *tokenizer,
                                     const detokenize_options *options)
{
    choir_jsonl lines;
    choir_json *object = NULL;
    choir_status status = choir_jsonl_open(&lines, options->jsonl);
    while (status == CHOIR_OK) {
        status = choir_jsonl_next(&lines, &object);
        if (status != CHOIR_OK || object == NULL)
            break;
        status = detokenize_line(tokenizer, object, lines.number, options);
        choir_json_destroy(&object);
    }
    choir_jsonl_close(&lines);
    return status;
}

/* The ids of all arguments, or of the file, or of standard input. */
static choir_status read_ids(choir_ids *ids, char **arguments, int n_arguments, const char *file)
{
    if (n_arguments > 0 && file != NULL)
        return choir_fail(CHOIR_EUSAGE, "token ids and --file; give one of them");
    choir_status status = CHOIR_OK;
    for (int i = 0; i < n_arguments && status == CHOIR_OK; i++)
        status = choir_ids_parse(ids, arguments[i]);
    if (n_arguments > 0)
        return status;
    char *text = NULL;
    size_t length;
    status = choir_input_read(file == NULL ? "-" : file, &text, &length);
    if (status == CHOIR_OK)
        status = choir_ids_parse(ids, text);
    free(text);
    return status;
}

static choir_status detokenize_arguments(const choir_tokenizer *tokenizer, char **arguments,
                                         int n_arguments, const detokenize_options *options)
{
    choir_ids ids = {0};
    choir_status status = read_ids(&ids, arguments, n_arguments, options->file);
    if (status == CHOIR_OK)
        status = detokenize(tokenizer, &ids, options);
    free(ids.ids);
    return status;
}

choir_status choir_verb_detokenize(int argc, char **argv)
{
    detokenize_options options = {0};
    const choir_flag_group group = {"Options", flags, sizeof flags / sizeof flags[0], &options};
    const choir_command command = {
        "choir detokenize",
        "--model FILE [FLAGS] [ID …]",
        "Prints the text of token ids, control words included: the arguments, a file, or standard "
        "input; commas or spaces stand between them.",
        "choir detokenize --model model.gguf 19556,28,905,17",
        &group,
        1,
    };
    choir_tokenizer *tokenizer = NULL;
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (options.jsonl != NULL && (n_rest > 0 || options.file != NULL))
        return choir_fail(CHOIR_EUSAGE, "--jsonl brings its own ids; leave the other out");
    options.is_json = options.is_json || options.jsonl != NULL;
    status = choir_vocabulary_open(options.model, &tokenizer);
    if (status == CHOIR_OK)
        status = options.jsonl != NULL ? detokenize_lines(tokenizer, &options)
                                       : detokenize_arguments(tokenizer, argv, n_rest, &options);
    choir_tokenizer_destroy(&tokenizer);
    return status;
}
