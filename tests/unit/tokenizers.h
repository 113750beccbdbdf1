/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of texts and ids: files, lines of JSON, and the tokenizers of real model files. */
#ifndef CHOIR_TESTS_UNIT_TOKENIZERS_H
#define CHOIR_TESTS_UNIT_TOKENIZERS_H

#include "common/json.h"
#include "common/mem.h"
#include "model/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define DEFAULT_MODEL "SmolLM2-135M-Instruct.Q4_1.gguf"
#define REFERENCE "tests/fixtures/reference/smollm2/"

/* A file of the cache folder of Choir, where set-up and tests/fixtures/fetch_vocabs put them. */
static inline void cache_path(const char *name, char path[4096])
{
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (cache && cache[0])
        snprintf(path, 4096, "%s/choir/%s", cache, name);
    else
        snprintf(path, 4096, "%s/.cache/choir/%s", home ? home : "", name);
}

/* The bytes of a file, mapped for the life of the test program. */
static inline const char *map_file(const char *path, size_t *length)
{
    struct stat status;
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s is missing: run tests/run once, it fetches what the tests need", path);
    assert_int_equal(fstat(fileno(file), &status), 0);
    *length = (size_t)status.st_size;
    const char *bytes = mmap(NULL, *length, PROT_READ, MAP_PRIVATE, fileno(file), 0);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    fclose(file);
    return bytes;
}

static inline void open_cached_gguf(const char *name, choir_gguf **gguf)
{
    char path[4096];
    size_t length;
    cache_path(name, path);
    const char *bytes = map_file(path, &length);
    if (choir_gguf_parse((const uint8_t *)bytes, length, name, CHOIR_GGUF_WHOLE, gguf) != CHOIR_OK)
        fail_msg("%s", choir_error());
}

static inline void open_cached_tokenizer(const char *name, choir_tokenizer **tokenizer)
{
    choir_gguf *gguf;
    open_cached_gguf(name, &gguf);
    if (choir_tokenizer_create(gguf, tokenizer) != CHOIR_OK)
        fail_msg("%s: %s", name, choir_error());
    choir_gguf_destroy(&gguf);
}

/* The next line of text[*at..length) as JSON; false at the end. */
static inline bool next_json(const char *text, size_t length, size_t *at, choir_json **json)
{
    if (*at >= length)
        return false;
    const char *newline = memchr(text + *at, '\n', length - *at);
    const size_t end = newline ? (size_t)(newline - text) : length;
    if (choir_json_parse(text + *at, end - *at, json) != CHOIR_OK)
        fail_msg("%s", choir_error());
    *at = end + 1;
    return true;
}

/* Fails unless ids[0..n_ids) are the numbers of the JSON array. */
static inline void check_ids(const char *what, const int32_t *ids, size_t n_ids,
                             const choir_json *expected)
{
    for (size_t i = 0; i < n_ids && i < choir_json_size(expected); i++)
        if (ids[i] != choir_json_integer(choir_json_at(expected, i), -1))
            fail_msg("%s: id %zu is %d, not %d", what, i, (int)ids[i],
                     (int)choir_json_integer(choir_json_at(expected, i), -1));
    if (n_ids != choir_json_size(expected))
        fail_msg("%s: %zu ids, not %zu", what, n_ids, choir_json_size(expected));
}

#endif
