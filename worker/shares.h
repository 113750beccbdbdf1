/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rows of a layer's matrices a thread multiplies. Loading packs by the same shares, so that
 * each thread touches first what it reads later. Ranges count groups of 16 rows.
 */
#ifndef CHOIR_WORKER_SHARES_H
#define CHOIR_WORKER_SHARES_H

#include "kernels/pack.h"
#include "worker/team.h"

/* Any matrix by itself: contiguous groups. */
choir_range choir_share_groups(const choir_team *team, const choir_matrix *w);

/*
 * q, k and v as one run of bytes. Keys and values are cut between heads only (of S elements, or
 * between runs of heads where groups and heads do not end together), so that the thread that has
 * computed a head can rotate and store it.
 */
typedef struct choir_share_qkv {
    choir_range q, k, v;          /* groups */
    choir_range k_heads, v_heads; /* heads of this shard */
} choir_share_qkv;
choir_share_qkv choir_share_qkv_of(const choir_team *team, const choir_matrix *q,
                                   const choir_matrix *k, const choir_matrix *v, int64_t S);

/*
 * Gate and up: the same columns of the feed-forward layer in both, in blocks of 32, so that their
 * product can be quantized by the thread that has both.
 */
typedef struct choir_share_ff {
    choir_range groups;
    choir_range blocks; /* of 32 columns */
} choir_share_ff;
choir_share_ff choir_share_ff_of(const choir_team *team, const choir_matrix *gate);

#endif
