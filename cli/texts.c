/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/texts.h"

#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(choir_texts_options, member)

static const choir_flag flags[] = {
    {"--file -f", "FILE", "the text is the content of this file; - is standard input",
     CHOIR_FLAG_STRING, AT(file), 0, 0, NULL},
    {"--ids", "A,B,…", "token ids in place of a text, taken as they stand", CHOIR_FLAG_STRING,
     AT(ids), 0, 0, NULL},
    {"--jsonl", "FILE",
     "many at once, an object a line with \"text\" or \"token_ids\"; answers as of --json, in the "
     "same order",
     CHOIR_FLAG_STRING, AT(jsonl), 0, 0, NULL},
};

choir_flag_group choir_texts_flags(choir_texts_options *options)
{
    return (choir_flag_group){"Texts", flags, sizeof flags / sizeof flags[0], options};
}

static choir_status read_field(choir_text_input *input, const char *field, const char *extra,
                               const choir_json *value)
{
    if (extra[0] && strcmp(field, extra) == 0)
        return CHOIR_OK;
    if (strcmp(field, "text") != 0 && strcmp(field, "prompt") != 0 &&
        strcmp(field, "token_ids") != 0)
        return choir_fail(CHOIR_EINVALID, "%.40s: unknown field", field);
    if (input->text != NULL || input->ids.ids != NULL)
        return choir_fail(CHOIR_EINVALID, "%s: give one of text and token_ids", field);
    if (strcmp(field, "token_ids") == 0) {
        const choir_status status = choir_ids_from_json(&input->ids, value, field);
        input->token_ids = input->ids.ids;
        input->n_token_ids = input->ids.n_ids;
        return status;
    }
    input->text = choir_json_string(value, NULL);
    if (input->text == NULL)
        return choir_fail(CHOIR_EINVALID, "%s: not a string", field);
    input->text_length = strlen(input->text);
    return CHOIR_OK;
}

static choir_status read_object(choir_text_input *input, const char *extra)
{
    size_t position = 0;
    const char *field;
    const choir_json *value;
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && choir_json_next(input->json, &position, &field, &value))
        status = read_field(input, field, extra, value);
    if (status == CHOIR_OK && input->text == NULL && input->n_token_ids == 0)
        return choir_fail(CHOIR_EINVALID, "neither a text nor a token id");
    return status;
}

/* An empty input at the end of the list. */
static choir_status add_input(choir_texts *texts, choir_text_input **input)
{
    const choir_status status = choir_grow((void **)&texts->inputs, &texts->capacity,
                                           texts->n_inputs + 1, sizeof *texts->inputs);
    if (status != CHOIR_OK)
        return status;
    *input = &texts->inputs[texts->n_inputs++];
    **input = (choir_text_input){0};
    return CHOIR_OK;
}

static choir_status read_lines(const choir_texts_options *options, const char *extra,
                               choir_texts *texts)
{
    choir_jsonl lines;
    choir_json *object = NULL;
    choir_status status = choir_jsonl_open(&lines, options->jsonl);
    while (status == CHOIR_OK) {
        choir_text_input *input;
        status = choir_jsonl_next(&lines, &object);
        if (status != CHOIR_OK || object == NULL)
            break;
        status = add_input(texts, &input);
        if (status != CHOIR_OK) {
            choir_json_destroy(&object);
            break;
        }
        input->json = object;
        status = read_object(input, extra);
        if (status != CHOIR_OK)
            status = choir_jsonl_fail(&lines, status);
    }
    choir_jsonl_close(&lines);
    return status;
}

/* The one input of the command line. */
static choir_status read_arguments(const choir_texts_options *options, char **arguments,
                                   int n_arguments, choir_texts *texts)
{
    choir_text_input *input;
    choir_status status = add_input(texts, &input);
    if (status != CHOIR_OK)
        return status;
    if (options->ids == NULL) {
        status = choir_input_text(arguments, n_arguments, options->file, &input->own_text,
                                  &input->text_length);
        input->text = input->own_text;
        return status;
    }
    if (n_arguments > 0 || options->file != NULL)
        return choir_fail(CHOIR_EUSAGE, "--ids and a text; give one of them");
    status = choir_ids_parse(&input->ids, options->ids);
    input->token_ids = input->ids.ids;
    input->n_token_ids = input->ids.n_ids;
    if (status == CHOIR_OK && input->ids.n_ids == 0)
        return choir_fail(CHOIR_EINVALID, "--ids: no token id");
    return status;
}

choir_status choir_texts_read(const choir_texts_options *options, char **arguments, int n_arguments,
                              const char *extra, choir_texts *texts)
{
    if (options->jsonl == NULL)
        return read_arguments(options, arguments, n_arguments, texts);
    if (n_arguments > 0 || options->file != NULL || options->ids != NULL)
        return choir_fail(CHOIR_EUSAGE, "--jsonl brings its own texts; leave the other out");
    return read_lines(options, extra, texts);
}

void choir_texts_destroy(choir_texts *texts)
{
    for (size_t i = 0; i < texts->n_inputs; i++) {
        choir_json_destroy(&texts->inputs[i].json);
        free(texts->inputs[i].own_text);
        free(texts->inputs[i].ids.ids);
    }
    free(texts->inputs);
    *texts = (choir_texts){0};
}
