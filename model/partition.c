/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting a model. Units of one kind (layers, leaves, chunks) are dealt to `n` owners by halving
 * both: the owners into ceil(n/2) and the rest, the units in proportion to the weights of the two
 * halves, and so on. With equal weights and a power of two of owners that is the halving of the sum
 * tree itself, so that each owner's leaves are one subtree and its share of an exchange one vector:
 *
 *     9 leaves, 4 shards:           tree([0,9))
 *                              [0,5)           [5,9)
 *                          [0,3)   [3,5)   [5,7)   [7,9)
 *                         shard 0 shard 1 shard 2 shard 3
 *
 * Otherwise an owner's range is a few subtrees, and it sends one vector for each of them.
 */
#include "model/partition.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* The end of the left child of tree([begin, end)): begin + ceil(size / 2). */
static int64_t tree_middle(choir_range node)
{
    return node.begin + choir_ceil_div(choir_range_size(node), 2);
}

/* The largest subtree of tree([0, n_leaves)) that begins at `begin` and ends at `end` or before. */
static choir_range largest_subtree(int64_t n_leaves, int64_t begin, int64_t end)
{
    choir_range node = {0, n_leaves};
    while (node.begin != begin || node.end > end) {
        const int64_t middle = tree_middle(node);
        if (begin < middle)
            node.end = middle;
        else
            node.begin = middle;
    }
    return node;
}

int choir_tree_subtrees(int64_t n_leaves, choir_range leaves,
                        choir_range subtrees[CHOIR_MAX_SUBTREES])
{
    assert(n_leaves >= 1 && n_leaves <= CHOIR_MAX_LEAVES);
    assert(leaves.begin >= 0 && leaves.begin <= leaves.end && leaves.end <= n_leaves);
    int n = 0;
    for (int64_t begin = leaves.begin; begin < leaves.end; begin = subtrees[n++].end) {
        assert(n < CHOIR_MAX_SUBTREES);
        subtrees[n] = largest_subtree(n_leaves, begin, leaves.end);
    }
    return n;
}

choir_status choir_tree_combine_plan(int64_t n_leaves, const choir_range *pieces, int n_pieces,
                                     uint8_t *merges)
{
    assert(n_leaves >= 1 && n_leaves <= CHOIR_MAX_LEAVES);
    int64_t expected = 0;
    for (int i = 0; i < n_pieces; i++) {
        const choir_range piece = pieces[i];
        if (piece.begin != expected || piece.end <= piece.begin || piece.end > n_leaves)
            return choir_fail(CHOIR_EINTERNAL, "piece %d of a sum is not the one after leaf %lld",
                              i, (long long)expected);
        const choir_range node = largest_subtree(n_leaves, piece.begin, piece.end);
        if (node.end != piece.end)
            return choir_fail(CHOIR_EINTERNAL, "piece %d of a sum is no subtree of %lld leaves", i,
                              (long long)n_leaves);
        /*
         * The piece completes every ancestor that ends where it ends: those above it as long as it
         * is a right child, which are the last steps to the right on the way down from the root.
         */
        uint8_t n_right = 0;
        for (choir_range at = {0, n_leaves}; choir_range_size(at) > choir_range_size(piece);) {
            const int64_t middle = tree_middle(at);
            if (piece.begin < middle) {
                at.end = middle;
                n_right = 0;
            } else {
                at.begin = middle;
                n_right++;
            }
        }
        merges[i] = n_right;
        expected = piece.end;
    }
    if (expected != n_leaves)
        return choir_fail(CHOIR_EINTERNAL, "the pieces of a sum end at leaf %lld of %lld",
                          (long long)expected, (long long)n_leaves);
    return CHOIR_OK;
}

/* The units of `owner` among n_owners; weights NULL: equal. */
static choir_range deal(int64_t n_units, int n_owners, const double *weights, int owner)
{
    choir_range units = {0, n_units};
    int first = 0, last = n_owners;
    while (last - first > 1) {
        const int middle = first + (last - first + 1) / 2;
        double left = middle - first, all = last - first;
        if (weights) {
            left = all = 0;
            for (int i = first; i < last; i++) {
                left += i < middle ? weights[i] : 0;
                all += weights[i];
            }
        }
        /* Halves round up, as the tree's do; left / all <= 1, so the cut stays inside. */
        const double share = floor((double)choir_range_size(units) * (left / all) + 0.5);
        const int64_t cut = units.begin + (int64_t)share;
        if (owner < middle) {
            units.end = cut;
            last = middle;
        } else {
            units.begin = cut;
            first = middle;
        }
    }
    return units;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* `unit`-sized things that a range of leaves covers, of `n` in all. */
static choir_range scaled(choir_range leaves, int64_t unit, int64_t n)
{
    return (choir_range){smaller(leaves.begin * unit, n), smaller(leaves.end * unit, n)};
}

choir_range choir_layout_attention_columns(const choir_layout *layout, choir_range leaves)
{
    const choir_range heads = scaled(leaves, layout->heads_per_leaf, layout->n_heads);
    return (choir_range){heads.begin * layout->head_size, heads.end * layout->head_size};
}

choir_range choir_layout_ff_columns(const choir_layout *layout, choir_range leaves)
{
    return scaled(leaves, layout->ff_leaf_blocks * CHOIR_BLOCK_COLUMNS, layout->ff_width);
}

/* Leaves and chunks of the model, docs/numerics.md. */
static choir_status plan_units(const choir_hparams *hparams, choir_layout *layout)
{
    const int64_t S = hparams->head_size, H = hparams->n_heads, F = hparams->ff_width;
    if (H * S % CHOIR_BLOCK_COLUMNS || F % CHOIR_BLOCK_COLUMNS)
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "the attention output has %lld columns and the feed-forward %lld; both "
                          "must be multiples of %d",
                          (long long)(H * S), (long long)F, CHOIR_BLOCK_COLUMNS);
    int64_t run = 1;
    while (run < H && (run * S % CHOIR_BLOCK_COLUMNS || run * S < 2 * CHOIR_BLOCK_COLUMNS ||
                       choir_ceil_div(H, run) > CHOIR_MAX_LEAVES))
        run++;
    layout->heads_per_leaf = run;
    layout->n_attention_leaves = choir_ceil_div(H, run);

    int64_t blocks = 2;
    while (choir_ceil_div(F / CHOIR_BLOCK_COLUMNS, blocks) > CHOIR_MAX_LEAVES)
        blocks *= 2;
    layout->ff_leaf_blocks = blocks;
    layout->n_ff_leaves = choir_ceil_div(F / CHOIR_BLOCK_COLUMNS, blocks);

    layout->vocab_chunk = choir_lse_chunk_size(hparams->vocab_size);
    layout->n_vocab_chunks = choir_ceil_div(hparams->vocab_size, layout->vocab_chunk);
    layout->n_heads = H;
    layout->head_size = S;
    layout->ff_width = F;
    layout->vocab_size = hparams->vocab_size;
    return CHOIR_OK;
}

static choir_status check_split(const char *flag, const double *weights, int n, int n_owners,
                                const char *owners)
{
    double sum = 0;
    if (n != n_owners)
        return choir_fail(CHOIR_EUSAGE, "%s: %d weights for %d %s; give one for each", flag, n,
                          n_owners, owners);
    for (int i = 0; i < n; i++) {
        sum += weights[i];
        if (!(weights[i] > 0) || !isfinite(sum))
            return choir_fail(CHOIR_EUSAGE, "%s: weight %d is %g; weights are positive numbers",
                              flag, i + 1, weights[i]);
    }
    return CHOIR_OK;
}

/* The default of choir_layout_create(). */
static int default_shards(int n_ranks, int64_t n_leaves)
{
    int shards = (int)smaller(n_ranks, n_leaves);
    while (n_ranks % shards)
        shards--;
    return shards;
}

static choir_status choose_shape(const choir_layout_options *options, choir_layout *layout)
{
    const int n = options->n_ranks;
    int shards = options->n_shards, stages = options->n_stages;
    if (n < 1 || n > CHOIR_MAX_RANKS)
        return choir_fail(CHOIR_EUSAGE, "-n: %d ranks; give 1 to %d", n, CHOIR_MAX_RANKS);
    if (shards < 0 || stages < 0)
        return choir_fail(CHOIR_EUSAGE, "%s: %d; give a positive number",
                          shards < 0 ? "-tp" : "-pp", shards < 0 ? shards : stages);
    if (!shards && options->tensor_split)
        shards = options->n_tensor_split;
    if (!stages && options->layer_split)
        stages = options->n_layer_split;
    if (!shards && !stages)
        shards = default_shards(n, layout->n_attention_leaves);
    const int given = shards ? shards : stages;
    if (shards && stages && (int64_t)shards * stages != n)
        return choir_fail(CHOIR_EUSAGE,
                          "-tp %d -pp %d: that is %lld ranks and there are %d; shards x stages "
                          "must be the number of ranks",
                          shards, stages, (long long)shards * stages, n);
    if (n % given)
        return choir_fail(CHOIR_EUSAGE, "%s %d: %d ranks are no multiple of that",
                          shards ? "-tp" : "-pp", given, n);
    shards = shards ? shards : n / given;
    stages = stages ? stages : n / given;
    layout->n_ranks = n;
    layout->n_shards = shards;
    layout->n_stages = stages;
    choir_status status = CHOIR_OK;
    if (options->tensor_split)
        status = check_split("--tensor-split", options->tensor_split, options->n_tensor_split,
                             shards, "shards");
    if (!status && options->layer_split)
        status = check_split("--layer-split", options->layer_split, options->n_layer_split, stages,
                             "stages");
    return status;
}

static choir_slice cut_slice(const choir_hparams *hparams, const choir_layout_options *options,
                             const choir_layout *layout, int rank)
{
    const int stage = rank / layout->n_shards, shard = rank % layout->n_shards;
    const int n = layout->n_shards;
    const int64_t group = hparams->n_heads / hparams->n_kv_heads;
    choir_slice slice = {.rank = rank, .stage = stage, .shard = shard};
    slice.is_first_stage = stage == 0;
    slice.is_last_stage = stage == layout->n_stages - 1;
    slice.layers = deal(hparams->n_layers, layout->n_stages, options->layer_split, stage);
    slice.attention_leaves = deal(layout->n_attention_leaves, n, options->tensor_split, shard);
    slice.heads = scaled(slice.attention_leaves, layout->heads_per_leaf, layout->n_heads);
    slice.kv_heads.begin = slice.heads.begin / group;
    slice.kv_heads.end = choir_range_size(slice.heads) ? choir_ceil_div(slice.heads.end, group)
                                                       : slice.kv_heads.begin;
    slice.ff_leaves = deal(layout->n_ff_leaves, n, options->tensor_split, shard);
    slice.ff_columns = choir_layout_ff_columns(layout, slice.ff_leaves);
    if (slice.is_last_stage) {
        slice.vocab_chunks = deal(layout->n_vocab_chunks, n, options->tensor_split, shard);
        slice.vocab_rows = scaled(slice.vocab_chunks, layout->vocab_chunk, layout->vocab_size);
    }
    return slice;
}

choir_status choir_layout_create(const choir_hparams *hparams, const choir_layout_options *options,
                                 choir_layout **layout)
{
    choir_layout *made = NULL;
    *layout = NULL;
    choir_status status = choir_alloc(1, sizeof *made, (void **)&made);
    if (!status)
        status = plan_units(hparams, made);
    if (!status)
        status = choose_shape(options, made);
    if (!status)
        status = choir_alloc((size_t)made->n_ranks, sizeof *made->slices, (void **)&made->slices);
    if (status) {
        choir_layout_destroy(&made);
        return status;
    }
    for (int rank = 0; rank < made->n_ranks; rank++)
        made->slices[rank] = cut_slice(hparams, options, made, rank);
    *layout = made;
    return CHOIR_OK;
}

void choir_layout_destroy(choir_layout **layout)
{
    if (!*layout)
        return;
    free((*layout)->slices);
    free(*layout);
    *layout = NULL;
}
