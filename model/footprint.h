/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a slice costs in bytes: weights in memory and in the file, keys and values, and what its
 * rank exchanges for one decoded token. Pure arithmetic on a model's header: the weights need not
 * exist.
 */
#ifndef CHOIR_MODEL_FOOTPRINT_H
#define CHOIR_MODEL_FOOTPRINT_H

#include "common/status.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/partition.h"

typedef struct choir_footprint_options {
    bool as_f32; /* --activations f32: quantized matrices are kept as f32 */
    choir_cache_type key_type, value_type;
} choir_footprint_options;

typedef struct choir_footprint {
    /*
     * All packed matrices of the slice, which a decode step reads once. The embedding is among them
     * only as the output matrix of a last stage: stage 0 reads its few rows from the mapped file.
     */
    uint64_t weights_bytes;
    uint64_t norm_bytes; /* norm vectors, f32 */
    uint64_t file_bytes; /* that loading reads: whole blocks (of 256 columns for K-quants), norms */

    uint64_t kv_page_bytes;     /* one page of CHOIR_PAGE_POSITIONS positions, keys and values */
    uint64_t kv_position_bytes; /* kv_page_bytes / CHOIR_PAGE_POSITIONS, which is exact */

    /* For one decoded token, without the step's own message (some hundred bytes). */
    uint64_t exchange_bytes; /* that arrive in the two all-reduces of every layer */
    uint64_t handover_bytes; /* x that arrives from the stage before */
    uint64_t result_bytes;   /* that go to the lead, with argmax sampling */
} choir_footprint;

/* The slice of rank 0 <= rank < n_ranks. ENOMEM where a size does not fit. */
choir_status choir_footprint_of(const choir_model *model, const choir_layout *layout, int rank,
                                const choir_footprint_options *options,
                                choir_footprint *footprint) CHOIR_MUST_CHECK;
/* Bytes of keys and values for one sequence of n positions: whole pages. */
uint64_t choir_footprint_kv(const choir_footprint *footprint, int64_t n_positions);
/* Adds every field: for the totals of a layout. */
void choir_footprint_add(choir_footprint *total, const choir_footprint *part);

#endif
