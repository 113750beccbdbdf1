/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of `score` and `embed`: one of the command line, or many, an object a line. */
#ifndef CHOIR_CLI_TEXTS_H
#define CHOIR_CLI_TEXTS_H

#include "cli/flags.h"
#include "cli/input.h"
#include "common/json.h"

typedef struct choir_texts_options {
    const char *file, *ids, *jsonl;
} choir_texts_options;

/* A text or token ids, and the memory that they point into. */
typedef struct choir_text_input {
    const char *text; /* [text_length]; NULL: token_ids [n_token_ids] */
    size_t text_length;
    const int32_t *token_ids;
    size_t n_token_ids;
    choir_json *json; /* its line; NULL: it is of the command line */
    char *own_text;
    choir_ids ids;
} choir_text_input;

typedef struct choir_texts {
    choir_text_input *inputs;
    size_t n_inputs, capacity;
} choir_texts;

/* --file, --ids and --jsonl. */
choir_flag_group choir_texts_flags(choir_texts_options *options);

/*
 * Reads all that the flags and arguments name into *texts, which is zeroed before and released by
 * choir_texts_destroy(). Lines may have the field `extra`, which the caller reads from their json;
 * "": none. EUSAGE, EINVALID naming line and field.
 */
choir_status choir_texts_read(const choir_texts_options *options, char **arguments, int n_arguments,
                              const char *extra, choir_texts *texts) CHOIR_MUST_CHECK;
void choir_texts_destroy(choir_texts *texts);

#endif
