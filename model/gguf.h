/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GGUF files, versions 2 and 3, read without copying and without trust (the format: docs/gguf.md of
 * ggml): typed metadata under keys, and tensors.
 *
 * A choir_gguf that exists has passed every check of the format: all counts, lengths, types, names,
 * shapes and offsets are in range, strings are UTF-8 without NUL, nothing stands twice, no tensors
 * overlap. Whether the tensors make a model is for model/model.h. Everything it hands out is
 * borrowed and lives as long as the choir_gguf. Reading it is safe from any number of threads.
 *
 * Caps: metadata 256 MiB, 65,536 keys, 65,536 tensors, keys 64 KiB, elements of string arrays 8 KiB
 * (a merge is two pieces of 4 KiB), tensor names 63 bytes.
 */
#ifndef CHOIR_MODEL_GGUF_H
#define CHOIR_MODEL_GGUF_H

#include "common/status.h"
#include "kernels/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values are GGUF's. */
typedef enum choir_gguf_type {
    CHOIR_GGUF_U8 = 0,
    CHOIR_GGUF_I8 = 1,
    CHOIR_GGUF_U16 = 2,
    CHOIR_GGUF_I16 = 3,
    CHOIR_GGUF_U32 = 4,
    CHOIR_GGUF_I32 = 5,
    CHOIR_GGUF_F32 = 6,
    CHOIR_GGUF_BOOL = 7,
    CHOIR_GGUF_STRING = 8,
    CHOIR_GGUF_ARRAY = 9,
    CHOIR_GGUF_U64 = 10,
    CHOIR_GGUF_I64 = 11,
    CHOIR_GGUF_F64 = 12,
    CHOIR_GGUF_TYPES = 13,
} choir_gguf_type;

/* Bytes of the file, valid UTF-8; no NUL stands in or behind them. */
typedef struct choir_gguf_string {
    const char *text;
    size_t length;
} choir_gguf_string;

/* An array of the metadata; elements by the choir_gguf_at_* functions. */
typedef struct choir_gguf_array {
    choir_gguf_type type; /* of the elements; never ARRAY */
    size_t count;
    const uint8_t *data;     /* the first element in the file */
    const uint32_t *offsets; /* strings only: where every 16th begins, from data */
} choir_gguf_array;

enum { CHOIR_GGUF_MAX_DIMS = 4, CHOIR_GGUF_NAME_BYTES = 64 };

typedef struct choir_gguf_tensor {
    char name[CHOIR_GGUF_NAME_BYTES]; /* 1..63 bytes and a NUL */
    choir_type type;
    int n_dims;                        /* 1..4 */
    int64_t dims[CHOIR_GGUF_MAX_DIMS]; /* dims[0] is the length of a row; 1 beyond n_dims */
    uint64_t offset;                   /* of the first byte, from the begin of the file */
    size_t bytes;
    size_t row_bytes; /* of dims[0] elements: whole blocks */
} choir_gguf_tensor;

typedef struct choir_gguf choir_gguf;

typedef enum choir_gguf_extent {
    CHOIR_GGUF_WHOLE,       /* the data of every tensor must lie in the file */
    CHOIR_GGUF_HEADER_ONLY, /* it may lie beyond the end: for planning without the weights */
} choir_gguf_extent;

/*
 * Checks the GGUF file that is in bytes[0..length), borrowed as long as *result lives. `label`
 * (copied) stands in front of every error. EFORMAT for a damaged file, EUNSUPPORTED for tensor
 * types and versions that are not served, ENOMEM. *result is NULL on failure.
 */
choir_status choir_gguf_parse(const uint8_t *bytes, size_t length, const char *label,
                              choir_gguf_extent extent, choir_gguf **result) CHOIR_MUST_CHECK;
/* Accepts NULL, nulls the pointer. */
void choir_gguf_destroy(choir_gguf **gguf);

uint32_t choir_gguf_version(const choir_gguf *gguf);
/* Where the header ends and tensor data begins: a multiple of the file's alignment. */
size_t choir_gguf_data_offset(const choir_gguf *gguf);

/* Tensors, in the order of the file. */
size_t choir_gguf_n_tensors(const choir_gguf *gguf);
const choir_gguf_tensor *choir_gguf_tensor_at(const choir_gguf *gguf, size_t index);
/* NULL if there is none of that name. */
const choir_gguf_tensor *choir_gguf_find_tensor(const choir_gguf *gguf, const char *name);

/*
 * Metadata. The get functions are EFORMAT where the key is missing or its value has another type;
 * the words name the key and both types. *value is set on success only. Nothing is converted.
 */
bool choir_gguf_has(const choir_gguf *gguf, const char *key);
choir_status choir_gguf_get_u32(const choir_gguf *gguf, const char *key,
                                uint32_t *value) CHOIR_MUST_CHECK;
choir_status choir_gguf_get_i32(const choir_gguf *gguf, const char *key,
                                int32_t *value) CHOIR_MUST_CHECK;
choir_status choir_gguf_get_u64(const choir_gguf *gguf, const char *key,
                                uint64_t *value) CHOIR_MUST_CHECK;
choir_status choir_gguf_get_f32(const choir_gguf *gguf, const char *key,
                                float *value) CHOIR_MUST_CHECK;
choir_status choir_gguf_get_bool(const choir_gguf *gguf, const char *key,
                                 bool *value) CHOIR_MUST_CHECK;
choir_status choir_gguf_get_string(const choir_gguf *gguf, const char *key,
                                   choir_gguf_string *value) CHOIR_MUST_CHECK;
/* An array whose elements are of `type`. */
choir_status choir_gguf_get_array(const choir_gguf *gguf, const char *key, choir_gguf_type type,
                                  choir_gguf_array *value) CHOIR_MUST_CHECK;

/* Element `index` < count of an array of that type. A string costs a walk over up to 15 others. */
choir_gguf_string choir_gguf_at_string(const choir_gguf_array *array, size_t index);
float choir_gguf_at_f32(const choir_gguf_array *array, size_t index);
int32_t choir_gguf_at_i32(const choir_gguf_array *array, size_t index);

/* Walking all keys, in the order of the file, index < choir_gguf_n_keys(). */
size_t choir_gguf_n_keys(const choir_gguf *gguf);
choir_gguf_string choir_gguf_key_at(const choir_gguf *gguf, size_t index);
/* A value as one line of text for people, cut to size >= 4: strings quoted, control characters
 * escaped. */
void choir_gguf_format(const choir_gguf *gguf, size_t index, char *text, size_t size);
/* The name of a type, such as "u32"; of the element type with "array of " for arrays. */
const char *choir_gguf_type_name(choir_gguf_type type);

#endif
