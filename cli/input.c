/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/input.h"

#include "common/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 1 << 16, WORDS_BYTES = 512 };

static choir_status open_input(const char *path, FILE **file)
{
    *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (*file == NULL)
        return choir_fail(CHOIR_EIO, "%s: %s", path, strerror(errno));
    return CHOIR_OK;
}

static void close_input(FILE *file)
{
    if (file != NULL && file != stdin)
        (void)fclose(file);
}

static choir_status read_file(FILE *file, const char *path, char **text, size_t *length)
{
    size_t capacity = 0, n;
    do {
        const choir_status status =
            choir_grow((void **)text, &capacity, *length + READ_BYTES + 1, 1);
        if (status != CHOIR_OK)
            return status;
        n = fread(*text + *length, 1, READ_BYTES, file);
        *length += n;
        if (*length > CHOIR_INPUT_MAX_BYTES)
            return choir_fail(CHOIR_EINVALID, "%s: more than %d MiB of text", path,
                              CHOIR_INPUT_MAX_BYTES >> 20);
    } while (n > 0);
    if (ferror(file))
        return choir_fail(CHOIR_EIO, "%s: %s", path, strerror(errno));
    (*text)[*length] = '\0';
    return CHOIR_OK;
}

choir_status choir_input_read(const char *path, char **text, size_t *length)
{
    FILE *file = NULL;
    *text = NULL;
    *length = 0;
    choir_status status = open_input(path, &file);
    if (status == CHOIR_OK)
        status = read_file(file, path, text, length);
    close_input(file);
    if (status != CHOIR_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

choir_status choir_input_text(char **arguments, int n_arguments, const char *file, char **text,
                              size_t *length)
{
    *text = NULL;
    if (n_arguments > 1)
        return choir_fail(CHOIR_EUSAGE,
                          "%d texts where one is wanted; quote a text of several words",
                          n_arguments);
    if (n_arguments == 1 && file != NULL)
        return choir_fail(CHOIR_EUSAGE, "a text and --file; give one of them");
    if (n_arguments == 0)
        return choir_input_read(file == NULL ? "-" : file, text, length);
    *length = strlen(arguments[0]);
    return choir_copy_string(arguments[0], *length, text);
}

choir_status choir_jsonl_open(choir_jsonl *lines, const char *path)
{
    *lines = (choir_jsonl){.path = path};
    return open_input(path, &lines->file);
}

choir_status choir_jsonl_next(choir_jsonl *lines, choir_json **object)
{
    ssize_t length;
    *object = NULL;
    do {
        errno = 0;
        length = getline(&lines->line, &lines->capacity, lines->file);
        if (length < 0 && errno != 0)
            return choir_fail(CHOIR_EIO, "%s: %s", lines->path, strerror(errno));
        if (length < 0)
            return CHOIR_OK;
        lines->number++;
    } while (strspn(lines->line, " \t\r\n") == (size_t)length);
    const choir_status status = (lines->allows_nul ? choir_json_parse_with_nul : choir_json_parse)(
        lines->line, (size_t)length, object);
    if (status == CHOIR_OK && choir_json_kind(*object) == CHOIR_JSON_OBJECT)
        return CHOIR_OK;
    choir_json_destroy(object);
    return choir_jsonl_fail(
        lines, status == CHOIR_OK ? choir_fail(CHOIR_EFORMAT, "not a JSON object") : status);
}

choir_status choir_jsonl_fail(const choir_jsonl *lines, choir_status status)
{
    char words[WORDS_BYTES];
    (void)snprintf(words, sizeof words, "%.*s", WORDS_BYTES - 1, choir_error());
    return choir_fail(status, "%s line %lld: %s", lines->path, (long long)lines->number, words);
}

void choir_jsonl_close(choir_jsonl *lines)
{
    close_input(lines->file);
    free(lines->line);
    *lines = (choir_jsonl){0};
}

static choir_status add_id(choir_ids *list, int64_t id)
{
    const choir_status status =
        choir_grow((void **)&list->ids, &list->capacity, list->n_ids + 1, sizeof *list->ids);
    if (status == CHOIR_OK)
        list->ids[list->n_ids++] = (int32_t)id;
    return status;
}

static choir_status fail_id(const char *text, size_t length)
{
    return choir_fail(CHOIR_EINVALID, "\"%.*s\" is no token id: an integer of at least 0",
                      (int)(length < 40 ? length : 40), text);
}

choir_status choir_ids_parse(choir_ids *list, const char *text)
{
    static const char separators[] = ", \t\r\n[]";
    for (const char *at = text + strspn(text, separators); *at != '\0';
         at += strspn(at, separators)) {
        char *end;
        errno = 0;
        const long long id = strtoll(at, &end, 10);
        if (end == at || strchr(separators, *end) == NULL || errno != 0 || id < 0 || id > INT32_MAX)
            return fail_id(at, strcspn(at, separators));
        const choir_status status = add_id(list, id);
        if (status != CHOIR_OK)
            return status;
        at = end;
    }
    return CHOIR_OK;
}

choir_status choir_ids_from_json(choir_ids *list, const choir_json *array, const char *field)
{
    if (choir_json_kind(array) != CHOIR_JSON_ARRAY)
        return choir_fail(CHOIR_EINVALID, "%s: not an array of token ids", field);
    for (size_t i = 0; i < choir_json_size(array); i++) {
        const int64_t id = choir_json_integer(choir_json_at(array, i), -1);
        if (id < 0 || id > INT32_MAX)
            return choir_fail(CHOIR_EINVALID, "%s[%zu]: no token id", field, i);
        const choir_status status = add_id(list, id);
        if (status != CHOIR_OK)
            return status;
    }
    return CHOIR_OK;
}
