/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A choir_json pointer is a json_t pointer under another name. That memory ran out while building
 * is remembered in one flag of the thread: a dump follows its building on the same thread.
 */
#include "common/json.h"

#include "common/mem.h"
#include "common/utf8.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local bool build_failed;

static const json_t *as_json(const choir_json *json)
{
    return (const json_t *)json;
}

static choir_json *made(json_t *value)
{
    if (!value)
        build_failed = true;
    return (choir_json *)value;
}

static choir_status parse(const char *text, size_t length, size_t flags, choir_json **result)
{
    json_error_t error;
    json_t *root =
        json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | flags, &error);
    *result = (choir_json *)root;
    if (!root)
        return choir_fail(CHOIR_EFORMAT, "JSON, line %d column %d: %s", error.line, error.column,
                          error.text);
    return CHOIR_OK;
}

choir_status choir_json_parse(const char *text, size_t length, choir_json **result)
{
    return parse(text, length, 0, result);
}

choir_status choir_json_parse_with_nul(const char *text, size_t length, choir_json **result)
{
    return parse(text, length, JSON_ALLOW_NUL, result);
}

void choir_json_destroy(choir_json **json)
{
    json_decref((json_t *)*json);
    *json = NULL;
}

choir_json_type choir_json_kind(const choir_json *json)
{
    if (!json)
        return CHOIR_JSON_NULL;
    switch (json_typeof(as_json(json))) {
    case JSON_OBJECT:
        return CHOIR_JSON_OBJECT;
    case JSON_ARRAY:
        return CHOIR_JSON_ARRAY;
    case JSON_STRING:
        return CHOIR_JSON_STRING;
    case JSON_INTEGER:
        return CHOIR_JSON_INTEGER;
    case JSON_REAL:
        return CHOIR_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return CHOIR_JSON_BOOLEAN;
    case JSON_NULL:
        break;
    }
    return CHOIR_JSON_NULL;
}

const choir_json *choir_json_get(const choir_json *object, const char *key)
{
    return (const choir_json *)json_object_get(as_json(object), key);
}

const choir_json *choir_json_at(const choir_json *array, size_t index)
{
    return (const choir_json *)json_array_get(as_json(array), index);
}

size_t choir_json_size(const choir_json *json)
{
    return json_is_array(as_json(json)) ? json_array_size(as_json(json))
                                        : json_object_size(as_json(json));
}

int64_t choir_json_integer(const choir_json *json, int64_t otherwise)
{
    return json_is_integer(as_json(json)) ? json_integer_value(as_json(json)) : otherwise;
}

double choir_json_real(const choir_json *json, double otherwise)
{
    return json_is_number(as_json(json)) ? json_number_value(as_json(json)) : otherwise;
}

bool choir_json_boolean(const choir_json *json, bool otherwise)
{
    return json_is_boolean(as_json(json)) ? json_is_true(as_json(json)) : otherwise;
}

const char *choir_json_string(const choir_json *json, const char *otherwise)
{
    return json_is_string(as_json(json)) ? json_string_value(as_json(json)) : otherwise;
}

const char *choir_json_text(const choir_json *json, size_t *length)
{
    *length = json_string_length(as_json(json));
    return json_string_value(as_json(json));
}

bool choir_json_next(const choir_json *object, size_t *position, const char **key,
                     const choir_json **value)
{
    json_t *root = (json_t *)(uintptr_t)object;
    void *iterator = json_object_iter(root);
    for (size_t i = 0; i < *position && iterator; i++)
        iterator = json_object_iter_next(root, iterator);
    if (!iterator)
        return false;
    ++*position;
    *key = json_object_iter_key(iterator);
    *value = (const choir_json *)json_object_iter_value(iterator);
    return true;
}

choir_json *choir_json_make_object(void)
{
    return made(json_object());
}

choir_json *choir_json_make_array(void)
{
    return made(json_array());
}

choir_json *choir_json_make_null(void)
{
    return made(json_null());
}

choir_json *choir_json_make_boolean(bool value)
{
    return made(json_boolean(value));
}

choir_json *choir_json_make_integer(int64_t value)
{
    return made(json_integer(value));
}

choir_json *choir_json_make_real(double value)
{
    return made(isfinite(value) ? json_real(value) : json_null());
}

choir_json *choir_json_make_string(const char *text, size_t length)
{
    json_t *value = json_stringn(text, length);
    if (value)
        return (choir_json *)value;
    /* Not UTF-8: each byte that begins no character becomes U+FFFD, three bytes long. */
    char *clean = malloc(length * 3 + 1);
    size_t clean_length = 0;
    for (size_t i = 0; clean && i < length;) {
        const size_t bytes = choir_utf8_character(text + i, length - i);
        memcpy(clean + clean_length, bytes ? text + i : "\xef\xbf\xbd", bytes ? bytes : 3);
        clean_length += bytes ? bytes : 3;
        i += bytes ? bytes : 1;
    }
    value = clean ? json_stringn(clean, clean_length) : NULL;
    free(clean);
    return made(value);
}

void choir_json_set(choir_json *object, const char *key, choir_json *value)
{
    if (json_object_set_new((json_t *)object, key, (json_t *)value) != 0)
        build_failed = true;
}

void choir_json_append(choir_json *array, choir_json *value)
{
    if (json_array_append_new((json_t *)array, (json_t *)value) != 0)
        build_failed = true;
}

void choir_json_set_integer(choir_json *object, const char *key, int64_t value)
{
    choir_json_set(object, key, choir_json_make_integer(value));
}

void choir_json_set_real(choir_json *object, const char *key, double value)
{
    choir_json_set(object, key, choir_json_make_real(value));
}

void choir_json_set_boolean(choir_json *object, const char *key, bool value)
{
    choir_json_set(object, key, choir_json_make_boolean(value));
}

void choir_json_set_text(choir_json *object, const char *key, const char *text)
{
    choir_json_set(object, key, choir_json_make_string(text, strlen(text)));
}

choir_status choir_json_dump(const choir_json *json, char **text)
{
    *text = build_failed || !json ? NULL : json_dumps(as_json(json), JSON_ENCODE_ANY);
    build_failed = false;
    return *text ? CHOIR_OK : choir_fail(CHOIR_ENOMEM, "out of memory for JSON");
}
