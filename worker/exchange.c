/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/exchange.h"

#include "common/mem.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Up to here every shard receives every piece. Placed where MPI's own all-reduce changes
     * algorithm for two ranks on one node; to be measured with the kernels. */
    LONG_FLOATS = 16384,
    MAX_DEPTH = 8, /* of a tree over 64 leaves, one more for the piece just pushed */
    CHUNK = 256,   /* floats that are added at a time: the stack stays in the L1 cache */
};

struct choir_exchange {
    const choir_comm *comm;
    choir_telemetry *telemetry;
    int n_shards, shard;
    int n_mine, n_all;    /* pieces */
    int *counts;          /* [n_shards] pieces of each shard */
    uint8_t *merges;      /* [n_all] */
    choir_leaves *leaves; /* [n_mine] */
    float *mine;          /* [n_mine][n] */
    float *all;           /* [n_all][n] of short vectors, [n_all][my share of n] of long ones */
    float *my_sum, *sum;  /* [my share of n], [n]: long vectors only */
    int *send_counts, *send_offsets, *receive_counts, *receive_offsets; /* [n_shards] */
};

static choir_status plan_pieces(choir_exchange *e, int64_t n_leaves, int64_t leaf_blocks,
                                int64_t n_blocks, const choir_range *shard_leaves)
{
    choir_range *pieces = NULL;
    choir_status status =
        choir_alloc((size_t)e->n_shards * CHOIR_MAX_SUBTREES, sizeof *pieces, (void **)&pieces);
    if (status != CHOIR_OK)
        return status;
    for (int s = 0; s < e->n_shards; s++) {
        e->counts[s] = choir_tree_subtrees(n_leaves, shard_leaves[s], pieces + e->n_all);
        e->n_all += e->counts[s];
    }
    e->n_mine = e->counts[e->shard];
    status = choir_alloc((size_t)e->n_all, 1, (void **)&e->merges);
    if (status == CHOIR_OK)
        status = choir_tree_combine_plan(n_leaves, pieces, e->n_all, e->merges);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned((size_t)e->n_mine, sizeof *e->leaves, (void **)&e->leaves);
    choir_range mine[CHOIR_MAX_SUBTREES];
    if (status == CHOIR_OK)
        choir_tree_subtrees(n_leaves, shard_leaves[e->shard], mine);
    for (int i = 0; status == CHOIR_OK && i < e->n_mine; i++) {
        const int64_t end = mine[i].end * leaf_blocks;
        choir_leaves *leaves = &e->leaves[i];
        leaves->first_block = (mine[i].begin - shard_leaves[e->shard].begin) * leaf_blocks;
        leaves->n_blocks = (end < n_blocks ? end : n_blocks) - mine[i].begin * leaf_blocks;
        leaves->leaf_blocks = leaf_blocks;
        choir_leaves_plan(leaves);
    }
    free(pieces);
    return status;
}

static choir_status allocate_buffers(choir_exchange *e, size_t max_floats)
{
    /* Of each piece: a whole short vector, or this shard's part of a long one. */
    const size_t part = max_floats / (size_t)e->n_shards + 1;
    const size_t short_floats = max_floats < LONG_FLOATS ? max_floats : LONG_FLOATS;
    const size_t piece = e->n_shards > 1 && part < short_floats ? short_floats : part;
    if (max_floats > INT_MAX || (size_t)e->n_all * piece > INT_MAX)
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "%zu floats in %d pieces are more than one exchange can move: lower "
                          "--max-num-batched-tokens",
                          max_floats, e->n_all);
    int **const arrays[] = {&e->send_counts, &e->send_offsets, &e->receive_counts,
                            &e->receive_offsets};
    choir_status status = CHOIR_OK;
    for (size_t i = 0; status == CHOIR_OK && i < sizeof arrays / sizeof arrays[0]; i++)
        status = choir_alloc((size_t)e->n_shards, sizeof(int), (void **)arrays[i]);
    if (status == CHOIR_OK)
        status =
            choir_alloc_aligned((size_t)e->n_mine * max_floats, sizeof(float), (void **)&e->mine);
    if (status == CHOIR_OK && e->n_shards > 1)
        status = choir_alloc_aligned((size_t)e->n_all * piece, sizeof(float), (void **)&e->all);
    if (status == CHOIR_OK && e->n_shards > 1)
        status = choir_alloc_aligned(max_floats, sizeof(float), (void **)&e->sum);
    if (status == CHOIR_OK && e->n_shards > 1)
        status = choir_alloc_aligned(part, sizeof(float), (void **)&e->my_sum);
    return status;
}

choir_status choir_exchange_create(const choir_comm *comm, int64_t n_leaves, int64_t leaf_blocks,
                                   int64_t n_blocks, const choir_range *shard_leaves,
                                   int64_t max_floats, choir_telemetry *telemetry,
                                   choir_exchange **result)
{
    choir_exchange *e = NULL;
    choir_status status = choir_alloc(1, sizeof *e, (void **)&e);
    if (status != CHOIR_OK)
        goto done;
    e->comm = comm;
    e->telemetry = telemetry;
    e->n_shards = choir_comm_size(comm);
    e->shard = choir_comm_rank(comm);
    status = choir_alloc((size_t)e->n_shards, sizeof(int), (void **)&e->counts);
    if (status == CHOIR_OK)
        status = plan_pieces(e, n_leaves, leaf_blocks, n_blocks, shard_leaves);
    if (status == CHOIR_OK)
        status = allocate_buffers(e, (size_t)max_floats);
done:
    if (status != CHOIR_OK)
        choir_exchange_destroy(&e);
    *result = e;
    return status;
}

void choir_exchange_destroy(choir_exchange **exchange)
{
    choir_exchange *e = *exchange;
    if (!e)
        return;
    free(e->counts);
    free(e->merges);
    free(e->leaves);
    free(e->mine);
    free(e->all);
    free(e->my_sum);
    free(e->sum);
    free(e->send_counts);
    free(e->send_offsets);
    free(e->receive_counts);
    free(e->receive_offsets);
    free(e);
    *exchange = NULL;
}

int choir_exchange_pieces(const choir_exchange *exchange)
{
    return exchange->n_mine;
}

const choir_leaves *choir_exchange_leaves(const choir_exchange *exchange, int piece)
{
    return &exchange->leaves[piece];
}

float *choir_exchange_piece(const choir_exchange *exchange, int piece, int64_t n)
{
    return exchange->mine + piece * n;
}

/* target[begin..end) (+)= tree of the pieces, which stand `stride` floats apart. */
static void add_tree(const choir_exchange *e, float *target, bool is_added, const float *pieces,
                     int64_t stride, choir_range range)
{
    float stack[MAX_DEPTH][CHUNK];
    for (int64_t at = range.begin; at < range.end; at += CHUNK) {
        const int64_t n = range.end - at < CHUNK ? range.end - at : CHUNK;
        int depth = 0;
        for (int p = 0; p < e->n_all; p++) {
            memcpy(stack[depth++], pieces + p * stride + at, (size_t)n * sizeof(float));
            for (int m = 0; m < e->merges[p]; m++) {
                depth--;
                for (int64_t i = 0; i < n; i++)
                    stack[depth - 1][i] = stack[depth - 1][i] + stack[depth][i];
            }
        }
        for (int64_t i = 0; i < n; i++)
            target[at + i] = is_added ? target[at + i] + stack[0][i] : stack[0][i];
    }
}

/* Element range of vectors of n floats that shard r adds in the long form. */
static choir_range share_of(const choir_exchange *e, int r, int64_t n)
{
    return (choir_range){n * r / e->n_shards, n * (r + 1) / e->n_shards};
}

static void gather_pieces(choir_exchange *e, int64_t n)
{
    int offset = 0;
    for (int r = 0; r < e->n_shards; r++) {
        e->receive_counts[r] = e->counts[r] * (int)n;
        e->receive_offsets[r] = offset;
        offset += e->receive_counts[r];
    }
    choir_comm_allgatherv(e->comm, e->mine, e->all, e->receive_counts, e->receive_offsets);
}

/* One round for each piece of the shard that has most; all becomes [n_all][my share]. */
static void scatter_pieces(choir_exchange *e, int64_t n)
{
    const int my_share = (int)choir_range_size(share_of(e, e->shard, n));
    int rounds = 0;
    for (int r = 0; r < e->n_shards; r++)
        rounds = e->counts[r] > rounds ? e->counts[r] : rounds;
    for (int round = 0; round < rounds; round++) {
        int first_piece = 0;
        for (int r = 0; r < e->n_shards; r++) {
            const choir_range theirs = share_of(e, r, n);
            e->send_counts[r] = round < e->n_mine ? (int)choir_range_size(theirs) : 0;
            e->send_offsets[r] = (int)theirs.begin;
            e->receive_counts[r] = round < e->counts[r] ? my_share : 0;
            e->receive_offsets[r] = (first_piece + round) * my_share;
            first_piece += e->counts[r];
        }
        const float *piece = round < e->n_mine ? e->mine + round * n : e->mine;
        choir_comm_alltoallv(e->comm, piece, e->send_counts, e->send_offsets, e->all,
                             e->receive_counts, e->receive_offsets);
    }
}

static void gather_sums(choir_exchange *e, int64_t n)
{
    for (int r = 0; r < e->n_shards; r++) {
        const choir_range theirs = share_of(e, r, n);
        e->receive_counts[r] = (int)choir_range_size(theirs);
        e->receive_offsets[r] = (int)theirs.begin;
    }
    choir_comm_allgatherv(e->comm, e->my_sum, e->sum, e->receive_counts, e->receive_offsets);
}

static void add_long(choir_exchange *e, float *x, int64_t n)
{
    const int64_t share = choir_range_size(share_of(e, e->shard, n));
    choir_telemetry_mark_now(e->telemetry, CHOIR_COMPUTING);
    scatter_pieces(e, n);
    choir_telemetry_mark_now(e->telemetry, CHOIR_EXCHANGING);
    add_tree(e, e->my_sum, false, e->all, share, (choir_range){0, share});
    choir_telemetry_mark_now(e->telemetry, CHOIR_COMPUTING);
    gather_sums(e, n);
    choir_telemetry_mark_now(e->telemetry, CHOIR_EXCHANGING);
    choir_telemetry_end_exchange(e->telemetry);
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] + e->sum[i];
}

bool choir_exchange_is_needed(const choir_exchange *exchange)
{
    return exchange->n_shards > 1;
}

void choir_exchange_add(choir_exchange *exchange, float *x, int64_t n)
{
    choir_exchange *e = exchange;
    if (n > LONG_FLOATS) {
        add_long(e, x, n);
        return;
    }
    choir_telemetry_mark_now(e->telemetry, CHOIR_COMPUTING);
    gather_pieces(e, n);
    choir_telemetry_mark_now(e->telemetry, CHOIR_EXCHANGING);
    choir_telemetry_end_exchange(e->telemetry);
    add_tree(e, x, true, e->all, n, (choir_range){0, n});
}
