/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file:  magic, version, number of tensors, number of keys
 *            keys and values (gguf_metadata.c)
 *            one description a tensor: name, dimensions, type, offset from the data's begin
 *            padding to general.alignment, then the data of the tensors, each so aligned
 *
 * One pass with a cursor that stops at the cap of the header; whatever the file counts is compared
 * with the bytes that are left before memory is asked for.
 */
#include "model/gguf.h"
#include "common/mem.h"
#include "model/gguf_metadata.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAGIC = 0x46554747, /* "GGUF" */
    HEADER_CAP = 256 << 20,
    MAX_TENSORS = 65536,
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8,
    MAX_ALIGNMENT = 1 << 20,
};

struct choir_gguf {
    char *label;
    uint32_t version;
    size_t data_offset;
    choir_gguf_metadata metadata;
    size_t n_tensors;
    choir_gguf_tensor *tensors;
    choir_index *index; /* name → tensor */
};

static choir_status read_version(choir_cursor *cursor, uint32_t *version)
{
    uint32_t magic;
    choir_status status = choir_cursor_u32(cursor, "the magic number", &magic);
    if (status == CHOIR_OK && magic != MAGIC)
        status = choir_fail(CHOIR_EFORMAT,
                            "%s: not a GGUF file: it begins with %08" PRIx32 ", not with \"GGUF\"",
                            cursor->label, __builtin_bswap32(magic));
    if (status == CHOIR_OK)
        status = choir_cursor_u32(cursor, "the version", version);
    if (status != CHOIR_OK || *version == 2 || *version == 3)
        return status;
    const uint32_t swapped = __builtin_bswap32(*version);
    if (swapped == 2 || swapped == 3)
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "%s: a big-endian GGUF file; convert it to little-endian", cursor->label);
    return choir_fail(CHOIR_EUNSUPPORTED,
                      "%s: GGUF version %" PRIu32 "; versions 2 and 3 are served", cursor->label,
                      *version);
}

static choir_status read_alignment(const choir_gguf *gguf, uint32_t *alignment)
{
    static const char key[] = "general.alignment";
    *alignment = DEFAULT_ALIGNMENT;
    if (!choir_gguf_has(gguf, key))
        return CHOIR_OK;
    choir_status status = choir_gguf_get_u32(gguf, key, alignment);
    const uint32_t a = *alignment;
    if (status == CHOIR_OK && (a < MIN_ALIGNMENT || a > MAX_ALIGNMENT || (a & (a - 1)) != 0))
        status =
            choir_fail(CHOIR_EFORMAT, "%s: %s is %" PRIu32 ", not a power of two from %d to %d",
                       gguf->label, key, a, MIN_ALIGNMENT, MAX_ALIGNMENT);
    return status;
}

static choir_status read_name(choir_cursor *cursor, choir_gguf_tensor *tensor)
{
    const size_t start = cursor->position;
    choir_gguf_string name;
    choir_status status =
        choir_cursor_string(cursor, "a tensor name", SIZE_MAX, &name.text, &name.length);
    if (status != CHOIR_OK)
        return status;
    if (!choir_gguf_is_name(name))
        return choir_fail(CHOIR_EFORMAT,
                          "%s: the tensor name at byte %zu is empty or has control characters",
                          cursor->label, start);
    if (name.length >= CHOIR_GGUF_NAME_BYTES)
        return choir_fail(CHOIR_EFORMAT, "%s: tensor %.*s…: the name has %zu bytes; the cap is %d",
                          cursor->label, CHOIR_GGUF_NAME_BYTES - 1, name.text, name.length,
                          CHOIR_GGUF_NAME_BYTES - 1);
    memcpy(tensor->name, name.text, name.length);
    return CHOIR_OK;
}

static choir_status read_dims(choir_cursor *cursor, choir_gguf_tensor *tensor)
{
    uint32_t n_dims;
    choir_status status = choir_cursor_u32(cursor, "a tensor's number of dimensions", &n_dims);
    if (status == CHOIR_OK && (n_dims < 1 || n_dims > CHOIR_GGUF_MAX_DIMS))
        status = choir_fail(CHOIR_EFORMAT, "%s: tensor %s has %" PRIu32 " dimensions, not 1 to %d",
                            cursor->label, tensor->name, n_dims, CHOIR_GGUF_MAX_DIMS);
    if (status != CHOIR_OK)
        return status;
    tensor->n_dims = (int)n_dims;
    for (int i = 0; i < CHOIR_GGUF_MAX_DIMS; i++) {
        uint64_t dim = 1;
        if (i < tensor->n_dims)
            status = choir_cursor_u64(cursor, "a tensor's dimensions", &dim);
        if (status == CHOIR_OK && (dim < 1 || dim > INT64_MAX))
            status = choir_fail(CHOIR_EFORMAT, "%s: tensor %s: dimension %d is %" PRId64,
                                cursor->label, tensor->name, i, (int64_t)dim);
        if (status != CHOIR_OK)
            return status;
        tensor->dims[i] = (int64_t)dim;
    }
    return CHOIR_OK;
}

/* Fills row_bytes and bytes from the type and the dimensions. */
static choir_status measure(const choir_cursor *cursor, choir_gguf_tensor *tensor)
{
    const choir_type_info *type = choir_type_info_of(tensor->type);
    const int64_t *dims = tensor->dims;
    if (dims[0] % type->block_elements != 0)
        return choir_fail(CHOIR_EFORMAT,
                          "%s: tensor %s: a row of %" PRId64 " is no multiple of %s's blocks of %d",
                          cursor->label, tensor->name, dims[0], type->name, type->block_elements);
    int64_t row_bytes, elements, rows, bytes;
    if (!choir_count_mul(dims[1], dims[2], &rows) || !choir_count_mul(rows, dims[3], &rows) ||
        !choir_count_mul(dims[0], rows, &elements) ||
        !choir_count_mul(dims[0] / type->block_elements, type->block_bytes, &row_bytes) ||
        !choir_count_mul(row_bytes, rows, &bytes))
        return choir_fail(CHOIR_EFORMAT,
                          "%s: tensor %s: %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64
                          " elements are too many",
                          cursor->label, tensor->name, dims[0], dims[1], dims[2], dims[3]);
    tensor->row_bytes = (size_t)row_bytes;
    tensor->bytes = (size_t)bytes;
    return CHOIR_OK;
}

static choir_status refuse_type(const choir_cursor *cursor, const choir_gguf_tensor *tensor,
                                uint32_t type)
{
    char served[256] = "";
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    for (int i = 0, n = 0; i < n_types && n < (int)sizeof served; i++)
        n += snprintf(served + n, sizeof served - (size_t)n, " %s", types[i].name);
    return choir_fail(CHOIR_EUNSUPPORTED,
                      "%s: tensor %s has type %" PRIu32 ", which is not served; these are:%s",
                      cursor->label, tensor->name, type, served);
}

/* One description; the offset is still the file's, from the data's begin. */
static choir_status read_tensor(choir_cursor *cursor, choir_gguf_tensor *tensor)
{
    choir_status status = read_name(cursor, tensor);
    if (status == CHOIR_OK)
        status = read_dims(cursor, tensor);
    uint32_t type = 0;
    if (status == CHOIR_OK)
        status = choir_cursor_u32(cursor, "a tensor's type", &type);
    if (status == CHOIR_OK && !choir_type_find(type))
        status = refuse_type(cursor, tensor, type);
    if (status != CHOIR_OK)
        return status;
    tensor->type = (choir_type)type;
    status = measure(cursor, tensor);
    if (status == CHOIR_OK)
        status = choir_cursor_u64(cursor, "a tensor's offset", &tensor->offset);
    return status;
}

static choir_status read_tensors(choir_gguf *gguf, choir_cursor *cursor, uint64_t n_tensors)
{
    enum { LEAST = 8 + 1 + 4 + 8 + 4 + 8 };
    if (n_tensors > MAX_TENSORS || n_tensors > choir_cursor_remaining(cursor) / LEAST)
        return choir_fail(CHOIR_EFORMAT, "%s: %" PRIu64 " tensors in %zu bytes; the cap is %d",
                          gguf->label, n_tensors, choir_cursor_remaining(cursor), MAX_TENSORS);
    choir_status status =
        choir_alloc((size_t)n_tensors, sizeof *gguf->tensors, (void **)&gguf->tensors);
    if (status == CHOIR_OK)
        status = choir_index_create((size_t)n_tensors, &gguf->index);
    while (status == CHOIR_OK && gguf->n_tensors < n_tensors) {
        const size_t i = gguf->n_tensors++;
        choir_gguf_tensor *tensor = &gguf->tensors[i];
        status = read_tensor(cursor, tensor);
        if (status == CHOIR_OK &&
            choir_index_insert(gguf->index, tensor->name, strlen(tensor->name), (int32_t)i) >= 0)
            status =
                choir_fail(CHOIR_EFORMAT, "%s: tensor %s stands twice", gguf->label, tensor->name);
    }
    return status;
}

/* Turns offsets into places in the file and checks that the data lies there. */
static choir_status place_tensors(choir_gguf *gguf, size_t length, uint32_t alignment,
                                  choir_gguf_extent extent)
{
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        choir_gguf_tensor *tensor = &gguf->tensors[i];
        size_t begin, end;
        if (tensor->offset % alignment != 0)
            return choir_fail(CHOIR_EFORMAT,
                              "%s: tensor %s: offset %" PRIu64 " is not aligned to %" PRIu32,
                              gguf->label, tensor->name, tensor->offset, alignment);
        if (!choir_size_add(gguf->data_offset, tensor->offset, &begin) ||
            !choir_size_add(begin, tensor->bytes, &end) || end > INT64_MAX)
            return choir_fail(CHOIR_EFORMAT, "%s: tensor %s: offset %" PRIu64 " is beyond any file",
                              gguf->label, tensor->name, tensor->offset);
        if (end > length && extent == CHOIR_GGUF_WHOLE)
            return choir_fail(
                CHOIR_EFORMAT,
                "%s: tensor %s ends at byte %zu, but the file has %zu: is it complete?",
                gguf->label, tensor->name, end, length);
        tensor->offset = begin;
    }
    return CHOIR_OK;
}

static int by_offset(const void *a, const void *b)
{
    const choir_gguf_tensor *x = *(const choir_gguf_tensor *const *)a;
    const choir_gguf_tensor *y = *(const choir_gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static choir_status check_overlaps(const choir_gguf *gguf)
{
    const choir_gguf_tensor **sorted;
    choir_status status = choir_alloc(gguf->n_tensors, sizeof *sorted, (void **)&sorted);
    if (status != CHOIR_OK)
        return status;
    for (size_t i = 0; i < gguf->n_tensors; i++)
        sorted[i] = &gguf->tensors[i];
    qsort(sorted, gguf->n_tensors, sizeof *sorted, by_offset);
    for (size_t i = 1; status == CHOIR_OK && i < gguf->n_tensors; i++)
        if (sorted[i - 1]->offset + sorted[i - 1]->bytes > sorted[i]->offset)
            status = choir_fail(CHOIR_EFORMAT, "%s: tensors %s and %s overlap", gguf->label,
                                sorted[i - 1]->name, sorted[i]->name);
    free(sorted);
    return status;
}

static choir_status read_all(choir_gguf *gguf, choir_cursor *cursor, size_t length,
                             choir_gguf_extent extent)
{
    uint64_t n_tensors, n_keys;
    uint32_t alignment = 0;
    choir_status status = read_version(cursor, &gguf->version);
    if (status == CHOIR_OK)
        status = choir_cursor_u64(cursor, "the number of tensors", &n_tensors);
    if (status == CHOIR_OK)
        status = choir_cursor_u64(cursor, "the number of keys", &n_keys);
    if (status == CHOIR_OK)
        status = choir_gguf_metadata_read(&gguf->metadata, cursor, n_keys);
    if (status == CHOIR_OK)
        status = read_alignment(gguf, &alignment);
    if (status == CHOIR_OK)
        status = read_tensors(gguf, cursor, n_tensors);
    if (status != CHOIR_OK)
        return status;
    /* Cannot wrap: the cursor stands within the cap. */
    gguf->data_offset = (cursor->position + alignment - 1) / alignment * alignment;
    status = place_tensors(gguf, length, alignment, extent);
    return status == CHOIR_OK ? check_overlaps(gguf) : status;
}

choir_status choir_gguf_parse(const uint8_t *bytes, size_t length, const char *label,
                              choir_gguf_extent extent, choir_gguf **result)
{
    *result = NULL;
    choir_gguf *gguf;
    choir_status status = choir_alloc(1, sizeof *gguf, (void **)&gguf);
    if (status != CHOIR_OK)
        return status;
    status = choir_copy_string(label, strlen(label), &gguf->label);
    if (status == CHOIR_OK) {
        choir_cursor cursor = {.bytes = bytes,
                               .length = length < HEADER_CAP ? length : HEADER_CAP,
                               .label = gguf->label,
                               .is_capped = length > HEADER_CAP};
        status = read_all(gguf, &cursor, length, extent);
    }
    if (status != CHOIR_OK)
        choir_gguf_destroy(&gguf);
    *result = gguf;
    return status;
}

void choir_gguf_destroy(choir_gguf **gguf)
{
    if (!*gguf)
        return;
    choir_gguf_metadata_clear(&(*gguf)->metadata);
    choir_index_destroy(&(*gguf)->index);
    free((*gguf)->tensors);
    free((*gguf)->label);
    free(*gguf);
    *gguf = NULL;
}

uint32_t choir_gguf_version(const choir_gguf *gguf)
{
    return gguf->version;
}

size_t choir_gguf_data_offset(const choir_gguf *gguf)
{
    return gguf->data_offset;
}

size_t choir_gguf_n_tensors(const choir_gguf *gguf)
{
    return gguf->n_tensors;
}

const choir_gguf_tensor *choir_gguf_tensor_at(const choir_gguf *gguf, size_t index)
{
    assert(index < gguf->n_tensors);
    return &gguf->tensors[index];
}

const choir_gguf_tensor *choir_gguf_find_tensor(const choir_gguf *gguf, const char *name)
{
    const int32_t i = choir_index_find(gguf->index, name, strlen(name));
    return i < 0 ? NULL : &gguf->tensors[i];
}

const choir_gguf_metadata *choir_gguf_metadata_of(const choir_gguf *gguf)
{
    return &gguf->metadata;
}
