/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/shares.h"

choir_range choir_share_groups(const choir_team *team, const choir_matrix *w)
{
    return choir_team_share(team, choir_matrix_groups(w));
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
    };
}

choir_share_ff choir_share_ff_of(const choir_team *team, const choir_matrix *gate)
{
    enum { GROUPS = CHOIR_BLOCK_COLUMNS / CHOIR_GROUP_ROWS };
    const choir_range blocks = choir_team_share(team, gate->rows / CHOIR_BLOCK_COLUMNS);
    return (choir_share_ff){{blocks.begin * GROUPS, blocks.end * GROUPS}, blocks};
}
