/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A value is checked once, when it is read: its type, its length against what remains, its text.
 * What is kept of it is where it stands. Strings of an array have no fixed size, so every 16th is
 * noted and the up to 15 others are walked: a vocabulary costs a quarter of a byte a piece.
 */
#include "model/gguf_metadata.h"
#include "common/mem.h"
#include "common/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRIDE = 16, MAX_ELEMENT_BYTES = 8193, SHOWN_BYTES = 100 };

/* Bytes of the types of fixed size; 0 for strings and arrays. */
static const struct {
    const char *name;
    size_t bytes;
} types[CHOIR_GGUF_TYPES] = {
    [CHOIR_GGUF_U8] = {"u8", 1},         [CHOIR_GGUF_I8] = {"i8", 1},
    [CHOIR_GGUF_U16] = {"u16", 2},       [CHOIR_GGUF_I16] = {"i16", 2},
    [CHOIR_GGUF_U32] = {"u32", 4},       [CHOIR_GGUF_I32] = {"i32", 4},
    [CHOIR_GGUF_F32] = {"f32", 4},       [CHOIR_GGUF_BOOL] = {"bool", 1},
    [CHOIR_GGUF_STRING] = {"string", 0}, [CHOIR_GGUF_ARRAY] = {"array", 0},
    [CHOIR_GGUF_U64] = {"u64", 8},       [CHOIR_GGUF_I64] = {"i64", 8},
    [CHOIR_GGUF_F64] = {"f64", 8},
};

/* Reading */

bool choir_gguf_is_name(choir_gguf_string text)
{
    for (size_t i = 0; i < text.length; i++)
        if ((uint8_t)text.text[i] < 0x20 || text.text[i] == 0x7f)
            return false;
    return text.length > 0;
}

static int shown(choir_gguf_string text)
{
    return (int)(text.length < SHOWN_BYTES ? text.length : SHOWN_BYTES);
}

static choir_status check_type(const choir_cursor *cursor, choir_gguf_string key, uint32_t type)
{
    if (type < CHOIR_GGUF_TYPES)
        return CHOIR_OK;
    return choir_fail(CHOIR_EFORMAT, "%s: key %.*s: unknown value type %" PRIu32, cursor->label,
                      shown(key), key.text, type);
}

static choir_status check_bools(const choir_cursor *cursor, choir_gguf_string key,
                                const uint8_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (values[i] > 1)
            return choir_fail(CHOIR_EFORMAT, "%s: key %.*s: a bool is %d, not 0 or 1",
                              cursor->label, shown(key), key.text, values[i]);
    return CHOIR_OK;
}

static choir_status read_strings(choir_cursor *cursor, const char *what, choir_gguf_array *array)
{
    uint32_t *offsets;
    choir_status status =
        choir_alloc(array->count / STRIDE + 1, sizeof *offsets, (void **)&offsets);
    array->offsets = offsets; /* the entry's clearing frees it, also after a failure below */
    for (size_t i = 0; status == CHOIR_OK && i < array->count; i++) {
        const size_t offset = (size_t)(cursor->bytes + cursor->position - array->data);
        if (i % STRIDE == 0)
            offsets[i / STRIDE] = (uint32_t)offset;
        const char *text;
        size_t length;
        status = choir_cursor_string(cursor, what, MAX_ELEMENT_BYTES, &text, &length);
    }
    return status;
}

static choir_status read_array(choir_cursor *cursor, const char *what, choir_gguf_entry *entry)
{
    const choir_gguf_string key = entry->key;
    uint32_t type;
    uint64_t count;
    choir_status status = choir_cursor_u32(cursor, what, &type);
    if (status == CHOIR_OK)
        status = check_type(cursor, key, type);
    if (status == CHOIR_OK && type == CHOIR_GGUF_ARRAY)
        status = choir_fail(CHOIR_EFORMAT, "%s: key %.*s: an array of arrays", cursor->label,
                            shown(key), key.text);
    if (status == CHOIR_OK)
        status = choir_cursor_u64(cursor, what, &count);
    if (status != CHOIR_OK)
        return status;
    /* A string takes 8 bytes at least, so this also bounds what read_strings() allocates. */
    const size_t least = types[type].bytes ? types[type].bytes : sizeof(uint64_t);
    if (count > choir_cursor_remaining(cursor) / least)
        return choir_fail(
            CHOIR_EFORMAT, "%s: key %.*s: an array of %" PRIu64 " elements, but %zu bytes are left",
            cursor->label, shown(key), key.text, count, choir_cursor_remaining(cursor));
    entry->array = (choir_gguf_array){.type = (choir_gguf_type)type,
                                      .count = (size_t)count,
                                      .data = cursor->bytes + cursor->position};
    if (type == CHOIR_GGUF_STRING)
        return read_strings(cursor, what, &entry->array);
    const uint8_t *data;
    status = choir_cursor_take(cursor, count * types[type].bytes, what, &data);
    if (status == CHOIR_OK && type == CHOIR_GGUF_BOOL)
        status = check_bools(cursor, key, data, (size_t)count);
    return status;
}

static choir_status read_value(choir_cursor *cursor, choir_gguf_entry *entry)
{
    char what[SHOWN_BYTES + 32];
    snprintf(what, sizeof what, "the value of key %.*s", shown(entry->key), entry->key.text);
    if (entry->type == CHOIR_GGUF_STRING)
        return choir_cursor_string(cursor, what, SIZE_MAX, &entry->string.text,
                                   &entry->string.length);
    if (entry->type == CHOIR_GGUF_ARRAY)
        return read_array(cursor, what, entry);
    choir_status status = choir_cursor_take(cursor, types[entry->type].bytes, what, &entry->data);
    if (status == CHOIR_OK && entry->type == CHOIR_GGUF_BOOL)
        status = check_bools(cursor, entry->key, entry->data, 1);
    return status;
}

static choir_status read_entry(choir_cursor *cursor, choir_gguf_entry *entry)
{
    choir_gguf_string *key = &entry->key;
    const size_t start = cursor->position;
    choir_status status =
        choir_cursor_string(cursor, "a key", CHOIR_GGUF_MAX_KEY_BYTES, &key->text, &key->length);
    if (status == CHOIR_OK && !choir_gguf_is_name(*key))
        status =
            choir_fail(CHOIR_EFORMAT, "%s: the key at byte %zu is empty or has control characters",
                       cursor->label, start);
    uint32_t type = 0;
    if (status == CHOIR_OK)
        status = choir_cursor_u32(cursor, "the type of a value", &type);
    if (status == CHOIR_OK)
        status = check_type(cursor, *key, type);
    if (status != CHOIR_OK)
        return status;
    entry->type = (choir_gguf_type)type;
    return read_value(cursor, entry);
}

choir_status choir_gguf_metadata_read(choir_gguf_metadata *metadata, choir_cursor *cursor,
                                      uint64_t n_keys)
{
    metadata->label = cursor->label;
    enum { LEAST = 8 + 1 + 4 + 1 }; /* length, one byte of key, type, one byte of value */
    if (n_keys > CHOIR_GGUF_MAX_KEYS || n_keys > choir_cursor_remaining(cursor) / LEAST)
        return choir_fail(CHOIR_EFORMAT, "%s: %" PRIu64 " keys in %zu bytes; the cap is %d",
                          cursor->label, n_keys, choir_cursor_remaining(cursor),
                          CHOIR_GGUF_MAX_KEYS);
    choir_status status =
        choir_alloc((size_t)n_keys, sizeof *metadata->entries, (void **)&metadata->entries);
    if (status == CHOIR_OK)
        status = choir_index_create((size_t)n_keys, &metadata->index);
    while (status == CHOIR_OK && metadata->n_entries < n_keys) {
        const size_t i = metadata->n_entries++;
        choir_gguf_entry *entry = &metadata->entries[i];
        status = read_entry(cursor, entry);
        if (status == CHOIR_OK && choir_index_insert(metadata->index, entry->key.text,
                                                     entry->key.length, (int32_t)i) >= 0)
            status = choir_fail(CHOIR_EFORMAT, "%s: key %.*s stands twice", cursor->label,
                                shown(entry->key), entry->key.text);
    }
    return status;
}

void choir_gguf_metadata_clear(choir_gguf_metadata *metadata)
{
    for (size_t i = 0; i < metadata->n_entries; i++)
        free((void *)metadata->entries[i].array.offsets);
    free(metadata->entries);
    choir_index_destroy(&metadata->index);
    *metadata = (choir_gguf_metadata){0};
}

/* Typed access */

static const choir_gguf_entry *find(const choir_gguf *gguf, const char *key)
{
    const choir_gguf_metadata *metadata = choir_gguf_metadata_of(gguf);
    const int32_t i = choir_index_find(metadata->index, key, strlen(key));
    return i < 0 ? NULL : &metadata->entries[i];
}

static choir_status find_typed(const choir_gguf *gguf, const char *key, choir_gguf_type type,
                               const choir_gguf_entry **entry)
{
    const char *label = choir_gguf_metadata_of(gguf)->label;
    *entry = find(gguf, key);
    if (!*entry)
        return choir_fail(CHOIR_EFORMAT, "%s: key %s is missing", label, key);
    if ((*entry)->type != type)
        return choir_fail(CHOIR_EFORMAT, "%s: key %s has type %s, not %s", label, key,
                          types[(*entry)->type].name, types[type].name);
    return CHOIR_OK;
}

static choir_status get_number(const choir_gguf *gguf, const char *key, choir_gguf_type type,
                               void *value)
{
    const choir_gguf_entry *entry;
    choir_status status = find_typed(gguf, key, type, &entry);
    if (status == CHOIR_OK)
        memcpy(value, entry->data, types[type].bytes);
    return status;
}

bool choir_gguf_has(const choir_gguf *gguf, const char *key)
{
    return find(gguf, key) != NULL;
}

choir_status choir_gguf_get_u32(const choir_gguf *gguf, const char *key, uint32_t *value)
{
    return get_number(gguf, key, CHOIR_GGUF_U32, value);
}

choir_status choir_gguf_get_i32(const choir_gguf *gguf, const char *key, int32_t *value)
{
    return get_number(gguf, key, CHOIR_GGUF_I32, value);
}

choir_status choir_gguf_get_u64(const choir_gguf *gguf, const char *key, uint64_t *value)
{
    return get_number(gguf, key, CHOIR_GGUF_U64, value);
}

choir_status choir_gguf_get_f32(const choir_gguf *gguf, const char *key, float *value)
{
    return get_number(gguf, key, CHOIR_GGUF_F32, value);
}

choir_status choir_gguf_get_bool(const choir_gguf *gguf, const char *key, bool *value)
{
    uint8_t byte;
    choir_status status = get_number(gguf, key, CHOIR_GGUF_BOOL, &byte);
    if (status == CHOIR_OK)
        *value = byte != 0;
    return status;
}

choir_status choir_gguf_get_string(const choir_gguf *gguf, const char *key,
                                   choir_gguf_string *value)
{
    const choir_gguf_entry *entry;
    choir_status status = find_typed(gguf, key, CHOIR_GGUF_STRING, &entry);
    if (status == CHOIR_OK)
        *value = entry->string;
    return status;
}

choir_status choir_gguf_get_array(const choir_gguf *gguf, const char *key, choir_gguf_type type,
                                  choir_gguf_array *value)
{
    const choir_gguf_entry *entry;
    choir_status status = find_typed(gguf, key, CHOIR_GGUF_ARRAY, &entry);
    if (status != CHOIR_OK)
        return status;
    if (entry->array.type != type)
        return choir_fail(CHOIR_EFORMAT, "%s: key %s has type array of %s, not array of %s",
                          choir_gguf_metadata_of(gguf)->label, key, types[entry->array.type].name,
                          types[type].name);
    *value = entry->array;
    return CHOIR_OK;
}

/* The string that begins at *at, which moves behind it; read_strings() has checked it. */
static choir_gguf_string next_string(const uint8_t **at)
{
    uint64_t length;
    memcpy(&length, *at, sizeof length);
    const choir_gguf_string string = {(const char *)*at + sizeof length, (size_t)length};
    *at += sizeof length + (size_t)length;
    return string;
}

choir_gguf_string choir_gguf_at_string(const choir_gguf_array *array, size_t index)
{
    assert(array->type == CHOIR_GGUF_STRING && index < array->count);
    const uint8_t *at = array->data + array->offsets[index / STRIDE];
    for (size_t i = 0; i < index % STRIDE; i++)
        next_string(&at);
    return next_string(&at);
}

float choir_gguf_at_f32(const choir_gguf_array *array, size_t index)
{
    assert(array->type == CHOIR_GGUF_F32 && index < array->count);
    float value;
    memcpy(&value, array->data + index * sizeof value, sizeof value);
    return value;
}

int32_t choir_gguf_at_i32(const choir_gguf_array *array, size_t index)
{
    assert(array->type == CHOIR_GGUF_I32 && index < array->count);
    int32_t value;
    memcpy(&value, array->data + index * sizeof value, sizeof value);
    return value;
}

size_t choir_gguf_n_keys(const choir_gguf *gguf)
{
    return choir_gguf_metadata_of(gguf)->n_entries;
}

choir_gguf_string choir_gguf_key_at(const choir_gguf *gguf, size_t index)
{
    assert(index < choir_gguf_n_keys(gguf));
    return choir_gguf_metadata_of(gguf)->entries[index].key;
}

const char *choir_gguf_type_name(choir_gguf_type type)
{
    return (unsigned)type < CHOIR_GGUF_TYPES ? types[type].name : "unknown";
}

/* Values as text */

static const char ellipsis[] = "…";

/* Text that ends with an ellipsis where it had to be cut. */
typedef struct printer {
    char *text;
    size_t size, length;
    bool is_full;
} printer;

/* Appends all of `words` or, where room for it and an ellipsis is missing, the ellipsis. */
static void append(printer *out, const char *words, size_t length)
{
    if (out->is_full)
        return;
    if (length + sizeof ellipsis > out->size - out->length) {
        out->is_full = true;
        words = ellipsis;
        length = sizeof ellipsis - 1;
    }
    memcpy(out->text + out->length, words, length);
    out->length += length;
    out->text[out->length] = '\0';
}

static void appendf(printer *out, const char *format, ...) CHOIR_PRINTF(2, 3);
static void appendf(printer *out, const char *format, ...)
{
    char words[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    append(out, words, strlen(words));
}

static void print_string(printer *out, choir_gguf_string string)
{
    appendf(out, "\"");
    for (size_t i = 0, n; i < string.length && !out->is_full; i += n) {
        n = choir_utf8_character(string.text + i, string.length - i);
        const uint8_t c = (uint8_t)string.text[i];
        if (c == '\n')
            appendf(out, "\\n");
        else if (c == '"' || c == '\\')
            appendf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            appendf(out, "\\x%02x", c);
        else
            append(out, string.text + i, n);
    }
    appendf(out, "\"");
}

static void print_number(printer *out, choir_gguf_type type, const uint8_t *data)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } v;
    memcpy(&v, data, types[type].bytes);
    switch (type) {
    case CHOIR_GGUF_U8:
        appendf(out, "%" PRIu8, v.u8);
        break;
    case CHOIR_GGUF_I8:
        appendf(out, "%" PRIi8, v.i8);
        break;
    case CHOIR_GGUF_U16:
        appendf(out, "%" PRIu16, v.u16);
        break;
    case CHOIR_GGUF_I16:
        appendf(out, "%" PRIi16, v.i16);
        break;
    case CHOIR_GGUF_U32:
        appendf(out, "%" PRIu32, v.u32);
        break;
    case CHOIR_GGUF_I32:
        appendf(out, "%" PRIi32, v.i32);
        break;
    case CHOIR_GGUF_F32:
        appendf(out, "%.9g", (double)v.f32);
        break;
    case CHOIR_GGUF_BOOL:
        appendf(out, "%s", v.u8 ? "true" : "false");
        break;
    case CHOIR_GGUF_U64:
        appendf(out, "%" PRIu64, v.u64);
        break;
    case CHOIR_GGUF_I64:
        appendf(out, "%" PRIi64, v.i64);
        break;
    case CHOIR_GGUF_F64:
        appendf(out, "%.17g", v.f64);
        break;
    case CHOIR_GGUF_STRING:
    case CHOIR_GGUF_ARRAY:
    case CHOIR_GGUF_TYPES:
        assert(!"of no fixed size");
    }
}

static void print_array(printer *out, const choir_gguf_array *array)
{
    appendf(out, "%zu x %s [", array->count, types[array->type].name);
    for (size_t i = 0; i < array->count && !out->is_full; i++) {
        if (i > 0)
            appendf(out, ", ");
        if (array->type == CHOIR_GGUF_STRING)
            print_string(out, choir_gguf_at_string(array, i));
        else
            print_number(out, array->type, array->data + i * types[array->type].bytes);
    }
    appendf(out, "]");
}

void choir_gguf_format(const choir_gguf *gguf, size_t index, char *text, size_t size)
{
    assert(index < choir_gguf_n_keys(gguf) && size >= sizeof ellipsis);
    const choir_gguf_entry *entry = &choir_gguf_metadata_of(gguf)->entries[index];
    printer out = {text, size, 0, false};
    text[0] = '\0';
    if (entry->type == CHOIR_GGUF_STRING)
        print_string(&out, entry->string);
    else if (entry->type == CHOIR_GGUF_ARRAY)
        print_array(&out, &entry->array);
    else
        print_number(&out, entry->type, entry->data);
}
