/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sum tree of docs/numerics.md as a stack program: tree([0,L)) = tree([0,m)) + tree([m,L)) with
 * m = ceil(L/2). A node can be added up when its last leaf is there, so merges[i] is the number of
 * inner nodes whose range ends behind leaf i; they are ancestors of leaf i, found on the way to it.
 *
 *     L = 5:  ((0 1) 2) (3 4)      merges = 0 1 1 0 2
 */
#include "common/mem.h"
#include "kernels/kernels.h"

#include <assert.h>

void choir_leaves_plan(choir_leaves *leaves)
{
    assert(leaves->n_blocks > 0 && leaves->leaf_blocks > 0 && leaves->first_block >= 0);
    int64_t n_leaves = choir_ceil_div(leaves->n_blocks, leaves->leaf_blocks);
    assert(n_leaves <= CHOIR_MAX_LEAVES);
    leaves->n_leaves = (int)n_leaves;
    for (int i = 0; i < leaves->n_leaves; i++) {
        int begin = 0;
        int end = leaves->n_leaves;
        leaves->merges[i] = 0;
        while (end - begin > 1) {
            leaves->merges[i] += end == i + 1;
            int middle = begin + (end - begin + 1) / 2;
            if (i < middle)
                end = middle;
            else
                begin = middle;
        }
    }
}
