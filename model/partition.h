/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds what: a model cut into stages (runs of layers) and shards (slices of every layer).
 * Pure: from hyper-parameters and wishes to one slice a rank, the same on every rank.
 *
 * Units, all from docs/numerics.md: attention is cut between its leaves (runs of query heads), the
 * feed-forward between its leaves (runs of 32-column blocks), the vocabulary between the chunks of
 * its log-sum-exp. A shard may own none of a kind, a stage no layer.
 */
#ifndef CHOIR_MODEL_PARTITION_H
#define CHOIR_MODEL_PARTITION_H

#include "common/status.h"
#include "kernels/kernels.h"
#include "model/model.h"

#include <stdbool.h>
#include <stdint.h>

enum { CHOIR_MAX_RANKS = 4096 };

/* [begin, end); empty where begin == end. */
typedef struct choir_range {
    int64_t begin, end;
} choir_range;

static inline int64_t choir_range_size(choir_range range)
{
    return range.end - range.begin;
}

/* Part `number` of `size` things of a range, as far as it has them; behind its end of no or
 * negative size. */
static inline choir_range choir_range_part(choir_range range, int64_t number, int64_t size)
{
    const int64_t begin = range.begin + number * size;
    return (choir_range){begin, range.end - begin < size ? range.end : begin + size};
}

/* What one rank holds. Heads, columns and rows follow from leaves and chunks. */
typedef struct choir_slice {
    int rank, stage, shard; /* rank = stage * n_shards + shard */
    choir_range layers;
    choir_range attention_leaves, heads;
    choir_range kv_heads; /* those that `heads` read: a group that is cut is kept by both sides */
    choir_range ff_leaves, ff_columns;
    choir_range vocab_chunks, vocab_rows; /* of the last stage; empty elsewhere */
    bool is_first_stage, is_last_stage;
} choir_slice;

/* What the user asks for. n_ranks > 0; the rest may be zero. */
typedef struct choir_layout_options {
    int n_ranks;
    int n_shards, n_stages;     /* 0: chosen, see choir_layout_create() */
    const double *tensor_split; /* [n_tensor_split] relative sizes, one a shard; NULL: equal */
    int n_tensor_split;
    const double *layer_split; /* [n_layer_split] relative sizes, one a stage; NULL: equal */
    int n_layer_split;
} choir_layout_options;

typedef struct choir_layout {
    int n_ranks, n_stages, n_shards;
    int64_t n_heads, head_size, ff_width, vocab_size; /* the model's, as they were given */
    int64_t heads_per_leaf, n_attention_leaves;
    int64_t ff_leaf_blocks, n_ff_leaves; /* blocks of 32 columns */
    int64_t vocab_chunk, n_vocab_chunks;
    choir_slice *slices; /* [n_ranks] */
} choir_layout;

/*
 * Makes the layout; choir_layout_destroy() releases it.
 *
 * Not given, the shards are all ranks while there are at least as many attention leaves, else the
 * largest divisor of n_ranks that is no more than the leaves, and the stages the rest. If one of
 * n_shards and n_stages is given, or implied by a split, the other follows.
 *
 * EUSAGE: shards x stages is not n_ranks, a split of the wrong length, a weight that is not a
 * finite positive number. EUNSUPPORTED: a model that cannot be cut so (columns not a multiple of
 * 32).
 */
choir_status choir_layout_create(const choir_hparams *hparams, const choir_layout_options *options,
                                 choir_layout **layout) CHOIR_MUST_CHECK;
void choir_layout_destroy(choir_layout **layout);

/* Columns of the attention output (or feed-forward down) matrix that a range of its leaves covers.
 */
choir_range choir_layout_attention_columns(const choir_layout *layout, choir_range leaves);
choir_range choir_layout_ff_columns(const choir_layout *layout, choir_range leaves);

/*
 * The tree over leaves [0, L): a leaf where L = 1, else tree([0, m)) + tree([m, L)), m = ceil(L/2).
 * 1 <= L <= CHOIR_MAX_LEAVES in both functions below.
 */
enum { CHOIR_MAX_SUBTREES = 12 };

/*
 * The maximal subtrees that cover `leaves`, ascending; returns how many, 0 for an empty range. What
 * a shard sends in an exchange is one vector for each.
 */
int choir_tree_subtrees(int64_t n_leaves, choir_range leaves,
                        choir_range subtrees[CHOIR_MAX_SUBTREES]);

/*
 * The stack program that sums subtrees to the whole tree: after pieces[i] is pushed, merges[i]
 * times the two topmost are popped and (lower + upper) is pushed; one value is left at the end.
 * `pieces` [n_pieces] are subtrees, ascending, that cover [0, n_leaves) without gap: those of all
 * shards in order. EINTERNAL where they are not.
 */
choir_status choir_tree_combine_plan(int64_t n_leaves, const choir_range *pieces, int n_pieces,
                                     uint8_t *merges) CHOIR_MUST_CHECK;

#endif
