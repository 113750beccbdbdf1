/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/subject.h"

#include "common/mem.h"
#include "model/partition.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct linear_data {
    choir_matrix matrix;
    choir_leaves leaves;
    int64_t n_copies;
    size_t pool_bytes;
    void *pool;     /* [n_copies] packed matrices, all equal */
    float *x;       /* [T][cols] */
    void *x_blocks; /* panels of choir_q8 or choir_q15; NULL for float types */
    float *y;       /* [T][rows] */
    bool is_q15;
} linear_data;

typedef struct role_shape {
    const char *role;
    int64_t rows, cols, leaf_blocks;
} role_shape;

static choir_status find_role(const choir_shape *model, const char *role, role_shape *result)
{
    const choir_hparams hparams = {.n_layers = model->n_layers,
                                   .width = model->width,
                                   .n_heads = model->n_heads,
                                   .n_kv_heads = model->n_kv_heads,
                                   .head_size = model->head_size,
                                   .ff_width = model->ff_width,
                                   .vocab_size = model->vocab_size};
    const choir_layout_options options = {.n_ranks = 1};
    choir_layout *layout;
    choir_status status = choir_layout_create(&hparams, &options, &layout);
    if (status != CHOIR_OK)
        return status;
    const int64_t D = hparams.width, F = hparams.ff_width, S = hparams.head_size;
    const int64_t queries = hparams.n_heads * S, keys = hparams.n_kv_heads * S;
    const role_shape roles[] = {
        {"q", queries, D, D / CHOIR_BLOCK_COLUMNS},
        {"kv", keys, D, D / CHOIR_BLOCK_COLUMNS},
        {"attn_output", D, queries, layout->heads_per_leaf * S / CHOIR_BLOCK_COLUMNS},
        {"gate", F, D, D / CHOIR_BLOCK_COLUMNS},
        {"down", D, F, layout->ff_leaf_blocks},
        {"output", hparams.vocab_size, D, D / CHOIR_BLOCK_COLUMNS},
    };
    choir_layout_destroy(&layout);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(role, roles[i].role) == 0) {
            *result = roles[i];
            return CHOIR_OK;
        }
    return choir_fail(CHOIR_EUSAGE, "%s is no linear layer: q, kv, attn_output, gate, down, output",
                      role);
}

/* The pool's copies are one after the other, as a model's matrices are. */
static choir_status fill_pool(const choir_subject_options *options, linear_data *d)
{
    choir_matrix *w = &d->matrix;
    const choir_type_info *info = choir_type_info_of(w->type);
    const size_t row_bytes = (size_t)(w->cols / info->block_elements) * (size_t)info->block_bytes;
    const int64_t n_groups = choir_matrix_groups(w);
    d->n_copies = choir_subject_copies(options, choir_matrix_bytes(w));
    d->pool_bytes = (size_t)d->n_copies * choir_matrix_bytes(w);
    uint8_t *rows;
    choir_status status = choir_subject_file_rows(w->type, w->rows, w->cols, &rows);
    if (status == CHOIR_OK)
        status = choir_pages_map(d->pool_bytes, &d->pool);
    if (status != CHOIR_OK) {
        free(rows);
        return status;
    }
    w->data = d->pool;
#pragma omp parallel num_threads(options->n_threads)
    {
        const int64_t thread = omp_get_thread_num(), n_threads = omp_get_num_threads();
        const int64_t begin = n_groups * thread / n_threads;
        const int64_t end = n_groups * (thread + 1) / n_threads;
        choir_matrix_pack(w, begin, end, w->type,
                          rows + (size_t)(begin * CHOIR_GROUP_ROWS) * row_bytes, row_bytes);
        for (int64_t copy = 1; copy < d->n_copies; copy++)
            memcpy((uint8_t *)d->pool + (size_t)(copy * n_groups + begin) * w->group_bytes,
                   (uint8_t *)d->pool + (size_t)begin * w->group_bytes,
                   (size_t)(end - begin) * w->group_bytes);
    }
    free(rows);
    return CHOIR_OK;
}

static choir_status allocate_activations(const choir_subject_options *options, linear_data *d)
{
    const size_t T = (size_t)options->max_rows;
    const size_t block_bytes = d->is_q15 ? sizeof(choir_q15) : sizeof(choir_q8);
    choir_status status = choir_subject_floats(options->max_rows * d->matrix.cols, &d->x);
    if (status == CHOIR_OK && choir_type_info_of(d->matrix.type)->is_quantized)
        status = choir_alloc_aligned(T * (size_t)(d->matrix.cols / CHOIR_BLOCK_COLUMNS),
                                     block_bytes, &d->x_blocks);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(T * (size_t)d->matrix.rows, sizeof *d->y, (void **)&d->y);
    return status;
}

static bool has(const choir_subject *subject, const choir_kernels *kernels)
{
    const linear_data *d = subject->data;
    return (d->is_q15 ? kernels->linear_q15 : kernels->linear)[d->matrix.type] != NULL;
}

/* Quantizes T rows into panels of T rows, by any level: the bits are the same. */
static void prepare(const choir_subject *subject, int T)
{
    const linear_data *d = subject->data;
    const int64_t cols = d->matrix.cols, n_blocks = cols / CHOIR_BLOCK_COLUMNS;
    const choir_kernels *kernels;
    if (!d->x_blocks || choir_kernels_get(choir_level_best(), &kernels) != CHOIR_OK)
        return;
    for (int t = 0; t < T; t++) {
        const int64_t index = choir_panel_index(n_blocks, T, t, 0);
        const int64_t stride = choir_panel_stride(n_blocks, T, t);
        if (d->is_q15)
            kernels->quantize_q15((choir_q15 *)d->x_blocks + index, stride, d->x + t * cols, cols);
        else
            kernels->quantize((choir_q8 *)d->x_blocks + index, stride, d->x + t * cols, cols);
    }
}

static void run(const void *context, int64_t iteration, int thread, int n_threads)
{
    const choir_subject_run *r = context;
    const linear_data *d = r->subject->data;
    choir_matrix w = d->matrix;
    const int64_t n_groups = choir_matrix_groups(&w);
    const choir_linear_fn linear =
        (d->is_q15 ? r->kernels->linear_q15 : r->kernels->linear)[w.type];
    w.data = (uint8_t *)d->pool + (size_t)(iteration % d->n_copies) * choir_matrix_bytes(&w);
    linear(d->y, w.rows, &w, n_groups * thread / n_threads, n_groups * (thread + 1) / n_threads,
           d->x_blocks ? d->x_blocks : d->x, r->T, &d->leaves);
}

static void clear(choir_subject *subject)
{
    linear_data *d = subject->data;
    choir_pages_unmap(&d->pool, d->pool_bytes);
    free(d->x);
    free(d->x_blocks);
    free(d->y);
    free(d);
}

/* IQ types mean entries of a table of int8; the others have the width that their size tells. */
static choir_peak_kind peak_of(const choir_type_info *info)
{
    if (!info->is_quantized)
        return CHOIR_PEAK_FMA;
    const double bits = info->block_bytes * 8.0 / info->block_elements;
    return bits <= 6.0 && strncmp(info->name, "IQ", 2) != 0 ? CHOIR_PEAK_NARROW : CHOIR_PEAK_WIDE;
}

choir_status choir_subject_linear(const choir_subject_options *options, const char *role,
                                  choir_type type, bool is_q15, choir_subject *subject)
{
    *subject = (choir_subject){0};
    const choir_type_info *info = choir_type_info_of(type);
    role_shape shape;
    choir_status status = find_role(options->model, role, &shape);
    linear_data *d = NULL;
    if (status == CHOIR_OK)
        status = choir_alloc(1, sizeof *d, (void **)&d);
    if (status != CHOIR_OK)
        return status;
    *subject = (choir_subject){
        .op = "linear",
        .type = info->name,
        .activations = !info->is_quantized ? "f32"
                       : is_q15            ? "q15"
                                           : "q8",
        .peak = peak_of(info),
        .n_products = is_q15 ? 2 : 1,
        .macs_per_row = (double)shape.rows * (double)shape.cols,
        .has = has,
        .prepare = prepare,
        .run = run,
        .clear = clear,
        .data = d,
    };
    snprintf(subject->shape, sizeof subject->shape, "%s %lldx%lld", role, (long long)shape.rows,
             (long long)shape.cols);
    d->is_q15 = is_q15;
    d->leaves = (choir_leaves){.n_blocks = shape.cols / CHOIR_BLOCK_COLUMNS,
                               .leaf_blocks = shape.leaf_blocks};
    choir_leaves_plan(&d->leaves);
    status = choir_matrix_plan(&d->matrix, type, shape.rows, shape.cols, 0);
    if (status == CHOIR_OK)
        status = fill_pool(options, d);
    if (status == CHOIR_OK)
        status = allocate_activations(options, d);
    subject->bytes = (double)choir_matrix_bytes(&d->matrix);
    if (status != CHOIR_OK)
        choir_subject_clear(subject);
    return status;
}
