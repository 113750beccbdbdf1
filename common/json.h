/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON values (RFC 8259), by Jansson. A choir_json is one value with all that is in it; readers get
 * borrowed pointers that live as long as the root, builders give their parts away.
 */
#ifndef CHOIR_COMMON_JSON_H
#define CHOIR_COMMON_JSON_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct choir_json choir_json;

typedef enum choir_json_type {
    CHOIR_JSON_NULL,
    CHOIR_JSON_BOOLEAN,
    CHOIR_JSON_INTEGER,
    CHOIR_JSON_REAL,
    CHOIR_JSON_STRING,
    CHOIR_JSON_ARRAY,
    CHOIR_JSON_OBJECT,
} choir_json_type;

/*
 * Parses one value that fills all of text[0..length). EFORMAT with line and column: bad syntax,
 * duplicate keys, invalid UTF-8, U+0000 in strings, nesting over 2,048.
 */
choir_status choir_json_parse(const char *text, size_t length,
                              choir_json **result) CHOIR_MUST_CHECK;
/* The same, but strings may hold U+0000: they are to be read with choir_json_text(). */
choir_status choir_json_parse_with_nul(const char *text, size_t length,
                                       choir_json **result) CHOIR_MUST_CHECK;
void choir_json_destroy(choir_json **json);

/* Reading. NULL is read as JSON null everywhere, so look-ups can be chained. */
choir_json_type choir_json_kind(const choir_json *json);
const choir_json *choir_json_get(const choir_json *object, const char *key); /* NULL if absent */
const choir_json *choir_json_at(const choir_json *array, size_t index);      /* NULL if outside */
size_t choir_json_size(const choir_json *array_or_object);
/* The value, or `otherwise` where the value is of another type. real() takes integers too. */
int64_t choir_json_integer(const choir_json *json, int64_t otherwise);
double choir_json_real(const choir_json *json, double otherwise);
bool choir_json_boolean(const choir_json *json, bool otherwise);
const char *choir_json_string(const choir_json *json, const char *otherwise);
/* A string with its length, a NUL behind it; NULL and 0 where the value is of another type. */
const char *choir_json_text(const choir_json *json, size_t *length);
/* Walks an object's keys in their order: *position starts at 0; false when there are no more. */
bool choir_json_next(const choir_json *object, size_t *position, const char **key,
                     const choir_json **value);

/*
 * Building. A maker returns NULL when memory is out; set and append accept that NULL, take the
 * value over in any case, and make choir_json_dump() on the whole fail, so only dump needs a check.
 */
choir_json *choir_json_make_object(void);
choir_json *choir_json_make_array(void);
choir_json *choir_json_make_null(void);
choir_json *choir_json_make_boolean(bool value);
choir_json *choir_json_make_integer(int64_t value);
choir_json *choir_json_make_real(double value);                      /* not finite: null */
choir_json *choir_json_make_string(const char *text, size_t length); /* invalid UTF-8 → U+FFFD */
void choir_json_set(choir_json *object, const char *key, choir_json *value);
void choir_json_append(choir_json *array, choir_json *value);
/* set() of the usual kinds; `text` has a NUL behind it. */
void choir_json_set_integer(choir_json *object, const char *key, int64_t value);
void choir_json_set_real(choir_json *object, const char *key, double value);
void choir_json_set_boolean(choir_json *object, const char *key, bool value);
void choir_json_set_text(choir_json *object, const char *key, const char *text);
/* One line without a newline, keys in the order they were set; free() releases it. */
choir_status choir_json_dump(const choir_json *json, char **text) CHOIR_MUST_CHECK;

#endif
