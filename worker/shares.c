/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/shares.h"

#include "common/mem.h"
#include "worker/deal.h"

enum {
    /* A share is cut into at least so many chunks, of at most so many bytes. With few rows these
     * are read in some ten microseconds, which is what threads may end apart; many rows read all
     * activations for each chunk, so that it has to be worth that. */
    FEW_ROWS_CHUNKS = 8,
    FEW_ROWS_BYTES = 256 << 10,
    MANY_ROWS_CHUNKS = 4,
    MANY_ROWS_BYTES = 512 << 10,
    BLOCK_GROUPS = CHOIR_BLOCK_COLUMNS / CHOIR_GROUP_ROWS,
};

choir_range choir_share_groups(const choir_team *team, const choir_matrix *w)
{
    return choir_team_share(team, choir_matrix_groups(w));
}

int64_t choir_share_chunk(const choir_team *team, const choir_matrix *w, int T)
{
    if (choir_matrix_bytes(w) == 0)
        return 1;
    const bool is_few = T <= CHOIR_FEW_ROWS;
    const int64_t most = (is_few ? FEW_ROWS_BYTES : MANY_ROWS_BYTES) / (int64_t)w->group_bytes;
    const int64_t even =
        choir_matrix_groups(w) / team->n_threads / (is_few ? FEW_ROWS_CHUNKS : MANY_ROWS_CHUNKS);
    const int64_t chunk = even < most ? even : most;
    return chunk > 1 ? chunk : 1;
}

static int64_t greatest_common_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/*
 * Where byte `at` of a run of matrices falls in one that begins at byte `begin`: the nearest
 * multiple of `unit` groups, within the matrix. Never falls when `at` rises.
 */
static int64_t cut(const choir_matrix *w, int64_t begin, int64_t at, int64_t unit)
{
    const int64_t n = choir_matrix_groups(w);
    if (n == 0 || at <= begin)
        return 0;
    const int64_t unit_bytes = unit * (int64_t)w->group_bytes;
    const int64_t groups = (at - begin + unit_bytes / 2) / unit_bytes * unit;
    /* A last unit may be shorter; its end counts when the matrix's does. */
    return groups > n || at >= begin + (int64_t)choir_matrix_bytes(w) ? n : groups;
}

/* Where group `group` begins, in heads; the matrix's end where its last group ends. */
static int64_t head_at(const choir_matrix *w, int64_t group, int64_t S)
{
    const int64_t row = group * CHOIR_GROUP_ROWS;
    return (row < w->rows ? row : w->rows) / S;
}

choir_share_qkv choir_share_qkv_of(const choir_team *team, const choir_matrix *q,
                                   const choir_matrix *k, const choir_matrix *v, int64_t S)
{
    /* The groups after which both a group and a head end. */
    const int64_t unit = S / greatest_common_divisor(S, CHOIR_GROUP_ROWS);
    const int64_t q_bytes = (int64_t)choir_matrix_bytes(q),
                  k_bytes = (int64_t)choir_matrix_bytes(k);
    const choir_range bytes =
        choir_team_share(team, q_bytes + k_bytes + (int64_t)choir_matrix_bytes(v));
    const choir_range k_groups = {cut(k, q_bytes, bytes.begin, unit),
                                  cut(k, q_bytes, bytes.end, unit)};
    const choir_range v_groups = {cut(v, q_bytes + k_bytes, bytes.begin, unit),
                                  cut(v, q_bytes + k_bytes, bytes.end, unit)};
    return (choir_share_qkv){
        .q = {cut(q, 0, bytes.begin, 1), cut(q, 0, bytes.end, 1)},
        .k = k_groups,
        .v = v_groups,
        .k_heads = {head_at(k, k_groups.begin, S), head_at(k, k_groups.end, S)},
        .v_heads = {head_at(v, v_groups.begin, S), head_at(v, v_groups.end, S)},
        .unit = unit,
        .unit_heads = unit * CHOIR_GROUP_ROWS / S,
    };
}

bool choir_share_qkv_take(const choir_team *owner, const choir_share_qkv *share, int64_t chunk,
                          choir_share_qkv *taken)
{
    const int64_t n_k = choir_ceil_div(choir_range_size(share->k), share->unit);
    const int64_t n_v = choir_ceil_div(choir_range_size(share->v), share->unit);
    const int64_t number = choir_deal_take_number(owner);
    *taken = (choir_share_qkv){.unit = share->unit, .unit_heads = share->unit_heads};
    if (number < n_k) {
        taken->k = choir_range_part(share->k, number, share->unit);
        taken->k_heads = choir_range_part(share->k_heads, number, share->unit_heads);
    } else if (number < n_k + n_v) {
        taken->v = choir_range_part(share->v, number - n_k, share->unit);
        taken->v_heads = choir_range_part(share->v_heads, number - n_k, share->unit_heads);
    } else {
        taken->q = choir_range_part(share->q, number - n_k - n_v, chunk);
    }
    return number < n_k + n_v || choir_range_size(taken->q) > 0;
}

static choir_share_ff ff_of_blocks(choir_range blocks)
{
    return (choir_share_ff){{blocks.begin * BLOCK_GROUPS, blocks.end * BLOCK_GROUPS}, blocks};
}

choir_share_ff choir_share_ff_of(const choir_team *team, const choir_matrix *gate)
{
    return ff_of_blocks(choir_team_share(team, gate->rows / CHOIR_BLOCK_COLUMNS));
}

/* Blocks of a chunk of both matrices. */
static int64_t ff_blocks(int64_t chunk)
{
    return choir_ceil_div(chunk, 2 * BLOCK_GROUPS);
}

int64_t choir_share_ff_columns(const choir_matrix *gate, int n_threads)
{
    const choir_team team = {.n_threads = n_threads};
    const int64_t few = choir_share_chunk(&team, gate, 1);
    const int64_t many = choir_share_chunk(&team, gate, CHOIR_FEW_ROWS + 1);
    return ff_blocks(few > many ? few : many) * CHOIR_BLOCK_COLUMNS;
}

bool choir_share_ff_take(const choir_team *owner, const choir_share_ff *share, int64_t chunk,
                         choir_share_ff *taken)
{
    choir_range blocks;
    const bool is_left = choir_deal_take(owner, share->blocks, ff_blocks(chunk), &blocks);
    *taken = ff_of_blocks(blocks);
    return is_left;
}
