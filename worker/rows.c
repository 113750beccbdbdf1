/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/rows.h"

#include "common/mem.h"
#include "kernels/activations.h"

#include <stdlib.h>

choir_status choir_rows_allocate(choir_rows *a, size_t rows, int64_t cols, bool is_q15,
                                 bool has_floats)
{
    *a = (choir_rows){.cols = cols, .is_q15 = is_q15};
    choir_status status = CHOIR_OK;
    if (has_floats)
        status = choir_alloc_aligned(rows * (size_t)cols, sizeof *a->f32, (void **)&a->f32);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(rows * (size_t)(cols / CHOIR_BLOCK_COLUMNS),
                                     choir_activations_block_bytes(is_q15), &a->blocks);
    return status;
}

void choir_rows_release(choir_rows *a)
{
    free(a->f32);
    free(a->blocks);
}

bool choir_rows_are_blocks_for(const choir_matrix *w)
{
    return w->rows > 0 && choir_type_info_of(w->type)->is_quantized;
}

bool choir_rows_are_floats_for(const choir_matrix *w)
{
    return w->rows > 0 && !choir_type_info_of(w->type)->is_quantized;
}

void choir_rows_quantize(const choir_rows *a, const choir_kernels *kernels, int T, int t,
                         choir_range blocks, const float *x)
{
    const int64_t n_blocks = a->cols / CHOIR_BLOCK_COLUMNS;
    const int64_t at = choir_panel_index(n_blocks, T, t, blocks.begin);
    const int64_t stride = choir_panel_stride(n_blocks, T, t);
    const int64_t n = choir_range_size(blocks) * CHOIR_BLOCK_COLUMNS;
    if (n > 0 && a->is_q15)
        kernels->quantize_q15((choir_q15 *)a->blocks + at, stride, x, n);
    else if (n > 0)
        kernels->quantize((choir_q8 *)a->blocks + at, stride, x, n);
}

void choir_rows_multiply(const choir_rows *a, const choir_kernels *kernels, choir_range rows,
                         float *y, int64_t y_stride, const choir_matrix *w, choir_range groups,
                         const choir_leaves *leaves)
{
    if (groups.begin >= groups.end)
        return;
    const int64_t n_blocks = a->cols / CHOIR_BLOCK_COLUMNS;
    choir_leaves whole = {.n_blocks = n_blocks, .leaf_blocks = n_blocks};
    choir_leaves_plan(&whole);
    const bool takes_blocks = choir_rows_are_blocks_for(w);
    const choir_linear_fn linear =
        takes_blocks && a->is_q15 ? kernels->linear_q15[w->type] : kernels->linear[w->type];
    const void *x = takes_blocks
                        ? (const char *)a->blocks + (size_t)(rows.begin * n_blocks) *
                                                        choir_activations_block_bytes(a->is_q15)
                        : (const char *)(a->f32 + rows.begin * a->cols);
    linear(y, y_stride, w, groups.begin, groups.end, x, (int)choir_range_size(rows),
           leaves ? leaves : &whole);
}
