/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and values of one rank: pages of 64 positions for each layer of its stage and each KV head
 * of its shard, and for every slot (a running sequence) the table of its pages. Page numbers are
 * the same on all ranks; the lead hands them out. Memory is reserved at start and given by the
 * system as pages are first written.
 */
#ifndef CHOIR_WORKER_KV_H
#define CHOIR_WORKER_KV_H

#include "common/status.h"
#include "kernels/kernels.h"

typedef struct choir_kv_shape {
    int64_t n_layers, n_kv_heads; /* of this rank; either may be 0 */
    int64_t head_size;            /* S */
    int64_t n_pages;
    int n_slots;
    int64_t pages_per_slot; /* at most, in one sequence */
    choir_cache_type key_type, value_type;
} choir_kv_shape;

typedef struct choir_kv choir_kv;

/* EUNSUPPORTED: q8_0 with a head size that is no multiple of 32. */
choir_status choir_kv_create(const choir_kv_shape *shape, choir_kv **result) CHOIR_MUST_CHECK;
void choir_kv_destroy(choir_kv **kv);
const choir_kv_shape *choir_kv_shape_of(const choir_kv *kv);
/* Bytes of one page over all layers and heads of the shape (n_pages and slots are not used). */
size_t choir_kv_page_set_bytes(const choir_kv_shape *shape);
/* Bytes reserved for all pages. */
size_t choir_kv_bytes(const choir_kv *kv);

/*
 * Adds pages at the end of a slot's table, after cutting it to `n_before` of them (0 resets it).
 * The caller checked that slot, pages and counts are in range.
 */
void choir_kv_extend(choir_kv *kv, int slot, int64_t n_before, const int32_t *pages, int64_t n_new);

/* Page `index` of a slot, for one layer and KV head of this rank. */
void *choir_kv_keys(const choir_kv *kv, int slot, int64_t index, int64_t layer, int64_t head);
void *choir_kv_values(const choir_kv *kv, int slot, int64_t index, int64_t layer, int64_t head);

#endif
