/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a GGUF file: refused with words, or everything in it can be read. What is accepted
 * is walked whole, so that a place that the reader did not check shows up here.
 */
#include "model/gguf.h"
#include "model/hparams.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void require(bool claim)
{
    if (!claim)
        abort();
}

static volatile size_t touched;

/* Touches every element of arrays that the getters can give. */
static void walk_arrays(const choir_gguf *gguf, const char *key)
{
    choir_gguf_array array;
    if (choir_gguf_get_array(gguf, key, CHOIR_GGUF_STRING, &array) == CHOIR_OK)
        for (size_t i = 0; i < array.count; i++) {
            const choir_gguf_string text = choir_gguf_at_string(&array, i);
            touched += text.length ? (uint8_t)text.text[text.length - 1] : 0;
        }
    if (choir_gguf_get_array(gguf, key, CHOIR_GGUF_F32, &array) == CHOIR_OK)
        for (size_t i = 0; i < array.count; i++)
            touched += choir_gguf_at_f32(&array, i) > 0;
    if (choir_gguf_get_array(gguf, key, CHOIR_GGUF_I32, &array) == CHOIR_OK)
        for (size_t i = 0; i < array.count; i++)
            touched += (size_t)choir_gguf_at_i32(&array, i);
}

static void walk(const choir_gguf *gguf, size_t length, choir_gguf_extent extent)
{
    char text[4096];
    for (size_t i = 0; i < choir_gguf_n_keys(gguf); i++) {
        const choir_gguf_string key = choir_gguf_key_at(gguf, i);
        choir_gguf_format(gguf, i, text, sizeof text);
        require(strlen(text) < sizeof text);
        if (key.length >= sizeof text)
            continue;
        memcpy(text, key.text, key.length);
        text[key.length] = '\0';
        require(choir_gguf_has(gguf, text));
        walk_arrays(gguf, text);
    }
    for (size_t i = 0; i < choir_gguf_n_tensors(gguf); i++) {
        const choir_gguf_tensor *tensor = choir_gguf_tensor_at(gguf, i);
        require(choir_gguf_find_tensor(gguf, tensor->name) == tensor);
        require(tensor->offset >= choir_gguf_data_offset(gguf) && tensor->row_bytes > 0);
        require(tensor->bytes % tensor->row_bytes == 0);
        if (extent == CHOIR_GGUF_WHOLE)
            require(tensor->offset <= length && tensor->bytes <= length - tensor->offset);
    }
    choir_hparams hparams;
    if (choir_hparams_read(gguf, "fuzz", &hparams) == CHOIR_OK)
        require(hparams.width > 0 && hparams.n_heads % hparams.n_kv_heads == 0 &&
                hparams.n_rot <= hparams.head_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const choir_gguf_extent extents[] = {CHOIR_GGUF_WHOLE, CHOIR_GGUF_HEADER_ONLY};
    for (int i = 0; i < 2; i++) {
        choir_gguf *gguf;
        if (choir_gguf_parse(bytes, length, "fuzz", extents[i], &gguf) == CHOIR_OK)
            walk(gguf, length, extents[i]);
        else
            require(!gguf && choir_error()[0]);
        choir_gguf_destroy(&gguf);
    }
    return 0;
}
