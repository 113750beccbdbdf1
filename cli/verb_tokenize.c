/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/print.h"
#include "cli/verbs.h"
#include "cli/vocabulary.h"

#include <stdlib.h>

typedef struct tokenize_options {
    const char *model, *file, *jsonl;
    bool is_json, is_special;
} tokenize_options;

#define AT(member) offsetof(tokenize_options, member)

static const choir_flag flags[] = {
    {"--model -m", "FILE", "the model whose tokenizer is used, a GGUF file", CHOIR_FLAG_STRING,
     AT(model), 0, 0, NULL},
    {"--file -f", "FILE", "the text is the content of this file; - is standard input",
     CHOIR_FLAG_STRING, AT(file), 0, 0, NULL},
    {"--jsonl", "FILE", "many texts, {\"text\": …} a line; one JSON object a line comes back",
     CHOIR_FLAG_STRING, AT(jsonl), 0, 0, NULL},
    {"--special", NULL, "control words such as <|im_end|> become their tokens", CHOIR_FLAG_BOOL,
     AT(is_special), 0, 0, NULL},
    {"--json", NULL, "one JSON object: {\"token_ids\": […]}", CHOIR_FLAG_BOOL, AT(is_json), 0, 0,
     NULL},
};

static choir_status print_ids(const int32_t *ids, size_t n_ids)
{
    choir_status status = CHOIR_OK;
    for (size_t i = 0; i < n_ids && status == CHOIR_OK; i++)
        status = choir_print(i > 0 ? ",%d" : "%d", ids[i]);
    return status == CHOIR_OK ? choir_print("\n") : status;
}

static choir_status print_ids_as_json(const int32_t *ids, size_t n_ids)
{
    choir_json *json = choir_json_make_object(), *array = choir_json_make_array();
    for (size_t i = 0; i < n_ids; i++)
        choir_json_append(array, choir_json_make_integer(ids[i]));
    choir_json_set(json, "token_ids", array);
    return choir_print_json(json);
}

static choir_status tokenize(const choir_tokenizer *tokenizer, const char *text, size_t length,
                             const tokenize_options *options)
{
    int32_t *ids = NULL;
    size_t n_ids;
    choir_status status =
        choir_tokenizer_encode(tokenizer, text, length, options->is_special, &ids, &n_ids);
    if (status == CHOIR_OK)
        status = options->is_json ? print_ids_as_json(ids, n_ids) : print_ids(ids, n_ids);
    free(ids);
    return status;
}

static choir_status tokenize_lines(const choir_tokenizer *tokenizer,
                                   const tokenize_options *options)
{
    choir_jsonl lines;
    choir_json *object = NULL;
    choir_status status = choir_jsonl_open(&lines, options->jsonl);
    lines.allows_nul = true;
    while (status == CHOIR_OK) {
        status = choir_jsonl_next(&lines, &object);
        if (status != CHOIR_OK || object == NULL)
            break;
        size_t length;
        const char *text = choir_json_text(choir_json_get(object, "text"), &length);
        if (text == NULL)
            status = choir_fail(CHOIR_EINVALID, "%s line %lld: text: missing, or not a string",
                                options->jsonl, (long long)lines.number);
        else
            status = tokenize(tokenizer, text, length, options);
        choir_json_destroy(&object);
    }
    choir_jsonl_close(&lines);
    return status;
}

static choir_status tokenize_text(const choir_tokenizer *tokenizer, char **arguments,
                                  int n_arguments, const tokenize_options *options)
{
    char *text = NULL;
    size_t length;
    choir_status status = choir_input_text(arguments, n_arguments, options->file, &text, &length);
    if (status == CHOIR_OK)
        status = tokenize(tokenizer, text, length, options);
    free(text);
    return status;
}

choir_status choir_verb_tokenize(int argc, char **argv)
{
    tokenize_options options = {0};
    const choir_flag_group group = {"Options", flags, sizeof flags / sizeof flags[0], &options};
    const choir_command command = {
        "choir tokenize",
        "--model FILE [FLAGS] [TEXT]",
        "Prints the token ids of a text: the argument, a file, or standard input. No bos token is "
        "added.",
        "choir tokenize --model model.gguf \"Hello, world!\"\n"
        "choir tokenize --model model.gguf --jsonl texts.jsonl",
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
        return choir_fail(CHOIR_EUSAGE, "--jsonl brings its own texts; leave the other out");
    options.is_json = options.is_json || options.jsonl != NULL;
    status = choir_vocabulary_open(options.model, &tokenizer);
    if (status == CHOIR_OK)
        status = options.jsonl != NULL ? tokenize_lines(tokenizer, &options)
                                       : tokenize_text(tokenizer, argv, n_rest, &options);
    choir_tokenizer_destroy(&tokenizer);
    return status;
}
