/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool is [layer][page][KV head][keys, values]: one layer's pages of a sequence are touched
 * together, and the heads of a page stand side by side.
 */
#include "worker/kv.h"

#include "common/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct choir_kv {
    choir_kv_shape shape;
    size_t key_bytes, value_bytes; /* of one head in one page */
    size_t bytes;
    void *pool;
    int32_t *tables; /* [n_slots][pages_per_slot] */
    int64_t *counts; /* [n_slots] */
};

size_t choir_kv_page_set_bytes(const choir_kv_shape *shape)
{
    const size_t head = choir_kv_page_bytes(shape->key_type, shape->head_size) +
                        choir_kv_page_bytes(shape->value_type, shape->head_size);
    return head * (size_t)shape->n_kv_heads * (size_t)shape->n_layers;
}

choir_status choir_kv_create(const choir_kv_shape *shape, choir_kv **result)
{
    choir_kv *kv = NULL;
    choir_status status = choir_alloc(1, sizeof *kv, (void **)&kv);
    if (status != CHOIR_OK)
        goto done;
    if ((shape->key_type == CHOIR_CACHE_Q8_0 || shape->value_type == CHOIR_CACHE_Q8_0) &&
        shape->head_size % CHOIR_BLOCK_COLUMNS != 0) {
        status = choir_fail(CHOIR_EUNSUPPORTED,
                            "cache type q8_0 needs heads of a multiple of 32 elements, this model "
                            "has %lld: use f16",
                            (long long)shape->head_size);
        goto done;
    }
    kv->shape = *shape;
    kv->key_bytes = choir_kv_page_bytes(shape->key_type, shape->head_size);
    kv->value_bytes = choir_kv_page_bytes(shape->value_type, shape->head_size);
    if (!choir_size_mul(choir_kv_page_set_bytes(shape), (size_t)shape->n_pages, &kv->bytes)) {
        status = choir_fail(CHOIR_ENOMEM, "%lld KV pages do not fit the address space",
                            (long long)shape->n_pages);
        goto done;
    }
    status = choir_alloc((size_t)shape->n_slots, sizeof *kv->counts, (void **)&kv->counts);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)(shape->n_slots * shape->pages_per_slot), sizeof *kv->tables,
                             (void **)&kv->tables);
    if (status == CHOIR_OK && kv->bytes > 0)
        status = choir_pages_map(kv->bytes, &kv->pool);
done:
    if (status != CHOIR_OK)
        choir_kv_destroy(&kv);
    *result = kv;
    return status;
}

void choir_kv_destroy(choir_kv **kv)
{
    if (!*kv)
        return;
    choir_pages_unmap(&(*kv)->pool, (*kv)->bytes);
    free((*kv)->tables);
    free((*kv)->counts);
    free(*kv);
    *kv = NULL;
}

const choir_kv_shape *choir_kv_shape_of(const choir_kv *kv)
{
    return &kv->shape;
}

size_t choir_kv_bytes(const choir_kv *kv)
{
    return kv->bytes;
}

void choir_kv_extend(choir_kv *kv, int slot, int64_t n_before, const int32_t *pages, int64_t n_new)
{
    assert(n_before <= kv->counts[slot] && n_before + n_new <= kv->shape.pages_per_slot);
    int32_t *table = kv->tables + slot * kv->shape.pages_per_slot;
    memcpy(table + n_before, pages, (size_t)n_new * sizeof *pages);
    kv->counts[slot] = n_before + n_new;
}

void *choir_kv_keys(const choir_kv *kv, int slot, int64_t index, int64_t layer, int64_t head)
{
    const choir_kv_shape *shape = &kv->shape;
    assert(index < kv->counts[slot]);
    const int64_t page = kv->tables[slot * shape->pages_per_slot + index];
    const int64_t place = (layer * shape->n_pages + page) * shape->n_kv_heads + head;
    return (char *)kv->pool + (size_t)place * (kv->key_bytes + kv->value_bytes);
}

void *choir_kv_values(const choir_kv *kv, int slot, int64_t index, int64_t layer, int64_t head)
{
    return (char *)choir_kv_keys(kv, slot, index, layer, head) + kv->key_bytes;
}
