/* SPDX-License-Identifier: Apache-2.0 */
/* What verbs read: whole texts, JSON lines, lists of token ids. "-" is standard input. */
#ifndef CHOIR_CLI_INPUT_H
#define CHOIR_CLI_INPUT_H

#include "common/json.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CHOIR_INPUT_MAX_BYTES = 64 << 20 };

/* All of a file; EIO, EINVALID over the cap. *text has a NUL behind it and is for free(). */
choir_status choir_input_read(const char *path, char **text, size_t *length) CHOIR_MUST_CHECK;

/*
 * The one text of a verb: its only argument, or the file, or standard input where neither is given.
 * EUSAGE for more than one of them. *text as above.
 */
choir_status choir_input_text(char **arguments, int n_arguments, const char *file, char **text,
                              size_t *length) CHOIR_MUST_CHECK;

/* A file of JSON objects, one a line; lines of white space only are skipped. */
typedef struct choir_jsonl {
    FILE *file;
    const char *path;
    char *line;
    size_t capacity;
    int64_t number;  /* of the line read last, from 1 */
    bool allows_nul; /* strings may hold U+0000: set after open, see common/json.h */
} choir_jsonl;

choir_status choir_jsonl_open(choir_jsonl *lines, const char *path) CHOIR_MUST_CHECK;
/*
 * The next object, for choir_json_destroy(); NULL at the end of the file. EFORMAT names the line.
 */
choir_status choir_jsonl_next(choir_jsonl *lines, choir_json **object) CHOIR_MUST_CHECK;
/* The last failure again, with the file and the line in front of its words. */
choir_status choir_jsonl_fail(const choir_jsonl *lines, choir_status status);
/* Accepts a zeroed struct; may be called twice. */
void choir_jsonl_close(choir_jsonl *lines);

/* A list of token ids that grows; free(ids) releases it. */
typedef struct choir_ids {
    int32_t *ids;
    size_t n_ids, capacity;
} choir_ids;

/* Adds ids from text: integers from 0 to 2^31 - 1 between commas or white space. EINVALID. */
choir_status choir_ids_parse(choir_ids *list, const char *text) CHOIR_MUST_CHECK;
/* Adds the ids of a JSON array of integers; EINVALID names `field`. */
choir_status choir_ids_from_json(choir_ids *list, const choir_json *array,
                                 const char *field) CHOIR_MUST_CHECK;

#endif
