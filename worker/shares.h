/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rows of a layer's matrices a thread multiplies, and the chunks in which they are dealt
 * (worker/deal.h). Loading packs by the same shares, so that each thread touches first what it
 * reads later. Ranges count groups of 16 rows.
 */
#ifndef CHOIR_WORKER_SHARES_H
#define CHOIR_WORKER_SHARES_H

#include "kernels/pack.h"
#include "worker/team.h"

/* Up to so many rows threads repeat small work rather than wait for each other. */
enum { CHOIR_FEW_ROWS = 16 };

/* Any matrix by itself: contiguous groups. */
choir_range choir_share_groups(const choir_team *team, const choir_matrix *w);
/* How many of its groups make a chunk where T rows are multiplied. */
int64_t choir_share_chunk(const choir_team *team, const choir_matrix *w, int T);

/*
 * q, k and v as one run of bytes. Keys and values are cut between heads only (of S elements, or
 * between runs of heads where groups and heads do not end together), so that the thread that has
 * computed a head can rotate and store it.
 */
typedef struct choir_share_qkv {
    choir_range q, k, v;          /* groups */
    choir_range k_heads, v_heads; /* heads of this shard */
    int64_t unit, unit_heads;     /* so many groups of k or v hold so many whole heads */
} choir_share_qkv;
choir_share_qkv choir_share_qkv_of(const choir_team *team, const choir_matrix *q,
                                   const choir_matrix *k, const choir_matrix *v, int64_t S);
/*
 * What comes next of the owner's share: a unit of k or of v, or up to `chunk` groups of q, the
 * other two being empty. False when none is left.
 */
bool choir_share_qkv_take(const choir_team *owner, const choir_share_qkv *share, int64_t chunk,
                          choir_share_qkv *taken);

/*
 * Gate and up: the same columns of the feed-forward layer in both, in blocks of 32, so that their
 * product can be quantized by the thread that has both.
 */
typedef struct choir_share_ff {
    choir_range groups;
    choir_range blocks; /* of 32 columns */
} choir_share_ff;
choir_share_ff choir_share_ff_of(const choir_team *team, const choir_matrix *gate);
/* The most columns that one call of the next function gives, whatever T. */
int64_t choir_share_ff_columns(const choir_matrix *gate, int n_threads);
/* The next columns of the owner's share, from up to `chunk` groups of both (but a whole block). */
bool choir_share_ff_take(const choir_team *owner, const choir_share_ff *share, int64_t chunk,
                         choir_share_ff *taken);

#endif
