/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/flags.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPELLING_MAX = 40,   /* bytes of one spelling, with its NUL */
    CANDIDATES_MAX = 96, /* spellings of one command */
    HELP_COLUMN = 34,
    HELP_WIDTH = 96,
};

/* One argument that is being parsed: the flag as it was typed, and its value if it came with "=".
 */
typedef struct typed_flag {
    char name[SPELLING_MAX];
    const char *value;
} typed_flag;

/* Walks the words of a list with one space between them; false at its end. */
static bool next_word(const char **list, const char **word, size_t *length)
{
    if (*list == NULL || **list == '\0')
        return false;
    *word = *list;
    *length = strcspn(*list, " ");
    *list += *length;
    if (**list == ' ')
        ++*list;
    return true;
}

static bool list_contains(const char *list, const char *wanted)
{
    const char *word;
    size_t length;
    while (next_word(&list, &word, &length))
        if (strlen(wanted) == length && memcmp(word, wanted, length) == 0)
            return true;
    return false;
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* Both words are shorter than SPELLING_MAX. */
static int edit_distance(const char *a, const char *b)
{
    const int na = (int)strlen(a), nb = (int)strlen(b);
    int rows[3][SPELLING_MAX];
    for (int j = 0; j <= nb; j++)
        rows[0][j] = j;
    for (int i = 1; i <= na; i++) {
        int *row = rows[i % 3];
        const int *above = rows[(i + 2) % 3];
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            const int change = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = min_int(change, min_int(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min_int(row[j], rows[(i + 1) % 3][j - 2] + 1);
        }
    }
    return rows[na % 3][nb];
}

const char *choir_flags_nearest(const char *word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    int best_distance = SPELLING_MAX;
    if (strlen(word) >= SPELLING_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const size_t length = strlen(candidates[i]);
        if (length >= SPELLING_MAX)
            continue;
        const int distance = edit_distance(word, candidates[i]);
        const int longer = (int)(length > strlen(word) ? length : strlen(word));
        if (distance < best_distance && distance * 3 <= longer) {
            best = candidates[i];
            best_distance = distance;
        }
    }
    return best;
}

static choir_status fail_unknown(const choir_command *command, const char *name)
{
    char words[CANDIDATES_MAX][SPELLING_MAX];
    const char *candidates[CANDIDATES_MAX];
    size_t n = 0;
    for (size_t g = 0; g < command->n_groups; g++) {
        for (size_t f = 0; f < command->groups[g].n_flags; f++) {
            const char *list = command->groups[g].flags[f].spellings, *word;
            size_t length;
            while (n < CANDIDATES_MAX && next_word(&list, &word, &length)) {
                (void)snprintf(words[n], SPELLING_MAX, "%.*s", (int)length, word);
                candidates[n] = words[n];
                n++;
            }
        }
    }
    const char *nearest = choir_flags_nearest(name, candidates, n);
    if (nearest != NULL)
        return choir_fail(CHOIR_EUSAGE, "unknown flag %s; did you mean %s?", name, nearest);
    return choir_fail(CHOIR_EUSAGE, "unknown flag %s; `%s --help` lists the flags", name,
                      command->name);
}

static const choir_flag *find_flag(const choir_command *command, const char *name, void **options)
{
    for (size_t g = 0; g < command->n_groups; g++) {
        const choir_flag_group *group = &command->groups[g];
        for (size_t f = 0; f < group->n_flags; f++) {
            if (list_contains(group->flags[f].spellings, name)) {
                *options = group->options;
                return &group->flags[f];
            }
        }
    }
    return NULL;
}

/* A range's ends as a person would write them. */
static choir_status fail_range(const char *name, const choir_flag *flag, const char *text)
{
    const bool is_integer = flag->kind == CHOIR_FLAG_INTEGER || flag->kind == CHOIR_FLAG_OPTIONAL;
    const char *kind = is_integer ? "an integer" : "a number";
    const bool has_max = flag->max < 9e18;
    if (has_max)
        return choir_fail(CHOIR_EUSAGE, "%s: \"%.40s\" is not %s from %.15g to %.15g", name, text,
                          kind, flag->min, flag->max);
    return choir_fail(CHOIR_EUSAGE, "%s: \"%.40s\" is not %s of at least %.15g", name, text, kind,
                      flag->min);
}

static choir_status read_integer(const char *name, const choir_flag *flag, const char *text,
                                 int64_t *value)
{
    char *end;
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || (double)number < flag->min ||
        (double)number > flag->max)
        return fail_range(name, flag, text);
    *value = number;
    return CHOIR_OK;
}

static choir_status read_real(const char *name, const choir_flag *flag, const char *text,
                              double *value)
{
    char *end;
    const double number = strtod(text, &end);
    /* Written so that a NaN fails. */
    if (end == text || *end != '\0' || !(number >= flag->min && number <= flag->max))
        return fail_range(name, flag, text);
    *value = number;
    return CHOIR_OK;
}

static choir_status read_reals(const char *name, const choir_flag *flag, const char *text,
                               choir_flag_reals *list)
{
    list->n_items = 0;
    for (const char *at = text;;) {
        char item[SPELLING_MAX];
        const size_t length = strcspn(at, ",");
        if (list->n_items == CHOIR_FLAG_LIST_MAX)
            return choir_fail(CHOIR_EUSAGE, "%s: more than %d values", name, CHOIR_FLAG_LIST_MAX);
        if (length >= sizeof item)
            return fail_range(name, flag, at);
        (void)snprintf(item, sizeof item, "%.*s", (int)length, at);
        const choir_status status = read_real(name, flag, item, &list->items[list->n_items]);
        if (status != CHOIR_OK)
            return status;
        list->n_items++;
        if (at[length] == '\0')
            return CHOIR_OK;
        at += length + 1;
    }
}

static choir_status read_string(const char *name, const choir_flag *flag, const char *text,
                                const char **value)
{
    if (flag->choices != NULL && (list_contains(flag->choices, text) == false || *text == '\0'))
        return choir_fail(CHOIR_EUSAGE, "%s: \"%.40s\" is none of: %s", name, text, flag->choices);
    *value = text;
    return CHOIR_OK;
}

static choir_status store(const char *name, const choir_flag *flag, void *options, const char *text)
{
    void *place = (char *)options + flag->offset;
    choir_flag_strings *strings = place;
    switch (flag->kind) {
    case CHOIR_FLAG_BOOL:
        *(bool *)place = true;
        return CHOIR_OK;
    case CHOIR_FLAG_INTEGER:
    case CHOIR_FLAG_OPTIONAL:
        return read_integer(name, flag, text, place);
    case CHOIR_FLAG_REAL:
        return read_real(name, flag, text, place);
    case CHOIR_FLAG_STRING:
        return read_string(name, flag, text, place);
    case CHOIR_FLAG_REALS:
        return read_reals(name, flag, text, place);
    case CHOIR_FLAG_STRINGS:
        if (strings->n_items == CHOIR_FLAG_LIST_MAX)
            return choir_fail(CHOIR_EUSAGE, "%s: given more than %d times", name,
                              CHOIR_FLAG_LIST_MAX);
        strings->items[strings->n_items++] = text;
        return CHOIR_OK;
    }
    return choir_fail(CHOIR_EINTERNAL, "%s: flag of no kind", name);
}

/* Splits "--name=value"; the name is cut at SPELLING_MAX, which no flag of ours reaches. */
static typed_flag split(const char *argument)
{
    typed_flag typed;
    const size_t length = strcspn(argument, "=");
    (void)snprintf(typed.name, sizeof typed.name, "%.*s",
                   (int)(length < SPELLING_MAX ? length : SPELLING_MAX), argument);
    typed.value = argument[length] == '=' ? argument + length + 1 : NULL;
    return typed;
}

static bool is_digits(const char *text)
{
    return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* Takes the flag at argv[*i] and its value, and leaves *i at the last argument it took. */
static choir_status parse_flag(const choir_command *command, int argc, char **argv, int *i)
{
    const typed_flag typed = split(argv[*i]);
    void *options = NULL;
    const choir_flag *flag = find_flag(command, typed.name, &options);
    if (flag == NULL)
        return fail_unknown(command, typed.name);
    const char *value = typed.value;
    if (flag->kind == CHOIR_FLAG_OPTIONAL && value == NULL)
        value = *i + 1 < argc && is_digits(argv[*i + 1]) ? argv[++*i] : "0";
    if (flag->kind == CHOIR_FLAG_BOOL && value != NULL)
        return choir_fail(CHOIR_EUSAGE, "%s takes no value", typed.name);
    if (flag->kind != CHOIR_FLAG_BOOL && value == NULL) {
        if (*i + 1 >= argc)
            return choir_fail(CHOIR_EUSAGE, "%s needs a value (%s)", typed.name, flag->argument);
        value = argv[++*i];
    }
    return store(typed.name, flag, options, value);
}

choir_status choir_flags_parse(const choir_command *command, int argc, char **argv, int *n_rest,
                               bool *is_help_shown)
{
    bool is_flag_possible = true;
    *n_rest = 0;
    *is_help_shown = false;
    for (int i = 1; i < argc; i++) {
        char *argument = argv[i];
        if (!is_flag_possible || argument[0] != '-' || argument[1] == '\0') {
            argv[(*n_rest)++] = argument;
        } else if (strcmp(argument, "--") == 0) {
            is_flag_possible = false;
        } else if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            choir_flags_print_help(command, stdout);
            *is_help_shown = true;
            return CHOIR_OK;
        } else {
            const choir_status status = parse_flag(command, argc, argv, &i);
            if (status != CHOIR_OK)
                return status;
        }
    }
    return CHOIR_OK;
}

/* Characters of UTF-8, each taken as one column. */
static int columns(const char *text, size_t length)
{
    int n = 0;
    for (size_t i = 0; i < length; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Prints words from `column` on, breaking lines before HELP_WIDTH and indenting them alike. */
static void print_wrapped(FILE *file, const char *text, int column)
{
    int at = column;
    const char *word;
    size_t length;
    while (next_word(&text, &word, &length)) {
        if (at > column && at + 1 + columns(word, length) > HELP_WIDTH) {
            (void)fprintf(file, "\n%*s", column, "");
            at = column;
        } else if (at > column) {
            (void)fputc(' ', file);
            at++;
        }
        (void)fprintf(file, "%.*s", (int)length, word);
        at += columns(word, length);
    }
    (void)fputc('\n', file);
}

static void print_flag(FILE *file, const choir_flag *flag)
{
    char left[160];
    size_t used = 0;
    const char *list = flag->spellings, *word;
    size_t length;
    left[0] = '\0';
    while (used < sizeof left && next_word(&list, &word, &length))
        used += (size_t)snprintf(left + used, sizeof left - used, "%s%.*s", used > 0 ? ", " : "",
                                 (int)length, word);
    if (flag->argument != NULL && used < sizeof left)
        (void)snprintf(left + used, sizeof left - used, " %s", flag->argument);
    const int width = columns(left, strlen(left));
    if (width + 4 > HELP_COLUMN)
        (void)fprintf(file, "  %s\n%*s", left, HELP_COLUMN, "");
    else
        (void)fprintf(file, "  %s%*s", left, HELP_COLUMN - 2 - width, "");
    print_wrapped(file, flag->help, HELP_COLUMN);
}

void choir_flags_print_help(const choir_command *command, FILE *file)
{
    (void)fprintf(file, "usage: %s %s\n\n", command->name, command->synopsis);
    print_wrapped(file, command->about, 0);
    for (size_t g = 0; g < command->n_groups; g++) {
        (void)fprintf(file, "\n%s:\n", command->groups[g].title);
        for (size_t f = 0; f < command->groups[g].n_flags; f++)
            print_flag(file, &command->groups[g].flags[f]);
    }
    (void)fprintf(file, "\nExample:\n");
    for (const char *line = command->examples; *line != '\0';) {
        const int length = (int)strcspn(line, "\n");
        (void)fprintf(file, "  %.*s\n", length, line);
        line += length + (line[length] == '\n');
    }
}
