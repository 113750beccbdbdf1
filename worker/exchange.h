/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The all-reduce between the shards of a stage, in the order of the sum tree (docs/numerics.md,
 * "Lanes and trees"), so that its result cannot depend on the number of shards.
 *
 * Every shard computes one vector of n floats (a piece) for each maximal subtree of its leaves.
 * Three shards over a tree of 8 leaves, dealt 3 + 3 + 2:
 *
 *     tree:    ((0 1) (2 3)) ((4 5) (6 7))
 *     shard 0: (0 1) 2        two pieces
 *     shard 1: 3 (4 5)        two pieces
 *     shard 2: (6 7)          one piece
 *
 * Short vectors: every shard receives all pieces and adds them itself; a shard moves in
 * (pieces of the others) * n floats. Long ones: shard r receives its 1/shards of every piece, adds
 * them, and the sums are gathered; that moves in (pieces + shards) * n / shards floats. Both add in
 * the same order.
 */
#ifndef CHOIR_WORKER_EXCHANGE_H
#define CHOIR_WORKER_EXCHANGE_H

#include "common/status.h"
#include "kernels/kernels.h"
#include "model/partition.h"
#include "worker/comm.h"
#include "worker/telemetry.h"

#include <stdbool.h>

typedef struct choir_exchange choir_exchange;

/*
 * Local. shard_leaves [shards of comm]: the leaves of each shard, ascending, that cover the tree of
 * n_leaves; leaf_blocks: columns of a leaf in blocks of 32, n_blocks: of all leaves together.
 * max_floats: the longest vector. telemetry: where the time of moving is marked. `comm`
 * and `telemetry` are borrowed for the life of the exchange.
 */
choir_status choir_exchange_create(const choir_comm *comm, int64_t n_leaves, int64_t leaf_blocks,
                                   int64_t n_blocks, const choir_range *shard_leaves,
                                   int64_t max_floats, choir_telemetry *telemetry,
                                   choir_exchange **result) CHOIR_MUST_CHECK;
void choir_exchange_destroy(choir_exchange **exchange);

/* This shard's pieces: how many (0 where it owns no leaf), their leaves, and where each is written.
 */
int choir_exchange_pieces(const choir_exchange *exchange);
const choir_leaves *choir_exchange_leaves(const choir_exchange *exchange, int piece);
float *choir_exchange_piece(const choir_exchange *exchange, int piece, int64_t n);

/* Whether there are other shards; without them the one piece is the tree. */
bool choir_exchange_is_needed(const choir_exchange *exchange);
/*
 * Collective between the shards; one thread of each, while its others wait: x[0..n) = x + tree of
 * all pieces.
 */
void choir_exchange_add(choir_exchange *exchange, float *x, int64_t n);

#endif
