/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with linear probing in a table that is at most half full. The whole hash stands
 * in the slot, so strings are compared only when their hashes are equal.
 */
#include "common/index.h"
#include "common/hash.h"
#include "common/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot {
    uint64_t hash;
    const char *text; /* NULL: free */
    size_t length;
    int32_t value;
} slot;

struct choir_index {
    choir_hash_key key;
    size_t capacity, used, mask;
    slot *slots; /* [mask + 1] */
};

choir_status choir_index_create(size_t capacity, choir_index **result)
{
    *result = NULL;
    size_t doubled, n_slots = 16;
    if (!choir_size_mul(capacity, 2, &doubled))
        return choir_fail(CHOIR_ENOMEM, "out of memory: an index of %zu strings", capacity);
    while (n_slots < doubled)
        if (!choir_size_mul(n_slots, 2, &n_slots))
            return choir_fail(CHOIR_ENOMEM, "out of memory: an index of %zu strings", capacity);
    choir_index *index;
    choir_status status = choir_alloc(1, sizeof *index, (void **)&index);
    if (status != CHOIR_OK)
        return status;
    choir_hash_key_make(&index->key);
    index->capacity = capacity;
    index->mask = n_slots - 1;
    status = choir_alloc(n_slots, sizeof *index->slots, (void **)&index->slots);
    if (status != CHOIR_OK)
        choir_index_destroy(&index);
    *result = index;
    return status;
}

void choir_index_destroy(choir_index **index)
{
    if (*index)
        free((*index)->slots);
    free(*index);
    *index = NULL;
}

/* The slot that holds the string, or the free one where it belongs. */
static slot *probe(const choir_index *index, const char *text, size_t length, uint64_t hash)
{
    size_t i = hash & index->mask;
    for (;; i = (i + 1) & index->mask) {
        slot *s = &index->slots[i];
        if (!s->text)
            return s;
        if (s->hash == hash && s->length == length && memcmp(s->text, text, length) == 0)
            return s;
    }
}

int32_t choir_index_insert(choir_index *index, const char *text, size_t length, int32_t value)
{
    assert(text && value >= 0);
    const uint64_t hash = choir_hash_keyed(&index->key, text, length);
    slot *s = probe(index, text, length, hash);
    if (s->text)
        return s->value;
    assert(index->used < index->capacity);
    index->used++;
    *s = (slot){.hash = hash, .text = text, .length = length, .value = value};
    return -1;
}

int32_t choir_index_find(const choir_index *index, const char *text, size_t length)
{
    const slot *s = probe(index, text, length, choir_hash_keyed(&index->key, text, length));
    return s->text ? s->value : -1;
}
