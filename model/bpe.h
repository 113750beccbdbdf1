/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-pair encoding: the merges of a vocabulary, by rank. Again and again the neighbours whose
 * merge has the lowest rank become one, the leftmost first where ranks are equal. (Sennrich,
 * Haddow, Birch 2016, as GPT-2 applies it.)
 */
#ifndef CHOIR_MODEL_BPE_H
#define CHOIR_MODEL_BPE_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct choir_bpe choir_bpe;

/* Tokens `left` and `right`, side by side, become `result`. All >= 0. */
typedef struct choir_bpe_merge {
    int32_t left, right, result;
} choir_bpe_merge;

/* The memory of one thread's merging, reused from piece to piece: zero it, then release it. */
typedef struct choir_bpe_scratch {
    struct bpe_node *nodes;
    uint64_t *heap;
    size_t node_capacity, heap_capacity;
    uint64_t steps; /* heap moves so far: the cost, for tests */
} choir_bpe_scratch;

/*
 * The index in merges[0..n_merges) is the rank; of equal pairs the first counts. Takes *merges over
 * (from malloc), also on failure. EFORMAT for 2^31 merges or more.
 */
choir_status choir_bpe_create(choir_bpe_merge **merges, size_t n_merges,
                              choir_bpe **result) CHOIR_MUST_CHECK;
void choir_bpe_destroy(choir_bpe **bpe);

/*
 * Merges ids[0..*n_ids) in place, at most 2^31 of them; -1 stands for a byte that has no token: it
 * merges with nothing and is left out of the result. O(n log n) time, 28 bytes of scratch an id.
 */
choir_status choir_bpe_apply(const choir_bpe *bpe, choir_bpe_scratch *scratch, int32_t *ids,
                             size_t *n_ids) CHOIR_MUST_CHECK;
void choir_bpe_scratch_release(choir_bpe_scratch *scratch);

#endif
