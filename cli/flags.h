/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of a command line, by tables.
 *
 * A table is constant data: each flag has its spellings, the type and range of its value and the
 * place of the value in a struct of options. A group joins a table with one such struct, a command
 * lists its groups; parsing and the text of --help both come from there. The struct holds the
 * defaults before parsing. Accepted: `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-n=VALUE` and
 * words with one dash such as `-tp VALUE`, as other engines' users type them. `--` ends the flags.
 */
#ifndef CHOIR_CLI_FLAGS_H
#define CHOIR_CLI_FLAGS_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CHOIR_FLAG_LIST_MAX = 1024 };

typedef enum choir_flag_kind {
    CHOIR_FLAG_BOOL,     /* bool: given or not; takes no value */
    CHOIR_FLAG_INTEGER,  /* int64_t in min..max */
    CHOIR_FLAG_REAL,     /* double in min..max, finite */
    CHOIR_FLAG_OPTIONAL, /* int64_t: the value may be left out (then 0); `-f 5` or `-f=5` */
    CHOIR_FLAG_STRING,  /* const char *, borrowed from argv; one of `choices` where there are any */
    CHOIR_FLAG_STRINGS, /* choir_flag_strings: the flag may be repeated */
    CHOIR_FLAG_REALS,   /* choir_flag_reals: values of min..max joined by commas, such as 5,3,1 */
} choir_flag_kind;

/* Borrowed from argv. */
typedef struct choir_flag_strings {
    const char *items[CHOIR_FLAG_LIST_MAX];
    size_t n_items;
} choir_flag_strings;

typedef struct choir_flag_reals {
    double items[CHOIR_FLAG_LIST_MAX];
    size_t n_items;
} choir_flag_reals;

typedef struct choir_flag {
    const char *spellings; /* with dashes, one space between them, the main one first */
    const char *argument;  /* what --help calls the value; NULL for BOOL */
    const char *help;      /* with the default, where there is one */
    choir_flag_kind kind;
    size_t offset; /* of the value in the group's struct */
    double min, max;
    const char *choices; /* of a STRING: words with one space between them; or NULL */
} choir_flag;

typedef struct choir_flag_group {
    const char *title; /* the heading in --help */
    const choir_flag *flags;
    size_t n_flags;
    void *options; /* the struct that takes the values */
} choir_flag_group;

typedef struct choir_command {
    const char *name;     /* "choir generate" */
    const char *synopsis; /* what follows the name: "[FLAGS] [PROMPT]" */
    const char *about;    /* one or more sentences */
    const char *examples; /* one a line */
    const choir_flag_group *groups;
    size_t n_groups;
} choir_command;

/*
 * Parses argv[1..argc). The arguments that are no flags move, in their order, to argv[0..*n_rest).
 * --help and -h are known to every command: the help text goes to standard output and
 * *is_help_shown becomes true; the command has nothing more to do. EUSAGE for an unknown flag
 * (names the nearest one), a missing or unwanted value, a value of the wrong form or range.
 */
choir_status choir_flags_parse(const choir_command *command, int argc, char **argv, int *n_rest,
                               bool *is_help_shown) CHOIR_MUST_CHECK;
void choir_flags_print_help(const choir_command *command, FILE *file);

/*
 * The word of candidates[0..n) nearest to `word` (restricted Damerau-Levenshtein distance, at most
 * a third of the longer word's length), or NULL.
 */
const char *choir_flags_nearest(const char *word, const char *const *candidates, size_t n);

#endif
